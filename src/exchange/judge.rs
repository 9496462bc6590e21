//! Judges held requests by their message.

use super::{Effects, Exchange, Gate, Opens, State, Verdict, is_modern};
use crate::answer::Answer;
use crate::mcp::json_rpc::{self, Batch, Body, Message, RequestId, Strictness};
use crate::mcp::method::Method;
use crate::mcp::occurs::Occurs;
use crate::mcp::revision::Revision;
use crate::session::Store;
use crate::telemetry::Fact;

/// How many bytes of a too large request are searched for its id. The answer waits for these bytes, or for the end of
/// the body.
pub const ID_WITHIN_BYTES: usize = 4096;

impl Exchange {
    /// Judges the whole message of a held request.
    pub fn judge<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        body: &'b [u8],
    ) -> Verdict<'b> {
        self.glimpse = None;
        self.validates = false;
        let strictness = if self.site.rules.strict_json_rpc {
            Strictness::Strict
        } else {
            Strictness::Lenient
        };
        let read = json_rpc::read(body, strictness);
        match &read {
            Ok(Body::Single(message)) => self.report_message(effects, message),
            Ok(Body::Batch(_)) | Err(_) => self.report_method(effects, Method::Other, None),
        }
        if let Some(answer) = self.unsupported_version(body) {
            return self.refuse(effects, answer);
        }
        match read {
            Err(error) => self.refuse(effects, error.into()),
            Ok(Body::Batch(batch)) => {
                self.note_message(None);
                self.judge_batch(gate, effects, batch, body)
            }
            Ok(Body::Single(message)) => {
                self.note_message(message.kind.method());
                let verdict = self.judge_message(gate, effects, &message, body);
                let verdict = self.if_room_for_stream(gate, effects, verdict, message.id);
                self.write_method_headers(effects, &message, &verdict);
                verdict
            }
        }
    }

    /// Refuses a held body that is longer than the endpoint allows. `beginning` is its first [`ID_WITHIN_BYTES`]
    /// bytes, or the whole body if it is shorter.
    pub fn too_large<'b>(&mut self, effects: &mut impl Effects, beginning: &'b [u8]) -> Verdict<'b> {
        self.glimpse = None;
        self.report_method(effects, Method::Other, None);
        let answer = self
            .unsupported_version(beginning)
            .unwrap_or_else(|| Answer::TooLarge {
                id: json_rpc::request_id(beginning),
            });
        self.refuse(effects, answer)
    }

    fn judge_message<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        message: &Message<'b>,
        body: &[u8],
    ) -> Verdict<'b> {
        if self.is_misstated(message) {
            return self.refuse(effects, Answer::HeaderMismatch { id: message.id });
        }
        if self.lacks_a_header_for(message) {
            return self.refuse(effects, Answer::InvalidRequest);
        }
        let opens = Opens::of(message.kind.method());
        // An `initialize` opens a session even if the version header names a revision without sessions.
        if is_modern(self.revision) && opens != Opens::Session {
            return self.without_session(effects);
        }
        if let Some(answer) = self.lacks_session(body, Some(message)) {
            return self.refuse(effects, answer);
        }
        self.let_in(gate, effects, opens, message.id)
    }

    fn judge_batch<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        batch: Batch,
        body: &[u8],
    ) -> Verdict<'static> {
        let allowed = self.revision.unwrap_or(Revision::V2025_03_26).allows_batches();
        // No header could name the messages of a batch.
        if batch.holds_initialize || !allowed || self.site.rules.method_headers {
            return self.refuse(effects, Answer::InvalidRequest);
        }
        if let Some(answer) = self.lacks_session(body, None) {
            return self.refuse(effects, answer);
        }
        self.let_in(gate, effects, Opens::Perhaps, None)
    }

    /// Handles a message of a revision without sessions.
    fn without_session(&mut self, effects: &mut impl Effects) -> Verdict<'static> {
        if matches!(self.state, State::Holding(_)) {
            self.state = State::Sessionless;
        }
        self.pass(effects)
    }

    /// Lets a valid message in: into the session of its id, or with a reservation for the session that it may open.
    /// If the message was held only to be checked, its session is known already.
    fn let_in<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        opens: Opens,
        request_id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        match core::mem::take(&mut self.state) {
            State::Holding(id) => {
                self.drop_id = false;
                match id {
                    Occurs::Absent => self.admit_unless(gate, effects, opens, request_id),
                    Occurs::One(id) => self.with_id(gate, effects, id, Some(opens), request_id),
                    Occurs::Several => self.refuse(effects, Answer::InvalidSessionId),
                }
            }
            state @ (State::Waiting(_)
            | State::Opening { .. }
            | State::Using(_)
            | State::Sessionless
            | State::StreamAsked(_)
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over) => {
                self.state = state;
                self.pass(effects)
            }
        }
    }

    /// Counts a message by its method. Answers to the server's own requests are not counted.
    fn report_message(&self, effects: &mut impl Effects, message: &Message<'_>) {
        if let Some(method) = message.kind.method() {
            self.report_method(effects, method, message.target.as_deref());
        }
        let stated = message.protocol_version.as_deref().map(str::as_bytes);
        if let (None, Some(version)) = (self.revision, stated.and_then(Revision::parse)) {
            effects.note(Fact::Version(version.as_str()));
        }
    }
}
