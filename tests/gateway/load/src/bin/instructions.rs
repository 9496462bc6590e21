//! `make instructions`: what each filter adds to a request, in instructions.

use std::process::ExitCode;

use load::experiments::instructions;
use load::options::Options;
use load::{Fallible, limits};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    limits::raise_open_files();
    let counted = tokio::task::LocalSet::new().run_until(count()).await;
    match counted {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn count() -> Fallible<String> {
    let mut options = Options::new(std::env::args().skip(1));
    let requests = options.value("--requests", 20)?;
    let only: String = options.value("--only", String::new())?;
    options.end()?;
    instructions::run(requests, &only).await
}
