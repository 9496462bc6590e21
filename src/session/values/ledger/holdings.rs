//! Places and streams that a root accounts for, each with a deadline: what a dead root leaves behind goes
//! by itself.

use super::super::record::RootTag;
use crate::session::settings::EndpointTag;
use crate::session::time::Timestamp;

/// At most this many rows: more than every worker of a large machine needs.
const MAX_HOLDINGS: usize = 16_384;

/// What a [`Holding`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Held {
    /// Places of initializations without an answer; `until` is when they are given back.
    Places,
    /// Open GET streams; the root renews `until` while it has any.
    Streams,
}

/// A number of places or streams of one root, until a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) root: RootTag,
    pub(super) endpoint: EndpointTag,
    pub(super) held: Held,
    pub(super) until: Timestamp,
    pub(super) count: u32,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings(pub(super) Vec<Holding>);

impl Holdings {
    /// Counts one more; false if the table of holdings is full.
    pub(super) fn add(&mut self, held: Held, root: RootTag, endpoint: EndpointTag, until: Timestamp) -> bool {
        if let Some(holding) = self.find_mut(held, root, endpoint, until) {
            holding.count = holding.count.saturating_add(1);
            holding.until = holding.until.max(until);
            return true;
        }
        let room = self.0.len() < MAX_HOLDINGS;
        if room {
            self.0.push(Holding {
                root,
                endpoint,
                held,
                until,
                count: 1,
            });
        }
        room
    }

    /// Takes one off; false if it is no longer there.
    pub(super) fn take(
        &mut self,
        held: Held,
        root: RootTag,
        endpoint: EndpointTag,
        until: Timestamp,
    ) -> bool {
        let Some(holding) = self.find_mut(held, root, endpoint, until) else {
            return false;
        };
        holding.count = holding.count.saturating_sub(1);
        self.0.retain(|holding| holding.count > 0);
        true
    }

    /// Drops what has passed its deadline; true if there was any.
    pub(super) fn reap(&mut self, now: Timestamp) -> bool {
        let before = self.0.len();
        self.0.retain(|holding| now < holding.until);
        self.0.len() != before
    }

    /// Renews what `root` holds of `held` and would lose before `before`; true if anything changed.
    pub(super) fn renew(&mut self, held: Held, root: RootTag, before: Timestamp, until: Timestamp) -> bool {
        let mut changed = false;
        for holding in &mut self.0 {
            if holding.held == held && holding.root == root && holding.until < before {
                holding.until = until;
                changed = true;
            }
        }
        changed
    }

    /// How many there are, at one endpoint or at all.
    pub(super) fn count(&self, held: Held, endpoint: Option<EndpointTag>) -> u32 {
        let counted =
            |holding: &&Holding| holding.held == held && endpoint.is_none_or(|tag| holding.endpoint == tag);
        let counts = self.0.iter().filter(counted).map(|holding| holding.count);
        counts.fold(0, u32::saturating_add)
    }

    /// Whether anything is held at `endpoint`.
    pub(super) fn any_at(&self, endpoint: EndpointTag) -> bool {
        self.0.iter().any(|holding| holding.endpoint == endpoint)
    }

    fn find_mut(
        &mut self,
        held: Held,
        root: RootTag,
        endpoint: EndpointTag,
        until: Timestamp,
    ) -> Option<&mut Holding> {
        // A renewed deadline is no part of a stream's identity; a place's deadline is what names its cohort.
        self.0.iter_mut().find(|holding| {
            holding.held == held
                && holding.root == root
                && holding.endpoint == endpoint
                && (held == Held::Streams || holding.until == until)
        })
    }
}
