//! The sweep: any root may do it, none has to. A root claims a group of buckets that is due, ends what has
//! outlived its time, and counts what is left.

use core::time::Duration;

use super::bucket::Bucket;
use super::ledger::{Claim, EndpointTag, GROUP_LEN, GroupTally, Ledger};
use super::record::EndedSession;
use super::store::{Key, SetError, Store, StoreError, Value};
use super::table::{Change, MAX_ATTEMPTS, Table};
use super::time::Timestamp;

/// A claimed group is free for others after this, should its sweeper have died.
const CLAIM: Duration = Duration::from_secs(10);

/// Every group is counted at least this often, whether something in it is due or not.
const RECOUNT_EVERY: Duration = Duration::from_secs(30);

/// What one sweep of one group came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Sessions that have ended in it.
    pub ended: Vec<EndedSession>,
    /// Counts that were wrong, after a fault, and are now right.
    pub repaired: u32,
}

impl<S: Store> Table<S> {
    /// Sweeps the group of buckets that has been due longest; `None` if none is due.
    ///
    /// Costs one read per bucket of the group (256), and a write for each that changes.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn sweep(&self, now: Timestamp) -> Result<Option<SweepReport>, StoreError> {
        let claimed = self.update_ledger(|ledger| match ledger.claim(now, now.after(CLAIM)) {
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
        let mut ended = Vec::new();
        let first = u16::from(claim.group) * GROUP_LEN;
        for index in first..first + GROUP_LEN {
            if self
                .sweep_bucket(index, &claim, &ledger, now, &mut tally, &mut ended)
                .is_err()
            {
                tally.complete = false;
            }
        }
        let repaired = self.update_ledger(|ledger| Change::Write(ledger.finish(&claim, &tally)))?;
        Ok(Some(SweepReport { ended, repaired }))
    }

    fn sweep_bucket(
        &self,
        index: u16,
        claim: &Claim,
        ledger: &Ledger,
        now: Timestamp,
        tally: &mut GroupTally,
        ended: &mut Vec<EndedSession>,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Value { bytes, version } = self.store.get(Key::Bucket(index))?;
            let read_len = bytes.len();
            let mut bucket = Bucket::from_value(bytes)?;
            let swept = bucket.sweep(now, |endpoint| ledger.lifespans(endpoint));
            let mut len = read_len;
            if swept.changed || claim.excludes_writers() {
                let value = bucket.into_value();
                len = value.len();
                match self.store.set(Key::Bucket(index), &value, version) {
                    Ok(()) => {}
                    Err(SetError::Stale) => continue,
                    Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
                }
            }
            tally.next_due = tally.next_due.min(swept.next_due);
            tally.bytes = tally.bytes.saturating_add(value_bytes(len));
            for endpoint in swept.alive {
                add(&mut tally.alive, endpoint);
            }
            for session in swept.ended {
                add(&mut tally.ended, session.session.endpoint);
                ended.push(session);
            }
            return Ok(());
        }
        Err(StoreError::Contended)
    }
}

fn add(counts: &mut Vec<(EndpointTag, u32)>, endpoint: EndpointTag) {
    match counts.iter_mut().find(|(tag, _)| *tag == endpoint) {
        Some((_, count)) => *count += 1,
        None => counts.push((endpoint, 1)),
    }
}

/// Bytes of a bucket's key and value.
fn value_bytes(value_len: usize) -> u32 {
    const KEY_LEN: usize = "mcp_sessions/b/0000".len();
    u32::try_from(KEY_LEN + value_len).unwrap_or(u32::MAX)
}
