//! One request and its answer, from the first header to the end of the stream.
//!
//! Streamable HTTP. An id in a request says which session it belongs to. If the answer carries another id, that id
//! needs a place under the cap, or the filter takes it off the answer.
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
//! With a fleet, what needs a place may come to `Opening` by way of `Waiting` (`waiting.rs`).
//!
//! HTTP+SSE. The session is the stream of a GET.
//!
//! ```text
//! GET --> StreamAsked -- 2xx --> Announcing -- `endpoint` event, or none in time --> Streaming -- its end --> Over
//! ```

mod answered;
mod ending;
mod gate;
mod glimpse;
mod head;
mod http_sse;
mod judge;
mod lost_session;
mod method_headers;
mod newcomer;
mod presented;
mod sessionless;
mod site;
mod streams;
mod verify_headers;
mod waiting;

pub use answered::Edit;
pub use gate::{Effects, Gate};
pub use head::{RequestHead, ResponseHead, names_media_type, parse_status};
pub use judge::ID_WITHIN_BYTES;
pub use lost_session::{HELD_ANSWER_BYTES, HELD_ANSWER_TIME};
pub use site::{Site, have_quotas, vm_settings};

use std::rc::Rc;

use self::glimpse::Beginning;
use self::http_sse::Announcement;
use self::sessionless::Guard;
use self::streams::OpenStream;
use self::verify_headers::StatedHeaders;
use self::waiting::Waiting;
use crate::answer::Answer;
use crate::endpoint::Admission;
use crate::mcp::method::Method;
use crate::mcp::occurs::Occurs;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::session_id::SessionId;
use crate::principal::identify;
use crate::session::{DeleteRequest, Owner, Reservation, SessionKey, Store, Timestamp, TrackedId};
use crate::telemetry::{Event, Fact, RevisionLabel, SessionName};

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Let it go on.
    Forward,
    /// Remove `Mcp-Session-Id` from it, then let it go on.
    ForwardWithoutId,
    /// Remove `Accept-Encoding` from it, so that the filter can read its answer, then let it go on.
    ForwardForPlainAnswer,
    /// Hold it until its body is complete.
    Hold,
    /// Hold it until [`Exchange::try_again`] says what becomes of it.
    Wait,
    /// Answer it. The server never sees it.
    Answer(Answer<'a>),
}

/// Which part of the request's body the exchange wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// None.
    Nothing,
    /// The whole body, before anything is forwarded, but at most this many bytes.
    Whole(usize),
    /// At most this many bytes of the next part, while it streams by.
    Part(usize),
}

/// The parts that the exchange still wants to see. The host passes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Of the request's body.
    pub request_body: Interest,
    /// The head of the answer.
    pub answer_head: bool,
    /// At most this many bytes of the next part of the answer's body; 0 for almost all answers.
    pub answer_body: usize,
}

/// The HTTP methods that the filter distinguishes.
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

/// What the server may open for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    /// A session: the message is an `initialize`, or some server takes it for one.
    Session,
    /// Perhaps a session: some servers open one for any message without an id.
    Perhaps,
    /// Nothing: the message is `server/discover`. A refusal would make a client that asks for the revisions use one
    /// with sessions.
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
    /// The message is not complete yet. If the request has an id, it is here: an id that the table does not hold or,
    /// in a request of 2026-07-28, an id that was not looked up.
    Holding(Occurs<TrackedId<'static>>),
    /// There was no place for it in the share of a fleet's cap.
    Waiting(Box<Waiting>),
    /// The request was let in without a live session. The answer may open one, with this reservation if there is one.
    Opening {
        /// The request's id, which the table does not hold.
        unknown: Option<TrackedId<'static>>,
        reservation: Option<Reservation>,
    },
    /// The request belongs to a live session.
    Using(SessionKey),
    /// The revision has no sessions. The filter takes every id off the answer.
    Sessionless,
    /// A request for a stream of HTTP+SSE without an answer yet.
    StreamAsked(Option<Reservation>),
    /// A stream of HTTP+SSE that has begun and has not named its session yet.
    Announcing(Box<Announcement>),
    /// A stream of HTTP+SSE with its session, opened at this time. The session ends with the stream.
    Streaming(SessionKey, Timestamp),
    /// Nothing more to do.
    #[default]
    Over,
}

/// A request to one of the endpoints, and the exchange's knowledge of it.
#[derive(Debug)]
pub struct Exchange {
    context: u32,
    site: Rc<Site>,
    verb: Verb,
    revision: Option<Revision>,
    /// The caller's principal; not asked for if nothing depends on it.
    owner: Owner,
    state: State,
    /// The beginning of a body that streams by; `None` once its method is known.
    glimpse: Option<Beginning>,
    /// Its message is a `subscriptions/listen`, as far as is known.
    listens: bool,
    open_stream: OpenStream,
    /// The filter has answered the request itself.
    is_refused: bool,
    /// The DELETE for the session that this request may begin, sent if the filter ends the session.
    delete_request: Option<DeleteRequest>,
    /// The filter must remove `Mcp-Session-Id` from the request.
    drop_id: bool,
    /// The filter must remove `Accept-Encoding` from the request.
    needs_plain_answer: bool,
    /// The message can be held: a POST of JSON under `admission: body`.
    can_hold: bool,
    /// The message is held until it was checked, though the request's session is known already (`strict_json_rpc`).
    validates: bool,
    /// The headers of a held message that must agree with it.
    stated_headers: Option<Box<StatedHeaders>>,
    /// What the head says of refusals that wait for the message.
    guard: Guard,
    /// The head of an answer that is held until its body tells whether the server has lost the session.
    held_answer: Option<Box<lost_session::HeldHead>>,
}

impl Exchange {
    /// Judges a request by its head. `None` if no endpoint governs it.
    ///
    /// `context` names the stream on this root.
    pub fn begin<S: Store>(
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
        context: u32,
    ) -> Option<(Self, Verdict<'static>)> {
        let site = Site::of(gate.config, gate.sites, effects, head)?;
        Some(Self::begin_at(gate, effects, head, site, context))
    }

    /// Judges a request to the endpoint of `site` by its head. As [`Exchange::begin`], for a host that has asked
    /// [`Site::of`]: a request that no endpoint governs needs no gate.
    pub fn begin_at<S: Store>(
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
        site: Rc<Site>,
        context: u32,
    ) -> (Self, Verdict<'static>) {
        let mut exchange = Self::new(gate, head, site, context);
        exchange.note_head(effects);
        exchange.count_revision(effects, head);
        exchange.expect_body(effects, head);
        exchange.note_listening(head);
        let verdict = if let Some(verdict) = exchange.guarded(effects, head) {
            verdict
        } else if exchange.is_of_wrong_media_type(head) {
            exchange.refuse(effects, Answer::UnsupportedMediaType)
        } else if exchange.site.is_http_sse() {
            exchange.of_http_sse(gate, effects, head)
        } else {
            exchange.of_streamable_http(gate, effects, head)
        };
        let verdict = exchange.if_room_for_stream(gate, effects, verdict, None);
        let verdict = if head.has_body {
            verdict
        } else {
            exchange.without_body(effects, verdict)
        };
        exchange.drop_method_headers(effects, head);
        (exchange, verdict)
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
            listens: false,
            open_stream: OpenStream::None,
            is_refused: false,
            delete_request: site.delete_request(head),
            drop_id: false,
            needs_plain_answer: false,
            can_hold: holds && verb == Verb::Post && head.is_json,
            validates: false,
            stated_headers: None,
            guard: Guard::default(),
            held_answer: None,
            site,
        }
    }

    /// Whether every POST must be checked, and this one is not JSON.
    fn is_of_wrong_media_type(&self, head: &RequestHead<'_>) -> bool {
        self.verb == Verb::Post && self.site.rules.strict_json_rpc && !head.is_json
    }

    /// Handles a request without a body. If it would be held, it has no message.
    fn without_body(&mut self, effects: &mut impl Effects, verdict: Verdict<'static>) -> Verdict<'static> {
        let verdict = match verdict {
            Verdict::Hold => self.refuse(effects, Answer::ParseError),
            Verdict::Forward
            | Verdict::ForwardWithoutId
            | Verdict::ForwardForPlainAnswer
            | Verdict::Wait
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
            // The head of the filter's own answer tells nothing.
            _ if self.is_refused => (false, 0),
            State::Opening { .. } | State::Using(_) | State::Sessionless | State::StreamAsked(_) => (true, 0),
            State::Announcing(announcement) => (false, announcement.room()),
            State::Holding(_) | State::Waiting(_) | State::Streaming(..) | State::Over => (false, 0),
        };
        Wants {
            request_body,
            answer_head,
            answer_body,
        }
    }

    /// The live session of the request, if any.
    pub fn session(&self) -> Option<SessionKey> {
        match self.state {
            State::Using(key) | State::Streaming(key, _) => Some(key),
            State::Holding(_)
            | State::Waiting(_)
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

    /// A request of 2026-07-28 or later. It has no session, even if it carries an id. Only an `initialize` in its
    /// message can still open one.
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

    /// A request without an id. `opens` is `None` for a message that can be held.
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
        self.keep_stated_headers(head);
        self.state = State::Holding(id.map(TrackedId::into_owned));
        Verdict::Hold
    }

    /// Lets the request go on to the server. If its message must be checked first, holds it.
    fn pass(&self, effects: &mut impl Effects) -> Verdict<'static> {
        if self.validates {
            return Verdict::Hold;
        }
        effects.note(Fact::Outcome(None));
        if self.needs_plain_answer {
            Verdict::ForwardForPlainAnswer
        } else if self.drop_id {
            Verdict::ForwardWithoutId
        } else {
            Verdict::Forward
        }
    }

    fn refuse<'a>(&mut self, effects: &mut impl Effects, answer: Answer<'a>) -> Verdict<'a> {
        let reason = answer.label();
        // If the request uses a session, the end of the exchange must still release it.
        if !matches!(self.state, State::Using(_)) {
            self.state = State::Over;
        }
        self.validates = false;
        self.is_refused = true;
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

    fn count_revision(&self, effects: &mut impl Effects, head: &RequestHead<'_>) {
        if self.verb == Verb::Post {
            let revision = RevisionLabel::of(head.states_version, head.revision);
            effects.count(self.site.index, Event::Revision(revision));
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
