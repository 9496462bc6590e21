//! What ended sessions leave in a bucket: tombstones and pending DELETEs.

use core::time::Duration;

use super::super::record::{EndReason, EndedSession, Session, SessionKey};
use super::super::tombstone::{Remembered, Tombstone};
use super::super::upstream_delete::{NextStep, PendingDelete};
use super::{Bucket, PENDING_DELETE, Record, Swept};
use crate::session::store::StoreError;
use crate::session::time::Timestamp;

/// A ready pending DELETE belongs to the root that found it first. Other roots may take it after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The records that ended sessions leave in a bucket.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) tombstones: Vec<Tombstone>,
    pending: Vec<PendingDelete>,
}

impl Left {
    /// Records the end of a session that is remembered until `until`.
    pub(super) fn record_end(&mut self, ended: &EndedSession, until: Timestamp, swept: &mut Swept) {
        let session = &ended.session;
        // No sweep ends a session because its server has lost it, so `bound` does not matter.
        let remembered = Remembered::of(session, ended.reason, false);
        match PendingDelete::left_by(session, ended.reason, remembered, until, ended.at) {
            Some(pending) => {
                swept.next_due = swept.next_due.min(ended.at.after(LOOK_AGAIN));
                self.pending.push(pending);
            }
            None => self.tombstones.extend(remembered.map(|remembered| Tombstone {
                key: session.key,
                until,
                remembered,
            })),
        }
    }

    /// Keeps a pending DELETE that a sweep has found, or drops it if it is given up.
    pub(super) fn keep_or_drop(&mut self, pending: PendingDelete, swept: &mut Swept, now: Timestamp) {
        match pending.next_step(now) {
            NextStep::GivenUp => return self.give_up(&pending, swept),
            NextStep::Waits(due) => swept.next_due = swept.next_due.min(due),
            NextStep::Ready => {
                swept.ready.push((pending.endpoint, pending.key));
                swept.next_due = swept.next_due.min(now.after(LOOK_AGAIN));
            }
        }
        self.pending.push(pending);
    }

    /// Drops the DELETEs that have waited longest, until no more than `most` are left.
    pub(super) fn drop_oldest(&mut self, most: usize, swept: &mut Swept) {
        while self.pending.len() > most {
            let Some(oldest) = self.pending.iter().position(|pending| !pending.is_sent()) else {
                return;
            };
            let pending = self.pending.remove(oldest);
            self.give_up(&pending, swept);
        }
    }

    fn give_up(&mut self, pending: &PendingDelete, swept: &mut Swept) {
        swept.changed = true;
        swept.given_up += 1;
        self.tombstones.extend(pending.tombstone());
    }

    pub(super) fn write(&self, bucket: &mut Bucket) {
        for tombstone in &self.tombstones {
            bucket.push_tombstone(tombstone);
        }
        for pending in &self.pending {
            bucket.push_pending_delete(pending);
        }
        bucket.forget_oldest_tombstones();
    }
}

impl Bucket {
    /// Replaces the session by its pending DELETE or its tombstone, if it leaves one. They answer for its id until
    /// `until`.
    pub(in crate::session) fn end_session(
        &mut self,
        session: &Session,
        reason: EndReason,
        bound: bool,
        until: Timestamp,
        now: Timestamp,
    ) {
        let remembered = Remembered::of(session, reason, bound);
        match PendingDelete::left_by(session, reason, remembered, until, now) {
            // The pending DELETE is no longer than the session was, so it fits.
            Some(pending) => {
                let _ = self.put_pending_delete(&pending);
            }
            None => {
                let key = session.key;
                let tombstone = |remembered| Tombstone {
                    key,
                    until,
                    remembered,
                };
                self.bury(&key, remembered.map(tombstone));
            }
        }
    }

    /// The pending DELETE for `key`, if there is one.
    pub(in crate::session) fn pending(&self, key: &SessionKey) -> Option<PendingDelete> {
        self.records().find_map(|record| match record {
            Record::PendingDelete(pending) => (pending.key == *key).then_some(pending),
            Record::Session(_) | Record::Tombstone(..) => None,
        })
    }

    /// Enters a pending DELETE in place of any record of its key.
    pub(in crate::session) fn put_pending_delete(
        &mut self,
        pending: &PendingDelete,
    ) -> Result<(), StoreError> {
        self.remove(&pending.key);
        self.truncate_to_readable();
        self.push_pending_delete(pending);
        self.fits()
    }

    fn push_pending_delete(&mut self, pending: &PendingDelete) {
        self.bytes.push(PENDING_DELETE);
        pending.write(&mut self.bytes);
    }
}
