//! A registry of images on the loopback: Debian's docker-registry, filled by skopeo.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::Fallible;
use crate::process::{Process, output};

/// Where it listens. Clients take a registry on the loopback for one without TLS.
pub const HOST: &str = "127.0.0.1:5000";

/// The registry. Ends with this value.
pub struct Registry {
    _process: Process,
}

impl Registry {
    /// Starts one that keeps its images in `folder`.
    pub async fn start(folder: &Path) -> Fallible<Self> {
        let file = folder.join("registry.yaml");
        let text = format!(
            "version: 0.1\nlog: {{ level: info }}\nhttp: {{ addr: \"{HOST}\" }}\n\
             storage: {{ filesystem: {{ rootdirectory: {} }} }}\n",
            folder.join("registry").display()
        );
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file);
        let mut process = Process::start("docker-registry", command, folder)?;
        let listens = |_: &Process| TcpStream::connect(HOST).ok();
        process.until("a connection", listens).await?;
        Ok(Self { _process: process })
    }

    /// Pushes the image of a layout, as `make image` writes it, under `name:tag`, and tells the digest of its manifest
    /// as our files have it: without `sha256:`.
    pub fn push(&self, layout: &Path, name: &str, tag: &str) -> Fallible<String> {
        // Of several images in a layout skopeo wants one named; a layout of ours has one.
        let from = format!("oci:{}", layout.display());
        let to = format!("docker://{HOST}/{name}:{tag}");
        output(Command::new("skopeo").args(["copy", "--quiet", "--dest-tls-verify=false", &from, &to]))?;
        let inspect = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &to];
        let digest = output(Command::new("skopeo").args(inspect))?;
        Ok(digest.trim().trim_start_matches("sha256:").to_owned())
    }
}
