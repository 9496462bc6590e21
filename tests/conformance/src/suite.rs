//! The official conformance suite against the fixture server, direct and through the filter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::Fallible;
use crate::bed::Bed;
use crate::matrix::refusal;
use crate::parties::{self, FIXTURE};

const BOUND: Duration = Duration::from_secs(240);

/// One way to run the suite.
#[derive(Debug, Clone, Copy)]
struct Run {
    name: &'static str,
    package: &'static str,
    arguments: &'static [&'static str],
    /// Every check must succeed.
    all_green: bool,
}

const RUNS: [Run; 3] = [
    Run {
        name: "0.1.16, all",
        package: "@modelcontextprotocol/conformance",
        arguments: &["--suite", "all"],
        all_green: true,
    },
    Run {
        name: "0.2.0-alpha.12, 2025-11-25",
        package: "conformance-next",
        arguments: &["--requirements", "2025-11-25"],
        all_green: true,
    },
    Run {
        name: "0.2.0-alpha.12, 2026-07-28",
        package: "conformance-next",
        arguments: &["--requirements", "2026-07-28"],
        all_green: false,
    },
];

/// The filter's settings the suite is run with.
struct Setting {
    name: &'static str,
    fields: Value,
    /// In this setting the filter judges no message by its content, so every check must come out as it does direct.
    /// Otherwise no check may come out worse.
    identical: bool,
}

fn settings() -> [Setting; 3] {
    let setting = |name, fields, identical| Setting {
        name,
        fields,
        identical,
    };
    [
        setting("verify_headers: false", json!({"verify_headers": false}), true),
        setting("as it ships", json!({}), false),
        setting("strict_json_rpc: true", json!({"strict_json_rpc": true}), false),
    ]
}

/// Checks by scenario, id and which of that id, with their status.
type Checks = BTreeMap<String, String>;

/// The results of one run, direct and through one setting of the filter.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub suite: &'static str,
    pub setting: &'static str,
    pub direct: Checks,
    pub through: Checks,
    /// Checks that came out other than they should have.
    pub faults: Vec<String>,
}

/// All comparisons, and the settings left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Suite {
    pub comparisons: Vec<Comparison>,
    pub left_out: Vec<(String, String)>,
}

impl Suite {
    /// Whether nothing came out other than it should have.
    pub fn is_good(&self) -> bool {
        self.comparisons
            .iter()
            .all(|comparison| comparison.faults.is_empty())
    }
}

/// How many of the checks succeeded, of those that did or failed, as the suite itself counts.
pub fn tally(checks: &Checks) -> String {
    let count = |wanted: &str| checks.values().filter(|status| *status == wanted).count();
    let (good, bad) = (count("SUCCESS"), count("FAILURE"));
    format!("{good}/{}", good + bad)
}

/// Runs everything.
pub async fn play() -> Fallible<Suite> {
    let fixture = FIXTURE.program().serve().await?;
    let mut direct = Vec::new();
    for run in &RUNS {
        direct.push(checks(run, fixture.address()).await?);
    }
    let mut suite = Suite::default();
    for setting in settings() {
        let bed = match Bed::start(&FIXTURE, fixture.address(), setting.fields.clone()).await {
            Ok(bed) => bed,
            Err(log) => {
                suite.left_out.push((setting.name.to_owned(), refusal(&log)?));
                continue;
            }
        };
        // A module that does not know the first setting verifies nothing as it ships.
        let is_first = suite.comparisons.is_empty();
        for (run, direct) in RUNS.iter().zip(&direct) {
            let through = checks(run, bed.address()).await?;
            let comparison = compare(run, setting.name, setting.identical || is_first, direct, through);
            println!("  {}", comparison.line());
            suite.comparisons.push(comparison);
        }
    }
    Ok(suite)
}

fn compare(
    run: &Run,
    setting: &'static str,
    identical: bool,
    direct: &Checks,
    through: Checks,
) -> Comparison {
    let names: BTreeSet<&String> = direct.keys().chain(through.keys()).collect();
    let status = |checks: &Checks, name: &str| checks.get(name).map_or("missing", String::as_str).to_owned();
    let mut faults = Vec::new();
    for name in names {
        let (before, now) = (status(direct, name), status(&through, name));
        let differs = before != now && (identical || before == "SUCCESS");
        // The suite takes a warning for no failure either: 0.1.16 asks for events of a later revision than it names.
        let is_red = run.all_green && ["FAILURE", "missing"].contains(&now.as_str());
        if differs || is_red {
            faults.push(format!("{name}: {before} direct, {now} through"));
        }
    }
    Comparison {
        suite: run.name,
        setting,
        direct: direct.clone(),
        through,
        faults,
    }
}

impl Comparison {
    fn line(&self) -> String {
        let faults = match self.faults.is_empty() {
            true => String::new(),
            false => format!("  WORSE: {}", self.faults.join("; ")),
        };
        format!(
            "{:<28} {:<24} {} ({} direct){faults}",
            self.suite,
            self.setting,
            tally(&self.through),
            tally(&self.direct)
        )
    }
}

/// Runs the suite once and reads what it has written.
async fn checks(run: &Run, address: std::net::SocketAddr) -> Fallible<Checks> {
    let output = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = parties::suite(run.package)
        .arg("--url")
        .arg(format!("http://{address}/mcp"))
        .arg("-o")
        .arg(output.path().display().to_string());
    let program = run
        .arguments
        .iter()
        .fold(program, |program, word| program.arg(*word));
    let printed = program.run(BOUND).await?;
    let checks = read(output.path())?;
    match printed.late || checks.is_empty() {
        true => Err(format!("the suite {} did not end: {}", run.name, printed.stderr)),
        false => Ok(checks),
    }
}

/// Every `<scenario>-<time>/checks.json`.
fn read(output: &Path) -> Fallible<Checks> {
    let mut checks = Checks::new();
    for scenario in std::fs::read_dir(output).map_err(|error| error.to_string())? {
        let path = scenario.map_err(|error| error.to_string())?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(path.join("checks.json")).map_err(|error| error.to_string())?;
        let found: Vec<Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let mut seen = BTreeMap::new();
        for check in found.iter().filter(|check| check["status"] != "INFO") {
            let id = check["id"].as_str().unwrap_or_default();
            let number = seen
                .entry(id.to_owned())
                .and_modify(|number| *number += 1)
                .or_insert(1);
            let status = check["status"].as_str().unwrap_or_default();
            checks.insert(format!("{} {id} {number}", scenario_of(&name)), status.to_owned());
        }
    }
    Ok(checks)
}

/// A directory's name without `server-` and the time.
fn scenario_of(directory: &str) -> &str {
    let name = directory.strip_prefix("server-").unwrap_or(directory);
    let time = "-2026-11-20T12-35-49-075Z".len();
    name.len().checked_sub(time).map_or(name, |end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(all: &[(&str, &str)]) -> Checks {
        let owned = |(name, status): &(&str, &str)| ((*name).to_owned(), (*status).to_owned());
        all.iter().map(owned).collect()
    }

    fn faults(run: usize, identical: bool, direct: &[(&str, &str)], through: &[(&str, &str)]) -> usize {
        compare(&RUNS[run], "", identical, &checks(direct), checks(through))
            .faults
            .len()
    }

    #[test]
    fn a_scenario_is_named_by_its_directory() {
        assert_eq!(scenario_of("server-ping-2026-11-20T12-35-49-075Z"), "ping");
    }

    #[test]
    fn any_difference_counts_where_results_must_be_identical() {
        let (bad, good) = ([("a", "FAILURE")], [("a", "SUCCESS")]);
        assert_eq!(faults(2, true, &bad, &bad), 0);
        assert_eq!(faults(2, true, &bad, &good), 1);
        assert_eq!(faults(2, true, &good, &[]), 1);
    }

    #[test]
    fn only_what_is_worse_counts_elsewhere() {
        let (bad, good) = ([("a", "FAILURE")], [("a", "SUCCESS")]);
        assert_eq!(faults(2, false, &bad, &good), 0);
        assert_eq!(faults(2, false, &good, &bad), 1);
    }

    #[test]
    fn a_red_check_counts_where_all_must_be_green() {
        assert_eq!(faults(0, false, &[("a", "FAILURE")], &[("a", "FAILURE")]), 1);
        assert_eq!(faults(0, false, &[("a", "SKIPPED")], &[("a", "SKIPPED")]), 0);
    }
}
