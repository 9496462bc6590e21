//! The farewells in a bucket.

use core::time::Duration;

use super::super::record::{EndReason, EndedSession, Session, SessionKey};
use super::super::upstream_delete::{Fate, Owed};
use super::{Bucket, OWED, Record, Swept};
use crate::session::store::StoreError;
use crate::session::time::Timestamp;

/// A farewell that is ready belongs to the root that found it first; others look after this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What ended sessions leave behind in a bucket.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) tombstones: Vec<(SessionKey, Timestamp)>,
    owed: Vec<Owed>,
}

impl Left {
    /// A session has ended, and is remembered until `until`.
    pub(super) fn by(&mut self, ended: &EndedSession, until: Timestamp, swept: &mut Swept) {
        let session = &ended.session;
        match Owed::left_by(session, ended.reason, until, ended.at) {
            Some(owed) => {
                swept.next_due = swept.next_due.min(ended.at.after(LOOK_AGAIN));
                self.owed.push(owed);
            }
            None => self.tombstones.push((session.key, until)),
        }
    }

    /// Keeps a farewell that a sweep has met, or gives it up.
    pub(super) fn meet(&mut self, owed: Owed, swept: &mut Swept, now: Timestamp) {
        match owed.fate(now) {
            Fate::GivenUp => return self.give_up(&owed, swept),
            Fate::Waits(due) => swept.next_due = swept.next_due.min(due),
            Fate::Ready => {
                swept.ready.push((owed.endpoint, owed.key));
                swept.next_due = swept.next_due.min(now.after(LOOK_AGAIN));
            }
        }
        self.owed.push(owed);
    }

    /// Those that have waited longest give way until no more than `most` are left.
    pub(super) fn give_way(&mut self, most: usize, swept: &mut Swept) {
        while self.owed.len() > most {
            let Some(oldest) = self.owed.iter().position(|owed| !owed.is_sent()) else {
                return;
            };
            let owed = self.owed.remove(oldest);
            self.give_up(&owed, swept);
        }
    }

    fn give_up(&mut self, owed: &Owed, swept: &mut Swept) {
        swept.changed = true;
        swept.given_up += 1;
        self.tombstones.push((owed.key, owed.until));
    }

    pub(super) fn write(&self, bucket: &mut Bucket) {
        for (key, until) in &self.tombstones {
            bucket.push_tombstone(key, *until);
        }
        for owed in &self.owed {
            bucket.push_owed(owed);
        }
        bucket.forget_oldest_tombstones();
    }
}

impl Bucket {
    /// Removes the session; what is left of it answers for it until `until`.
    pub(in crate::session) fn end_session(
        &mut self,
        session: &Session,
        reason: EndReason,
        until: Timestamp,
        now: Timestamp,
    ) {
        match Owed::left_by(session, reason, until, now) {
            // No longer than the session was, and it fitted.
            Some(owed) => {
                let _ = self.owe(&owed);
            }
            None => self.end(&session.key, until),
        }
    }

    /// The farewell that is owed for `key`.
    pub(in crate::session) fn owed(&self, key: &SessionKey) -> Option<Owed> {
        self.records().find_map(|record| match record {
            Record::Owed(owed) => (owed.key == *key).then_some(owed),
            Record::Session(_) | Record::Tombstone(..) => None,
        })
    }

    /// Enters a farewell in the place of whatever there is of its key.
    pub(in crate::session) fn owe(&mut self, owed: &Owed) -> Result<(), StoreError> {
        self.remove(&owed.key);
        self.truncate_to_readable();
        self.push_owed(owed);
        self.fits()
    }

    fn push_owed(&mut self, owed: &Owed) {
        self.bytes.push(OWED);
        owed.write(&mut self.bytes);
    }
}
