//! Callbacks in every order in which Envoy calls them.

use std::time::Duration;

use crate::envoy::{Envoy, Worker, goes_on};
use crate::requests::{
    CALL, HELD, INITIALIZE, VIA_UPSTREAM, answer, closed_by_each_tick, delete_session, head, initialize,
    of_session, open_session, refusal,
};

fn start() -> (Envoy, Worker) {
    let envoy = Envoy::new();
    let worker = envoy.worker(HELD);
    (envoy, worker)
}

#[test]
fn a_session_lives_from_its_initialize_to_its_delete() {
    let (envoy, worker) = start();
    assert_eq!(envoy.stat("vm.limit"), 10_000);
    assert_eq!(envoy.stat("endpoint.mcp.limit"), 4);

    let opening = initialize(&worker);
    assert_eq!(envoy.gauges(), [0, 1, 0]);
    opening.answer(answer(200, &[("mcp-session-id", "s")]), VIA_UPSTREAM, false);
    assert_eq!(envoy.gauges(), [1, 0, 0]);
    opening.close();

    let listening = of_session(&worker, "GET", "s");
    listening.answer(answer(200, &[]), VIA_UPSTREAM, false);
    assert_eq!(envoy.gauges(), [1, 0, 1]);

    let call = of_session(&worker, "POST", "s");
    assert!(goes_on(call.body(CALL, true)));
    call.answer(answer(200, &[]), VIA_UPSTREAM, false);
    call.close();

    listening.close();
    assert_eq!(envoy.gauges(), [1, 0, 0]);
    delete_session(&worker, "s");
    assert_eq!(envoy.gauges(), [0, 0, 0]);
    assert_eq!(refusal(&worker, "s"), Some(404));

    worker.tick();
    let counted = [
        "created",
        "requests.method.initialize",
        "requests.method.tools/call",
        "ended.reason.client_delete",
        "rejected.reason.session_not_found",
        "duration",
    ];
    for name in counted {
        assert_eq!(envoy.stat(&format!("endpoint.mcp.{name}")), 1, "{name}");
    }
}

#[test]
fn what_is_known_of_a_request_is_left_for_access_logs() {
    let envoy = Envoy::new();
    let worker = envoy.worker(r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body"}]}"#);
    let stream = worker.stream();
    let fields = [("mcp-session-id", "abc"), ("mcp-protocol-version", "2025-11-25")];
    stream.request(head("POST", &fields), false);
    stream.body(CALL, true);
    let expected = [
        ("mcp.endpoint", "mcp"),
        ("mcp.method.name", "tools/call"),
        ("mcp.outcome", "forwarded"),
        ("mcp.protocol.version", "2025-11-25"),
        ("mcp.session.id", "ba7816bf8f01cfea"),
        ("gen_ai.tool.name", "echo"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(stream.close().filter_state, expected.into());
}

#[test]
fn the_place_comes_back_without_on_log_as_http_3_ends() {
    let (envoy, worker) = start();
    let stream = initialize(&worker);
    stream.delete();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn the_place_comes_back_once_though_answer_and_end_both_give_it_back() {
    let (envoy, worker) = start();
    let other = initialize(&worker);
    let stream = initialize(&worker);
    assert_eq!(envoy.gauges(), [0, 2, 0]);
    stream.answer(answer(503, &[]), None, false);
    assert_eq!(envoy.gauges(), [0, 1, 0]);
    stream.close();
    assert_eq!(envoy.gauges(), [0, 1, 0]);
    other.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn a_stream_whose_first_callback_is_its_last_changes_nothing() {
    let (envoy, worker) = start();
    worker.stream().close();
    worker.stream().delete();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn an_answer_before_any_request_head_changes_nothing() {
    let (envoy, worker) = start();
    let stream = worker.stream();
    stream.answer(answer(400, &[("mcp-session-id", "s")]), None, true);
    stream.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn a_held_request_whose_client_leaves_has_taken_no_place() {
    let (envoy, worker) = start();
    let stream = worker.stream();
    assert!(!goes_on(stream.request(head("POST", &[]), false)));
    assert!(!goes_on(stream.body(&INITIALIZE[..20], false)));
    stream.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn the_filters_own_answer_passes_it_and_gives_nothing_back_twice() {
    let (envoy, worker) = start();
    let waiting: Vec<_> = (0..4).map(|_| initialize(&worker)).collect();
    let refused = worker.stream();
    refused.request(head("POST", &[]), false);
    assert!(!goes_on(refused.body(INITIALIZE, true)));
    let reply = refused.reply().unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("5")));
    assert_eq!(
        reply.body,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Too many open sessions"}}"#
    );
    refused.close();
    assert_eq!(envoy.gauges(), [0, 4, 0]);
    waiting.into_iter().for_each(|stream| drop(stream.close()));
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn envoys_own_answer_to_a_held_request_changes_nothing() {
    let (envoy, worker) = start();
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    stream.body(&INITIALIZE[..20], false);
    stream.answer(answer(413, &[]), Some("request_payload_too_large"), false);
    stream.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn a_held_request_that_ends_with_trailers_is_judged() {
    let (envoy, worker) = start();
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    assert!(!goes_on(stream.body(INITIALIZE, false)));
    assert!(goes_on(stream.trailers()));
    assert_eq!(envoy.gauges(), [0, 1, 0]);
    stream.close();

    let batch = worker.stream();
    batch.request(head("POST", &[("mcp-protocol-version", "2025-06-18")]), false);
    assert!(!goes_on(batch.body(b"[", false)));
    assert!(!goes_on(batch.trailers()));
    assert_eq!(batch.reply().map(|reply| reply.status), Some(400));
    batch.close();
}

#[test]
fn a_held_request_of_trailers_alone_is_refused() {
    let (_, worker) = start();
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    assert!(!goes_on(stream.trailers()));
    assert_eq!(stream.reply().map(|reply| reply.status), Some(400));
    stream.close();
}

#[test]
fn an_empty_last_part_ends_a_body() {
    let (envoy, worker) = start();
    let held = worker.stream();
    held.request(head("POST", &[]), false);
    held.body(INITIALIZE, false);
    assert!(goes_on(held.body(b"", true)));
    held.close();

    let empty = worker.stream();
    empty.request(head("POST", &[]), false);
    assert!(!goes_on(empty.body(b"", true)));
    assert_eq!(empty.reply().map(|reply| reply.status), Some(400));
    empty.close();

    open_session(&worker, "s");
    let passing = of_session(&worker, "POST", "s");
    assert!(goes_on(passing.body(&CALL[..40], false)));
    assert!(goes_on(passing.body(&CALL[40..], false)));
    assert!(goes_on(passing.body(b"", true)));
    passing.close();
    worker.tick();
    assert_eq!(envoy.stat("endpoint.mcp.requests.method.tools/call"), 1);
    assert_eq!(envoy.stat("endpoint.mcp.requests.method.other"), 1);
}

#[test]
fn a_held_body_is_judged_alike_wherever_it_is_cut() {
    let (envoy, worker) = start();
    for cut in 0..=INITIALIZE.len() {
        let stream = worker.stream();
        assert!(!goes_on(stream.request(head("POST", &[]), false)));
        assert!(!goes_on(stream.body(&INITIALIZE[..cut], false)));
        assert!(goes_on(stream.body(&INITIALIZE[cut..], true)), "cut at {cut}");
        assert_eq!(envoy.gauges(), [0, 1, 0]);
        stream.close();
    }
}

#[test]
fn a_held_body_that_is_too_large_is_refused_once_its_first_4_kib_are_there_or_its_end() {
    let (_, worker) = start();
    let spaces = |count: usize| vec![b' '; count];
    for (parts, is_last) in [([1025, 3071], false), ([4095, 1], false), ([1024, 1], true)] {
        let stream = worker.stream();
        stream.request(head("POST", &[]), false);
        assert!(!goes_on(stream.body(&spaces(parts[0]), false)) && stream.reply().is_none());
        assert!(!goes_on(stream.body(&spaces(parts[1]), is_last)));
        assert_eq!(stream.reply().map(|reply| reply.status), Some(413));
        stream.close();
    }
}

#[test]
fn an_id_is_taken_off_where_the_revision_has_no_sessions() {
    let (envoy, worker) = start();
    let modern = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
        ("mcp-session-id", "s"),
    ];
    let has_id = |headers: &crate::envoy::Headers| headers.iter().any(|(name, _)| name == "mcp-session-id");
    for ends_with_trailers in [false, true] {
        let stream = worker.stream();
        assert!(!goes_on(stream.request(head("POST", &modern), false)));
        if ends_with_trailers {
            stream.body(CALL, false);
            assert!(goes_on(stream.trailers()));
        } else {
            assert!(goes_on(stream.body(CALL, true)));
        }
        stream.answer(answer(200, &[("mcp-session-id", "minted")]), VIA_UPSTREAM, false);
        let (request, response) = stream.heads();
        assert!(!has_id(&request) && !has_id(&response));
        stream.close();
    }
    let stream = worker.stream();
    assert!(goes_on(stream.request(head("GET", &modern), true)));
    assert!(!has_id(&stream.heads().0));
    stream.close();
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn header_bytes_that_are_no_text_do_not_hurt() {
    let (_, worker) = start();
    for name in [
        ":path",
        ":authority",
        "mcp-session-id",
        "mcp-protocol-version",
        "x",
    ] {
        let stream = worker.stream();
        let mut headers = head("GET", &[]);
        headers.retain(|(known, _)| known != name);
        headers.push((name.to_owned(), vec![0xff, 0x80]));
        stream.request(headers, true);
        let mut response = answer(200, &[]);
        response.push((name.to_owned(), vec![0xff]));
        stream.answer(response, VIA_UPSTREAM, true);
        stream.close();
    }
}

#[test]
fn a_status_that_is_no_number_opens_nothing() {
    let (envoy, worker) = start();
    let stream = initialize(&worker);
    let mut response = answer(200, &[("mcp-session-id", "s")]);
    response[0].1 = vec![0xff];
    stream.answer(response, VIA_UPSTREAM, false);
    assert_eq!(envoy.gauges(), [0, 0, 0]);
    stream.close();
}

#[test]
fn only_the_server_ends_a_session_by_its_answers() {
    let (envoy, worker) = start();
    open_session(&worker, "s");
    for (method, status, details) in [
        ("GET", 404, VIA_UPSTREAM),
        ("POST", 404, None),
        ("DELETE", 404, Some("route_not_found")),
        ("DELETE", 200, Some("direct_response")),
        ("DELETE", 503, VIA_UPSTREAM),
    ] {
        let stream = of_session(&worker, method, "s");
        stream.answer(answer(status, &[]), details, true);
        stream.close();
    }
    assert_eq!(envoy.gauges(), [1, 0, 0]);
    let stream = of_session(&worker, "POST", "s");
    stream.answer(answer(404, &[]), VIA_UPSTREAM, true);
    assert_eq!(envoy.gauges(), [0, 0, 0]);
    stream.close();
}

#[test]
fn a_lifetime_closes_the_streams_it_ends() {
    let (envoy, worker) = start();
    open_session(&worker, "s");
    let listening = of_session(&worker, "GET", "s");
    listening.answer(answer(200, &[]), VIA_UPSTREAM, false);
    for _ in 0..24 * 6 - 1 {
        envoy.wait(Duration::from_secs(600));
        worker.tick();
    }
    assert!(!listening.is_reset());
    envoy.wait(Duration::from_secs(600));
    worker.tick();
    assert!(listening.is_reset());
    listening.close();
    sweep_all(&envoy, &worker);
    assert_eq!(envoy.gauges(), [0, 0, 0]);
    assert_eq!(envoy.stat("endpoint.mcp.ended.reason.lifetime"), 1);
}

/// Envoy closes what one callback asks for one inside the other, on one stack.
#[test]
fn streams_that_reach_their_lifetime_together_are_closed_a_few_at_a_time_and_soon() {
    let envoy = Envoy::new();
    let worker = envoy.worker(r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "max_lifetime": "2m"}]}"#);
    let mut streams = Vec::new();
    for number in 0..100 {
        let id = format!("s{number}");
        open_session(&worker, &id);
        let stream = of_session(&worker, "GET", &id);
        stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
        streams.push(stream);
    }
    envoy.wait(Duration::from_secs(121));
    worker.calls();
    assert_eq!(closed_by_each_tick(&envoy, &worker, streams), [32, 32, 32, 4]);
    assert_eq!(
        worker.calls().get("set_tick_period"),
        Some(&2),
        "faster, then as before"
    );
}

#[test]
fn a_worker_that_stood_still_does_not_end_sessions_it_has_in_use() {
    let envoy = Envoy::new();
    let worker = envoy.worker("");
    let in_use: Vec<_> = (0..64)
        .map(|number| {
            let id = number.to_string();
            let stream = worker.stream();
            stream.request(head("POST", &[]), true);
            stream.answer(answer(200, &[("mcp-session-id", &id)]), VIA_UPSTREAM, false);
            stream
        })
        .collect();
    envoy.wait(Duration::from_secs(2 * 3600));
    sweep_all(&envoy, &worker);
    assert_eq!(envoy.gauges(), [64, 0, 0]);
    in_use.into_iter().for_each(|stream| drop(stream.close()));
    envoy.wait(Duration::from_secs(2 * 3600));
    sweep_all(&envoy, &worker);
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn expired_sessions_are_found_in_time_even_where_they_are_looked_for_rarely() {
    let envoy = Envoy::new();
    let worker = envoy.worker(
        r#"{"sweep_interval": "60s", "endpoints": [{"name": "mcp", "path": "/mcp", "idle_timeout": "60s"}]}"#,
    );
    for number in 0..64 {
        let stream = worker.stream();
        stream.request(head("POST", &[]), true);
        let id = number.to_string();
        stream.answer(answer(200, &[("mcp-session-id", &id)]), VIA_UPSTREAM, true);
        stream.close();
    }
    // A timeout, an interval, and two ticks for the rest of the table.
    for _ in 0..(60 + 60) / 5 + 2 {
        envoy.wait(Duration::from_secs(5));
        worker.tick();
    }
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

/// As many ticks as one worker needs to sweep the whole table.
fn sweep_all(envoy: &Envoy, worker: &Worker) {
    for _ in 0..8 {
        worker.tick();
        envoy.wait(Duration::from_secs(1));
    }
}
