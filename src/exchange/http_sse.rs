//! HTTP+SSE (MCP 2024-11-05, `basic/transports` § HTTP with SSE): the session is a GET's stream. It begins with the
//! `endpoint` event, which names it, and ends when the stream does; POSTs name it in their query.

use super::{Effects, Exchange, Gate, RequestHead, ResponseHead, Site, State, Verb, Verdict};
use crate::answer::Answer;
use crate::endpoint::{RequestPath, Transport};
use crate::mcp::query::{self, QueryId};
use crate::mcp::session_id::SessionId;
use crate::mcp::sse::{EndpointFinder, Search};
use crate::session::{Origin, Reservation, SessionKey, Store, Timestamp};
use crate::telemetry::Event;

/// A stream whose `endpoint` event has not come yet.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    /// The place that is kept for its session.
    pub(super) reservation: Option<Reservation>,
    finder: EndpointFinder,
}

impl Site {
    /// Whether HTTP+SSE is spoken here.
    pub fn is_http_sse(&self) -> bool {
        match self.rules.transport {
            Transport::HttpSse { .. } => true,
            Transport::StreamableHttp => false,
        }
    }
}

/// Whether a request to an endpoint that speaks HTTP+SSE is the filter's business: a GET of the stream, and POSTs to
/// both paths, as some servers take them on one.
pub(super) fn concerns(site: &Site, verb: Verb, head: &RequestHead<'_>) -> bool {
    match verb {
        Verb::Get => site.rules.path.matches(RequestPath::new(head.path)),
        Verb::Post => true,
        Verb::Delete => false,
    }
}

impl Exchange {
    /// Judges a request by its head.
    pub(super) fn of_http_sse<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Verdict<'static> {
        if self.verb == Verb::Get {
            let verdict = self.reserve(gate, effects, None);
            // A compressed stream could not be read, and would be a way around the cap.
            if verdict == Verdict::Forward && head.accepts_encodings {
                return Verdict::ForwardForPlainAnswer;
            }
            return verdict;
        }
        match query::session_id(head.path) {
            QueryId::Absent => self.pass(effects),
            QueryId::One(id) => match SessionId::parse(&id) {
                Ok(id) => self.of_session(gate, effects, &id),
                Err(_) => self.refuse(effects, Answer::InvalidSessionId),
            },
            QueryId::Several => self.refuse(effects, Answer::InvalidSessionId),
        }
    }

    /// The answer to the GET.
    pub(super) fn stream_answered<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        reservation: Option<Reservation>,
    ) {
        if !head.is_success() {
            return self.give_back(gate, effects, reservation);
        }
        let finder = EndpointFinder::new();
        self.state = State::Announcing(Box::new(Announcement { reservation, finder }));
        self.count_stream(gate, effects);
    }

    /// How many bytes of the next part of the answer's body the exchange wants to see; none in almost all.
    pub fn stream_interest(&self) -> usize {
        match &self.state {
            State::Announcing(announcement) => announcement.finder.room(),
            State::Holding
            | State::Opening(_)
            | State::Using(_)
            | State::Unknown(_)
            | State::Sessionless
            | State::Streaming(..)
            | State::Over => 0,
        }
    }

    /// Looks at a part of the stream, which goes on in any case.
    pub fn streamed<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects, part: &[u8]) {
        let State::Announcing(announcement) = &mut self.state else {
            return;
        };
        let search = announcement.finder.look_at(part);
        let reservation = match search {
            Search::GoesOn => return,
            Search::Found(_) | Search::GivenUp => announcement.reservation.take(),
        };
        match search {
            Search::Found(mut uri) => {
                // As clients read a URI (URL Standard, § URL parsing, basic URL parser).
                uri.retain(|byte| !matches!(byte, b'\t' | b'\n' | b'\r'));
                self.announced(gate, effects, uri.trim_ascii(), reservation);
            }
            // The place runs out, unless the stream ends before.
            Search::GoesOn | Search::GivenUp => self.state = State::Opening(reservation),
        }
    }

    fn announced<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        uri: &[u8],
        reservation: Option<Reservation>,
    ) {
        self.state = State::Over;
        let id = match query::session_id(uri) {
            QueryId::One(id) => id,
            QueryId::Absent | QueryId::Several => return self.passes_untracked(gate, effects, reservation),
        };
        let Ok(id) = SessionId::parse(&id) else {
            return self.passes_untracked(gate, effects, reservation);
        };
        self.enter_table(gate, effects, &id, Origin::Announced(reservation));
        if let State::Using(key) = self.state {
            self.state = State::Streaming(key, gate.now);
        }
    }

    fn passes_untracked<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        reservation: Option<Reservation>,
    ) {
        effects.count(self.site.index, Event::Untracked);
        self.give_back(gate, effects, reservation);
    }

    /// The stream is over, and its session with it.
    pub(super) fn end_with_stream<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        key: SessionKey,
        opened: Timestamp,
    ) {
        gate.in_use.leave(key, self.context, gate.now);
        let lifespans = self.site.lifespans();
        match gate.table.end_with_stream(key, opened, lifespans, gate.now) {
            Ok(None) => {}
            Ok(Some(ended)) => {
                effects.ended(&ended);
                effects.counts_moved();
            }
            // It is idle from now on, as its lease runs out.
            Err(error) => effects.failed("end_with_stream", error),
        }
    }
}
