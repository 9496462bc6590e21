//! `make bench`, `make soak` and `make report`: runs experiments, and writes their results and the report.

use std::path::Path;
use std::process::ExitCode;

use load::experiments::{self, Lab};
use load::options::Options;
use load::results::{self, Machine, Results, Run};
use load::{Fallible, limits, report};

const RESULTS: &str = "results.json";

const USAGE: &str = "\
usage: bench [--only cpu,sessions] [--scale 0.01] [--soak] [--strict]
       bench report

Experiments: cpu sessions million toolhive kuadrant contextforge apisix.
Results and report go to target/bench, those of a smaller scale to target/bench/quick and those of --soak to
target/bench/soak. With --strict a missed target fails.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut options = Options::new(std::env::args().skip(1));
    let done = match options.word().as_deref() {
        None => tokio::task::LocalSet::new().run_until(bench(options)).await,
        Some("report") => write_reports().map(|()| true),
        Some(_) => Err(USAGE.into()),
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

/// Runs experiments one after the other. Returns false if targets count and one was missed.
async fn bench(mut options: Options) -> Fallible<bool> {
    let open_files = limits::raise_open_files();
    let lab = Lab {
        soak: options.flag("--soak"),
        scale: options.value("--scale", 1.0)?,
        open_files,
    };
    let strict = options.flag("--strict");
    let all = if lab.soak {
        experiments::SOAK.join(",")
    } else {
        experiments::NAMES.join(",")
    };
    let only = options.value("--only", all)?;
    options.end()?;
    let machine = Machine::this()?;
    let directory = results::directory(lab.scale, lab.soak);
    let mut good = true;
    for name in only.split(',').filter(|name| !name.is_empty()) {
        println!("\n{name}");
        let run = lab.run(name, &machine).await?;
        print(&run);
        good &= run.outcome.claims.iter().all(|claim| claim.met);
        keep(&directory, name, run)?;
    }
    write_report(&directory)?;
    Ok(good || !strict)
}

/// Adds a run to the results at once, so that nothing is lost if a later run fails.
fn keep(directory: &Path, name: &str, run: Run) -> Fallible<()> {
    let path = directory.join(RESULTS);
    let mut results = Results::read(&path)?;
    results.experiments.insert(name.to_owned(), run);
    results.write(&path)
}

fn print(run: &Run) {
    println!("  {} · {:.0} s", run.outcome.title, run.seconds);
    for claim in &run.outcome.claims {
        let mark = if claim.met { "met   " } else { "MISSED" };
        println!(
            "  {mark} {}: {} (target {})",
            claim.what, claim.figure, claim.target
        );
    }
    for chart in &run.outcome.charts {
        println!("         {}", chart.title);
    }
}

/// Draws every report for which there are results.
fn write_reports() -> Fallible<()> {
    let kinds = [(1.0, false), (1.0, true), (0.0, false)];
    let directories = kinds.map(|(scale, soak)| results::directory(scale, soak));
    let mut drawn = directories
        .iter()
        .filter(|directory| directory.join(RESULTS).is_file())
        .peekable();
    if drawn.peek().is_none() {
        return Err("no results yet: run `make bench`".into());
    }
    drawn.try_for_each(|directory| write_report(directory))
}

fn write_report(directory: &Path) -> Fallible<()> {
    let results = Results::read(&directory.join(RESULTS))?;
    for (name, text) in [
        ("report.html", report::page(&results)),
        ("summary.md", report::table(&results)),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}
