//! What must hold after every step:
//!
//! 1. No transaction makes the shares more than the cap in force, unless its gateway comes back with sessions that it
//!    has. Nobody grows while they are more.
//! 2. A gateway whose lease lives by its own clock has it in etcd, with a share of at least what it allows itself.
//! 3. A gateway with a lease has no more sessions than its share, but those that it brought along.
//! 4. The sessions at all gateways with a live lease are at most the cap in force. There are more only if gateways
//!    brought some along or the cap was lowered, and then no more than the shares.
//! 5. A gateway that is not lost lets nobody in whose lease is over by its own clock.
//!
//! In a calm world also:
//!
//! 6. Below eight tenths of the cap no newcomer is refused.
//! 7. A place that is free for two seconds while somebody waits is taken.

use std::collections::BTreeMap;

use mcp_session_filter::fleet::{Ask, Call, Demand, Limit};

use super::Fleet;
use super::etcd::Share;

/// A place that was given back is used within this time.
const USED_WITHIN_MS: u64 = 2_000;

/// What the world remembers for its checks.
#[derive(Debug, Default)]
pub struct Audit {
    /// By process, term and call: what was in use when it was sent, and the limit then.
    demands: BTreeMap<(u64, u32, u32), (Demand, Limit)>,
    /// Since when there is a free place and a newcomer that waits.
    idle_since: Option<u64>,
    /// How many had waited and were let in before the last step.
    let_in: u64,
}

impl Audit {
    /// Notes what a gateway knew when it sent a call.
    pub fn note_demand(&mut self, process: u64, number: u32, term: u32, demand: Demand, limit: Limit) {
        if self.demands.len() > 4_096 {
            self.demands.pop_first();
        }
        self.demands.insert((process, term, number), (demand, limit));
    }

    /// Checks what a call has changed in etcd.
    pub fn write(&self, process: u64, term: u32, call: &Call, before: &[Share], after: &[Share]) {
        let Ask::Swap { entry, .. } = call.ask else { return };
        if before == after {
            return;
        }
        let share_in = |shares: &[Share]| {
            let own = shares.iter().find(|share| share.gateway == entry.gateway.0);
            own.map_or(0, |share| share.places)
        };
        let (grown, sum) = (share_in(after) > share_in(before), sum(after));
        if sum <= cap(after) || !grown {
            return;
        }
        let (demand, limit) = self.demands[&(process, term, call.number)];
        let comes_back = match limit {
            Limit::Places { most, .. } => demand.used > most && u64::from(demand.used) == share_in(after),
            Limit::Own => false,
        };
        assert!(
            comes_back,
            "shares of {sum} for a cap of {}: {call:?}",
            cap(after)
        );
    }
}

fn sum(shares: &[Share]) -> u64 {
    shares.iter().map(|share| share.places).sum()
}

/// The cap in force.
fn cap(shares: &[Share]) -> u64 {
    shares.iter().map(|share| share.cap).min().unwrap_or(u64::MAX)
}

impl Fleet {
    /// Checks everything.
    pub(super) fn check(&mut self) {
        let now = self.now;
        self.etcd.pass(now);
        let shares = self.etcd.shares();
        let mut places = 0;
        for (number, process) in &mut self.processes {
            process.carry(now);
            let share = shares.iter().find(|share| share.gateway == process.id.0);
            let most = share.map_or(0, |share| share.places);
            if let Limit::Places { most: allowed, .. } = process.limit
                && process.is_bound(now)
            {
                assert!(
                    u64::from(allowed) <= most,
                    "process {number} allows itself {allowed} of {most}"
                );
                let at_most = most.max(u64::from(process.carried));
                let used = u64::from(process.used);
                assert!(used <= at_most, "process {number} has {used} of {at_most}");
            }
            if u64::from(process.used) <= most && process.is_bound(now) {
                process.carried = 0;
            }
            if share.is_some() {
                places += u64::from(process.used - process.carried.min(process.used));
            }
        }
        let most = cap(&shares).max(sum(&shares));
        assert!(places <= most, "{places} sessions, at most {most} are allowed");
        let used: u64 = self
            .processes
            .values()
            .map(|process| u64::from(process.used))
            .sum();
        self.tally.full += u64::from(used == cap(&shares));
        self.tally.above += u64::from(used > cap(&shares));
        if self.is_calm {
            assert!(
                used <= u64::from(self.terms.cap),
                "{used} sessions in a calm world"
            );
            self.check_free_places(used);
        }
    }

    /// Whether a place has been free for long while a newcomer waits.
    fn check_free_places(&mut self, used: u64) {
        let let_in = self.tally.soon + self.tally.late;
        let is_progress = core::mem::replace(&mut self.audit.let_in, let_in) != let_in;
        let somebody_waits = (self.processes.values()).any(|process| !process.waiting.is_empty());
        if used >= u64::from(self.terms.cap) || !somebody_waits || is_progress {
            self.audit.idle_since = None;
            return;
        }
        let since = *self.audit.idle_since.get_or_insert(self.now);
        assert!(
            self.now - since <= USED_WITHIN_MS,
            "a place is free since {since}, and a newcomer waits"
        );
    }

    /// Once nothing goes wrong any more: every gateway has a share and uses it, and the shares fit.
    pub(super) fn check_rest(&self) {
        let shares = self.etcd.shares();
        let used: u32 = self.processes.values().map(|process| process.used).sum();
        for (number, process) in &self.processes {
            assert!(process.is_bound(self.now), "process {number} has no lease");
            let share = shares.iter().find(|share| share.gateway == process.id.0);
            let written = share.map_or(0, |share| share.places as u32);
            let Limit::Places { most, .. } = process.limit else {
                panic!("process {number} is lost")
            };
            // A share may be off by half of its slack.
            let unused = written - most;
            assert!(
                unused <= self.terms.cap / 32,
                "process {number}: {most} of {written}"
            );
        }
        assert_eq!(shares.len(), self.processes.len(), "{shares:?}");
        assert!(sum(&shares) <= u64::from(self.terms.cap.max(used)), "{shares:?}");
    }

    /// Ends all sessions. Then newcomers at one gateway get all places.
    pub(super) fn check_places_can_be_had(&mut self) {
        self.tenths = 10;
        for process in self.processes.values_mut() {
            process.used = 0;
            process.own_cap = u32::MAX;
        }
        self.pass_until(self.now + USED_WITHIN_MS);
        let number = self.any_process().unwrap();
        let until = self.now + USED_WITHIN_MS;
        while self.processes[&number].used < self.terms.cap {
            assert!(self.now < until, "places are free, and are not used");
            let missing = self.terms.cap - self.processes[&number].used;
            let waits = self.processes[&number].waiting.len() as u32;
            for _ in waits..missing {
                self.newcomer(number);
            }
            self.next_event();
            self.tally.steps += 1;
            self.check();
        }
    }
}
