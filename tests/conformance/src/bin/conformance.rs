//! `make conformance`: plays the matrix, the official suite and the reactions, prints their tables, and writes them to
//! `target/conformance`. Fails if anything is worse through the filter.

use std::process::ExitCode;

use conformance::matrix::Setting;
use conformance::report::Results;
use conformance::{Fallible, matrix, parties, reactions, suite};
use gateway::envoy::root;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: conformance [matrix] [rejecting] [suite] [reactions] [docs]

Plays all where none is named. With `docs` the tables go into docs/conformance.md too.";

/// The page that shows the tables.
const PAGE: &str = "docs/conformance.md";

/// Between these two lines of the page are the tables.
const BEGIN: &str = "<!-- written by `make conformance ONLY=docs` -->\n";
const END: &str = "<!-- end -->\n";

#[tokio::main]
async fn main() -> ExitCode {
    // Ended here, what was started ends too.
    let run = run(std::env::args().skip(1).collect());
    let done = tokio::select! {
        done = run => done,
        () = interrupted() => Err("interrupted".to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C, or SIGTERM.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

async fn run(words: Vec<String>) -> Fallible<bool> {
    let (docs, words): (Vec<String>, Vec<String>) = words.into_iter().partition(|word| word == "docs");
    if words
        .iter()
        .any(|word| !["matrix", "rejecting", "suite", "reactions"].contains(&word.as_str()))
    {
        return Err(USAGE.to_owned());
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    parties::install_scripts()?;
    let mut results = Results::default();
    if wanted("matrix") {
        println!("clients and servers");
        results.matrix = Some(matrix::play(Setting::Shipped).await?);
    }
    if wanted("rejecting") {
        println!("clients and servers, with sessionless: reject");
        results.rejecting = Some(matrix::play(Setting::Rejecting).await?);
    }
    if wanted("suite") {
        println!("the official conformance suite");
        results.suite = Some(suite::play().await?);
    }
    if wanted("reactions") {
        println!("reactions");
        results.reactions = Some(reactions::play().await?);
    }
    write(&results)?;
    if !docs.is_empty() {
        write_page(&results.summary())?;
    }
    Ok(results.is_good())
}

fn write(results: &Results) -> Fallible<()> {
    let failed = |error: std::io::Error| error.to_string();
    let directory = root().join("target/conformance");
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let text = results.markdown();
    let json = serde_json::to_string_pretty(results).map_err(|error| error.to_string())?;
    std::fs::write(directory.join("summary.md"), &text).map_err(failed)?;
    std::fs::write(directory.join("results.json"), json).map_err(failed)?;
    println!("\n{text}\nWritten: {}", directory.join("summary.md").display());
    Ok(())
}

fn write_page(tables: &str) -> Fallible<()> {
    let path = root().join(PAGE);
    let page = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let parts = page
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{PAGE}: no place for the tables"))?;
    std::fs::write(&path, format!("{before}{BEGIN}\n{tables}{END}{after}")).map_err(|error| error.to_string())
}
