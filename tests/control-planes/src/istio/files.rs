//! The files of `envoy/istio`, as a user makes them one set of resources.

use std::fmt;
use std::path::{Path, PathBuf};

use gateway::envoy::root;

use super::Module;
use super::plays::CAP;
use crate::Fallible;
use crate::registry::HOST;
use crate::resources::{Replaced, kustomized, replaced};

/// The name of the image in the registry.
pub const IMAGE: &str = "mcp-session-filter";

/// Where the files find the module in the gateway's pods.
pub const IN_PODS: &str = "/var/local/wasm/mcp_session_filter.wasm";

/// How a form names its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    File,
    Image,
}

/// One of the four forms of the filter, in one of the two folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub folder: &'static str,
    /// Without `.yaml`.
    pub file: &'static str,
    code: Code,
}

const fn form(folder: &'static str, file: &'static str, code: Code) -> Form {
    Form { folder, file, code }
}

/// All of them.
pub const FORMS: [Form; 8] = [
    form("ingress", "envoyfilter", Code::File),
    form("ingress", "policy-by-tool", Code::File),
    form("ingress", "trafficextension", Code::Image),
    form("ingress", "wasmplugin", Code::Image),
    form("gateway-api", "envoyfilter", Code::File),
    form("gateway-api", "policy-by-tool", Code::File),
    form("gateway-api", "trafficextension", Code::Image),
    form("gateway-api", "wasmplugin", Code::Image),
];

/// The EnvoyFilter of a fleet, at a gateway of the Gateway API, in a folder of its own.
pub const FLEET: Form = form("gateway-api", "fleet", Code::File);

/// The members of etcd that the ServiceEntry of a fleet names, and other addresses of this machine.
const ETCD: [(&str, &str); 3] = [
    ("192.0.2.11", "127.0.0.1"),
    ("192.0.2.12", "127.0.0.2"),
    ("192.0.2.13", "127.0.0.3"),
];

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self == FLEET {
            true => write!(f, "envoy/fleet/istio"),
            false => write!(f, "envoy/istio/{}/{}.yaml", self.folder, self.file),
        }
    }
}

impl Form {
    /// Whether the update from 0.1.0 is played with this form: what a form of the other folder would tell is the same.
    pub fn tells_of_0_1_0(&self) -> bool {
        self.folder == "ingress" && self.file != "policy-by-tool" && self.file != "wasmplugin"
    }

    /// Whether its module is an image.
    pub fn is_by_image(&self) -> bool {
        self.code == Code::Image
    }

    /// Whether a policy denies a tool.
    pub fn has_policy(&self) -> bool {
        self.file == "policy-by-tool"
    }

    /// The namespace of its gateway.
    pub fn namespace(&self) -> &'static str {
        match self.folder {
            "ingress" => "istio-system",
            _ => "mcp",
        }
    }

    /// The labels of its gateway's pods.
    pub fn labels(&self) -> &'static str {
        match self.folder {
            "ingress" => r#"{"istio": "ingressgateway"}"#,
            _ => r#"{"gateway.networking.k8s.io/gateway-name": "mcp"}"#,
        }
    }

    /// What stands around the files of its folder: a gateway and a server.
    pub fn around(&self) -> PathBuf {
        root().join(format!("tests/control-planes/istio/{}.yaml", self.folder))
    }

    /// The file that says what the gateway's pods need.
    fn of_pods(&self) -> &'static str {
        match self.folder {
            "ingress" => "stats.yaml",
            _ => "gateway-pods.yaml",
        }
    }

    /// An annotation that the files want on the gateway's pods.
    pub fn annotation(&self, name: &str) -> Fallible<String> {
        let path = root().join("envoy/istio").join(self.folder).join(self.of_pods());
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let value = text
            .split_once(&format!("{name}: '"))
            .and_then(|(_, rest)| rest.split_once('\''));
        let value = value.ok_or_else(|| format!("no annotation {name} in {}", path.display()))?;
        Ok(value.0.to_owned())
    }

    /// All resources of the folder with this form, by kustomize, as they ship.
    pub fn built(&self, scratch: &Path) -> Fallible<String> {
        if *self == FLEET {
            return kustomized(&root().join("envoy/fleet/istio"));
        }
        let folder = scratch.join("kustomized");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        let shipped = root().join("envoy/istio").join(self.folder);
        for entry in std::fs::read_dir(shipped).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            let copied = std::fs::copy(entry.path(), folder.join(entry.file_name()));
            copied.map_err(|error| error.to_string())?;
        }
        self.choose(&folder.join("kustomization.yaml"))?;
        kustomized(&folder)
    }

    /// Takes this form in the kustomization, in place of the one that it has, as its comment says.
    fn choose(&self, kustomization: &Path) -> Fallible<()> {
        let text = std::fs::read_to_string(kustomization).map_err(|error| error.to_string())?;
        let none = replaced(
            &text,
            &[Replaced::new(
                "\n  - envoyfilter.yaml",
                "\n  # - envoyfilter.yaml",
            )],
        )?;
        let chosen = Replaced::new(
            format!("\n  # - {}.yaml", self.file),
            format!("\n  - {}.yaml", self.file),
        );
        std::fs::write(kustomization, replaced(&none, &[chosen])?).map_err(|error| error.to_string())
    }

    /// What is replaced in `built` for this module. A form that loads a file takes the shipped one from where it says.
    pub fn names_of(&self, module: &Module, built: &str) -> Fallible<Vec<Replaced>> {
        match self.code {
            Code::File if module.tag == "shipped" => Ok(Vec::new()),
            Code::File => Ok(vec![Replaced::new(IN_PODS, in_pods(module))]),
            Code::Image => Ok(vec![
                Replaced::new(image_in(built)?, format!("{HOST}/{IMAGE}:{}", module.tag)),
                Replaced::new("IMAGE_DIGEST", &module.digest),
            ]),
        }
    }
}

/// What is replaced in the files of a fleet: the addresses of etcd, and the fleet's cap.
pub fn in_fleet(cap: u64) -> Vec<Replaced> {
    let addresses = ETCD.map(|(there, here)| Replaced::new(there, here));
    // As kustomize writes it: the field after the cluster.
    let with = |cap: u64| format!("||etcd.example.internal\n                  max_sessions: {cap}\n");
    let cap = Replaced::new(with(CAP), with(cap));
    addresses.into_iter().chain([cap]).collect()
}

/// The image that the resources name.
fn image_in(built: &str) -> Fallible<&str> {
    let named = built
        .split_once("oci://")
        .and_then(|(_, rest)| rest.lines().next());
    named.ok_or_else(|| format!("no image in:\n{built}"))
}

/// Where a module is in the gateway's pods.
pub fn in_pods(module: &Module) -> String {
    match module.tag {
        "shipped" => IN_PODS.to_owned(),
        tag => IN_PODS.replace(".wasm", &format!(".{tag}.wasm")),
    }
}
