//! A hostile world: any client puts any id, or none, on any message of any method. The server mints, repeats and
//! echoes ids on any answer, with any status.
//!
//! The world keeps its own books, from what can be seen from outside. An id is *usable* from the moment when a client
//! is given it in a 2xx answer that passed with the id on it. It stays usable until the filter answers 404 to it or
//! reports the session's end, or the server ends it (a DELETE answered 2xx, a 404). After every step the usable ids
//! are at most the caps of the VM, the endpoint and the principal, and each of them has a place. Ids that were
//! adopted without a place, which only `adopt` allows, are kept apart.
//!
//! The faults are those of [`world`](super::world). Light faults must leave no trace. After the loss of the ledger,
//! or of everything, the caps hold again after a round of sweeps, once enough sessions have ended.

mod audit;
mod books;
mod checks;
mod clients;
mod faults;
mod filter;
mod guarded;
mod ids;
mod servers;
mod setting;

use std::fmt;
use std::rc::Rc;

use mcp_session_filter::exchange::Exchange;
use mcp_session_filter::session::testing::Memory;
use mcp_session_filter::session::{RootTag, SessionKey, Table, Timestamp};

use self::books::Books;
use self::ids::{Id, Ids};
use self::setting::Setting;
use super::world::choices::Choices;
use super::world::heard::Heard;
use super::world::store::Shared;
use super::world::worker::{Configured, Core, Place, Worker};

const WORKERS: usize = 3;

/// No worker lets more than this pass between two ticks.
const TICK_MS: u64 = 5_000;

/// A round of sweeps: every group is swept within 30 s, and again 2 s after a sweep found it wrong.
const ROUND_MS: u64 = 35_000;

/// What a world has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub steps: u64,
    pub requests: u64,
    pub refused: u64,
    pub answers: u64,
    pub given: u64,
    pub adopted: u64,
    pub untracked: u64,
    pub taken_off: u64,
    pub ended: u64,
    pub faults: u64,
    /// Steps after which some endpoint's usable ids were as many as its cap, or the VM's.
    pub full: u64,
}

impl Tally {
    /// Adds those of another world.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.requests += other.requests;
        self.refused += other.refused;
        self.answers += other.answers;
        self.given += other.given;
        self.adopted += other.adopted;
        self.untracked += other.untracked;
        self.taken_off += other.taken_off;
        self.ended += other.ended;
        self.faults += other.faults;
        self.full += other.full;
    }
}

/// An open request, and the world's knowledge of it.
struct Open {
    core: Rc<Core>,
    context: u32,
    /// `None` if no endpoint governs it.
    exchange: Option<Exchange>,
    site: usize,
    verb: &'static str,
    /// The user that sent it, by number.
    user: Option<usize>,
    /// The one valid id that it carried to the server.
    own: Option<Id>,
    /// Its id was that of a session when it passed.
    was_alive: bool,
    /// It passed while the table could not be read.
    is_unread: bool,
    answered: bool,
    place: Option<Place>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            site,
            verb,
            user,
            own,
            ..
        } = self;
        write!(
            f,
            "{verb} of {own:?} to endpoint {site} by {user:?}, {:?}",
            self.place
        )
    }
}

/// The world.
pub struct Hostile {
    choices: Choices,
    setting: Setting,
    configured: Configured,
    shared: Shared,
    ids: Ids,
    /// `None`: the worker's VM is dead, and the next request starts a new one.
    workers: Vec<Option<Worker<Open>>>,
    roots: u32,
    now: u64,
    /// The latest time that the clock has shown.
    latest: u64,
    /// Whether heavy faults happen.
    heavy: bool,
    books: Books,
    pub tally: Tally,
    /// Whether every event is printed (`MSF_TRACE`).
    is_traced: bool,
}

impl Hostile {
    /// A world with its workers; `heavy` adds heavy faults.
    pub fn new(mut choices: Choices, heavy: bool) -> Self {
        let setting = Setting::any(&mut choices);
        let configured = setting.configured();
        let near_wrap = choices.once_in(4);
        let mut world = Self {
            choices,
            books: Books::new(setting.endpoints.len()),
            setting,
            configured,
            shared: Shared::new(if near_wrap { u32::MAX - 2_000 } else { 1 }),
            ids: Ids::default(),
            workers: Vec::new(),
            roots: 0,
            now: 1_000_000,
            latest: 1_000_000,
            heavy,
            tally: Tally::default(),
            is_traced: std::env::var_os("MSF_TRACE").is_some(),
        };
        for number in 0..WORKERS {
            world.workers.push(None);
            world.start_worker(number);
        }
        world
    }

    /// Does the next thing, and checks everything that must hold.
    pub fn step(&mut self) {
        self.tally.steps += 1;
        match self.choices.below(256) {
            0..=109 => self.request(None),
            110..=189 => self.answer(None),
            190..=222 => self.leave(None),
            223..=238 => self.pass_a_while(),
            239..=245 => self.tick_one(None),
            246..=254 => self.fault(),
            _ => match self.choices.below(3) {
                0 => self.pass(60_000),
                _ => self.heal(),
            },
        }
        self.audit();
    }

    /// Ends all streams and lets time pass. Then no reservation and no session must be left.
    pub fn finish(mut self) -> Tally {
        self.heal();
        for number in 0..WORKERS {
            while self.open_requests(number) > 0 {
                self.leave(Some(number));
            }
        }
        self.audit();
        self.now += 2 * 3_600_000;
        self.latest = self.now;
        self.pass(2 * ROUND_MS);
        self.audit();
        let counts = self.counts().expect("nothing disturbs the ledger any more");
        assert_eq!(self.shared.records(), [], "sessions outlive their time");
        assert_eq!((counts.active, counts.reserved), (0, 0), "{counts:?}");
        assert_eq!(
            self.books.usable_in_all(),
            0,
            "an id is usable, and no session is left"
        );
        self.tally
    }

    fn start_worker(&mut self, number: usize) {
        self.roots += 1;
        self.workers[number] = Worker::start(&self.shared, &self.configured, self.roots, self.timestamp());
    }

    /// A worker that lives. The request starts a dead one anew.
    fn woken(&mut self, wanted: Option<usize>) -> Option<usize> {
        let number = wanted.unwrap_or_else(|| self.choices.below(WORKERS));
        if self.workers[number].is_none() {
            self.start_worker(number);
        }
        self.workers[number].is_some().then_some(number)
    }

    fn open_requests(&self, number: usize) -> usize {
        self.workers[number]
            .as_ref()
            .map_or(0, |worker| worker.streams.len())
    }

    fn all_open(&self) -> impl Iterator<Item = &Open> {
        self.workers.iter().flatten().flat_map(|worker| &worker.streams)
    }

    fn trace(&self, event: &dyn fmt::Debug) {
        if self.is_traced {
            eprintln!("{} at {}: {event:?}", self.tally.steps, self.now);
        }
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn pass_a_while(&mut self) {
        let span = self.choices.one_of(&[1, 250, 999, 1_001, 3_000, TICK_MS]);
        self.pass(span);
    }

    /// Lets time pass, with the workers' ticks.
    fn pass(&mut self, mut span: u64) {
        while span > 0 {
            let part = span.min(TICK_MS);
            span -= part;
            self.now += part;
            self.latest = self.latest.max(self.now);
            let first = self.choices.below(WORKERS);
            for number in 0..WORKERS {
                self.tick_one(Some((first + number) % WORKERS));
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
        let ticked = worker.tick(now, fresh_root);
        self.after_tick(number, ticked);
    }

    /// The keys under which the workers keep the session of this id. While none of them lives, another handle tells.
    fn keys_of(&self, site: usize, id: Id) -> Vec<SessionKey> {
        let tag = self.configured.sites[site].tag;
        match self.workers.iter().flatten().next() {
            Some(worker) => self.ids.keys(id, |text| worker.core.table.track(tag, text).key()),
            None => self.table().map_or_else(Vec::new, |table| {
                self.ids.keys(id, |text| table.track(tag, text).key())
            }),
        }
    }

    /// A handle without faults, which no worker has. `None` if the table cannot be joined.
    fn table(&self) -> Option<Table<Memory>> {
        Table::attach(self.shared.memory.clone(), RootTag::from_random(0), [0; 16]).ok()
    }

    /// Whether the table holds a session of this id.
    fn is_there(&self, site: usize, id: Id) -> bool {
        self.opening_of(site, id).is_some()
    }

    /// Whether the table holds a session of this id as a request sees it: where everything was lost, a request that
    /// began before has another secret.
    fn is_there_for(&self, core: &Core, site: usize, id: Id) -> bool {
        let tag = self.configured.sites[site].tag;
        let keys = self.ids.keys(id, |text| core.table.track(tag, text).key());
        let records = self.shared.records();
        let is_its = |key: &SessionKey| records.iter().any(|record| record.key == *key.as_bytes());
        keys.iter().any(is_its)
    }

    /// When the session of this id was opened, if the table holds one.
    fn opening_of(&self, site: usize, id: Id) -> Option<[u8; 5]> {
        let keys = self.keys_of(site, id);
        let records = self.shared.records();
        let record = records
            .iter()
            .find(|record| keys.iter().any(|key| record.key == *key.as_bytes()));
        record.map(|record| record.opened)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "at step {}, at {} ms: {}",
                self.tally.steps,
                self.now,
                self.setting.text()
            );
        }
    }
}
