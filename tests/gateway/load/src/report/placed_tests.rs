//! Holds the tables in the documents to what the program would write there, without an experiment.

use serde_json::json;

use super::*;
use crate::experiments;
use crate::results::{Machine, Outcome};

fn all() -> impl Iterator<Item = Placed> {
    BENCH.into_iter().chain(SOAK)
}

fn run(scale: f64, figures: serde_json::Value) -> Run {
    Run {
        date: "2026-01-02 03:04 UTC".to_owned(),
        seconds: 1.0,
        scale,
        soak: false,
        machine: Machine {
            processor: "a processor".to_owned(),
            cores: 2,
            memory_mib: 1024,
            kernel: "6".to_owned(),
            envoy: "1.40.0".to_owned(),
            module: "500,000 bytes, FNV 0123".to_owned(),
            open_files: 1024,
        },
        outcome: Outcome {
            figures,
            ..Outcome::default()
        },
    }
}

fn lifecycles(scale: f64, mebibytes: u64) -> Run {
    let mark = |resident: u64| json!({"memory": {"resident": resident << 20}});
    let figures = json!({"load": {"failed": 0}, "marks": [mark(1), mark(10), mark(10 + mebibytes)]});
    run(scale, figures)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// A text without what differs from run to run.
fn shape(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_ascii_digit() && !matches!(c, ',' | '.' | '+' | '-'))
        .collect()
}

#[test]
fn the_tables_in_the_documents_are_the_program_s() {
    for placed in all() {
        let document = std::fs::read_to_string(gateway::envoy::root().join(placed.document)).unwrap();
        let (_, table, _) = placed.parts(&document).unwrap();
        let mut lines = table.lines();
        let heading = cells(lines.next().unwrap());
        let measured = shape(&placed.heading(&run(1.0, json!({}))));
        let (start, end) = measured.split_once("a processor").unwrap();
        let begins = shape(heading[0]).starts_with(start) && shape(heading[0]).ends_with(end);
        assert!(begins || heading[0].ends_with(": no run yet"), "{heading:?}");
        assert_eq!(lines.next(), Some("|---|---|---|---|---|"));
        assert_eq!(
            lines.clone().count(),
            placed.rows().count(),
            "{}",
            placed.document
        );
        for (line, row) in lines.zip(placed.rows()) {
            is_in_shape(&cells(line), &cells(&placed.line(row, &[1.0])), row);
        }
    }
}

fn is_in_shape(found: &[&str], wanted: &[&str], row: &Row) {
    assert_eq!(
        (found[0], found[4]),
        (wanted[0], wanted[4]),
        "the rows are others: make report"
    );
    match found[3] {
        "0" => assert_eq!((found[1], found[2]), (NOT_MEASURED, "")),
        "1" => assert_eq!((shape(found[1]), found[2]), (shape(&row.show(1.0)), "")),
        _ => {
            let unit = shape(&row.show(1.0));
            assert_eq!(
                (shape(found[1]), shape(found[2])),
                (unit.clone(), format!("{unit} {unit}"))
            );
        }
    }
}

#[test]
fn every_row_names_an_experiment_that_its_command_runs() {
    for row in rows::BENCH {
        assert!(experiments::NAMES.contains(&row.experiment), "{}", row.what);
    }
    for row in rows::SOAK {
        assert!(experiments::SOAK.contains(&row.experiment), "{}", row.what);
    }
}

#[test]
fn a_quick_look_gives_no_figure() {
    let mut results = Results::default();
    for scale in [0.02, 0.99, 2.0] {
        results.add("million", lifecycles(scale, 1));
    }
    for placed in all() {
        assert_eq!(placed.missing(&results).len(), placed.rows().count());
        assert_eq!(placed.table(&results), placed.table(&Results::default()));
    }
}

#[test]
fn a_row_has_the_median_of_its_runs_their_ends_and_their_number() {
    let mut results = Results::default();
    let line = |results: &Results| {
        let table = BENCH[0].table(results);
        let line = table.lines().find(|line| line.contains("1,000,000 lifecycles"));
        line.unwrap().split_once("5,000 | ").unwrap().1.to_owned()
    };
    results.add("million", lifecycles(1.0, 3));
    assert_eq!(line(&results), "+3.00 MiB |  | 1 | `make bench ONLY=million` |");
    results.add("million", lifecycles(1.0, 1));
    results.add("million", lifecycles(1.0, 2));
    assert_eq!(
        line(&results),
        "+2.00 MiB | +1.00 MiB, +3.00 MiB | 3 | `make bench ONLY=million` |"
    );
    let table = BENCH[0].table(&results);
    let heading = "| `make bench` of 2026-01-02: 2 cores of a processor, Envoy 1.40.0, module of 500,000 bytes | median |";
    assert!(table.starts_with(heading), "{table}");
}

#[test]
fn a_table_takes_the_place_of_what_stands_between_its_marks_alone() {
    let [brief, _] = BENCH;
    let (begin, end) = brief.marks();
    let document = format!("before\n{begin}| old |\n{end}after\n");
    let put = brief.put(&document, "| new |\n").unwrap();
    assert_eq!(put, format!("before\n{begin}| new |\n{end}after\n"));
    for wrong in [
        begin.clone(),
        format!("{end}{begin}"),
        format!("{document}{document}"),
    ] {
        assert!(brief.put(&wrong, "").is_err(), "{wrong}");
    }
}
