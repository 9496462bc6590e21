//! `make test-protection`: what breaks real MCP servers, tried at them directly and through the filter in a real Envoy.
//!
//! Each part prints its table and what it found wrong. With `docs` the tables go into `docs/protection.md` too.

mod bodies;
mod drive;
mod flood;
mod kinds;
mod lost;
mod owner;
mod report;
mod sessionless;
mod victim;

use std::process::ExitCode;

use conformance::Fallible;
use report::Part;

const USAGE: &str = "\
usage: protection [sessionless] [lost] [flood] [owner] [bodies] [docs]

Plays all where none is named. $REQUESTS is how many requests of each kind, 10,000 unless set. For a part of
`sessionless`: $VERSIONS of the servers, and $WAYS to them, of direct,pass,reject,tell.";

const PARTS: [&str; 5] = ["sessionless", "lost", "flood", "owner", "bodies"];

#[tokio::main]
async fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: Vec<String>) -> Fallible<bool> {
    let (docs, words): (Vec<String>, Vec<String>) = words.into_iter().partition(|word| word == "docs");
    if words.iter().any(|word| !PARTS.contains(&word.as_str())) {
        return Err(USAGE.to_owned());
    }
    conformance::parties::install_scripts()?;
    let mut good = true;
    for name in PARTS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            println!("{name}");
            for part in play(name).await? {
                good &= part.faults.is_empty();
                show(&part, !docs.is_empty())?;
            }
        }
    }
    Ok(good)
}

fn show(part: &Part, docs: bool) -> Fallible<()> {
    println!("\n{}", part.text);
    for fault in &part.faults {
        println!("WRONG: {fault}");
    }
    if docs { part.write() } else { Ok(()) }
}

async fn play(name: &str) -> Fallible<Vec<Part>> {
    match name {
        "sessionless" => sessionless::play(requests()?).await,
        "lost" => Ok(vec![lost::play().await?]),
        "flood" => Ok(vec![flood::play(requests()?).await?]),
        "owner" => Ok(vec![owner::play().await?]),
        _ => Ok(vec![bodies::play().await?]),
    }
}

fn requests() -> Fallible<u64> {
    let said = std::env::var("REQUESTS").unwrap_or_else(|_| "10000".to_owned());
    let number: u64 = said.parse().map_err(|_| format!("REQUESTS is {said}"))?;
    (number > 100)
        .then_some(number)
        .ok_or_else(|| format!("REQUESTS is {number}, not above 100"))
}
