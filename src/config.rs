//! The filter's configuration: from the bytes Envoy hands over to a [`Config`] that is valid by construction.
//!
//! ```text
//! bytes --json--> Json --read--> Config      mistakes are noted on the way and
//!                        |                   all reported at once
//!                        +--> Mistakes --> ConfigError
//! ```
//!
//! [`Endpoint::default`] and [`Config::default`] hold every default, `bounds` every range.

mod bounds;

mod duration;
mod json;
mod located;
mod mistakes;
mod nearest;
mod object;
mod overlaps;
mod protobuf;
mod read;
mod source;

use core::time::Duration;
use std::rc::Rc;

pub use mistakes::{ConfigError, Mistake};

use crate::endpoint::{self, Endpoint, PathPattern};
use crate::fleet;
use located::Located;
use mistakes::Mistakes;

/// Everything the operator decides. [`Config::default`] is what an empty configuration means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Cap on live sessions plus initializations in flight of the whole VM, 1 to 1,000,000. `None` if the field was
    /// not written: then the other configurations of the VM set the cap ([`Config::vm_cap`]).
    pub max_sessions: Option<u32>,
    /// The MCP endpoints governed, 1 to 64. Every other request passes untouched. A configuration that writes `status`
    /// and no `endpoints` governs none.
    pub endpoints: Vec<Rc<Endpoint>>,
    /// Time between two searches for expired sessions, 100ms to 60s.
    pub sweep_interval: Duration,
    /// How a session id appears in logs and access logs.
    pub log_session_id: LogSessionId,
    /// The facts that the filter leaves for access logs, RBAC and routing.
    pub filter_state: FilterState,
    /// The path of the status view; `None` turns it off.
    pub status: Option<StatusPath>,
    /// The fleet with which this gateway shares a cap; `None` without.
    pub fleet: Option<fleet::Settings>,
    /// Warnings for the log at load, a line each: the value is accepted, but the operator should change it.
    pub warnings: Vec<String>,
}

/// The VM's cap where no configuration writes one.
pub const DEFAULT_VM_CAP: u32 = 10_000;

impl Config {
    /// Reads JSON text or a serialised `google.protobuf.Struct`. Empty bytes or white space alone give the default.
    ///
    /// # Errors
    ///
    /// Names all mistakes, each with its path, what was wrong and what is allowed.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let json = source::read(bytes).map_err(ConfigError::unreadable)?;
        let mistakes = Mistakes::default();
        let config = read::config(&Located::root(&json, &mistakes));
        let (result, warnings) = mistakes.into_result();
        result.map(|()| Self { warnings, ..config })
    }

    /// The VM's cap by this configuration alone: the written value, or else the default.
    pub fn vm_cap(&self) -> u32 {
        self.max_sessions.unwrap_or(DEFAULT_VM_CAP)
    }

    /// The endpoint that governs a request, as an index of `endpoints`. Takes the `:authority` and `:path` headers as
    /// they came, port and query included. Allocates nothing.
    pub fn endpoint_for(&self, authority: &[u8], path: &[u8]) -> Option<usize> {
        endpoint::find(&self.endpoints, authority, path)
    }

    /// The configuration in a few `key=value` words for the log line at start-up; no secrets.
    pub fn summary(&self) -> String {
        let mut endpoints: Vec<&str> = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.name.as_str())
            .collect();
        if endpoints.is_empty() {
            endpoints.push("-");
        }
        format!(
            "max_sessions={} endpoints={} sweep_interval={} log_session_id={} filter_state={} status={} fleet={}",
            self.vm_cap(),
            endpoints.join(","),
            duration::Words(self.sweep_interval),
            self.log_session_id.as_str(),
            self.filter_state.count(),
            self.status.as_ref().map_or("off", StatusPath::as_str),
            self.fleet.as_ref().map_or("off", |fleet| fleet.name.as_str()),
        )
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_sessions: None,
            endpoints: vec![Rc::default()],
            sweep_interval: Duration::from_secs(1),
            log_session_id: LogSessionId::Hash,
            filter_state: FilterState::default(),
            status: None,
            fleet: None,
            warnings: Vec::new(),
        }
    }
}

/// How a session id appears in logs and access logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSessionId {
    /// The first 16 hex digits of the SHA-256 of the id. An operator who knows an id can find it in the logs.
    Hash,
    /// The id itself. Every reader of the log can then take the session over.
    Plain,
    /// Not at all.
    Off,
}

impl LogSessionId {
    /// The configuration's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Plain => "plain",
            Self::Off => "off",
        }
    }
}

/// The facts that the filter leaves in the filter state; each costs a host call. The default is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterState {
    /// `mcp.session.id`, as `log_session_id` says.
    pub session_id: bool,
    /// `mcp.method.name`
    pub method_name: bool,
    /// `gen_ai.tool.name`
    pub tool_name: bool,
    /// `mcp.protocol.version`
    pub protocol_version: bool,
    /// `mcp.endpoint`
    pub endpoint: bool,
    /// `mcp.outcome`
    pub outcome: bool,
}

impl FilterState {
    /// Leaves nothing.
    pub(crate) const NONE: Self = Self::uniform(false);

    const fn uniform(on: bool) -> Self {
        Self {
            session_id: on,
            method_name: on,
            tool_name: on,
            protocol_version: on,
            endpoint: on,
            outcome: on,
        }
    }

    fn count(self) -> usize {
        let Self {
            session_id,
            method_name,
            tool_name,
            protocol_version,
            endpoint,
            outcome,
        } = self;
        let all = [
            session_id,
            method_name,
            tool_name,
            protocol_version,
            endpoint,
            outcome,
        ];
        all.into_iter().filter(|on| *on).count()
    }
}

impl Default for FilterState {
    fn default() -> Self {
        Self::uniform(true)
    }
}

/// The one path of the status view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPath(PathPattern);

impl StatusPath {
    /// Takes one path without query and fragment.
    ///
    /// # Errors
    ///
    /// What the text must be, in words that follow the field's path.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let path = PathPattern::parse(text)?;
        if path.is_exact() {
            Ok(Self(path))
        } else {
            Err("must be one exact path")
        }
    }

    /// The path as written in the configuration.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether a `:path` header names this path. Compares bytes, without the query.
    pub fn matches(&self, path: &[u8]) -> bool {
        endpoint::without_query(path) == self.as_str().as_bytes()
    }
}

/// For the tests of the readers: one endpoint `mcp` at `/mcp` with further fields.
#[cfg(test)]
mod testing {
    use std::rc::Rc;

    use super::{Config, ConfigError, Endpoint, Mistake};

    fn parse_with(fields: &str) -> Result<Config, ConfigError> {
        let comma = if fields.is_empty() { "" } else { ", " };
        let text = format!(r#"{{"endpoints": [{{"name": "mcp", "path": "/mcp"{comma}{fields}}}]}}"#);
        Config::parse(text.as_bytes())
    }

    pub(super) fn endpoint_with(fields: &str) -> Rc<Endpoint> {
        parse_with(fields).unwrap().endpoints.remove(0)
    }

    pub(super) fn mistakes_with(fields: &str) -> Vec<String> {
        parse_with(fields)
            .unwrap_err()
            .mistakes()
            .iter()
            .map(Mistake::to_string)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        Config::parse(text.as_bytes())
            .unwrap_err()
            .mistakes()
            .iter()
            .map(Mistake::to_string)
            .collect()
    }

    #[test]
    fn reads_the_path_of_the_status_view() {
        let config = Config::parse(br#"{"status": {"path": "/mcp-sessions"}}"#).unwrap();
        let status = config.status.unwrap();
        assert!(status.matches(b"/mcp-sessions") && !status.matches(b"/mcp-sessions/"));
    }

    #[test]
    fn says_what_is_wrong_with_the_status_view() {
        let cases = [
            (r#"{"status": {}}"#, "status.path: required"),
            (
                r#"{"status": {"path": "/s/*"}}"#,
                "status.path: must be one exact path, got \"/s/*\"",
            ),
            (
                r#"{"status": {"path": "/s", "port": 1}}"#,
                "status.port: unknown field, must be \"path\"",
            ),
            (
                r#"{"status": {"paht": "/s"}}"#,
                "status.path: required; status.paht: unknown field, must be \"path\"",
            ),
            (
                r#"{"status": {"path": "s"}}"#,
                "status.path: must begin with \"/\", got \"s\"",
            ),
            (
                r#"{"status": {"path": "/s?a=b"}}"#,
                "status.path: must be a path without query and fragment, got \"/s?a=b\"",
            ),
            (r#"{"status": "/s"}"#, "status: must be an object, got a string"),
            (
                r#"{"status": {"path": "/a/S"}, "endpoints": [{"name": "a", "path": "/a/s/"}]}"#,
                "status.path: overlaps endpoints[0].path",
            ),
        ];
        for (text, mistake) in cases {
            assert_eq!(mistakes(text).join("; "), mistake);
        }
    }

    #[test]
    fn a_status_view_without_endpoints_governs_none() {
        let config = Config::parse(br#"{"status": {"path": "/mcp"}}"#).unwrap();
        assert_eq!((config.endpoints.len(), config.max_sessions), (0, None));
        assert_eq!(config.endpoint_for(b"a", b"/mcp"), None);
        assert!(config.summary().contains("endpoints=- "), "{}", config.summary());
    }

    #[test]
    fn an_endpoint_with_an_authority_leaves_the_status_view_alone() {
        let text = r#"{"status": {"path": "/a"}, "endpoints": [{"name": "a", "path": "/a", "authority": "a.example"}]}"#;
        assert!(Config::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn sums_up_in_words() {
        let text = r#"{"max_sessions": 5, "sweep_interval": "250ms", "log_session_id": "off", "filter_state": [],
                       "status": {"path": "/s"}, "endpoints": [{"name": "a", "path": "/a"}, {"name": "b", "path": "/b"}]}"#;
        assert_eq!(
            Config::parse(text.as_bytes()).unwrap().summary(),
            "max_sessions=5 endpoints=a,b sweep_interval=250ms log_session_id=off filter_state=0 status=/s fleet=off"
        );
        assert_eq!(
            Config::default().summary(),
            "max_sessions=10000 endpoints=mcp sweep_interval=1s log_session_id=hash filter_state=6 status=off fleet=off"
        );
    }
}
