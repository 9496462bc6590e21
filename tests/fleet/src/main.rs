//! Several gateways with one cap: real Envoys with two workers each, and a real etcd.
//!
//! `fleet run` is `make run-fleet`: two gateways and an etcd, one session after the other, step by step. All else is
//! `make test-fleet`: each [scenario](scenarios) plays by itself, says what it saw, and whether that is right. The table
//! of all is printed at the end and written to `target/fleet/report.md`; with `docs` its figures go into `docs/fleet.md`, too.
//! `fleet page` puts them there from the last results.

mod bed;
mod clients;
mod etcd;
mod proxy;
mod random;
mod report;
mod run;

mod scenarios;
mod server;

use std::process::ExitCode;

use scenarios::Scenario;

/// An error with a reason for a person to read.
type Fallible<T> = Result<T, String>;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some("run") => run::run().await.map(|()| true),
        Some("page") => report::write_page().map(|()| true),
        _ => play(&words).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("\n{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the scenarios that are named, or all. Returns whether everything was right.
async fn play(words: &[String]) -> Fallible<bool> {
    let (docs, names): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| *word == "docs");
    let known = |name: &&&String| {
        Scenario::ALL
            .iter()
            .any(|scenario| scenario.name == name.as_str())
    };
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(format!("{unknown}: unknown\n\n{}", usage()));
    }
    let is_wanted =
        |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| *name == scenario.name);
    let wanted: Vec<&Scenario> = Scenario::ALL.iter().filter(is_wanted).collect();
    let mut played = Vec::new();
    for (number, scenario) in (1..).zip(&wanted) {
        println!(
            "\n[{number}/{}] {}: {}",
            wanted.len(),
            scenario.name,
            scenario.about
        );
        let findings = scenario.play().await;
        findings.save()?;
        played.push(findings);
    }
    report::write(&played, !docs.is_empty())?;
    Ok(played.iter().all(report::Findings::are_good))
}

fn usage() -> String {
    let line = |scenario: &Scenario| format!("  {:<16} {}", scenario.name, scenario.about);
    let lines: Vec<String> = Scenario::ALL.iter().map(line).collect();
    format!(
        "usage: fleet run | fleet page | fleet [docs] [SCENARIO...]\n\n{}",
        lines.join("\n")
    )
}
