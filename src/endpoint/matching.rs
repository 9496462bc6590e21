//! Matches paths and hosts of requests against those of a configuration.
//!
//! Many servers take several spellings of a path for one: Express ignores case and a final `/`, servlet containers
//! ignore `;parameters`. The filter governs all of these. Judging a spelling that the server does not know costs
//! nothing; passing one that the server knows is a way around the cap.

use core::fmt;

/// The part of a `:path` header before its query. The filter also cuts a fragment, which no request should have.
pub fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| matches!(byte, b'?' | b'#'))
        .next()
        .unwrap_or(path)
}

/// The path of a request, split once for all patterns.
#[derive(Clone, Copy, Debug)]
pub struct RequestPath<'a> {
    /// Without the query.
    whole: &'a [u8],
    /// Without the query, one `/` at its end, and the parameters of its last non-empty segment.
    stem: &'a [u8],
    /// Whether a `/` follows the stem.
    ends_in_slash: bool,
}

impl<'a> RequestPath<'a> {
    /// Takes a `:path` header, query included, or a path of the configuration.
    pub fn new(path: &'a [u8]) -> Self {
        let whole = without_query(path);
        let named = without_parameters(whole);
        let (stem, ends_in_slash) = match named.strip_suffix(b"/") {
            Some(directory) => (without_parameters(directory), true),
            None => (named, false),
        };
        Self {
            whole,
            stem,
            ends_in_slash,
        }
    }
}

/// The path without the parameters of its last segment (RFC 3986, section 3.3): `/a;x/b` of `/a;x/b;y=1;z`.
fn without_parameters(path: &[u8]) -> &[u8] {
    let segment = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let parameters = path.iter().skip(segment).position(|byte| *byte == b';');
    parameters
        .and_then(|length| path.get(..segment + length))
        .unwrap_or(path)
}

/// The paths of an endpoint: one path in all its spellings, or, with a trailing `/*`, everything below a path. `/mcp`
/// also matches `/MCP`, `/mcp/` and `/mcp;a=b`. `/mcp/*` matches every path that begins with `/mcp/`, that path
/// included, but not `/mcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    written: String,
    form: Form,
}

/// The bytes that a pattern compares, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Compared with the stem of a request.
    Exact(Vec<u8>),
    /// Compared with the beginning of a request; ends in `/`.
    Below(Vec<u8>),
}

impl PathPattern {
    /// Takes a path without query and fragment, with `*` only in a trailing `/*`.
    ///
    /// # Errors
    ///
    /// What the text must be, in words that follow the field's path.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let prefix = text.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
        if !text.starts_with('/') {
            Err("must begin with \"/\"")
        } else if prefix.unwrap_or(text).contains('*') {
            Err("must have \"*\" nowhere but in a trailing \"/*\"")
        } else if text.contains(['?', '#']) {
            Err("must be a path without query and fragment")
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err("must hold visible ASCII characters only")
        } else {
            let form = match prefix {
                Some(prefix) => Form::Below(prefix.as_bytes().to_ascii_lowercase()),
                None => Form::Exact(RequestPath::new(text.as_bytes()).stem.to_ascii_lowercase()),
            };
            let written = text.to_owned();
            Ok(Self { written, form })
        }
    }

    /// The pattern as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether the pattern matches this path. Envoy handles percent-encoding, dots and doubled slashes
    /// (`normalize_path`, `merge_slashes`).
    pub fn matches(&self, path: RequestPath<'_>) -> bool {
        match &self.form {
            Form::Exact(stem) => path.stem.eq_ignore_ascii_case(stem),
            Form::Below(prefix) => {
                let directory = prefix.strip_suffix(b"/").unwrap_or(prefix);
                starts_with_ignore_case(path.whole, prefix)
                    || path.ends_in_slash && path.stem.eq_ignore_ascii_case(directory)
            }
        }
    }

    /// Whether some path matches both patterns with the same rank. An exact path goes before a wildcard, so these two
    /// never overlap.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.form, &other.form) {
            (Form::Exact(ours), Form::Exact(theirs)) => ours == theirs,
            (Form::Below(ours), Form::Below(theirs)) => {
                self.matches(RequestPath::new(theirs)) || other.matches(RequestPath::new(ours))
            }
            (Form::Exact(_), Form::Below(_)) | (Form::Below(_), Form::Exact(_)) => false,
        }
    }

    /// Whether both match the same paths.
    pub fn is_same(&self, other: &Self) -> bool {
        self.form == other.form
    }

    /// Whether the pattern is one path, in all its spellings.
    pub fn is_exact(&self) -> bool {
        match self.form {
            Form::Exact(_) => true,
            Form::Below(_) => false,
        }
    }
}

fn starts_with_ignore_case(path: &[u8], prefix: &[u8]) -> bool {
    path.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// `/mcp`, the path of the default endpoint.
impl Default for PathPattern {
    fn default() -> Self {
        Self {
            written: "/mcp".to_owned(),
            form: Form::Exact(b"/mcp".to_vec()),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A host in lower case, without a port and a final dot. An IPv6 address is in brackets, as in the header: `[::1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority(String);

impl Authority {
    /// Takes a host in any case, with or without one final dot, without scheme, port and path.
    ///
    /// # Errors
    ///
    /// What the text must be, in words that follow the field's path.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let host = text.strip_suffix('.').unwrap_or(text);
        let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match address {
            Some(address) => is_made_of(address, |byte| {
                byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
            }),
            None => is_made_of(host, |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
            }),
        };
        if valid {
            Ok(Self(host.to_ascii_lowercase()))
        } else {
            Err("must be an exact host without scheme, port and path (an IPv6 address in brackets)")
        }
    }

    /// The host in lower case, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an `:authority` or `Host` header names this host: in any case, with or without a port and a final dot.
    pub fn matches(&self, header: &[u8]) -> bool {
        let host = without_port(header);
        let host = host.strip_suffix(b".").unwrap_or(host);
        host.eq_ignore_ascii_case(self.0.as_bytes())
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

/// The authority without `:8080`. The colons of an IPv6 address in brackets are no port (RFC 3986, section 3.2.2).
fn without_port(authority: &[u8]) -> &[u8] {
    let past_address = authority.iter().position(|byte| *byte == b']').unwrap_or(0);
    let colon = authority.iter().skip(past_address).position(|byte| *byte == b':');
    colon
        .and_then(|colon| authority.get(..past_address + colon))
        .unwrap_or(authority)
}

#[cfg(test)]
mod tests;
