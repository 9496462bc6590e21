//! What is refused for servers that keep a session for it, and the count of POSTs by revision.

use proxy_wasm::types::LogLevel;

use crate::envoy::{Envoy, Worker, goes_on};
use crate::requests::{CALL, INITIALIZE, VIA_UPSTREAM, answer, head};

const GUARDED: &str = r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body",
    "max_request_bytes": 1024, "sessionless": "reject", "modern": "reject"}]}"#;

const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");
const MODERN: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

/// The filter's answer to a request, if it gives one.
fn answer_to(worker: &Worker, method: &str, fields: &[(&str, &str)], body: Option<&[u8]>) -> Option<u32> {
    let stream = worker.stream();
    let goes = stream.request(head(method, fields), body.is_none());
    if let (Some(body), false, None) = (body, goes_on(goes), stream.reply()) {
        let (first, second) = body.split_at(body.len() / 2);
        stream.body(first, false);
        stream.body(second, true);
    }
    let reply = stream.reply();
    stream.close();
    reply.map(|reply| reply.status)
}

#[test]
fn only_a_good_initialize_passes_without_an_id() {
    let worker = Envoy::new().worker(GUARDED);
    let ask = |method: &str, fields: &[(&str, &str)], body| answer_to(&worker, method, fields, body);
    assert_eq!(ask("POST", &[BOTH], Some(INITIALIZE)), None);
    assert_eq!(ask("POST", &[BOTH], Some(CALL)), Some(400));
    assert_eq!(ask("POST", &[BOTH], None), Some(400));
    assert_eq!(ask("POST", &[("accept", "*/*")], Some(INITIALIZE)), Some(406));
    assert_eq!(ask("POST", &[BOTH, BOTH], Some(INITIALIZE)), Some(406));
    let second_type = ("content-type", "text/plain");
    assert_eq!(ask("POST", &[BOTH, second_type], Some(INITIALIZE)), Some(415));
    assert_eq!(ask("GET", &[BOTH], None), Some(400));
    assert_eq!(ask("PROPFIND", &[BOTH], None), Some(405));
    assert_eq!(ask("POST", &[BOTH, MODERN], Some(INITIALIZE)), Some(400));
    assert_eq!(ask("POST", &[BOTH, MODERN], Some(&[b' '; 5000])), Some(400));
}

#[test]
fn posts_are_counted_by_revision_on_a_tick_and_at_the_end_of_a_root() {
    let envoy = Envoy::new();
    let worker = envoy.worker("");
    let count = |label: &str| envoy.stat(&format!("endpoint.mcp.requests.revision.{label}"));
    let post = |version: &str| {
        let stream = worker.stream();
        stream.request(head("POST", &[("mcp-protocol-version", version)]), true);
        stream.close();
    };
    post("2025-11-25");
    post("2025-11-25");
    post("draft");
    worker.tick();
    assert_eq!([count("2025-11-25"), count("other"), count("none")], [2, 1, 0]);
    worker.tick();
    assert_eq!(count("2025-11-25"), 2);

    post("2025-11-25");
    assert!(worker.configure(""));
    worker.remove_oldest_root();
    assert_eq!(count("2025-11-25"), 3);
}

#[test]
fn a_get_and_a_refused_post_are_counted_by_no_and_by_their_revision() {
    let envoy = Envoy::new();
    let worker = envoy.worker(GUARDED);
    answer_to(&worker, "POST", &[MODERN], Some(CALL));
    answer_to(&worker, "GET", &[MODERN], None);
    let stream = worker.stream();
    stream.request(head("POST", &[("mcp-session-id", "unknown")]), false);
    assert!(goes_on(stream.body(CALL, true)));
    stream.answer(answer(404, &[]), VIA_UPSTREAM, true);
    stream.close();
    worker.tick();
    let counted =
        ["2026-07-28", "none"].map(|label| envoy.stat(&format!("endpoint.mcp.requests.revision.{label}")));
    assert_eq!(counted, [1, 1]);
}

#[test]
fn one_of_two_lines_gives_one_warning_however_many_workers_load_it() {
    let envoy = Envoy::new();
    let half = GUARDED.replace(r#", "modern": "reject""#, "");
    let workers: Vec<_> = (0..3).map(|_| envoy.worker(&half)).collect();
    workers.iter().for_each(Worker::tick);
    let warnings: Vec<_> = workers
        .iter()
        .flat_map(Worker::log)
        .filter(|(level, _)| *level == LogLevel::Warn)
        .map(|(_, line)| line)
        .collect();
    let [warning] = warnings.as_slice() else {
        panic!("one warning was expected: {warnings:?}")
    };
    assert!(
        warning.starts_with("event=configuration_warning endpoints[0].sessionless: "),
        "{warning}"
    );
}
