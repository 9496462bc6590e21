//! What a server is to be told when the filter ends a session.

use super::codec::{Reader, put_long};
use crate::mcp::revision::Revision;

/// What the DELETE says besides the id: the revision in ten bytes, zeros for none, then the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest(Vec<u8>);

impl DeleteRequest {
    const VERSION_LEN: usize = 10;

    /// `version` is the revision that the session's requests state, if one has stated it yet. `path` is that of its
    /// `initialize` without the query, or empty for the endpoint's own.
    pub fn new(version: Option<Revision>, path: &[u8]) -> Self {
        let mut delete_request = Self(vec![0; Self::VERSION_LEN]);
        delete_request.0.extend_from_slice(path);
        if let Some(version) = version {
            delete_request.set_version(version);
        }
        delete_request
    }

    /// The revision that the session's requests state.
    pub fn version(&self) -> Option<Revision> {
        Revision::parse(self.0.get(..Self::VERSION_LEN)?)
    }

    /// The path of the session's `initialize`, without its query; empty if it is the endpoint's own.
    pub fn path(&self) -> &[u8] {
        self.0.get(Self::VERSION_LEN..).unwrap_or_default()
    }

    pub(in crate::session) fn set_version(&mut self, version: Revision) {
        if let Some(field) = self.0.get_mut(..Self::VERSION_LEN) {
            field.copy_from_slice(version.as_bytes());
        }
    }

    pub(in crate::session) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let len = usize::from(reader.u16()?);
        Some(Self(reader.bytes(len)?.to_vec()))
    }

    /// How many bytes the record at the beginning of `bytes` takes for this.
    pub(in crate::session) fn encoded_len(bytes: &[u8]) -> Option<usize> {
        Some(2 + usize::from(u16::from_le_bytes(*bytes.first_chunk()?)))
    }

    pub(in crate::session) fn write(&self, out: &mut Vec<u8>) {
        put_long(out, &self.0);
    }
}
