//! `on_full: evict_idle`: the session that has been idle longest ends, so that a newcomer has its place.
//!
//! A look at the whole table gives the [`Idlest`]. Stamps only ever grow, so as long as the stamp of the first
//! of them is what it was, it is still the one that has been idle longest: one look serves many evictions.
//! Whoever is evicted goes by compare-and-set on its record, so nothing that the list says is trusted.

mod idlest;

pub use idlest::Idlest;

use super::bucket::Bucket;
use super::ledger::GROUP_LEN;
use super::record::{EndReason, EndedSession, Owner, SessionKey};
use super::settings::{EndpointTag, Lifespans};
use super::store::{Key, Store, StoreError};
use super::table::Table;
use super::time::Timestamp;
use idlest::Look;

/// What a look at the table may cost: one for each bucket, and one more for each of these bytes in it. All
/// buckets of a table of up to some 28,000 sessions; of a million, every seventh bucket. About 12 ms.
const LOOK_COST: usize = 20_000;
const BYTES_PER_COST: usize = 512;

/// Of a principal's sessions at most this many are looked at: all of them, or these in a row, from anywhere.
const LOOKED_AT_OF_PRINCIPAL: usize = 128;

impl<S: Store> Table<S> {
    /// Ends the session of `endpoint` that has been idle longest; `None` if all are in use.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn evict(
        &self,
        endpoint: EndpointTag,
        idlest: &mut Idlest,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        loop {
            let Some((stamp, key)) = idlest.next(endpoint, now) else {
                if !idlest.look_is_due(endpoint, now) {
                    return Ok(None);
                }
                idlest.saw(endpoint, self.look(endpoint, now)?, now);
                continue;
            };
            if let Some(ended) = self.evict_resting(key, stamp, lifespans, now)? {
                return Ok(Some(ended));
            }
        }
    }

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
        let mut look = Look::default();
        for session in self.sessions_of(owner, endpoint, LOOKED_AT_OF_PRINCIPAL, anywhere)? {
            look.add_resting(&session, now);
        }
        while let Some((stamp, key)) = look.next() {
            if let Some(ended) = self.evict_resting(key, stamp, lifespans, now)? {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Ends the session if it has been at rest since `stamp`.
    fn evict_resting(
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
    fn look(&self, endpoint: EndpointTag, now: Timestamp) -> Result<Look, StoreError> {
        let mut groups = self.ledger()?.groups_of(endpoint);
        let first = usize::try_from(self.anywhere(now)).unwrap_or(0) % groups.len().max(1);
        groups.rotate_left(first);
        let mut look = Look::default();
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
                    look.add_resting(&session, now);
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
