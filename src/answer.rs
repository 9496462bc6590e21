//! Every answer that the filter gives itself: status, headers, JSON-RPC body and reason label.
//!
//! The texts are fixed and echo nothing from the client but the JSON-RPC id. No answer ever carries an
//! `Mcp-Session-Id`: some clients adopt one even from an error.

use crate::mcp::json_rpc::{BodyError, RequestId};
use crate::mcp::revision::Revision;
use core::time::Duration;
use std::borrow::Cow;

/// An answer in place of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The VM or the endpoint has no room for another session.
    Capacity {
        /// The endpoint's `capacity_status`, 429 or 503.
        status: u16,
        /// When the client may try again, in whole seconds; see [`whole_seconds`].
        retry_after_s: u32,
        /// The request's id, if the filter read the message.
        id: Option<RequestId<'a>>,
    },
    /// The fleet of gateways has no room for another session, or lets nobody new in.
    FleetCapacity {
        /// The endpoint's `capacity_status`, 429 or 503.
        status: u16,
        /// When the client may try again, in whole seconds; see [`whole_seconds`].
        retry_after_s: u32,
        /// The request's id, if the filter read the message.
        id: Option<RequestId<'a>>,
    },
    /// The principal has as many sessions as it may have. The status is never 503: another gateway would not help.
    PrincipalQuota {
        /// When the client may try again, in whole seconds; see [`whole_seconds`].
        retry_after_s: u32,
        /// The request's id, if the filter read the message.
        id: Option<RequestId<'a>>,
    },
    /// The endpoint's cap on open streams.
    Streams {
        /// When the client may try again, in whole seconds; see [`whole_seconds`].
        retry_after_s: u32,
        /// The request's id, if the filter read the message.
        id: Option<RequestId<'a>>,
    },
    /// The principal's cap on open streams.
    PrincipalStreams {
        /// When the client may try again, in whole seconds; see [`whole_seconds`].
        retry_after_s: u32,
        /// The request's id, if the filter read the message.
        id: Option<RequestId<'a>>,
    },
    /// The session is unknown, has ended, or belongs to another principal. The bytes are the same in every case, so
    /// that a caller cannot find out which ids exist. The body carries no id, because with one Go's client would keep
    /// the dead session.
    SessionNotFound,
    /// `Mcp-Session-Id` is no session id, or came more than once. The status is 404, at which every client begins
    /// anew; at a 400 some clients die or hang.
    InvalidSessionId,
    /// The body is not JSON.
    ParseError,
    /// The body is JSON but no message, or a batch that is not allowed.
    InvalidRequest,
    /// The body is longer than `max_request_bytes`.
    TooLarge {
        /// The request's id, if the beginning of the body has it.
        id: Option<RequestId<'a>>,
    },
    /// The body must be JSON, and its content type says that it is not.
    UnsupportedMediaType,
    /// The endpoint does not take this HTTP method.
    MethodNotAllowed {
        /// The methods that the endpoint takes, as `Allow` lists them (RFC 9110, section 10.2.1).
        allow: &'static str,
    },
    /// Headers and body disagree, or a required header is missing (MCP 2026-07-28,
    /// `basic/transports/streamable-http` § Server Validation).
    HeaderMismatch {
        /// The request's id.
        id: Option<RequestId<'a>>,
    },
    /// The request has no session id and opens no session, and the endpoint refuses such requests.
    SessionRequired {
        /// The request's id, if the filter read the message.
        id: Option<RequestId<'a>>,
    },
    /// `Accept` does not name everything that the server may answer with.
    NotAcceptable {
        /// The request's id, if the filter read the message.
        id: Option<RequestId<'a>>,
    },
    /// The endpoint refuses the revision that the request states. The code is not the one of MCP 2026-07-28: clients
    /// that try the new revision first go on to an older one after this code, and one of them gives up after that.
    UnsupportedVersion {
        /// The revision that the request states.
        requested: Revision,
        /// The request's id, if the filter read the message.
        id: Option<RequestId<'a>>,
    },
}

impl<'a> Answer<'a> {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Capacity { status, .. } | Self::FleetCapacity { status, .. } => *status,
            Self::PrincipalQuota { .. } => 429,
            Self::Streams { .. } | Self::PrincipalStreams { .. } => 429,
            Self::SessionNotFound => 404,
            Self::InvalidSessionId => 404,
            Self::ParseError => 400,
            Self::InvalidRequest => 400,
            Self::TooLarge { .. } => 413,
            Self::UnsupportedMediaType => 415,
            Self::MethodNotAllowed { .. } => 405,
            Self::HeaderMismatch { .. } => 400,
            Self::SessionRequired { .. } => 400,
            Self::NotAcceptable { .. } => 406,
            Self::UnsupportedVersion { .. } => 400,
        }
    }

    /// The reason under which the answer is counted and logged.
    pub fn label(&self) -> Reason {
        match self {
            Self::Capacity { .. } => Reason::Capacity,
            Self::FleetCapacity { .. } => Reason::FleetCapacity,
            Self::PrincipalQuota { .. } => Reason::PrincipalQuota,
            Self::Streams { .. } => Reason::Streams,
            Self::PrincipalStreams { .. } => Reason::PrincipalStreams,
            Self::SessionNotFound => Reason::SessionNotFound,
            Self::InvalidSessionId => Reason::InvalidSessionId,
            Self::ParseError | Self::InvalidRequest => Reason::InvalidMessage,
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::UnsupportedMediaType => Reason::UnsupportedMediaType,
            Self::MethodNotAllowed { .. } => Reason::MethodNotAllowed,
            Self::HeaderMismatch { .. } => Reason::HeaderMismatch,
            Self::SessionRequired { .. } => Reason::SessionRequired,
            Self::NotAcceptable { .. } => Reason::NotAcceptable,
            Self::UnsupportedVersion { .. } => Reason::UnsupportedVersion,
        }
    }

    /// The headers, names in lower case: the content type, `retry-after` for the refusals that waiting may cure, and
    /// `allow`.
    pub fn headers(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        let mut headers = vec![("content-type", Cow::Borrowed("application/json"))];
        if let Some(seconds) = self.retry_after_s() {
            headers.push(("retry-after", Cow::Owned(seconds.to_string())));
        }
        if let Self::MethodNotAllowed { allow } = self {
            headers.push(("allow", Cow::Borrowed(allow)));
        }
        headers
    }

    /// The body: a JSON-RPC error, with the request's id if it is known. Otherwise the body has no member `id`, since
    /// every revision's schema forbids `null`.
    pub fn body(&self) -> Vec<u8> {
        let (code, message) = self.error();
        let id = self
            .id()
            .map(|id| format!(r#""id":{},"#, id.as_str()))
            .unwrap_or_default();
        let data = self.data();
        format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":{code},"message":"{message}"{data}}}}}"#)
            .into_bytes()
    }

    /// The member `data` of the error with the comma before it; empty if the error has none.
    fn data(&self) -> String {
        let Self::UnsupportedVersion { requested, .. } = self else {
            return String::new();
        };
        let supported = Revision::WITH_SESSIONS.map(|revision| format!("\"{}\"", revision.as_str()));
        let (supported, requested) = (supported.join(","), requested.as_str());
        format!(r#","data":{{"supported":[{supported}],"requested":"{requested}"}}"#)
    }

    /// JSON-RPC code and message. The messages need no escaping in JSON.
    fn error(&self) -> (i32, &'static str) {
        match self {
            Self::Capacity { .. } | Self::FleetCapacity { .. } => (INTERNAL_ERROR, "Too many open sessions"),
            Self::PrincipalQuota { .. } => (INTERNAL_ERROR, "Too many open sessions for this client"),
            Self::Streams { .. } => (INTERNAL_ERROR, "Too many open streams"),
            Self::PrincipalStreams { .. } => (INTERNAL_ERROR, "Too many open streams for this client"),
            Self::SessionNotFound => (SESSION_NOT_FOUND, "Session not found"),
            Self::InvalidSessionId => (SESSION_NOT_FOUND, "Invalid session id"),
            Self::ParseError => (PARSE_ERROR, "Parse error"),
            Self::InvalidRequest => (INVALID_REQUEST, "Invalid request"),
            Self::TooLarge { .. } => (INVALID_REQUEST, "Request too large"),
            Self::UnsupportedMediaType => (INVALID_REQUEST, "Unsupported media type"),
            Self::MethodNotAllowed { .. } => (INVALID_REQUEST, "Method not allowed"),
            Self::HeaderMismatch { .. } => (HEADER_MISMATCH, "Header mismatch"),
            Self::SessionRequired { .. } => (INVALID_REQUEST, "Session id required"),
            Self::NotAcceptable { .. } => (INVALID_REQUEST, "Not acceptable"),
            Self::UnsupportedVersion { .. } => (INVALID_REQUEST, "Unsupported protocol version"),
        }
    }

    fn id(&self) -> Option<RequestId<'a>> {
        match self {
            Self::Capacity { id, .. }
            | Self::FleetCapacity { id, .. }
            | Self::PrincipalQuota { id, .. }
            | Self::Streams { id, .. }
            | Self::PrincipalStreams { id, .. }
            | Self::TooLarge { id }
            | Self::HeaderMismatch { id }
            | Self::SessionRequired { id }
            | Self::NotAcceptable { id }
            | Self::UnsupportedVersion { id, .. } => *id,
            Self::SessionNotFound
            | Self::InvalidSessionId
            | Self::ParseError
            | Self::InvalidRequest
            | Self::UnsupportedMediaType
            | Self::MethodNotAllowed { .. } => None,
        }
    }

    fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Capacity { retry_after_s, .. }
            | Self::FleetCapacity { retry_after_s, .. }
            | Self::PrincipalQuota { retry_after_s, .. }
            | Self::Streams { retry_after_s, .. }
            | Self::PrincipalStreams { retry_after_s, .. } => Some(*retry_after_s),
            Self::SessionNotFound
            | Self::InvalidSessionId
            | Self::ParseError
            | Self::InvalidRequest
            | Self::TooLarge { .. }
            | Self::UnsupportedMediaType
            | Self::MethodNotAllowed { .. }
            | Self::HeaderMismatch { .. }
            | Self::SessionRequired { .. }
            | Self::NotAcceptable { .. }
            | Self::UnsupportedVersion { .. } => None,
        }
    }
}

impl From<BodyError> for Answer<'_> {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Parse => Self::ParseError,
            BodyError::Invalid => Self::InvalidRequest,
        }
    }
}

/// JSON-RPC 2.0, section 5.1.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INTERNAL_ERROR: i32 = -32603;
/// The code of the official TypeScript and C# servers, by which clients in the field know a lost session. The
/// specification leaves the code to implementations.
const SESSION_NOT_FOUND: i32 = -32001;
/// MCP 2026-07-28, `schema.ts`, `HEADER_MISMATCH`.
const HEADER_MISMATCH: i32 = -32020;

/// A wait as `Retry-After` states it: whole seconds, rounded up, so that no client comes back too early.
pub fn whole_seconds(wait: Duration) -> u32 {
    let begun = u64::from(wait.subsec_nanos() > 0);
    u32::try_from(wait.as_secs().saturating_add(begun)).unwrap_or(u32::MAX)
}

/// Why a request was not forwarded: the label of `rejected` counters and of the outcome in access logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The VM's or the endpoint's cap.
    Capacity,
    /// The cap of the fleet of gateways.
    FleetCapacity,
    /// The principal's quota.
    PrincipalQuota,
    /// The endpoint's cap on open streams.
    Streams,
    /// The principal's cap on open streams.
    PrincipalStreams,
    /// This caller has no such session.
    SessionNotFound,
    /// The session id is not well formed.
    InvalidSessionId,
    /// The body is no message, or a message that is not allowed here.
    InvalidMessage,
    /// The body is too long to hold.
    TooLarge,
    /// The content type is not JSON, where every POST must be JSON.
    UnsupportedMediaType,
    /// The endpoint does not take this HTTP method.
    MethodNotAllowed,
    /// Headers disagree with the body.
    HeaderMismatch,
    /// The request has no session id and opens no session.
    SessionRequired,
    /// `Accept` names too little.
    NotAcceptable,
    /// The endpoint refuses the revision.
    UnsupportedVersion,
}

impl Reason {
    /// Every reason, each at its [`Self::index`].
    pub const ALL: [Self; 15] = [
        Self::Capacity,
        Self::FleetCapacity,
        Self::PrincipalQuota,
        Self::Streams,
        Self::PrincipalStreams,
        Self::SessionNotFound,
        Self::InvalidSessionId,
        Self::InvalidMessage,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::MethodNotAllowed,
        Self::HeaderMismatch,
        Self::SessionRequired,
        Self::NotAcceptable,
        Self::UnsupportedVersion,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::FleetCapacity => "fleet_capacity",
            Self::PrincipalQuota => "principal_quota",
            Self::Streams => "streams",
            Self::PrincipalStreams => "principal_streams",
            Self::SessionNotFound => "session_not_found",
            Self::InvalidSessionId => "invalid_session_id",
            Self::InvalidMessage => "invalid_message",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::HeaderMismatch => "header_mismatch",
            Self::SessionRequired => "session_required",
            Self::NotAcceptable => "not_acceptable",
            Self::UnsupportedVersion => "unsupported_version",
        }
    }

    /// Position in [`Self::ALL`], for arrays with one entry per reason.
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::json_rpc::{Body, Strictness, read};

    /// The id of a request that carries this JSON token as its id.
    fn with_id<T>(token: &str, check: impl FnOnce(Option<RequestId<'_>>) -> T) -> T {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{token},"method":"initialize"}}"#);
        let id = match read(body.as_bytes(), Strictness::Strict) {
            Ok(Body::Single(message)) => message.id,
            Ok(Body::Batch(_)) | Err(_) => None,
        };
        check(id)
    }

    fn every_answer(id: Option<RequestId<'_>>) -> [Answer<'_>; 16] {
        [
            Answer::Capacity {
                status: 503,
                retry_after_s: 5,
                id,
            },
            Answer::FleetCapacity {
                status: 429,
                retry_after_s: 6,
                id,
            },
            Answer::PrincipalQuota { retry_after_s: 7, id },
            Answer::Streams { retry_after_s: 8, id },
            Answer::PrincipalStreams { retry_after_s: 9, id },
            Answer::SessionNotFound,
            Answer::InvalidSessionId,
            Answer::ParseError,
            Answer::InvalidRequest,
            Answer::TooLarge { id },
            Answer::UnsupportedMediaType,
            Answer::MethodNotAllowed { allow: "GET" },
            Answer::HeaderMismatch { id },
            Answer::SessionRequired { id },
            Answer::NotAcceptable { id },
            Answer::UnsupportedVersion {
                requested: Revision::V2026_07_28,
                id,
            },
        ]
    }

    fn body(answer: &Answer<'_>) -> String {
        String::from_utf8_lossy(&answer.body()).into_owned()
    }

    #[test]
    fn each_answer_has_its_status_label_and_body() {
        let expected = [
            (
                503,
                "capacity",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Too many open sessions"}}"#,
            ),
            (
                429,
                "fleet_capacity",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Too many open sessions"}}"#,
            ),
            (
                429,
                "principal_quota",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Too many open sessions for this client"}}"#,
            ),
            (
                429,
                "streams",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Too many open streams"}}"#,
            ),
            (
                429,
                "principal_streams",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Too many open streams for this client"}}"#,
            ),
            (
                404,
                "session_not_found",
                r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"}}"#,
            ),
            (
                404,
                "invalid_session_id",
                r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Invalid session id"}}"#,
            ),
            (
                400,
                "invalid_message",
                r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"}}"#,
            ),
            (
                400,
                "invalid_message",
                r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request"}}"#,
            ),
            (
                413,
                "too_large",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Request too large"}}"#,
            ),
            (
                415,
                "unsupported_media_type",
                r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Unsupported media type"}}"#,
            ),
            (
                405,
                "method_not_allowed",
                r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Method not allowed"}}"#,
            ),
            (
                400,
                "header_mismatch",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"Header mismatch"}}"#,
            ),
            (
                400,
                "session_required",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Session id required"}}"#,
            ),
            (
                406,
                "not_acceptable",
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Not acceptable"}}"#,
            ),
            (
                400,
                "unsupported_version",
                concat!(
                    r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Unsupported protocol version","data":"#,
                    r#"{"supported":["2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"requested":"2026-07-28"}}}"#
                ),
            ),
        ];
        with_id("1", |id| {
            for (answer, (status, label, text)) in every_answer(id).iter().zip(expected) {
                assert_eq!((answer.status(), answer.label().as_str()), (status, label));
                assert_eq!(body(answer), text);
            }
        });
    }

    #[test]
    fn leaves_the_id_out_where_it_is_not_known() {
        for answer in every_answer(None) {
            assert!(!body(&answer).contains("\"id\""), "{answer:?}");
        }
    }

    #[test]
    fn echoes_the_id_as_the_bytes_that_came() {
        for token in [
            "-1.50e+3",
            "123456789012345678901234567890",
            r#""a\u0041\"\\\n""#,
            "\"Zürich\"",
            "\"\"",
        ] {
            with_id(token, |id| {
                let text = body(&Answer::HeaderMismatch { id });
                assert!(
                    text.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{token},"error""#)),
                    "{text}"
                );
            });
        }
    }

    #[test]
    fn every_body_is_json() {
        with_id(r#""\"},{""#, |id| {
            for answer in every_answer(id) {
                assert!(
                    serde_json::from_slice::<serde_json::Value>(&answer.body()).is_ok(),
                    "{answer:?}"
                );
            }
        });
    }

    #[test]
    fn says_when_to_come_back_only_where_waiting_helps() {
        let waits: Vec<_> = every_answer(None)
            .iter()
            .filter_map(|answer| {
                answer
                    .headers()
                    .into_iter()
                    .find(|(name, _)| *name == "retry-after")
            })
            .map(|(_, value)| value)
            .collect();
        assert_eq!(waits, ["5", "6", "7", "8", "9"]);
    }

    #[test]
    fn every_answer_is_json_by_its_content_type_and_mints_no_session() {
        for answer in every_answer(None) {
            let headers = answer.headers();
            assert!(
                headers.contains(&("content-type", Cow::Borrowed("application/json"))),
                "{answer:?}"
            );
            assert!(
                headers.iter().all(|(name, _)| *name != "mcp-session-id"),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn rounds_waits_up_to_whole_seconds() {
        let wait = |millis| whole_seconds(Duration::from_millis(millis));
        assert_eq!(
            [wait(0), wait(1), wait(1000), wait(1001), wait(5000)],
            [0, 1, 1, 2, 5]
        );
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn every_reason_stands_at_its_index() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), position);
        }
    }

    #[test]
    fn body_errors_have_their_answers() {
        assert_eq!(Answer::from(BodyError::Parse), Answer::ParseError);
        assert_eq!(Answer::from(BodyError::Invalid), Answer::InvalidRequest);
    }
}
