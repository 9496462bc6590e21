//! What ships for Envoy Gateway, as kustomize builds it, and what a cluster would have beside it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway::envoy::root;
use serde_json::{Value, json};

use crate::Fallible;
use crate::resources::kustomized;

/// The name by which a GatewayClass means Envoy Gateway.
pub const CONTROLLER: &str = "gateway.envoyproxy.io/gatewayclass-controller";

/// The Envoy that it runs.
pub const ENVOY_VERSION: &str = "1.40.0";

/// The port of the Gateway's listener.
pub const LISTENER: u16 = 8080;

/// The port of the server, which the route that ships names.
pub const SERVER: u16 = 8000;

/// A folder of `envoy/envoy-gateway`, as `kubectl apply -k` would apply it.
pub fn shipped(folder: &str) -> Fallible<String> {
    kustomized(&root().join("envoy/envoy-gateway").join(folder))
}

/// Resources as a file that Envoy Gateway reads.
pub fn file(resources: &[Value]) -> String {
    let documents: Vec<String> = resources.iter().map(Value::to_string).collect();
    documents.join("\n---\n")
}

/// What a cluster has besides what ships: the Gateway that the policies name, and the server that the route names. The
/// EnvoyProxy has Envoy Gateway run an Envoy of this machine.
pub fn cluster() -> Vec<Value> {
    let metadata = |name: &str| json!({"name": name, "namespace": "mcp"});
    let (eg, api) = ("gateway.envoyproxy.io", "gateway.networking.k8s.io/v1");
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mcp"}}),
        json!({"apiVersion": format!("{eg}/v1alpha1"), "kind": "EnvoyProxy", "metadata": metadata("local"), "spec": {
            "provider": {"type": "Host", "host": {"envoyVersion": ENVOY_VERSION}},
        }}),
        json!({"apiVersion": api, "kind": "GatewayClass", "metadata": {"name": "local"}, "spec": {
            "controllerName": CONTROLLER,
            "parametersRef": {"group": eg, "kind": "EnvoyProxy", "name": "local", "namespace": "mcp"},
        }}),
        json!({"apiVersion": api, "kind": "Gateway", "metadata": metadata("mcp"), "spec": {
            "gatewayClassName": "local",
            "listeners": [{"name": "http", "protocol": "HTTP", "port": LISTENER}],
        }}),
        json!({"apiVersion": format!("{eg}/v1alpha1"), "kind": "Backend", "metadata": metadata("mcp"), "spec": {
            "endpoints": [{"ip": {"address": "127.0.0.1", "port": SERVER}}],
        }}),
    ]
}

/// Envoy's certificate, by which it fetches modules from Envoy Gateway, out of the folder where certgen has put it.
/// Without this Secret among the resources Envoy Gateway makes one of an authority that it does not know itself.
pub fn secret(certificates: &Path) -> Fallible<Value> {
    let encoded = |name: &str| {
        let path = certificates.join(name);
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
        text.map(|text| STANDARD.encode(text))
    };
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "envoy", "namespace": "envoy-gateway-system"},
        "data": {"ca.crt": encoded("ca.crt")?, "tls.crt": encoded("tls.crt")?, "tls.key": encoded("tls.key")?},
    }))
}

/// The resource of this kind.
pub fn of_kind<'a>(resources: &'a mut [Value], kind: &str) -> Fallible<&'a mut Value> {
    let found = resources.iter_mut().find(|resource| resource["kind"] == kind);
    found.ok_or_else(|| format!("no {kind} ships"))
}
