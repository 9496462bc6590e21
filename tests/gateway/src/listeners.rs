//! Listeners that Envoy takes from a file and updates when the file changes, as from a control plane.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Setup;

/// A file with the listeners of a setup, which Envoy watches.
pub struct Listeners {
    directory: tempfile::TempDir,
}

impl Default for Listeners {
    fn default() -> Self {
        Self::new()
    }
}

impl Listeners {
    /// Without a file yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory }
    }

    /// Where the file is.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("lds.json")
    }

    /// Replaces the listeners with those of this setup, at once.
    pub fn write(&self, setup: &Setup) {
        let mut listeners = setup.config()["static_resources"]["listeners"].take();
        for listener in listeners.as_array_mut().expect("listeners") {
            listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
        }
        let next = self.directory.path().join("next");
        std::fs::write(&next, json!({"resources": listeners}).to_string()).expect("written");
        std::fs::rename(next, self.file()).expect("renamed");
    }
}

/// Has Envoy take its listener from this file.
pub fn from_file(setup: Setup, file: &Path) -> Setup {
    let file = file.to_owned();
    setup.patch(move |config: &mut Value| {
        config["static_resources"]
            .as_object_mut()
            .expect("an object")
            .remove("listeners");
        config["node"] = json!({"id": "test", "cluster": "test"});
        config["dynamic_resources"] =
            json!({"lds_config": {"resource_api_version": "V3", "path_config_source": {"path": file}}});
    })
}
