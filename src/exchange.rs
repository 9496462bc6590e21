//! One request and its answer, from the first header to the end of the stream.
//!
//! Streamable HTTP. An id in a request says which session it belongs to; an id in an answer that is not the request's own
//! holds a place in the table, or is taken off the answer.
//!
//! ```text
//!                     +-- Holding --+  the message is read
//!                     |             v
//! no id, unknown id --+--------> Opening -- 2xx with a new id, or an unknown id answered 2xx --> Using
//!                                   +------ anything else ---------------------------------> Over
//! id of a live session ----------------------------------------------------------------> Using
//! 2026-07-28 ------------------> Sessionless: every id comes off
//! ```
//!
//! HTTP+SSE. The session is the stream of a GET.
//!
//! ```text
//! GET --> StreamAsked -- 2xx --> Announcing -- `endpoint` event, or none in time --> Streaming -- its end --> Over
//! ```

mod answered;
mod gate;
mod glimpse;
mod head;
mod http_sse;
mod judge;
mod newcomer;
mod site;
mod verify_headers;

pub use answered::Edit;
pub use gate::{Effects, Gate};
pub use head::{RequestHead, ResponseHead, parse_status};
pub use judge::ID_WITHIN_BYTES;
pub use site::{Site, have_quotas, vm_settings};

use std::rc::Rc;

use self::glimpse::Beginning;
use self::http_sse::Announcement;
use self::verify_headers::Mirrors;
use crate::answer::Answer;
use crate::endpoint::{Admission, UnknownSession};
use crate::mcp::json_rpc::RequestId;
use crate::mcp::method::Method;
use crate::mcp::occurs::Occurs;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::session_id::SessionId;
use crate::principal::identify;
use crate::session::{
    DeleteRequest, Owner, Reservation, Session, SessionKey, Standing, Store, Timestamp, TrackedId,
};
use crate::telemetry::{Event, Fact, SessionName};
use crate::worker::in_use::InUse;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Let it go on.
    Forward,
    /// Take `Mcp-Session-Id` off it, then let it go on.
    ForwardWithoutId,
    /// Take `Accept-Encoding` off it, so that its answer can be read, then let it go on.
    ForwardForPlainAnswer,
    /// Hold it until its body is complete.
    Hold,
    /// Answer it; the server never sees it.
    Answer(Answer<'a>),
}

/// Which part of the request's body the exchange wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// None.
    Nothing,
    /// The whole of it, before anything is forwarded; at most this many bytes.
    Whole(usize),
    /// At most this many bytes of the next part, while it streams by.
    Part(usize),
}

/// What the exchange still wants to see. The host hands over nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Of the request's body.
    pub request_body: Interest,
    /// The head of the answer.
    pub answer_head: bool,
    /// At most this many bytes of the next part of the answer's body; 0 for almost all answers.
    pub answer_body: usize,
}

/// The methods of HTTP, as far as the filter tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Delete,
    Head,
    Other,
}

impl Verb {
    fn of(method: &[u8]) -> Self {
        match method {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"DELETE" => Self::Delete,
            b"HEAD" => Self::Head,
            _ => Self::Other,
        }
    }
}

/// What a message may open, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    /// It is an `initialize`, or some server takes it for one.
    Session,
    /// Servers differ: some open a session for any message without an id.
    Perhaps,
    /// `server/discover`: a refusal would turn a client that asks which revisions there are into one with sessions.
    Nothing,
}

impl Opens {
    fn of(method: Option<Method>) -> Self {
        match method {
            Some(Method::Initialize) => Self::Session,
            Some(Method::ServerDiscover) => Self::Nothing,
            Some(_) | None => Self::Perhaps,
        }
    }
}

#[derive(Debug, Default)]
enum State {
    /// The message is not complete yet. The request has this id, if any, and the table does not hold it; of a request of
    /// 2026-07-28 nobody has asked the table.
    Holding(Occurs<TrackedId<'static>>),
    /// Let in without a live session. The answer may open one, in this reservation if there is one.
    Opening {
        /// The id that the request carries and the table does not hold.
        unknown: Option<TrackedId<'static>>,
        reservation: Option<Reservation>,
    },
    /// Of a session that is alive.
    Using(SessionKey),
    /// Of a revision without sessions: every id in the answer is taken off.
    Sessionless,
    /// A request for a stream of HTTP+SSE that is not answered yet.
    StreamAsked(Option<Reservation>),
    /// A stream of HTTP+SSE that has begun and has not named its session yet.
    Announcing(Box<Announcement>),
    /// A stream of HTTP+SSE with its session, opened at this moment, which ends with it.
    Streaming(SessionKey, Timestamp),
    /// Nothing more to do.
    #[default]
    Over,
}

/// A request to one of the endpoints, and what is known of it.
#[derive(Debug)]
pub struct Exchange {
    context: u32,
    site: Rc<Site>,
    verb: Verb,
    revision: Option<Revision>,
    /// Who sent the request, where that matters.
    owner: Owner,
    state: State,
    /// The beginning of a body that streams by; `None` once it has told its method.
    glimpse: Option<Beginning>,
    stream_open: bool,
    /// The DELETE that the server is to get when the filter ends the session that this request may begin.
    delete_request: Option<DeleteRequest>,
    /// An `Mcp-Session-Id` is to be taken off the request.
    drop_id: bool,
    /// The message can be held: a POST of JSON under `admission: body`.
    can_hold: bool,
    /// The message is held until it is found valid, though it is known where the request belongs
    /// (`strict_json_rpc`).
    validates: bool,
    /// What headers say of a held message, to be compared with it.
    mirrors: Option<Box<Mirrors>>,
}

impl Exchange {
    /// Judges a request by its head. `None` if it is none of the filter's business.
    ///
    /// `context` names the stream on this root.
    pub fn begin<S: Store>(
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
        context: u32,
    ) -> Option<(Self, Verdict<'static>)> {
        let endpoint = gate.config.endpoint_for(head.authority, head.path);
        if head.is_ungoverned(gate.config, endpoint) {
            effects.ungoverned();
        }
        let site = Rc::clone(gate.sites.get(endpoint?)?);
        let mut exchange = Self::new(gate, head, site, context);
        exchange.note_head(effects);
        exchange.expect_body(effects, head);
        let verdict = if exchange.is_of_wrong_media_type(head) {
            exchange.refuse(effects, Answer::UnsupportedMediaType)
        } else if exchange.site.is_http_sse() {
            exchange.of_http_sse(gate, effects, head)
        } else {
            exchange.of_streamable_http(gate, effects, head)
        };
        let verdict = if head.has_body {
            verdict
        } else {
            exchange.without_body(effects, verdict)
        };
        Some((exchange, verdict))
    }

    fn new<S: Store>(gate: &Gate<'_, S>, head: &RequestHead<'_>, site: Rc<Site>, context: u32) -> Self {
        let verb = Verb::of(head.method);
        let holds = site.rules.admission == Admission::Body && !site.is_http_sse();
        Self {
            context,
            verb,
            revision: head.revision,
            owner: if site.asks_who {
                identify(&site.rules.principal, head.caller, gate.table)
            } else {
                Owner::UNKNOWN
            },
            state: State::Over,
            glimpse: None,
            stream_open: false,
            delete_request: site.delete_request(head),
            drop_id: false,
            can_hold: holds && verb == Verb::Post && head.is_json,
            validates: false,
            mirrors: None,
            site,
        }
    }

    /// Whether every POST is to be validated, and this one is not JSON.
    fn is_of_wrong_media_type(&self, head: &RequestHead<'_>) -> bool {
        self.verb == Verb::Post && self.site.rules.strict_json_rpc && !head.is_json
    }

    /// Nothing follows the head: what would be held for it is no message.
    fn without_body(&mut self, effects: &mut impl Effects, verdict: Verdict<'static>) -> Verdict<'static> {
        let verdict = match verdict {
            Verdict::Hold => self.refuse(effects, Answer::ParseError),
            Verdict::Forward
            | Verdict::ForwardWithoutId
            | Verdict::ForwardForPlainAnswer
            | Verdict::Answer(_) => verdict,
        };
        self.end_glimpse(effects);
        verdict
    }

    /// What the exchange wants to see next.
    pub fn wants(&self) -> Wants {
        let request_body = match (&self.state, &self.glimpse) {
            _ if self.validates => Interest::Whole(self.site.rules.max_request_bytes),
            (State::Holding(_), _) => Interest::Whole(self.site.rules.max_request_bytes),
            (_, Some(beginning)) => Interest::Part(beginning.room()),
            (_, None) => Interest::Nothing,
        };
        let (answer_head, answer_body) = match &self.state {
            State::Opening { .. } | State::Using(_) | State::Sessionless | State::StreamAsked(_) => (true, 0),
            State::Announcing(announcement) => (false, announcement.room()),
            State::Holding(_) | State::Streaming(..) | State::Over => (false, 0),
        };
        Wants {
            request_body,
            answer_head,
            answer_body,
        }
    }

    /// The live session that the request uses, if any.
    pub fn session(&self) -> Option<SessionKey> {
        match self.state {
            State::Using(key) | State::Streaming(key, _) => Some(key),
            State::Holding(_)
            | State::Opening { .. }
            | State::Sessionless
            | State::StreamAsked(_)
            | State::Announcing(_)
            | State::Over => None,
        }
    }

    /// A request over streamable HTTP.
    fn of_streamable_http<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Verdict<'static> {
        let presented = SessionId::presented(head.session_id)
            .map(|id| id.map(|id| gate.table.track(self.site.tag, id.as_bytes())));
        if is_modern(head.revision) {
            self.drop_id = !head.session_id.is_absent();
            let id = presented.map_or(Occurs::Several, |id| id.map_or(Occurs::Absent, Occurs::One));
            return self.sessionless(effects, head, id);
        }
        let opens = match self.can_hold {
            true => None,
            false => Some(Opens::of(head.rpc_method.one().map(Method::from_bytes))),
        };
        match presented {
            Ok(Some(id)) => self.with_id(gate, effects, id, opens, None),
            Ok(None) => self.without_id(gate, effects, head, opens),
            Err(_) => self.refuse(effects, Answer::InvalidSessionId),
        }
    }

    /// A request of 2026-07-28 or later: it has no session, whatever it carries, unless its message turns out to be an
    /// `initialize`.
    fn sessionless(
        &mut self,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
        id: Occurs<TrackedId<'_>>,
    ) -> Verdict<'static> {
        if self.can_hold {
            return self.hold(head, id);
        }
        self.state = State::Sessionless;
        self.pass(effects)
    }

    /// A request without an id. `opens` tells what its message may open, and is `None` for a message that can be held.
    fn without_id<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
        opens: Option<Opens>,
    ) -> Verdict<'static> {
        match opens {
            None => self.hold(head, Occurs::Absent),
            Some(Opens::Session | Opens::Perhaps) if self.verb == Verb::Post && head.is_json => {
                self.admit(gate, effects, None, None)
            }
            Some(_) => {
                self.state = State::Opening {
                    unknown: None,
                    reservation: None,
                };
                self.pass(effects)
            }
        }
    }

    fn hold(&mut self, head: &RequestHead<'_>, id: Occurs<TrackedId<'_>>) -> Verdict<'static> {
        self.validates = false;
        self.keep_mirrors(head);
        self.state = State::Holding(id.map(TrackedId::into_owned));
        Verdict::Hold
    }

    /// A request that carries an id. `opens` is `None` as long as its message can still be held.
    fn with_id<'b, S: Store>(
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
            .use_session(id.key(), self.claimant(), lifespans, gate.now);
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

    /// The table cannot tell whose session it is. What is bound to a principal must not pass; anything else may well be
    /// alive, and passes as it would without the filter.
    fn with_unread_table<'b>(
        &mut self,
        effects: &mut impl Effects,
        id: TrackedId<'_>,
        request_id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        if self.claimant().is_some() {
            return self.refuse(effects, self.unavailable(request_id));
        }
        effects.count(self.site.index, Event::Untracked);
        self.state = State::Opening {
            unknown: Some(id.into_owned()),
            reservation: None,
        };
        self.pass(effects)
    }

    /// A request with an id that the table does not hold.
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

    /// Notes that the exchange is over, as far as that can be done without the table. Returns whether nothing is left to
    /// do, as for most requests; else [`Exchange::end`] is to be called.
    pub fn end_locally(&mut self, in_use: &mut InUse) -> bool {
        if self.glimpse.is_some() || self.stream_open {
            return false;
        }
        match &self.state {
            State::Using(key) => in_use.leave_quietly(*key, self.context),
            State::Opening { reservation, .. } => reservation.is_none(),
            State::Sessionless | State::Over => true,
            State::Holding(_) | State::StreamAsked(_) | State::Announcing(_) | State::Streaming(..) => false,
        }
    }

    /// The exchange is over, however it came to that.
    pub fn end<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects) {
        self.end_glimpse(effects);
        self.close_stream(gate, effects);
        match core::mem::take(&mut self.state) {
            State::Opening { reservation, .. } | State::StreamAsked(reservation) => {
                self.give_back(gate, effects, reservation);
            }
            State::Using(key) => self.release_use(gate, effects, key),
            State::Announcing(announcement) => self.end_unnamed(gate, effects, &announcement),
            State::Streaming(key, opened) => self.end_with_stream(gate, effects, key, opened),
            State::Holding(_) | State::Sessionless | State::Over => {}
        }
    }

    fn close_stream<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects) {
        if !core::mem::take(&mut self.stream_open) {
            return;
        }
        match gate.table.close_stream(self.site.tag, gate.now) {
            Ok(()) => effects.counts_moved(self.site.index),
            Err(error) => {
                gate.in_use.owe_close(self.site.tag);
                effects.failed("close_stream", error);
            }
        }
    }

    fn release_use<S: Store>(&self, gate: &mut Gate<'_, S>, effects: &mut impl Effects, key: SessionKey) {
        if !gate.in_use.leave(key, self.context, gate.now) {
            return;
        }
        let lifespans = self.site.lifespans();
        match gate.table.rest(key, lifespans, gate.now) {
            Ok(true) if lifespans.evictable => {
                let (tag, evict_after) = (self.site.tag, self.site.evict_after());
                let longest_idle = &mut gate.in_use.longest_idle;
                if let Err(error) = longest_idle.note_rest(gate.table, tag, key, evict_after, gate.now) {
                    effects.failed("note_rest", error);
                }
            }
            Ok(true | false) => {}
            Err(error) => effects.failed("rest", error),
        }
    }

    /// Gives back a place that was kept and is not needed.
    fn give_back<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        reservation: Option<Reservation>,
    ) {
        let Some(reservation) = reservation else { return };
        match gate.table.release(reservation) {
            Ok(()) => effects.counts_moved(self.site.index),
            Err(error) => effects.failed("release", error),
        }
    }

    /// The owner that the session must have, if `bind_sessions` is on.
    fn claimant(&self) -> Option<Owner> {
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

    /// Lets the request go on to the server, once its message is found valid where it has to be.
    fn pass(&self, effects: &mut impl Effects) -> Verdict<'static> {
        if self.validates {
            return Verdict::Hold;
        }
        effects.note(Fact::Outcome(None));
        if self.drop_id {
            Verdict::ForwardWithoutId
        } else {
            Verdict::Forward
        }
    }

    fn refuse<'a>(&mut self, effects: &mut impl Effects, answer: Answer<'a>) -> Verdict<'a> {
        let reason = answer.label();
        // A session that is in use has to be left at the end.
        if !matches!(self.state, State::Using(_)) {
            self.state = State::Over;
        }
        self.validates = false;
        self.end_glimpse(effects);
        effects.count(self.site.index, Event::Rejected(reason));
        effects.note(Fact::Outcome(Some(reason)));
        Verdict::Answer(answer)
    }

    fn note_head(&self, effects: &mut impl Effects) {
        effects.note(Fact::Endpoint(self.site.rules.name.as_str()));
        if let Some(revision) = &self.revision {
            effects.note(Fact::Version(revision.as_str()));
        }
    }

    fn note_session<S>(&self, gate: &Gate<'_, S>, effects: &mut impl Effects, id: &TrackedId<'_>) {
        let name = SessionName::of(gate.config.log_session_id, id);
        if let Some(name) = name.as_str() {
            effects.note(Fact::SessionId(name));
        }
    }
}

/// Whether a request of this revision has no session.
fn is_modern(revision: Option<Revision>) -> bool {
    revision.is_some_and(|revision| revision.era() == Era::Modern)
}
