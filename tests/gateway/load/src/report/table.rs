//! The targets beside the figures of every run, in Markdown: `summary.md`.

use std::fmt::Write;

use super::{size, verdict};
use crate::experiments::NAMES;
use crate::results::{Machine, Results, Run};

/// Targets beside figures. Where an experiment has run more than once, the figures of all its runs.
pub fn table(results: &Results) -> String {
    let mut text = String::from("| | what | target | measured | theirs |\n|---|---|---|---|---|\n");
    for name in NAMES {
        text.push_str(&lines(results.of(name)));
    }
    text.push('\n');
    for name in NAMES {
        for run in results.of(name) {
            let (date, size, machine) = (&run.date, size(run), machine(&run.machine));
            // Writing to a string does not fail.
            let _ = writeln!(text, "`make bench ONLY={name}`: {date} ({size}), {machine}  ");
        }
    }
    text
}

/// A line for each target of an experiment; the last run says how it reads, and the worst what became of it.
fn lines(runs: &[Run]) -> String {
    let Some(last) = runs.last() else {
        return String::new();
    };
    let mut text = String::new();
    for claim in &last.outcome.claims {
        let claims = runs.iter().map(|run| &run.outcome.claims);
        let same = claims.filter_map(|claims| claims.iter().find(|other| other.what == claim.what));
        let figures: Vec<&str> = same.clone().map(|claim| claim.figure.as_str()).collect();
        let worst = same.clone().find(|claim| !claim.met).unwrap_or(claim);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            verdict(last, worst),
            cell(&claim.what),
            cell(&claim.target),
            cell(&figures.join("; ")),
            cell(&claim.original)
        );
    }
    text
}

fn machine(machine: &Machine) -> String {
    format!(
        "{}, {} cores, {} MiB, Linux {}, Envoy {}, module {}",
        machine.processor, machine.cores, machine.memory_mib, machine.kernel, machine.envoy, machine.module
    )
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
