//! The pods that Istio makes for a Gateway of the Gateway API.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::bed::built;
use super::files::FORMS;
use crate::Fallible;
use crate::process::output;
use crate::show::Show;

/// The file that changes them.
pub const PODS: &str = "envoy/istio/gateway-api/gateway-pods.yaml";

/// What the pods must have of `gateway-pods.yaml`, each with where it is in the Deployment's template.
const WANTED: [(&str, &str); 4] = [
    ("/metadata/annotations", "wasmcustom.mcp_sessions"),
    (
        "/spec/containers/0/env",
        "/etc/istio/custom-bootstrap/custom_bootstrap.json",
    ),
    ("/spec/containers/0/volumeMounts", "/var/local/wasm"),
    ("/spec/volumes", "mcp-session-filter-stats"),
];

/// Istio's own controller takes `gateway-pods.yaml`, and the pods have what it says beside what Istio gives them.
pub fn made(scratch: &Path, show: &Show) -> Fallible<()> {
    show.heading(PODS);
    let form = FORMS.into_iter().find(|form| form.folder == "gateway-api");
    let form = form.ok_or("no form for a Gateway")?;
    let resources = scratch.join("pods.yaml");
    std::fs::write(&resources, form.built(scratch)?).map_err(|error| error.to_string())?;
    let mut command = Command::new(built("discovery"));
    command.arg("pods").arg(built("kube-gateway.yaml"));
    let printed = output(command.arg(form.around()).arg(&resources))?;
    let deployment: Value = serde_json::from_str(&printed).map_err(|error| format!("{error}: {printed}"))?;
    let pod = &deployment["spec"]["template"];
    for (place, wanted) in WANTED.into_iter().chain([("/spec/volumes", "istio-envoy")]) {
        let found = pod.pointer(place).map(Value::to_string).unwrap_or_default();
        if !found.contains(wanted) {
            return Err(format!("no {wanted} at {place} of the pods: {found}"));
        }
    }
    show.done("the pods that Istio makes for the Gateway have the module, the bootstrap and the annotation");
    Ok(())
}
