//! Holds the documents against the repository: links, files, commands, bounds, lines of the log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod markdown;

use std::collections::BTreeSet;
use std::path::Path;

use markdown::{cells, code, files, lines_of_tables, prose, read, rows, set};
use mcp_session_filter::answer::Reason;
use mcp_session_filter::mcp::method::Method;
use mcp_session_filter::session::EndReason;
use mcp_session_filter::telemetry::{self, Event, RevisionLabel};

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut broken = Vec::new();
    for document in files("md") {
        let text = read(&document);
        for target in links(&text).filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            if !path.exists() || !anchor.is_empty() && !anchors(&read(&path)).contains(anchor) {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The targets of all links, `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| {
        let targets = line.split("](").skip(1);
        targets.filter_map(|rest| Some(rest.split_once(')')?.0))
    })
}

/// The anchors that GitHub gives to the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    let letters = heading.trim().chars().filter(kept);
    letters.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_target_of_make_is_in_the_makefile() {
    let makefile = read("Makefile");
    let mut unknown = Vec::new();
    for document in files("md") {
        let text = read(&document);
        let commands = text.lines().flat_map(code);
        for target in commands.filter_map(|command| command.strip_prefix("make ")) {
            let target = target.split(' ').next().unwrap();
            if !makefile.contains(&format!("\n{target}:")) {
                unknown.push(format!("{}: make {target}", document.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Folders whose files the documents name from the root of the repository.
const FOLDERS: [&str; 8] = [
    "src/", "tests/", "envoy/", "docs/", "fuzz/", "benches/", ".cargo/", ".ci/",
];

#[test]
fn every_file_that_is_named_is_there() {
    let mut missing = Vec::new();
    for document in files("md") {
        let text = read(&document);
        for name in prose(&text).flat_map(code) {
            let is_file = FOLDERS.iter().any(|folder| name.starts_with(folder)) && !name.contains(['*', ' ']);
            if is_file && !Path::new(name).exists() {
                missing.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_bounds_of_security_are_the_code_s() {
    let security = read("SECURITY.md");
    let mut wrong = Vec::new();
    for row in lines_of_tables(&security, "| what | bound | constants |").map(cells) {
        let promised = numbers(&row[1]);
        let source = read(row[3].trim_matches('`'));
        let values: Vec<Vec<u64>> = code(&row[2]).map(|name| constant(&source, name)).collect();
        let stated = |value: &u64| promised.contains(value);
        let backed = |number: &u64| values.iter().flatten().any(|value| value == number);
        if promised.is_empty()
            || !promised.iter().all(backed)
            || !values.iter().all(|ends| ends.iter().any(stated))
        {
            wrong.push(format!("{}: {promised:?}, in the code {values:?}", row[0]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The numbers of a sentence: bytes for KiB and MiB, milliseconds for times.
fn numbers(sentence: &str) -> Vec<u64> {
    let words: Vec<&str> = sentence.split([' ', ';']).collect();
    let number = |(at, word): (usize, &&str)| {
        let digits = word.trim_end_matches(',').replace(',', "");
        let unit = words.get(at + 1).map_or("", |unit| unit.trim_end_matches(','));
        Some(digits.parse::<u64>().ok()? * scale(unit))
    };
    words.iter().enumerate().filter_map(number).collect()
}

fn scale(unit: &str) -> u64 {
    match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "s" => 1_000,
        _ => 1,
    }
}

/// The value of a constant in the source: both ends of a range, bytes, or milliseconds.
fn constant(source: &str, name: &str) -> Vec<u64> {
    let declarations: Vec<&str> = source.split(&format!("const {name}: ")).skip(1).collect();
    let [declaration] = declarations[..] else {
        panic!("{} constants {name}", declarations.len())
    };
    let (_, value) = declaration.split_once('=').unwrap();
    let (value, _) = value.split_once(';').unwrap();
    value.split("..=").map(product).collect()
}

fn product(expression: &str) -> u64 {
    expression.split('*').map(factor).product()
}

/// A whole number, or a time in milliseconds.
fn factor(text: &str) -> u64 {
    let text = text.trim();
    let units = [
        ("millis", 1),
        ("secs", 1_000),
        ("mins", 60_000),
        ("hours", 3_600_000),
    ];
    for (unit, milliseconds) in units {
        if let Some(rest) = text.strip_prefix(&format!("Duration::from_{unit}(")) {
            return whole(rest.trim_end_matches(')')) * milliseconds;
        }
    }
    whole(text)
}

fn whole(text: &str) -> u64 {
    let digits = text.replace('_', "");
    digits.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

#[test]
fn reads_numbers_and_constants_alike() {
    assert_eq!(
        numbers("`x`, at most 16 MiB, or 1,024; 5 s, 8 ms"),
        [16 << 20, 1_024, 5_000, 8]
    );
    let source = "const A: u32 = 60 * 1024;\nconst B: R = 1..=1_000;\nconst C: D = Duration::from_secs(5);";
    assert_eq!(constant(source, "A"), [61_440]);
    assert_eq!(constant(source, "B"), [1, 1_000]);
    assert_eq!(constant(source, "C"), [5_000]);
}

#[test]
fn every_line_of_the_log_is_explained() {
    let mut events = BTreeSet::new();
    for source in files("rs").iter().filter(|path| path.starts_with("src")) {
        let text = read(source);
        let found = text.split("\"event=").skip(1);
        events.extend(found.filter_map(|rest| Some(rest.split_once([' ', '"'])?.0.to_owned())));
    }
    let operating = read("docs/operating.md");
    let table = rows(&operating, "| event |");
    let explained = table.iter().flat_map(|row| row[0].split(", "));
    assert_eq!(set(explained), events);
}

#[test]
fn every_refusal_is_explained() {
    let operating = read("docs/operating.md");
    let explained = rows(&operating, "| reason |");
    let reasons = Reason::ALL.map(Reason::as_str);
    assert_eq!(set(explained.iter().map(|row| row[0].clone())), set(reasons));
}

#[test]
fn every_alert_is_explained_with_its_severity() {
    let alerts = read("envoy/prometheus/alerts.yaml");
    let mut shipped = BTreeSet::new();
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let (_, severity) = rule.split_once("severity: ").unwrap();
        let (severity, _) = severity.split_once(' ').unwrap();
        assert!(rule.contains("runbook: docs/operating.md#alerts"), "{name}");
        shipped.insert((name.to_owned(), severity.to_owned()));
    }
    let operating = read("docs/operating.md");
    let table = rows(&operating, "| alert |").into_iter();
    assert_eq!(
        table
            .map(|row| (row[0].clone(), row[1].clone()))
            .collect::<BTreeSet<_>>(),
        shipped
    );
}

#[test]
fn every_alert_has_cases_that_fire_and_that_do_not() {
    let (alerts, cases) = (
        read("envoy/prometheus/alerts.yaml"),
        read("tests/prometheus/alerts.yaml"),
    );
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let case = format!("alertname: {name}");
        let fires = cases.contains(&format!("{case}\n        exp_alerts:\n"));
        // One that does not fire yet, and one that fires no longer.
        assert!(
            fires && cases.matches(&format!("{case}, exp_alerts: []")).count() >= 2,
            "{name}"
        );
    }
}

#[test]
fn every_number_that_is_explained_is_a_stat() {
    let readme = read("README.md");
    let shown = rows(&readme, "| stat |").into_iter().map(|row| row[0].clone());
    let ends = EndReason::ALL.map(|reason| telemetry::ended("e", reason));
    let other = telemetry::counter("e", Event::Request(Method::Other));
    let none = telemetry::counter("e", Event::Revision(RevisionLabel::None));
    let stats: Vec<String> = shown.chain(ends).chain([other, none]).collect();
    let operating = read("docs/operating.md");
    for row in lines_of_tables(&operating, "| number |").map(cells) {
        for name in code(&row[0]) {
            let ends_so = |stat: &String| stat.ends_with(&format!(".{name}"));
            assert!(stats.iter().any(ends_so), "{name}");
        }
    }
}

#[test]
fn the_table_of_the_upstream_delete_is_the_schema_s() {
    let schema: serde_json::Value = serde_json::from_str(&read("envoy/config.schema.json")).unwrap();
    let fields = &schema["$defs"]["endpoint"]["properties"]["terminate_upstream"]["properties"];
    let page = read("docs/upstream-delete.md");
    let table = rows(&page, "| field of ");
    assert_eq!(
        set(table.iter().map(|row| row[0].clone())),
        set(fields.as_object().unwrap().keys().cloned())
    );
}
