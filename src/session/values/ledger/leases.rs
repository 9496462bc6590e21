//! The reservations and streams of each root, with a deadline, so that those of a dead root go by themselves.

use super::super::record::RootTag;
use crate::session::settings::EndpointTag;
use crate::session::time::Timestamp;

/// Most rows. Every worker of a large machine needs fewer.
const MAX_LEASES: usize = 16_384;

/// The kind of things that a [`Lease`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leased {
    /// Reservations of initializations without an answer; they are given back at `until`.
    Reservations,
    /// Open streams; the root renews `until` while it has any. There is one such lease for a root and an endpoint.
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

impl Lease {
    fn is_of_streams(&self, root: RootTag, endpoint: EndpointTag) -> bool {
        self.leased == Leased::Streams && self.root == root && self.endpoint == endpoint
    }
}

/// The leases of all roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leases(pub(super) Vec<Lease>);

impl Leases {
    /// Counts one more reservation. Returns false if the table of leases is full.
    pub(super) fn add(&mut self, root: RootTag, endpoint: EndpointTag, until: Timestamp) -> bool {
        match self.reservations_mut(root, endpoint, until) {
            Some(lease) => {
                lease.count = lease.count.saturating_add(1);
                true
            }
            None => self.push(Lease {
                root,
                endpoint,
                leased: Leased::Reservations,
                until,
                count: 1,
            }),
        }
    }

    /// Takes one reservation off. Returns false if it is gone.
    pub(super) fn take(&mut self, root: RootTag, endpoint: EndpointTag, until: Timestamp) -> bool {
        let Some(lease) = self.reservations_mut(root, endpoint, until) else {
            return false;
        };
        lease.count = lease.count.saturating_sub(1);
        self.0.retain(|lease| lease.count > 0);
        true
    }

    /// Sets how many streams the root has at the endpoint. Returns false if the table of leases is full.
    pub(super) fn set_streams(
        &mut self,
        root: RootTag,
        endpoint: EndpointTag,
        count: u32,
        until: Timestamp,
    ) -> bool {
        self.0
            .retain(|lease| count > 0 || !lease.is_of_streams(root, endpoint));
        if count == 0 {
            return true;
        }
        let known = self
            .0
            .iter_mut()
            .find(|lease| lease.is_of_streams(root, endpoint));
        match known {
            Some(lease) => {
                (lease.count, lease.until) = (count, until);
                true
            }
            None => self.push(Lease {
                root,
                endpoint,
                leased: Leased::Streams,
                until,
                count,
            }),
        }
    }

    /// How many streams the other roots have at the endpoint.
    pub(super) fn streams_of_others(&self, root: RootTag, endpoint: EndpointTag) -> u32 {
        let others = self.0.iter().filter(|lease| {
            lease.leased == Leased::Streams && lease.endpoint == endpoint && lease.root != root
        });
        others.map(|lease| lease.count).fold(0, u32::saturating_add)
    }

    /// Whether the root's streams at the endpoint are counted so, in a lease that does not end before `before`.
    pub(super) fn has_streams(
        &self,
        root: RootTag,
        endpoint: EndpointTag,
        count: u32,
        before: Timestamp,
    ) -> bool {
        let known = self.0.iter().find(|lease| lease.is_of_streams(root, endpoint));
        known.map_or(count == 0, |lease| lease.count == count && lease.until >= before)
    }

    /// Drops the root's leases of streams at endpoints that are not listed. Returns true if there were any.
    pub(super) fn drop_streams_unless(&mut self, root: RootTag, listed: &[(EndpointTag, u32)]) -> bool {
        let is_listed = |lease: &Lease| listed.iter().any(|(endpoint, _)| *endpoint == lease.endpoint);
        let before = self.0.len();
        self.0
            .retain(|lease| lease.leased != Leased::Streams || lease.root != root || is_listed(lease));
        self.0.len() != before
    }

    /// Drops leases that have passed their deadline. Returns true if there were any.
    pub(super) fn reap(&mut self, now: Timestamp) -> bool {
        let before = self.0.len();
        self.0.retain(|lease| now < lease.until);
        self.0.len() != before
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

    fn push(&mut self, lease: Lease) -> bool {
        let room = self.0.len() < MAX_LEASES;
        if room {
            self.0.push(lease);
        }
        room
    }

    fn reservations_mut(
        &mut self,
        root: RootTag,
        endpoint: EndpointTag,
        until: Timestamp,
    ) -> Option<&mut Lease> {
        self.0.iter_mut().find(|lease| {
            lease.leased == Leased::Reservations
                && lease.root == root
                && lease.endpoint == endpoint
                && lease.until == until
        })
    }
}
