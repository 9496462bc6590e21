//! The choices that an endpoint offers to the operator.

use core::fmt;
use core::time::Duration;

use super::matching::PathPattern;

/// Which of MCP's HTTP transports an endpoint speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// MCP 2025-03-26 and later: one path for everything.
    StreamableHttp,
    /// MCP 2024-11-05: a GET for events, POSTs to a second path.
    HttpSse {
        /// The path of the POSTs.
        message_path: PathPattern,
    },
}

/// What happens to a session id that the table does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownSession {
    /// The id passes. The filter tracks it once the server has answered 2xx.
    Adopt,
    /// The filter answers 404.
    Reject,
}

/// What happens to requests of a kind that some servers keep a session for, though they refuse the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassOrReject {
    /// They pass.
    Pass,
    /// The filter answers them.
    Reject,
}

/// What happens to a newcomer at a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// The filter refuses the newcomer.
    Reject,
    /// The filter ends the session that has been idle longest. It refuses the newcomer only if all sessions are in
    /// use.
    EvictIdle,
}

/// Whether a POST without a session is judged at its headers or at its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// At its headers: the filter holds nothing, and cannot echo the JSON-RPC id.
    Headers,
    /// At its JSON-RPC message: the filter holds the body until it has read the message.
    Body,
}

/// The status of a refusal at the VM's or the endpoint's cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapacityStatus {
    /// 429
    TooManyRequests,
    /// 503, for a front tier that retries at another gateway.
    ServiceUnavailable,
}

/// A source of the caller's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalSource {
    /// A request header, its name in lower case.
    Header(String),
    /// These claims, at least one, in this order, of the payload that `jwt_authn` verified.
    JwtClaims(Vec<String>),
    /// The identity in the client's verified certificate.
    MtlsPeer,
    /// The client's address without its port.
    SourceAddress,
}

/// How the filter tells the server that it ended a session: it sends a DELETE of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct TerminateUpstream {
    /// The Envoy cluster that gets the DELETE.
    pub cluster: String,
    /// The DELETE's `:authority`.
    pub authority: String,
    /// The DELETE's `:path`; `None` means the path of the session's `initialize`.
    pub path: Option<String>,
    /// How long the filter waits for an answer, 1s to 720h; 5s by default.
    pub timeout: Duration,
    /// Further headers, names in lower case. They may hold credentials and must not be logged.
    pub headers: Vec<(String, String)>,
}

/// Prints no header values: they may hold credentials.
impl fmt::Debug for TerminateUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("TerminateUpstream")
            .field("cluster", &self.cluster)
            .field("authority", &self.authority)
            .field("path", &self.path)
            .field("timeout", &self.timeout)
            .field("headers", &names)
            .finish()
    }
}
