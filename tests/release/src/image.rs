//! The module as an OCI image: what `oci://` in Istio and `image` in Envoy Gateway pull.
//!
//! Both take the "compat" form: an image whose last layer is a tar.gz with a file `plugin.wasm`. They refuse the newer
//! artifact with the media type `application/wasm`. See "WASM Artifact Image Specification", the variant "compat", and
//! `pkg/wasm/imagefetcher.go` in Istio.

use std::collections::BTreeMap;
use std::fs;
use std::io::Result;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::archive::{gzip, tar};

/// Media types of the OCI image specification 1.1.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The name by which both control planes look for the module in the layer.
const MODULE: &str = "plugin.wasm";

/// Labels by their names (`org.opencontainers.image.version`).
pub type Labels = BTreeMap<String, String>;

/// An image, as the files of an OCI image layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of the manifest, `sha256:` and 64 hex digits: what a client pulls, and what pins it.
    pub digest: String,
    /// How many bytes a client downloads for the layer.
    pub layer_bytes: usize,
    /// The contents of all files by their paths in the layout.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// An image of this module, called `tag`, with these labels on the image and on its manifest.
    pub fn new(module: &[u8], tag: &str, labels: &Labels) -> Result<Self> {
        let mut blobs = Blobs::default();
        let files = tar([(MODULE, module)])?;
        let layer = blobs.add(LAYER, gzip(&files)?);
        let config = blobs.add(CONFIG, config(&digest(&files), labels).to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": config.json(), "layers": [layer.json()], "annotations": labels,
        });
        let manifest = blobs.add(MANIFEST, manifest.to_string().into_bytes());
        Ok(Self {
            files: blobs.layout(&manifest, tag),
            digest: manifest.digest,
            layer_bytes: layer.size,
        })
    }

    /// Writes the layout into this folder, in place of what is there.
    pub fn write(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        for (path, bytes) in &self.files {
            fs::write(folder.join(path), bytes)?;
        }
        Ok(())
    }

    /// The layout as one file, which skopeo calls `oci-archive`.
    pub fn archive(&self) -> Result<Vec<u8>> {
        tar(self
            .files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice())))
    }
}

/// The image's configuration. It names the platform that other images of this form name, `linux/amd64`, though the module
/// runs anywhere: umoci unpacks no image of another system, and container runtimes mount none.
fn config(layer: &str, labels: &Labels) -> Value {
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    })
}

/// What refers to a blob ("OCI Content Descriptors").
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: usize,
}

impl Descriptor {
    fn json(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }
}

#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Keeps a blob, and gives the descriptor that refers to it.
    fn add(&mut self, media_type: &'static str, bytes: Vec<u8>) -> Descriptor {
        let (digest, size) = (digest(&bytes), bytes.len());
        self.0
            .insert(format!("blobs/{}", digest.replace(':', "/")), bytes);
        Descriptor {
            media_type,
            digest,
            size,
        }
    }

    /// The files of the layout with this manifest.
    fn layout(self, manifest: &Descriptor, tag: &str) -> BTreeMap<String, Vec<u8>> {
        let entry = json!({
            "mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size,
            "annotations": {"org.opencontainers.image.ref.name": tag},
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        let mut files = self.0;
        files.insert("index.json".to_owned(), index.to_string().into_bytes());
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        files.insert("oci-layout".to_owned(), layout.to_vec());
        files
    }
}

/// `sha256:` and the digest in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}
