//! Reads the top level of a configuration.

mod endpoint;
mod fleet;
mod lost_session;
mod own_request;
mod principal;
mod streams;
mod terminate_upstream;

use crate::endpoint::Endpoint;
use std::rc::Rc;

use super::bounds::{ENDPOINTS, SESSIONS, SWEEP_INTERVAL};
use super::located::{Located, one_of};
use super::object::Object;
use super::overlaps::{Overlaps, Requests};
use super::{Config, DEFAULT_VM_CAP, FilterState, LogSessionId, StatusPath};

const LOG_SESSION_ID: [(&str, LogSessionId); 3] = [
    ("hash", LogSessionId::Hash),
    ("plain", LogSessionId::Plain),
    ("off", LogSessionId::Off),
];

/// Reads the fields, with defaults for missing and wrong ones. The result counts only if no mistake was noted.
pub(super) fn config(root: &Located<'_>) -> Config {
    let mut config = Config::default();
    let Some(object) = Object::of(root) else {
        return config;
    };
    let mut overlaps = Overlaps::default();
    object.set("max_sessions", &mut config.max_sessions, |at| {
        at.whole_number(SESSIONS).map(Some)
    });
    let vm = VmCap(config.max_sessions);
    config.endpoints = match object.get("endpoints") {
        Some(at) => endpoints(at, vm, &mut overlaps),
        None => Vec::new(),
    };
    object.set("sweep_interval", &mut config.sweep_interval, |at| {
        at.duration(SWEEP_INTERVAL)
    });
    object.set("log_session_id", &mut config.log_session_id, |at| {
        at.choice(&LOG_SESSION_ID)
    });
    object.set("filter_state", &mut config.filter_state, filter_state);
    config.status = object.get("status").and_then(|at| status(at, &mut overlaps));
    config.fleet = object.get("fleet").and_then(fleet::fleet);
    if object.get("endpoints").or_else(|| object.get("status")).is_none() {
        config.endpoints = vec![Rc::new(default_endpoint(vm))];
    }
    object.finish();
    config
}

/// The VM's cap, if the operator wrote it. Two limits are compared only if both were written.
#[derive(Clone, Copy)]
struct VmCap(Option<u32>);

impl VmCap {
    /// The cap of an endpoint that writes none.
    fn or_default(self) -> u32 {
        self.0.unwrap_or(DEFAULT_VM_CAP)
    }
}

fn endpoints(at: &Located<'_>, vm: VmCap, overlaps: &mut Overlaps) -> Vec<Rc<Endpoint>> {
    let Some(items) = at.items() else {
        return Vec::new();
    };
    if !ENDPOINTS.contains(&items.len()) {
        let (least, most) = (ENDPOINTS.start(), ENDPOINTS.end());
        at.refuse(format!(
            "must have {least} to {most} entries, got {}",
            items.len()
        ));
    }
    items
        .iter()
        .take(*ENDPOINTS.end())
        .map(|item| Rc::new(endpoint::endpoint(item, vm, overlaps)))
        .collect()
}

fn default_endpoint(vm: VmCap) -> Endpoint {
    Endpoint {
        max_sessions: vm.or_default(),
        ..Endpoint::default()
    }
}

/// Accepts names with and without `wasm.`, the prefix under which Envoy keeps a Wasm filter's state.
fn filter_state(at: &Located<'_>) -> Option<FilterState> {
    let mut state = FilterState::NONE;
    for item in at.items()? {
        let written = item.as_text();
        let name = written.map(|name| name.strip_prefix("wasm.").unwrap_or(name));
        let name = if name == Some(OLD_TOOL_NAME) {
            item.warn("\"mcp.tool.name\" is the old name of \"gen_ai.tool.name\"; the filter leaves the new one only");
            Some(TOOL_NAME)
        } else {
            name
        };
        match FILTER_STATE.iter().find(|(known, _)| Some(*known) == name) {
            Some((_, turn_on)) => turn_on(&mut state),
            None => item.refuse_value(format_args!(
                "must be {}",
                one_of(FILTER_STATE.iter().map(|(name, _)| *name))
            )),
        }
    }
    Some(state)
}

type TurnOn = fn(&mut FilterState);

/// OpenTelemetry's name of a tool, and its name in version 0.1.0.
const TOOL_NAME: &str = "gen_ai.tool.name";
const OLD_TOOL_NAME: &str = "mcp.tool.name";

const FILTER_STATE: [(&str, TurnOn); 6] = [
    ("mcp.session.id", |state| state.session_id = true),
    ("mcp.method.name", |state| state.method_name = true),
    (TOOL_NAME, |state| state.tool_name = true),
    ("mcp.protocol.version", |state| state.protocol_version = true),
    ("mcp.endpoint", |state| state.endpoint = true),
    ("mcp.outcome", |state| state.outcome = true),
];

fn status(at: &Located<'_>, overlaps: &mut Overlaps) -> Option<StatusPath> {
    let object = Object::of(at)?;
    object.require(&["path"]);
    let path = object.get("path").and_then(|at| {
        let path = at.parsed(StatusPath::parse)?;
        overlaps.requests(
            at,
            Requests {
                authority: None,
                path: path.0.clone(),
            },
        );
        Some(path)
    });
    object.finish();
    path
}

/// A header's name in lower case (RFC 9110, section 5.6.2).
fn header_name(text: &str) -> Result<String, &'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(token) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be the name of a header")
    }
}
