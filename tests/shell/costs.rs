//! The exact host calls of each kind of request. A changed number here is a changed cost of the filter, and must be
//! on purpose.

use std::fmt::Write;

use crate::envoy::{Envoy, Worker};
use crate::requests::{CALL, HELD, INITIALIZE, VIA_UPSTREAM, answer, head, initialize, open_session};

/// Sessions are admitted by their head, and the filter leaves no filter state.
const BY_HEAD: &str = r#"{"filter_state": []}"#;
const ALL_KEYS: &str = "{}";
const BY_BODY: &str =
    r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body"}]}"#;
const REJECTING: &str =
    r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "unknown_session": "reject"}]}"#;

/// The calls of each step of a request.
struct Bill<'a> {
    worker: &'a Worker,
    text: String,
}

impl<'a> Bill<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.calls();
        let text = String::new();
        Self { worker, text }
    }

    /// Writes down the calls since the last step.
    fn step(&mut self, name: &str) {
        let calls = self.worker.calls();
        let mut calls: Vec<_> = calls
            .iter()
            .map(|(function, count)| format!("{function} {count}"))
            .collect();
        if calls.is_empty() {
            calls.push("none".to_owned());
        }
        writeln!(self.text, "{name}: {}", calls.join(", ")).unwrap();
    }

    #[track_caller]
    fn is(&self, expected: &str) {
        let lines = expected.lines().map(str::trim).filter(|line| !line.is_empty());
        let expected: String = lines.flat_map(|line| [line, "\n"]).collect();
        assert!(
            self.text == expected,
            "expected\n{expected}\nfound\n{}",
            self.text
        );
    }
}

/// A worker with the live session `s`.
fn live(configuration: &str) -> Worker {
    let worker = Envoy::new().worker(configuration);
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    stream.body(INITIALIZE, true);
    stream.answer(answer(200, &[("mcp-session-id", "s")]), VIA_UPSTREAM, true);
    stream.close();
    worker
}

/// Requests to an endpoint that speaks HTTP+SSE.
const SSE: &str = r#"{"filter_state": [], "endpoints": [
    {"name": "mcp", "path": "/mcp", "transport": "http_sse", "message_path": "/message"}]}"#;

/// The host calls of a GET and of a POST of the live session `s`.
pub(crate) fn bills_of_live_session(worker: &Worker) -> [String; 2] {
    [bill_of_get(worker).text, bill_of_post(worker).text]
}

fn bill_of_get(worker: &Worker) -> Bill<'_> {
    let stream = worker.stream();
    let mut bill = Bill::new(worker);
    stream.request(head("GET", &[("mcp-session-id", "s")]), true);
    bill.step("head");
    stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
    bill.step("answer");
    stream.close();
    bill.step("end");
    bill
}

fn bill_of_post(worker: &Worker) -> Bill<'_> {
    let stream = worker.stream();
    let mut bill = Bill::new(worker);
    stream.request(
        head(
            "POST",
            &[("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25")],
        ),
        false,
    );
    bill.step("head");
    stream.body(CALL, false);
    bill.step("body");
    stream.body(b"", true);
    bill.step("end of body");
    stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
    bill.step("answer");
    stream.answer_part(b"{}");
    bill.step("body of the answer");
    stream.close();
    bill.step("end");
    bill
}

#[test]
fn a_post_of_a_live_session_reads_one_bucket() {
    bill_of_post(&live(BY_HEAD)).is("
        head: clock_time_get 1, get_map 1, get_shared_data 1
        body: none
        end of body: none
        answer: get_map 1
        body of the answer: none
        end: none
    ");
}

/// The one allocation is the context of the stream, for which the SDK asks: nothing of the head or the answer is copied.
/// Where the message is looked at as it streams by, its beginning is, and what is read of it.
#[test]
fn a_post_of_a_live_session_allocates_next_to_nothing() {
    for (configuration, expected) in [(BY_HEAD, 1), (ALL_KEYS, 1), (BY_BODY, 5)] {
        let worker = live(configuration);
        // The first one makes the lists of the worker as large as they need be.
        bill_of_post(&worker);
        worker.allocations();
        bill_of_post(&worker);
        assert_eq!(worker.allocations(), expected, "{configuration}");
    }
}

#[test]
fn a_post_of_a_live_session_with_all_filter_state() {
    bill_of_post(&live(ALL_KEYS)).is("
        head: clock_time_get 1, get_map 1, get_shared_data 1, set_property 4
        body: none
        end of body: none
        answer: get_map 1
        body of the answer: none
        end: none
    ");
}

#[test]
fn a_post_of_a_live_session_whose_body_is_looked_at_as_it_streams_by() {
    bill_of_post(&live(BY_BODY)).is("
        head: clock_time_get 1, get_map 1, get_shared_data 1
        body: get_buffer 1
        end of body: none
        answer: get_map 1
        body of the answer: none
        end: none
    ");
}

/// Rejecting what has no session costs a request of a live session nothing.
#[test]
fn a_post_of_a_live_session_at_a_server_that_keeps_what_it_refuses() {
    let guarded = BY_HEAD.replace(
        '}',
        r#", "endpoints": [{"name": "mcp", "path": "/mcp", "sessionless": "reject",
        "modern": "reject"}]}"#,
    );
    let worker = Envoy::new().worker(&guarded);
    let stream = worker.stream();
    let fields = [("accept", "application/json, text/event-stream")];
    stream.request(head("POST", &fields), false);
    stream.answer(answer(200, &[("mcp-session-id", "s")]), VIA_UPSTREAM, true);
    stream.close();
    assert_eq!(bill_of_post(&worker).text, bill_of_post(&live(BY_HEAD)).text);
    assert_eq!(bill_of_get(&worker).text, bill_of_get(&live(BY_HEAD)).text);
}

/// A refusal asks nothing of the table.
#[test]
fn what_has_no_session_is_refused_without_a_look_at_the_table() {
    let worker = Envoy::new().worker(
        r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "sessionless": "reject",
            "modern": "reject"}]}"#,
    );
    worker.stream().close();
    let modern: &[_] = &[("mcp-protocol-version", "2026-07-28")];
    let mut bill = Bill::new(&worker);
    for (method, fields) in [("GET", &[][..]), ("PUT", &[]), ("GET", modern)] {
        let stream = worker.stream();
        stream.request(head(method, fields), true);
        assert!(stream.reply().is_some());
        bill.step(method);
    }
    bill.is("
        GET: clock_time_get 1, get_map 1, increment_metric 1, send_local_response 1
        PUT: clock_time_get 1, get_map 1, increment_metric 1, send_local_response 1
        GET: clock_time_get 1, get_map 1, increment_metric 1, send_local_response 1
    ");
}

/// Methods and revisions are added up, so that the path makes no host call for them.
#[test]
fn posts_are_counted_by_method_and_revision_on_the_tick() {
    let worker = live(BY_HEAD);
    worker.tick();
    let mut bill = Bill::new(&worker);
    worker.tick();
    bill.step("no post");
    for _ in 0..100 {
        let stream = worker.stream();
        let fields = [("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25")];
        stream.request(head("POST", &fields), true);
        stream.close();
    }
    worker.calls();
    worker.tick();
    bill.step("100 posts");
    bill.is("
        no post: clock_time_get 1, get_metric 2, get_shared_data 5, record_metric 8
        100 posts: clock_time_get 1, get_metric 2, get_shared_data 5, increment_metric 2, record_metric 8
    ");
}

const STRICT: &str = r#"{"filter_state": [], "endpoints": [
    {"name": "mcp", "path": "/mcp", "admission": "body", "strict_json_rpc": true}]}"#;
const METHOD_HEADERS: &str = r#"{"filter_state": [], "endpoints": [
    {"name": "mcp", "path": "/mcp", "admission": "body", "strict_json_rpc": true, "method_headers": true}]}"#;

#[test]
fn a_post_of_a_live_session_that_is_checked_first() {
    bill_of_post(&live(STRICT)).is("
        head: clock_time_get 1, get_map 1, get_shared_data 1
        body: none
        end of body: clock_time_get 1, get_buffer 1
        answer: get_map 1
        body of the answer: none
        end: none
    ");
}

/// One call more for each header.
#[test]
fn a_post_of_a_live_session_whose_method_and_tool_the_filter_writes() {
    bill_of_post(&live(METHOD_HEADERS)).is("
        head: clock_time_get 1, get_map 1, get_shared_data 1
        body: none
        end of body: clock_time_get 1, get_buffer 1, replace_map_value 2
        answer: get_map 1
        body of the answer: none
        end: none
    ");
}

/// A client that writes no such headers costs nothing.
#[test]
fn a_get_where_the_filter_writes_method_and_tool() {
    assert_eq!(
        bill_of_get(&live(METHOD_HEADERS)).text,
        bill_of_get(&live(STRICT)).text
    );
}

const LOST: &str = r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body",
    "lost_session": [{"status": 400, "contains": "lost"}]}]}"#;

#[test]
fn a_post_of_a_live_session_costs_nothing_more_where_sessions_may_be_lost() {
    assert_eq!(bill_of_post(&live(LOST)).text, bill_of_post(&live(BY_BODY)).text);
}

#[test]
fn an_answer_that_is_held_is_read_once() {
    for (last, verdict) in [
        ("no.", "clock_time_get 1, get_buffer 1"),
        (
            "lost",
            "clock_time_get 1, get_buffer 1, get_metric 2, get_shared_data 4, increment_metric 2, record_metric 9, \
             send_local_response 1, set_shared_data 2",
        ),
    ] {
        let worker = live(LOST);
        let stream = worker.stream();
        let mut bill = Bill::new(&worker);
        stream.request(head("GET", &[("mcp-session-id", "s")]), true);
        bill.step("head");
        stream.answer_head(answer(400, &[]), VIA_UPSTREAM, false);
        bill.step("answer");
        stream.send_answer(&last.as_bytes()[..2], false);
        bill.step("part");
        stream.send_answer(&last.as_bytes()[2..], true);
        bill.step("last part");
        stream.close();
        bill.step("end");
        bill.is(&format!(
            "
            head: clock_time_get 1, get_map 1, get_shared_data 1
            answer: clock_time_get 1, get_map 1, get_property 1
            part: clock_time_get 1
            last part: {verdict}
            end: none
            "
        ));
    }
}

#[test]
fn a_get_of_a_live_session_counts_its_stream() {
    bill_of_get(&live(BY_HEAD)).is("
        head: clock_time_get 1, get_map 1, get_shared_data 1
        answer: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 3, record_metric 8, set_shared_data 1
        end: clock_time_get 1, get_metric 2, get_shared_data 3, record_metric 9, set_shared_data 1
    ");
}

#[test]
fn a_get_of_a_live_session_with_all_filter_state() {
    bill_of_get(&live(ALL_KEYS)).is("
        head: clock_time_get 1, get_map 1, get_shared_data 1, set_property 3
        answer: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 3, record_metric 8, set_shared_data 1
        end: clock_time_get 1, get_metric 2, get_shared_data 3, record_metric 9, set_shared_data 1
    ");
}

const CAPPED: &str =
    r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "max_streams": 1}]}"#;
const CAPPED_FOR_EACH: &str = r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp",
    "max_streams_per_principal": 1, "principal": [{"source_address": true}], "bind_sessions": false}]}"#;

/// The write is at the head instead of at the answer.
#[test]
fn a_get_under_a_cap_costs_what_a_get_without_one_does() {
    bill_of_get(&live(CAPPED)).is("
        head: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 4, record_metric 8, set_shared_data 1
        answer: clock_time_get 1, get_map 1
        end: clock_time_get 1, get_metric 2, get_shared_data 3, record_metric 9, set_shared_data 1
    ");
}

#[test]
fn a_get_under_a_cap_of_its_principal_reads_and_writes_a_book_too() {
    bill_of_get(&live(CAPPED_FOR_EACH)).is("
        head: clock_time_get 1, get_map 1, get_metric 2, get_property 1, get_shared_data 5, record_metric 8, set_shared_data 2
        answer: clock_time_get 1, get_map 1
        end: clock_time_get 1, get_metric 2, get_shared_data 4, record_metric 9, set_shared_data 2
    ");
}

#[test]
fn a_get_that_is_refused_reads_the_ledger_and_writes_nothing() {
    let worker = live(CAPPED);
    let open = worker.stream();
    open.request(head("GET", &[]), true);
    let stream = worker.stream();
    let mut bill = Bill::new(&worker);
    stream.request(head("GET", &[("mcp-session-id", "s")]), true);
    bill.step("head and own answer");
    stream.close();
    bill.step("end");
    bill.is("
        head and own answer: clock_time_get 1, get_map 1, get_shared_data 2, increment_metric 1, send_local_response 1
        end: none
    ");
}

#[test]
fn a_post_of_a_live_session_costs_the_same_where_streams_are_capped() {
    assert_eq!(
        bill_of_post(&live(CAPPED)).text,
        bill_of_post(&live(BY_HEAD)).text
    );
}

#[test]
fn a_delete_of_a_live_session() {
    let worker = live(BY_HEAD);
    let stream = worker.stream();
    let mut bill = Bill::new(&worker);
    stream.request(head("DELETE", &[("mcp-session-id", "s")]), true);
    bill.step("head");
    stream.answer(answer(204, &[]), VIA_UPSTREAM, true);
    bill.step("answer");
    stream.close();
    bill.step("end");
    bill.is("
        head: clock_time_get 1, get_map 1, get_shared_data 1
        answer: clock_time_get 1, get_map 1, get_metric 2, get_property 1, get_shared_data 4, increment_metric 1, record_metric 9, set_shared_data 2
        end: none
    ");
}

#[test]
fn a_post_that_opens_a_session_admitted_by_its_head() {
    let worker = Envoy::new().worker(BY_HEAD);
    let stream = worker.stream();
    let mut bill = Bill::new(&worker);
    stream.request(head("POST", &[]), false);
    bill.step("head");
    stream.body(INITIALIZE, true);
    bill.step("body");
    stream.answer(answer(200, &[("mcp-session-id", "s")]), VIA_UPSTREAM, false);
    bill.step("answer");
    stream.close();
    bill.step("end");
    bill.is("
        head: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 3, record_metric 8, set_shared_data 1
        body: none
        answer: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 4, increment_metric 1, record_metric 8, set_shared_data 2
        end: none
    ");
}

#[test]
fn a_post_that_opens_a_session_admitted_by_its_body() {
    let worker = Envoy::new().worker(HELD);
    let stream = worker.stream();
    let mut bill = Bill::new(&worker);
    stream.request(head("POST", &[]), false);
    bill.step("head");
    stream.body(&INITIALIZE[..40], false);
    bill.step("part");
    stream.body(&INITIALIZE[40..], true);
    bill.step("body");
    stream.answer(answer(200, &[("mcp-session-id", "s")]), VIA_UPSTREAM, false);
    bill.step("answer");
    stream.close();
    bill.step("end");
    bill.is("
        head: clock_time_get 1, get_map 1
        part: none
        body: clock_time_get 1, get_buffer 1, get_metric 2, get_shared_data 3, record_metric 8, set_shared_data 1
        answer: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 4, increment_metric 1, record_metric 8, set_shared_data 2
        end: none
    ");
}

#[test]
fn a_post_that_is_refused_at_the_cap() {
    let worker = Envoy::new().worker(HELD);
    let _waiting: Vec<_> = (0..4).map(|_| initialize(&worker)).collect();
    let stream = worker.stream();
    let mut bill = Bill::new(&worker);
    stream.request(head("POST", &[]), false);
    bill.step("head");
    stream.body(INITIALIZE, true);
    bill.step("body and own answer");
    stream.close();
    bill.step("end");
    bill.is("
        head: clock_time_get 1, get_map 1
        body and own answer: clock_time_get 1, get_buffer 1, get_shared_data 1, increment_metric 1, send_local_response 1
        end: none
    ");
}

fn bill_of_unknown(worker: &Worker) -> Bill<'_> {
    let stream = worker.stream();
    let mut bill = Bill::new(worker);
    stream.request(head("POST", &[("mcp-session-id", "unknown")]), true);
    bill.step("head");
    if stream.reply().is_none() {
        stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
        bill.step("answer");
    }
    stream.close();
    bill.step("end");
    bill
}

#[test]
fn an_unknown_id_that_is_adopted() {
    bill_of_unknown(&Envoy::new().worker(BY_HEAD)).is("
        head: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 4, record_metric 8, set_shared_data 1
        answer: clock_time_get 1, get_map 1, get_metric 2, get_property 1, get_shared_data 4, increment_metric 1, record_metric 8, set_shared_data 2
        end: none
    ");
}

#[test]
fn an_unknown_id_that_is_rejected() {
    bill_of_unknown(&Envoy::new().worker(REJECTING)).is("
        head: clock_time_get 1, get_map 1, get_shared_data 1, increment_metric 1, send_local_response 1
        end: none
    ");
}

#[test]
fn a_request_that_is_none_of_the_filters_business() {
    let worker = live(BY_HEAD);
    let stream = worker.stream();
    let mut bill = Bill::new(&worker);
    let mut other = head("POST", &[]);
    other[2].1 = b"/other".to_vec();
    stream.request(other, false);
    bill.step("head");
    stream.body(CALL, true);
    stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
    stream.close();
    bill.step("all else");
    bill.is("
        head: get_map 1
        all else: none
    ");
}

#[test]
fn a_stream_of_http_sse_is_looked_at_until_it_names_its_session() {
    let worker = Envoy::new().worker(SSE);
    let stream = worker.stream();
    let mut bill = Bill::new(&worker);
    stream.request(head("GET", &[("accept-encoding", "gzip")]), true);
    bill.step("head");
    stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
    bill.step("answer");
    stream.answer_part(b"event: endpoint\n");
    bill.step("half of the event");
    stream.answer_part(b"data: /message?sessionId=s\n\n");
    bill.step("the other half");
    stream.answer_part(b"event: message\ndata: {}\n\n");
    bill.step("an event");

    let post = worker.stream();
    let mut message = head("POST", &[]);
    message[2].1 = b"/message?sessionId=s".to_vec();
    post.request(message, false);
    bill.step("head of a post");
    post.body(CALL, true);
    post.answer(answer(202, &[]), VIA_UPSTREAM, true);
    bill.step("its body and its answer");
    post.close();
    bill.step("its end");

    stream.close();
    bill.step("end");
    bill.is("
        head: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 3, record_metric 8, remove_map_value 1, set_shared_data 1
        answer: clock_time_get 1, get_map 1, get_metric 2, get_shared_data 3, record_metric 8, set_shared_data 1
        half of the event: clock_time_get 1, get_buffer 1
        the other half: clock_time_get 1, get_buffer 1, get_metric 2, get_shared_data 4, increment_metric 1, record_metric 8, set_shared_data 2
        an event: none
        head of a post: clock_time_get 1, get_map 1, get_shared_data 1
        its body and its answer: get_map 1
        its end: none
        end: clock_time_get 1, get_metric 2, get_shared_data 5, increment_metric 1, record_metric 10, set_shared_data 3
    ");
}

#[test]
fn ticks() {
    let envoy = Envoy::new();
    let worker = envoy.worker(HELD);
    open_session(&worker, "s");
    let mut bill = Bill::new(&worker);
    worker.tick();
    bill.step("first: all 64 groups of 16 buckets");
    for _ in 0..8 {
        envoy.wait(std::time::Duration::from_secs(1));
        worker.tick();
    }
    worker.calls();
    envoy.wait(std::time::Duration::from_secs(1));
    worker.tick();
    bill.step("idle");
    envoy.wait(std::time::Duration::from_millis(500));
    worker.tick();
    bill.step("between sweeps");
    bill.is("
        first: all 64 groups of 16 buckets: clock_time_get 193, get_metric 2, get_shared_data 1158, increment_metric 2, record_metric 8, set_shared_data 128
        idle: clock_time_get 1, get_metric 2, get_shared_data 6, record_metric 8
        between sweeps: clock_time_get 1, get_metric 2, get_shared_data 5, record_metric 8
    ");
}

const OWNED: &str = r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "unknown_session": "reject",
    "principal": [{"header": "x-user"}], "max_sessions_per_principal": 2}]}"#;

fn open_as(worker: &Worker, user: &str, id: &str) {
    let stream = worker.stream();
    stream.request(head("POST", &[("x-user", user)]), false);
    stream.answer(answer(200, &[("mcp-session-id", id)]), VIA_UPSTREAM, true);
    stream.close();
}

/// The cost of a request by bob with this id.
fn bill_of_bob(worker: &Worker, method: &str, id: &str) -> String {
    let stream = worker.stream();
    let mut bill = Bill::new(worker);
    stream.request(head(method, &[("mcp-session-id", id), ("x-user", "bob")]), true);
    bill.step("head");
    assert_eq!(stream.reply().map(|reply| reply.status), Some(404));
    stream.close();
    bill.step("end");
    bill.text
}

/// The same calls, in the same order, for the same bytes, so that the time taken does not tell the cases apart.
#[test]
fn a_foreign_an_unknown_and_an_ended_id_cost_the_same() {
    let worker = Envoy::new().worker(OWNED);
    open_as(&worker, "alice", "foreign");
    open_as(&worker, "bob", "ended");
    let stream = worker.stream();
    stream.request(
        head("DELETE", &[("mcp-session-id", "ended"), ("x-user", "bob")]),
        true,
    );
    stream.answer(answer(204, &[]), VIA_UPSTREAM, true);
    stream.close();
    for method in ["POST", "GET", "DELETE"] {
        let unknown = bill_of_bob(&worker, method, "unknown");
        assert_eq!(bill_of_bob(&worker, method, "foreign"), unknown);
        assert_eq!(bill_of_bob(&worker, method, "ended"), unknown);
    }
}

#[test]
fn what_a_principal_costs() {
    let worker = Envoy::new().worker(OWNED);
    worker.stream().close();
    let mut bill = Bill::new(&worker);
    open_as(&worker, "alice", "s");
    bill.step("opening");
    let stream = worker.stream();
    stream.request(
        head("POST", &[("mcp-session-id", "s"), ("x-user", "alice")]),
        true,
    );
    bill.step("use");
    open_as(&worker, "alice", "t");
    worker.calls();
    for step in ["first refusal", "next refusal"] {
        let stream = worker.stream();
        stream.request(head("POST", &[("x-user", "alice")]), true);
        assert_eq!(stream.reply().map(|reply| reply.status), Some(429));
        bill.step(step);
    }
    bill.is("
        opening: clock_time_get 2, get_map 2, get_metric 4, get_shared_data 9, increment_metric 1, record_metric 16, set_shared_data 5
        use: clock_time_get 1, get_map 1, get_shared_data 1
        first refusal: clock_time_get 1, get_map 1, get_shared_data 3, increment_metric 1, send_local_response 1, set_shared_data 1
        next refusal: clock_time_get 1, get_map 1, get_shared_data 1, increment_metric 1, send_local_response 1
    ");
}

/// What a session costs from its opening to its end, and what a tick costs beside, of one endpoint among so many.
#[test]
fn a_session_costs_the_same_among_many_endpoints() {
    let bill_among = |endpoints: usize| {
        let others: String = (1..endpoints)
            .map(|number| format!(r#", {{"name": "other_{number}", "path": "/other/{number}"}}"#))
            .collect();
        let text =
            format!(r#"{{"filter_state": [], "endpoints": [{{"name": "mcp", "path": "/mcp"}}{others}]}}"#);
        let worker = Envoy::new().worker(&text);
        open_by_head(&worker, "first");
        let mut bill = Bill::new(&worker);
        open_by_head(&worker, "s");
        bill.step("opening");
        crate::requests::delete_session(&worker, "s");
        bill.step("end");
        bill.text
    };
    assert_eq!(bill_among(8), bill_among(1));
    assert_eq!(bill_among(64), bill_among(1));
}

fn open_by_head(worker: &Worker, id: &str) {
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    stream.answer(answer(200, &[("mcp-session-id", id)]), VIA_UPSTREAM, true);
    stream.close();
}
