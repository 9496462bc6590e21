//! Requests and answers that tests send, and sessions that they open.

use std::time::Duration;

use crate::envoy::{Envoy, Headers, Stream, Worker, goes_on};

/// The code details that Envoy sets for an answer from the server.
pub(crate) const VIA_UPSTREAM: Option<&str> = Some("via_upstream");

pub(crate) const INITIALIZE: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
pub(crate) const CALL: &[u8] =
    br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;

/// Sessions are admitted by their message, and the filter leaves no filter state.
pub(crate) const HELD: &str = r#"{"filter_state": [], "endpoints": [
    {"name": "mcp", "path": "/mcp", "max_sessions": 4, "admission": "body", "max_request_bytes": 1024}]}"#;

/// The head of a request to the endpoint.
pub(crate) fn head(method: &str, fields: &[(&str, &str)]) -> Headers {
    let own = [(":method", method), (":authority", "gateway"), (":path", "/mcp")];
    let json = [("content-type", "application/json")];
    let json = json.iter().filter(|_| method == "POST");
    pairs(own.iter().chain(json).chain(fields))
}

/// The head of an answer.
pub(crate) fn answer(status: u16, fields: &[(&str, &str)]) -> Headers {
    let status = status.to_string();
    pairs([(":status", status.as_str())].iter().chain(fields))
}

fn pairs<'a>(fields: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Headers {
    fields
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// An `initialize` that has reached the server.
pub(crate) fn initialize(worker: &Worker) -> Stream<'_> {
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    assert!(goes_on(stream.body(INITIALIZE, true)));
    assert_eq!(stream.reply(), None);
    stream
}

/// Opens a session, whose `initialize` is over.
pub(crate) fn open_session(worker: &Worker, id: &str) {
    let stream = initialize(worker);
    stream.answer(answer(200, &[("mcp-session-id", id)]), VIA_UPSTREAM, false);
    stream.close();
}

/// A request of a session that has reached the server; its body does not come.
pub(crate) fn of_session<'a>(worker: &'a Worker, method: &str, id: &str) -> Stream<'a> {
    let stream = worker.stream();
    let has_no_body = method != "POST";
    assert!(goes_on(
        stream.request(head(method, &[("mcp-session-id", id)]), has_no_body)
    ));
    stream
}

/// Ends a session as a client does.
pub(crate) fn delete_session(worker: &Worker, id: &str) {
    let stream = of_session(worker, "DELETE", id);
    stream.answer(answer(204, &[]), VIA_UPSTREAM, true);
    stream.close();
}

/// The status of the filter's refusal of a request of the session; `None` if the request passes.
pub(crate) fn refusal(worker: &Worker, id: &str) -> Option<u32> {
    let stream = worker.stream();
    stream.request(head("GET", &[("mcp-session-id", id)]), true);
    let reply = stream.reply();
    stream.close();
    reply.map(|reply| reply.status)
}

/// The path of a head.
pub(crate) fn at_path(mut head: Headers, path: &str) -> Headers {
    head[2].1 = path.as_bytes().to_vec();
    head
}

/// How many of the streams each tick closes, 20 ms apart, until all are closed.
pub(crate) fn closed_by_each_tick(
    envoy: &Envoy,
    worker: &Worker,
    mut streams: Vec<Stream<'_>>,
) -> Vec<usize> {
    let mut closed = Vec::new();
    while !streams.is_empty() {
        worker.tick();
        let (reset, open): (Vec<_>, Vec<_>) = streams.into_iter().partition(Stream::is_reset);
        closed.push(reset.len());
        reset.into_iter().for_each(|stream| drop(stream.close()));
        streams = open;
        envoy.wait(Duration::from_millis(20));
    }
    closed
}
