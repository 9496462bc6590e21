//! What the server's answer does to the session.

use super::{Effects, Exchange, Gate, ResponseHead, State, Verb};
use crate::mcp::session_id::{PresentedId, SessionId};
use crate::session::{
    EndReason, IdDigest, NewSession, Opened, Origin, Reservation, SessionKey, Store, Timestamp,
};
use crate::telemetry::Event;

/// What to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Let it pass as it is.
    Keep,
    /// Take `Mcp-Session-Id` off it.
    DropSessionId,
}

/// Which part of an answer's head the exchange needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerInterest {
    /// None.
    Nothing,
    /// The status.
    Status,
    /// Status and `Mcp-Session-Id`.
    Head,
}

/// What an answer means to the session that its request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consequence {
    Nothing,
    StreamOpens,
    Ends(EndReason),
}

impl Exchange {
    /// Which part of the answer's head the exchange needs.
    pub fn answer_interest(&self) -> AnswerInterest {
        match self.state {
            State::Opening(_) if self.verb == Verb::Get => AnswerInterest::Status,
            State::Opening(_) | State::Sessionless => AnswerInterest::Head,
            // A session of HTTP+SSE is its stream: it lives whatever a message is answered.
            State::Using(_) if self.site.is_http_sse() => AnswerInterest::Nothing,
            State::Using(_) | State::Unknown(_) => AnswerInterest::Status,
            State::Holding | State::Announcing(_) | State::Streaming(..) | State::Over => {
                AnswerInterest::Nothing
            }
        }
    }

    /// Whether an answer with this head means anything to the exchange. Most do not.
    pub fn heeds(&self, head: &ResponseHead<'_>) -> bool {
        match self.state {
            State::Using(_) => self.consequence(head) != Consequence::Nothing,
            State::Opening(_)
            | State::Unknown(_)
            | State::Sessionless
            | State::Holding
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over => true,
        }
    }

    /// What an answer means to the session of its request.
    fn consequence(&self, head: &ResponseHead<'_>) -> Consequence {
        match (self.verb, head.status) {
            (_, 404) => Consequence::Ends(EndReason::UpstreamGone),
            (Verb::Delete, 200..300) => Consequence::Ends(EndReason::ClientDelete),
            (Verb::Get, 200..300) => Consequence::StreamOpens,
            (Verb::Get | Verb::Post | Verb::Delete, _) => Consequence::Nothing,
        }
    }

    /// Follows the head of an answer. `from_server` tells whether the server gave it, and is asked only
    /// where that matters: Envoy and other filters give answers of their own.
    pub fn answered<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        from_server: impl FnOnce() -> bool,
    ) -> Edit {
        match core::mem::replace(&mut self.state, State::Over) {
            // Only HTTP+SSE opens sessions by GET.
            State::Opening(reservation) if self.verb == Verb::Get => {
                self.stream_answered(gate, effects, head, reservation);
                Edit::Keep
            }
            State::Opening(reservation) => self.opened(gate, effects, head, reservation),
            State::Using(key) => {
                self.used(gate, effects, head, key, from_server);
                Edit::Keep
            }
            State::Unknown(id) => {
                if self.verb != Verb::Delete && head.is_success() && from_server() {
                    self.adopt(gate, effects, &id);
                }
                Edit::Keep
            }
            state @ (State::Announcing(_) | State::Streaming(..)) => {
                self.state = state;
                Edit::Keep
            }
            State::Sessionless => match &head.session_id {
                PresentedId::Absent => Edit::Keep,
                PresentedId::Invalid => Edit::DropSessionId,
                PresentedId::One(id) => {
                    self.put_pending_delete(gate, effects, id);
                    Edit::DropSessionId
                }
            },
            State::Holding | State::Over => Edit::Keep,
        }
    }

    /// The answer to a request that may open a session.
    fn opened<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        reservation: Option<Reservation>,
    ) -> Edit {
        match head.session_id {
            PresentedId::One(id) if head.is_success() => {
                self.enter_table(gate, effects, &id, Origin::Minted(reservation))
            }
            // An id that no client could send back opens nothing.
            PresentedId::One(_) | PresentedId::Invalid | PresentedId::Absent => {
                self.give_back(gate, effects, reservation);
                Edit::Keep
            }
        }
    }

    fn adopt<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects, id: &str) {
        if let Ok(id) = SessionId::parse(id.as_bytes()) {
            self.enter_table(gate, effects, &id, Origin::Adopted(None));
        }
    }

    /// Enters the session into the table and goes on as one of its requests.
    pub(super) fn enter_table<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: &SessionId<'_>,
        origin: Origin,
    ) -> Edit {
        let adopted = matches!(origin, Origin::Adopted(_));
        let new = NewSession {
            endpoint: self.site.tag,
            lifespans: self.site.lifespans(),
            owner: self.owner,
            bound: self.claimant().is_some(),
            quota: self.site.quota(),
            id: id.as_bytes(),
            digest: IdDigest::of(id.as_bytes()),
            keep_id: self.site.keeps_ids,
            delete_request: self.delete_request.as_ref(),
        };
        let opened = gate.table.open(&new, origin, gate.now);
        effects.counts_moved();
        self.note_session(gate, effects, id, Some(new.digest));
        match opened {
            Ok(Opened::Created) => {
                effects.count(
                    self.site.index,
                    if adopted { Event::Adopted } else { Event::Created },
                );
                self.start_using(gate, effects, id, gate.now);
            }
            Ok(Opened::Alive { opened }) => self.start_using(gate, effects, id, opened),
            Ok(Opened::Renewed) => self.start_using(gate, effects, id, gate.now),
            Ok(Opened::Foreign) if !adopted => {
                effects.count(self.site.index, Event::Untracked);
                return Edit::DropSessionId;
            }
            Ok(Opened::Full) if !adopted && !self.site.is_http_sse() => {
                self.put_pending_delete(gate, effects, id);
                return Edit::DropSessionId;
            }
            Ok(Opened::Full | Opened::Ended | Opened::Foreign) => {
                effects.count(self.site.index, Event::Untracked)
            }
            Err(error) => {
                effects.failed("open", error);
                effects.count(self.site.index, Event::Untracked);
            }
        }
        Edit::Keep
    }

    /// The server has made a session that nobody can use: it is to hear that, where that is configured.
    fn put_pending_delete<S: Store>(
        &self,
        gate: &Gate<'_, S>,
        effects: &mut impl Effects,
        id: &SessionId<'_>,
    ) {
        let Some(delete_request) = &self.delete_request else {
            return;
        };
        let lifespans = self.site.lifespans();
        match gate
            .table
            .put_pending_delete(self.site.tag, id.as_bytes(), delete_request, lifespans, gate.now)
        {
            Ok(Some(key)) => effects.delete_pending(self.site.index, key),
            Ok(None) => {}
            Err(error) => effects.failed("owe", error),
        }
    }

    /// The request that opened a session is also the first that uses it.
    fn start_using<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: &SessionId<'_>,
        opened: Timestamp,
    ) {
        let key = gate.table.key(self.site.tag, id.as_bytes());
        gate.in_use
            .enter(key, opened, gate.now, self.site.lifespans(), self.context);
        self.state = State::Using(key);
        self.count_stream(gate, effects);
    }

    /// The answer to a request of a session that is alive.
    fn used<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        key: SessionKey,
        from_server: impl FnOnce() -> bool,
    ) {
        self.state = State::Using(key);
        let reason = match self.consequence(head) {
            Consequence::Nothing => return,
            Consequence::StreamOpens => return self.count_stream(gate, effects),
            Consequence::Ends(reason) => reason,
        };
        if !from_server() {
            return;
        }
        let bound = self.claimant().is_some();
        match gate
            .table
            .end(key, reason, bound, self.site.lifespans(), gate.now)
        {
            Ok(None) => {}
            Ok(Some(ended)) => {
                effects.ended(&ended);
                effects.counts_moved();
            }
            Err(error) => effects.failed("end", error),
        }
    }

    pub(super) fn count_stream<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects) {
        if self.verb != Verb::Get || self.stream_open {
            return;
        }
        match gate.table.open_stream(self.site.tag, gate.now) {
            Ok(()) => {
                self.stream_open = true;
                effects.counts_moved();
            }
            Err(error) => effects.failed("open_stream", error),
        }
    }

    pub(super) fn give_back<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        reservation: Option<Reservation>,
    ) {
        let Some(reservation) = reservation else { return };
        match gate.table.release(reservation) {
            Ok(()) => effects.counts_moved(),
            Err(error) => effects.failed("release", error),
        }
    }
}
