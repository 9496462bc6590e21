//! Host functions that fail, each in every possible way. A panic of the filter ends this process, as it would end the
//! worker's VM.

use std::panic::catch_unwind;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{LogLevel, Status};

use crate::envoy::{Envoy, Fault, Headers, Stream, Worker};
use crate::requests::{CALL, HELD, INITIALIZE, VIA_UPSTREAM, answer, head, open_session};

/// Every failure that the SDK has a name for.
const FAILURES: [Status; 7] = [
    Status::NotFound,
    Status::BadArgument,
    Status::SerializationFailure,
    Status::ParseFailure,
    Status::Empty,
    Status::CasMismatch,
    Status::InternalFailure,
];

/// Every host function that the filter calls, except the clock, which cannot fail, and [`CALLOUT`].
const FUNCTIONS: [&str; 19] = [
    "log",
    "get_log_level",
    "set_tick_period",
    "get_buffer",
    "get_map",
    "get_map_value",
    "remove_map_value",
    "get_property",
    "set_property",
    "get_shared_data",
    "set_shared_data",
    "close_stream",
    "continue_stream",
    "send_local_response",
    "set_effective_context",
    "define_metric",
    "get_metric",
    "record_metric",
    "increment_metric",
];

/// The host function that goes through the SDK, since the SDK must know the callout.
const CALLOUT: &str = "http_call";

/// The failures at which the SDK does not panic. Envoy's `Context::httpCall` returns no others.
const FAILURES_OF_A_CALLOUT: [Status; 2] = [Status::BadArgument, Status::InternalFailure];

/// Every function with every failure that it can return.
fn faults() -> impl Iterator<Item = (&'static str, Status)> {
    let of_abi = FUNCTIONS
        .into_iter()
        .flat_map(|function| FAILURES.map(|status| (function, status)));
    of_abi.chain(FAILURES_OF_A_CALLOUT.map(|status| (CALLOUT, status)))
}

#[test]
fn every_function_that_the_filter_calls_is_listed() {
    let envoy = Envoy::new();
    let worker = envoy.worker(CONFIGURATION);
    play(&worker, 0);
    envoy.wait(Duration::from_secs(360));
    worker.tick();
    answer_callouts(&worker);
    let called = worker.calls();
    for function in called.keys().filter(|name| **name != "clock_time_get") {
        assert!(*function == CALLOUT || FUNCTIONS.contains(function), "{function}");
    }
    for function in FUNCTIONS {
        assert!(
            called.contains_key(function),
            "{function} is not called by these tests"
        );
    }
}

#[test]
fn no_failure_of_any_call_does_lasting_harm() {
    for function in FUNCTIONS {
        fail_at_every_call(function, Status::InternalFailure);
    }
    fail_at_every_call("set_shared_data", Status::CasMismatch);
    fail_at_every_call("get_shared_data", Status::NotFound);
    for status in FAILURES_OF_A_CALLOUT {
        fail_at_every_call(CALLOUT, status);
    }
}

#[test]
fn every_failure_of_the_first_calls_is_survived() {
    for (function, status) in faults() {
        let envoy = Envoy::new();
        let worker = envoy.worker(CONFIGURATION);
        for after in 0..3 {
            worker.fail(Fault {
                function,
                after,
                status,
            });
            envoy.wait(Duration::from_secs(1));
            play(&worker, after);
            envoy.wait(Duration::from_secs(360));
            worker.tick();
            answer_callouts_after(function, &worker);
            end_all(&worker);
        }
        recover(&envoy, &worker, function, status);
    }
}

#[test]
fn a_start_at_which_any_call_fails_goes_on_or_says_why_not() {
    for (function, status) in faults() {
        let worker = Envoy::new().bare_worker();
        worker.fail(Fault {
            function,
            after: 0,
            status,
        });
        let has_started = worker.configure(CONFIGURATION);
        let is_logged = worker.log().iter().any(|(level, _)| *level == LogLevel::Error);
        assert!(has_started || is_logged, "{function}: {status:?}");
        worker.stream();
    }
}

/// While this holds, the filter may send callouts through the SDK.
#[test]
#[allow(clippy::disallowed_methods, reason = "this is the test of it")]
fn the_sdk_hands_on_the_failures_of_a_callout_that_envoy_has() {
    let worker = Envoy::new().worker("");
    for status in FAILURES_OF_A_CALLOUT {
        worker.fail(Fault {
            function: CALLOUT,
            after: 0,
            status,
        });
        let call = || hostcalls::dispatch_http_call("up", Vec::new(), None, Vec::new(), Duration::ZERO);
        let sent = worker.call(1, move || catch_unwind(call));
        assert_eq!(sent.ok(), Some(Err(status)));
    }
}

#[test]
fn a_worker_whose_start_meets_others_at_every_write_starts() {
    // The keys that every table has, and two writes for each bucket that splits.
    for after in (0..80).chain((80..2_080).step_by(99)) {
        let envoy = Envoy::new();
        let worker = envoy.bare_worker();
        worker.fail(Fault {
            function: "set_shared_data",
            after,
            status: Status::CasMismatch,
        });
        assert!(worker.configure(CONFIGURATION), "{after}");
        assert_eq!(envoy.stat("vm.limit"), 10_000);
    }
}

const CONFIGURATION: &str = r#"{"endpoints": [
    {"name": "mcp", "path": "/mcp", "idle_timeout": "300s", "max_lifetime": "350s", "admission": "body",
     "lost_session": [{"status": 400, "contains": "lost"}],
     "terminate_upstream": {"cluster": "up", "authority": "mcp.internal"}},
    {"name": "sse", "path": "/sse", "transport": "http_sse", "message_path": "/message",
     "idle_timeout": "300s", "max_lifetime": "350s"}]}"#;

/// Plays the same requests over and over, each time with another call of `function` failing.
fn fail_at_every_call(function: &'static str, status: Status) {
    let envoy = Envoy::new();
    let worker = envoy.worker(CONFIGURATION);
    let mut after = 0;
    loop {
        worker.fail(Fault {
            function,
            after,
            status,
        });
        envoy.wait(Duration::from_secs(1));
        play(&worker, after);
        envoy.wait(Duration::from_secs(360));
        worker.tick();
        answer_callouts_after(function, &worker);
        end_all(&worker);
        if worker.fault_is_left() {
            break;
        }
        // A sweep makes thousands of similar calls, so later calls are tested in larger steps.
        after += if after < 100 { 1 } else { 211 };
    }
    recover(&envoy, &worker, function, status);
}

/// Some time after the last failure no session is left.
fn recover(envoy: &Envoy, worker: &Worker, function: &str, status: Status) {
    for _ in 0..40 {
        envoy.wait(Duration::from_secs(60));
        worker.tick();
        answer_callouts(worker);
    }
    assert_eq!(envoy.gauges(), [0, 0, 0], "after {function}: {status:?}");
    assert_eq!(envoy.stat("vm.active") + envoy.stat("vm.reserved"), 0);
}

/// A session that is deleted, one that is adopted and used until its lifetime ends, a reservation given back, one that
/// the server loses, an answer that the timer lets go, and requests that are refused.
fn play(worker: &Worker, number: u32) {
    let [short, long] = [format!("short-{number}"), format!("long-{number}")];
    let minted = answer(200, &[("mcp-session-id", &short)]);
    drop(exchange(worker, head("POST", &[]), INITIALIZE, minted).close());
    drop(exchange(worker, head("POST", &[]), INITIALIZE, answer(503, &[])).close());
    for method in ["GET", "POST", "DELETE", "GET"] {
        let request = head(method, &[("mcp-session-id", &short)]);
        drop(exchange(worker, request, CALL, answer(200, &[])).close());
    }
    let modern = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-session-id", "s"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    let minted = answer(200, &[("mcp-session-id", "s")]);
    drop(exchange(worker, head("POST", &modern), CALL, minted).close());
    let listening = head("GET", &[("mcp-session-id", &long)]);
    exchange(worker, listening, b"", answer(200, &[]));
    for last in [true, false] {
        let request = head("PUT", &[("mcp-session-id", &long)]);
        let stream = exchange(worker, request, b"", answer(400, &[("mcp-session-id", &short)]));
        stream.send_answer(b"lost", last);
        if last {
            stream.close();
        }
    }
    for session in [format!("closed-{number}"), format!("open-{number}")] {
        let mut request = head("GET", &[("accept-encoding", "gzip")]);
        request[2].1 = b"/sse".to_vec();
        let stream = exchange(worker, request, b"", answer(200, &[]));
        stream.answer_part(format!("event: endpoint\ndata: /message?sessionId={session}\n\n").as_bytes());
        if session.starts_with("closed") {
            stream.close();
        }
    }
}

/// The server ends each session that it was told of. Skipped if the next change of context must fail: at an answer
/// the SDK changes the context itself, and panics.
fn answer_callouts_after(function: &str, worker: &Worker) {
    if function != "set_effective_context" {
        answer_callouts(worker);
    }
}

fn answer_callouts(worker: &Worker) {
    for callout in worker.callouts() {
        worker.answer_callout(&callout, 200);
    }
}

/// Ends the streams that [`play`] left open.
fn end_all(worker: &Worker) {
    let open: Vec<_> = worker.vm(|vm| vm.streams.keys().copied().collect());
    for context in open {
        Stream::of(worker, context).close();
    }
}

/// A request and its answer, if the request reaches the server.
fn exchange<'a>(worker: &'a Worker, request: Headers, body: &[u8], response: Headers) -> Stream<'a> {
    let has_body = request[0].1 == b"POST";
    let stream = worker.stream();
    stream.request(request, !has_body);
    if has_body && stream.reply().is_none() {
        stream.body(&body[..body.len() / 2], false);
        stream.body(&body[body.len() / 2..], true);
    }
    if stream.reply().is_none() {
        stream.answer_head(response, VIA_UPSTREAM, false);
    }
    stream
}

/// As where the operator's own list of capabilities lacks the callback.
#[test]
fn a_body_that_never_comes_is_told_once() {
    let held_in_vain = |worker: &Worker| {
        for _ in 0..2 {
            let stream = worker.stream();
            stream.request(head("POST", &[]), false);
            stream.close();
        }
        let lines = worker.log();
        lines
            .iter()
            .filter(|(_, line)| line.contains("event=no_body_came"))
            .count()
    };
    assert_eq!(held_in_vain(&Envoy::new().worker(HELD)), 1);
    let worker = Envoy::new().worker(HELD);
    open_session(&worker, "s");
    assert_eq!(held_in_vain(&worker), 0);
}
