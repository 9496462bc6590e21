//! Answers by which a server says that it has lost the session, though not with the status 404 (`lost_session`).
//!
//! Clients begin anew only at a 404. So an answer with a listed status is held until its body tells what it means:
//!
//! ```text
//! head with a listed status --> held -- whole, with a listed text ------> the session ends, 404 in its place
//!                                  +--- whole, without ------------+
//!                                  +--- over 8 KiB, or a second -----> read by its head, and let go as it came
//!                                  +--- the stream is over ---------> the ids in its head reach nobody
//! ```
//!
//! Nothing is done with the head before that: an answer that is replaced opens and adopts no session.

use core::time::Duration;

use super::answered::AnswerId;
use super::{Edit, Effects, Exchange, Gate, ResponseHead, State, Verb};
use crate::answer::Answer;
use crate::mcp::json_rpc;
use crate::mcp::occurs::Occurs;
use crate::session::{EndReason, SessionKey, Store};

/// The longest answer that is held, in bytes. The texts of servers that lose sessions are far shorter. Envoy's buffer
/// (`per_connection_buffer_limit_bytes`, 1 MiB unless set) must have room for it.
pub const HELD_ANSWER_BYTES: usize = 8 * 1024;

/// An answer that is not whole after this time is let go.
pub const HELD_ANSWER_TIME: Duration = Duration::from_secs(1);

/// The head of an answer that is held, as far as it matters.
#[derive(Debug)]
pub(super) struct HeldHead {
    status: u16,
    session_id: Occurs<Vec<u8>>,
}

impl HeldHead {
    /// The head. An answer that is held is no event stream and not encoded.
    fn borrowed(&self) -> ResponseHead<'_> {
        ResponseHead {
            status: self.status,
            session_id: self.session_id.as_ref().map(Vec::as_slice),
            is_event_stream: false,
            is_encoded: false,
            content_length: None,
        }
    }
}

impl Exchange {
    /// Whether an answer with this head must be held and read, if the server itself gives it and if it has a body.
    /// Then call [`Exchange::hold_answer`] in place of [`Exchange::answered`].
    pub fn reads(&self, head: &ResponseHead<'_>) -> bool {
        let lost = &self.site.rules.lost_session;
        lost.iter().any(|answer| answer.status == head.status) && self.has_id() && self.can_read(head)
    }

    /// Whether the request has an id that has reached the server.
    fn has_id(&self) -> bool {
        match &self.state {
            State::Using(_) => true,
            State::Opening { unknown, .. } => unknown.is_some(),
            State::Holding(_)
            | State::Waiting(_)
            | State::Sessionless
            | State::StreamAsked(_)
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over => false,
        }
    }

    /// Whether the answer has a body that is plain and short, as far as its head tells. Answers to HEAD and with the
    /// status 204 have none (RFC 9110, sections 9.3.2 and 15.3.5).
    fn can_read(&self, head: &ResponseHead<'_>) -> bool {
        let limit = u64::try_from(HELD_ANSWER_BYTES).unwrap_or(u64::MAX);
        let is_short = head.content_length.is_none_or(|length| length <= limit);
        let has_body = self.verb != Verb::Head && head.status != 204;
        has_body && is_short && !head.is_event_stream && !head.is_encoded
    }

    /// Keeps the head of an answer that the host holds.
    pub fn hold_answer(&mut self, head: &ResponseHead<'_>) {
        self.held_answer = Some(Box::new(HeldHead {
            status: head.status,
            session_id: head.session_id.map(<[u8]>::to_vec),
        }));
    }

    /// Whether the host holds the answer. It must, until [`Exchange::settle_answer`].
    pub fn holds_answer(&self) -> bool {
        self.held_answer.is_some()
    }

    /// Ends the holding of the answer: judges it by its whole body, or lets it go unread if it is too long or not whole
    /// in time (`None`). [`Edit::Replace`] means that the server has lost the session.
    pub fn settle_answer<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        whole: Option<&[u8]>,
    ) -> Edit {
        let Some(held) = self.held_answer.take() else {
            return Edit::Keep;
        };
        let head = held.borrowed();
        if whole.is_some_and(|body| self.tells_loss(head.status, body)) {
            self.lost(gate, effects, &head)
        } else {
            self.read_head(gate, effects, &head, &|| true)
        }
    }

    /// Whether the body has a text that is listed for the status. A 2xx answer is often data of a tool, in which the
    /// text may occur by chance, so only the message of an error counts there.
    fn tells_loss(&self, status: u16, body: &[u8]) -> bool {
        let message;
        let searched = if (200..300).contains(&status) {
            message = json_rpc::error_message(body).unwrap_or_default();
            message.as_bytes()
        } else {
            body
        };
        let lost = &self.site.rules.lost_session;
        lost.iter()
            .any(|answer| answer.status == status && contains(searched, answer.contains.as_bytes()))
    }

    /// Ends the session, as a 404 of the server's does. The ids of the answer reach no client.
    fn lost<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
    ) -> Edit {
        match core::mem::take(&mut self.state) {
            State::Using(key) => {
                self.state = State::Using(key);
                self.drop_other_ids(gate, effects, head, Some(key));
                self.end_session(gate, effects, key, EndReason::UpstreamGone);
            }
            State::Opening { unknown, reservation } => {
                let own = unknown.map(|id| id.key());
                self.give_back(gate, effects, reservation);
                self.drop_other_ids(gate, effects, head, own);
            }
            state @ (State::Holding(_)
            | State::Waiting(_)
            | State::Sessionless
            | State::StreamAsked(_)
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over) => self.state = state,
        }
        self.refuse(effects, Answer::SessionNotFound);
        Edit::Replace(Answer::SessionNotFound)
    }

    /// Handles the end of a stream whose answer is still held: the client got none of it. The head still tells what
    /// the server did.
    pub(super) fn abandon_answer<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects) {
        let Some(held) = self.held_answer.take() else {
            return;
        };
        let head = held.borrowed();
        let (own, ended) = match &self.state {
            State::Using(key) => (Some(*key), self.end_reason(&head).map(|reason| (*key, reason))),
            State::Opening { unknown, .. } => (unknown.as_ref().map(|id| id.key()), None),
            State::Holding(_)
            | State::Waiting(_)
            | State::Sessionless
            | State::StreamAsked(_)
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over => return,
        };
        self.drop_other_ids(gate, effects, &head, own);
        if let Some((key, reason)) = ended {
            self.end_session(gate, effects, key, reason);
        }
    }

    /// Treats every id of the answer but the request's own as taken off.
    fn drop_other_ids<S: Store>(
        &self,
        gate: &Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        own: Option<SessionKey>,
    ) {
        match self.answer_id(gate, head, own) {
            AnswerId::Absent | AnswerId::Own => {}
            AnswerId::Other(id) => {
                self.take_off(gate, effects, Some(&id));
            }
            AnswerId::Unusable => {
                self.take_off(gate, effects, None);
            }
        }
    }
}

/// Whether `text`, which is not empty, occurs in `body`.
fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len().max(1)).any(|window| window == text)
}
