//! Istio's discovery server and its agent, with a gateway's labels.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use gateway::OddServer;
use gateway::envoy::{ask, root};
use gateway::stats::{self, Sample};
use serde_json::Value;

use super::files::{Form, in_pods};
use super::{Module, Modules};
use crate::Fallible;
use crate::play::{self, Target};
use crate::process::Process;
use crate::resources::{Replaced, replaced};

/// Where the discovery server serves.
const DISCOVERY: &str = "127.0.0.1:15010";
/// Envoy's admin interface, where Istio has it.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 15000);
/// Where the gateway listens.
const GATEWAY: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
/// Where the agent keeps what it pulls; in a pod this folder is there.
const PULLED: &str = "/var/lib/istio/data";
/// The port that the routes name.
const SERVER: u16 = 8000;
/// The host that the VirtualService names.
const NAMED: &str = "mcp.example.com";

/// The gateway of a form. Ends with this value, the agent first.
pub struct Bed {
    agent: Process,
    discovery: Process,
    form: Form,
    /// All resources as they ship.
    built: String,
    resources: PathBuf,
    server: OddServer,
    updates: usize,
}

impl Bed {
    /// Starts it in `folder`, with this module.
    pub async fn start(form: Form, modules: &Modules, module: &Module, folder: &Path) -> Fallible<Self> {
        for folder in [folder, Path::new(PULLED)] {
            let _ = std::fs::remove_dir_all(folder);
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        for module in [&modules.shipped, &modules.upgrade, &modules.old] {
            put_into_pods(module)?;
        }
        let built = form.built(folder)?;
        let resources = folder.join("resources.yaml");
        write(&resources, &built, &form.names_of(module, &built)?)?;
        let discovery = start_discovery(form, &resources, folder).await?;
        put_into_pod(form, &built, folder)?;
        Ok(Self {
            agent: start_agent(form, folder)?,
            discovery,
            form,
            built,
            resources,
            server: play::server(SERVER).await,
            updates: 0,
        })
    }

    /// The gateway, for clients.
    pub fn target(&self) -> Target<'_> {
        Target::new(GATEWAY.into(), NAMED, SocketAddr::from(ADMIN), &self.server)
    }

    /// What is replaced in what ships to have this module.
    pub fn names_of(&self, module: &Module) -> Fallible<Vec<Replaced>> {
        self.form.names_of(module, &self.built)
    }

    /// The names of the HTTP filters of the gateway's listener, in their order.
    pub fn filters(&self) -> Fallible<Vec<String>> {
        let dump = ask(ADMIN.into(), "GET", "/config_dump?resource=dynamic_listeners");
        let dump: Value = serde_json::from_str(&dump.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        let chain = &dump["configs"][0]["active_state"]["listener"]["filter_chains"][0]["filters"][0];
        let filters = chain["typed_config"]["http_filters"].as_array();
        let filters = filters.ok_or_else(|| format!("no filters: {dump}"))?;
        let name = |filter: &Value| filter["name"].as_str().unwrap_or_default().to_owned();
        Ok(filters.iter().map(name).collect())
    }

    /// The filter's samples, as Prometheus sees them.
    pub fn prometheus(&self) -> Fallible<Vec<Sample>> {
        let text = ask(ADMIN.into(), "GET", "/stats/prometheus").map_err(|error| error.to_string())?;
        let ours = |sample: &Sample| sample.name.contains("mcp_sessions");
        Ok(stats::read_prometheus(&text).into_iter().filter(ours).collect())
    }

    /// The form that it has.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Waits until the gateway takes requests.
    pub async fn is_up(&mut self) -> Fallible<()> {
        let up = self.target().is_up().await;
        up.map_err(|reason| format!("{reason}\n{}", self.agent.end_of_log()))
    }

    /// Serves the resources with these things replaced in what ships: what an operator's `kubectl apply` does.
    pub async fn apply(&mut self, list: &[Replaced]) -> Fallible<()> {
        write(&self.resources, &self.built, list)?;
        self.discovery.tell("")?;
        self.updates += 1;
        let updates = self.updates;
        let updated =
            |process: &Process| (process.log().matches("updated\n").count() >= updates).then_some(());
        self.discovery.until("the update", updated).await
    }
}

fn write(file: &Path, text: &str, list: &[Replaced]) -> Fallible<()> {
    std::fs::write(file, replaced(text, list)?).map_err(|error| error.to_string())
}

fn put_into_pods(module: &Module) -> Fallible<()> {
    let to = PathBuf::from(in_pods(module));
    let folder = to.parent().ok_or("no folder")?;
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let copied = std::fs::copy(&module.file, &to);
    copied.map_err(|error| format!("{}: {error}", module.file.display()))?;
    Ok(())
}

/// The file of the ConfigMap that the proxy reads when it starts, as the pod has it.
const BOOTSTRAP: &str = "custom_bootstrap.json";

/// Puts into `folder` what a pod of the gateway has of the files: the bootstrap's ConfigMap, and the annotation as the
/// kubelet writes it.
fn put_into_pod(form: Form, built: &str, folder: &Path) -> Fallible<()> {
    let documents = gateway::yaml::documents(built)?;
    let bootstrap = documents
        .iter()
        .find_map(|document| document["data"][BOOTSTRAP].as_str());
    let bootstrap = bootstrap.ok_or("no ConfigMap for the bootstrap")?;
    let annotations = format!("{ANNOTATION}={:?}\n", form.annotation(ANNOTATION)?);
    let pod = folder.join("etc/istio/pod");
    std::fs::create_dir_all(&pod)
        .and_then(|()| std::fs::write(folder.join(BOOTSTRAP), bootstrap))
        .and_then(|()| std::fs::write(pod.join("annotations"), annotations))
        .map_err(|error| error.to_string())
}

/// The annotation that says which stats the proxy keeps.
const ANNOTATION: &str = "proxy.istio.io/config";

/// A program that `make test-istio` has built, or a template that it has put beside it.
pub fn built(program: &str) -> PathBuf {
    root().join(".cache/istio").join(program)
}

async fn start_discovery(form: Form, resources: &Path, folder: &Path) -> Fallible<Process> {
    let mut command = Command::new(built("discovery"));
    command.arg(DISCOVERY).arg(form.around()).arg(resources);
    // Filters that only Istio's own build of Envoy has.
    command.env("PILOT_ENABLE_METADATA_EXCHANGE", "false");
    command.env("PILOT_ENABLE_ALPN_FILTER", "false");
    let mut discovery = Process::start("discovery", command, folder)?;
    let serves = |process: &Process| process.log().contains("serves\n").then_some(());
    discovery.until("its service", serves).await?;
    Ok(discovery)
}

fn start_agent(form: Form, folder: &Path) -> Fallible<Process> {
    let envoy = std::env::var("ENVOY_PATH").map_err(|_| "ENVOY_PATH names no Envoy")?;
    let (proxy, bootstrap) = (folder.join("proxy"), folder.join(BOOTSTRAP));
    let config = format!(
        r#"{{"discoveryAddress": "{DISCOVERY}", "controlPlaneAuthPolicy": "NONE", "binaryPath": "{envoy}",
            "configPath": "{}", "proxyAdminPort": {}, "statusPort": 15020, "concurrency": 2}}"#,
        proxy.display(),
        ADMIN.1
    );
    let mut command = Command::new(built("pilot-agent"));
    command.args(["proxy", "router", "--domain"]);
    command.arg(format!("{}.svc.cluster.local", form.namespace()));
    command.arg("--templateFile").arg(built("envoy_bootstrap.json"));
    // There is no authority for certificates here, and nothing needs one.
    command.args([
        "--log_output_level",
        "default:info,citadelclient:none,cache:none,sds:none",
    ]);
    command.env("ISTIO_BOOTSTRAP_OVERRIDE", bootstrap);
    command.current_dir(folder).envs([
        ("POD_NAME", "mcp-istio"),
        ("POD_NAMESPACE", form.namespace()),
        ("INSTANCE_IP", "127.0.0.1"),
        ("ISTIO_METAJSON_LABELS", form.labels()),
        ("PILOT_CERT_PROVIDER", "none"),
        ("CA_ROOT_CA", "SYSTEM"),
        ("WASM_INSECURE_REGISTRIES", crate::registry::HOST),
        ("PROXY_CONFIG", config.as_str()),
    ]);
    Process::start("pilot-agent", command, folder)
}
