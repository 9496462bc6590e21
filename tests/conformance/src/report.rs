//! The tables, as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::bend::Form;
use crate::matrix::Matrix;

use crate::reactions::Reactions;
use crate::suite::{Comparison, Suite, tally};

/// What was run.
#[derive(Debug, Default, serde::Serialize)]
pub struct Results {
    pub matrix: Option<Matrix>,
    /// The matrix with `sessionless: reject`.
    pub rejecting: Option<Matrix>,
    pub suite: Option<Suite>,
    pub reactions: Option<Reactions>,
}

impl Results {
    /// Whether nothing is worse through the filter.
    pub fn is_good(&self) -> bool {
        let matrices = [&self.matrix, &self.rejecting];
        matrices
            .iter()
            .all(|matrix| matrix.as_ref().is_none_or(Matrix::is_good))
            && self.suite.as_ref().is_none_or(Suite::is_good)
    }

    /// All tables.
    pub fn markdown(&self) -> String {
        let sections = self.sections().into_iter();
        sections
            .map(|section| {
                format!(
                    "## {}\n\n{}\n{}\n",
                    section.title, section.summary, section.details
                )
            })
            .collect()
    }

    /// What `docs/conformance.md` shows.
    pub fn summary(&self) -> String {
        let sections = self.sections().into_iter();
        sections
            .map(|section| format!("## {}\n\n{}\n", section.title, section.summary))
            .collect()
    }

    fn sections(&self) -> Vec<Section> {
        let matrix =
            |matrix: &Option<Matrix>, title| matrix.as_ref().map(|matrix| matrix_section(matrix, title));
        let rejecting = matrix(&self.rejecting, "With `sessionless: reject`");
        let matrix = matrix(&self.matrix, "Clients and servers");
        let suite = self.suite.as_ref().map(suite_section);
        let reactions = self.reactions.as_ref().map(reaction_section);
        [matrix, rejecting, suite, reactions]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// One experiment's tables.
struct Section {
    title: &'static str,
    summary: String,
    details: String,
}

/// Rows by columns, in the order they come.
#[derive(Default)]
struct Table {
    columns: Vec<String>,
    rows: Vec<String>,
    cells: BTreeMap<(String, String), String>,
}

impl Table {
    fn put(&mut self, row: &str, column: &str, cell: String) {
        for (names, name) in [(&mut self.rows, row), (&mut self.columns, column)] {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        self.cells.insert((row.to_owned(), column.to_owned()), cell);
    }

    fn markdown(&self, corner: &str) -> String {
        let mut text = format!("| {corner} | {} |\n", self.columns.join(" | "));
        text += &format!("|{}\n", "---|".repeat(self.columns.len() + 1));
        for row in &self.rows {
            let cell = |column: &String| {
                let cell = self.cells.get(&(row.clone(), column.clone()));
                cell.map_or("", String::as_str).to_owned()
            };
            let cells: Vec<String> = self.columns.iter().map(cell).collect();
            let _ = writeln!(text, "| {row} | {} |", cells.join(" | "));
        }
        text
    }
}

fn left_out(all: &[(String, String)]) -> String {
    let line = |(name, why): &(String, String)| format!("\nLeft out: {name}: {why}\n");
    all.iter().map(line).collect()
}

fn faults<'a>(all: impl Iterator<Item = (String, &'a Vec<String>)>) -> String {
    let lines = all.flat_map(|(name, faults)| {
        let line = move |fault: &String| format!("* {name}: {fault}\n");
        faults.iter().map(line).collect::<Vec<_>>()
    });
    let lines: String = lines.collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("\nWorse:\n\n{lines}"),
    }
}

fn matrix_section(matrix: &Matrix, title: &'static str) -> Section {
    let (mut steps, mut sessions) = (Table::default(), Table::default());
    for pair in &matrix.pairs {
        let of = pair.direct.steps.len().max(pair.through.steps.len());
        let through = format!("{}/{of}", pair.through.passed());
        let cell = match pair.direct.passed() == pair.through.passed() {
            true => through,
            false => format!("**{through}**, direct {}/{of}", pair.direct.passed()),
        };
        steps.put(pair.client, pair.server, cell);
        let counted = pair.sessions.map_or_else(
            || "**counted wrong**".to_owned(),
            |sessions| format!("{} / {}", sessions.created, sessions.deleted + sessions.gone),
        );
        sessions.put(pair.client, pair.server, counted);
    }
    let good = matrix.pairs.iter().filter(|pair| pair.faults.is_empty()).count();
    let worse = matrix
        .pairs
        .iter()
        .map(|pair| (format!("{} with {}", pair.client, pair.server), &pair.faults));
    let played = matrix.pairs.len();
    Section {
        title,
        summary: format!(
            "{good} of {played} pairs through the filter as direct. Steps of the session that went well:\n\n{}",
            steps.markdown("client \\ server")
        ),
        details: format!(
            "Sessions opened / ended in it, as the filter counted and Envoy saw:\n\n{}{}{}",
            sessions.markdown("client \\ server"),
            faults(worse),
            left_out(&matrix.left_out),
        ),
    }
}

fn suite_section(suite: &Suite) -> Section {
    let mut table = Table::default();
    for comparison in &suite.comparisons {
        table.put(comparison.suite, "direct", tally(&comparison.direct));
        let identical = match comparison.direct == comparison.through {
            true => ", identical",
            false => "",
        };
        let cell = tally(&comparison.through) + identical;
        table.put(comparison.suite, comparison.setting, cell);
    }
    let worse = suite.comparisons.iter().map(|comparison| {
        (
            format!("{}, {}", comparison.suite, comparison.setting),
            &comparison.faults,
        )
    });
    let failing = suite
        .comparisons
        .iter()
        .map(failing_direct)
        .collect::<BTreeSet<_>>();
    Section {
        title: "The official conformance suite",
        summary: format!(
            "Checks that succeeded:\n\n{}{}",
            table.markdown("suite"),
            failing.into_iter().collect::<String>()
        ),
        details: faults(worse) + &left_out(&suite.left_out),
    }
}

/// The scenarios that the fixture fails by itself.
fn failing_direct(comparison: &Comparison) -> String {
    let failing = comparison
        .direct
        .iter()
        .filter(|(_, status)| *status == "FAILURE");
    let scenarios = failing.filter_map(|(check, _)| check.split(' ').next());
    let scenarios: BTreeSet<&str> = scenarios.collect();
    match scenarios.is_empty() {
        true => String::new(),
        false => format!(
            "\nThe fixture itself fails, of {}: {}.\n",
            comparison.suite,
            scenarios.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

fn reaction_section(reactions: &Reactions) -> Section {
    let (mut table, mut forms) = (Table::default(), Table::default());
    for reaction in &reactions.all {
        let (name, cell) = (reaction.refusal.name(), reaction.shown().to_owned());
        match reaction.refusal.form {
            Form::AsItIs => table.put(&name, reaction.client, cell),
            Form::Echoed | Form::Text | Form::Ok => forms.put(&name, reaction.client, cell),
        }
    }
    Section {
        title: "How clients take the filter's answers",
        summary: table.markdown("answer"),
        details: format!(
            "The same, had they another form:\n\n{}{}",
            forms.markdown("answer"),
            left_out(&reactions.left_out)
        ),
    }
}
