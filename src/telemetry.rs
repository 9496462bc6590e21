//! Every name under which the filter reports something: metrics, filter state, log events.

mod revision_label;

pub use revision_label::RevisionLabel;

use crate::answer::Reason;
use crate::config::LogSessionId;
use crate::mcp::method::Method;
use crate::session::{EndReason, IdDigest, TrackedId};

/// The beginning of every metric name. Envoy puts `wasmcustom.` before it.
const PREFIX: &str = "mcp_sessions";

/// An event at an endpoint that has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A POST of this method arrived.
    Request(Method),
    /// A POST of this revision arrived.
    Revision(RevisionLabel),
    /// A session was opened.
    Created,
    /// A session was adopted.
    Adopted,
    /// A request passed with a session id that the table does not hold.
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
    /// Open streams.
    Streams,
    /// The cap on open streams; 0 without one.
    StreamsLimit,
}

impl Gauge {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Limit => "limit",
            Self::Streams => "streams",
            Self::StreamsLimit => "streams_limit",
        }
    }
}

/// The name of a counter of `endpoint`.
pub fn counter(endpoint: &str, event: Event) -> String {
    let what = match event {
        Event::Request(method) => format!("requests.method.{}", method.as_str()),
        Event::Revision(revision) => format!("requests.revision.{}", revision.as_str()),
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

/// The name of the histogram of how long streams were open, in milliseconds.
pub fn stream_duration(endpoint: &str) -> String {
    format!("{PREFIX}.endpoint.{endpoint}.stream_duration")
}

/// The name of a gauge of `endpoint`, or of the whole VM.
pub fn gauge(endpoint: Option<&str>, gauge: Gauge) -> String {
    let what = gauge.as_str();
    match endpoint {
        Some(endpoint) => format!("{PREFIX}.endpoint.{endpoint}.{what}"),
        None => format!("{PREFIX}.vm.{what}"),
    }
}

/// The outcome of a DELETE to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The filter sent it. Each session is counted once, however many attempts it takes.
    Sent,
    /// The server has ended the session.
    Ok,
    /// 404: the server does not know the session. If most DELETEs end so, the path is wrong.
    Gone,
    /// 405: the server lets no client end a session.
    Unsupported,
    /// 401 or 403: the server wants a credential.
    Denied,
    /// Any other answer or none, after the last attempt; or Envoy could not send the DELETE.
    Failed,
}

impl Delete {
    /// Every outcome, in the order of the declaration.
    pub const ALL: [Self; 6] = [
        Self::Sent,
        Self::Ok,
        Self::Gone,
        Self::Unsupported,
        Self::Denied,
        Self::Failed,
    ];
}

/// The name of a counter of DELETEs to servers.
pub fn upstream_delete(delete: Delete) -> String {
    let what = match delete {
        Delete::Sent => "sent",
        Delete::Ok => "ok",
        Delete::Gone => "gone",
        Delete::Unsupported => "unsupported",
        Delete::Denied => "denied",
        Delete::Failed => "failed",
    };
    format!("{PREFIX}.upstream_delete.{what}")
}

/// A number of the fleet that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetGauge {
    /// The cap in force.
    Limit,
    /// This gateway's share of it.
    Share,
    /// The sessions and reservations of this gateway.
    Used,
    /// How many gateways have a share.
    Gateways,
    /// 1 while this gateway is lost, else 0.
    Lost,
}

impl FleetGauge {
    /// All of them, in the order of the declaration.
    pub const ALL: [Self; 5] = [Self::Limit, Self::Share, Self::Used, Self::Gateways, Self::Lost];
}

/// The name of a gauge of the fleet.
pub fn fleet_gauge(gauge: FleetGauge) -> String {
    let what = match gauge {
        FleetGauge::Limit => "limit",
        FleetGauge::Share => "share",
        FleetGauge::Used => "used",
        FleetGauge::Gateways => "gateways",
        FleetGauge::Lost => "lost",
    };
    format!("{PREFIX}.fleet.{what}")
}

/// Something that happens between this gateway and its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetEvent {
    /// A place was added to the share.
    Granted,
    /// A place of the share was given back.
    Returned,
    /// Another gateway has written first.
    Conflict,
    /// A call had no answer that etcd would give.
    Failed,
}

impl FleetEvent {
    /// All of them, in the order of the declaration.
    pub const ALL: [Self; 4] = [Self::Granted, Self::Returned, Self::Conflict, Self::Failed];
}

/// The name of a counter of the fleet.
pub fn fleet_counter(event: FleetEvent) -> String {
    let what = match event {
        FleetEvent::Granted => "granted",
        FleetEvent::Returned => "returned",
        FleetEvent::Conflict => "conflicts",
        FleetEvent::Failed => "failed",
    };
    format!("{PREFIX}.fleet.{what}")
}

/// The name of the gauge of the shared table's size in bytes.
pub const TABLE_BYTES: &str = "mcp_sessions.table_bytes";

/// The name of the counter of counts that a fault made wrong and a recount has repaired.
pub const REPAIRED: &str = "mcp_sessions.repaired";

/// The name of the counter of requests that look like MCP, while no endpoint governs them.
pub const UNGOVERNED: &str = "mcp_sessions.ungoverned";

/// A fact about a request that the filter leaves in filter state; Envoy puts `wasm.` before the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// The session's name in logs.
    SessionId(&'a str),
    /// The JSON-RPC method.
    Method(Method),
    /// The tool that `tools/call` calls.
    Tool(&'a str),
    /// The revision of MCP that the request states.
    Version(&'a str),
    /// The endpoint the request belongs to.
    Endpoint(&'a str),
    /// `forwarded`, or why the filter answered itself.
    Outcome(Option<Reason>),
}

impl<'a> Fact<'a> {
    /// The key. It follows OpenTelemetry's conventions for MCP, where they name one.
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
pub struct SessionName(Name);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Off,
    Plain(String),
    Hash([u8; IdDigest::HEX_LEN]),
}

impl SessionName {
    /// The name of the session with this id. Allocates nothing unless ids are shown.
    pub fn of(mode: LogSessionId, id: &TrackedId<'_>) -> Self {
        Self(match mode {
            LogSessionId::Off => Name::Off,
            LogSessionId::Plain => Name::Plain(id.as_text().into_owned()),
            LogSessionId::Hash => Name::Hash(id.digest().to_hex()),
        })
    }

    /// The name of the session with this id. A `digest` from the record saves computing one.
    pub fn new(mode: LogSessionId, id: &str, digest: Option<IdDigest>) -> Self {
        Self(match mode {
            LogSessionId::Off => Name::Off,
            // A record does not keep a very long id.
            LogSessionId::Plain if !id.is_empty() => Name::Plain(id.to_owned()),
            LogSessionId::Plain | LogSessionId::Hash => {
                Name::Hash(digest.unwrap_or_else(|| IdDigest::of(id.as_bytes())).to_hex())
            }
        })
    }

    /// The name; `None` where logs must not show one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Name::Off => None,
            Name::Plain(id) => Some(id),
            Name::Hash(digits) => str::from_utf8(digits).ok(),
        }
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
