//! What Envoy Gateway has made of the policies: Envoy's configuration dump, read.

use serde_json::Value;

use crate::Fallible;

/// Values of Envoy's configuration dump that are of this type, wherever they are. A resource stands in it once.
fn all_of_type<'a>(value: &'a Value, suffix: &str, found: &mut Vec<&'a Value>) {
    let is_of_type = |kind: &Value| kind.as_str().is_some_and(|kind| kind.ends_with(suffix));
    if value.get("@type").is_some_and(is_of_type) {
        found.push(value);
    }
    match value {
        Value::Object(members) => members
            .values()
            .for_each(|value| all_of_type(value, suffix, found)),
        Value::Array(items) => items.iter().for_each(|item| all_of_type(item, suffix, found)),
        _ => {}
    }
}

/// The listener of the Gateway, by the name that Envoy Gateway gives it, if Envoy has taken it.
pub fn listener(dump: &Value) -> Option<&Value> {
    let named = dynamic(dump, "dynamic_listeners").find(|listener| listener["name"] == "mcp/mcp/http");
    named?["active_state"].get("listener")
}

/// The kinds of the HTTP filters, in their order. The name of ours goes on with that of its policy.
pub fn filters(dump: &Value) -> Vec<&str> {
    let filters = http_filters(dump).into_iter().flatten();
    let names = filters.filter_map(|filter| filter["name"].as_str());
    let kinds = names.filter_map(|name| name.strip_prefix("envoy.filters.http.")?.split('/').next());
    kinds.collect()
}

fn http_filters(dump: &Value) -> Option<&Vec<Value>> {
    let mut managers = Vec::new();
    all_of_type(listener(dump)?, ".HttpConnectionManager", &mut managers);
    managers.first()?["http_filters"].as_array()
}

/// The `PluginConfig` of the filter.
pub fn plugin(dump: &Value) -> Option<&Value> {
    let is_wasm = |filter: &&Value| {
        filter["name"]
            .as_str()
            .is_some_and(|name| name.contains(".wasm/"))
    };
    http_filters(dump)?.iter().find(is_wasm)?["typed_config"].get("config")
}

/// The filter's own configuration.
pub fn configuration(dump: &Value) -> Option<Value> {
    serde_json::from_str(plugin(dump)?["configuration"]["value"].as_str()?).ok()
}

/// What the route to the server does.
pub fn route(dump: &Value) -> Option<&Value> {
    let hosts = dynamic(dump, "dynamic_route_configs")
        .filter_map(|config| config["route_config"]["virtual_hosts"].as_array());
    let routes = hosts.flatten().filter_map(|host| host["routes"].as_array());
    routes.flatten().next()?.get("route")
}

/// The circuit breakers of the server's cluster.
pub fn breakers(dump: &Value) -> Option<&Value> {
    let mut clusters = dynamic(dump, "dynamic_active_clusters").map(|cluster| &cluster["cluster"]);
    let is_ours = |cluster: &&Value| {
        let name = cluster["name"].as_str();
        name.is_some_and(|name| name.starts_with("httproute/mcp/"))
    };
    clusters.find(is_ours)?["circuit_breakers"]["thresholds"].get(0)
}

/// What Envoy has got by this kind of xDS.
fn dynamic<'a>(dump: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let configs = dump["configs"].as_array().into_iter().flatten();
    configs
        .filter_map(move |config| config[kind].as_array())
        .flatten()
}

/// One value that a policy has set, held against what it should be.
pub fn expect(what: &str, found: Option<&Value>, wanted: Value) -> Fallible<()> {
    match found {
        Some(found) if *found == wanted => Ok(()),
        found => Err(format!(
            "{what} is {}, not {wanted}",
            found.unwrap_or(&Value::Null)
        )),
    }
}
