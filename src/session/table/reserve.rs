//! Places kept for initializations, and open GET streams: what a root accounts for in the ledger.

use core::time::Duration;

use super::quota::Quota;
use super::{Change, Table};
use crate::session::settings::{EndpointTag, LEASE_FLOOR};
use crate::session::store::{Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::ledger::{Leased, Refusal, Reservation};

impl<S: Store> Table<S> {
    /// Keeps a place for an initialization until `timeout` is over at the latest: first in the principal's book
    /// where there is a quota, so that who has used it up costs nobody else a write.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn reserve(
        &self,
        endpoint: EndpointTag,
        quota: Option<Quota>,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<Result<Reservation, Refusal>, StoreError> {
        // Deadlines fall on a few steps, so that the ledger holds a handful of rows for a root, however many
        // initializations it has waiting. None is later than the timeout says.
        let until = now.after(timeout).rounded_down(timeout / 16);
        let Some(quota) = quota else {
            return self.reserve_until(endpoint, until, now);
        };
        if !self.note_reservation(endpoint, quota, until, now)? {
            return Ok(Err(Refusal::Quota));
        }
        let reserved = self.reserve_until(endpoint, until, now);
        match reserved {
            Ok(Ok(reservation)) => Ok(Ok(Reservation {
                principal: Some(quota.owner),
                ..reservation
            })),
            Ok(Err(_)) | Err(_) => {
                self.strike_reservation(endpoint, quota.owner, until)?;
                reserved
            }
        }
    }

    fn reserve_until(
        &self,
        endpoint: EndpointTag,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Result<Reservation, Refusal>, StoreError> {
        self.update_ledger(|ledger| {
            let reaped = ledger.reap(now);
            if let Some(refusal) = ledger.refusal(endpoint) {
                return if reaped {
                    Change::Write(Err(refusal))
                } else {
                    Change::Nothing(Err(refusal))
                };
            }
            match ledger.lease(Leased::Reservations, self.root, endpoint, until) {
                true => Change::Write(Ok(Reservation {
                    endpoint,
                    until,
                    principal: None,
                })),
                false => Change::Nothing(Err(Refusal::Capacity)),
            }
        })
    }

    /// Gives a place back.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the place then comes back at its deadline.
    pub fn release(&self, reservation: Reservation) -> Result<(), StoreError> {
        self.update_ledger(|ledger| {
            match ledger.give_back(
                Leased::Reservations,
                self.root,
                reservation.endpoint,
                reservation.until,
            ) {
                true => Change::Write(()),
                false => Change::Nothing(()),
            }
        })?;
        match reservation.principal {
            Some(owner) => self.strike_reservation(reservation.endpoint, owner, reservation.until),
            None => Ok(()),
        }
    }

    /// Counts an open GET stream.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn open_stream(&self, endpoint: EndpointTag, now: Timestamp) -> Result<(), StoreError> {
        self.update_ledger(|ledger| {
            match ledger.lease(Leased::Streams, self.root, endpoint, now.after(2 * LEASE_FLOOR)) {
                true => Change::Write(()),
                false => Change::Nothing(()),
            }
        })
    }

    /// An open GET stream has closed.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the count is then right at the lease's end.
    pub fn close_stream(&self, endpoint: EndpointTag, now: Timestamp) -> Result<(), StoreError> {
        self.update_ledger(
            |ledger| match ledger.give_back(Leased::Streams, self.root, endpoint, now) {
                true => Change::Write(()),
                false => Change::Nothing(()),
            },
        )
    }

    /// Once a tick: drops what dead roots hold, renews what this one does.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn keep_leases(&self, now: Timestamp) -> Result<(), StoreError> {
        let (before, until) = (now.after(LEASE_FLOOR), now.after(2 * LEASE_FLOOR));
        self.update_ledger(|ledger| {
            let renewed = ledger.renew(Leased::Streams, self.root, before, until);
            let reaped = ledger.reap(now);
            if renewed || reaped {
                Change::Write(())
            } else {
                Change::Nothing(())
            }
        })
    }
}
