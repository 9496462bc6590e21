//! Reservations for initializations: leases of a root in the ledger.

use core::time::Duration;

use super::quota::Quota;
use super::{Change, Table};
use crate::session::settings::EndpointTag;
use crate::session::store::{Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::ledger::{Refusal, Reservation};

impl<S: Store> Table<S> {
    /// Makes a reservation that lasts for `timeout` at most. If there is a quota, the principal's book comes first,
    /// so that a principal without room causes no write to the ledger.
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
        // Deadlines are rounded to a few steps, so that the ledger holds a handful of rows for a root, however many
        // initializations wait. No deadline is later than `timeout` says.
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
            if let Some(refusal) = ledger.refusal(endpoint, now) {
                return if reaped {
                    Change::Write(Err(refusal))
                } else {
                    Change::Nothing(Err(refusal))
                };
            }
            match ledger.lease(self.root, endpoint, until) {
                true => Change::Write(Ok(Reservation {
                    endpoint,
                    until,
                    principal: None,
                })),
                false => Change::Nothing(Err(Refusal::Capacity)),
            }
        })
    }

    /// Gives a reservation back.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the reservation then comes back at its deadline.
    pub fn release(&self, reservation: Reservation) -> Result<(), StoreError> {
        self.update_ledger(|ledger| {
            match ledger.give_back(self.root, reservation.endpoint, reservation.until) {
                true => Change::Write(()),
                false => Change::Nothing(()),
            }
        })?;
        match reservation.principal {
            Some(owner) => self.strike_reservation(reservation.endpoint, owner, reservation.until),
            None => Ok(()),
        }
    }
}
