//! Open streams: how many each root has, by endpoint and by principal, and their caps.
//!
//! A root writes how many streams it has itself, never one more or one less than it finds. So a write that was lost,
//! or one that came although the root took it for lost, is put right by the root's next one. The numbers of a dead
//! root go at their deadline.

use core::time::Duration;

use super::quota::Quota;
use super::{Change, Table};
use crate::session::settings::{EndpointTag, LEASE_FLOOR};
use crate::session::store::{Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::book::BookOwner;
use crate::session::values::record::Owner;

/// The numbers of a root last this long, unless it writes them anew. With a tick of a second, and the second that
/// another root may take to notice, the places of a dead root are free again within a minute.
const LEASE: Duration = Duration::from_secs(55);

impl<S: Store> Table<S> {
    /// Says that this root has `count` streams at the endpoint.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the next tick says it again.
    pub fn set_streams(&self, endpoint: EndpointTag, count: u32, now: Timestamp) -> Result<(), StoreError> {
        self.update_ledger(|ledger| {
            ledger.set_streams(self.root, endpoint, count, now.after(LEASE));
            Change::Write(())
        })
    }

    /// The same, if the endpoint's `max_streams` in force has room for them. Returns false if it has not.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn set_streams_within_cap(
        &self,
        endpoint: EndpointTag,
        count: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.update_ledger(|ledger| {
            let reaped = ledger.reap(now);
            let has_room = ledger.has_room_for_streams(self.root, endpoint, count)
                && ledger.set_streams(self.root, endpoint, count, now.after(LEASE));
            match has_room || reaped {
                true => Change::Write(has_room),
                false => Change::Nothing(has_room),
            }
        })
    }

    /// Says that this root has `count` streams of the principal at the endpoint.
    ///
    /// # Errors
    /// [`StoreError`] if the book cannot be read or written.
    pub fn set_streams_of(
        &self,
        endpoint: EndpointTag,
        owner: Owner,
        count: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let set = self.update_book(BookOwner { owner, endpoint }, &mut |book| {
            book.reap(now);
            book.set_streams(self.root, count, now.after(LEASE));
            Ok(Change::Write(true))
        });
        set.map(drop)
    }

    /// The same, if the principal may have so many. Returns false if it may not.
    ///
    /// # Errors
    /// [`StoreError`] if the book cannot be read or written.
    pub fn set_streams_within_quota(
        &self,
        endpoint: EndpointTag,
        quota: Quota,
        count: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let owner = quota.owner;
        self.update_book(BookOwner { owner, endpoint }, &mut |book| {
            let reaped = book.reap(now);
            let has_room = book.streams_of_others(self.root).saturating_add(count) <= quota.limit;
            if has_room {
                book.set_streams(self.root, count, now.after(LEASE));
            }
            Ok(match has_room || reaped {
                true => Change::Write(has_room),
                false => Change::Nothing(has_room),
            })
        })
    }

    /// Called once a tick: drops the leases of dead roots, and says how many streams this root has, by endpoint.
    /// Writes only if another number is there, or a lease ends soon.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn keep_leases(&self, streams: &[(EndpointTag, u32)], now: Timestamp) -> Result<(), StoreError> {
        let (before, until) = (now.after(LEASE_FLOOR), now.after(LEASE));
        self.update_ledger(|ledger| {
            let changed = ledger.keep_streams(self.root, streams, before, until);
            let reaped = ledger.reap(now);
            match changed || reaped {
                true => Change::Write(()),
                false => Change::Nothing(()),
            }
        })
    }
}
