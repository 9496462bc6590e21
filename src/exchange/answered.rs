//! The effect of the server's answer on sessions.
//!
//! The answer says which session there is. If its id is not the request's own, the id needs a place under the cap, or
//! the filter takes it off. Where `terminate_upstream` is configured, the filter ends a session whose id it took off
//! at the server.

use super::{Effects, Exchange, Gate, ResponseHead, State, Verb};
use crate::answer::Answer;
use crate::mcp::session_id::SessionId;
use crate::session::{
    DeleteEntry, EndReason, NewSession, Opened, Origin, Reservation, SessionKey, Store, StoreError,
    Timestamp, TrackedId,
};
use crate::telemetry::Event;

/// What to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Let it pass unchanged.
    Keep,
    /// Remove `Mcp-Session-Id` from it.
    DropSessionId,
    /// Close it: it is a stream that is a session, and there is no place for it.
    Close,
    /// Give this answer in its place. Only for an answer that is held.
    Replace(Answer<'static>),
}

/// The `Mcp-Session-Id` of an answer, compared with the request's.
#[derive(Debug)]
pub(super) enum AnswerId<'a> {
    /// The answer has none.
    Absent,
    /// The same id as the request's.
    Own,
    /// Another id.
    Other(TrackedId<'a>),
    /// More than one id, or one that no client could send back.
    Unusable,
}

impl Exchange {
    /// Whether the exchange has no use for an answer with this head, as for most. Then the host need not call
    /// [`Exchange::answered`].
    pub fn is_of_no_interest(&self, head: &ResponseHead<'_>) -> bool {
        match self.state {
            State::Using(_) => {
                let keeps_session = self.site.is_http_sse() || self.end_reason(head).is_none();
                keeps_session && !self.moves_stream(head) && head.session_id.is_absent()
            }
            State::Opening { .. } | State::Sessionless | State::StreamAsked(_) => false,
            State::Holding(_)
            | State::Waiting(_)
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over => true,
        }
    }

    /// Handles the head of an answer. `from_server` tells whether the server gave it: Envoy and other filters give
    /// answers of their own. It is called only if the result matters.
    pub fn answered<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        from_server: impl Fn() -> bool,
    ) -> Edit {
        self.read_head(gate, effects, head, &from_server)
    }

    /// As [`Exchange::answered`]. The module has this code once, whoever asks for the server.
    pub(super) fn read_head<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        from_server: &dyn Fn() -> bool,
    ) -> Edit {
        if self.site.is_http_sse() {
            return self.answered_over_http_sse(gate, effects, head);
        }
        let edit = match core::mem::take(&mut self.state) {
            State::Opening { unknown, reservation } => {
                self.opened(gate, effects, head, unknown, reservation, from_server)
            }
            State::Using(key) => {
                self.state = State::Using(key);
                self.used(gate, effects, head, key, from_server)
            }
            State::Sessionless => {
                self.state = State::Sessionless;
                match self.answer_id(gate, head, None) {
                    AnswerId::Absent => Edit::Keep,
                    AnswerId::Other(id) => self.take_off(gate, effects, Some(&id)),
                    AnswerId::Own | AnswerId::Unusable => self.take_off(gate, effects, None),
                }
            }
            state @ (State::Holding(_)
            | State::Waiting(_)
            | State::StreamAsked(_)
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over) => {
                self.state = state;
                return Edit::Keep;
            }
        };
        self.answer_stream(gate, effects, head);
        edit
    }

    pub(super) fn answer_id<'a, S: Store>(
        &self,
        gate: &Gate<'_, S>,
        head: &ResponseHead<'a>,
        own: Option<SessionKey>,
    ) -> AnswerId<'a> {
        match SessionId::presented(head.session_id) {
            Ok(None) => AnswerId::Absent,
            Err(_) => AnswerId::Unusable,
            Ok(Some(id)) => {
                let id = gate.table.track(self.site.tag, id.as_bytes());
                if own == Some(id.key()) {
                    AnswerId::Own
                } else {
                    AnswerId::Other(id)
                }
            }
        }
    }

    /// Handles the answer to a request without a live session.
    fn opened<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        unknown: Option<TrackedId<'static>>,
        reservation: Option<Reservation>,
        from_server: &dyn Fn() -> bool,
    ) -> Edit {
        let own = unknown.as_ref().map(TrackedId::key);
        match self.answer_id(gate, head, own) {
            AnswerId::Other(id) if head.is_success() => match self.minted(gate, effects, &id, reservation) {
                Some(opened) => {
                    self.start_using(gate, id.key(), opened);
                    Edit::Keep
                }
                None => Edit::DropSessionId,
            },
            AnswerId::Other(id) => {
                self.give_back(gate, effects, reservation);
                self.take_off(gate, effects, Some(&id))
            }
            AnswerId::Unusable => {
                self.give_back(gate, effects, reservation);
                self.take_off(gate, effects, None)
            }
            AnswerId::Absent | AnswerId::Own => {
                let adopts = matches!(self.verb, Verb::Post | Verb::Get) && head.is_success();
                match unknown.filter(|_| adopts && from_server()) {
                    Some(id) => self.adopt(gate, effects, &id, reservation),
                    None => self.give_back(gate, effects, reservation),
                }
                Edit::Keep
            }
        }
    }

    /// Enters a session that the server has just made, with its reservation or in a free place. Returns when the
    /// session was opened. Returns `None` if there is no place, or if the id belongs to another principal; the ids
    /// then come off the answer.
    fn minted<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: &TrackedId<'_>,
        reservation: Option<Reservation>,
    ) -> Option<Timestamp> {
        self.note_session(gate, effects, id);
        match self.open(gate, effects, id, Origin::Minted(reservation)) {
            Ok(Opened::Created) => {
                effects.count(self.site.index, Event::Created);
                Some(gate.now)
            }
            Ok(Opened::Renewed) => Some(gate.now),
            Ok(Opened::Alive { opened }) => Some(opened),
            Ok(Opened::Full) => {
                self.take_off(gate, effects, Some(id));
                None
            }
            Ok(Opened::Foreign | Opened::Ended) | Err(_) => {
                self.take_off(gate, effects, None);
                None
            }
        }
    }

    /// Enters the session of an unknown id that the server has accepted. If there is no place, the session goes on
    /// untracked, and a later request may adopt it.
    fn adopt<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: &TrackedId<'_>,
        reservation: Option<Reservation>,
    ) {
        match self.open(gate, effects, id, Origin::Adopted(reservation)) {
            Ok(Opened::Created) => {
                effects.count(self.site.index, Event::Adopted);
                self.start_using(gate, id.key(), gate.now);
            }
            Ok(Opened::Renewed) => self.start_using(gate, id.key(), gate.now),
            Ok(Opened::Alive { opened }) => self.start_using(gate, id.key(), opened),
            Ok(Opened::Full | Opened::Ended | Opened::Foreign) | Err(_) => {
                effects.count(self.site.index, Event::Untracked);
            }
        }
    }

    /// Enters a session into the table.
    pub(super) fn open<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: &TrackedId<'_>,
        origin: Origin,
    ) -> Result<Opened, StoreError> {
        let new = NewSession {
            endpoint: self.site.tag,
            lifespans: self.site.lifespans(),
            owner: self.owner,
            bound: self.required_owner().is_some(),
            quota: self.site.quota(),
            key: id.key(),
            id: id.as_bytes(),
            digest: id.digest(),
            keep_id: self.site.keeps_ids,
            delete_request: self.delete_request.as_ref(),
        };
        let opened = gate.table.open(&new, origin, gate.now);
        effects.counts_moved(self.site.index);
        opened.inspect_err(|error| effects.failed("open", *error))
    }

    /// Takes the ids off an answer. No client can use the session of `id`, so the server is told to end it, if
    /// `terminate_upstream` is configured.
    pub(super) fn take_off<S: Store>(
        &self,
        gate: &Gate<'_, S>,
        effects: &mut impl Effects,
        id: Option<&TrackedId<'_>>,
    ) -> Edit {
        effects.count(self.site.index, Event::Untracked);
        if let (Some(id), Some(delete_request)) = (id, &self.delete_request) {
            let lifespans = self.site.lifespans();
            match gate.table.put_pending_delete(
                id.key(),
                self.site.tag,
                id.as_bytes(),
                delete_request,
                lifespans,
                gate.now,
            ) {
                Ok(DeleteEntry::Entered) => effects.delete_pending(self.site.index, id.key()),
                Ok(DeleteEntry::SessionIsAlive) => {}
                Ok(DeleteEntry::IdTooLong) => effects.delete_failed(self.site.index),
                Err(error) => effects.failed("put_pending_delete", error),
            }
        }
        Edit::DropSessionId
    }

    /// Enters the use of a session by the request that opened it.
    pub(super) fn start_using<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        key: SessionKey,
        opened: Timestamp,
    ) {
        let lifespans = self.site.lifespans();
        gate.in_use
            .enter(key, self.site.tag, opened, gate.now, lifespans, self.context);
        self.state = State::Using(key);
    }

    /// Handles the answer to a request of a live session.
    fn used<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        key: SessionKey,
        from_server: &dyn Fn() -> bool,
    ) -> Edit {
        let edit = match self.answer_id(gate, head, Some(key)) {
            AnswerId::Absent | AnswerId::Own => Edit::Keep,
            AnswerId::Other(id) if head.is_success() => match self.minted(gate, effects, &id, None) {
                Some(_) => Edit::Keep,
                None => Edit::DropSessionId,
            },
            AnswerId::Other(id) => self.take_off(gate, effects, Some(&id)),
            AnswerId::Unusable => self.take_off(gate, effects, None),
        };
        if let Some(reason) = self.end_reason(head).filter(|_| from_server()) {
            self.end_session(gate, effects, key, reason);
        }
        edit
    }

    /// Why an answer with this head ends the session of its request. A server without a GET route answers GET with
    /// 404, which does not mean that the session is gone.
    pub(super) fn end_reason(&self, head: &ResponseHead<'_>) -> Option<EndReason> {
        match (self.verb, head.status) {
            (Verb::Post | Verb::Delete, 404) => Some(EndReason::UpstreamGone),
            (Verb::Delete, 200..300) => Some(EndReason::ClientDelete),
            (Verb::Get | Verb::Post | Verb::Delete | Verb::Head | Verb::Other, _) => None,
        }
    }

    pub(super) fn end_session<S: Store>(
        &self,
        gate: &Gate<'_, S>,
        effects: &mut impl Effects,
        key: SessionKey,
        reason: EndReason,
    ) {
        let bound = self.required_owner().is_some();
        match gate
            .table
            .end(key, reason, bound, self.site.lifespans(), gate.now)
        {
            Ok(None) => {}
            Ok(Some(ended)) => {
                effects.ended(&ended);
                effects.counts_moved(self.site.index);
            }
            Err(error) => effects.failed("end", error),
        }
    }
}
