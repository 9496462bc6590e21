//! The reservations and streams of each root, with a deadline, so that those of a dead root go by themselves.

use super::super::record::RootTag;
use crate::session::settings::EndpointTag;
use crate::session::time::Timestamp;

/// Most rows. Every worker of a large machine needs fewer.
const MAX_LEASES: usize = 16_384;

/// The kind of things that a [`Lease`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Leased {
    /// Reservations of initializations without an answer; they are given back at `until`.
    Reservations,
    /// Open GET streams; the root renews `until` while it has any.
    Streams,
}

/// A number of reservations or streams of one root, until a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) root: RootTag,
    pub(super) endpoint: EndpointTag,
    pub(super) leased: Leased,
    pub(super) until: Timestamp,
    pub(super) count: u32,
}

/// The leases of all roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leases(pub(super) Vec<Lease>);

impl Leases {
    /// Counts one more. Returns false if the table of leases is full.
    pub(super) fn add(
        &mut self,
        leased: Leased,
        root: RootTag,
        endpoint: EndpointTag,
        until: Timestamp,
    ) -> bool {
        if let Some(lease) = self.find_mut(leased, root, endpoint, until) {
            lease.count = lease.count.saturating_add(1);
            lease.until = lease.until.max(until);
            return true;
        }
        let room = self.0.len() < MAX_LEASES;
        if room {
            self.0.push(Lease {
                root,
                endpoint,
                leased,
                until,
                count: 1,
            });
        }
        room
    }

    /// Takes one off. Returns false if it is gone.
    pub(super) fn take(
        &mut self,
        leased: Leased,
        root: RootTag,
        endpoint: EndpointTag,
        until: Timestamp,
    ) -> bool {
        let Some(lease) = self.find_mut(leased, root, endpoint, until) else {
            return false;
        };
        lease.count = lease.count.saturating_sub(1);
        self.0.retain(|lease| lease.count > 0);
        true
    }

    /// Drops leases that have passed their deadline. Returns true if there were any.
    pub(super) fn reap(&mut self, now: Timestamp) -> bool {
        let before = self.0.len();
        self.0.retain(|lease| now < lease.until);
        self.0.len() != before
    }

    /// Renews the leases of `root` that end before `before`. Returns true if anything changed.
    pub(super) fn renew(
        &mut self,
        leased: Leased,
        root: RootTag,
        before: Timestamp,
        until: Timestamp,
    ) -> bool {
        let mut changed = false;
        for lease in &mut self.0 {
            if lease.leased == leased && lease.root == root && lease.until < before {
                lease.until = until;
                changed = true;
            }
        }
        changed
    }

    /// How many are counted, at one endpoint or at all.
    pub(super) fn count(&self, leased: Leased, endpoint: Option<EndpointTag>) -> u32 {
        let counted =
            |lease: &&Lease| lease.leased == leased && endpoint.is_none_or(|tag| lease.endpoint == tag);
        let counts = self.0.iter().filter(counted).map(|lease| lease.count);
        counts.fold(0, u32::saturating_add)
    }

    /// Whether there is a lease at `endpoint`.
    pub(super) fn any_at(&self, endpoint: EndpointTag) -> bool {
        self.0.iter().any(|lease| lease.endpoint == endpoint)
    }

    fn find_mut(
        &mut self,
        leased: Leased,
        root: RootTag,
        endpoint: EndpointTag,
        until: Timestamp,
    ) -> Option<&mut Lease> {
        // The deadline of streams may be renewed, so streams are found without it. Reservations are found by their
        // deadline.
        self.0.iter_mut().find(|lease| {
            lease.leased == leased
                && lease.root == root
                && lease.endpoint == endpoint
                && (leased == Leased::Streams || lease.until == until)
        })
    }
}
