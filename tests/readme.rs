//! Holds the README against the code: its tables and its YAML.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod markdown;

use markdown::{files, read, set};
use mcp_session_filter::answer::{Answer, Reason};
use mcp_session_filter::mcp::method::Method;
use mcp_session_filter::mcp::revision::Revision;
use mcp_session_filter::session::EndReason;
use mcp_session_filter::telemetry::{
    self, Delete, Event, Fact, FleetEvent, FleetGauge, Gauge, RevisionLabel,
};

fn readme() -> String {
    read("README.md")
}

fn rows(header: &str) -> Vec<Vec<String>> {
    markdown::rows(&readme(), header)
}

/// The most lines that a tired operator reads. The tables have a row for each field, answer and number, and are looked
/// things up in; so only the others count.
const LONGEST: usize = 140;

#[test]
fn it_is_short() {
    let readme = readme();
    let lines = readme.lines().filter(|line| !line.starts_with('|')).count();
    assert!(lines < LONGEST, "{lines} lines");
}

#[test]
fn the_tables_of_fields_are_the_schema_s() {
    let schema: serde_json::Value = serde_json::from_str(&read("envoy/config.schema.json")).unwrap();
    let mut fields = Vec::new();
    for object in [&schema, &schema["$defs"]["endpoint"]] {
        for (name, field) in object["properties"].as_object().unwrap() {
            fields.push((name.clone(), field["default"].clone()));
        }
    }
    let table = rows("| field |");
    assert_eq!(
        set(table.iter().map(|row| row[0].clone())),
        set(fields.iter().map(|(name, _)| name.clone()))
    );
    for (name, default) in fields {
        let wanted = match default {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => continue,
        };
        let shown = table
            .iter()
            .filter(|row| row[0] == name)
            .any(|row| row[2].replace(',', "") == wanted);
        assert!(shown, "the default of {name} is {wanted}");
    }
}

#[test]
fn the_table_of_answers_is_the_code_s() {
    let capacity = |status| Answer::Capacity {
        status,
        retry_after_s: 5,
        id: None,
    };
    let answers = [
        vec![capacity(429), capacity(503)],
        vec![429, 503]
            .into_iter()
            .map(|status| Answer::FleetCapacity {
                status,
                retry_after_s: 5,
                id: None,
            })
            .collect(),
        vec![Answer::PrincipalQuota {
            retry_after_s: 5,
            id: None,
        }],
        vec![Answer::Streams {
            retry_after_s: 5,
            id: None,
        }],
        vec![Answer::PrincipalStreams {
            retry_after_s: 5,
            id: None,
        }],
        vec![Answer::SessionNotFound],
        vec![Answer::InvalidSessionId],
        vec![Answer::ParseError],
        vec![Answer::InvalidRequest],
        vec![Answer::TooLarge { id: None }],
        vec![Answer::UnsupportedMediaType],
        vec![Answer::MethodNotAllowed { allow: "GET" }],
        vec![Answer::MethodNotAllowed {
            allow: "GET, POST, DELETE",
        }],
        vec![Answer::HeaderMismatch { id: None }],
        vec![Answer::SessionRequired { id: None }],
        vec![Answer::NotAcceptable { id: None }],
        vec![Answer::UnsupportedVersion {
            requested: Revision::V2026_07_28,
            id: None,
        }],
    ];
    let table = rows("| situation |");
    assert_eq!(table.len(), answers.len());
    for answer in answers.iter().flatten() {
        let body: serde_json::Value = serde_json::from_slice(&answer.body()).unwrap();
        let code = body["error"]["code"].to_string();
        let message = body["error"]["message"].as_str().unwrap().to_owned();
        let headers = answer.headers();
        let allow = headers.iter().find(|(name, _)| *name == "allow");
        let allow = allow.map(|(_, value)| value.as_ref());
        let row = table
            .iter()
            .find(|row| row[3] == message && row[5] == answer.label().as_str() && allowed(&row[1]) == allow)
            .unwrap_or_else(|| panic!("no row for {message}"));
        assert!(row[1].contains(&answer.status().to_string()), "{row:?}");
        assert_eq!(
            row[1].contains("Retry-After"),
            headers.iter().any(|(name, _)| *name == "retry-after"),
            "{row:?}"
        );
        assert_eq!(
            (row[2].as_str(), row[5].as_str()),
            (code.as_str(), answer.label().as_str())
        );
    }
}

/// The methods that the cell with a status allows, if it names any.
fn allowed(cell: &str) -> Option<&str> {
    cell.split_once("Allow: ").map(|(_, methods)| methods)
}

#[test]
fn the_table_of_metrics_is_the_code_s() {
    let e = "<e>";
    let in_place_of = |name: String, last: &str, sign: &str| name.replace(last, sign);
    let mut names = set([
        telemetry::counter(e, Event::Created),
        telemetry::counter(e, Event::Adopted),
        telemetry::counter(e, Event::Untracked),
        telemetry::duration(e),
        telemetry::stream_duration(e),
        telemetry::TABLE_BYTES.to_owned(),
        telemetry::REPAIRED.to_owned(),
        telemetry::UNGOVERNED.to_owned(),
        in_place_of(
            telemetry::counter(e, Event::Request(Method::Other)),
            "other",
            "<m>",
        ),
        in_place_of(
            telemetry::counter(e, Event::Rejected(Reason::Capacity)),
            "capacity",
            "<r>",
        ),
        in_place_of(telemetry::ended(e, EndReason::Idle), "idle", "<r>"),
        in_place_of(
            telemetry::counter(e, Event::Revision(RevisionLabel::None)),
            "none",
            "<r>",
        ),
        telemetry::gauge(Some(e), Gauge::Streams),
        telemetry::gauge(Some(e), Gauge::StreamsLimit),
    ]);
    for gauge in [Gauge::Active, Gauge::Reserved, Gauge::Limit] {
        names.extend([telemetry::gauge(Some(e), gauge), telemetry::gauge(None, gauge)]);
    }
    names.extend(Delete::ALL.map(telemetry::upstream_delete));
    names.extend(FleetGauge::ALL.map(telemetry::fleet_gauge));
    names.extend(FleetEvent::ALL.map(telemetry::fleet_counter));
    let table = rows("| stat |");
    assert_eq!(set(table.iter().map(|row| row[0].clone())), names);
    let ended = table.iter().find(|row| row[0].contains("ended")).unwrap();
    for reason in EndReason::ALL {
        assert!(ended[2].contains(reason.as_str()), "{reason:?}");
    }
}

const FACTS: [Fact<'_>; 6] = [
    Fact::SessionId(""),
    Fact::Method(Method::Other),
    Fact::Tool(""),
    Fact::Version(""),
    Fact::Endpoint(""),
    Fact::Outcome(None),
];

#[test]
fn every_key_of_filter_state_is_named() {
    let readme = readme();
    for fact in FACTS {
        assert!(readme.contains(&format!("`{}`", fact.key())), "{}", fact.key());
    }
}

#[test]
fn every_access_log_and_every_trace_that_ships_has_every_key() {
    let mut checked = 0;
    for file in files("yaml").iter().filter(|file| file.starts_with("envoy")) {
        let text = read(file);
        let (logs, traces) = (text.contains("json_format:"), text.contains("custom_tags:"));
        checked += u32::from(logs) + u32::from(traces);
        for key in FACTS.map(|fact| fact.key()) {
            let value = format!("\"%FILTER_STATE(wasm.{key}:PLAIN)%\"");
            let logged = text.contains(&format!("{key}: {value}"));
            let tagged = text.contains(&format!("tag: {key}, value: {value}"));
            assert!(
                (logged || !logs) && (tagged || !traces),
                "{}: {key}",
                file.display()
            );
        }
    }
    assert!(checked >= 2, "{checked} files");
}

#[test]
fn every_reason_for_an_end_is_explained() {
    let table = rows("| reason |");
    let reasons = EndReason::ALL.map(EndReason::as_str);
    assert_eq!(set(table.iter().map(|row| row[0].clone())), set(reasons));
}

#[test]
fn yaml_of_every_document_is_a_part_of_the_files_that_ship() {
    for document in files("md") {
        let text = read(&document);
        let mut blocks = 0;
        for part in text.split("<!-- from ").skip(1) {
            let (file, rest) = part.split_once(" -->").unwrap();
            let (_, rest) = rest.split_once("```yaml\n").unwrap();
            let (yaml, _) = rest.split_once("```").unwrap();
            assert!(
                contains_block(&read(file), yaml),
                "{}: the block from {file} is not in it",
                document.display()
            );
            blocks += 1;
        }
        assert_eq!(
            blocks,
            text.matches("```yaml").count(),
            "{}: every block of YAML names its file",
            document.display()
        );
    }
}

/// Whether `text` has the lines of `block` one after the other, at any one indentation.
fn contains_block(text: &str, block: &str) -> bool {
    let block: Vec<_> = block.lines().collect();
    let lines: Vec<_> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    lines.windows(block.len()).any(|window| {
        let shift = indent(window[0]).saturating_sub(indent(block[0]));
        window.iter().zip(&block).all(|(line, wanted)| {
            wanted.is_empty() && line.is_empty()
                || line.get(..shift).is_some_and(|lead| lead.trim().is_empty())
                    && line.get(shift..) == Some(*wanted)
        })
    })
}
