//! What all plays stand on: the server, the registry with the image, and the files with what is replaced in them.

use std::path::{Path, PathBuf};

use gateway::envoy::root;
use gateway::{OddServer, Reply, setup};
use serde_json::{Value, json};

use crate::Fallible;
use crate::envoy_gateway::control_plane::{ControlPlane, Programs};
use crate::envoy_gateway::resources::{self, SERVER};
use crate::play;
use crate::process::sha256;
use crate::registry::{HOST, Registry};
use crate::resources::{Replaced, replaced};

/// The cap of each policy that ships.
pub const CAP: u64 = 10_000;

/// What stands in the files for the image, for its digest, and for the port of a Service: where no cluster is, Envoy
/// Gateway knows no Service.
const IMAGE: &str = "oci://registry.example.com/mcp-session-filter";
const DIGEST: &str = "IMAGE_DIGEST";
const SERVICE: &str = "port: 8000";

/// An image in the registry.
#[derive(Debug, Clone)]
pub struct Image {
    name: &'static str,
    /// The digest of its manifest, as the files have it: without `sha256:`.
    digest: String,
}

impl Image {
    /// What is replaced in the files to have this image.
    pub fn list(&self) -> Vec<Replaced> {
        vec![
            Replaced::new(IMAGE, format!("oci://{HOST}/{}", self.name)),
            Replaced::new(DIGEST, &self.digest),
            Replaced::new(
                SERVICE,
                format!("{SERVICE}\n      group: gateway.envoyproxy.io\n      kind: Backend"),
            ),
        ]
    }

    /// The same with another digest.
    pub fn with_digest(&self, digest: &str) -> Self {
        let digest = digest.to_owned();
        Self { digest, ..*self }
    }
}

/// The server that the route leads to, the images in a registry, and the module on a server of files.
pub struct Bed {
    programs: Programs,
    image: Image,
    upgrade: Image,
    server: OddServer,
    files: OddServer,
    _registry: Registry,
    _folder: tempfile::TempDir,
}

impl Bed {
    /// Starts the servers, and pushes the images that `make test-envoy-gateway` has made.
    pub async fn start() -> Fallible<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let registry = Registry::start(folder.path()).await?;
        let pushed = |layout: &str, name: &'static str| {
            let layout = root().join("target").join(layout);
            let digest = registry.push(&layout, name, &tag(&layout)?)?;
            Fallible::Ok(Image { name, digest })
        };
        let module = std::fs::read(setup::module()).map_err(|error| format!("the module: {error}"))?;
        Ok(Self {
            programs,
            image: pushed("image", "mcp-session-filter")?,
            upgrade: pushed("control-planes/upgrade", "upgrade")?,
            server: play::server(SERVER).await,
            files: OddServer::start(move |_| Reply::status(200).chunk(module.clone())).await,
            _registry: registry,
            _folder: folder,
        })
    }

    /// The server that the route leads to.
    pub fn server(&self) -> &OddServer {
        &self.server
    }

    /// The image that `make image` makes.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// An image of the same module with the names of its functions: other bytes, as an upgrade has.
    pub fn upgrade(&self) -> &Image {
        &self.upgrade
    }

    /// The resources of a folder as kustomize builds them, with the list replaced.
    pub fn resources(&self, folder: &str, image: &Image) -> Fallible<Vec<Value>> {
        let shipped = resources::shipped(folder)?;
        gateway::yaml::documents(&replaced(&shipped, &image.list())?)
    }

    /// The same with another cap.
    pub fn with_cap(&self, folder: &str, image: &Image, cap: u64) -> Fallible<Vec<Value>> {
        let mut resources = self.resources(folder, image)?;
        let policy = resources::of_kind(&mut resources, "EnvoyExtensionPolicy")?;
        policy["spec"]["wasm"][0]["config"]["max_sessions"] = json!(cap);
        Ok(resources)
    }

    /// The code of an EnvoyExtensionPolicy by `http://`, with the module's own digest.
    pub fn code_by_http(&self, digest: &str) -> Value {
        let url = format!("http://{}/mcp_session_filter.wasm", self.files.address());
        json!({"type": "HTTP", "http": {"url": url, "sha256": digest}})
    }

    /// The digest of the module itself.
    pub fn module_digest(&self) -> Fallible<String> {
        sha256(&setup::module())
    }

    /// Envoy Gateway with these resources.
    pub async fn control_plane(&self, resources: &[Value]) -> Fallible<ControlPlane> {
        ControlPlane::start(&self.programs, resources).await
    }
}

/// The tag of the one image of a layout (image-spec, "Image Layout", `index.json`).
fn tag(layout: &Path) -> Fallible<String> {
    let index = std::fs::read_to_string(layout.join("index.json"))
        .map_err(|error| format!("{}: {error}", layout.display()))?;
    let index: Value = serde_json::from_str(&index).map_err(|error| error.to_string())?;
    let tag = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str();
    tag.map(str::to_owned)
        .ok_or_else(|| format!("the image in {} has no tag", layout.display()))
}

/// The programs, which `make test-envoy-gateway` names.
fn programs() -> Fallible<Programs> {
    let named = |variable: &str| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        path.ok_or_else(|| format!("{variable} names no program: see `make test-envoy-gateway`"))
    };
    Ok(Programs {
        envoy_gateway: named("ENVOY_GATEWAY")?,
        envoy: named("ENVOY_PATH")?,
    })
}
