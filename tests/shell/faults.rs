//! Host functions that fail. Where the SDK hands the failure on, the filter goes on; where the SDK panics,
//! nothing can be done but to know it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType, Status};

use crate::envoy::{Envoy, Fault, Headers, Stream, Worker};
use crate::requests::{CALL, INITIALIZE, VIA_UPSTREAM, answer, head};

const FAILURES: [Status; 5] = [
    Status::NotFound,
    Status::BadArgument,
    Status::SerializationFailure,
    Status::CasMismatch,
    Status::InternalFailure,
];

/// A host function by way of the SDK, and the failures that the SDK does not panic at.
type Function = (&'static str, fn(), &'static [Status]);

/// Every host function that the filter calls. The SDK takes an absence for an answer where it lists
/// `NotFound` for a function that reads; all else in these lists it returns as an error.
const FUNCTIONS: [Function; 17] = [
    ("log", || _ = hostcalls::log(LogLevel::Info, ""), &[]),
    ("get_log_level", || _ = hostcalls::get_log_level(), &[]),
    (
        "set_tick_period",
        || _ = hostcalls::set_tick_period(Duration::ZERO),
        &[],
    ),
    (
        "get_buffer",
        || _ = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, 1),
        &[Status::NotFound],
    ),
    (
        "get_map",
        || _ = hostcalls::get_map_bytes(MapType::HttpRequestHeaders),
        &[],
    ),
    (
        "get_map_value",
        || _ = hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, ":path"),
        &[Status::NotFound],
    ),
    (
        "remove_map_value",
        || _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, "x"),
        &[],
    ),
    (
        "get_property",
        || _ = hostcalls::get_property(vec!["response", "code_details"]),
        &[
            Status::NotFound,
            Status::SerializationFailure,
            Status::InternalFailure,
        ],
    ),
    (
        "set_property",
        || _ = hostcalls::set_property(vec!["x"], Some(b"y")),
        &[],
    ),
    (
        "get_shared_data",
        || _ = hostcalls::get_shared_data("x"),
        &[Status::NotFound],
    ),
    (
        "set_shared_data",
        || _ = hostcalls::set_shared_data("x", Some(b"y"), None),
        &[Status::CasMismatch],
    ),
    ("close_stream", || _ = hostcalls::reset_http_response(), &[]),
    (
        "send_local_response",
        || _ = hostcalls::send_http_response(429, Vec::new(), None),
        &[],
    ),
    (
        "set_effective_context",
        || _ = hostcalls::set_effective_context(1),
        &[Status::BadArgument],
    ),
    (
        "define_metric",
        || _ = hostcalls::define_metric(MetricType::Gauge, "x"),
        &[],
    ),
    (
        "get_metric",
        || _ = hostcalls::get_metric(1),
        &[Status::NotFound, Status::BadArgument],
    ),
    (
        "record_metric",
        || _ = hostcalls::record_metric(1, 1),
        &[Status::NotFound],
    ),
];

/// Apart from the others for its length.
const INCREMENT: Function = (
    "increment_metric",
    || _ = hostcalls::increment_metric(1, 1),
    &[Status::NotFound, Status::BadArgument],
);

fn functions() -> impl Iterator<Item = Function> {
    FUNCTIONS.into_iter().chain([INCREMENT])
}

#[test]
fn the_sdk_panics_at_every_failure_that_is_not_listed() {
    let worker = Envoy::new().worker("");
    let stream = worker.stream();
    stream.request(head("GET", &[]), true);
    for (function, call, returned) in functions() {
        for status in FAILURES {
            worker.fail(Fault {
                function,
                after: 0,
                status,
            });
            let panics = worker.call(2, move || catch_unwind(AssertUnwindSafe(call)).is_err());
            assert!(!worker.fault_is_left(), "{function} is not what the SDK calls");
            assert_eq!(panics, !returned.contains(&status), "{function}: {status:?}");
        }
    }
}

#[test]
fn every_function_that_the_filter_calls_is_listed() {
    let envoy = Envoy::new();
    let worker = envoy.worker(CONFIGURATION);
    play(&worker, 0);
    envoy.wait(Duration::from_secs(360));
    worker.tick();
    for function in worker
        .calls()
        .into_keys()
        .filter(|name| *name != "clock_time_get")
    {
        assert!(functions().any(|(known, ..)| known == function), "{function}");
    }
}

#[test]
fn no_failure_that_the_sdk_hands_on_does_lasting_harm() {
    for (function, _, returned) in functions() {
        for status in returned {
            fail_at_every_call(function, *status);
        }
    }
}

#[test]
fn a_worker_whose_start_meets_others_at_every_write_starts() {
    for after in (0..20).chain([16_384, 16_385, 16_386]) {
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
    {"name": "mcp", "path": "/mcp", "idle_timeout": "300s", "max_lifetime": "350s", "admission": "body"},
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
        end_all(&worker);
        if worker.fault_is_left() {
            break;
        }
        // A sweep alone makes thousands of calls, all alike.
        after += if after < 100 { 1 } else { 211 };
    }
    for _ in 0..40 {
        envoy.wait(Duration::from_secs(60));
        worker.tick();
    }
    assert_eq!(envoy.gauges(), [0, 0, 0], "after {function}: {status:?}");
    assert_eq!(envoy.stat("vm.active") + envoy.stat("vm.reserved"), 0);
}

/// A session that is deleted, one that is adopted and used until its lifetime ends, a place given back, and
/// requests that are refused.
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

/// Ends the streams that [`play`] left open.
fn end_all(worker: &Worker) {
    let open: Vec<_> = worker.vm(|vm| vm.streams.keys().copied().collect());
    for context in open {
        Stream::of(worker, context).close();
    }
}

/// A request and its answer, if it gets as far as that.
fn exchange<'a>(worker: &'a Worker, request: Headers, body: &[u8], response: Headers) -> Stream<'a> {
    let has_body = request[0].1 == b"POST";
    let stream = worker.stream();
    stream.request(request, !has_body);
    if has_body && stream.reply().is_none() {
        stream.body(&body[..body.len() / 2], false);
        stream.body(&body[body.len() / 2..], true);
    }
    if stream.reply().is_none() {
        stream.answer(response, VIA_UPSTREAM, false);
    }
    stream
}
