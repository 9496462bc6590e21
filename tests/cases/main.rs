//! What the filter does at each request and answer, as data: one file of cases per topic, in the format that
//! [`script`] reads.
//!
//! A case drives the core event by event, as the host would. If a request has a body, the whole case is played again
//! with the body cut at every point, byte by byte, and with trailers after it. Every playing must give the same
//! result.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests may panic"
)]

mod held_answers;
mod player;
mod recorder;
mod script;

use script::Case;

/// One test for each topic, which plays every case of its file.
macro_rules! topics {
    ($($topic:ident)*) => {
        $(
            #[test]
            fn $topic() {
                play(concat!(stringify!($topic), ".case"), include_str!(concat!(stringify!($topic), ".case")));
            }
        )*

        const TOPICS: &[&str] = &[$(stringify!($topic)),*];
    };
}

topics! {
    admission
    answers
    ends
    facts
    header_mismatch
    held_bodies
    http_sse
    idleness
    limits
    method_headers
    lost_session
    minted_ids
    modern
    one_reading
    opening
    revisions
    sessionless
    sessionless_eras
    sessionless_messages
    store_failures
    stream_caps
    streams
    strict_json_rpc
    unknown_ids
    untouched
}

/// Plays all cases of a file, and reports all that fail.
fn play(file: &str, text: &str) {
    let cases = script::cases(text);
    assert!(!cases.is_empty(), "{file} has no cases");
    let failures: Vec<String> = cases.iter().filter_map(|case| failure(file, case)).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn failure(file: &str, case: &Case) -> Option<String> {
    let problem = player::play_in_every_way(case).err()?;
    Some(format!("{file}:{}: {}\n  {problem}", case.line, case.name))
}

#[test]
fn every_file_of_cases_is_played() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "case") {
            let topic = path.file_stem().unwrap().to_str().unwrap();
            assert!(TOPICS.contains(&topic), "{topic} is not listed");
        }
    }
}

#[test]
fn no_two_cases_share_a_name() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<String> = TOPICS
        .iter()
        .map(|topic| std::fs::read_to_string(folder.join(format!("{topic}.case"))).unwrap())
        .flat_map(|text| script::cases(&text))
        .map(|case| case.name)
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
