//! The pending DELETE, which tells the server that the filter has ended a session (`terminate_upstream`).
//!
//! A session's record carries what its DELETE needs. The compare-and-set that ends the session turns its record into
//! a [`PendingDelete`], so there is no gap between the two. The pending DELETE stands for the session like a
//! [`Tombstone`], until the server has answered.

use core::time::Duration;

use super::codec::{Reader, put, put_long, timestamp_bytes};
use super::delete_request::DeleteRequest;
use super::record::{EndReason, Owner, Session, SessionKey};
use super::tombstone::{Remembered, Tombstone};
use crate::session::settings::EndpointTag;
use crate::session::time::Timestamp;

/// A DELETE is sent at most this often.
const MAX_ATTEMPTS: u8 = 3;

/// Pause after the first failure; after the second it is twice as long.
const SPACING: Duration = Duration::from_secs(5);

/// How long a pending DELETE still waits for its turn after the id was forgotten.
const PATIENCE: Duration = Duration::from_secs(600);

/// How much later than its time-out the answer to a DELETE may come, before it counts as lost.
const SLACK: Duration = Duration::from_secs(30);

/// A DELETE that was not sent yet, or not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDelete {
    /// The hash of the session's endpoint and id.
    pub key: SessionKey,
    /// The endpoint of the session.
    pub endpoint: EndpointTag,
    /// The session's id.
    pub id: Vec<u8>,
    /// What the DELETE says besides the id.
    pub delete_request: DeleteRequest,
    /// Until then the id is remembered.
    pub(in crate::session) until: Timestamp,
    /// How requests with the id are answered until then; `None` if the id is unknown.
    pub(in crate::session) remembered: Option<Remembered>,
    state: State,
    /// DELETEs sent so far.
    attempts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The DELETE must be sent, but not before this time.
    Waiting(Timestamp),
    /// The DELETE was sent. The answer must come by this time.
    Sent(Timestamp),
}

/// What a sweep does with a pending DELETE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum NextStep {
    /// It can be sent.
    Ready,
    /// Nothing happens before this.
    Waits(Timestamp),
    /// The root that sent it is gone, or no root could send it for too long.
    GivenUp,
}

impl PendingDelete {
    /// Bytes before the length of the id.
    const FIXED_LEN: usize = SessionKey::LEN + 5 + 4 + 1 + 5 + 8;

    /// The bit of the flags for [`State::Sent`].
    const SENT: u8 = 0x80;

    /// The bit for [`Remembered::Ended`].
    const ENDED: u8 = 0x40;

    /// The bit for [`Remembered::OwnedBy`].
    const OWNED: u8 = 0x20;

    /// The bits that count the attempts.
    const ATTEMPTS: u8 = 0x0f;

    /// A DELETE for `id`, to be sent from `now` on. Requests with the id are answered as those of an ended session.
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
            remembered: Some(Remembered::Ended),
            state: State::Waiting(now),
            attempts: 0,
        }
    }

    /// The DELETE for a session that ends for `reason`; `None` if the server need not or cannot be told.
    pub(in crate::session) fn left_by(
        session: &Session,
        reason: EndReason,
        remembered: Option<Remembered>,
        until: Timestamp,
        now: Timestamp,
    ) -> Option<Self> {
        let delete_request = session
            .delete_request
            .clone()
            .filter(|_| session.can_be_told() && reason.is_told_to_the_server())?;
        let pending = Self::new(
            session.key,
            session.endpoint,
            &session.id,
            delete_request,
            until,
            now,
        );
        Some(Self {
            remembered,
            ..pending
        })
    }

    /// The tombstone that is left once the DELETE is settled or given up.
    pub(in crate::session) fn tombstone(&self) -> Option<Tombstone> {
        Some(Tombstone {
            key: self.key,
            until: self.until,
            remembered: self.remembered?,
        })
    }

    /// How requests with the id are answered at `now`.
    pub(in crate::session) fn remembered(&self, now: Timestamp) -> Option<Remembered> {
        match self.remembered {
            // The id of an ended session stays ended for as long as its DELETE takes.
            Some(Remembered::Ended) => self.remembered,
            Some(Remembered::OwnedBy(_)) | None => self.remembered.filter(|_| now < self.until),
        }
    }

    /// What a sweep at `now` does with it.
    pub(in crate::session) fn next_step(&self, now: Timestamp) -> NextStep {
        match self.state {
            State::Sent(due) if due <= now => NextStep::GivenUp,
            State::Sent(due) => NextStep::Waits(due),
            State::Waiting(_) if self.until.after(PATIENCE) <= now => NextStep::GivenUp,
            State::Waiting(due) if due <= now => NextStep::Ready,
            State::Waiting(due) => NextStep::Waits(due),
        }
    }

    /// The same, marked as sent by a root that waits `timeout` for the answer.
    pub(in crate::session) fn sent(mut self, timeout: Duration, now: Timestamp) -> Self {
        self.state = State::Sent(now.after(timeout).after(SLACK));
        self.attempts = self.attempts.saturating_add(1);
        self
    }

    /// The same, marked as not sent: Envoy did not send it.
    pub(in crate::session) fn unsent(mut self, now: Timestamp) -> Self {
        self.state = State::Waiting(now);
        self.attempts = self.attempts.saturating_sub(1);
        self
    }

    /// The same after a failure, with a later time for the next attempt; `None` after the last attempt.
    pub(in crate::session) fn failed(mut self, now: Timestamp) -> Option<Self> {
        self.state = State::Waiting(now.after(SPACING * u32::from(self.attempts)));
        (self.attempts < MAX_ATTEMPTS).then_some(self)
    }

    /// Whether this is the first attempt at the session's DELETE.
    pub fn is_first_attempt(&self) -> bool {
        self.attempts <= 1
    }

    pub(in crate::session) fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent(_))
    }

    pub(in crate::session) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let key = SessionKey::from_bytes(reader.array()?);
        let until = reader.timestamp()?;
        let endpoint = EndpointTag::from_bytes(reader.array()?);
        let flags = reader.u8()?;
        let due = reader.timestamp()?;
        let owner = Owner(reader.u64()?);
        let id_len = usize::from(reader.u16()?);
        let id = reader.bytes(id_len)?.to_vec();
        Some(Self {
            key,
            endpoint,
            id,
            delete_request: DeleteRequest::read(reader)?,
            until,
            remembered: match flags & (Self::ENDED | Self::OWNED) {
                0 => None,
                Self::OWNED => Some(Remembered::OwnedBy(owner)),
                _ => Some(Remembered::Ended),
            },
            state: match flags & Self::SENT {
                0 => State::Waiting(due),
                _ => State::Sent(due),
            },
            attempts: flags & Self::ATTEMPTS,
        })
    }

    pub(in crate::session) fn write(&self, out: &mut Vec<u8>) {
        let (sent, due) = match self.state {
            State::Waiting(due) => (0, due),
            State::Sent(due) => (Self::SENT, due),
        };
        let remembered = match self.remembered {
            None => 0,
            Some(Remembered::Ended) => Self::ENDED,
            Some(Remembered::OwnedBy(_)) => Self::OWNED,
        };
        let owner = self.remembered.and_then(Remembered::owner).unwrap_or_default();
        put(out, self.key.as_bytes());
        put(out, &timestamp_bytes(self.until));
        put(out, &self.endpoint.to_bytes());
        put(out, &[self.attempts & Self::ATTEMPTS | sent | remembered]);
        put(out, &timestamp_bytes(due));
        put(out, &owner.0.to_le_bytes());
        put_long(out, &self.id);
        self.delete_request.write(out);
    }

    /// How many bytes the record at the beginning of `bytes` takes.
    pub(in crate::session) fn encoded_len(bytes: &[u8]) -> Option<usize> {
        let id_len = u16::from_le_bytes(*bytes.get(Self::FIXED_LEN..)?.first_chunk()?);
        let len = Self::FIXED_LEN + 2 + usize::from(id_len);
        Some(len + DeleteRequest::encoded_len(bytes.get(len..)?)?)
    }
}
