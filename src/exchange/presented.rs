//! Requests that carry an id: of a live session, of one that has ended, of another principal's, or unknown.

use super::{Effects, Exchange, Gate, Opens, State, Verb, Verdict};
use crate::answer::Answer;
use crate::endpoint::UnknownSession;
use crate::mcp::json_rpc::RequestId;
use crate::mcp::occurs::Occurs;
use crate::session::{Owner, Session, Standing, Store, TrackedId};
use crate::telemetry::Event;

impl Exchange {
    /// Judges a request with an id. `opens` is `None` as long as its message can still be held.
    pub(super) fn with_id<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: TrackedId<'_>,
        opens: Option<Opens>,
        request_id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        let lifespans = self.site.lifespans();
        let standing = gate
            .table
            .use_session(id.key(), self.required_owner(), lifespans, gate.now);
        let id = match &standing {
            Ok(Standing::Alive(session)) => id.with_digest(session.digest),
            Ok(Standing::Expired(_) | Standing::Ended | Standing::Foreign | Standing::Unknown) | Err(_) => id,
        };
        self.note_session(gate, effects, &id);
        match standing {
            Ok(Standing::Alive(session)) => {
                let (opened, stamp) = (session.opened, session.stamp());
                gate.in_use
                    .enter(id.key(), self.site.tag, opened, stamp, lifespans, self.context);
                self.note_version(gate, effects, &session);
                self.state = State::Using(id.key());
                self.pass(effects)
            }
            Ok(Standing::Unknown) => self.with_unknown_id(gate, effects, id, opens, request_id),
            Ok(Standing::Ended | Standing::Foreign) => self.refuse(effects, Answer::SessionNotFound),
            Ok(Standing::Expired(ended)) => {
                effects.ended(&ended);
                effects.counts_moved(self.site.index);
                self.refuse(effects, Answer::SessionNotFound)
            }
            Err(error) => {
                effects.failed("use_session", error);
                self.with_unread_table(effects, id, request_id)
            }
        }
    }

    /// Judges a request if the table cannot tell whose session it belongs to. A bound session must not pass. Any
    /// other may well be alive, and passes as it would without the filter.
    fn with_unread_table<'b>(
        &mut self,
        effects: &mut impl Effects,
        id: TrackedId<'_>,
        request_id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        if self.required_owner().is_some() {
            return self.refuse(effects, self.unavailable(request_id));
        }
        effects.count(self.site.index, Event::Untracked);
        self.state = State::Opening {
            unknown: Some(id.into_owned()),
            reservation: None,
        };
        self.pass(effects)
    }

    /// Judges a request with an id that the table does not hold.
    fn with_unknown_id<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: TrackedId<'_>,
        opens: Option<Opens>,
        request_id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        if self.site.is_http_sse() {
            return self.with_unknown_stream(effects);
        }
        match (self.site.rules.unknown_session, opens) {
            (UnknownSession::Reject, _) => self.refuse(effects, Answer::SessionNotFound),
            (UnknownSession::Adopt, None) => {
                self.validates = false;
                self.state = State::Holding(Occurs::One(id.into_owned()));
                Verdict::Hold
            }
            (UnknownSession::Adopt, Some(Opens::Session)) if self.verb == Verb::Post => {
                self.admit(gate, effects, Some(id.into_owned()), request_id)
            }
            (UnknownSession::Adopt, Some(Opens::Perhaps)) if self.verb == Verb::Post => {
                self.state = State::Opening {
                    unknown: Some(id.into_owned()),
                    reservation: self.reserve_if_room(gate, effects),
                };
                self.pass(effects)
            }
            (UnknownSession::Adopt, Some(_)) => {
                self.state = State::Opening {
                    unknown: Some(id.into_owned()),
                    reservation: None,
                };
                self.pass(effects)
            }
        }
    }

    /// The owner that the session must have, if `bind_sessions` is on.
    pub(super) fn required_owner(&self) -> Option<Owner> {
        let bound = self.site.asks_who && self.site.rules.bind_sessions;
        bound.then_some(self.owner)
    }

    /// Stores the protocol version of the first request that states one; the DELETE needs it.
    #[inline(never)]
    fn note_version<S: Store>(&self, gate: &Gate<'_, S>, effects: &mut impl Effects, session: &Session) {
        let (Some(known), Some(version)) = (&session.delete_request, self.revision) else {
            return;
        };
        if known.version().is_some() {
            return;
        }
        if let Err(error) = gate.table.note_version(session.key, version, gate.now) {
            effects.failed("note_version", error);
        }
    }
}
