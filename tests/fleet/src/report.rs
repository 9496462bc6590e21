//! What the scenarios have seen: printed as it comes, and as one table at the end.

use std::fmt::Display;
use std::path::PathBuf;

use gateway::envoy::root;
use serde_json::{Value, json};

use crate::Fallible;
use crate::clients::Tally;
use crate::scenarios::Scenario;

/// The page that shows the table.
const PAGE: &str = "docs/fleet.md";

/// Between these two lines the page has the table.
const MARKS: [&str; 2] = ["<!-- begin figures -->\n", "<!-- end figures -->"];

/// How many characters of an error the table shows: a gateway that does not start has a long log.
const SHOWN: usize = 400;

/// What one scenario has seen.
#[derive(Debug)]
pub struct Findings {
    scenario: &'static str,
    rows: Vec<Row>,
}

/// One thing that was seen.
#[derive(Debug, Clone)]
struct Row {
    what: String,
    seen: String,
    is_good: bool,
}

impl Findings {
    /// Nothing yet.
    pub fn of(scenario: &'static str) -> Self {
        Self {
            scenario,
            rows: Vec::new(),
        }
    }

    /// Something that must be so, with what was seen.
    pub fn check(&mut self, what: impl Into<String>, seen: impl Display, is_good: bool) {
        let row = Row {
            what: what.into(),
            seen: seen.to_string(),
            is_good,
        };
        let verdict = if is_good { "ok   " } else { "WRONG" };
        println!("  {verdict} {}: {}", row.what, row.seen);
        self.rows.push(row);
    }

    /// A number that must be this one.
    pub fn equals<T: Display + PartialEq>(&mut self, what: impl Into<String>, seen: T, wanted: T) {
        let is_good = seen == wanted;
        let text = match is_good {
            true => seen.to_string(),
            false => format!("{seen}, not {wanted}"),
        };
        self.check(what, text, is_good);
    }

    /// Something that was measured.
    pub fn figure(&mut self, what: impl Into<String>, seen: impl Display) {
        self.check(what, seen, true);
    }

    /// Checks that clients got no answers but those that let in or refuse.
    pub fn nothing_else(&mut self, what: impl Into<String>, tally: &Tally) {
        self.check(what, format!("{:?}", tally.wrong), tally.wrong.is_empty());
    }

    /// Whether all was right, and anything was seen.
    pub fn are_good(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.is_good)
    }

    /// Keeps them for the table of a later run, which may play others.
    pub fn save(&self) -> Fallible<()> {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        let path = kept(self.scenario);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        std::fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed)?;
        std::fs::write(&path, json!(rows).to_string()).map_err(failed)
    }
}

impl Row {
    fn to_json(&self) -> Value {
        json!({"what": self.what, "seen": self.seen, "good": self.is_good})
    }

    fn from_json(row: &Value) -> Option<Self> {
        Some(Self {
            what: row["what"].as_str()?.to_owned(),
            seen: row["seen"].as_str()?.to_owned(),
            is_good: row["good"].as_bool()?,
        })
    }

    fn line(&self, scenario: &str) -> String {
        let seen: String = self.seen.chars().take(SHOWN).collect();
        let verdict = if self.is_good { "" } else { "**wrong** " };
        let cells = [scenario.to_owned(), self.what.clone(), format!("{verdict}{seen}")];
        let safe = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        format!("| {} |\n", safe.join(" | "))
    }
}

fn kept(scenario: &str) -> PathBuf {
    root().join("target/fleet").join(format!("{scenario}.json"))
}

/// What a scenario has seen when it was last played.
fn last(scenario: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(kept(scenario)).unwrap_or_default();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    rows.iter().filter_map(Row::from_json).collect()
}

/// What the page shows, besides whether all was right: all the rest is in `target/fleet/report.md`.
const FIGURES: [&str; 17] = [
    "sessions let in, of 1,000 at once",
    "longest time to an answer",
    "time from the last DELETE",
    "sessions opened",
    "newcomers refused",
    "time to the answer",
    "the first newcomer",
    "time until",
    "both gateways are",
    "newcomers let in while lost",
    "newcomers let in then",
    "let in by the one that goes on",
    "memory of",
    "and etcd",
    "requests",
    "CPU of Envoy",
    "difference of the medians",
];

const HEAD: &str = "| scenario | what | seen |\n|---|---|---|\n";

fn table(scenario: &str, rows: &[Row]) -> String {
    rows.iter().map(|row| row.line(scenario)).collect()
}

/// All scenarios, each as it was last played: with all rows.
fn whole_table() -> String {
    let lines = Scenario::ALL.iter().map(|scenario| match last(scenario.name) {
        rows if rows.is_empty() => not_measured(scenario),
        rows => table(scenario.name, &rows),
    });
    format!("{HEAD}{}", lines.collect::<String>())
}

/// The same with what a reader of the page wants to know.
fn page_table() -> String {
    let lines = Scenario::ALL.iter().map(|scenario| {
        let rows = last(scenario.name);
        if rows.is_empty() {
            return not_measured(scenario);
        }
        let good = rows.iter().filter(|row| row.is_good).count();
        let first = Row {
            what: scenario.about.to_owned(),
            seen: format!("{good} of {} as they must be", rows.len()),
            is_good: good == rows.len(),
        };
        let is_figure = |row: &&Row| FIGURES.iter().any(|part| row.what.contains(part));
        let figures: Vec<Row> = rows.iter().filter(is_figure).cloned().collect();
        first.line(scenario.name) + &table("", &figures)
    });
    format!("{HEAD}{}", lines.collect::<String>())
}

fn not_measured(scenario: &Scenario) -> String {
    format!("| {} | {} | not measured |\n", scenario.name, scenario.about)
}

/// Prints the table of what was played, and writes that of all; into the page, too, if `docs` says so.
pub fn write(played: &[Findings], docs: bool) -> Fallible<()> {
    let lines: String = played
        .iter()
        .map(|findings| table(findings.scenario, &findings.rows))
        .collect();
    let all: Vec<&Row> = played.iter().flat_map(|findings| &findings.rows).collect();
    let good = all.iter().filter(|row| row.is_good).count();
    let path = root().join("target/fleet/report.md");
    let failed = |error: std::io::Error| error.to_string();
    std::fs::write(&path, whole_table()).map_err(failed)?;
    println!("\n{HEAD}{lines}\n{good} of {} are as they must be", all.len());
    let bad = played.iter().filter(|findings| !findings.are_good());
    for findings in bad {
        println!("FAILED: {}", findings.scenario);
    }
    println!("Written: {}", path.display());
    if docs { write_page() } else { Ok(()) }
}

/// Puts the figures into the page.
pub fn write_page() -> Fallible<()> {
    let path = root().join(PAGE);
    let page = std::fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    let [begin, end] = MARKS;
    let parts = page
        .split_once(begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{PAGE}: no place for the figures"))?;
    let page = format!("{before}{begin}\n{}\n{end}{after}", page_table());
    std::fs::write(&path, page).map_err(|error| format!("{PAGE}: {error}"))
}
