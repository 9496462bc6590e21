//! What the table remembers of an id whose session has left it.

use super::codec::{Reader, timestamp_bytes};
use super::record::{EndReason, Owner, Session, SessionKey};
use crate::session::time::Timestamp;

/// How requests with the id of a session that has left the table are answered. Only a session that the filter itself
/// has ended stays ended: a server that did not know a session once may know it the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Remembered {
    /// As requests of an ended session.
    Ended,
    /// As requests with an unknown id from this principal; from any other principal as those of an ended session,
    /// since the session was bound.
    OwnedBy(Owner),
}

impl Remembered {
    /// What the table remembers of a session that ends for `reason`; `bound` says whether only its owner may use it.
    /// `None` means that its id is unknown from then on.
    pub(in crate::session) fn of(session: &Session, reason: EndReason, bound: bool) -> Option<Self> {
        match reason {
            EndReason::UpstreamGone => bound.then_some(Self::OwnedBy(session.owner)),
            EndReason::ClientDelete
            | EndReason::Idle
            | EndReason::Lifetime
            | EndReason::StreamClosed
            | EndReason::Evicted => Some(Self::Ended),
        }
    }

    /// The principal that may adopt the id.
    pub(in crate::session) fn owner(self) -> Option<Owner> {
        match self {
            Self::Ended => None,
            Self::OwnedBy(owner) => Some(owner),
        }
    }
}

/// The rest of a session in its bucket, until `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Tombstone {
    pub(in crate::session) key: SessionKey,
    pub(in crate::session) until: Timestamp,
    pub(in crate::session) remembered: Remembered,
}

impl Tombstone {
    /// Bytes of a tombstone without an owner.
    pub(in crate::session) const LEN: usize = SessionKey::LEN + 5;

    /// Bytes of a tombstone with an owner.
    pub(in crate::session) const OWNED_LEN: usize = Self::LEN + 8;

    pub(in crate::session) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            key: SessionKey::from_bytes(reader.array()?),
            until: reader.timestamp()?,
            remembered: Remembered::Ended,
        })
    }

    pub(in crate::session) fn read_owned(reader: &mut Reader<'_>) -> Option<Self> {
        let tombstone = Self::read(reader)?;
        let remembered = Remembered::OwnedBy(Owner(reader.u64()?));
        Some(Self {
            remembered,
            ..tombstone
        })
    }

    pub(in crate::session) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&timestamp_bytes(self.until));
        if let Some(owner) = self.remembered.owner() {
            out.extend_from_slice(&owner.0.to_le_bytes());
        }
    }
}
