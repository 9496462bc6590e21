//! A session id with the hashes by which the table and the logs know it.

use core::cell::OnceCell;
use std::borrow::Cow;

use super::settings::EndpointTag;
use super::store::Store;
use super::table::Table;
use super::time::Timestamp;
use super::values::record::{IdDigest, SessionKey};
use crate::mcp::session_id::tracked_bytes;

/// A session id of an endpoint. It is made once, where the id comes in, and passed on from there, so that no hash is
/// computed twice.
#[derive(Clone, Debug)]
pub struct TrackedId<'a> {
    id: Cow<'a, [u8]>,
    key: SessionKey,
    digest: OnceCell<IdDigest>,
}

impl<'a> TrackedId<'a> {
    /// The key of the session in the table.
    pub fn key(&self) -> SessionKey {
        self.key
    }

    /// The session's name in logs. Computed at the first call.
    pub fn digest(&self) -> IdDigest {
        *self.digest.get_or_init(|| IdDigest::of(&self.id))
    }

    /// The id as it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.id
    }

    /// The id as text, for logs that may show it.
    pub fn as_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.id)
    }

    /// The same id, without a borrow.
    pub fn into_owned(self) -> TrackedId<'static> {
        TrackedId {
            id: Cow::Owned(self.id.into_owned()),
            key: self.key,
            digest: self.digest,
        }
    }

    /// The same id for a session whose digest is known already.
    #[must_use]
    pub fn with_digest(self, digest: IdDigest) -> Self {
        let _ = self.digest.set(digest);
        self
    }
}

impl<S: Store> Table<S> {
    /// The id of a session of `endpoint`, with its key in the table.
    pub fn track<'a>(&self, endpoint: EndpointTag, id: impl Into<Cow<'a, [u8]>>) -> TrackedId<'a> {
        let id = id.into();
        TrackedId {
            key: self.key(endpoint, &tracked_bytes(&id)),
            id,
            digest: OnceCell::new(),
        }
    }

    /// An id for a stream that has none. It begins with a control byte, so no client can name it.
    pub fn stream_id(&self, context: u32, now: Timestamp) -> Vec<u8> {
        let root = self.root.bits().to_le_bytes();
        let now = now.as_millis().to_le_bytes();
        [&[0], &root[..], &context.to_le_bytes(), &now].concat()
    }
}
