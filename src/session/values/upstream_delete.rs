//! The pending DELETE: the DELETE that a server is owed when the filter ends a session (`terminate_upstream`).
//!
//! A session carries what it will take; the compare-and-set that ends the session turns its record into an
//! [`PendingDelete`], so that nothing lies between the two. It stands for the ended session like a tombstone, until the
//! server has answered.

use core::time::Duration;

use super::codec::{Reader, put, put_long, timestamp_bytes};
use super::record::{EndReason, Session, SessionKey};
use crate::mcp::revision::Revision;
use crate::session::settings::EndpointTag;
use crate::session::time::Timestamp;

/// A DELETE is sent at most this often.
const MAX_ATTEMPTS: u8 = 3;

/// Pause after the first failure; after the second it is twice as long.
const SPACING: Duration = Duration::from_secs(5);

/// How long after the id is forgotten a pending DELETE still waits for its turn.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long the answer of a DELETE may be late beyond its time-out, before it counts as lost.
const SLACK: Duration = Duration::from_secs(30);

/// What the DELETE will say besides the id: the revision in ten bytes, zeros for none, then the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest(Vec<u8>);

impl DeleteRequest {
    const VERSION_LEN: usize = 10;

    /// `version` is the revision that the session's requests state, if one has yet; `path` that of its
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

    /// How many of `bytes` the pending DELETE takes that they begin with.
    pub(in crate::session) fn encoded_len(bytes: &[u8]) -> Option<usize> {
        Some(2 + usize::from(u16::from_le_bytes(*bytes.first_chunk()?)))
    }

    pub(in crate::session) fn write(&self, out: &mut Vec<u8>) {
        put_long(out, &self.0);
    }
}

/// A pending DELETE that has not been said, or not been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDelete {
    /// The hash of the session's endpoint and id.
    pub key: SessionKey,
    /// Where the session was.
    pub endpoint: EndpointTag,
    /// The session's id.
    pub id: Vec<u8>,
    /// What else the DELETE says.
    pub delete_request: DeleteRequest,
    /// Until when requests with the id are answered as those of an ended session.
    pub(in crate::session) until: Timestamp,
    state: State,
    /// DELETEs sent so far.
    attempts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be sent, not before this.
    Waiting(Timestamp),
    /// Sent; the answer has to be there by then.
    Sent(Timestamp),
}

/// What is to become of a pending DELETE that a sweep meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum NextStep {
    /// It can be sent.
    Ready,
    /// Nothing happens before this.
    Waits(Timestamp),
    /// Whoever sent it is gone, or nobody could for too long.
    GivenUp,
}

impl PendingDelete {
    /// Bytes before the length of the id.
    const FIXED_LEN: usize = SessionKey::LEN + 5 + 4 + 1 + 5;

    /// The bit of the attempts that says [`State::Sent`].
    const SENT: u8 = 0x80;

    /// What a server is owed for `id`, from `now` on.
    pub(in crate::session) fn new(
        key: SessionKey,
        endpoint: EndpointTag,
        id: &[u8],
        delete_request: DeleteRequest,
        until: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            key,
            endpoint,
            id: id.to_vec(),
            delete_request,
            until,
            state: State::Waiting(now),
            attempts: 0,
        }
    }

    /// What a session leaves that ends for `reason`.
    pub(in crate::session) fn left_by(
        session: &Session,
        reason: EndReason,
        until: Timestamp,
        now: Timestamp,
    ) -> Option<Self> {
        let delete_request = session
            .delete_request
            .clone()
            .filter(|_| reason.is_the_filters())?;
        Some(Self::new(
            session.key,
            session.endpoint,
            &session.id,
            delete_request,
            until,
            now,
        ))
    }

    /// What is to become of it at `now`.
    pub(in crate::session) fn next_step(&self, now: Timestamp) -> NextStep {
        match self.state {
            State::Sent(due) if due <= now => NextStep::GivenUp,
            State::Sent(due) => NextStep::Waits(due),
            State::Waiting(_) if self.until.after(PATIENCE) <= now => NextStep::GivenUp,
            State::Waiting(due) if due <= now => NextStep::Ready,
            State::Waiting(due) => NextStep::Waits(due),
        }
    }

    /// The same, about to be sent by a root that waits `timeout` for the answer.
    pub(in crate::session) fn sent(mut self, timeout: Duration, now: Timestamp) -> Self {
        self.state = State::Sent(now.after(timeout).after(SLACK));
        self.attempts = self.attempts.saturating_add(1);
        self
    }

    /// The same, as if it had never been sent, which it has not.
    pub(in crate::session) fn unsent(mut self, now: Timestamp) -> Self {
        self.state = State::Waiting(now);
        self.attempts = self.attempts.saturating_sub(1);
        self
    }

    /// The same after a failure, to be tried anew from a later moment on; `None` after the last attempt.
    pub(in crate::session) fn failed(mut self, now: Timestamp) -> Option<Self> {
        self.state = State::Waiting(now.after(SPACING * u32::from(self.attempts)));
        (self.attempts < MAX_ATTEMPTS).then_some(self)
    }

    pub(in crate::session) fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent(_))
    }

    pub(in crate::session) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let key = SessionKey::from_bytes(reader.array()?);
        let until = reader.timestamp()?;
        let endpoint = EndpointTag::from_bytes(reader.array()?);
        let attempts = reader.u8()?;
        let due = reader.timestamp()?;
        let id_len = usize::from(reader.u16()?);
        let id = reader.bytes(id_len)?.to_vec();
        Some(Self {
            key,
            endpoint,
            id,
            delete_request: DeleteRequest::read(reader)?,
            until,
            state: match attempts & Self::SENT {
                0 => State::Waiting(due),
                _ => State::Sent(due),
            },
            attempts: attempts & !Self::SENT,
        })
    }

    pub(in crate::session) fn write(&self, out: &mut Vec<u8>) {
        let (sent, due) = match self.state {
            State::Waiting(due) => (0, due),
            State::Sent(due) => (Self::SENT, due),
        };
        put(out, self.key.as_bytes());
        put(out, &timestamp_bytes(self.until));
        put(out, &self.endpoint.to_bytes());
        put(out, &[self.attempts | sent]);
        put(out, &timestamp_bytes(due));
        put_long(out, &self.id);
        self.delete_request.write(out);
    }

    /// How many of `bytes` the record takes that they begin with.
    pub(in crate::session) fn encoded_len(bytes: &[u8]) -> Option<usize> {
        let id_len = u16::from_le_bytes(*bytes.get(Self::FIXED_LEN..)?.first_chunk()?);
        let len = Self::FIXED_LEN + 2 + usize::from(id_len);
        Some(len + DeleteRequest::encoded_len(bytes.get(len..)?)?)
    }
}
