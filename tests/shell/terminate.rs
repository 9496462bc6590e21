//! `terminate_upstream`, callback by callback.

use std::time::Duration;

use proxy_wasm::types::Status;

use crate::envoy::{Envoy, Fault, Worker};
use crate::requests::{CALL, INITIALIZE, VIA_UPSTREAM, answer, head, open_session};

const TELLING: &str = r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "idle_timeout": "60s",
    "initialize_timeout": "10s", "max_sessions": 5,
    "terminate_upstream": {"cluster": "up", "authority": "mcp.internal", "timeout": "3s",
                           "headers": {"authorization": "Bearer s3cret"}}}]}"#;

/// A worker with this many sessions that have just gone idle.
fn idle(sessions: usize) -> (Envoy, Worker) {
    let envoy = Envoy::new();
    let worker = envoy.worker(TELLING);
    for number in 0..sessions {
        open_session(&worker, &format!("s{number}"));
    }
    envoy.wait(Duration::from_secs(62));
    (envoy, worker)
}

fn counted(envoy: &Envoy) -> [u64; 4] {
    ["sent", "ok", "failed", "denied"].map(|name| envoy.stat(&format!("upstream_delete.{name}")))
}

#[test]
fn the_delete_goes_out_with_the_tick_that_ends_the_session() {
    let (envoy, worker) = idle(1);
    worker.tick();
    let callouts = worker.callouts();
    let [delete] = &callouts[..] else {
        panic!("{callouts:?}")
    };
    assert_eq!((delete.cluster.as_str(), delete.timeout_ms), ("up", 3000));
    for (name, value) in [
        (":method", "DELETE"),
        (":path", "/mcp"),
        (":authority", "mcp.internal"),
        ("mcp-session-id", "s0"),
        ("authorization", "Bearer s3cret"),
    ] {
        assert_eq!(delete.header(name), Some(value));
    }
    assert_eq!(counted(&envoy), [1, 0, 0, 0]);
    worker.answer_callout(delete, 200);
    assert_eq!(counted(&envoy), [1, 1, 0, 0]);
    for _ in 0..40 {
        envoy.wait(Duration::from_secs(5));
        worker.tick();
    }
    assert_eq!(worker.callouts(), []);
    assert!(worker.log().iter().all(|(_, line)| !line.contains("s3cret")));
}

#[test]
fn of_two_roots_and_two_workers_one_sends_it() {
    let (envoy, worker) = idle(1);
    assert!(worker.configure(TELLING));
    let other = envoy.worker(TELLING);
    let mut deletes = 0;
    for _ in 0..60 {
        for worker in [&worker, &other] {
            worker.tick();
            deletes += worker.callouts().len();
        }
        envoy.wait(Duration::from_secs(1));
    }
    assert_eq!(deletes, 1);
}

#[test]
fn an_answer_makes_room_for_the_next() {
    let envoy = Envoy::new();
    let worker = envoy.worker(&TELLING.replace("\"max_sessions\": 5,", ""));
    for number in 0..20 {
        open_session(&worker, &format!("s{number}"));
    }
    envoy.wait(Duration::from_secs(62));
    worker.tick();
    let first = worker.callouts();
    assert_eq!(first.len(), 16);
    for delete in &first {
        worker.answer_callout(delete, 204);
    }
    assert_eq!(worker.callouts().len(), 4);
}

#[test]
fn a_server_that_is_down_is_left_in_peace_and_told_when_it_is_back() {
    let (envoy, worker) = idle(3);
    worker.tick();
    for delete in worker.callouts() {
        worker.answer_callout(&delete, 0);
    }
    assert_eq!(counted(&envoy), [3, 0, 0, 0], "it will be tried again");
    let mut tries = 0;
    for _ in 0..8 {
        envoy.wait(Duration::from_secs(1));
        worker.tick();
        tries += worker
            .callouts()
            .iter()
            .inspect(|delete| worker.answer_callout(delete, 503))
            .count();
    }
    assert!(tries <= 3, "{tries} in 8 s");
    for _ in 0..60 {
        envoy.wait(Duration::from_secs(1));
        worker.tick();
        for delete in worker.callouts() {
            worker.answer_callout(&delete, 200);
        }
    }
    let [sent, ok, failed, _] = counted(&envoy);
    assert_eq!((sent, ok), (ok + failed, 3));
}

#[test]
fn what_envoy_would_not_send_waits() {
    let (envoy, worker) = idle(1);
    worker.fail(Fault {
        function: "http_call",
        after: 0,
        status: Status::BadArgument,
    });
    worker.tick();
    assert_eq!((worker.callouts(), counted(&envoy)), (Vec::new(), [0; 4]));
    for _ in 0..10 {
        envoy.wait(Duration::from_secs(1));
        worker.tick();
    }
    assert_eq!(worker.callouts().len(), 1);
}

#[test]
fn a_root_that_is_gone_before_the_answer_leaves_it_at_one() {
    let (envoy, worker) = idle(1);
    worker.tick();
    assert_eq!(worker.callouts().len(), 1);
    drop(worker);
    let other = envoy.worker(TELLING);
    for _ in 0..70 {
        envoy.wait(Duration::from_secs(1));
        other.tick();
    }
    assert_eq!(other.callouts(), []);
    assert_eq!(counted(&envoy), [1, 0, 1, 0]);
}

#[test]
fn an_id_that_comes_too_late_is_taken_off_and_ended() {
    let envoy = Envoy::new();
    let worker = envoy.worker(TELLING);
    let late = worker.stream();
    late.request(head("POST", &[]), false);
    late.body(INITIALIZE, true);
    envoy.wait(Duration::from_secs(11));
    for number in 0..5 {
        open_session(&worker, &format!("s{number}"));
    }
    late.answer(answer(200, &[("mcp-session-id", "late")]), VIA_UPSTREAM, true);
    worker.tick();
    let callouts = worker.callouts();
    assert_eq!(callouts.len(), 1);
    assert_eq!(callouts[0].header("mcp-session-id"), Some("late"));
}

/// What the request path pays for it, once a session: nothing at the opening; one read and one write at the first
/// request that states a revision; then nothing.
#[test]
fn only_the_first_request_that_states_its_revision_costs_more() {
    let envoy = Envoy::new();
    let worker = envoy.worker(TELLING);
    open_session(&worker, "s");
    let mut bills = Vec::new();
    for _ in 0..3 {
        worker.calls();
        let stream = worker.stream();
        let fields = [("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25")];
        stream.request(head("POST", &fields), false);
        stream.body(CALL, true);
        stream.answer(answer(200, &[]), VIA_UPSTREAM, true);
        stream.close();
        let calls = worker.calls();
        let of = |name: &str| calls.get(name).copied().unwrap_or(0);
        bills.push([of("get_shared_data"), of("set_shared_data")]);
    }
    assert_eq!(bills, [[2, 1], [1, 0], [1, 0]]);
}
