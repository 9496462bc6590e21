//! `on_full: evict_idle`: the session that has been idle longest ends, so that a newcomer has its place.
//!
//! A look at the whole table gives [`Candidates`]. Stamps only ever grow, so as long as the stamp of the first
//! of them is what it was, it is still the one that has been idle longest: one look serves many evictions.
//! A session is evicted by compare-and-set on its record, so nothing that the list says is trusted.

use super::Table;
use crate::session::settings::{EndpointTag, Lifespans};
use crate::session::store::{Key, Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::bucket::Bucket;
use crate::session::values::ledger::GROUP_LEN;
use crate::session::values::record::{EndReason, EndedSession, Owner, Session, SessionKey};

/// What a look at the table may cost: one for each bucket, and one more for each of these bytes in it. All
/// buckets of a table of up to some 28,000 sessions; of a million, every seventh bucket. About 12 ms.
const LOOK_COST: usize = 20_000;
const BYTES_PER_COST: usize = 512;

/// Of a principal's sessions at most this many are looked at: all of them, or these in a row, from anywhere.
const LOOKED_AT_OF_PRINCIPAL: usize = 128;

/// How many candidates one look at the table yields at most.
const MOST: usize = 256;

/// A session, at rest since its stamp.
pub type Resting = (Timestamp, SessionKey);

/// The longest idle of the sessions that were added. Short enough to be looked through each time.
#[derive(Debug, Default)]
pub struct Candidates {
    resting: Vec<Resting>,
    /// The table has more than was looked at, or than is kept.
    pub is_partial: bool,
}

impl Candidates {
    /// Adds a session. Where the list is full, the session that came to rest last is dropped.
    pub fn add(&mut self, resting: Resting) {
        if self.resting.len() < MOST {
            return self.resting.push(resting);
        }
        self.is_partial = true;
        if let Some(last) = self.resting.iter_mut().max_by_key(|(stamp, _)| *stamp)
            && resting.0 < last.0
        {
            *last = resting;
        }
    }

    /// Takes out the session that has been idle longest.
    pub fn take_longest_idle(&mut self) -> Option<Resting> {
        let (index, _) = (0..).zip(&self.resting).min_by_key(|(_, (stamp, _))| *stamp)?;
        Some(self.resting.swap_remove(index))
    }

    /// Whether no candidate is left.
    pub fn is_empty(&self) -> bool {
        self.resting.is_empty()
    }

    /// Drops all candidates.
    pub fn clear(&mut self) {
        self.resting.clear();
    }

    fn add_if_at_rest(&mut self, session: &Session, now: Timestamp) {
        if !session.in_use(now) {
            self.add((session.stamp(), session.key));
        }
    }
}

impl<S: Store> Table<S> {
    /// Ends the session of `owner` at `endpoint` that has been idle longest; `None` if all are in use.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn evict_of(
        &self,
        owner: Owner,
        endpoint: EndpointTag,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        let anywhere = self.anywhere(now);
        let mut look = Candidates::default();
        for session in self.sessions_of(owner, endpoint, LOOKED_AT_OF_PRINCIPAL, anywhere)? {
            look.add_if_at_rest(&session, now);
        }
        while let Some((stamp, key)) = look.take_longest_idle() {
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

    /// Looks at the buckets that hold sessions of `endpoint`, as many as [`LOOK_COST`] allows.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub fn look_for_idle(&self, endpoint: EndpointTag, now: Timestamp) -> Result<Candidates, StoreError> {
        let mut groups = self.ledger()?.groups_of(endpoint);
        let first = usize::try_from(self.anywhere(now)).unwrap_or(0) % groups.len().max(1);
        groups.rotate_left(first);
        let mut look = Candidates::default();
        let mut cost = 0;
        let buckets = groups.into_iter().flat_map(|group| {
            let first = u16::from(group) * GROUP_LEN;
            first..first + GROUP_LEN
        });
        for index in buckets {
            if cost >= LOOK_COST {
                look.is_partial = true;
                break;
            }
            let bytes = self.store.get(Key::Bucket(index))?.bytes;
            cost += 1 + bytes.len() / BYTES_PER_COST;
            let bucket = Bucket::from_value(bytes)?;
            for session in bucket.sessions() {
                if session.endpoint == endpoint {
                    look.add_if_at_rest(&session, now);
                }
            }
        }
        Ok(look)
    }

    /// A number that nobody outside can foresee, to begin somewhere.
    fn anywhere(&self, now: Timestamp) -> u64 {
        self.digest(&now.as_millis().to_le_bytes()) >> 33
    }
}
