//! What servers are owed: how deletes are entered, sent by one root only, and settled.

use core::time::Duration;

use super::{Change, Table};
use crate::mcp::revision::Revision;
use crate::mcp::session_id::MAX_KEPT_BYTES;
use crate::session::settings::{EndpointTag, Lifespans};
use crate::session::store::{Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::bucket::{Bucket, Entry};
use crate::session::values::record::SessionKey;
use crate::session::values::upstream_delete::{DeleteRequest, NextStep, PendingDelete};

/// What has become of a DELETE that was to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteEntry {
    /// It can be sent now.
    Entered,
    /// There is a session of this id, so nothing is to be sent.
    SessionIsAlive,
    /// The id is longer than [`MAX_KEPT_BYTES`]: the server will never hear of it.
    IdTooLong,
}

/// What has become of a DELETE that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The server has answered for good, whatever it said.
    Answered,
    /// No answer, or one that another attempt may change.
    Failed,
    /// It was never sent.
    Unsent,
}

impl<S: Store> Table<S> {
    /// Enters a pending DELETE for an id that is no session here: the server made it, and nobody can use it. `key` is
    /// [`Table::key`] of the endpoint and what the session would be known by.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; the server is then left to its own time-out.
    pub fn put_pending_delete(
        &self,
        key: SessionKey,
        endpoint: EndpointTag,
        id: &[u8],
        delete_request: &DeleteRequest,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<DeleteEntry, StoreError> {
        let until = now.after(lifespans.remembered());
        let mut entry = DeleteEntry::Entered;
        self.change_bucket(key, &mut |bucket| {
            entry = match bucket.find(&key, now) {
                Some(Entry::Session { .. }) => DeleteEntry::SessionIsAlive,
                Some(Entry::Ended | Entry::Gone { .. }) | None if id.len() > MAX_KEPT_BYTES => {
                    DeleteEntry::IdTooLong
                }
                Some(Entry::Ended | Entry::Gone { .. }) | None => DeleteEntry::Entered,
            };
            if entry == DeleteEntry::Entered {
                bucket.put_pending_delete(&PendingDelete::new(
                    key,
                    endpoint,
                    id,
                    delete_request.clone(),
                    until,
                    now,
                ))?;
            }
            Ok(entry == DeleteEntry::Entered)
        })?;
        Ok(entry)
    }

    /// Takes a pending DELETE to send it now: no other root will. `None` if another has, or it is not time.
    ///
    /// What dies between this and the DELETE leaves the server untold: sent twice would be worse.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; nothing is then to be sent.
    pub fn take_pending_delete(
        &self,
        key: SessionKey,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<Option<PendingDelete>, StoreError> {
        let mut taken = None;
        self.change_bucket(key, &mut |bucket| {
            let ready = bucket
                .pending(&key)
                .filter(|pending| pending.next_step(now) == NextStep::Ready);
            taken = ready.map(|pending| pending.sent(timeout, now));
            taken.as_ref().map_or(Ok(false), |pending| {
                bucket.put_pending_delete(pending).map(|()| true)
            })
        })?;
        Ok(taken)
    }

    /// Enters what has become of a pending DELETE that was taken. Returns whether that was the last of it; else it is sent
    /// again later.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; the pending DELETE is then given up some time later.
    pub fn settle_delete(
        &self,
        key: SessionKey,
        outcome: DeleteOutcome,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut is_over = true;
        self.change_bucket(key, &mut |bucket| {
            let Some(pending) = bucket.pending(&key).filter(PendingDelete::is_sent) else {
                is_over = true;
                return Ok(false);
            };
            let tombstone = pending.tombstone();
            let again = match outcome {
                DeleteOutcome::Answered => None,
                DeleteOutcome::Failed => pending.failed(now),
                DeleteOutcome::Unsent => Some(pending.unsent(now)),
            };
            is_over = again.is_none();
            match again {
                Some(pending) => bucket.put_pending_delete(&pending)?,
                None => bucket.bury(&key, tombstone),
            }
            Ok(true)
        })?;
        Ok(is_over)
    }

    /// Notes which revision a session speaks, once its requests say so.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; the next request tries anew.
    pub fn note_version(&self, key: SessionKey, version: Revision, now: Timestamp) -> Result<(), StoreError> {
        self.change_bucket(key, &mut |bucket| {
            let Some(Entry::Session { mut session, offset }) = bucket.find(&key, now) else {
                return Ok(false);
            };
            match &mut session.delete_request {
                Some(delete_request) if delete_request.version().is_none() => {
                    delete_request.set_version(version)
                }
                Some(_) | None => return Ok(false),
            }
            bucket.rewrite(offset, &session)?;
            Ok(true)
        })
    }

    /// Writes the bucket if `change` says that it has changed. Compiled once for all of these: none is hot.
    fn change_bucket(
        &self,
        key: SessionKey,
        change: &mut dyn FnMut(&mut Bucket) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.update_bucket(key, |bucket| {
            Ok(match change(bucket)? {
                true => Change::Write(()),
                false => Change::Nothing(()),
            })
        })
    }
}
