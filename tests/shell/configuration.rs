//! Loading a configuration.

use proxy_wasm::types::LogLevel;

use crate::envoy::{Envoy, Worker};
use crate::requests::{HELD, head, initialize, of_session, open_session, refusal};

/// The buckets for the default cap of 10,000, the hash key, the ledger, the number of rests and the paths of endpoints.
const KEYS: usize = 1_024 + 4;

#[test]
fn a_bad_configuration_is_refused_with_every_mistake_in_one_message() {
    let worker = Envoy::new().bare_worker();
    let text = r#"{"max_sesions": 1, "sweep_interval": "1ms",
        "endpoints": [{"name": "A", "path": "mcp", "idle_timeout": 5}]}"#;
    assert!(!worker.configure(text));
    let log = worker.log();
    let [(LogLevel::Error, message)] = log.as_slice() else {
        panic!("one message was expected: {log:?}");
    };
    for part in [
        "max_sesions",
        "max_sessions",
        "sweep_interval",
        "[0].name",
        "[0].path",
        "[0].idle_timeout",
    ] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

#[test]
fn a_root_whose_configuration_was_refused_lets_everything_pass() {
    let worker = Envoy::new().bare_worker();
    assert!(!worker.configure("{"));
    worker.tick();
    let stream = worker.stream();
    assert!(crate::envoy::goes_on(stream.request(head("POST", &[]), false)));
    assert!(crate::envoy::goes_on(stream.body(b"x", true)));
    stream.close();
}

#[test]
fn a_configuration_is_logged_once_at_the_first_tick_however_many_workers_load_it() {
    let envoy = Envoy::new();
    let workers: Vec<_> = (0..3).map(|_| envoy.worker(HELD)).collect();
    workers.iter().for_each(Worker::tick);
    let lines: Vec<_> = workers.iter().flat_map(Worker::log).collect();
    let [(LogLevel::Info, line)] = lines.as_slice() else {
        panic!("one line was expected: {lines:?}");
    };
    assert!(line.starts_with("event=configured version="), "{line}");
}

#[test]
fn the_timer_ticks_as_often_as_sessions_are_swept_and_every_second_at_least() {
    for (interval, tick_ms) in [("100ms", 100), ("1s", 1000), ("60s", 1000)] {
        let worker = Envoy::new().worker(&format!(r#"{{"sweep_interval": "{interval}"}}"#));
        assert_eq!(worker.vm(|vm| vm.tick_ms), tick_ms);
    }
}

#[test]
fn the_table_has_all_its_keys_from_the_start_and_no_more_later() {
    let envoy = Envoy::new();
    let worker = envoy.worker("");
    assert_eq!(envoy.shared_data(|store| store.len()), KEYS);
    for number in 0..100 {
        let stream = worker.stream();
        stream.request(head("POST", &[]), true);
        stream.answer(
            crate::requests::answer(200, &[("mcp-session-id", &number.to_string())]),
            crate::requests::VIA_UPSTREAM,
            true,
        );
        stream.close();
    }
    assert_eq!(envoy.gauges(), [100, 0, 0]);
    assert_eq!(envoy.shared_data(|store| store.len()), KEYS);
}

#[test]
fn a_second_configuration_on_the_same_worker_shares_the_table_and_decides_the_cap() {
    let envoy = Envoy::new();
    let worker = envoy.worker(HELD);
    open_session(&worker, "old");
    let of_old_root = initialize(&worker);
    assert!(worker.configure(&HELD.replace("\"max_sessions\": 4", "\"max_sessions\": 2")));
    worker.tick();
    assert_eq!(envoy.stat("endpoint.mcp.limit"), 4);

    let stream = of_session(&worker, "GET", "old");
    assert_eq!(envoy.stat("endpoint.mcp.limit"), 2);
    let refused = worker.stream();
    refused.request(head("POST", &[]), false);
    refused.body(crate::requests::INITIALIZE, true);
    assert_eq!(refused.reply().map(|reply| reply.status), Some(429));
    refused.close();

    worker.tick();
    of_old_root.close();
    assert_eq!(envoy.gauges(), [1, 0, 0]);
    worker.remove_oldest_root();
    worker.tick();
    stream.close();
    assert_eq!(refusal(&worker, "old"), None);
}
