//! HTTP+SSE (MCP 2024-11-05, `basic/transports` § HTTP with SSE): the session is a GET's stream. The stream begins
//! with the `endpoint` event, which names the session, and the session ends with the stream. POSTs name the session
//! in their query.

use core::cell::RefCell;
use std::rc::Rc;

use super::newcomer::Refused;
use super::{Edit, Effects, Exchange, Gate, Opens, RequestHead, ResponseHead, Site, State, Verb, Verdict};
use crate::answer::Answer;
use crate::endpoint::{RequestPath, Transport, UnknownSession};
use crate::fleet::Outlook;
use crate::mcp::occurs::Occurs;
use crate::mcp::query;
use crate::mcp::session_id::SessionId;
use crate::mcp::sse::{EndpointFinder, Search};
use crate::session::{
    EndedSession, Opened, Origin, Reservation, SessionKey, Store, StoreError, Timestamp, TrackedId,
};
use crate::telemetry::Event;
use crate::worker::unnamed_streams::{Place, UnnamedStream};

/// A stream whose `endpoint` event has not come yet.
#[derive(Debug)]
pub(super) struct Announcement {
    stream: Rc<UnnamedStream>,
    /// Whether this is certainly a stream of this transport. The answer to a POST is one only if the event comes.
    is_stream_for_sure: bool,
    finder: EndpointFinder,
}

impl Announcement {
    /// How many bytes of the next part of the stream the filter looks at.
    pub(super) fn room(&self) -> usize {
        self.finder.room()
    }
}

impl Site {
    /// Whether the endpoint speaks HTTP+SSE.
    pub fn is_http_sse(&self) -> bool {
        match self.rules.transport {
            Transport::HttpSse { .. } => true,
            Transport::StreamableHttp => false,
        }
    }

    /// Whether clients send messages to this path.
    fn takes_messages_at(&self, path: RequestPath<'_>) -> bool {
        match &self.rules.transport {
            Transport::HttpSse { message_path } => message_path.matches(path),
            Transport::StreamableHttp => false,
        }
    }
}

impl Exchange {
    /// Judges a request by its head. A GET of the stream's path asks for a stream, and so does a POST there if
    /// messages go elsewhere. Some servers also open a stream for HEAD and never close it, so HEAD does not reach
    /// them.
    pub(super) fn of_http_sse<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Verdict<'static> {
        let path = RequestPath::new(head.path);
        let is_stream_path = self.site.rules.path.matches(path);
        let takes_messages = self.site.takes_messages_at(path);
        match self.verb {
            Verb::Head if is_stream_path => self.refuse(effects, Answer::MethodNotAllowed { allow: "GET" }),
            Verb::Get if is_stream_path => self.ask_for_stream(gate, effects, head),
            Verb::Post if is_stream_path && !takes_messages => self.ask_for_stream(gate, effects, head),
            Verb::Post if is_stream_path => {
                self.state = State::StreamAsked(None);
                self.needs_plain_answer = head.accepts_encodings;
                self.of_message(gate, effects, head)
            }
            Verb::Get | Verb::Post | Verb::Delete | Verb::Head | Verb::Other => {
                self.state = State::Sessionless;
                self.of_message(gate, effects, head)
            }
        }
    }

    fn ask_for_stream<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Verdict<'static> {
        // The filter could not read a compressed stream, and the stream would get around the cap.
        self.needs_plain_answer = head.accepts_encodings;
        match self.reserve(gate, effects, None, Outlook::Wait) {
            Ok(reservation) => self.state = State::StreamAsked(Some(reservation)),
            Err(Refused::Waits) => return self.wait(None, None, true),
            Err(Refused::By(answer)) => return self.refuse(effects, answer),
        }
        self.pass(effects)
    }

    /// A message, which names its session in its query.
    fn of_message<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Verdict<'static> {
        match query::session_id(head.path) {
            Occurs::Absent => self.pass(effects),
            Occurs::One(id) => match SessionId::parse(&id) {
                Ok(id) => {
                    let id = gate.table.track(self.site.tag, id.as_bytes());
                    self.with_id(gate, effects, id, Some(Opens::Perhaps), None)
                }
                Err(_) => self.refuse(effects, Answer::InvalidSessionId),
            },
            Occurs::Several => self.refuse(effects, Answer::InvalidSessionId),
        }
    }

    /// A message with an id that the table does not hold. There is nothing to adopt, since a session is its stream.
    /// Servers take several spellings for one id, so an unknown id must not pass where sessions are bound.
    pub(super) fn with_unknown_stream(&mut self, effects: &mut impl Effects) -> Verdict<'static> {
        let is_bound = self.required_owner().is_some();
        match self.site.rules.unknown_session {
            UnknownSession::Adopt if !is_bound => {
                effects.count(self.site.index, Event::Untracked);
                self.pass(effects)
            }
            UnknownSession::Adopt | UnknownSession::Reject => self.refuse(effects, Answer::SessionNotFound),
        }
    }

    /// Handles the head of an answer. Sessions of this transport have no header, so an id in it would be a session
    /// without a place.
    pub(super) fn answered_over_http_sse<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
    ) -> Edit {
        match core::mem::take(&mut self.state) {
            State::StreamAsked(reservation) => self.stream_answered(gate, effects, head, reservation),
            state @ (State::Holding(_)
            | State::Waiting(_)
            | State::Opening { .. }
            | State::Using(_)
            | State::Sessionless
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over) => self.state = state,
        }
        if head.session_id.is_absent() {
            Edit::Keep
        } else {
            self.take_off(gate, effects, None)
        }
    }

    /// Handles the answer to a request for a stream.
    fn stream_answered<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &ResponseHead<'_>,
        reservation: Option<Reservation>,
    ) {
        let is_stream = self.verb == Verb::Get || head.is_event_stream;
        if !head.is_success() || !is_stream {
            return self.give_back(gate, effects, reservation);
        }
        let is_stream_for_sure = reservation.is_some();
        let stream = Rc::new(UnnamedStream {
            endpoint: self.site.tag,
            lifespans: self.site.lifespans(),
            owner: self.owner,
            bound: self.required_owner().is_some(),
            quota: self.site.quota(),
            context: self.context,
            place: RefCell::new(Place::Reserved(reservation)),
        });
        gate.in_use.unnamed_streams.add(Rc::clone(&stream));
        self.state = State::Announcing(Box::new(Announcement {
            stream,
            is_stream_for_sure,
            finder: EndpointFinder::new(),
        }));
        if is_stream_for_sure {
            self.begin_stream(gate, effects);
        }
    }

    /// Looks at a part of the stream.
    pub fn streamed<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        part: &[u8],
    ) -> Edit {
        let State::Announcing(announcement) = &mut self.state else {
            return Edit::Keep;
        };
        let uri = match announcement.finder.look_at(part) {
            Search::GoesOn => return Edit::Keep,
            Search::Found(uri) => Some(uri),
            Search::GivenUp => None,
        };
        let State::Announcing(announcement) = core::mem::take(&mut self.state) else {
            return Edit::Keep;
        };
        match uri {
            None if !announcement.is_stream_for_sure => Edit::Keep,
            None => self.is_itself_the_session(gate, effects, &announcement),
            Some(mut uri) => {
                self.begin_stream(gate, effects);
                // Clients drop these bytes from a URI (URL Standard, § URL parsing, basic URL parser).
                uri.retain(|byte| !matches!(byte, b'\t' | b'\n' | b'\r'));
                self.announced(gate, effects, uri.trim_ascii(), &announcement)
            }
        }
    }

    /// Handles the event. If its URI names no session, the stream itself is the session.
    fn announced<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        uri: &[u8],
        announcement: &Announcement,
    ) -> Edit {
        let id = query::session_id(uri).one();
        let id = id.as_deref().and_then(|id| SessionId::parse(id).ok());
        match id {
            Some(id) => {
                let id = gate.table.track(self.site.tag, id.as_bytes());
                self.named(gate, effects, &id, announcement)
            }
            None => self.is_itself_the_session(gate, effects, announcement),
        }
    }

    /// Enters the session that the stream has named, with the stream's reservation.
    fn named<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: &TrackedId<'_>,
        announcement: &Announcement,
    ) -> Edit {
        let (reservation, itself) = self.take_place(gate, effects, announcement);
        self.note_session(gate, effects, id);
        let opened = self.open(gate, effects, id, Origin::Announced(reservation));
        self.report_named(effects, opened, itself);
        match opened {
            Ok(Opened::Created | Opened::Renewed | Opened::Alive { .. }) => {}
            Ok(Opened::Full | Opened::Foreign | Opened::Ended) => {
                effects.count(self.site.index, Event::Untracked);
                return Edit::Close;
            }
            Err(_) => {
                effects.count(self.site.index, Event::Untracked);
                return Edit::Keep;
            }
        }
        self.start_using(gate, id.key(), gate.now);
        self.state = State::Streaming(id.key(), gate.now);
        Edit::Keep
    }

    /// Reports the session that a stream has named. `itself` is the session that the stream was before and that has
    /// ended for the named one. A new session takes over its count; otherwise its end is reported, or sessions begun
    /// and sessions ended would not add up.
    fn report_named(
        &self,
        effects: &mut impl Effects,
        opened: Result<Opened, StoreError>,
        itself: Option<EndedSession>,
    ) {
        match (opened, itself) {
            (Ok(Opened::Created), None) => effects.count(self.site.index, Event::Created),
            (Ok(Opened::Created), Some(_)) | (_, None) => {}
            (_, Some(ended)) => effects.ended(&ended),
        }
    }

    /// Takes the reservation of a stream. If the stream has already become a session by itself, ends that session
    /// and returns it.
    fn take_place<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        announcement: &Announcement,
    ) -> (Option<Reservation>, Option<EndedSession>) {
        match &mut *announcement.stream.place.borrow_mut() {
            Place::Reserved(reservation) => (reservation.take(), None),
            Place::Session(key, opened) => {
                let (key, opened) = (*key, *opened);
                gate.in_use.leave(key, self.context, gate.now);
                let lifespans = self.site.lifespans();
                let ended = gate.table.end_with_stream(key, opened, lifespans, gate.now);
                let ended = ended.inspect_err(|error| effects.failed("end_with_stream", *error));
                (None, ended.unwrap_or_default())
            }
        }
    }

    fn is_itself_the_session<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        announcement: &Announcement,
    ) -> Edit {
        let stream = &announcement.stream;
        let opened = stream.become_session(gate.table, gate.now);
        effects.counts_moved(self.site.index);
        match opened {
            Ok(Opened::Created) => {
                gate.in_use.enter_stream(stream);
                effects.count(self.site.index, Event::Created);
            }
            Ok(Opened::Alive { .. } | Opened::Renewed) => {}
            Ok(Opened::Full | Opened::Foreign | Opened::Ended) => {
                effects.count(self.site.index, Event::Untracked);
                return Edit::Close;
            }
            Err(error) => {
                effects.failed("open", error);
                effects.count(self.site.index, Event::Untracked);
            }
        }
        if let Some((key, opened)) = stream.session() {
            self.state = State::Streaming(key, opened);
        }
        Edit::Keep
    }

    /// Handles the end of a stream that has named no session.
    pub(super) fn end_unnamed<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        announcement: &Announcement,
    ) {
        match &mut *announcement.stream.place.borrow_mut() {
            Place::Reserved(reservation) => self.give_back(gate, effects, reservation.take()),
            Place::Session(key, opened) => self.end_with_stream(gate, effects, *key, *opened),
        }
    }

    /// Handles the end of a stream: its session ends too.
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
                effects.counts_moved(self.site.index);
            }
            // The session counts as idle once its lease has run out.
            Err(error) => effects.failed("end_with_stream", error),
        }
    }
}
