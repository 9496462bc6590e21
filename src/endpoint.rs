//! The endpoint of a request, and its rules.
//!
//! Every value here is valid by construction: only the reader of the configuration makes these types from text, and
//! each `parse` tells the operator what the text must be.

mod matching;
mod rules;

use core::fmt;
use core::time::Duration;
use std::rc::Rc;

pub use matching::{Authority, PathPattern, RequestPath, without_query};
pub use rules::{
    Admission, CapacityStatus, OnFull, PrincipalSource, TerminateUpstream, Transport, UnknownSession,
};

/// One MCP endpoint and its rules. [`Endpoint::default`] is what an empty configuration governs: `mcp` at `/mcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How metrics, logs and the status view call it; unique within a configuration.
    pub name: EndpointName,
    /// The paths it governs.
    pub path: PathPattern,
    /// The only host it governs; `None` governs every host that no other endpoint names.
    pub authority: Option<Authority>,
    /// Which of MCP's HTTP transports is spoken.
    pub transport: Transport,
    /// Cap on sessions alive plus initializations in flight, 1 to 1,000,000.
    pub max_sessions: u32,
    /// Cap for each principal, 1 to 1,000,000; `None` is no cap (written 0).
    pub max_sessions_per_principal: Option<u32>,
    /// Where the caller's identity comes from; the first source that yields a value wins.
    pub principal: Vec<PrincipalSource>,
    /// Whether a session answers only to the principal that opened it.
    pub bind_sessions: bool,
    /// Ends a session that was out of use for this long, 1s to 720h; `None` is off (written `0s`).
    pub idle_timeout: Option<Duration>,
    /// Ends a session of this age whatever it does, 1s to 720h; `None` is off (written `0s`).
    pub max_lifetime: Option<Duration>,
    /// When an initialization without an answer gives its place back, 1s to 720h.
    pub initialize_timeout: Duration,
    /// What happens to an id the table does not hold.
    pub unknown_session: UnknownSession,
    /// What happens to a newcomer at a cap.
    pub on_full: OnFull,
    /// Only a session that was idle for this long, 1s to 720h, is evicted; `None` is any (written `0s`).
    pub evict_after: Option<Duration>,
    /// The status at the VM's or the endpoint's cap.
    pub capacity_status: CapacityStatus,
    /// What `Retry-After` says with it, 1s to 1h, to the millisecond.
    pub retry_after: Duration,
    /// Where a POST without a session is judged.
    pub admission: Admission,
    /// Whether every POST is held and validated, not only those without a session; only with [`Admission::Body`].
    pub strict_json_rpc: bool,
    /// The largest body that is held, 1 KiB to 16 MiB, in bytes.
    pub max_request_bytes: usize,
    /// Whether MCP 2026-07-28's headers must agree with a held body.
    pub verify_headers: bool,
    /// How the server hears that the filter ended a session; `None` leaves it untold.
    pub terminate_upstream: Option<TerminateUpstream>,
}

impl Endpoint {
    /// How the endpoint matches a request for this path, by its `path` or its `message_path`; `None` if it does not.
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

/// Which of two endpoints that match a request governs it: the lesser.
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
            max_sessions: 10_000,
            max_sessions_per_principal: None,
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
            max_request_bytes: 512 * 1024,
            verify_headers: true,
            terminate_upstream: None,
        }
    }
}

/// Finds the endpoint that governs a request, as an index of the list. Takes the `:authority` and `:path` headers as
/// they came. No two endpoints match one request with the same rank, so the order of the list decides nothing.
pub(crate) fn find(endpoints: &[Rc<Endpoint>], authority: &[u8], path: &[u8]) -> Option<usize> {
    let path = RequestPath::new(path);
    let ranked = endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
        let rank = endpoint.rank(path)?;
        endpoint.names(authority).then_some((rank, index))
    });
    ranked.min().map(|(_, index)| index)
}

/// An endpoint's name: 1 to 32 characters of `a-z`, `0-9` and `_`, so that it can be part of a stat name as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointName(String);

impl EndpointName {
    /// Takes 1 to 32 characters of `a-z`, `0-9` and `_`.
    ///
    /// # Errors
    ///
    /// What the text must be, in words to go after its place.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 32 characters of a-z, 0-9 and _")
        }
    }

    /// The name as it was written.
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
