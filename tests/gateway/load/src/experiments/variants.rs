//! What stands before the router: nothing, a filter that does nothing, ours, or Envoy's own.

use std::net::SocketAddr;

use gateway::setup::{self, connection_manager};
use gateway::{Setup, envoy};
use serde_json::{Value, json};

use crate::{Fallible, Target};

/// A listener of its own, all in one Envoy.
pub struct Variant {
    pub name: &'static str,
    pub label: &'static str,
    pub ours: bool,
    /// What gets the same requests without a filter.
    pub baseline: &'static str,
    /// The filter; none is a listener with the router alone.
    filter: Option<Value>,
}

/// No filter: what the others are compared with.
pub const NONE: &str = "none";
/// A filter that does nothing.
pub const EMPTY: &str = "empty";
/// Ours, leaving no filter state.
pub const QUIET: &str = "filter_state_none";
/// Ours, with its defaults: every key of filter state.
pub const DEFAULTS: &str = "defaults";
/// The same two, without callbacks for bodies (`envoy/lean/capabilities.yaml`).
pub const LEAN_QUIET: &str = "lean_filter_state_none";
/// See [`LEAN_QUIET`].
pub const LEAN_DEFAULTS: &str = "lean_defaults";
/// Release 0.1.0, leaving no filter state: what [`QUIET`] has gained since, whatever the machine is.
pub const RELEASE_0_1_0: &str = "release_0_1_0";
/// Ours as the YAML ships it.
pub const BODY: &str = "admission_body";
/// No filter, for requests that are none of MCP: what [`UNGOVERNED`] is compared with.
pub const FOREIGN: &str = "foreign";
/// Ours, with its defaults, for requests that are none of MCP, to a path that no endpoint governs.
pub const UNGOVERNED: &str = "ungoverned";
/// The same, without callbacks for bodies.
pub const LEAN_UNGOVERNED: &str = "lean_ungoverned";
/// Envoy's own, as it is by default.
pub const NATIVE: &str = "native_pass_through";
/// Envoy's own, refusing what is not MCP.
pub const NATIVE_REJECT: &str = "native_reject";

/// All of them.
///
/// # Errors
/// If the empty filter has not been built.
pub fn all() -> Fallible<Vec<Variant>> {
    let empty = envoy::root().join("target/wasm32-wasip1/release/empty_filter.wasm");
    if !empty.is_file() {
        return Err("the empty filter is not built: run `make bench`".into());
    }
    let ours = setup::module();
    let release_0_1_0 = envoy::root().join("tests/gateway/fixtures/mcp_session_filter-0.1.0.wasm");
    let endpoint = json!([{"name": "mcp", "path": "/mcp", "admission": "body"}]);
    let variant = |name, label, filter| Variant {
        name,
        label,
        ours: false,
        baseline: NONE,
        filter,
    };
    let ours_with = |name, label, plugin: Value| Variant {
        name,
        label,
        ours: true,
        baseline: NONE,
        filter: Some(wasm(name, &ours, &plugin)),
    };
    Ok(vec![
        variant(NONE, "no filter", None),
        variant(EMPTY, "empty wasm filter", Some(wasm(EMPTY, &empty, &json!({})))),
        ours_with(QUIET, "ours, filter_state: []", json!({"filter_state": []})),
        ours_with(DEFAULTS, "ours, defaults", json!({})),
        ours_with(
            LEAN_QUIET,
            "ours, lean, filter_state: []",
            json!({"filter_state": []}),
        )
        .lean(),
        ours_with(LEAN_DEFAULTS, "ours, lean", json!({})).lean(),
        variant(
            RELEASE_0_1_0,
            "release 0.1.0, filter_state: []",
            Some(wasm(RELEASE_0_1_0, &release_0_1_0, &json!({"filter_state": []}))),
        ),
        ours_with(BODY, "ours, admission: body", json!({"endpoints": endpoint})),
        variant(FOREIGN, "no filter, ungoverned path", None).foreign(),
        ours_with(UNGOVERNED, "ours, ungoverned path", json!({})).foreign(),
        ours_with(LEAN_UNGOVERNED, "ours, lean, ungoverned path", json!({}))
            .lean()
            .foreign(),
        variant(NATIVE, "native, PASS_THROUGH", Some(native("PASS_THROUGH"))),
        variant(
            NATIVE_REJECT,
            "native, REJECT_NO_MCP",
            Some(native("REJECT_NO_MCP")),
        ),
    ])
}

impl Variant {
    /// The same with requests that are none of MCP.
    fn foreign(self) -> Self {
        Self {
            baseline: FOREIGN,
            ..self
        }
    }

    /// The requests to its listener at `address`.
    pub fn target(&self, address: SocketAddr) -> Target {
        match self.baseline {
            FOREIGN => Target::foreign(address, "/api"),
            _ => Target::new(address, "/mcp"),
        }
    }

    /// The same with `envoy/lean/capabilities.yaml`.
    fn lean(mut self) -> Self {
        if let Some(filter) = &mut self.filter {
            setup::merge(
                &mut filter["typed_config"]["config"],
                setup::yaml("lean/capabilities.yaml"),
            );
        }
        self
    }
}

/// Makes the listener of a setup into one for each variant; the one called `mcp` has no filter.
pub fn listeners<'a>(setup: Setup, variants: impl IntoIterator<Item = &'a Variant>) -> Setup {
    let filters: Vec<(String, Option<Value>)> = variants
        .into_iter()
        .map(|variant| (listener(variant), variant.filter.clone()))
        .collect();
    setup.patch(move |config| {
        let template = config.clone();
        let listener = |(name, filter): &(String, Option<Value>)| {
            let mut config = template.clone();
            let chain = connection_manager(&mut config)["http_filters"].as_array_mut();
            let chain = chain.expect("a list of filters");
            chain.remove(0);
            chain.splice(0..0, filter.clone());
            let mut listener = config["static_resources"]["listeners"][0].take();
            listener["name"] = json!(name);
            listener
        };
        config["static_resources"]["listeners"] = filters.iter().map(listener).collect();
    })
}

/// The name of a variant's listener.
pub fn listener(variant: &Variant) -> String {
    match variant.name {
        NONE => "mcp".to_owned(),
        name => name.to_owned(),
    }
}

fn wasm(name: &str, module: &std::path::Path, plugin: &Value) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "root_id": name,
                "failure_policy": "FAIL_RELOAD",
                "allow_on_headers_stop_iteration": true,
                "vm_config": {
                    // A table of its own.
                    "vm_id": name,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": plugin.to_string(),
                },
            },
        },
    })
}

fn native(mode: &str) -> Value {
    json!({
        "name": "envoy.filters.http.mcp",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp",
            "traffic_mode": mode,
        },
    })
}
