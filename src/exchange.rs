//! One request and its answer, from the first header to the end of the stream.
//!
//! ```text
//!                  +-- Holding --+  the message is read
//!                  |             v
//! request head ----+--------> Opening --- 2xx with an id ---> Using
//!                  |             |                              ^
//!                  |             +--- anything else ---> Over   |
//!                  +--------> Unknown --- 2xx: adopted ---------+
//!                  |                                            |
//!                  +--------> Using ---- DELETE 2xx, 404 ---> Over
//!                  +--------> Sessionless (2026-07-28)
//!
//! a GET of HTTP+SSE: Opening -- 2xx --> Announcing -- `endpoint` event --> Streaming -- its end --> Over
//! ```

mod answer_phase;
mod gate;
mod head;
mod http_sse;
mod opening;
mod site;
mod verify_headers;

pub use answer_phase::{AnswerInterest, Edit};
pub use gate::{Effects, Gate};
pub use head::{RequestHead, ResponseHead};
pub use site::{Site, have_quotas, vm_settings};

use std::rc::Rc;

use self::http_sse::Announcement;
use self::verify_headers::Mirrors;
use crate::answer::Answer;
use crate::endpoint::{Admission, UnknownSession};
use crate::mcp::json_rpc;
use crate::mcp::method::Method;
use crate::mcp::revision::{Era, Revision};
use crate::mcp::session_id::{PresentedId, SessionId};
use crate::principal::identify;
use crate::session::{
    DeleteRequest, IdDigest, Owner, Reservation, Session, SessionKey, Standing, Store, Timestamp,
};
use crate::telemetry::{Event, Fact, SessionName};
use crate::worker::in_use::InUse;

/// How much of a body that streams by is looked at for its method and tool.
const GLIMPSE_BYTES: usize = 4096;

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

/// The methods of HTTP that the filter governs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Delete,
}

#[derive(Debug)]
enum State {
    /// A request without a session; its message is not complete yet.
    Holding,
    /// Let in without a session; the answer may open one, in this place if it has one.
    Opening(Option<Reservation>),
    /// Of a session that is alive.
    Using(SessionKey),
    /// With an id the table does not hold.
    Unknown(String),
    /// Of a revision without sessions: an id in the answer is taken off.
    Sessionless,
    /// A stream of HTTP+SSE that has begun and has not named its session yet.
    Announcing(Box<Announcement>),
    /// A stream of HTTP+SSE with its session, opened at this moment, which ends with it.
    Streaming(SessionKey, Timestamp),
    /// Nothing more to do.
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
    /// What the server is owed when the filter ends the session that this request may begin.
    delete_request: Option<DeleteRequest>,
    /// An `Mcp-Session-Id` is to be taken off the request.
    drop_id: bool,
    /// The message is held until it is found valid, though it is known where the request belongs
    /// (`strict_json_rpc`).
    validates: bool,
    /// What headers say of a held message, to be compared with it.
    mirrors: Option<Box<Mirrors>>,
}

/// The first bytes of a body that streams by.
#[derive(Debug, Default)]
struct Beginning {
    bytes: Vec<u8>,
    /// How many there were when they were last looked at.
    looked_at: usize,
}

impl Beginning {
    fn room(&self) -> usize {
        GLIMPSE_BYTES.saturating_sub(self.bytes.len())
    }

    /// Adds what there is room for; whether it is full.
    fn extend(&mut self, part: &[u8]) -> bool {
        self.bytes.extend(part.iter().take(self.room()));
        self.room() == 0
    }

    /// Whether another look is worth it: looking at every byte anew as a body trickles in would be work
    /// that grows with the square of its length.
    fn has_doubled(&mut self) -> bool {
        let doubled = self.bytes.len() >= self.looked_at.saturating_mul(2);
        if doubled {
            self.looked_at = self.bytes.len();
        }
        doubled
    }
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
        let site = gate.sites.get(endpoint?)?;
        let verb = match head.method {
            b"POST" => Verb::Post,
            b"GET" => Verb::Get,
            b"DELETE" => Verb::Delete,
            _ => return None,
        };
        let is_sse = site.is_http_sse();
        let modern = !is_sse && is_modern(head.revision);
        let concerns = if is_sse {
            http_sse::concerns(site, verb, head)
        } else {
            verb == Verb::Post || modern || head.session_id != PresentedId::Absent
        };
        if !concerns {
            return None;
        }
        let mut exchange = Self {
            context,
            site: Rc::clone(site),
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
            validates: false,
            mirrors: None,
        };
        exchange.note_head(effects);
        exchange.expect_body(effects, head);
        let verdict = match head.session_id {
            _ if is_sse => exchange.of_http_sse(gate, effects, head),
            _ if modern => exchange.sessionless(gate, effects, head),
            PresentedId::One(id) => exchange.of_session(gate, effects, &id),
            PresentedId::Invalid => exchange.refuse(effects, Answer::InvalidSessionId),
            PresentedId::Absent => exchange.without_session(gate, effects, head),
        };
        let verdict = if head.has_body {
            verdict
        } else {
            exchange.without_body(effects, verdict)
        };
        Some((exchange, verdict))
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

    /// Which part of the body the exchange wants to see next.
    pub fn interest(&self) -> Interest {
        match (&self.state, &self.glimpse) {
            _ if self.validates => Interest::Whole(self.site.rules.max_request_bytes),
            (State::Holding, _) => Interest::Whole(self.site.rules.max_request_bytes),
            (_, Some(beginning)) => Interest::Part(beginning.room()),
            (_, None) => Interest::Nothing,
        }
    }

    /// Looks at a part of the body that streams by; `last` says that no more will come.
    pub fn glimpse(&mut self, effects: &mut impl Effects, part: &[u8], last: bool) {
        let Some(beginning) = &mut self.glimpse else {
            return;
        };
        let is_all = beginning.extend(part) || last;
        if !is_all && !beginning.has_doubled() {
            return;
        }
        let glimpse = json_rpc::glimpse(&beginning.bytes);
        if is_all || glimpse.complete {
            self.glimpse = None;
            self.report_glimpse(effects, &glimpse);
        }
    }

    /// The exchange is over, however it came to that. False if more has to be done: then [`Exchange::end`] is to
    /// be called. Most have told everything by now, and need neither the table nor the time.
    pub fn end_quietly(&mut self, in_use: &mut InUse) -> bool {
        if self.glimpse.is_some() || self.stream_open {
            return false;
        }
        match self.state {
            State::Using(key) => in_use.leave_quietly(key, self.context),
            State::Unknown(_) | State::Sessionless | State::Over => true,
            State::Holding | State::Opening(_) | State::Announcing(_) | State::Streaming(..) => false,
        }
    }

    /// The exchange is over, however it came to that.
    pub fn end<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects) {
        self.end_glimpse(effects);
        if core::mem::take(&mut self.stream_open) {
            match gate.table.close_stream(self.site.tag, gate.now) {
                Ok(()) => effects.counts_moved(),
                Err(error) => {
                    gate.in_use.owe_close(self.site.tag);
                    effects.failed("close_stream", error);
                }
            }
        }
        match core::mem::replace(&mut self.state, State::Over) {
            State::Opening(reservation) => self.give_back(gate, effects, reservation),
            State::Using(key) => self.rest(gate, effects, key),
            State::Announcing(announcement) => self.give_back(gate, effects, announcement.reservation),
            State::Streaming(key, opened) => self.end_with_stream(gate, effects, key, opened),
            State::Holding | State::Unknown(_) | State::Sessionless | State::Over => {}
        }
    }

    fn rest<S: Store>(&self, gate: &mut Gate<'_, S>, effects: &mut impl Effects, key: SessionKey) {
        if !gate.in_use.leave(key, self.context, gate.now) {
            return;
        }
        match gate.table.rest(key, self.site.lifespans(), gate.now) {
            Ok(()) if self.site.lifespans().evictable => {
                gate.in_use.longest_idle.note_rest(self.site.tag, key, gate.now);
            }
            Ok(()) => {}
            Err(error) => effects.failed("rest", error),
        }
    }

    /// Decides how a POST's method becomes known. Under `admission: body` the body tells; else it is not
    /// read at all, and the header that newer revisions require has to do.
    fn expect_body(&mut self, effects: &mut impl Effects, head: &RequestHead<'_>) {
        if self.verb != Verb::Post {
            return;
        }
        match self.site.rules.admission {
            Admission::Body => {
                self.glimpse = Some(Beginning::default());
                self.validates = self.site.rules.strict_json_rpc;
            }
            Admission::Headers => match head.rpc_method.one() {
                Some(method) => {
                    self.report_method(effects, Method::from_bytes(method), head.plain_name());
                }
                None => effects.count(self.site.index, Event::Request(Method::Other)),
            },
        }
    }

    /// A request of 2026-07-28 or later: it has no session, whatever it carries.
    fn sessionless<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Verdict<'static> {
        self.drop_id = head.session_id != PresentedId::Absent;
        if self.verb == Verb::Post && self.site.rules.admission == Admission::Body {
            return self.without_session(gate, effects, head);
        }
        self.state = State::Sessionless;
        self.pass(effects)
    }

    /// A request that carries the id of a session.
    fn of_session<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: &SessionId<'_>,
    ) -> Verdict<'static> {
        let key = gate.table.key(self.site.tag, id.as_bytes());
        let standing = gate
            .table
            .use_session(key, self.claimant(), self.site.lifespans(), gate.now);
        let digest = match &standing {
            Ok(Standing::Alive(session)) => Some(session.digest),
            Ok(Standing::Expired(_) | Standing::Ended | Standing::Foreign | Standing::Unknown) | Err(_) => {
                None
            }
        };
        self.note_session(gate, effects, id, digest);
        match standing {
            Ok(Standing::Alive(session)) => {
                gate.in_use.enter(
                    key,
                    session.opened,
                    session.stamp(),
                    self.site.lifespans(),
                    self.context,
                );
                self.note_version(gate, effects, &session);
                self.state = State::Using(key);
                self.pass(effects)
            }
            Ok(Standing::Unknown) => match self.site.rules.unknown_session {
                UnknownSession::Adopt if self.site.is_http_sse() => {
                    effects.count(self.site.index, Event::Untracked);
                    self.pass(effects)
                }
                UnknownSession::Adopt => {
                    self.state = State::Unknown(id.as_str().to_owned());
                    self.pass(effects)
                }
                UnknownSession::Reject => self.refuse(effects, Answer::SessionNotFound),
            },
            Ok(Standing::Ended | Standing::Foreign) => self.refuse(effects, Answer::SessionNotFound),
            Ok(Standing::Expired(ended)) => {
                effects.ended(&ended);
                effects.counts_moved();
                self.refuse(effects, Answer::SessionNotFound)
            }
            // The session may well be alive: it passes, as it would without the filter.
            Err(error) => {
                effects.failed("use_session", error);
                effects.count(self.site.index, Event::Untracked);
                self.pass(effects)
            }
        }
    }

    /// Whose the session has to be, where sessions are bound.
    fn claimant(&self) -> Option<Owner> {
        let bound = self.site.asks_who && self.site.rules.bind_sessions;
        bound.then_some(self.owner)
    }

    /// The first request that states the session's revision tells it to whom will need it.
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

    /// A POST that opens a session, or needs none.
    fn without_session<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Verdict<'static> {
        match self.site.rules.admission {
            Admission::Headers => self.reserve(gate, effects, None),
            Admission::Body => {
                self.validates = false;
                self.keep_mirrors(head);
                self.state = State::Holding;
                Verdict::Hold
            }
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

    fn note_session<S>(
        &self,
        gate: &Gate<'_, S>,
        effects: &mut impl Effects,
        id: &SessionId<'_>,
        digest: Option<IdDigest>,
    ) {
        let name = SessionName::new(gate.config.log_session_id, id.as_str(), digest);
        if let Some(name) = name.as_str() {
            effects.note(Fact::SessionId(name));
        }
    }

    /// No more of the body will be seen.
    fn end_glimpse(&mut self, effects: &mut impl Effects) {
        if let Some(beginning) = self.glimpse.take() {
            self.report_glimpse(effects, &json_rpc::glimpse(&beginning.bytes));
        }
    }

    fn report_glimpse(&self, effects: &mut impl Effects, glimpse: &json_rpc::Glimpse) {
        if !glimpse.is_response {
            self.report_method(
                effects,
                glimpse.method.unwrap_or(Method::Other),
                glimpse.name.as_deref(),
            );
        }
    }
}

/// Whether a request of this revision has no session.
fn is_modern(revision: Option<Revision>) -> bool {
    revision.is_some_and(|revision| revision.era() == Era::Modern)
}
