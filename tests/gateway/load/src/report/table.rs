//! The table for `docs/measurements.md`.

use std::fmt::Write;

use super::{size, verdict};
use crate::experiments::NAMES;
use crate::results::Results;

/// Targets beside figures, in Markdown.
pub fn table(results: &Results) -> String {
    let runs = NAMES
        .iter()
        .filter_map(|name| results.experiments.get_key_value(*name));
    let mut text = String::from("| | what | target | measured | theirs |\n|---|---|---|---|---|\n");
    let mut measured = Vec::new();
    for (name, run) in runs {
        for claim in &run.outcome.claims {
            let mark = verdict(run, claim);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {mark} | {} | {} | {} | {} |",
                cell(&claim.what),
                cell(&claim.target),
                cell(&claim.figure),
                cell(&claim.original)
            );
        }
        let machine = &run.machine;
        let line = format!(
            "{}, {} cores, {} MiB, Linux {}, Envoy {}, module {}",
            machine.processor,
            machine.cores,
            machine.memory_mib,
            machine.kernel,
            machine.envoy,
            machine.module
        );
        measured.push((name, run, line));
    }
    text.push('\n');
    for (name, run, machine) in measured {
        let _ = writeln!(
            text,
            "`make bench ONLY={name}`: {} ({}), {machine}  ",
            run.date,
            size(run)
        );
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
