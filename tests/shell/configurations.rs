//! Several configurations under one `vm_id`: two listeners, updates that are refused or drain, reloads after a failed VM.

use std::time::Duration;

use proxy_wasm::types::LogLevel;

use crate::envoy::{Envoy, Worker, goes_on};
use crate::requests::{VIA_UPSTREAM, answer, at_path, head, of_session};

/// A configuration with this cap of the VM, and these endpoints with further fields.
fn with(max_sessions: u32, endpoints: &[(&str, &str)]) -> String {
    let endpoint = |(name, fields): &(&str, &str)| {
        let comma = if fields.is_empty() { "" } else { ", " };
        format!(r#"{{"name": "{name}", "path": "/{name}"{comma}{fields}}}"#)
    };
    let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    format!(
        r#"{{"max_sessions": {max_sessions}, "filter_state": [], "endpoints": [{}]}}"#,
        endpoints.join(", ")
    )
}

fn mcp(max_sessions: u32) -> String {
    with(max_sessions, &[("mcp", "")])
}

/// Opens a session at `/<endpoint>`. Returns whether the filter let it in.
fn try_open(worker: &Worker, endpoint: &str, id: &str) -> bool {
    let stream = worker.stream();
    let let_in = goes_on(stream.request(at_path(head("POST", &[]), &format!("/{endpoint}")), true));
    if let_in {
        stream.answer(answer(200, &[("mcp-session-id", id)]), VIA_UPSTREAM, true);
    }
    stream.close();
    let_in
}

/// How many of `newcomers` the filter lets in.
fn admitted(worker: &Worker, endpoint: &str, newcomers: usize) -> usize {
    (0..newcomers)
        .filter(|number| try_open(worker, endpoint, &format!("{endpoint}-{number}")))
        .count()
}

#[test]
fn two_listeners_under_one_vm_id_keep_the_caps_of_their_endpoints() {
    let envoy = Envoy::new();
    let first = with(1000, &[("inner", r#""max_sessions": 2, "idle_timeout": "1s""#)]);
    let second = with(1000, &[("outer", "")]);
    for both_roots_on_each in [false, true] {
        let envoy = if both_roots_on_each {
            Envoy::new()
        } else {
            envoy.clone()
        };
        let [a, b] = [envoy.worker(&first), envoy.worker(&second)];
        if both_roots_on_each {
            assert!(b.configure(&first));
            assert!(a.configure(&second));
            assert_eq!((admitted(&b, "inner", 6), admitted(&a, "outer", 6)), (2, 6));
        } else {
            assert!(try_open(&b, "outer", "one"));
            assert_eq!((admitted(&a, "inner", 6), admitted(&b, "outer", 5)), (2, 5));
        }
        for stat in [
            ("inner.active", 2),
            ("inner.limit", 2),
            ("outer.active", 6),
            ("outer.limit", 1000),
        ] {
            assert_eq!(envoy.stat(&format!("endpoint.{}", stat.0)), stat.1, "{}", stat.0);
        }
        assert_eq!(envoy.stat("vm.active"), 8);
        for _ in 0..40 {
            envoy.wait(Duration::from_secs(1));
            a.tick();
            b.tick();
        }
        assert_eq!(envoy.stat("endpoint.inner.active"), 0);
        assert_eq!(envoy.stat("endpoint.outer.active"), 6);
        assert_eq!(envoy.stat("repaired"), 0);
    }
}

#[test]
fn a_fresh_start_shows_its_limits() {
    let envoy = Envoy::new();
    let _worker = envoy.worker(&with(70, &[("mcp", r#""max_sessions": 9"#)]));
    assert_eq!(
        (envoy.stat("vm.limit"), envoy.stat("endpoint.mcp.limit")),
        (70, 9)
    );
}

#[test]
fn an_update_that_is_refused_leaves_the_cap_that_serves() {
    let envoy = Envoy::new();
    let serving = envoy.worker(&mcp(5));
    open_by_head(&serving, "s");
    for _ in 0..3 {
        let canary = envoy.worker(&mcp(1000));
        drop(canary);
        serving.tick();
        assert_eq!(envoy.stat("vm.limit"), 5);
    }
    assert!(serving.configure(&mcp(1000)));
    serving.tick();
    serving.remove_newest_root();
    for _ in 0..100 {
        envoy.wait(Duration::from_secs(1));
        serving.tick();
    }
    assert_eq!((envoy.stat("vm.limit"), envoy.stat("endpoint.mcp.limit")), (5, 5));
    assert_eq!(admitted(&serving, "mcp", 9), 4);
}

/// The VM of a worker fails, and the next request to the draining listener brings a new one.
#[test]
fn a_draining_listener_that_reloads_a_failed_vm_leaves_the_cap_of_the_new_one() {
    let envoy = Envoy::new();
    let main = envoy.worker(&mcp(1000));
    let failing = envoy.worker(&mcp(1000));
    open_by_head(&failing, "s");
    envoy.wait(Duration::from_secs(1));
    main.tick();
    let new = envoy.worker(&mcp(5));
    open_by_head(&new, "t");
    assert_eq!(envoy.stat("vm.limit"), 5);
    drop(failing);
    let reloaded = envoy.worker(&mcp(1000));
    open_by_head(&reloaded, "u");
    for _ in 0..100 {
        envoy.wait(Duration::from_secs(1));
        for worker in [&main, &new, &reloaded] {
            worker.tick();
        }
        assert_eq!(envoy.stat("vm.limit"), 5);
    }
    assert_eq!(admitted(&reloaded, "mcp", 9), 2);
}

#[test]
fn a_configuration_that_is_loaded_again_is_in_force_again() {
    let envoy = Envoy::new();
    let worker = envoy.worker(&mcp(7));
    open_by_head(&worker, "s");
    for limit in [1000, 5, 1000, 5] {
        assert!(worker.configure(&mcp(limit)));
        open_by_head(&worker, "s");
        worker.remove_oldest_root();
        for _ in 0..2 {
            envoy.wait(Duration::from_secs(1));
            worker.tick();
        }
        assert_eq!(envoy.stat("vm.limit"), u64::from(limit));
    }
}

#[test]
fn requests_through_an_old_listener_are_judged_by_its_rules_and_capped_by_the_newest() {
    let envoy = Envoy::new();
    let reject = r#""unknown_session": "reject", "idle_timeout": "60s""#;
    let old = envoy.worker(&with(10, &[("mcp", reject)]));
    open_by_head(&old, "s");
    let new = envoy.worker(&with(2, &[("mcp", r#""idle_timeout": "20m""#)]));
    open_by_head(&new, "t");
    assert_eq!(admitted(&old, "mcp", 5), 0);
    let unknown = old.stream();
    unknown.request(head("POST", &[("mcp-session-id", "unknown")]), true);
    assert_eq!(unknown.reply().map(|reply| reply.status), Some(404));
    unknown.close();
    for _ in 0..600 {
        envoy.wait(Duration::from_secs(1));
        old.tick();
        new.tick();
    }
    of_session(&old, "POST", "s").close();
    assert_eq!(envoy.stat("vm.active"), 2);
}

/// The old listener's streams do not yet have the lease that the new timeout needs.
#[test]
fn a_shorter_idle_timeout_ends_no_session_in_use() {
    let envoy = Envoy::new();
    let old = envoy.worker(&with(10, &[("mcp", r#""idle_timeout": "30m""#)]));
    open_by_head(&old, "listening");
    open_by_head(&old, "idle");
    let stream = of_session(&old, "GET", "listening");
    stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
    for _ in 0..20 {
        envoy.wait(Duration::from_secs(1));
        old.tick();
    }
    let new = envoy.worker(&with(10, &[("mcp", r#""idle_timeout": "1s""#)]));
    open_by_head(&new, "t");
    new.tick();
    assert_eq!(envoy.stat("vm.active"), 3);
    for _ in 0..60 {
        new.tick();
        envoy.wait(Duration::from_secs(1));
        old.tick();
    }
    assert_eq!(envoy.stat("vm.active"), 1);
    stream.close();
}

#[test]
fn caps_of_the_vm_that_differ_are_told_once_in_a_process() {
    let envoy = Envoy::new();
    let workers = [
        envoy.worker(&mcp(7)),
        envoy.worker(&with(8, &[("other", "")])),
        envoy.worker(&mcp(7)),
    ];
    open_by_head(&workers[0], "s");
    assert!(try_open(&workers[1], "other", "t"));
    workers.iter().for_each(Worker::tick);
    let warnings: Vec<_> = workers
        .iter()
        .flat_map(Worker::log)
        .filter(|(level, _)| *level == LogLevel::Warn)
        .collect();
    let [(_, line)] = warnings.as_slice() else {
        panic!("one line was expected: {warnings:?}");
    };
    assert_eq!(
        line,
        "event=configurations_differ field=max_sessions in_force=8 other=7"
    );
}

#[test]
fn a_lost_store_gets_both_configurations_back() {
    let envoy = Envoy::new();
    let [old, new] = [envoy.worker(&mcp(7)), envoy.worker(&with(8, &[("other", "")]))];
    open_by_head(&old, "s");
    assert!(try_open(&new, "other", "t"));
    envoy.shared_data(std::mem::take);
    new.tick();
    old.tick();
    new.tick();
    assert_eq!(envoy.stat("vm.limit"), 8);
    assert_eq!((admitted(&old, "mcp", 9), admitted(&new, "other", 9)), (7, 1));
}

fn open_by_head(worker: &Worker, id: &str) {
    assert!(try_open(worker, "mcp", id));
}
