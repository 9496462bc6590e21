//! The tables of figures that stand in the documents, each between two marks, so that nobody types a figure.

use super::rows::{self, Row};
use crate::Fallible;
use crate::results::{Results, Run};

/// A table, and where it stands.
pub struct Placed {
    /// The document, from the root of the repository.
    pub document: &'static str,
    /// The command whose results it shows.
    command: &'static str,
    rows: &'static [Row],
    /// Only the few rows that a reader asks for first.
    is_brief: bool,
}

/// Where the figures of `make bench` stand.
pub const BENCH: [Placed; 2] = [
    Placed {
        document: "README.md",
        command: "make bench",
        rows: rows::BENCH,
        is_brief: true,
    },
    Placed {
        document: "docs/measurements.md",
        command: "make bench",
        rows: rows::BENCH,
        is_brief: false,
    },
];

/// Where the figures of `make soak` stand.
pub const SOAK: [Placed; 1] = [Placed {
    document: "docs/measurements.md",
    command: "make soak",
    rows: rows::SOAK,
    is_brief: false,
}];

/// In place of a figure that there is no result for.
const NOT_MEASURED: &str = "not measured";

impl Placed {
    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let is_brief = self.is_brief;
        self.rows.iter().filter(move |row| !is_brief || row.is_brief)
    }

    /// The rows that these results have no figure for.
    pub fn missing(&self, results: &Results) -> Vec<&'static str> {
        let lacks = |row: &&Row| row.figures(results.of(row.experiment)).is_empty();
        self.rows().filter(lacks).map(|row| row.what).collect()
    }

    /// The table. What has not been run at full size is said to be not measured.
    pub fn table(&self, results: &Results) -> String {
        let runs = results.experiments.values().flatten();
        let first = runs
            .filter(|run| run.is_full_size())
            .min_by(|one, other| one.date.cmp(&other.date));
        let heading = match first {
            None => format!("`{}`: no run yet", self.command),
            Some(run) => self.heading(run),
        };
        let mut text =
            format!("| {heading} | median | lowest, highest | runs | command |\n|---|---|---|---|---|\n");
        for row in self.rows() {
            text.push_str(&self.line(row, &row.figures(results.of(row.experiment))));
        }
        text
    }

    /// When and where it was measured, and what.
    fn heading(&self, run: &Run) -> String {
        let (machine, day) = (&run.machine, run.date.split(' ').next().unwrap_or_default());
        let module = machine.module.split(',').filter(|part| !part.contains("FNV"));
        let module: Vec<&str> = module.collect();
        format!(
            "`{}` of {day}: {} cores of {}, Envoy {}, module of {}",
            self.command,
            machine.cores,
            machine.processor.replace('|', " "),
            machine.envoy,
            module.join(",")
        )
    }

    fn line(&self, row: &Row, figures: &[f64]) -> String {
        let (median, spread) = match figures {
            [] => (NOT_MEASURED.to_owned(), String::new()),
            [only] => (row.show(*only), String::new()),
            [lowest, .., highest] => (
                row.show(middle(figures)),
                format!("{}, {}", row.show(*lowest), row.show(*highest)),
            ),
        };
        format!(
            "| {} | {median} | {spread} | {} | `{} ONLY={}` |\n",
            row.what,
            figures.len(),
            self.command,
            row.experiment
        )
    }

    /// The document with this table in place of what stands between the marks.
    ///
    /// # Errors
    /// If the document does not have both marks once, in their order.
    pub fn put(&self, document: &str, table: &str) -> Fallible<String> {
        let (before, _, after) = self.parts(document)?;
        let (begin, end) = self.marks();
        Ok(format!("{before}{begin}{table}{end}{after}"))
    }

    /// What stands before the marks, between them and behind them.
    fn parts<'a>(&self, document: &'a str) -> Fallible<(&'a str, &'a str, &'a str)> {
        let (begin, end) = self.marks();
        if document.matches(&begin).count() == 1
            && document.matches(&end).count() == 1
            && let Some((before, rest)) = document.split_once(&begin)
            && let Some((table, after)) = rest.split_once(&end)
        {
            return Ok((before, table, after));
        }
        let (name, command) = (self.document, self.command);
        Err(format!("{name} must have the two marks for the figures of {command}, each once").into())
    }

    /// The lines before the table and behind it.
    fn marks(&self) -> (String, String) {
        let command = self.command;
        (
            format!("<!-- {command} writes these figures -->\n"),
            format!("<!-- end of the figures of {command} -->\n"),
        )
    }
}

/// The median of what is sorted; of an even number the mean of the middle two.
fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[half - 1], sorted[half]),
        _ => sorted[half],
    }
}

#[cfg(test)]
#[path = "placed_tests.rs"]
mod tests;
