//! `make test-istio`: every file of `envoy/istio` and of `envoy/fleet/istio`, served by Istio's own discovery server to Istio's own agent, which
//! pulls the images and runs a real Envoy.

mod bed;
mod files;
mod plays;
mod pods;

use std::path::{Path, PathBuf};

use gateway::envoy::root;

use crate::Fallible;
use crate::registry::Registry;
use crate::show::Show;
use files::{FLEET, FORMS, Form};
use pods::PODS;

/// A module as Istio gets it: a file in the gateway's pods, and an image.
pub struct Module {
    file: PathBuf,
    /// The tag of the image.
    tag: &'static str,
    /// The digest of its manifest, as the files write it: without `sha256:`.
    digest: String,
}

/// The modules of the test.
pub struct Modules {
    /// The one that ships.
    shipped: Module,
    /// The same with the names of its functions, and so other bytes, as an upgrade is.
    upgrade: Module,
    /// Release 0.1.0, whose table has another layout.
    old: Module,
}

/// Plays all forms whose path has `only` in it.
pub async fn play(only: &str) -> Fallible<()> {
    let scratch = std::env::temp_dir();
    let chosen: Vec<Form> = FORMS
        .into_iter()
        .filter(|form| form.to_string().contains(only))
        .collect();
    let (has_pods, has_fleet) = (PODS.contains(only), FLEET.to_string().contains(only));
    if chosen.is_empty() && !has_pods && !has_fleet {
        return Err(format!("no file has {only} in its path"));
    }
    let show = Show::start();
    let registry = Registry::start(&scratch).await?;
    let modules = modules(&registry)?;
    show.done("a registry on the loopback has the images of three modules");
    if has_pods {
        pods::made(&scratch, &show)?;
    }
    for form in &chosen {
        plays::form(*form, &modules, &show)
            .await
            .map_err(|reason| format!("{form}: {reason}"))?;
    }
    for form in chosen.iter().filter(|form| form.tells_of_0_1_0()) {
        plays::from_0_1_0(*form, &modules, &show)
            .await
            .map_err(|reason| format!("{form}, from 0.1.0: {reason}"))?;
    }
    if has_fleet {
        let played = plays::fleet(&modules, &show).await;
        played.map_err(|reason| format!("{FLEET}: {reason}"))?;
    }
    Ok(())
}

/// What `make test-istio` has built.
fn modules(registry: &Registry) -> Fallible<Modules> {
    let built = root().join("target/wasm32-wasip1/release");
    let images = root().join("target/control-planes");
    let module = |file: PathBuf, tag: &'static str, layout: &Path| {
        let digest = registry.push(layout, files::IMAGE, tag)?;
        Fallible::Ok(Module { file, tag, digest })
    };
    Ok(Modules {
        shipped: module(
            built.join("mcp_session_filter.wasm"),
            "shipped",
            &root().join("target/image"),
        )?,
        upgrade: module(
            built.join("mcp_session_filter.names.wasm"),
            "upgrade",
            &images.join("upgrade"),
        )?,
        old: module(
            root().join("tests/gateway/fixtures/mcp_session_filter-0.1.0.wasm"),
            "old",
            &images.join("old"),
        )?,
    })
}
