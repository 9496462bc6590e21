//! The sweep. Any root may do it, and none must. A root claims a group of buckets that is due, ends the sessions that
//! have outlived their time, and counts the rest.

use core::time::Duration;

use super::{Change, MAX_ATTEMPTS, Table};
use crate::session::settings::EndpointTag;
use crate::session::store::{INDEXED_NAME_LEN, Key, PRINCIPALS, SetError, Store, StoreError, Value};
use crate::session::time::Timestamp;
use crate::session::values::bucket::{Bucket, Swept};
use crate::session::values::ledger::{Claim, GROUP_LEN, GROUPS, GroupTally, Ledger};
use crate::session::values::record::{EndedSession, SessionKey};

/// Every group is counted at least this often, even if nothing in it is due.
const RECOUNT_EVERY: Duration = Duration::from_secs(30);

/// The results of one sweep of one group.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// The sessions that it has ended.
    pub ended: Vec<EndedSession>,
    /// Counts that were wrong after a fault, and are now right.
    pub repaired: u32,
    /// Pending DELETEs that can be sent now.
    pub ready: Vec<(EndpointTag, SessionKey)>,
    /// Pending DELETEs that were given up.
    pub given_up: u32,
}

impl<S: Store> Table<S> {
    /// Sweeps the group of buckets that has been due longest; `None` if none is due.
    ///
    /// Costs one read per bucket of the group (256), and a write for each that changes.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn sweep(&self, now: Timestamp) -> Result<Option<SweepReport>, StoreError> {
        let claimed = self.update_ledger(|ledger| match ledger.claim(now) {
            Some(claim) => Change::Write(Some((claim, ledger.clone()))),
            None => Change::Nothing(None),
        })?;
        let Some((claim, ledger)) = claimed else {
            return Ok(None);
        };
        let mut tally = GroupTally {
            next_due: now.after(RECOUNT_EVERY),
            complete: true,
            ..GroupTally::default()
        };
        let mut report = SweepReport::default();
        let first = u16::from(claim.group) * GROUP_LEN;
        for index in first..first + GROUP_LEN {
            match self.sweep_bucket(index, &claim, &ledger, now) {
                Ok(bucket) => bucket.enter(&mut tally, &mut report),
                Err(_) => tally.complete = false,
            }
        }
        let books = self.sweep_books(books_of(claim.group), now);
        tally.bytes = tally.bytes.saturating_add(books.unwrap_or(0));
        report.repaired = self.update_ledger(|ledger| Change::Write(ledger.finish(&claim, &tally, now)))?;
        for ended in &report.ended {
            self.strike_if_possible(&ended.session);
        }
        Ok(Some(report))
    }

    fn sweep_bucket(
        &self,
        index: u16,
        claim: &Claim,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<SweptBucket, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Value { bytes, version } = self.store.get(Key::Bucket(index))?;
            let read_len = bytes.len();
            let mut bucket = Bucket::from_value(bytes)?;
            let swept = bucket.sweep(now, ledger.max_pending_deletes(), |endpoint| {
                ledger.lifespans(endpoint)
            });
            if let Some(mark) = claim.mark() {
                bucket.leave_mark(mark);
            }
            let mark = bucket.mark();
            if !swept.changed && claim.mark().is_none() {
                let len = read_len;
                return Ok(SweptBucket { swept, mark, len });
            }
            let value = bucket.into_value();
            let len = value.len();
            match self.store.set(Key::Bucket(index), &value, version) {
                Ok(()) => return Ok(SweptBucket { swept, mark, len }),
                Err(SetError::Stale) => {}
                Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
            }
        }
        Err(StoreError::Contended)
    }
}

/// A bucket after its sweep.
struct SweptBucket {
    swept: Swept,
    mark: Timestamp,
    len: usize,
}

impl SweptBucket {
    fn enter(self, tally: &mut GroupTally, report: &mut SweepReport) {
        tally.next_due = tally.next_due.min(self.swept.next_due);
        tally.bytes = tally.bytes.saturating_add(value_bytes(self.len));
        for endpoint in self.swept.alive {
            add(&mut tally.alive, endpoint);
        }
        for session in self.swept.ended {
            tally.ended.push((session.session.endpoint, self.mark));
            report.ended.push(session);
        }
        report.ready.extend(self.swept.ready);
        report.given_up += self.swept.given_up;
    }
}

fn add(counts: &mut Vec<(EndpointTag, u32)>, endpoint: EndpointTag) {
    match counts.iter_mut().find(|(tag, _)| *tag == endpoint) {
        Some((_, count)) => *count += 1,
        None => counts.push((endpoint, 1)),
    }
}

/// The values with books that are swept together with a group of buckets.
fn books_of(group: u8) -> core::ops::Range<u16> {
    const BOOKS: u16 = PRINCIPALS / GROUPS as u16;
    let first = u16::from(group) * BOOKS;
    first..first + BOOKS
}

/// Bytes of a key and value.
pub(super) fn value_bytes(value_len: usize) -> u32 {
    u32::try_from(INDEXED_NAME_LEN + value_len).unwrap_or(u32::MAX)
}
