//! What servers are owed: how farewells are entered, sent by one root only, and settled.

use core::time::Duration;

use super::bucket::Entry;
use super::farewell::{Farewell, Fate, Owed};
use super::record::SessionKey;
use super::settings::{EndpointTag, Lifespans};
use super::store::{Store, StoreError};
use super::table::{Change, Table, group_of};
use super::time::Timestamp;

/// What has become of a DELETE that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The server has answered for good, whatever it said.
    Answered,
    /// No answer, or one that another attempt may change.
    Failed,
    /// It was never sent.
    Unsent,
}

impl<S: Store> Table<S> {
    /// Enters a farewell for an id that is no session here: the server made it, and nobody can use it.
    /// `None` if there is a session of this id.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; the server is then left to its own time-out.
    pub fn owe(
        &self,
        endpoint: EndpointTag,
        id: &[u8],
        farewell: &Farewell,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<SessionKey>, StoreError> {
        let key = self.key(endpoint, id);
        let until = now.after(lifespans.remembered());
        self.update_bucket(key, |bucket| match bucket.find(&key, now) {
            Some(Entry::Session { .. }) => Ok(Change::Nothing(None)),
            Some(Entry::Ended) | None => {
                bucket.owe(&Owed::new(key, endpoint, id, farewell.clone(), until, now))?;
                Ok(Change::Write(Some(key)))
            }
        })
    }

    /// Takes a farewell to send it now: no other root will. `None` if another has, or it is not time.
    ///
    /// What dies between this and the DELETE leaves the server untold: sent twice would be worse.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; nothing is then to be sent.
    pub fn take_farewell(
        &self,
        key: SessionKey,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<Option<Owed>, StoreError> {
        self.update_bucket(key, |bucket| {
            let Some(owed) = bucket.owed(&key).filter(|owed| owed.fate(now) == Fate::Ready) else {
                return Ok(Change::Nothing(None));
            };
            let owed = owed.sent(timeout, now);
            bucket.owe(&owed)?;
            Ok(Change::Write(Some(owed)))
        })
    }

    /// Enters what has become of a farewell that was taken.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written; the farewell is then given up some time later.
    pub fn settle_farewell(
        &self,
        key: SessionKey,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let due = self.update_bucket(key, |bucket| {
            let Some(owed) = bucket.owed(&key).filter(Owed::is_sent) else {
                return Ok(Change::Nothing(None));
            };
            let until = owed.until;
            let again = match settlement {
                Settlement::Answered => None,
                Settlement::Failed => owed.failed(now),
                Settlement::Unsent => Some((owed.unsent(now), now)),
            };
            let Some((owed, due)) = again else {
                bucket.end(&key, until);
                return Ok(Change::Write(None));
            };
            bucket.owe(&owed)?;
            Ok(Change::Write(Some(due)))
        })?;
        let Some(due) = due.filter(|due| now < *due) else {
            return Ok(());
        };
        self.update_ledger(|ledger| {
            ledger.touch_group(group_of(key), due);
            Change::Write(())
        })
    }

    /// Notes which revision a session speaks, once its requests say so.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; the next request tries anew.
    pub fn note_version(
        &self,
        key: SessionKey,
        version: crate::mcp::revision::Revision,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.update_bucket(key, |bucket| {
            let Some(Entry::Session { mut session, offset }) = bucket.find(&key, now) else {
                return Ok(Change::Nothing(()));
            };
            match &mut session.farewell {
                Some(farewell) if farewell.version.is_none() => farewell.version = Some(version),
                Some(_) | None => return Ok(Change::Nothing(())),
            }
            bucket.rewrite(offset, &session)?;
            Ok(Change::Write(()))
        })
    }
}
