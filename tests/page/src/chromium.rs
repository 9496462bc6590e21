//! The script that drives Chromium.

use std::process::Stdio;

use gateway::envoy::root;
use load::Fallible;
use tokio::process::Command;

/// Opens the page at this address in Chromium, which shows the gateway in this state. Returns false if anything was
/// wrong; the script has said what.
pub(crate) async fn look(state: &str, address: &str) -> Fallible<bool> {
    let installed = root().join(".cache/page");
    let pictures = root().join("target/page");
    std::fs::create_dir_all(&pictures)?;
    // The script finds its packages beside itself.
    let script = installed.join("look.mjs");
    std::fs::copy(root().join("tests/page/js/look.mjs"), &script)?;
    let status = Command::new(installed.join("node_modules/node/bin/node"))
        .arg(script)
        .args([state, address])
        .arg(pictures)
        .arg(installed.join("chromium"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await?;
    Ok(status.success())
}
