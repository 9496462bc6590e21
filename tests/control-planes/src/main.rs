//! `make test-istio` and `make test-envoy-gateway`: the files of `envoy/istio` and of `envoy/envoy-gateway` as they ship,
//! served to a real Envoy by the control plane that they are for, in the hands of clients.
//!
//! It runs inside of `tests/control-planes/run`, so that its ports are fixed and its folders are its own.

mod envoy_gateway;
mod fleet;
mod istio;
mod play;
mod process;
mod registry;
mod resources;
mod show;

use std::process::ExitCode;

/// A result whose error is told in words.
pub type Fallible<T> = Result<T, String>;

#[tokio::main]
async fn main() -> ExitCode {
    match played().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("FAILED  {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn played() -> Fallible<()> {
    if std::env::var_os("MACHINE_OF_ITS_OWN").is_none() {
        return Err("this runs only by tests/control-planes/run: it writes into the root folder".to_owned());
    }
    let only = std::env::args().nth(2).unwrap_or_default();
    match std::env::args().nth(1).as_deref() {
        Some("istio") => istio::play(&only).await,
        Some("envoy-gateway") => envoy_gateway::play(&only).await,
        _ => Err(
            "usage: tests/control-planes/run control-planes istio|envoy-gateway [PART OF A FILE'S PATH]"
                .to_owned(),
        ),
    }
}
