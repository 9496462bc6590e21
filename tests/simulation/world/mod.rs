//! The whole core in a simulated world: several workers with their exchanges over one store. The [`Choices`] decide
//! what clients and the server do, when the clock moves, and when a fault happens. The invariants are checked after
//! every step.
//!
//! Faults are of two kinds. Light faults (a worker dies, even in the middle of an operation; a write comes too late;
//! answers and clients get lost) must leave no trace at all. Heavy faults (shared data is lost, refused or foreign;
//! the clock goes back) may leave traces until the next round of sweeps, and not after it.

// This file is named `mod.rs`, because the fuzz targets use this folder too.
mod answers;
mod audit;
mod books;
pub mod choices;
mod faults;
pub mod heard;
mod reports;
pub mod store;
mod streams;
mod traffic;
pub mod worker;

use std::rc::Rc;

use mcp_session_filter::config::Config;
use mcp_session_filter::exchange::Site;
use mcp_session_filter::session::{IdDigest, SessionKey, Timestamp};

use books::Books;
use choices::Choices;
use store::Shared;
use worker::{Configured, Stream, Worker};

const WORKERS: usize = 3;

/// The endpoint that speaks HTTP+SSE.
pub const SSE: usize = 2;

/// Ids that each endpoint's sessions have.
pub const IDS: usize = 8;

/// No worker lets more than this time pass between two ticks (`MAX_TICK` in `src/host/root.rs`).
const TICK_MS: u64 = 5_000;

/// A round of sweeps: every group is swept within 30 s, and again 2 s after a sweep found it wrong.
const ROUND_MS: u64 = 35_000;

/// How many steps of each kind a world has taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub steps: u64,
    pub requests: u64,
    pub answers: u64,
    pub ticks: u64,
    pub faults: u64,
    pub rounds: u64,
    pub sessions: u64,
    /// Streams that took a place under a cap, and those that got none.
    pub asked: u64,
    pub refused: u64,
    /// Sessions of HTTP+SSE among them.
    pub streams: u64,
    /// Streams of HTTP+SSE that have become sessions by themselves, since no event came in time.
    pub unnamed: u64,
    /// Streams among these that have named another session later.
    pub named_late: u64,
}

impl Tally {
    /// Adds those of another world.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.requests += other.requests;
        self.answers += other.answers;
        self.ticks += other.ticks;
        self.faults += other.faults;
        self.rounds += other.rounds;
        self.sessions += other.sessions;
        self.asked += other.asked;
        self.refused += other.refused;
        self.streams += other.streams;
        self.unnamed += other.unnamed;
        self.named_late += other.named_late;
    }
}

/// The world.
pub struct World {
    choices: Choices,
    configured: Configured,
    shared: Shared,
    /// `None`: the worker's VM is dead, and the next request starts a new one.
    workers: Vec<Option<Worker>>,
    roots: u32,
    now: u64,
    /// The latest time that the clock has shown.
    latest: u64,
    /// Whether heavy faults happen.
    heavy: bool,
    books: Books,
    pub tally: Tally,
}

impl World {
    /// A world with its first worker; `heavy` adds heavy faults.
    pub fn new(mut choices: Choices, heavy: bool) -> Self {
        let configured = configured(&mut choices);
        let near_wrap = choices.once_in(4);
        let shared = Shared::new(if near_wrap { u32::MAX - 2_000 } else { 1 });
        let mut world = Self {
            choices,
            configured,
            shared,
            workers: Vec::new(),
            roots: 0,
            now: 1_000_000,
            latest: 1_000_000,
            heavy,
            books: Books::default(),
            tally: Tally::default(),
        };
        world.books.reported = Some(0);
        for number in 0..WORKERS {
            world.workers.push(None);
            world.start_worker(number);
        }
        world
    }

    /// Whether the fuzzer's decisions are used up.
    pub fn is_over(&self) -> bool {
        self.choices.are_over()
    }

    /// Does the next thing, and checks all invariants.
    pub fn step(&mut self) {
        self.tally.steps += 1;
        match self.choices.below(250) {
            0..=87 => self.request(None),
            88..=157 => self.answer(None),
            158..=207 => self.leave(None),
            208..=226 => self.pass_a_while(),
            227..=234 => self.tick_one(None),
            235..=247 => self.fault(),
            248 => self.pass(60_000),
            _ => self.heal(),
        }
        self.audit();
    }

    /// Ends all streams and lets time pass. Then nothing must be left.
    pub fn finish(mut self) -> Tally {
        self.heal();
        for number in 0..WORKERS {
            while self.streams(number) > 0 {
                self.leave(Some(number));
            }
        }
        self.now += 2 * 3_600_000;
        self.latest = self.now;
        self.tick_all();
        self.pass(2 * ROUND_MS);
        let counts = self.counts().unwrap();
        let streams: u32 = counts.endpoints.iter().map(|endpoint| endpoint.streams).sum();
        assert_eq!(self.shared.records(), [], "sessions outlive their time");
        assert_eq!((counts.active, counts.reserved), (0, 0), "{counts:?}");
        assert_eq!(streams, 0, "{counts:?}");
        for worker in self.workers.iter().flatten() {
            assert!(worker.core.in_use.borrow().is_empty(), "{:?}", worker.core.in_use);
        }
        self.tally
    }

    fn start_worker(&mut self, number: usize) {
        self.roots += 1;
        let now = Timestamp::from_millis(self.now);
        self.workers[number] = Worker::start(&self.shared, &self.configured, self.roots, now);
    }

    /// A worker that lives. The request starts a dead one anew.
    fn woken(&mut self, wanted: Option<usize>) -> Option<usize> {
        let number = wanted.unwrap_or_else(|| self.choices.below(WORKERS));
        if self.workers[number].is_none() {
            self.start_worker(number);
        }
        self.workers[number].is_some().then_some(number)
    }

    fn streams(&self, number: usize) -> usize {
        self.workers[number]
            .as_ref()
            .map_or(0, |worker| worker.streams.len())
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn pass_a_while(&mut self) {
        let span = self.choices.one_of(&[1, 250, 999, 1_000, 1_001, 3_000, TICK_MS]);
        self.pass(span);
    }

    /// Lets time pass, with the workers' ticks.
    fn pass(&mut self, mut span: u64) {
        while span > 0 {
            let part = span.min(TICK_MS);
            span -= part;
            self.now += part;
            self.latest = self.latest.max(self.now);
            self.tick_all();
        }
    }

    fn tick_all(&mut self) {
        let first = self.choices.below(WORKERS);
        for number in 0..WORKERS {
            let number = (first + number) % WORKERS;
            if self.workers[number].is_some() {
                self.tick_one(Some(number));
            }
        }
    }

    fn tick_one(&mut self, wanted: Option<usize>) {
        let number = wanted.unwrap_or_else(|| self.choices.below(WORKERS));
        self.roots += 1;
        let (now, fresh_root) = (self.timestamp(), self.roots);
        let Some(worker) = &mut self.workers[number] else {
            return;
        };
        self.tally.ticks += 1;
        let ticked = worker.tick(now, fresh_root);
        self.after_tick(number, ticked);
    }

    /// The number of the id with this session key.
    fn id_of(&self, number: usize, site: usize, key: SessionKey) -> Option<usize> {
        let table = &self.workers[number].as_ref()?.core.table;
        let tag = self.configured.sites[site].tag;
        (0..IDS).find(|id| table.key(tag, id_text(*id).as_bytes()) == key)
    }
}

/// The id with this number.
fn id_text(number: usize) -> String {
    format!("session-{number}")
}

/// An endpoint's tag as records hold it: the first four bytes of its name's SHA-256.
fn tag_bytes(site: &Site) -> [u8; 4] {
    let IdDigest([a, b, c, d, ..]) = IdDigest::of(site.rules.name.as_str().as_bytes());
    [a, b, c, d]
}

/// Three endpoints: `a` counts idleness in minutes, `b` in seconds, `c` speaks HTTP+SSE.
fn configured(choices: &mut Choices) -> Configured {
    let idle_of_streams = choices.one_of(&["0s", "5s", "10m"]);
    let mut any = |all: &[&'static str]| choices.one_of(all);
    let mut endpoint = |name: &str, idle: &str, lifetime: &str, initialize: &str, transport: &str| {
        let admission = any(&[r#""headers""#, r#""body""#, r#""body","strict_json_rpc":true"#]);
        format!(
            r#"{{"name":"{name}","path":"/{name}","max_sessions":4,"idle_timeout":"{idle}",
            "max_lifetime":"{lifetime}","initialize_timeout":"{initialize}",
            "unknown_session":"{}","admission":{admission},"on_full":"{}"{}{}}}"#,
            any(&["adopt", "reject"]),
            any(&["reject", "evict_idle"]),
            if transport.is_empty() {
                any(&[
                    "",
                    r#","max_streams":2"#,
                    r#","max_streams":3,"max_stream_lifetime":"40s""#,
                ])
            } else {
                ""
            },
            match transport {
                "" => any(&["", r#","terminate_upstream":{"cluster":"c","authority":"a"}"#]),
                transport => transport,
            },
        )
    };
    let endpoints = [
        endpoint("a", "10m", "20m", "60s", ""),
        endpoint("b", "5s", "0s", "16s", ""),
        endpoint(
            "c",
            idle_of_streams,
            "20m",
            "16s",
            r#","transport":"http_sse","message_path":"/c/m""#,
        ),
    ]
    .join(",");
    let text = format!(
        r#"{{"max_sessions":6,"log_session_id":"{}","endpoints":[{endpoints}]}}"#,
        choices.one_of(&["plain", "hash"]),
    );
    let config = Config::parse(text.as_bytes()).unwrap();
    let sites = Site::all(&config);
    Configured { config, sites }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("at step {}, at {} ms", self.tally.steps, self.now);
        }
    }
}

impl Stream {
    fn is_of(&self, core: &Rc<worker::Core>) -> bool {
        Rc::ptr_eq(&self.core, core)
    }

    /// Whether the answer can make a session of an unknown id of the request.
    fn is_adoptable(&self) -> bool {
        self.site != SSE && self.exchange.wants().answer_head
    }
}
