//! Keeps from servers what they would keep a session for, though they refuse it: `sessionless: reject` and
//! `modern: reject`.
//!
//! Such servers (the official Python SDK from 1.8 to 1.29 and 2.0 to 2.1, CVE-2026-59951) open a session for each
//! request without an id before they look at it. So the filter must be at least as strict as they are: it lets only
//! such an `initialize` pass that they do not refuse. What they refuse was found out by asking them.

use super::{Effects, Exchange, RequestHead, State, Verb, Verdict, is_modern};
use crate::answer::Answer;
use crate::endpoint::PassOrReject;
use crate::mcp::field_value::trimmed;
use crate::mcp::json_rpc::{self, Kind, Message, RequestId};
use crate::mcp::method::Method;
use crate::mcp::occurs::Occurs;
use crate::mcp::revision::Revision;

/// What such servers take, as they list it themselves.
const ALLOW: &str = "GET, POST, DELETE";

/// What the head says of refusals that wait for the message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guard {
    /// The request states this revision, and the endpoint refuses it. The message is only read for its id.
    unsupported: Option<Revision>,
    /// If the message is an `initialize`, its headers do not suffice.
    fault: Option<Fault>,
}

/// Why such a server refuses an `initialize` by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ContentType,
    Accept,
}

impl Fault {
    /// Servers check `Accept` first; the filter answers 415 first, as for any POST that is not JSON.
    fn of(head: &RequestHead<'_>) -> Option<Self> {
        if !head.content_type.one().is_some_and(is_plain_json) {
            Some(Self::ContentType)
        } else if !head.accept.one().is_some_and(accepts_both) {
            Some(Self::Accept)
        } else {
            None
        }
    }

    fn answer(self, id: Option<RequestId<'_>>) -> Answer<'_> {
        match self {
            Self::ContentType => Answer::UnsupportedMediaType,
            Self::Accept => Answer::NotAcceptable { id },
        }
    }
}

impl Exchange {
    /// Judges what the endpoint refuses whatever the table says. `None` if the request goes on to be judged as any.
    pub(super) fn guarded(
        &mut self,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Option<Verdict<'static>> {
        if let (PassOrReject::Reject, Some(requested)) = (self.site.rules.modern, head.modern) {
            return Some(self.of_unsupported(effects, head, requested));
        }
        match self.site.rules.sessionless {
            PassOrReject::Reject => self.of_sessionless(effects, head),
            PassOrReject::Pass => None,
        }
    }

    /// A request of a revision that the endpoint refuses. Clients that try the new revision first look for the id of
    /// their request in the answer, so the answer waits for the message if it can be held.
    fn of_unsupported(
        &mut self,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
        requested: Revision,
    ) -> Verdict<'static> {
        if head.has_body && (self.can_hold || self.validates) {
            self.guard.unsupported = Some(requested);
            return self.hold(head, Occurs::Absent);
        }
        self.refuse(effects, Answer::UnsupportedVersion { requested, id: None })
    }

    /// A request that reaches the server without an id, if it has none or if the filter takes it off.
    fn of_sessionless(
        &mut self,
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Option<Verdict<'static>> {
        let is_modern = is_modern(head.revision);
        if !head.session_id.is_absent() && !is_modern {
            return None;
        }
        let answer = match self.verb {
            Verb::Post if is_modern => {
                self.guard.fault = Fault::of(head);
                return None;
            }
            Verb::Post => match Fault::of(head) {
                Some(fault) => fault.answer(None),
                None if self.can_hold => return None,
                None => not_initialize(head)?,
            },
            Verb::Get | Verb::Delete => Answer::SessionRequired { id: None },
            Verb::Head | Verb::Other => Answer::MethodNotAllowed { allow: ALLOW },
        };
        Some(self.refuse(effects, answer))
    }

    /// The answer to a held request of a revision that the endpoint refuses. `body` is its body, or as much of it as
    /// is looked at.
    pub(super) fn unsupported_version<'b>(&self, body: &'b [u8]) -> Option<Answer<'b>> {
        let requested = self.guard.unsupported?;
        let id = json_rpc::request_id(body);
        Some(Answer::UnsupportedVersion { requested, id })
    }

    /// The answer to a held request without an id, unless its message is an `initialize` that such servers take.
    /// `message` is `None` for a batch.
    pub(super) fn lacks_session<'b>(&self, body: &[u8], message: Option<&Message<'b>>) -> Option<Answer<'b>> {
        let is_refused = self.site.rules.sessionless == PassOrReject::Reject
            && matches!(self.state, State::Holding(Occurs::Absent));
        if !is_refused {
            return None;
        }
        let id = message.and_then(id_of_request);
        let is_initialize = message.is_some_and(|message| message.kind == Kind::Request(Method::Initialize));
        if let (true, Some(fault)) = (is_initialize, self.guard.fault) {
            return Some(fault.answer(id));
        }
        if json_rpc::starts_with_mark(body) {
            return Some(Answer::ParseError);
        }
        let passes = is_initialize && json_rpc::is_plain_initialize(body);
        (!passes).then_some(Answer::SessionRequired { id })
    }
}

/// The answer to a POST that is not held, unless its head lets it pass for an `initialize`.
fn not_initialize(head: &RequestHead<'_>) -> Option<Answer<'static>> {
    match head.rpc_method {
        _ if !head.has_body => Some(Answer::ParseError),
        Occurs::Absent | Occurs::One(b"initialize") => None,
        Occurs::One(_) | Occurs::Several => Some(Answer::SessionRequired { id: None }),
    }
}

/// The id of a request; never the one of a response.
fn id_of_request<'b>(message: &Message<'b>) -> Option<RequestId<'b>> {
    match message.kind {
        Kind::Request(_) => message.id,
        Kind::Notification(_) | Kind::Response => None,
    }
}

/// Whether a `Content-Type` is `application/json` in small letters, with any parameters. A comma may join two values,
/// and servers differ in which one they take.
fn is_plain_json(value: &[u8]) -> bool {
    !value.contains(&b',') && media_type_of(value) == b"application/json"
}

/// Whether an `Accept` names both types that a server may answer with, in full and in small letters. Servers look for
/// the names and no further, so ranges (`*/*`) do not count. Neither does a type with the weight 0, which is one that
/// the client refuses. If there is a quoted string, servers differ in where a type ends, so nothing counts.
fn accepts_both(value: &[u8]) -> bool {
    let names = |wanted: &[u8]| {
        value
            .split(|byte| *byte == b',')
            .any(|one| media_type_of(one) == wanted && !has_no_weight(one))
    };
    !value.contains(&b'"') && names(b"application/json") && names(b"text/event-stream")
}

/// A media type without its parameters. Servers trim more than the white space of RFC 9110, and so take more.
fn media_type_of(value: &[u8]) -> &[u8] {
    trimmed(value.split(|byte| *byte == b';').next().unwrap_or_default())
}

/// Whether a media range has the weight 0 (RFC 9110, section 12.4.2).
fn has_no_weight(range: &[u8]) -> bool {
    let mut parameters = range.split(|byte| *byte == b';').skip(1);
    parameters.any(|parameter| {
        let Some(equals) = parameter.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let (name, value) = parameter.split_at(equals);
        trimmed(name).eq_ignore_ascii_case(b"q") && value.iter().all(|byte| b"=0. \t".contains(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_json_in_small_letters_and_alone() {
        for value in [
            "application/json",
            "application/json;charset=utf-8",
            "application/json ; charset=UTF-8; x=y",
            "\tapplication/json\t",
            "application/json;",
        ] {
            assert!(is_plain_json(value.as_bytes()), "{value}");
        }
        for value in [
            "",
            ";",
            "Application/JSON",
            "application/jsonx",
            "application/json-rpc",
            "application/json, text/plain",
            "application/json;charset=utf-8, text/plain",
            "text/plain, application/json",
            "application/json,",
            "application/json\u{a0}",
            "application/json\u{b}",
            "\"application/json\"",
        ] {
            assert!(!is_plain_json(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn accept_names_both_types_in_full() {
        for value in [
            "application/json, text/event-stream",
            "text/event-stream,application/json",
            " application/json ;q=0.9,\ttext/event-stream ; q=0.001",
            "*/*;q=0, application/json, text/plain, text/event-stream;q=1",
            "application/json;q=0, application/json, text/event-stream",
            "application/json;q, text/event-stream;charset=0",
        ] {
            assert!(accepts_both(value.as_bytes()), "{value}");
        }
        for value in [
            "",
            "*/*",
            "application/*, text/*",
            "application/json",
            "text/event-stream",
            "application/json; text/event-stream",
            "application/json text/event-stream",
            "Application/json, text/event-stream",
            "application/json, text/Event-Stream",
            "application/jsonx, text/event-stream",
            "application/json, text/event-streams",
            "application/json;q=0, text/event-stream",
            "application/json, text/event-stream; Q=0.000",
            "application/json, text/event-stream;q=",
            "application/json;a=\",text/event-stream,\"",
            "application/json\u{a0}, text/event-stream",
        ] {
            assert!(!accepts_both(value.as_bytes()), "{value}");
        }
    }
}
