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
        /// Where the POSTs go.
        message_path: PathPattern,
    },
}

/// What happens to a session id that the table does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownSession {
    /// It passes, and is tracked once the server has answered 2xx.
    Adopt,
    /// It is answered 404.
    Reject,
}

/// What happens to a newcomer at a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// The newcomer is refused.
    Reject,
    /// The session that has been idle longest ends; the newcomer is refused only if all are in use.
    EvictIdle,
}

/// Where a POST without a session is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// At its headers: nothing is held, and no JSON-RPC id can be echoed.
    Headers,
    /// At its JSON-RPC message, which is held until it is read.
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

/// A place where the caller's identity may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalSource {
    /// A request header, its name in lower case.
    Header(String),
    /// These claims, in this order, of the payload that `jwt_authn` verified; at least one.
    JwtClaims(Vec<String>),
    /// The identity in the client's verified certificate.
    MtlsPeer,
    /// The client's address without its port.
    SourceAddress,
}

/// How the server hears that the filter ended a session: a DELETE of the filter's own.
#[derive(Clone, PartialEq, Eq)]
pub struct TerminateUpstream {
    /// The Envoy cluster it goes to.
    pub cluster: String,
    /// Its `:authority`.
    pub authority: String,
    /// Its `:path`; `None` is the path of the session's `initialize`.
    pub path: Option<String>,
    /// How long an answer is waited for, 1s to 720h; 5s by default.
    pub timeout: Duration,
    /// Further headers, names in lower case. They may hold credentials and must not be logged.
    pub headers: Vec<(String, String)>,
}

/// Leaves the headers' values out.
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
