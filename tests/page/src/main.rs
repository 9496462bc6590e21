//! `make test-page`: the page of the status view, served by the filter in a real Envoy, in a real Chromium.
//!
//! Each state of the gateway has an Envoy of its own. `js/look.mjs` opens the page in it, light and dark, wide and as
//! narrow as a telephone, and says what is wrong; its pictures go to target/page.

mod chromium;
mod states;

use std::process::ExitCode;

use load::{Fallible, limits};
use states::STATES;

const USAGE: &str = "\
usage: page [empty] [few] [full] [million] [removed]

Shows all where none is named. $SESSIONS is how many sessions `million` has, 1,000,000 unless set.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match tokio::task::LocalSet::new().run_until(run(&words)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Looks at the page in each of these states. Returns false if anything was wrong.
async fn run(words: &[String]) -> Fallible<bool> {
    if words.iter().any(|word| !STATES.contains(&word.as_str())) {
        return Err(USAGE.into());
    }
    limits::raise_open_files();
    let mut good = true;
    for state in STATES {
        if words.is_empty() || words.iter().any(|word| word == state) {
            good &= states::show(state).await?;
        }
    }
    Ok(good)
}
