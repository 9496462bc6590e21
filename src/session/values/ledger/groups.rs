//! Groups of buckets: who sweeps one, when it is due, and when its counts are replaced.
//!
//! If a sweep's counts differ from the ledger's and nothing changed during the sweep, either counts have drifted or
//! another worker is between its two writes. So the sweep only marks the group as suspect. The next sweep, a
//! [`GRACE`] later, is a recount: it rewrites every bucket with its own mark. A worker that read a bucket before the
//! rewrite fails to write it and starts again. A worker that removes a session after the rewrite finds the mark. So
//! the recount's counts are right, unless a count has changed meanwhile; then the next sweep tries again.

use core::time::Duration;

use super::Ledger;
use crate::session::settings::EndpointTag;
use crate::session::store::{BUCKETS, GROUP_LEN};
use crate::session::time::Timestamp;

/// Buckets are swept and counted in this many groups of consecutive slots.
pub(in crate::session) const GROUPS: u8 = (BUCKETS / GROUP_LEN) as u8;

/// A claimed group is free for other workers after this time, in case its sweeper has died.
pub(in crate::session) const CLAIM: Duration = Duration::from_secs(10);

/// The time for a worker to finish a change of two writes. Only a mismatch that lasts longer is a fault.
pub(in crate::session) const GRACE: Duration = Duration::from_secs(2);

/// The state of one group of buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Group {
    /// Nothing in the group is due before this.
    pub(super) due: Timestamp,
    /// A worker sweeps the group.
    pub(super) claimed: bool,
    /// When the last claim lapses, or would have lapsed.
    pub(super) claimed_until: Timestamp,
    /// Changes with every change of the group's counts, so that a recount knows whether it was overtaken.
    pub(super) changes: u16,
    /// The mark of the recount that replaced the group's counts last.
    pub(super) recounted: Timestamp,
    /// The last sweep's counts differed from the ledger's, so the next sweep recounts and keeps writers out.
    pub(super) suspect: bool,
    /// Bytes of the group's keys and values.
    pub(super) bytes: u32,
}

/// A group claimed for sweeping, and its state at the time of the claim.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Claim {
    pub(in crate::session) group: u8,
    state: Group,
}

/// The results of a sweep of one group, for the ledger.
#[derive(Debug, Default)]
pub(in crate::session) struct GroupTally {
    /// Sessions alive, by endpoint.
    pub(in crate::session) alive: Vec<(EndpointTag, u32)>,
    /// The sessions that this sweep has ended: the endpoint, and the mark of the bucket.
    pub(in crate::session) ended: Vec<(EndpointTag, Timestamp)>,
    pub(in crate::session) next_due: Timestamp,
    pub(in crate::session) bytes: u32,
    /// Every bucket was read, and also rewritten if the claim said so.
    pub(in crate::session) complete: bool,
}

impl Group {
    /// When the group can be claimed: when it is due or, if it is claimed, when the claim lapses.
    fn claimable_at(&self) -> Timestamp {
        if self.claimed {
            self.claimed_until
        } else {
            self.due
        }
    }
}

impl Claim {
    /// The mark for every bucket, if the sweep must rewrite them all to keep writers out.
    ///
    /// Of two claims of one group the later one lapses later, whatever the clock does. So that time identifies a
    /// claim, and tells which came first.
    pub(in crate::session) fn mark(&self) -> Option<Timestamp> {
        self.state.suspect.then_some(self.state.claimed_until)
    }
}

impl Ledger {
    /// Claims the group that has been due longest, if any is due and not claimed.
    pub(in crate::session) fn claim(&mut self, now: Timestamp) -> Option<Claim> {
        let (index, group) = (0..)
            .zip(self.groups.iter_mut())
            .filter(|(_, group)| group.claimable_at() <= now)
            .min_by_key(|(_, group)| group.claimable_at())?;
        group.claimed = true;
        group.claimed_until = now
            .after(CLAIM)
            .max(group.claimed_until.after(Duration::from_millis(1)));
        group.due = Timestamp::NEVER;
        Some(Claim {
            group: index,
            state: *group,
        })
    }

    /// Enters the results of the sweep of `claim`. Returns the number of counts that it repaired.
    pub(in crate::session) fn finish(&mut self, claim: &Claim, tally: &GroupTally, now: Timestamp) -> u32 {
        let before = self.group(claim.group);
        for (endpoint, mark) in &tally.ended {
            self.remove_session(*endpoint, claim.group, *mark);
        }
        let wrong = self.miscounts(claim.group, &tally.alive);
        let Some(group) = self.groups.get_mut(usize::from(claim.group)) else {
            return 0;
        };
        group.due = group.due.min(tally.next_due);
        // Only the last claim may decide: the buckets no longer have the marks of an earlier one.
        if before.claimed_until != claim.state.claimed_until {
            return 0;
        }
        group.claimed = false;
        group.bytes = tally.bytes;
        let conclusive = tally.complete && before.changes == claim.state.changes;
        let mismatch = if conclusive { wrong > 0 } else { group.suspect };
        let replace = conclusive && mismatch && claim.mark().is_some();
        group.suspect = mismatch && !replace;
        if group.suspect {
            group.due = group.due.min(now.after(GRACE));
        }
        if !replace {
            return 0;
        }
        group.recounted = claim.state.claimed_until;
        group.changes = group.changes.wrapping_add(1);
        self.replace_counts(claim.group, &tally.alive);
        wrong
    }

    /// The mark of the recount that replaced the counts of `group` last.
    pub(in crate::session) fn recounted(&self, group: u8) -> Timestamp {
        self.group(group).recounted
    }

    /// Notes that something in `group` is due at `due`, and that its counts have changed.
    pub(in crate::session) fn touch_group(&mut self, group: u8, due: Timestamp) {
        if let Some(group) = self.groups.get_mut(usize::from(group)) {
            group.changes = group.changes.wrapping_add(1);
            group.due = group.due.min(due);
        }
    }

    /// Leaves only these groups to sweeps, so that a simulated world need not sweep empty ones.
    #[cfg(test)]
    pub(in crate::session) fn leave_awake(&mut self, awake: &[u8]) {
        for (index, group) in (0..).zip(self.groups.iter_mut()) {
            if !awake.contains(&index) {
                group.due = Timestamp::NEVER;
            }
        }
    }

    /// Makes the next sweep of these groups a recount.
    #[cfg(test)]
    pub(in crate::session) fn suspect(&mut self, suspects: &[u8]) {
        for (index, group) in (0..).zip(self.groups.iter_mut()) {
            if suspects.contains(&index) {
                group.suspect = true;
                group.due = Timestamp::default();
            }
        }
    }

    fn group(&self, group: u8) -> Group {
        self.groups.get(usize::from(group)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn mcp() -> EndpointTag {
        EndpointTag::of("mcp")
    }

    /// One session counted in the only group that is swept, while its buckets hold none.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::empty();
        ledger.add_session(mcp(), 0, at(0));
        ledger.leave_awake(&[0]);
        ledger
    }

    fn none_alive() -> GroupTally {
        GroupTally {
            next_due: at(1000),
            complete: true,
            ..GroupTally::default()
        }
    }

    fn active(ledger: &Ledger) -> u32 {
        ledger.counts().active
    }

    #[test]
    fn counts_are_replaced_by_the_second_sweep_that_finds_them_wrong() {
        let mut ledger = ledger();
        let first = ledger.claim(at(100)).unwrap();
        assert_eq!(first.mark(), None);
        assert_eq!(ledger.finish(&first, &none_alive(), at(100)), 0);
        assert!(ledger.claim(at(101)).is_none());
        let second = ledger.claim(at(102)).unwrap();
        assert!(second.mark().is_some());
        assert_eq!(ledger.finish(&second, &none_alive(), at(102)), 1);
        assert_eq!((active(&ledger), ledger.recounted(0)), (0, at(112)));
    }

    #[test]
    fn a_count_that_moved_meanwhile_puts_the_recount_off() {
        let mut ledger = ledger();
        ledger.suspect(&[0]);
        let claim = ledger.claim(at(100)).unwrap();
        ledger.add_session(mcp(), 0, at(5000));
        assert_eq!(ledger.finish(&claim, &none_alive(), at(100)), 0);
        assert_eq!(active(&ledger), 2);
        assert!(ledger.claim(at(102)).is_some_and(|claim| claim.mark().is_some()));
    }

    #[test]
    fn a_sweep_that_could_not_read_everything_judges_nothing() {
        let mut ledger = ledger();
        ledger.suspect(&[0]);
        let claim = ledger.claim(at(100)).unwrap();
        let partial = GroupTally {
            complete: false,
            ..none_alive()
        };
        assert_eq!(ledger.finish(&claim, &partial, at(100)), 0);
        assert_eq!(active(&ledger), 1);
    }

    #[test]
    fn a_sweep_without_its_claim_replaces_nothing_and_frees_nothing() {
        let mut ledger = ledger();
        ledger.suspect(&[0]);
        let slow = ledger.claim(at(100)).unwrap();
        assert!(ledger.claim(at(109)).is_none());
        let next = ledger.claim(at(110)).unwrap();
        assert_eq!(ledger.finish(&slow, &none_alive(), at(111)), 0);
        assert_eq!(active(&ledger), 1);
        assert!(ledger.claim(at(119)).is_none());
        assert_eq!(ledger.finish(&next, &none_alive(), at(119)), 1);
    }

    #[test]
    fn the_group_due_longest_is_claimed_first() {
        let mut ledger = Ledger::empty();
        ledger.leave_awake(&[]);
        for (group, due) in [(3, 30), (1, 10), (2, 20)] {
            ledger.touch_group(group, at(due));
        }
        let claimed = core::iter::from_fn(|| ledger.claim(at(25)).map(|claim| claim.group));
        assert!(claimed.eq([1, 2]));
    }
}
