//! Open streams: a GET of streamable HTTP, and a POST of `subscriptions/listen`, which 2026-07-28 has in place of the
//! GET. Under a cap a stream takes a place before the server sees its request. Without one it is counted
//! when it is answered 2xx. It gives the place back when it is over, whoever ends it, or when its answer is no 2xx.

use core::time::Duration;

use super::{Effects, Exchange, Gate, RequestHead, ResponseHead, Site, State, Verb, Verdict};
use crate::answer::{Answer, whole_seconds};
use crate::mcp::json_rpc::{self, RequestId};
use crate::mcp::method::Method;
use crate::session::{Quota, Reservation, Store, Timestamp};
use crate::worker::open_streams::{StreamPlace, StreamRefusal};

/// The stream that a request asks for.
#[derive(Debug, Default)]
pub(super) enum OpenStream {
    /// There is none, or it is not counted yet.
    #[default]
    None,
    /// It has a place, and no answer yet.
    Asked(StreamPlace),
    /// It was answered 2xx at this time.
    Open(StreamPlace, Timestamp),
}

impl OpenStream {
    /// Whether it has a place that it must give back.
    pub(super) fn has_place(&self) -> bool {
        match self {
            Self::None => false,
            Self::Asked(_) | Self::Open(..) => true,
        }
    }
}

impl Site {
    /// Whether streams take a place before the server sees their request.
    pub(super) fn caps_streams(&self) -> bool {
        self.rules.max_streams.is_some() || self.rules.max_streams_per_principal.is_some()
    }

    /// When a stream that was opened at `since` must be closed; `None` for never.
    fn stream_ends(&self, since: Timestamp) -> Option<Timestamp> {
        self.rules
            .max_stream_lifetime
            .map(|lifetime| since.after(lifetime))
    }
}

impl Exchange {
    /// Notes what the head of a POST says of its method.
    pub(super) fn note_listening(&mut self, head: &RequestHead<'_>) {
        let method = head.rpc_method.one().map(Method::from_bytes);
        self.listens = self.verb == Verb::Post && listens(method) && !self.site.is_http_sse();
    }

    /// Notes what its message says of its method, which counts for more than its head.
    pub(super) fn note_message(&mut self, method: Option<Method>) {
        self.listens = listens(method);
    }

    /// Whether the request asks for a stream.
    fn asks_for_stream(&self) -> bool {
        !self.site.is_http_sse() && (self.verb == Verb::Get || self.listens)
    }

    /// Whether the request must have a place for its stream, and has none.
    fn lacks_place(&self) -> bool {
        self.asks_for_stream() && self.site.caps_streams() && !self.open_stream.has_place()
    }

    /// Lets a request go on that asks for a stream, if there is room for it; any other request goes on as it is.
    pub(super) fn if_room_for_stream<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        verdict: Verdict<'b>,
        id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        match verdict {
            Verdict::Forward | Verdict::ForwardWithoutId | Verdict::ForwardForPlainAnswer => {
                match self.take_place_for_stream(gate, effects, id) {
                    Ok(()) => verdict,
                    Err(answer) => self.refuse_stream(gate, effects, answer),
                }
            }
            Verdict::Hold | Verdict::Wait | Verdict::Answer(_) => verdict,
        }
    }

    /// Takes the place of the stream that the request asks for, if it must have one. Returns the refusal of the
    /// request.
    pub(super) fn take_place_for_stream<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: Option<RequestId<'b>>,
    ) -> Result<(), Answer<'b>> {
        if !self.lacks_place() {
            return Ok(());
        }
        let (tag, quota) = (self.site.tag, self.stream_quota());
        let is_capped = self.site.rules.max_streams.is_some();
        let streams = &mut gate.in_use.open_streams;
        let retry_after_s = whole_seconds(self.site.rules.retry_after);
        match streams.take(gate.table, tag, quota, is_capped, gate.now) {
            Ok(Ok(place)) => {
                self.open_stream = OpenStream::Asked(place);
                effects.counts_moved(self.site.index);
                Ok(())
            }
            Ok(Err(StreamRefusal::Endpoint)) => Err(Answer::Streams { retry_after_s, id }),
            Ok(Err(StreamRefusal::Principal)) => Err(Answer::PrincipalStreams { retry_after_s, id }),
            // If the stream cannot be counted, it is refused, since the cap is exact.
            Err(error) => {
                effects.failed("take_stream", error);
                Err(Answer::Streams { retry_after_s, id })
            }
        }
    }

    fn stream_quota(&self) -> Option<Quota> {
        let owner = self.owner;
        let limit = self.site.streams_per_principal();
        limit.map(|limit| Quota { owner, limit })
    }

    /// Refuses a request that was let in but for its stream.
    fn refuse_stream<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        answer: Answer<'b>,
    ) -> Verdict<'b> {
        let reservation = self.take_reservation();
        self.give_back(gate, effects, reservation);
        self.refuse(effects, answer)
    }

    fn take_reservation(&mut self) -> Option<Reservation> {
        match &mut self.state {
            State::Opening { reservation, .. } => reservation.take(),
            State::Holding(_)
            | State::Waiting(_)
            | State::Using(_)
            | State::Sessionless
            | State::StreamAsked(_)
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over => None,
        }
    }

    /// Notes what the beginning of a message that streams by says of its method. Returns whether the request must
    /// take a place now ([`Exchange::listen_late`]).
    pub(super) fn note_glimpse(&mut self, glimpse: &json_rpc::Glimpse) -> bool {
        self.listens |= listens(glimpse.method) && !glimpse.is_response;
        self.lacks_place()
    }

    /// Takes a place for a request of which only the `beginning` of its message tells that it asks for a stream, or
    /// refuses it. The server may have seen its head already.
    pub fn listen_late<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        beginning: &'b [u8],
    ) -> Verdict<'b> {
        let id = json_rpc::request_id(beginning);
        self.if_room_for_stream(gate, effects, Verdict::Forward, id)
    }

    /// Whether an answer with this head begins the request's stream, or gives its place back.
    pub(super) fn moves_stream(&self, head: &ResponseHead<'_>) -> bool {
        match self.open_stream {
            OpenStream::None => head.is_success() && self.asks_for_stream(),
            OpenStream::Asked(_) => true,
            OpenStream::Open(..) => false,
        }
    }

    /// Handles the head of the answer to a request that asks for a stream.
    pub(super) fn answer_stream<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
    ) {
        if !self.moves_stream(head) {
            return;
        }
        if head.is_success() {
            self.begin_stream(gate, effects);
        } else {
            self.end_stream(gate, effects);
        }
    }

    /// Counts a stream that was answered 2xx, once.
    pub(super) fn begin_stream<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects) {
        let place = match core::mem::take(&mut self.open_stream) {
            OpenStream::None => {
                let streams = &mut gate.in_use.open_streams;
                let (place, said) = streams.open(gate.table, self.site.tag, gate.now);
                effects.counts_moved(self.site.index);
                if let Err(error) = said {
                    effects.failed("open_stream", error);
                }
                place
            }
            OpenStream::Asked(place) => place,
            open @ OpenStream::Open(..) => {
                self.open_stream = open;
                return;
            }
        };
        self.open_stream = OpenStream::Open(place, gate.now);
        if let Some(age) = self.site.stream_ends(gate.now) {
            gate.in_use.open_streams.close_at(age, self.context);
        }
    }

    /// Gives the place of a stream back that is over, or was not opened.
    pub(super) fn end_stream<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects) {
        let place = match core::mem::take(&mut self.open_stream) {
            OpenStream::None => return,
            OpenStream::Asked(place) => place,
            OpenStream::Open(place, since) => {
                self.report_closed(gate, effects, since);
                place
            }
        };
        let given_back = gate.in_use.open_streams.give_back(gate.table, place, gate.now);
        effects.counts_moved(self.site.index);
        if let Err(error) = given_back {
            effects.failed("close_stream", error);
        }
    }

    fn report_closed<S: Store>(&self, gate: &mut Gate<'_, S>, effects: &mut impl Effects, since: Timestamp) {
        if let Some(age) = self.site.stream_ends(since) {
            gate.in_use.open_streams.is_closed(age, self.context);
        }
        let lived: Duration = gate.now.since(since);
        effects.stream_closed(self.site.index, lived);
    }
}

fn listens(method: Option<Method>) -> bool {
    method == Some(Method::SubscriptionsListen)
}
