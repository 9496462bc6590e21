//! Prometheus over a real gateway. `watch run` is `make watch`: a gateway under load, to look at. `watch check` is the
//! part of `make test-watch` that promtool cannot do: it asks a real Prometheus, which has scraped a real Envoy under
//! load, every query of the dashboard and of the rules that ship.

mod busy;
mod check;
mod dashboard;
mod fleet;
mod load_thread;
mod prometheus;
mod queries;
mod run;

use std::process::ExitCode;

/// An error with a reason for a person to read.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("run") => run::run().await,
        Some("check") => check::check().await,
        _ => Err("usage: watch run|check".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("\n{reason}");
            ExitCode::FAILURE
        }
    }
}
