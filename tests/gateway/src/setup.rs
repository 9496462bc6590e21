//! A test's differences from `envoy/envoy.yaml`, and the configuration with them.
//!
//! The file that ships is the template, so that the tests cover what ships.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::envoy::{Envoy, root};
use crate::gateway::Gateway;

/// The type of the plugin's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `google.protobuf.Struct`: whole numbers become doubles.
    Struct,
    /// `google.protobuf.StringValue`, as Istio sends it.
    String,
}

type Patch = Box<dyn Fn(&mut Value) + Send + Sync>;

/// A gateway to start.
pub struct Setup {
    workers: u32,
    plugin: Value,
    encoding: Encoding,
    address: SocketAddr,
    admin: SocketAddr,
    status: Option<(SocketAddr, Value)>,
    upstream: SocketAddr,
    patches: Vec<Patch>,
    faults_expected: bool,
    drain_s: u32,
    routes_as_shipped: bool,
}

/// A file of `envoy/`, as JSON.
pub fn yaml(file: &str) -> Value {
    crate::yaml::read(&shipped(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The documents of a file of `envoy/` that has several.
pub fn documents(file: &str) -> Vec<Value> {
    crate::yaml::documents(&shipped(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn shipped(file: &str) -> String {
    let path = root().join("envoy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The module under test: `$MODULE`, or the release build.
pub fn module() -> PathBuf {
    let built = || root().join("target/wasm32-wasip1/release/mcp_session_filter.wasm");
    std::env::var_os("MODULE").map_or_else(built, PathBuf::from)
}

/// The module that crashes at a request with the header `x-trap-vm`: `make build-trap`.
pub fn trap_module() -> PathBuf {
    root().join("target/trap/wasm32-wasip1/release/mcp_session_filter.wasm")
}

impl Setup {
    /// The configuration that ships, with these changes: every path is routed to the server at `upstream`, there is
    /// one worker, the system chooses every port, sweeps are frequent so that no test waits for one, and there is no
    /// listener for the status view.
    pub fn new(upstream: SocketAddr) -> Self {
        let mut plugin = wasm(&mut yaml("envoy.yaml"))["configuration"]["value"].take();
        plugin["sweep_interval"] = json!("100ms");
        let chosen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            workers: 1,
            plugin,
            encoding: Encoding::Struct,
            address: chosen,
            admin: chosen,
            status: None,
            upstream,
            patches: Vec::new(),
            faults_expected: false,
            drain_s: 1,
            routes_as_shipped: false,
        }
    }

    /// How many workers Envoy has.
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// The whole configuration of the plugin.
    pub fn plugin(mut self, plugin: Value) -> Self {
        self.plugin = plugin;
        self
    }

    /// Changes fields of the plugin's top level.
    pub fn top(mut self, fields: Value) -> Self {
        merge(&mut self.plugin, fields);
        self
    }

    /// Changes fields of every endpoint.
    pub fn endpoint(mut self, fields: Value) -> Self {
        for endpoint in self.plugin["endpoints"].as_array_mut().expect("endpoints") {
            merge(endpoint, fields.clone());
        }
        self
    }

    /// One endpoint each at `/<name>` in place of `/mcp`, otherwise alike.
    pub fn endpoints(mut self, names: &[&str]) -> Self {
        let template = self.plugin["endpoints"][0].clone();
        let named = |name: &&str| {
            let mut endpoint = template.clone();
            merge(&mut endpoint, json!({"name": name, "path": format!("/{name}")}));
            endpoint
        };
        self.plugin["endpoints"] = names.iter().map(named).collect();
        self
    }

    /// How the plugin's configuration travels.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Changes fields of the filter's `PluginConfig`: `failure_policy`, `vm_config` …
    pub fn filter(self, fields: Value) -> Self {
        self.patch(move |config| merge(wasm(config), fields.clone()))
    }

    /// Without `allow_on_headers_stop_iteration`, as on an older Envoy, and so with `admission: headers`.
    pub fn admission_by_headers(self) -> Self {
        let without_the_flag = |config: &mut Value| {
            wasm(config)
                .as_object_mut()
                .expect("an object")
                .remove("allow_on_headers_stop_iteration");
        };
        self.endpoint(json!({"admission": "headers"}))
            .patch(without_the_flag)
    }

    /// Changes fields of the HTTP connection manager.
    pub fn connection_manager(self, fields: Value) -> Self {
        self.patch(move |config| merge(connection_manager(config), fields.clone()))
    }

    /// Changes fields of the route to the server: `timeout` …
    pub fn route(self, fields: Value) -> Self {
        self.patch(move |config| {
            let routes = routes(config);
            let last = routes.last_mut().expect("a route");
            merge(&mut last["route"], fields.clone());
        })
    }

    /// Routes only the paths of the file that ships to the server. Without this call every path reaches the server,
    /// as in an operator's own file.
    pub fn routes_as_shipped(mut self) -> Self {
        self.routes_as_shipped = true;
        self
    }

    /// A route that goes before the others.
    pub fn route_before(self, route: Value) -> Self {
        self.patch(move |config| routes(config).insert(0, route.clone()))
    }

    /// Talks HTTP/2 to the server in place of HTTP/1.1.
    pub fn upstream_http2(self) -> Self {
        self.patch(|config| {
            let cluster = &mut config["static_resources"]["clusters"][0];
            let options = &mut cluster["typed_extension_protocol_options"]
                ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
            options["explicit_http_config"] = json!({"http2_protocol_options": {}});
        })
    }

    /// Without the filter, to test the tests.
    pub fn without_the_filter(self) -> Self {
        self.patch(|config| {
            let filters = &mut connection_manager(config)["http_filters"];
            filters.as_array_mut().expect("filters").remove(0);
        })
    }

    /// Any other change of Envoy's configuration.
    pub fn patch(mut self, patch: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.patches.push(Box::new(patch));
        self
    }

    /// Listens on fixed ports, for people.
    pub fn listen(mut self, address: SocketAddr, admin: SocketAddr) -> Self {
        self.address = address;
        self.admin = admin;
        self
    }

    /// With the listener for the status view, at a port that the system chooses, and with these fields of its plugin
    /// changed.
    pub fn status_view(mut self, fields: Value) -> Self {
        self.status = Some((SocketAddr::from(([127, 0, 0, 1], 0)), fields));
        self
    }

    /// With the listener for the status view on a fixed port, for people.
    pub fn status_view_at(mut self, address: SocketAddr) -> Self {
        self.status = Some((address, json!({})));
        self
    }

    /// This test causes faults that leave traces: a trap, repaired counts.
    pub fn faults_expected(mut self) -> Self {
        self.faults_expected = true;
        self
    }

    /// How many seconds a replaced listener has to finish its requests; one by default.
    pub fn drain_seconds(mut self, seconds: u32) -> Self {
        self.drain_s = seconds;
        self
    }

    /// The configuration for Envoy.
    pub fn config(&self) -> Value {
        let mut config = yaml("envoy.yaml");
        config["admin"]["address"]["socket_address"] = socket(self.admin);
        config["static_resources"]["listeners"][0]["address"]["socket_address"] = socket(self.address);
        let endpoint = &mut config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0];
        endpoint["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] = socket(self.upstream);
        let filter = wasm(&mut config);
        filter["configuration"] = encode(&self.plugin, self.encoding);
        set_module(filter, &module());
        self.set_status_view(&mut config);
        if !self.routes_as_shipped {
            for route in routes(&mut config) {
                route["match"] = json!({"prefix": "/"});
            }
        }
        for patch in &self.patches {
            patch(&mut config);
        }
        config
    }

    fn set_status_view(&self, config: &mut Value) {
        let listeners = config["static_resources"]["listeners"]
            .as_array_mut()
            .expect("listeners");
        let Some((address, fields)) = &self.status else {
            return listeners.truncate(1);
        };
        listeners[1]["address"]["socket_address"] = socket(*address);
        let filters = &mut listeners[1]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
        let mut filters = filters.as_array_mut().expect("filters").iter_mut();
        let filter = filters.find(|filter| filter["name"] == "mcp_session_filter");
        let filter = &mut filter.expect("the filter")["typed_config"]["config"];
        set_module(filter, &module());
        let mut plugin = filter["configuration"]["value"].take();
        merge(&mut plugin, fields.clone());
        filter["configuration"] = encode(&plugin, self.encoding);
    }

    /// Starts the gateway. `Err` with Envoy's log if it refuses the configuration.
    pub async fn try_start(self) -> Result<Gateway, String> {
        let (config, workers, faults_expected) = (self.config(), self.workers, self.faults_expected);
        let drain = self.drain_s;
        let start =
            move || Envoy::start(&config, workers, drain).map(|envoy| Gateway::over(envoy, faults_expected));
        tokio::task::spawn_blocking(start)
            .await
            .expect("starting Envoy does not panic")
    }

    /// Starts the gateway.
    pub async fn start(self) -> Gateway {
        self.try_start()
            .await
            .unwrap_or_else(|log| panic!("Envoy did not start:\n{log}"))
    }
}

/// Puts `fields` over `target`, object by object; `null` removes.
pub fn merge(target: &mut Value, fields: Value) {
    match (target, fields) {
        (Value::Object(target), Value::Object(fields)) => merge_object(target, fields),
        (target, fields) => *target = fields,
    }
}

fn merge_object(target: &mut Map<String, Value>, fields: Map<String, Value>) {
    for (name, value) in fields {
        match value {
            Value::Null => drop(target.remove(&name)),
            value => merge(target.entry(name).or_insert(json!({})), value),
        }
    }
}

fn socket(address: SocketAddr) -> Value {
    json!({"address": address.ip().to_string(), "port_value": address.port()})
}

fn encode(plugin: &Value, encoding: Encoding) -> Value {
    match encoding {
        Encoding::Struct => json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": plugin}),
        Encoding::String => {
            json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": plugin.to_string()})
        }
    }
}

/// The HTTP connection manager of a configuration.
pub fn connection_manager(config: &mut Value) -> &mut Value {
    &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

/// The filter's `PluginConfig` in a configuration.
pub fn wasm(config: &mut Value) -> &mut Value {
    &mut connection_manager(config)["http_filters"][0]["typed_config"]["config"]
}

fn routes(config: &mut Value) -> &mut Vec<Value> {
    let host = &mut connection_manager(config)["route_config"]["virtual_hosts"][0];
    host["routes"].as_array_mut().expect("routes")
}

/// Has a `PluginConfig` load this file.
pub fn set_module(filter: &mut Value, module: &Path) {
    filter["vm_config"]["code"] = json!({"local": {"filename": module}});
}
