//! A fleet: gateways with one cap, an etcd between them, and a network that loses, delays, repeats, reorders and
//! spoils. Processes start, die and stop for longer than their lease; workers that speak die or stall; caps change.
//! Everything that gateway and etcd say to each other passes as bytes.
//!
//! The world knows more than any gateway. After every step it checks what [`audit`] has. A *calm* world has a good
//! network and no faults; there, newcomers must also get the places that there are, in time.

mod audit;
mod etcd;
mod faults;
mod network;
mod process;
mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use mcp_session_filter::fleet::{COUNT_EVERY, Call, Demand, Etcd as Codec, GatewayId, Next, Terms, WhenLost};

use self::audit::Audit;
use self::etcd::Etcd;
use self::process::Process;
use super::world::choices::Choices;

/// Most gateways of a world.
const GATEWAYS: usize = 6;

/// What a world has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub steps: u64,
    pub newcomers: u64,
    /// Let in at once, within 250 ms, and later.
    pub at_once: u64,
    pub soon: u64,
    pub late: u64,
    pub refused: u64,
    /// Refused among them, though another gateway had a place.
    pub unlucky: u64,
    pub calls: u64,
    pub conflicts: u64,
    pub faults: u64,
    /// Times at which a gateway got lost.
    pub lost: u64,
    /// Steps after which all places were taken.
    pub full: u64,
    /// Steps after which there were more sessions than the cap, since gateways had been cut off, or it was lowered.
    pub above: u64,
}

impl Tally {
    /// Adds those of another world.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.newcomers += other.newcomers;
        self.at_once += other.at_once;
        self.soon += other.soon;
        self.late += other.late;
        self.refused += other.refused;
        self.unlucky += other.unlucky;
        self.calls += other.calls;
        self.conflicts += other.conflicts;
        self.faults += other.faults;
        self.lost += other.lost;
        self.full += other.full;
        self.above += other.above;
    }
}

/// What happens at a time.
#[derive(Debug)]
enum Event {
    /// The worker that speaks for this process, under this term, looks at its gateway.
    Look { process: u64, term: u32, wake: u64 },
    /// A request reaches etcd.
    Request { process: u64, term: u32, call: Call },
    /// An answer reaches the process.
    Answer {
        process: u64,
        term: u32,
        call: Call,
        body: Vec<u8>,
    },
    /// Another worker of the process begins to speak.
    TakeOver { process: u64 },
    /// Newcomers look whether they have waited for long enough.
    Wait { process: u64 },
}

impl Event {
    fn process(&self) -> u64 {
        match self {
            Self::Look { process, .. }
            | Self::Request { process, .. }
            | Self::Answer { process, .. }
            | Self::TakeOver { process }
            | Self::Wait { process } => *process,
        }
    }
}

/// The world.
pub struct Fleet {
    choices: Choices,
    is_calm: bool,
    now: u64,
    etcd: Etcd,
    codec: Codec,
    terms: Terms,
    /// By a number that no other process of the world has had.
    processes: BTreeMap<u64, Process>,
    started: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    audit: Audit,
    is_etcd_down: bool,
    /// Nothing goes wrong any more.
    is_healed: bool,
    /// How much else happens between newcomers.
    quiet: usize,
    /// How full the gateways are kept, in tenths of the cap.
    tenths: u32,
    pub tally: Tally,
    is_traced: bool,
}

impl Fleet {
    /// A world with its first gateways. In a calm one nothing goes wrong.
    pub fn new(mut choices: Choices, is_calm: bool) -> Self {
        let terms = Terms {
            cap: choices.one_of(&[1, 3, 10, 24, 100, 1_000]),
            lease: Duration::from_secs(choices.one_of(&[3, 10])),
            when_lost: choices.one_of(&[WhenLost::Local, WhenLost::Refuse]),
        };
        let (fast, late) = match is_calm {
            true => (0, 0),
            false => (choices.one_of(&[-20, 0, 20, 50]), choices.one_of(&[0, 500])),
        };
        let mut world = Self {
            is_calm,
            now: 1_000_000,
            etcd: Etcd::new(fast, late),
            codec: Codec::new("fleet"),
            terms,
            processes: BTreeMap::new(),
            started: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            audit: Audit::default(),
            is_etcd_down: false,
            is_healed: false,
            tenths: choices.one_of(&[7, 9, 10, 13]),
            tally: Tally::default(),
            quiet: choices.one_of(&[32, 64, 250]),
            is_traced: std::env::var_os("MSF_TRACE").is_some(),
            choices,
        };
        for _ in 0..2 + world.choices.below(GATEWAYS - 1) {
            world.start();
        }
        world
    }

    /// Does the next thing, and checks everything that must hold.
    pub fn step(&mut self) {
        match self.choices.below(self.quiet) {
            0..=7 => self.newcomers(),
            8..=13 => self.end_some(),
            14 if self.is_calm => self.change_calmly(),
            14 => self.fault(),
            _ => self.next_event(),
        }
        self.tally.steps += 1;
        self.check();
    }

    /// Heals everything. Then the shares come right, and every free place can be had.
    pub fn finish(mut self) -> Tally {
        self.heal();
        let settled = self.now + 4 * u64::try_from(self.terms.lease.as_millis()).unwrap();
        self.pass_until(settled);
        while self.is_anything_under_way() {
            self.next_event();
            self.tally.steps += 1;
            self.check();
        }
        self.check_rest();
        self.check_places_can_be_had();
        self.tally
    }

    /// Plays what happens until a time, without newcomers.
    fn pass_until(&mut self, until: u64) {
        while self
            .events
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= until)
        {
            self.next_event();
            self.tally.steps += 1;
            self.check();
        }
        self.now = self.now.max(until);
    }

    fn is_anything_under_way(&self) -> bool {
        let is_message = |event: &Event| matches!(event, Event::Request { .. } | Event::Answer { .. });
        self.events.values().any(is_message)
    }

    fn start(&mut self) {
        self.started += 1;
        let (number, id) = (self.started, GatewayId(self.started * 0x1234_5678_9abc));
        let clock = match self.is_calm {
            true => (0, 0),
            false => (
                self.choices.one_of(&[0, 5_000_000]),
                self.choices.one_of(&[-20, 0, 20]),
            ),
        };
        let own_cap = match self.is_calm {
            true => u32::MAX,
            false => self.choices.one_of(&[2, 40, u32::MAX]).min(self.terms.cap * 2),
        };
        let mut process = Process::new(id, self.terms, own_cap, clock);
        process.take_over(self.now);
        self.processes.insert(number, process);
        self.trace(&format_args!("process {number} starts"));
        self.schedule(
            0,
            Event::Look {
                process: number,
                term: 1,
                wake: 0,
            },
        );
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + after, self.scheduled), event);
    }

    fn next_event(&mut self) {
        let Some(((at, _), event)) = self.events.pop_first() else {
            return;
        };
        self.now = self.now.max(at);
        let Some(process) = self.processes.get(&event.process()) else {
            // What a dead process has sent still reaches etcd.
            if let Event::Request { process, term, call } = event {
                self.serve(process, term, call);
            }
            return;
        };
        let is_sent = matches!(event, Event::Request { .. });
        if !is_sent && self.now < process.stopped {
            // When the process goes on, everything comes at once, in any order.
            let after = process.stopped - self.now + self.choices.below(3) as u64;
            return self.schedule(after, event);
        }
        match event {
            Event::Look { process, term, wake } => {
                if wake == 0 || wake == self.processes[&process].wake {
                    self.look(process, term);
                }
            }
            Event::Request { process, term, call } => self.serve(process, term, call),
            Event::Answer {
                process,
                term,
                call,
                body,
            } => self.answer(process, term, call, &body),
            Event::TakeOver { process } => self.take_over(process),
            Event::Wait { process } => self.admit_waiting(process),
        }
    }

    fn take_over(&mut self, number: u64) {
        let now = self.now;
        let process = self.processes.get_mut(&number).unwrap();
        process.take_over(now);
        let term = process.term;
        self.trace(&format_args!("process {number} has another speaker, {term}"));
        self.schedule(
            0,
            Event::Look {
                process: number,
                term,
                wake: 0,
            },
        );
    }

    /// A worker that speaks does what its gateway wants.
    fn look(&mut self, number: u64, term: u32) {
        let at = self.now;
        for _ in 0..8 {
            let Some((process, speaker)) = self.speaker(number, term) else {
                return;
            };
            let demand = Demand {
                used: process.used,
                waiting: process.waiting.len() as u32,
            };
            let now = process.local(at);
            // Another worker lets some in between the count and the new limit.
            self.slip_in(number);
            let process = self.processes.get_mut(&number).unwrap();
            let gateway = &mut process.speakers[speaker].gateway;
            let (was_lost, next) = (gateway.is_lost(), gateway.advance(demand, now));
            let (kept, limit, is_lost) = (gateway.kept(), gateway.limit(), gateway.is_lost());
            (process.kept, process.limit) = (kept, limit);
            self.tally.lost += u64::from(is_lost && !was_lost);
            self.trace(&format_args!("process {number}: {demand:?} {limit:?} {next:?}"));
            match next {
                Next::Again => {}
                Next::Send(call) => {
                    self.audit.note_demand(number, call.number, term, demand, limit);
                    self.slip_in(number);
                    self.send(number, term, call);
                    self.schedule_look(number, term, call.until.since(now));
                    break;
                }
                Next::Wait(until) => {
                    self.schedule_look(number, term, until.since(now));
                    break;
                }
            }
        }
        self.admit_waiting(number);
    }

    fn schedule_look(&mut self, process: u64, term: u32, after: Duration) {
        let after = u64::try_from(after.min(COUNT_EVERY).as_millis()).unwrap().max(1);
        let late = match self.is_calm {
            true => 0,
            false => self.choices.below(20) as u64,
        };
        // Of several alarms the last one counts.
        let wake = self.scheduled + 1;
        self.processes.get_mut(&process).unwrap().wake = wake;
        self.schedule(after + late, Event::Look { process, term, wake });
    }

    /// A worker that speaks takes an answer.
    fn answer(&mut self, number: u64, term: u32, call: Call, body: &[u8]) {
        let at = self.now;
        let Some((process, speaker)) = self.speaker(number, term) else {
            return;
        };
        let now = process.local(at);
        let answer = self.codec.answer(&call.ask, body);
        self.trace(&format_args!("process {number}: {} {answer:?}", call.number));
        let process = self.processes.get_mut(&number).unwrap();
        let gateway = &mut process.speakers[speaker].gateway;
        gateway.answered(call.number, answer, now);
        (process.kept, process.limit) = (gateway.kept(), gateway.limit());
        self.tally.conflicts += gateway.take_tally().conflicts;
        self.look(number, term);
    }

    /// The speaker with this term, if it may speak. One that another has replaced learns so where it reads the demand,
    /// or would write the limit.
    fn speaker(&mut self, number: u64, term: u32) -> Option<(&mut Process, usize)> {
        let process = self.processes.get_mut(&number)?;
        let current = process.term;
        process.speakers.retain(|speaker| speaker.term == current);
        let index = process.speakers.iter().position(|speaker| speaker.term == term)?;
        Some((process, index))
    }

    fn trace(&self, event: &dyn std::fmt::Display) {
        if self.is_traced {
            eprintln!("{} at {}: {event}", self.tally.steps, self.now);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "at step {}, at {} ms: {:?}",
                self.tally.steps, self.now, self.terms
            );
            for share in self.etcd.shares() {
                eprintln!("  {share:x?}");
            }
            for (number, process) in &self.processes {
                eprintln!(
                    "  {number}: {:x?} used {} carried {} waiting {} {:?} {:?}",
                    process.id,
                    process.used,
                    process.carried,
                    process.waiting.len(),
                    process.limit,
                    process.kept.lease,
                );
            }
        }
    }
}
