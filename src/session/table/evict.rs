//! `on_full: evict_idle`: the session that has been idle longest ends, so that a newcomer has its place.
//!
//! A look at the table gives [`Candidates`]. Stamps only ever grow, so as long as the stamp of the first of them is what
//! it was, it is still the one that has been idle longest: one look serves many evictions. A session is evicted by
//! compare-and-set on its record, so nothing that the list says is trusted.
//!
//! A look reads no more than [`LOOK_COST`] allows. In a larger table the next look goes on where it ended, until a round
//! has seen every bucket.

use core::time::Duration;

use super::Table;
use super::quota::Quota;
use crate::session::settings::{EndpointTag, Lifespans};
use crate::session::store::{BUCKETS, Key, Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::bucket::Bucket;
use crate::session::values::ledger::GROUP_LEN;
use crate::session::values::record::{EndReason, EndedSession, Session, SessionKey};

/// What a look at the table may cost: one for each bucket, and one more for each of these bytes in it. All
/// buckets of a table of up to some 28,000 sessions; of a million, every seventh bucket. About 12 ms.
const LOOK_COST: usize = 20_000;
const BYTES_PER_COST: usize = 512;

/// Of a principal's sessions at most this many are looked at: all of them, or these in a row, from anywhere. About 1 ms.
const LOOKED_AT_OF_PRINCIPAL: usize = 1_024;

/// How many candidates are kept at most.
const MOST: usize = 256;

/// A session, at rest since its stamp.
pub type Resting = (Timestamp, SessionKey);

/// The longest idle of the sessions that were added. Short enough to be looked through each time.
#[derive(Debug, Default)]
pub struct Candidates {
    resting: Vec<Resting>,
    /// Some were dropped that had been idle less long than all that are kept.
    is_cut: bool,
}

impl Candidates {
    /// Adds a session. Where the list is full, the session that came to rest last is dropped.
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

    /// Takes out the session that has been idle longest, if that is for at least `evict_after`.
    pub fn take_longest_idle(&mut self, evict_after: Duration, now: Timestamp) -> Option<Resting> {
        let (index, _) = self.longest_idle(evict_after, now)?;
        Some(self.resting.swap_remove(index))
    }

    /// Whether a session is among them that has been idle for at least `evict_after`.
    pub fn has_idle(&self, evict_after: Duration, now: Timestamp) -> bool {
        self.longest_idle(evict_after, now).is_some()
    }

    /// Whether none is left of more than there was room for.
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

/// One pass through all buckets, in as many looks as it takes.
#[derive(Debug, Default)]
pub struct Round {
    /// The bucket that is next; `None` before the first look.
    next: Option<u16>,
    /// How many buckets are still to be seen.
    left: u16,
    /// Before this, no session that the round has found in use may be evicted, unless it is given back.
    busy_until: Timestamp,
}

impl Round {
    /// Begins anew, where the last look ended. No session is in use beyond `busy_until` without having been renewed.
    pub fn begin(&mut self, busy_until: Timestamp) {
        self.left = BUCKETS;
        self.busy_until = busy_until;
    }

    /// Whether all buckets were seen.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Before this, no session that the round has found in use may be evicted, unless it is given back.
    pub fn busy_until(&self) -> Timestamp {
        self.busy_until
    }

    fn meet(&mut self, session: &Session, evict_after: Duration, found: &mut Candidates, now: Timestamp) {
        if session.in_use(now) {
            self.busy_until = self.busy_until.min(session.stamp.after(evict_after));
        } else {
            found.add((session.stamp, session.key));
        }
    }
}

impl<S: Store> Table<S> {
    /// Whether the end of one session of `endpoint` lets a newcomer in: not if a cap was lowered, and is exceeded.
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
        Ok(ledger.refusal(endpoint).is_none())
    }

    /// Ends the session of a principal at `endpoint` that has been idle longest, and for at least `evict_after`; `None`
    /// if there is none, or if its end would let nobody in.
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
        let mut look = Candidates::default();
        for session in self.sessions_of(quota, endpoint, LOOKED_AT_OF_PRINCIPAL, anywhere)? {
            if !session.in_use(now) {
                look.add((session.stamp, session.key));
            }
        }
        while let Some((stamp, key)) = look.take_longest_idle(evict_after, now) {
            if let Some(ended) = self.evict_resting(key, stamp, lifespans, now)? {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Ends the session if it has been at rest since `stamp`.
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

    /// Looks at the next buckets of `round` that may hold sessions of `endpoint`, as many as [`LOOK_COST`] allows.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read; the next look then begins with what this one could not read.
    pub fn look_for_idle(
        &self,
        endpoint: EndpointTag,
        evict_after: Duration,
        round: &mut Round,
        found: &mut Candidates,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let groups = self.ledger()?.groups_of(endpoint);
        let mut cost = 0;
        while !round.is_over() && cost < LOOK_COST {
            let index = *round.next.get_or_insert_with(|| self.any_bucket(now));
            let group = u8::try_from(index / GROUP_LEN).unwrap_or(0);
            if groups.contains(&group) {
                let bytes = self.store.get(Key::Bucket(index))?.bytes;
                cost += 1 + bytes.len() / BYTES_PER_COST;
                let bucket = Bucket::from_value(bytes)?;
                for session in bucket.sessions().filter(|session| session.endpoint == endpoint) {
                    round.meet(&session, evict_after, found, now);
                }
            }
            round.next = Some((index + 1) % BUCKETS);
            round.left -= 1;
        }
        Ok(())
    }

    /// A bucket that nobody outside can foresee, to begin with.
    fn any_bucket(&self, now: Timestamp) -> u16 {
        u16::try_from(self.anywhere(now) % u64::from(BUCKETS)).unwrap_or(0)
    }

    /// A number that nobody outside can foresee.
    fn anywhere(&self, now: Timestamp) -> u64 {
        self.digest(&now.as_millis().to_le_bytes()) >> 33
    }
}
