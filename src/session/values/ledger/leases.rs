//! Places and streams that a root accounts for, each with a deadline: what a dead root leaves behind goes
//! by itself.

use super::super::record::RootTag;
use crate::session::settings::EndpointTag;
use crate::session::time::Timestamp;

/// At most this many rows: more than every worker of a large machine needs.
const MAX_LEASES: usize = 16_384;

/// What a [`Lease`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Leased {
    /// Places of initializations without an answer; `until` is when they are given back.
    Reservations,
    /// Open GET streams; the root renews `until` while it has any.
    Streams,
}

/// A number of places or streams of one root, until a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) root: RootTag,
    pub(super) endpoint: EndpointTag,
    pub(super) leased: Leased,
    pub(super) until: Timestamp,
    pub(super) count: u32,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leases(pub(super) Vec<Lease>);

impl Leases {
    /// Counts one more; false if the table of leases is full.
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

    /// Takes one off; false if it is no longer there.
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

    /// Drops what has passed its deadline; true if there was any.
    pub(super) fn reap(&mut self, now: Timestamp) -> bool {
        let before = self.0.len();
        self.0.retain(|lease| now < lease.until);
        self.0.len() != before
    }

    /// Renews what `root` holds of `held` and would lose before `before`; true if anything changed.
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

    /// How many there are, at one endpoint or at all.
    pub(super) fn count(&self, leased: Leased, endpoint: Option<EndpointTag>) -> u32 {
        let counted =
            |lease: &&Lease| lease.leased == leased && endpoint.is_none_or(|tag| lease.endpoint == tag);
        let counts = self.0.iter().filter(counted).map(|lease| lease.count);
        counts.fold(0, u32::saturating_add)
    }

    /// Whether anything is held at `endpoint`.
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
        // A renewed deadline is no part of a stream's identity; a place's deadline is what names its cohort.
        self.0.iter_mut().find(|lease| {
            lease.leased == leased
                && lease.root == root
                && lease.endpoint == endpoint
                && (leased == Leased::Streams || lease.until == until)
        })
    }
}
