//! HTTP+SSE: sessions that are streams.

use std::time::Duration;

use crate::envoy::{Envoy, Headers, Stream, Worker, goes_on};
use crate::requests::{CALL, VIA_UPSTREAM, answer, head};

const CONFIGURATION: &str = r#"{"filter_state": [], "endpoints": [
    {"name": "mcp", "path": "/sse", "transport": "http_sse", "message_path": "/message", "max_sessions": 2,
     "idle_timeout": "0s", "max_lifetime": "0s"}]}"#;

const EVENT: &[u8] = b"event: endpoint\r\ndata: /message?sessionId=s\r\n\r\n";

fn to(path: &str, method: &str) -> Headers {
    let mut headers = head(method, &[]);
    headers[2].1 = path.as_bytes().to_vec();
    headers
}

/// A stream that has begun and has not named its session yet.
fn open(worker: &Worker) -> Stream<'_> {
    let stream = worker.stream();
    assert!(goes_on(stream.request(to("/sse", "GET"), true)));
    stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
    stream
}

/// The status of the filter's own answer to a message of the session.
fn refusal(worker: &Worker) -> Option<u32> {
    let stream = worker.stream();
    stream.request(to("/message?sessionId=s", "POST"), false);
    let reply = stream.reply();
    if reply.is_none() {
        stream.body(CALL, true);
        stream.answer(answer(202, &[]), VIA_UPSTREAM, true);
    }
    stream.close();
    reply.map(|reply| reply.status)
}

#[test]
fn a_session_of_one_worker_is_known_to_all_and_ends_with_its_stream() {
    let envoy = Envoy::new();
    let [a, b] = [envoy.worker(CONFIGURATION), envoy.worker(CONFIGURATION)];
    let stream = open(&a);
    assert_eq!(envoy.gauges(), [0, 1, 1]);
    stream.answer_part(EVENT);
    assert_eq!(envoy.gauges(), [1, 0, 1]);
    assert_eq!(refusal(&b), None);
    stream.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
    assert_eq!(refusal(&b), Some(404));
    assert_eq!(envoy.stat("endpoint.mcp.ended.reason.stream_closed"), 1);
    assert_eq!(envoy.stat("endpoint.mcp.created"), 1);
}

#[test]
fn a_message_in_flight_does_not_keep_the_session_of_a_stream_that_closed() {
    let envoy = Envoy::new();
    let worker = envoy.worker(CONFIGURATION);
    let stream = open(&worker);
    stream.answer_part(EVENT);
    let post = worker.stream();
    assert!(goes_on(post.request(to("/message?sessionId=s", "POST"), false)));
    stream.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
    post.answer(answer(202, &[]), VIA_UPSTREAM, true);
    post.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
    assert_eq!(refusal(&worker), Some(404));
}

/// A trap: that VM gets no more callbacks. Its session ends, even if nothing else ends sessions.
#[test]
fn the_sessions_of_a_dead_worker_come_back() {
    let envoy = Envoy::new();
    let [dead, alive] = [envoy.worker(CONFIGURATION), envoy.worker(CONFIGURATION)];
    let stream = open(&dead);
    stream.answer_part(EVENT);
    let _silent = open(&dead);
    assert_eq!(envoy.gauges(), [1, 1, 2]);
    for _ in 0..60 {
        envoy.wait(Duration::from_secs(60));
        dead.tick();
        alive.tick();
    }
    assert_eq!(
        envoy.gauges(),
        [2, 0, 2],
        "the worker lives, and so do its streams, the silent one as a session by itself"
    );
    for _ in 0..60 {
        envoy.wait(Duration::from_secs(60));
        alive.tick();
    }
    assert_eq!(envoy.gauges(), [0, 0, 0]);
    assert_eq!(envoy.stat("endpoint.mcp.ended.reason.idle"), 2);
}

#[test]
fn an_event_beyond_the_bound_is_not_looked_at() {
    let envoy = Envoy::new();
    let worker = envoy.worker(CONFIGURATION);
    let stream = open(&worker);
    stream.answer_part(&[b'x'; 16 * 1024]);
    worker.calls();
    stream.answer_part(EVENT);
    assert!(worker.calls().is_empty());
    assert_eq!(envoy.gauges(), [1, 0, 1], "the stream itself is the session");
    envoy.wait(Duration::from_secs(60));
    worker.tick();
    assert_eq!(envoy.gauges(), [1, 0, 1]);
    stream.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn a_full_endpoint_refuses_a_get_before_the_server_sees_it() {
    let envoy = Envoy::new();
    let worker = envoy.worker(CONFIGURATION);
    let streams = [open(&worker), open(&worker)];
    let refused = worker.stream();
    assert!(!goes_on(refused.request(to("/sse", "GET"), true)));
    let reply = refused.reply().unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("5")));
    refused.close();
    streams.into_iter().for_each(|stream| drop(stream.close()));
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn a_compressed_stream_is_not_asked_for() {
    let envoy = Envoy::new();
    let worker = envoy.worker(CONFIGURATION);
    let stream = worker.stream();
    let mut request = to("/sse", "GET");
    request.push(("accept-encoding".to_owned(), b"gzip".to_vec()));
    assert!(goes_on(stream.request(request, true)));
    let (request, _) = stream.heads();
    assert!(request.iter().all(|(name, _)| name != "accept-encoding"));
    stream.close();
}
