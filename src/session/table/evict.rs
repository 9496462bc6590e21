//! `on_full: evict_idle`: the session that has been idle longest ends, to make room for a newcomer.
//!
//! One scan of the table collects [`Candidates`]. Stamps only grow. So while the first candidate still has its stamp,
//! it is still the session that has been idle longest, and one scan serves many evictions. An eviction is a
//! compare-and-set on the session's record, so a wrong candidate does no harm.
//!
//! A scan reads no more than [`SCAN_COST`] allows. In a larger table the next scan starts where this one ended, until
//! a round has seen every bucket.

use core::time::Duration;

use super::Table;
use super::quota::Quota;
use crate::session::settings::{EndpointTag, Lifespans};
use crate::session::store::{BUCKETS, GROUP_LEN, Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::record::{EndReason, EndedSession, Session, SessionKey};

/// Budget of one scan: 1 unit per bucket plus 1 per 512 bytes. 20,000 units are about 12 ms: the whole table up to
/// some 28,000 sessions, every seventh bucket at a million.
const SCAN_COST: usize = 20_000;
const BYTES_PER_COST: usize = 512;

/// Most sessions of one principal that a scan reads, about 1 ms. If there are more, it reads this many in a row from
/// a random position.
const SCANNED_OF_PRINCIPAL: usize = 1_024;

/// Most candidates that are kept.
const MOST: usize = 256;

/// An idle session, with the stamp since which it is idle.
pub type Resting = (Timestamp, SessionKey);

/// The sessions with the oldest stamps of those added. The list is short enough for a linear search.
#[derive(Debug, Default)]
pub struct Candidates {
    resting: Vec<Resting>,
    /// Some sessions were dropped. Each had been idle for less time than all that are kept.
    is_cut: bool,
}

impl Candidates {
    /// Adds a session. If the list is full, drops the session with the latest stamp.
    pub fn add(&mut self, resting: Resting) {
        if self.resting.len() < MOST {
            return self.resting.push(resting);
        }
        self.is_cut = true;
        if let Some(last) = self.resting.iter_mut().max_by_key(|(stamp, _)| *stamp)
            && resting.0 < last.0
        {
            *last = resting;
        }
    }

    /// Takes out the session that has been idle longest, if it has been idle for at least `evict_after`.
    pub fn take_longest_idle(&mut self, evict_after: Duration, now: Timestamp) -> Option<Resting> {
        let (index, _) = self.longest_idle(evict_after, now)?;
        Some(self.resting.swap_remove(index))
    }

    /// Whether a candidate has been idle for at least `evict_after`.
    pub fn has_idle(&self, evict_after: Duration, now: Timestamp) -> bool {
        self.longest_idle(evict_after, now).is_some()
    }

    /// Whether all candidates were taken out, while others had been dropped for want of room.
    pub fn is_used_up(&self) -> bool {
        self.is_cut && self.resting.is_empty()
    }

    /// Drops all candidates.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn longest_idle(&self, evict_after: Duration, now: Timestamp) -> Option<(usize, Timestamp)> {
        let stamps = (0..)
            .zip(&self.resting)
            .map(|(index, (stamp, _))| (index, *stamp));
        let longest = stamps.min_by_key(|(_, stamp)| *stamp)?;
        (longest.1.after(evict_after) <= now).then_some(longest)
    }
}

/// One pass through all buckets, in one or more scans.
#[derive(Debug, Default)]
pub struct Round {
    /// The slot of the next bucket; `None` before the first scan.
    next: Option<u16>,
    /// How many slots the round has not seen yet.
    left: u16,
    /// The sessions that the round found in use cannot be evicted before this time, unless they become idle through
    /// their roots.
    busy_until: Timestamp,
}

impl Round {
    /// Begins a new round where the last scan ended. No session stays in use beyond `busy_until` unless its lease is
    /// renewed.
    pub fn begin(&mut self, busy_until: Timestamp) {
        self.left = BUCKETS;
        self.busy_until = busy_until;
    }

    /// Whether the round has seen all buckets.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// The sessions that the round found in use cannot be evicted before this time, unless they become idle through
    /// their roots.
    pub fn busy_until(&self) -> Timestamp {
        self.busy_until
    }

    fn note(&mut self, session: &Session, evict_after: Duration, found: &mut Candidates, now: Timestamp) {
        if session.in_use(now) {
            self.busy_until = self.busy_until.min(session.stamp.after(evict_after));
        } else {
            found.add((session.stamp, session.key));
        }
    }
}

impl<S: Store> Table<S> {
    /// Whether the end of one session of `endpoint` makes room for a newcomer. It does not if a cap was lowered below
    /// the number of sessions.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn would_let_in(&self, endpoint: EndpointTag, now: Timestamp) -> Result<bool, StoreError> {
        let mut ledger = self.ledger()?;
        ledger.reap(now);
        let Some(group) = ledger.groups_of(endpoint).first().copied() else {
            return Ok(false);
        };
        ledger.uncount_session(endpoint, group);
        Ok(ledger.refusal(endpoint, now).is_none())
    }

    /// Ends the session of a principal at `endpoint` that has been idle longest, and for at least `evict_after`.
    /// `None` if there is no such session, or if its end would make no room.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn evict_of(
        &self,
        quota: Quota,
        endpoint: EndpointTag,
        evict_after: Duration,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        if !self.would_let_in(endpoint, now)? {
            return Ok(None);
        }
        let anywhere = self.anywhere(now);
        let mut scan = Candidates::default();
        for session in self.sessions_of(quota, endpoint, SCANNED_OF_PRINCIPAL, anywhere)? {
            if !session.in_use(now) {
                scan.add((session.stamp, session.key));
            }
        }
        while let Some((stamp, key)) = scan.take_longest_idle(evict_after, now) {
            if let Some(ended) = self.evict_resting(key, stamp, lifespans, now)? {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Ends the session if it has been idle since `stamp`.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn evict_resting(
        &self,
        key: SessionKey,
        stamp: Timestamp,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        self.end_if(key, lifespans, now, &|session| {
            let rests = session.stamp == stamp && !session.in_use(now);
            rests.then_some(EndReason::Evicted)
        })
    }

    /// Scans the next buckets of `round` that may hold sessions of `endpoint`, as many as [`SCAN_COST`] allows.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read. The next scan then begins at the bucket that could not be read.
    pub fn scan_for_idle(
        &self,
        endpoint: EndpointTag,
        evict_after: Duration,
        round: &mut Round,
        found: &mut Candidates,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let groups = self.ledger()?.groups_of(endpoint);
        let mut cost = 0;
        while !round.is_over() && cost < SCAN_COST {
            let slot = *round.next.get_or_insert_with(|| self.any_slot(now));
            let group = slot / GROUP_LEN;
            let next = if groups.contains(&u8::try_from(group).unwrap_or(0)) {
                let read = self.find_bucket(slot)?;
                cost += 1 + read.len / BYTES_PER_COST;
                let sessions = read.bucket.sessions();
                for session in sessions.filter(|session| session.endpoint == endpoint) {
                    round.note(&session, evict_after, found, now);
                }
                read.end()
            } else {
                (group + 1) * GROUP_LEN
            };
            round.next = Some(next % BUCKETS);
            round.left = round.left.saturating_sub(next - slot);
        }
        Ok(())
    }

    /// The slot to begin with; a client cannot predict it.
    fn any_slot(&self, now: Timestamp) -> u16 {
        u16::try_from(self.anywhere(now) % u64::from(BUCKETS)).unwrap_or(0)
    }

    /// A number that a client cannot predict.
    fn anywhere(&self, now: Timestamp) -> u64 {
        self.digest(&now.as_millis().to_le_bytes()) >> 33
    }
}
