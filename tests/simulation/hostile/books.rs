//! The memory of a hostile world, from outside only.

use std::collections::{BTreeMap, BTreeSet};

use mcp_session_filter::session::Key;

use super::Id;
use super::Place;

/// The opener of a session: a user by number, or `None` for a caller without a name.
pub(super) type User = Option<usize>;

/// The memory of the world.
#[derive(Debug)]
pub(super) struct Books {
    /// By endpoint: the ids that clients can use, and the first user that was given each.
    pub(super) usable: Vec<BTreeMap<Id, User>>,
    /// The session that each possible key stands for.
    pub(super) names: BTreeMap<[u8; 16], (usize, Id)>,
    /// The openers of the sessions in the table, even if another user was given the id.
    pub(super) owners: BTreeMap<(usize, Id), User>,
    /// Ids that were adopted without a place.
    pub(super) apart: BTreeSet<(usize, Id)>,
    /// Until when requests with the id of a session that the filter has ended get 404.
    pub(super) remembered: BTreeMap<(usize, Id), u64>,
    /// Sessions opened less sessions ended, by the reports; `None` if a report may have been lost.
    pub(super) reported: Option<i64>,
    /// Reservations whose requests are gone without giving them back.
    pub(super) orphans: Vec<Place>,
    /// When a worker last dropped reservations that had run out.
    pub(super) last_reap: u64,
    /// Until then there may be reservations that the world does not know.
    pub(super) strange_places_until: u64,
    /// Values that another version has written, and the values before.
    pub(super) foreign: Vec<(Key, Vec<u8>)>,
    /// Ids whose sessions stood in such a value. They are usable again once it is put back.
    pub(super) hidden: Vec<(usize, Id, User)>,
    /// A heavy fault has happened since the last round of sweeps.
    pub(super) disturbed: bool,
    /// The ledger, or everything, was lost, so the counts are unknown until a round of sweeps is over.
    pub(super) uncounted: bool,
    /// By cap: how many sessions more than the cap there may be after that, until enough have ended.
    pub(super) excess: BTreeMap<Capped, usize>,
}

/// Something with a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Capped {
    Vm,
    Endpoint(usize),
    Principal(usize, User),
}

impl Books {
    pub(super) fn new(endpoints: usize) -> Self {
        Self {
            usable: vec![BTreeMap::new(); endpoints],
            names: BTreeMap::new(),
            owners: BTreeMap::new(),
            apart: BTreeSet::new(),
            remembered: BTreeMap::new(),
            reported: Some(0),
            orphans: Vec::new(),
            last_reap: 0,
            strange_places_until: 0,
            foreign: Vec::new(),
            hidden: Vec::new(),
            disturbed: false,
            uncounted: false,
            excess: BTreeMap::new(),
        }
    }

    /// Makes the id usable. Returns whether that is new.
    pub(super) fn give(&mut self, site: usize, id: Id, user: User) -> bool {
        self.apart.remove(&(site, id));
        self.remembered.remove(&(site, id));
        let owner = self.owners.get(&(site, id)).copied().unwrap_or(user);
        self.usable[site].insert(id, owner).is_none()
    }

    /// Makes the id unusable.
    pub(super) fn end(&mut self, site: usize, id: Id) {
        self.usable[site].remove(&id);
        self.apart.remove(&(site, id));
    }

    pub(super) fn is_usable(&self, site: usize, id: Id) -> bool {
        self.usable[site].contains_key(&id)
    }

    pub(super) fn usable_in_all(&self) -> usize {
        self.usable.iter().map(BTreeMap::len).sum()
    }

    /// The number of usable ids of this user at an endpoint.
    pub(super) fn usable_of(&self, site: usize, user: User) -> usize {
        self.usable[site].values().filter(|owner| **owner == user).count()
    }

    /// Notes a heavy fault: the reports may be wrong until a round of sweeps is over.
    pub(super) fn disturb(&mut self) {
        self.disturbed = true;
        self.reported = None;
    }
}
