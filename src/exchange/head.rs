use crate::config::Config;
use crate::mcp::occurs::Occurs;
use crate::mcp::revision::{Era, Revision};
use crate::principal::Caller;

/// The header fields of a request that matter, read in one pass.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:authority`.
    pub authority: &'a [u8],
    /// `:path`, with its query.
    pub path: &'a [u8],
    /// `Mcp-Session-Id`.
    pub session_id: Occurs<&'a [u8]>,
    /// `MCP-Protocol-Version`, if it comes once and is a date.
    pub revision: Option<Revision>,
    /// A revision without sessions that a line of `MCP-Protocol-Version` states, even if there are other lines: a
    /// server may believe any.
    pub modern: Option<Revision>,
    /// Whether `MCP-Protocol-Version` is present, with any value.
    pub states_version: bool,
    /// `Mcp-Method`, which requests of 2026-07-28 carry.
    pub rpc_method: Occurs<&'a [u8]>,
    /// `Mcp-Name`, which some of them also carry.
    pub rpc_name: Occurs<&'a [u8]>,
    /// `Content-Type`.
    pub content_type: Occurs<&'a [u8]>,
    /// `Accept`.
    pub accept: Occurs<&'a [u8]>,
    /// Whether any line of `Content-Type` names `application/json`.
    pub is_json: bool,
    /// Whether `Accept-Encoding` is present.
    pub accepts_encodings: bool,
    /// Whether a body follows.
    pub has_body: bool,
    /// The sender, as far as the host knows.
    pub caller: Option<&'a dyn Caller>,
}

impl<'a> RequestHead<'a> {
    /// Reads the head from all header fields, names in lower case as Envoy has them.
    pub fn new(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>, has_body: bool) -> Self {
        let mut head = Self {
            method: b"",
            authority: b"",
            path: b"",
            session_id: Occurs::Absent,
            revision: None,
            modern: None,
            states_version: false,
            rpc_method: Occurs::Absent,
            rpc_name: Occurs::Absent,
            content_type: Occurs::Absent,
            accept: Occurs::Absent,
            is_json: false,
            accepts_encodings: false,
            has_body,
            caller: None,
        };
        let mut versions = 0;
        for (name, value) in fields {
            // Most fields matter to no one here, and a name's first byte tells them apart.
            match name {
                [b':', ..] => head.take_pseudo_header(name, value),
                b"mcp-protocol-version" => {
                    versions += 1;
                    head.revision = Revision::parse(value);
                    let modern = head.revision.filter(|revision| revision.era() == Era::Modern);
                    head.modern = head.modern.or(modern);
                }
                [b'm', ..] => head.take_mcp_header(name, value),
                [b'a' | b'c', ..] => head.take_content_header(name, value),
                _ => {}
            }
        }
        head.states_version = versions > 0;
        // With two versions, the server may believe either, so the filter governs such a request like any other.
        if versions > 1 {
            head.revision = None;
        }
        head
    }

    fn take_pseudo_header(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b":method" => self.method = value,
            b":authority" => self.authority = value,
            b":path" => self.path = value,
            _ => {}
        }
    }

    fn take_mcp_header(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"mcp-session-id" => self.session_id = self.session_id.and(value),
            b"mcp-method" => self.rpc_method = self.rpc_method.and(value),
            b"mcp-name" => self.rpc_name = self.rpc_name.and(value),
            _ => {}
        }
    }

    fn take_content_header(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"content-type" => {
                self.content_type = self.content_type.and(value);
                self.is_json |= names_media_type(value, b"application/json");
            }
            b"accept" => self.accept = self.accept.and(value),
            b"accept-encoding" => self.accepts_encodings = true,
            _ => {}
        }
    }

    /// Whether the request has a header that only MCP clients send.
    fn looks_like_mcp(&self) -> bool {
        !self.session_id.is_absent() || self.states_version
    }

    /// Whether the request looks like MCP, while neither an endpoint nor the status view takes it: a sign that a path
    /// goes around the filter. `endpoint` is the result of [`Config::endpoint_for`].
    pub fn is_ungoverned(&self, config: &Config, endpoint: Option<usize>) -> bool {
        let is_status = config
            .status
            .as_ref()
            .is_some_and(|status| status.matches(self.path));
        endpoint.is_none() && self.looks_like_mcp() && !is_status
    }

    /// `Mcp-Name`, if it is plain text and not encoded.
    pub fn plain_name(&self) -> Option<&'a str> {
        plain_text(self.rpc_name.one()?)
    }

    /// The head, sent by `caller`.
    #[must_use]
    pub fn from_caller(self, caller: &'a dyn Caller) -> Self {
        Self {
            caller: Some(caller),
            ..self
        }
    }
}

/// The header fields of an answer that matter.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// `:status`; 0 if it is no number.
    pub status: u16,
    /// `Mcp-Session-Id`.
    pub session_id: Occurs<&'a [u8]>,
    /// Whether the body is an event stream.
    pub is_event_stream: bool,
    /// Whether the body is compressed, or encoded in any other way (RFC 9110, section 8.4).
    pub is_encoded: bool,
    /// `Content-Length`, the greatest if there are several, in bytes. `None` if absent; `u64::MAX` if it is no number.
    pub content_length: Option<u64>,
}

impl<'a> ResponseHead<'a> {
    /// Reads the head from all header fields.
    pub fn new(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut head = Self {
            status: 0,
            session_id: Occurs::Absent,
            is_event_stream: false,
            is_encoded: false,
            content_length: None,
        };
        for (name, value) in fields {
            match name {
                b":status" => head.status = parse_status(value),
                b"mcp-session-id" => head.session_id = head.session_id.and(value),
                b"content-type" => head.is_event_stream |= names_media_type(value, b"text/event-stream"),
                b"content-encoding" => head.is_encoded |= !is_identity(value),
                b"content-length" => head.content_length = head.content_length.max(Some(parse_length(value))),
                _ => {}
            }
        }
        head
    }

    /// Whether the server accepted the request.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A header value in plain text. Encoded values are Base64 between `=?base64?` and `?=`.
fn plain_text(value: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(value).ok()?;
    (!text.starts_with("=?")).then_some(text)
}

/// Whether a `Content-Type` names the media type, in any case and with any parameters. If a proxy has joined several
/// values, each is checked: servers differ in which one they take.
pub fn names_media_type(value: &[u8], media_type: &[u8]) -> bool {
    // What nearly all clients and servers write.
    if value.len() <= media_type.len() {
        return value.eq_ignore_ascii_case(media_type);
    }
    value.split(|byte| *byte == b',').any(|one| {
        let name = one.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(media_type)
    })
}

/// Whether a `Content-Encoding` leaves the body as it is.
fn is_identity(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').all(|one| {
        let coding = one.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    })
}

/// A length in bytes; `u64::MAX` if it is no number.
fn parse_length(value: &[u8]) -> u64 {
    core::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(u64::MAX)
}

/// The status as a number; 0 if it is none.
pub fn parse_status(value: &[u8]) -> u16 {
    core::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
