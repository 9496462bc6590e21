//! Envoy Gateway itself, in its standalone mode: no cluster, resources from a folder, Envoy as a process of its own.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Fallible;
use crate::envoy_gateway::bed::Bed;
use crate::envoy_gateway::{resources, xds};
use crate::play::Target;
use crate::process::{Process, output};

/// How long a changed file may take to be in force in Envoy, a module that must be fetched and compiled included.
const IN_FORCE: Duration = Duration::from_secs(60);

/// Where Envoy looks for the authority of the server that it fetches modules from. It is fixed.
const AUTHORITY: &str = "/certs";

/// The name of that server, which is fixed, too.
const SERVER: &str = "envoy-gateway.envoy-gateway-system.svc.cluster.local";

/// The programs it needs.
#[derive(Debug, Clone)]
pub struct Programs {
    pub envoy_gateway: PathBuf,
    pub envoy: PathBuf,
}

/// A running Envoy Gateway with its Envoy. Both end with this value.
pub struct ControlPlane {
    /// Where Envoy's admin interface listens.
    admin: SocketAddr,
    secret: Value,
    process: Process,
    folder: tempfile::TempDir,
}

impl ControlPlane {
    /// Starts it with these resources, and waits until its Envoy listens.
    pub async fn start(programs: &Programs, resources: &[Value]) -> Fallible<Self> {
        let folder = tempfile::Builder::new().prefix("envoy-gateway-").tempdir();
        let folder = folder.map_err(|error| error.to_string())?;
        prepare(folder.path(), &programs.envoy).map_err(|error| format!("a folder: {error}"))?;
        let secret = certificates(programs, folder.path())?;
        write(folder.path(), &secret, resources)?;
        let mut process = Process::start("envoy-gateway", serve(programs, folder.path()), folder.path())?;
        let run = folder.path().join("run");
        let admin = process
            .until("Envoy's admin interface", |_| admin_address(&run))
            .await?;
        let this = Self {
            admin,
            secret,
            process,
            folder,
        };
        this.until("the listener", |dump| xds::listener(dump).map(drop))
            .await?;
        Ok(this)
    }

    /// Puts these resources in place of those before.
    pub fn apply(&self, resources: &[Value]) -> Fallible<()> {
        write(self.folder.path(), &self.secret, resources)
    }

    /// The Gateway, for clients.
    pub fn target<'a>(&self, bed: &'a Bed) -> Target<'a> {
        let address = SocketAddr::from(([127, 0, 0, 1], resources::LISTENER));
        Target::new(address, "mcp.example.com", self.admin, bed.server())
    }

    /// Envoy's configuration as it is in force.
    pub fn config_dump(&self) -> Fallible<Value> {
        let dump =
            gateway::envoy::ask(self.admin, "GET", "/config_dump").map_err(|error| error.to_string())?;
        serde_json::from_str(&dump).map_err(|error| error.to_string())
    }

    /// Waits until `probe` finds in Envoy's configuration what it looks for. `what` says what is waited for.
    pub async fn until<T>(&self, what: &str, probe: impl Fn(&Value) -> Option<T>) -> Fallible<T> {
        let end = Instant::now() + IN_FORCE;
        loop {
            if let Some(found) = probe(&self.config_dump()?) {
                return Ok(found);
            }
            if Instant::now() > end {
                return Err(format!("{what} did not come:\n{}", self.process.end_of_log()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All that Envoy Gateway and Envoy have logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Writes the resources for Envoy Gateway, which reads a file as soon as it changes, but no hidden one.
fn write(folder: &Path, secret: &Value, resources: &[Value]) -> Fallible<()> {
    let mut all = resources::cluster();
    all.push(secret.clone());
    all.extend_from_slice(resources);
    let (hidden, seen) = (folder.join("resources/.next"), folder.join("resources/all.yaml"));
    let written = fs::write(&hidden, resources::file(&all)).and_then(|()| fs::rename(&hidden, seen));
    written.map_err(|error| error.to_string())
}

/// Makes the folders, with the Envoy where func-e, a part of Envoy Gateway, would have downloaded it, and the
/// configuration.
fn prepare(folder: &Path, envoy: &Path) -> std::io::Result<()> {
    let at = |name: &str| folder.join(name);
    let binaries = at("data").join(format!("envoy-versions/{}/bin", resources::ENVOY_VERSION));
    for folder in [
        &at("resources"),
        &at("config"),
        &at("state"),
        &at("run"),
        &binaries,
    ] {
        fs::create_dir_all(folder)?;
    }
    std::os::unix::fs::symlink(envoy, binaries.join("envoy"))?;
    let host = json!({
        "configHome": at("config"), "dataHome": at("data"), "stateHome": at("state"), "runtimeDir": at("run"),
    });
    let configuration = json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": resources::CONTROLLER},
        "provider": {"type": "Custom", "custom": {
            "resource": {"type": "File", "file": {"paths": [at("resources")]}},
            "infrastructure": {"type": "Host", "host": host},
        }},
        "extensionApis": {"enableBackend": true, "enableEnvoyPatchPolicy": true},
    });
    fs::write(at("envoy-gateway.yaml"), configuration.to_string())
}

/// Makes the certificates, has Envoy find the authority and the server, and gives Envoy's certificate as a resource.
fn certificates(programs: &Programs, folder: &Path) -> Fallible<Value> {
    output(
        Command::new(&programs.envoy_gateway)
            .args(["certgen", "--local", "--config-home"])
            .arg(folder.join("config")),
    )?;
    let certificates = folder.join("config/certs/envoy");
    let found = fs::create_dir_all(AUTHORITY)
        .and_then(|()| fs::copy(certificates.join("ca.crt"), Path::new(AUTHORITY).join("ca.crt")));
    found.map_err(|error| format!("{AUTHORITY}: {error}"))?;
    name_here(SERVER)?;
    resources::secret(&certificates)
}

/// Gives this machine one more name, which only what runs here sees.
pub fn name_here(name: &str) -> Fallible<()> {
    let named = fs::read_to_string("/etc/hosts").and_then(|hosts| {
        if hosts.contains(name) {
            return Ok(());
        }
        let mut hosts = File::options().append(true).open("/etc/hosts")?;
        writeln!(hosts, "127.0.0.1 {name}")
    });
    named.map_err(|error| format!("/etc/hosts: {error}"))
}

fn serve(programs: &Programs, folder: &Path) -> Command {
    let mut command = Command::new(&programs.envoy_gateway);
    command
        .args(["server", "-c"])
        .arg(folder.join("envoy-gateway.yaml"));
    // It keeps fetched modules below the home.
    command.env("HOME", folder);
    command
}

/// func-e has Envoy write where its admin interface listens, in a folder of the run.
fn admin_address(run: &Path) -> Option<SocketAddr> {
    let file = find_file(run, "admin-address.txt")?;
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A file of this name below a folder.
fn find_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let file = files.into_iter().find(|path| path.ends_with(name));
    file.or_else(|| folders.iter().find_map(|folder| find_file(folder, name)))
}
