//! `make test-servers`: servers by others, behind the filter in a real Envoy.
//!
//! Each row is one play against one server: what the client saw, what the server holds, what the gauge says. The
//! three must agree. The table is printed at the end and written to `target/servers/report.md`.

mod bed;
mod http3;
mod parties;
mod plays;
mod report;

use std::process::ExitCode;

use report::{Row, write};

const USAGE: &str = "\
usage: servers [everything] [python] [go] [java] [http3]

Plays all where none is named.";

const PARTS: [&str; 5] = ["everything", "python", "go", "java", "http3"];

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| !PARTS.contains(&word.as_str())) {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    }
    if let Err(error) = conformance::parties::install_scripts() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut rows = Vec::new();
    for part in PARTS {
        if words.is_empty() || words.iter().any(|word| word == part) {
            rows.extend(play(part).await);
        }
    }
    match write(&rows) {
        Ok(()) if rows.iter().all(Row::is_good) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(part: &str) -> Vec<Row> {
    match part {
        "everything" => plays::everything().await,
        "python" => plays::python().await,
        "go" => plays::go().await,
        "java" => plays::java().await,
        _ => http3::rows().await,
    }
}
