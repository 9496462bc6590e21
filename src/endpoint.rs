//! Which endpoint a request belongs to, and what holds there.
//!
//! Everything here is valid by construction: the configuration parser is the only one that builds these types from
//! text, and each `parse` says what is wrong in words fit for the operator.

use core::fmt;
use core::time::Duration;
use std::rc::Rc;

use crate::config::{
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
    /// Whether a request for this path, given without its query, is the endpoint's, `message_path` included.
    pub fn governs(&self, path: &[u8]) -> bool {
        let message_path = match &self.transport {
            Transport::StreamableHttp => None,
            Transport::HttpSse { message_path } => Some(message_path),
        };
        self.path.matches(path) || message_path.is_some_and(|pattern| pattern.matches(path))
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            name: EndpointName("mcp".to_owned()),
            path: PathPattern("/mcp".to_owned()),
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

/// Finds the endpoint that governs a request, as its place in the list. An endpoint with an authority goes before one
/// without; within one authority no two match the same path, so the order of the list decides nothing.
pub(crate) fn find(endpoints: &[Rc<Endpoint>], authority: &[u8], path: &[u8]) -> Option<usize> {
    let path = without_query(path);
    let named = |endpoint: &Endpoint| {
        endpoint
            .authority
            .as_ref()
            .is_some_and(|host| host.matches(authority))
    };
    let any_host = |endpoint: &Endpoint| endpoint.authority.is_none();
    endpoints
        .iter()
        .position(|endpoint| named(endpoint) && endpoint.governs(path))
        .or_else(|| {
            endpoints
                .iter()
                .position(|endpoint| any_host(endpoint) && endpoint.governs(path))
        })
}

/// The part of a `:path` header before its query.
pub fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or(path)
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

/// The paths of an endpoint: one exact path, or with a trailing `/*` everything below it. `/mcp/*` is whatever begins
/// with `/mcp/`, that path itself included, and not `/mcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(String);

impl PathPattern {
    /// Takes a path without query and fragment, with `*` only in a trailing `/*`.
    ///
    /// # Errors
    ///
    /// What the text must be, in words to go after its place.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let fixed = if text.ends_with("/*") {
            text.strip_suffix('*').unwrap_or(text)
        } else {
            text
        };
        if !text.starts_with('/') {
            Err("must begin with \"/\"")
        } else if fixed.contains('*') {
            Err("must have \"*\" nowhere but in a trailing \"/*\"")
        } else if text.contains(['?', '#']) {
            Err("must be a path without query and fragment")
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err("must hold visible ASCII characters only")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches this path, given without its query. Compares byte by byte: spelling paths alike is Envoy's
    /// work (`normalize_path`, `merge_slashes`).
    pub fn matches(&self, path: &[u8]) -> bool {
        match self.prefix() {
            Some(prefix) => path.starts_with(prefix.as_bytes()),
            None => path == self.0.as_bytes(),
        }
    }

    /// Whether some path matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.prefix(), other.prefix()) {
            (Some(ours), Some(theirs)) => ours.starts_with(theirs) || theirs.starts_with(ours),
            (Some(_) | None, None) => self.matches(other.0.as_bytes()),
            (None, Some(_)) => other.matches(self.0.as_bytes()),
        }
    }

    /// Whether it is a single path.
    pub(crate) fn is_exact(&self) -> bool {
        self.prefix().is_none()
    }

    fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host, in lower case and without a port. An IPv6 address stands in brackets, as in the header: `[::1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority(String);

impl Authority {
    /// Takes a host in any case, without scheme, port and path.
    ///
    /// # Errors
    ///
    /// What the text must be, in words to go after its place.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match address {
            Some(address) => is_made_of(address, |byte| {
                byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
            }),
            None => is_made_of(text, |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
            }),
        };
        if valid {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("must be an exact host without scheme, port and path (an IPv6 address in brackets)")
        }
    }

    /// The host in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an `:authority` or `Host` header names this host, whatever its case and port.
    pub fn matches(&self, header: &[u8]) -> bool {
        without_port(header).eq_ignore_ascii_case(self.0.as_bytes())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_made_of(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

/// Cuts `:8080` off, and leaves the colons of a bracketed IPv6 address alone (RFC 3986, section 3.2.2).
fn without_port(authority: &[u8]) -> &[u8] {
    let past_address = authority.iter().position(|byte| *byte == b']').unwrap_or(0);
    let colon = authority.iter().skip(past_address).position(|byte| *byte == b':');
    colon
        .and_then(|colon| authority.get(..past_address + colon))
        .unwrap_or(authority)
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
    fn an_exact_path_matches_itself_alone() {
        assert!(path("/mcp").matches(b"/mcp"));
        for other in ["/mcp/", "/mcp/a", "/mc", "/MCP", "mcp", ""] {
            assert!(!path("/mcp").matches(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_trailing_star_matches_everything_below() {
        for below in ["/mcp/", "/mcp/a", "/mcp/a/b"] {
            assert!(path("/mcp/*").matches(below.as_bytes()), "{below}");
        }
        for other in ["/mcp", "/mcpa", "/", ""] {
            assert!(!path("/mcp/*").matches(other.as_bytes()), "{other}");
        }
        assert!(path("/*").matches(b"/") && path("/*").matches(b"/anything/at/all"));
    }

    #[test]
    fn overlap_is_mutual_and_means_a_shared_path() {
        let cases = [
            ("/mcp", "/mcp", true),
            ("/mcp", "/mcp/*", false),
            ("/mcp/", "/mcp/*", true),
            ("/mcp/a", "/mcp/*", true),
            ("/mcp/a/*", "/mcp/*", true),
            ("/mcp/a/*", "/mcp/b/*", false),
            ("/mcp/a", "/mcp/a/*", false),
            ("/*", "/x", true),
        ];
        for (a, b, expected) in cases {
            assert_eq!(path(a).overlaps(&path(b)), expected, "{a} {b}");
            assert_eq!(path(b).overlaps(&path(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn refuses_paths_that_no_request_could_have() {
        for text in [
            "", "mcp", "*", "/m*", "/*/a", "/a/*/*", "/mcp**", "/mcp?x", "/mcp#x", "/a b", "/é", "/a\n",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text:?}");
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
    fn a_host_matches_in_any_case_and_with_any_port() {
        let host = Authority::parse("MCP.Example.com").unwrap();
        assert_eq!(host.as_str(), "mcp.example.com");
        for header in ["mcp.example.com", "mcp.EXAMPLE.com:8080", "mcp.example.com:"] {
            assert!(host.matches(header.as_bytes()), "{header}");
        }
        for header in [
            "",
            ":80",
            "example.com",
            "mcp.example.com.evil",
            "[mcp.example.com]",
        ] {
            assert!(!host.matches(header.as_bytes()), "{header}");
        }
    }

    #[test]
    fn the_colons_of_an_ipv6_address_are_no_port() {
        let host = Authority::parse("[::1]").unwrap();
        assert!(host.matches(b"[::1]") && host.matches(b"[::1]:8080"));
        assert!(!host.matches(b"[::2]:8080") && !host.matches(b"::1") && !host.matches(b"["));
    }

    #[test]
    fn refuses_an_authority_that_is_more_than_a_host() {
        for text in [
            "", "a:80", "http://a", "a/b", "*.a", "::1", "[::1]:80", "[]", "a b", "é", "u@a",
        ] {
            assert!(Authority::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_endpoint_with_the_authority_goes_first_wherever_it_stands() {
        let endpoints = [endpoint(None, "/mcp"), endpoint(Some("a.example"), "/mcp")].map(Rc::new);
        assert_eq!(find(&endpoints, b"A.example:443", b"/mcp"), Some(1));
        assert_eq!(find(&endpoints, b"b.example", b"/mcp"), Some(0));
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
