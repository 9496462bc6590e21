//! The share of a fleet's cap that this gateway has, as a number: the ledger knows of no other gateway.

use super::Ledger;
use super::configurations::Entry;
use super::leases::Leased;
use crate::session::limit::Limit;
use crate::session::settings::ConfigurationId;
use crate::session::time::Timestamp;

/// The limit that the fleet sets, and who has written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// The number of the worker's turn at speaking. The limit of an earlier turn does not replace that of a later one.
    pub(super) term: u32,
    pub(super) limit: Limit,
}

impl Share {
    /// No worker has spoken yet.
    pub(super) const NONE: Self = Self {
        term: 0,
        limit: Limit::NOBODY,
    };
}

impl Ledger {
    /// The configuration whose fleet is in force: the newest that serves and writes one.
    pub(super) fn newest_with_fleet(&self) -> Option<&Entry> {
        self.deciding()
            .filter(|entry| entry.fleet.is_some())
            .max_by_key(|entry| entry.loaded)
    }

    /// Whether the fleet of this configuration is in force.
    pub(in crate::session) fn has_fleet_of(&self, configuration: ConfigurationId) -> bool {
        self.newest_with_fleet()
            .is_some_and(|entry| entry.id == configuration)
    }

    /// Whether a configuration in force writes a fleet.
    pub(in crate::session) fn has_fleet(&self) -> bool {
        self.newest_with_fleet().is_some()
    }

    /// Whether the fleet, if there is any, has room for one more session.
    pub(super) fn fleet_has_room(&self, now: Timestamp) -> bool {
        !self.has_fleet() || self.share.limit.has_room(self.used(), now)
    }

    /// Sessions and reservations, over all endpoints.
    pub(in crate::session) fn used(&self) -> u32 {
        let reserved = self.leases.count(Leased::Reservations, None);
        self.active(None).saturating_add(reserved)
    }

    /// The limit that the fleet sets, whether or not one is in force.
    pub(in crate::session) fn fleet_limit(&self) -> Limit {
        self.share.limit
    }

    /// The turn that has written the limit.
    #[cfg(test)]
    pub(in crate::session) fn fleet_term(&self) -> u32 {
        self.share.term
    }

    /// Begins a worker's turn at speaking: from now on no limit of an earlier turn is written. `None` if a later turn
    /// has begun already; else the limit as it is.
    pub(in crate::session) fn begin_term(&mut self, term: u32) -> Option<Limit> {
        if self.share.term > term {
            return None;
        }
        self.share.term = term;
        Some(self.share.limit)
    }

    /// Sets the limit. `None` if a later turn has begun; else whether anything has changed.
    pub(in crate::session) fn set_fleet_limit(&mut self, term: u32, limit: Limit) -> Option<bool> {
        let before = self.share;
        self.begin_term(term)?;
        self.share.limit = limit;
        Some(self.share != before)
    }
}
