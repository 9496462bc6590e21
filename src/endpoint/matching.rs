//! Paths and hosts, as a configuration writes them and as requests spell them.

use core::fmt;

/// The part of a `:path` header before its query.
pub fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or(path)
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

/// `/mcp`, the path of the default endpoint.
impl Default for PathPattern {
    fn default() -> Self {
        Self("/mcp".to_owned())
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
}
