//! Every name under which the filter reports something: metrics, filter state, log events.

use crate::answer::Reason;
use crate::config::LogSessionId;
use crate::mcp::method::Method;
use crate::session::{EndReason, IdDigest};

/// What every metric name begins with. Envoy puts `wasmcustom.` before it.
const PREFIX: &str = "mcp_sessions";

/// Something that happened at an endpoint and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A POST of this method arrived.
    Request(Method),
    /// A session was opened.
    Created,
    /// A session was adopted.
    Adopted,
    /// A session passed that the table does not hold.
    Untracked,
    /// The filter answered a request itself.
    Rejected(Reason),
}

/// A number that goes up and down, for one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Sessions alive.
    Active,
    /// Initializations in flight.
    Reserved,
    /// The cap.
    Limit,
    /// Open GET streams.
    Streams,
}

impl Gauge {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Limit => "limit",
            Self::Streams => "streams",
        }
    }
}

/// The name of a counter of `endpoint`.
pub fn counter(endpoint: &str, event: Event) -> String {
    let what = match event {
        Event::Request(method) => format!("requests.method.{}", method.as_str()),
        Event::Created => "created".to_owned(),
        Event::Adopted => "adopted".to_owned(),
        Event::Untracked => "untracked".to_owned(),
        Event::Rejected(reason) => format!("rejected.reason.{}", reason.as_str()),
    };
    format!("{PREFIX}.endpoint.{endpoint}.{what}")
}

/// The name of the counter of sessions that ended for `reason`.
pub fn ended(endpoint: &str, reason: EndReason) -> String {
    format!("{PREFIX}.endpoint.{endpoint}.ended.reason.{}", reason.as_str())
}

/// The name of the histogram of how long sessions lived, in milliseconds.
pub fn duration(endpoint: &str) -> String {
    format!("{PREFIX}.endpoint.{endpoint}.duration")
}

/// The name of a gauge of `endpoint`, or of the whole VM.
pub fn gauge(endpoint: Option<&str>, gauge: Gauge) -> String {
    let what = gauge.as_str();
    match endpoint {
        Some(endpoint) => format!("{PREFIX}.endpoint.{endpoint}.{what}"),
        None => format!("{PREFIX}.vm.{what}"),
    }
}

/// What has become of a DELETE to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// It was sent.
    Sent,
    /// The session is gone at the server.
    Ok,
    /// It is not, as far as anyone knows; or the DELETE could not be sent at all.
    Failed,
    /// The same, because the server wants a credential.
    Denied,
}

impl Delete {
    /// Every outcome, each at its place in the declaration.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Ok, Self::Failed, Self::Denied];
}

/// The name of a counter of DELETEs to servers.
pub fn upstream_delete(delete: Delete) -> String {
    let what = match delete {
        Delete::Sent => "sent",
        Delete::Ok => "ok",
        Delete::Failed => "failed",
        Delete::Denied => "denied",
    };
    format!("{PREFIX}.upstream_delete.{what}")
}

/// The name of the gauge of the shared table's size in bytes.
pub const TABLE_BYTES: &str = "mcp_sessions.table_bytes";

/// The name of the counter of counts that were wrong after a fault and have been put right.
pub const REPAIRED: &str = "mcp_sessions.repaired";

/// The name of the counter of requests that look like MCP and that no endpoint governs.
pub const UNGOVERNED: &str = "mcp_sessions.ungoverned";

/// A fact about a request that is left in filter state; Envoy puts `wasm.` before the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// How the session is named in logs.
    SessionId(&'a str),
    /// The JSON-RPC method.
    Method(Method),
    /// The tool that `tools/call` calls.
    Tool(&'a str),
    /// The revision of MCP the request states.
    Version(&'a str),
    /// The endpoint the request belongs to.
    Endpoint(&'a str),
    /// `forwarded`, or why the filter answered itself.
    Outcome(Option<Reason>),
}

impl<'a> Fact<'a> {
    /// The key, after OpenTelemetry's conventions for MCP where they name one.
    pub fn key(&self) -> &'static str {
        match self {
            Self::SessionId(_) => "mcp.session.id",
            Self::Method(_) => "mcp.method.name",
            Self::Tool(_) => "gen_ai.tool.name",
            Self::Version(_) => "mcp.protocol.version",
            Self::Endpoint(_) => "mcp.endpoint",
            Self::Outcome(_) => "mcp.outcome",
        }
    }

    /// The value.
    pub fn value(&self) -> &'a str {
        match self {
            Self::SessionId(text) | Self::Tool(text) | Self::Version(text) | Self::Endpoint(text) => text,
            Self::Method(method) => method.as_str(),
            Self::Outcome(None) => "forwarded",
            Self::Outcome(Some(reason)) => reason.as_str(),
        }
    }
}

/// A session's name in logs and access logs, as `log_session_id` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionName(Option<String>);

impl SessionName {
    /// The name of the session with this id. `digest` saves computing it where a record has it.
    pub fn new(mode: LogSessionId, id: &str, digest: Option<IdDigest>) -> Self {
        Self(match mode {
            LogSessionId::Off => None,
            LogSessionId::Plain => Some(id.to_owned()),
            LogSessionId::Hash => Some(digest.unwrap_or_else(|| IdDigest::of(id.as_bytes())).to_hex()),
        })
    }

    /// The name, or `None` where none is to be shown.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_beginning_of_the_sha_256_so_that_an_operator_can_find_an_id() {
        let name = SessionName::new(LogSessionId::Hash, "abc", None);
        // `printf abc | sha256sum | cut -c1-16`
        assert_eq!(name.as_str(), Some("ba7816bf8f01cfea"));
        assert_eq!(
            SessionName::new(LogSessionId::Hash, "abc", Some(IdDigest::of(b"abc"))),
            name
        );
    }

    #[test]
    fn plain_shows_the_id_and_off_shows_nothing() {
        assert_eq!(
            SessionName::new(LogSessionId::Plain, "abc", None).as_str(),
            Some("abc")
        );
        assert_eq!(SessionName::new(LogSessionId::Off, "abc", None).as_str(), None);
    }
}
