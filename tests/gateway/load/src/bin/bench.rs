//! `make bench`, `make soak` and `make report`: runs experiments, and writes their results, the report, and the
//! figures in the documents.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use load::experiments::{self, Lab};
use load::options::Options;
use load::plan::{self, Step};
use load::progress::{Course, clock};
use load::report::{self, Placed, placed};
use load::results::{self, Machine, Results, Run};
use load::{Fallible, limits};

const RESULTS: &str = "runs.json";
/// Where results go that the next ones cannot stand beside.
const EARLIER: &str = "earlier.json";

const USAGE: &str = "\
usage: bench [--only cpu,sessions] [--scale 0.01] [--runs 3] [--anew] [--soak] [--strict]
       bench report [--partial]

Experiments: cpu sessions million toolhive kuadrant contextforge apisix abandoned.
Results and report go to target/bench, those of a smaller scale to target/bench/quick and those of --soak to
target/bench/soak. What has its result for this module, machine and scale is not run again, unless --anew; --runs is
how many runs of each experiment there are to be. Once every figure of the table in the README is there, at full size,
it is written there; report --partial, for who adds a row, writes what there is. With --strict a missed target fails.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut options = Options::new(std::env::args().skip(1));
    let done = match options.word().as_deref() {
        None => tokio::task::LocalSet::new().run_until(bench(options)).await,
        Some("report") => reports(options).map(|()| true),
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

/// Runs what has no result yet, one after the other. Returns false if an experiment could not be run, or if targets
/// count and one was missed.
async fn bench(mut options: Options) -> Fallible<bool> {
    let open_files = limits::raise_open_files();
    let lab = Lab {
        soak: options.flag("--soak"),
        scale: options.value("--scale", 1.0)?,
        open_files,
    };
    let (strict, anew) = (options.flag("--strict"), options.flag("--anew"));
    let runs = match options.value("--runs", 0)? {
        0 => None,
        runs => Some(runs),
    };
    let only = options.value("--only", lab.all().join(","))?;
    options.end()?;
    let names: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    experiments::known(&names)?;
    let bench = Bench {
        directory: results::directory(lab.scale, lab.soak),
        machine: Machine::this()?,
        lab,
    };
    let steps = plan::steps(&names, runs, bench.lab.soak);
    bench.set_aside(anew.then_some(names.as_slice()))?;
    let whole = bench.run(&steps).await?;
    let results = bench.results()?;
    write_report(&bench.directory, &results)?;
    bench.write_figures(&results)?;
    let claims = results.experiments.values().flatten();
    let met = claims.flat_map(|run| &run.outcome.claims).all(|claim| claim.met);
    Ok(whole && (met || !strict))
}

/// Where it runs, and where its results go.
struct Bench {
    lab: Lab,
    machine: Machine,
    directory: std::path::PathBuf,
}

impl Bench {
    fn results(&self) -> Fallible<Results> {
        Results::read(&self.directory.join(RESULTS))
    }

    /// Moves results away that new ones cannot stand beside, and removes those of experiments that are to be measured
    /// `anew`. Says so in a line.
    fn set_aside(&self, anew: Option<&[&str]>) -> Fallible<()> {
        let path = self.directory.join(RESULTS);
        let mut results = self.results()?;
        if let Some(reason) = results.differ_from(&self.machine, self.lab.scale) {
            std::fs::rename(&path, self.directory.join(EARLIER))?;
            println!("begins anew: {reason}; the earlier results are in {EARLIER}");
        } else if let Some(names) = anew {
            results
                .experiments
                .retain(|name, _| !names.contains(&name.as_str()));
            results.write(&path)?;
            println!("begins anew, as asked: {}", names.join(", "));
        }
        Ok(())
    }

    /// Runs the steps that have no result yet. An experiment that cannot be run does not keep the others from running.
    /// Returns whether all could.
    async fn run(&self, steps: &[Step]) -> Fallible<bool> {
        let (began, mut whole) = (Instant::now(), true);
        if let Some(line) = plan::taken_over(steps, &self.results()?) {
            println!("{line}");
        }
        for (place, step) in steps.iter().enumerate() {
            if step.is_done(&self.results()?) {
                continue;
            }
            let what = format!("[{} of {}] {}", place + 1, steps.len(), step.title());
            let course = Course {
                what,
                began,
                ends: Instant::now() + self.left(&steps[place..])?,
            };
            println!("\n{}", course.line());
            course.show();
            match self.lab.run(&step.name, &self.machine).await {
                Ok(run) => self.keep(&step.name, run)?,
                Err(error) => {
                    eprintln!("  not measured: {error}");
                    whole = false;
                }
            }
        }
        println!("\ntook {}", clock(began.elapsed()));
        if !whole {
            eprintln!("not all could be measured: the same command tries again what lacks");
        }
        Ok(whole)
    }

    /// How long these steps take, but for those that are done.
    fn left(&self, steps: &[Step]) -> Fallible<Duration> {
        let (results, earlier) = (self.results()?, Results::read(&self.directory.join(EARLIER)));
        let earlier = earlier.unwrap_or_default();
        let to_run = steps.iter().filter(|step| !step.is_done(&results));
        Ok(to_run
            .map(|step| step.expected(self.lab.scale, [&results, &earlier]))
            .sum())
    }

    /// Adds a run to the results at once, so that nothing is lost if a later run fails.
    fn keep(&self, name: &str, run: Run) -> Fallible<()> {
        print(&run);
        let mut results = self.results()?;
        results.add(name, run);
        results.write(&self.directory.join(RESULTS))
    }

    /// Writes the figures into their document, if they are of full size and all there; says which lack.
    fn write_figures(&self, results: &Results) -> Fallible<()> {
        match (self.lab.scale == 1.0, self.lab.soak) {
            (true, true) => write_figures(&placed::SOAK, results, false),
            (true, false) => write_figures(&placed::BENCH, results, false),
            (false, _) => Ok(()),
        }
    }
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

/// Draws every report for which there are results, and the figures in the documents.
fn reports(mut options: Options) -> Fallible<()> {
    let partial = options.flag("--partial");
    options.end()?;
    let mut drawn = partial;
    for (scale, soak, places) in [
        (1.0, false, &placed::BENCH[..]),
        (1.0, true, &placed::SOAK),
        (0.0, false, &[]),
    ] {
        let directory = results::directory(scale, soak);
        let results = Results::read(&directory.join(RESULTS))?;
        if !results.experiments.is_empty() {
            write_report(&directory, &results)?;
            drawn = true;
        }
        if partial || !results.experiments.is_empty() {
            write_figures(places, &results, partial)?;
        }
    }
    match drawn {
        true => Ok(()),
        false => Err("no results yet: run `make bench`".into()),
    }
}

fn write_report(directory: &Path, results: &Results) -> Fallible<()> {
    for (name, text) in [
        ("report.html", report::page(results)),
        ("summary.md", report::table(results)),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Writes the figures into each of these documents, if none lacks there or a `partial` table will do; says which lack.
fn write_figures(places: &[Placed], results: &Results, partial: bool) -> Fallible<()> {
    let Some(widest) = places.last() else {
        return Ok(());
    };
    println!("\n{}", widest.table(results));
    for placed in places {
        let missing = placed.missing(results);
        if let [first, ..] = missing[..]
            && !partial
        {
            let (document, count) = (placed.document, missing.len());
            println!("{document} stays as it is: it needs {count} more figures, the first of them: {first}");
            continue;
        }
        let path = gateway::envoy::root().join(placed.document);
        let old = std::fs::read_to_string(&path)?;
        std::fs::write(&path, placed.put(&old, &placed.table(results))?)?;
        println!("{}", path.display());
    }
    Ok(())
}
