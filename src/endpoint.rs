//! Finds the endpoint of a request, and holds the endpoint's rules.
//!
//! Every value here is valid by construction: only the reader of the configuration makes these types from text. If
//! the text is wrong, `parse` returns what the text must be.

mod lost_answer;
mod matching;
mod rules;

use core::fmt;
use core::time::Duration;
use std::rc::Rc;

pub use lost_answer::LostAnswer;
pub use matching::{Authority, PathPattern, RequestPath, without_query};
pub use rules::{
    Admission, CapacityStatus, OnFull, PassOrReject, PrincipalSource, TerminateUpstream, Transport,
    UnknownSession,
};

/// One MCP endpoint and its rules. [`Endpoint::default`] is the endpoint of an empty configuration: `mcp` at `/mcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The endpoint's name in metrics and logs; unique within a configuration.
    pub name: EndpointName,
    /// The paths it governs.
    pub path: PathPattern,
    /// The only host it governs. `None` governs every host that no other endpoint names.
    pub authority: Option<Authority>,
    /// Which of MCP's HTTP transports the endpoint speaks.
    pub transport: Transport,
    /// What happens to requests without a session id that open no session; not with HTTP+SSE.
    pub sessionless: PassOrReject,
    /// What happens to requests of MCP 2026-07-28.
    pub modern: PassOrReject,
    /// Cap on live sessions plus initializations in flight, 1 to 1,000,000.
    pub max_sessions: u32,
    /// Cap for each principal, 1 to 1,000,000; `None` means no cap (written 0).
    pub max_sessions_per_principal: Option<u32>,
    /// Cap on open streams, 1 to 1,000,000; `None` means no cap (written 0).
    pub max_streams: Option<u32>,
    /// Cap on the open streams of each principal, 1 to 1,000,000; `None` means no cap (written 0).
    pub max_streams_per_principal: Option<u32>,
    /// Closes an open stream of this age, 1s to 720h; `None` is off (written `0s`).
    pub max_stream_lifetime: Option<Duration>,
    /// Sources of the caller's identity. The first source that yields a value wins.
    pub principal: Vec<PrincipalSource>,
    /// Whether only the owner of a session may use it.
    pub bind_sessions: bool,
    /// Ends a session that was not used for this long, 1s to 720h; `None` is off (written `0s`).
    pub idle_timeout: Option<Duration>,
    /// Ends a session of this age, even if it is in use, 1s to 720h; `None` is off (written `0s`).
    pub max_lifetime: Option<Duration>,
    /// After this time without an answer, an initialization gives its reservation back, 1s to 720h.
    pub initialize_timeout: Duration,
    /// What happens to a session id that the table does not hold.
    pub unknown_session: UnknownSession,
    /// What happens to a newcomer at a cap.
    pub on_full: OnFull,
    /// A session is evicted only after being idle for this long, 1s to 720h; `None` evicts any idle session (written
    /// `0s`).
    pub evict_after: Option<Duration>,
    /// The status of a refusal at the VM's or the endpoint's cap.
    pub capacity_status: CapacityStatus,
    /// The value of `Retry-After` in such a refusal, 1s to 1h, to the millisecond.
    pub retry_after: Duration,
    /// Whether a POST without a session is judged at its headers or at its body.
    pub admission: Admission,
    /// Whether every POST is held and checked, not only a POST without a session. Needs [`Admission::Body`].
    pub strict_json_rpc: bool,
    /// Whether the filter itself writes `Mcp-Method` and `Mcp-Name`. Needs `strict_json_rpc`.
    pub method_headers: bool,
    /// The largest body that the filter holds, 1 KiB to 16 MiB, in bytes.
    pub max_request_bytes: usize,
    /// Whether the headers of MCP 2026-07-28 must agree with a held body.
    pub verify_headers: bool,
    /// How the filter tells the server that it ended a session; `None` tells the server nothing.
    pub terminate_upstream: Option<TerminateUpstream>,
    /// Answers by which the server says that it no longer knows a session, up to 8. Needs [`Admission::Body`], whose
    /// flag of Envoy's lets the filter hold an answer.
    pub lost_session: Vec<LostAnswer>,
}

impl Endpoint {
    /// How the endpoint matches a request for this path, by its `path` or its `message_path`; `None` if neither
    /// matches.
    fn rank(&self, path: RequestPath<'_>) -> Option<Rank> {
        let message_path = match &self.transport {
            Transport::StreamableHttp => None,
            Transport::HttpSse { message_path } => Some(message_path),
        };
        let patterns = [Some(&self.path), message_path];
        let matching = patterns
            .into_iter()
            .flatten()
            .filter(|pattern| pattern.matches(path));
        matching.map(|pattern| Rank::of(self, pattern)).min()
    }

    /// Whether the endpoint governs every request for this `:authority`.
    fn names(&self, authority: &[u8]) -> bool {
        self.authority.as_ref().is_none_or(|host| host.matches(authority))
    }
}

/// If two endpoints match a request, the endpoint with the lesser rank governs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// An endpoint with an authority goes before one without.
    any_host: bool,
    /// An exact path goes before a wildcard.
    wildcard: bool,
}

impl Rank {
    fn of(endpoint: &Endpoint, pattern: &PathPattern) -> Self {
        Self {
            any_host: endpoint.authority.is_none(),
            wildcard: !pattern.is_exact(),
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            name: EndpointName("mcp".to_owned()),
            path: PathPattern::default(),
            authority: None,
            transport: Transport::StreamableHttp,
            sessionless: PassOrReject::Pass,
            modern: PassOrReject::Pass,
            max_sessions: 10_000,
            max_sessions_per_principal: None,
            max_streams: None,
            max_streams_per_principal: None,
            max_stream_lifetime: None,
            principal: Vec::new(),
            bind_sessions: false,
            idle_timeout: Some(Duration::from_mins(30)),
            max_lifetime: Some(Duration::from_hours(24)),
            initialize_timeout: Duration::from_secs(60),
            unknown_session: UnknownSession::Adopt,
            on_full: OnFull::Reject,
            evict_after: None,
            capacity_status: CapacityStatus::TooManyRequests,
            retry_after: Duration::from_secs(5),
            admission: Admission::Headers,
            strict_json_rpc: false,
            method_headers: false,
            max_request_bytes: 512 * 1024,
            verify_headers: true,
            terminate_upstream: None,
            lost_session: Vec::new(),
        }
    }
}

/// Finds the endpoint that governs a request, as an index of the list. Takes the `:authority` and `:path` headers as
/// they came. No two endpoints match one request with the same rank, so the order of the list does not matter.
pub(crate) fn find(endpoints: &[Rc<Endpoint>], authority: &[u8], path: &[u8]) -> Option<usize> {
    let path = RequestPath::new(path);
    let ranked = endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
        let rank = endpoint.rank(path)?;
        endpoint.names(authority).then_some((rank, index))
    });
    ranked.min().map(|(_, index)| index)
}

/// An endpoint's name: 1 to 32 characters of `a-z`, `0-9` and `_`, so that a stat name can contain it unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointName(String);

impl EndpointName {
    /// Takes 1 to 32 characters of `a-z`, `0-9` and `_`.
    ///
    /// # Errors
    ///
    /// What the text must be, in words that follow the field's path.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 32 characters of a-z, 0-9 and _")
        }
    }

    /// The name as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    fn endpoint(authority: Option<&str>, pattern: &str) -> Endpoint {
        let authority = authority.map(|host| Authority::parse(host).unwrap());
        Endpoint {
            authority,
            path: path(pattern),
            ..Endpoint::default()
        }
    }

    #[test]
    fn a_name_fits_into_a_stat_name() {
        for text in ["a", "mcp_2", &"x".repeat(32)] {
            assert_eq!(EndpointName::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "Mcp", "a.b", "a-b", "é", &"x".repeat(33)] {
            assert!(EndpointName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_endpoint_with_the_authority_goes_first_wherever_it_stands() {
        let endpoints = [endpoint(None, "/mcp"), endpoint(Some("a.example"), "/mcp")].map(Rc::new);
        assert_eq!(find(&endpoints, b"A.example:443", b"/mcp"), Some(1));
        assert_eq!(find(&endpoints, b"b.example", b"/mcp"), Some(0));
    }

    #[test]
    fn an_exact_path_goes_before_a_wildcard_and_an_authority_before_both() {
        let endpoints = [
            endpoint(None, "/mcp/*"),
            endpoint(None, "/mcp"),
            endpoint(Some("a.example"), "/*"),
        ]
        .map(Rc::new);
        assert_eq!(find(&endpoints, b"b.example", b"/mcp/"), Some(1));
        assert_eq!(find(&endpoints, b"b.example", b"/mcp/a"), Some(0));
        assert_eq!(find(&endpoints, b"a.example.", b"/mcp"), Some(2));
    }

    #[test]
    fn a_named_host_falls_back_to_endpoints_of_every_host() {
        let endpoints = [endpoint(None, "/tools"), endpoint(Some("a.example"), "/mcp")].map(Rc::new);
        assert_eq!(find(&endpoints, b"a.example", b"/tools"), Some(0));
        assert_eq!(find(&endpoints, b"b.example", b"/mcp"), None);
    }

    #[test]
    fn the_query_is_left_aside() {
        let endpoints = [Rc::default()];
        assert_eq!(find(&endpoints, b"a", b"/mcp?a=/b?c"), Some(0));
        assert_eq!(find(&endpoints, b"a", b"/mcp?"), Some(0));
        assert_eq!(find(&endpoints, b"a", b"?/mcp"), None);
        assert_eq!(find(&endpoints, b"", b""), None);
    }

    #[test]
    fn messages_of_http_sse_belong_to_the_endpoint() {
        let transport = Transport::HttpSse {
            message_path: path("/messages/*"),
        };
        let endpoints = [Endpoint {
            transport,
            path: path("/sse"),
            ..Endpoint::default()
        }]
        .map(Rc::new);
        assert_eq!(find(&endpoints, b"a", b"/sse"), Some(0));
        assert_eq!(find(&endpoints, b"a", b"/messages/?session_id=1"), Some(0));
        assert_eq!(find(&endpoints, b"a", b"/messages"), None);
    }
}
