//! What a hostile world remembers, from the outside only.

use std::collections::{BTreeMap, BTreeSet};

use mcp_session_filter::session::Key;

use super::Id;
use super::Place;

/// Whoever opened a session: a user by number, or somebody without a name.
pub(super) type User = Option<usize>;

/// What the world remembers.
#[derive(Debug)]
pub(super) struct Books {
    /// By endpoint: the ids that clients can use, and who was given each first.
    pub(super) usable: Vec<BTreeMap<Id, User>>,
    /// What each key stands for that a session may have.
    pub(super) names: BTreeMap<[u8; 16], (usize, Id)>,
    /// Who opened the sessions that are in the table, whoever was given their ids.
    pub(super) owners: BTreeMap<(usize, Id), User>,
    /// Ids that were taken up without a place.
    pub(super) apart: BTreeSet<(usize, Id)>,
    /// Until when requests with the id of a session that the filter has ended get 404.
    pub(super) remembered: BTreeMap<(usize, Id), u64>,
    /// Sessions opened less sessions ended, by what was reported; `None` where a report may have been lost.
    pub(super) reported: Option<i64>,
    /// Places whose requests are gone and that nobody has given back.
    pub(super) orphans: Vec<Place>,
    /// When a worker last dropped places that had run out.
    pub(super) last_reap: u64,
    /// Until then places may be kept that the world does not know.
    pub(super) strange_places_until: u64,
    /// Values that another version has written, and what was there before.
    pub(super) foreign: Vec<(Key, Vec<u8>)>,
    /// A heavy fault has happened since the last round of sweeps.
    pub(super) disturbed: bool,
    /// The ledger, or everything, was lost: nobody knows how many there are until a round of sweeps is over.
    pub(super) uncounted: bool,
    /// After that there may be more than a cap allows, until enough have ended; by what is capped.
    pub(super) excess: BTreeMap<Capped, usize>,
}

/// What has a cap.
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
            disturbed: false,
            uncounted: false,
            excess: BTreeMap::new(),
        }
    }

    /// A client can use the id from now on. Whether that is new.
    pub(super) fn give(&mut self, site: usize, id: Id, user: User) -> bool {
        self.apart.remove(&(site, id));
        self.remembered.remove(&(site, id));
        let owner = self.owners.get(&(site, id)).copied().unwrap_or(user);
        self.usable[site].insert(id, owner).is_none()
    }

    /// No client can use the id any more.
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

    /// What this user has of an endpoint.
    pub(super) fn usable_of(&self, site: usize, user: User) -> usize {
        self.usable[site].values().filter(|owner| **owner == user).count()
    }

    /// A heavy fault: what was reported may be wrong, until a round of sweeps is over.
    pub(super) fn disturb(&mut self) {
        self.disturbed = true;
        self.reported = None;
    }
}
