//! DELETEs to servers: entered into the table, sent by one root only, and settled.

use core::time::Duration;

use super::{Change, Table};
use crate::mcp::revision::Revision;
use crate::mcp::session_id::MAX_KEPT_BYTES;
use crate::session::settings::{EndpointTag, Lifespans};
use crate::session::store::{Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::bucket::{Bucket, Entry};
use crate::session::values::delete_request::DeleteRequest;
use crate::session::values::record::SessionKey;
use crate::session::values::upstream_delete::{NextStep, PendingDelete};

/// The result of entering a DELETE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteEntry {
    /// The DELETE can be sent now.
    Entered,
    /// A session with this id is alive, so no DELETE is needed.
    SessionIsAlive,
    /// The id is longer than [`MAX_KEPT_BYTES`], so the server gets no DELETE.
    IdTooLong,
}

/// The outcome of an attempt at a DELETE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The server has answered, and another attempt would not change the answer.
    Answered,
    /// No answer came, or one that another attempt may change.
    Failed,
    /// Envoy did not send it.
    Unsent,
}

impl<S: Store> Table<S> {
    /// Enters a pending DELETE for an id that the server made and no client can use, so that it is no session here.
    /// `key` is [`Table::key`] of the endpoint and the tracked id.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; the server's own time-out must then end the session.
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

    /// Takes a pending DELETE, so that this root alone sends it now. `None` if another root has taken it, or if it is
    /// not due.
    ///
    /// If the worker dies between this call and the DELETE, the server gets none: two DELETEs would be worse.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; the DELETE must then not be sent.
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

    /// Enters the outcome of a pending DELETE that was taken. Returns true if the DELETE is settled; otherwise it is
    /// sent again later.
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

    /// Stores the revision of a session, once its requests state one.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written; the next request tries again.
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

    /// Writes the bucket if `change` says that it has changed. All callers share one compiled copy, since none is
    /// hot.
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
