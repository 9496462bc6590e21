use crate::config::Config;
use crate::mcp::mirror::Mirror;
use crate::mcp::revision::Revision;
use crate::mcp::session_id::PresentedId;
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
    pub session_id: PresentedId<'a>,
    /// `MCP-Protocol-Version`, where it comes once and is a date.
    pub revision: Option<Revision>,
    /// Whether `MCP-Protocol-Version` is there, whatever it says.
    pub states_version: bool,
    /// `Mcp-Method`, which requests of 2026-07-28 carry.
    pub rpc_method: Mirror<&'a [u8]>,
    /// `Mcp-Name`, which some of them carry, too.
    pub rpc_name: Mirror<&'a [u8]>,
    /// Whether `Accept-Encoding` is there.
    pub accepts_encodings: bool,
    /// Whether a body follows.
    pub has_body: bool,
    /// Who sent it, as far as the host knows.
    pub caller: Option<&'a dyn Caller>,
}

impl<'a> RequestHead<'a> {
    /// Reads the head from all header fields, names in lower case as Envoy has them.
    pub fn new(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>, has_body: bool) -> Self {
        let mut head = Self {
            method: b"",
            authority: b"",
            path: b"",
            session_id: PresentedId::Absent,
            revision: None,
            states_version: false,
            rpc_method: Mirror::Absent,
            rpc_name: Mirror::Absent,
            accepts_encodings: false,
            has_body,
            caller: None,
        };
        let mut versions = 0;
        for (name, value) in fields {
            match name {
                b":method" => head.method = value,
                b":authority" => head.authority = value,
                b":path" => head.path = value,
                b"mcp-session-id" => head.session_id = head.session_id.joined_by(value),
                b"mcp-protocol-version" => {
                    versions += 1;
                    head.revision = Revision::parse(value);
                }
                b"accept-encoding" => head.accepts_encodings = true,
                b"mcp-method" => head.rpc_method = head.rpc_method.joined_by(value),
                b"mcp-name" => head.rpc_name = head.rpc_name.joined_by(value),
                _ => {}
            }
        }
        head.states_version = versions > 0;
        // Of two versions the server may believe either: such a request is governed like any other.
        if versions > 1 {
            head.revision = None;
        }
        head
    }

    /// Whether the request has a header that only clients of MCP send.
    fn looks_like_mcp(&self) -> bool {
        self.session_id != PresentedId::Absent || self.states_version
    }

    /// Whether the request looks like one of MCP though no endpoint governs it and the status view does not answer it:
    /// a sign that a path goes around the filter. `endpoint` is what [`Config::endpoint_for`] says.
    pub fn is_ungoverned(&self, config: &Config, endpoint: Option<usize>) -> bool {
        let is_status = config
            .status
            .as_ref()
            .is_some_and(|status| status.matches(self.path));
        endpoint.is_none() && self.looks_like_mcp() && !is_status
    }

    /// `Mcp-Name`, where it is plain text and not encoded.
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
    pub session_id: PresentedId<'a>,
}

impl<'a> ResponseHead<'a> {
    /// Reads the head from all header fields.
    pub fn new(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut head = Self {
            status: 0,
            session_id: PresentedId::Absent,
        };
        for (name, value) in fields {
            match name {
                b":status" => head.status = parse_status(value),
                b"mcp-session-id" => head.session_id = head.session_id.joined_by(value),
                _ => {}
            }
        }
        head
    }

    /// The head of an answer of which only the status is of interest.
    pub fn of_status(value: &[u8]) -> Self {
        Self {
            status: parse_status(value),
            session_id: PresentedId::Absent,
        }
    }

    /// Whether the server accepted the request.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A header value that stands for itself; others are Base64 between `=?base64?` and `?=`.
fn plain_text(value: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(value).ok()?;
    (!text.starts_with("=?")).then_some(text)
}

fn parse_status(value: &[u8]) -> u16 {
    core::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
