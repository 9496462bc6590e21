//! The status view: who gets which answer, and that a listener with nothing but the view leaves the caps alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::envoy::{Envoy, Headers, Worker, goes_on};
use crate::requests::{at_path, head, open_session};

const VIEW: &str = r#"{"status": {"path": "/s"}}"#;
const GATEWAY: &str = r#"{"max_sessions": 5, "endpoints": [{"name": "mcp", "path": "/mcp", "max_sessions": 4,
    "max_streams": 3, "admission": "body"}]}"#;

fn get(path: &str, accept: &str) -> Headers {
    at_path(head("GET", &[("accept", accept)]), path)
}

/// The document that this worker shows, by its newest configuration.
pub(crate) fn document(worker: &Worker) -> Value {
    let stream = worker.stream();
    assert!(!goes_on(stream.request(get("/s", "application/json"), true)));
    let reply = stream.reply().unwrap();
    assert_eq!(reply.status, 200);
    stream.close();
    serde_json::from_str(&reply.body).unwrap()
}

#[test]
fn a_listener_of_its_own_shows_every_endpoint_of_the_vm() {
    let envoy = Envoy::new();
    let gateway = envoy.worker(GATEWAY);
    let view = envoy.worker(VIEW);
    gateway.tick();
    view.tick();
    open_session(&gateway, "one");
    let shown = document(&view);
    assert_eq!(shown["vm"]["limit"], 5);
    let endpoint = &shown["endpoints"][0];
    for (field, expected) in [
        ("name", json!("mcp")),
        ("path", json!("/mcp")),
        ("transport", json!("streamable_http")),
        ("configured", json!(true)),
        ("active", json!(1)),
        ("limit", json!(4)),
        ("streams_limit", json!(3)),
        ("created", json!(1)),
    ] {
        assert_eq!(endpoint[field], expected, "{field}");
    }
    assert_eq!(shown["oldest"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&shown["oldest"], &shown["partial"]),
        (&shown["most_idle"], &json!(false))
    );
}

/// In whatever order they are loaded and asked.
#[test]
fn a_listener_with_nothing_but_the_view_changes_no_cap() {
    for view_first in [false, true] {
        let envoy = Envoy::new();
        let (view, gateway);
        if view_first {
            view = envoy.worker(VIEW);
            gateway = envoy.worker(GATEWAY);
        } else {
            gateway = envoy.worker(GATEWAY);
            view = envoy.worker(VIEW);
        }
        let limits = || (envoy.stat("vm.limit"), envoy.stat("endpoint.mcp.limit"));
        assert_eq!(limits(), (5, 4));
        document(&view);
        assert_eq!(limits(), (5, 4), "at a look before the first tick");
        for _ in 0..100 {
            gateway.tick();
            view.tick();
            document(&view);
            assert_eq!(limits(), (5, 4));
            envoy.wait(Duration::from_secs(1));
        }
        let shown = document(&view);
        assert_eq!(
            (&shown["vm"]["limit"], &shown["endpoints"][0]["limit"]),
            (&json!(5), &json!(4))
        );
        for number in 0..4 {
            open_session(&gateway, &number.to_string());
        }
        view.tick();
        document(&view);
        assert_eq!(limits(), (5, 4));
    }
}

#[test]
fn only_a_get_of_the_path_is_answered() {
    let envoy = Envoy::new();
    let worker = envoy.worker(VIEW);
    for path in ["/", "/mcp", "/S", "/s/", "/s/a"] {
        let stream = worker.stream();
        assert!(goes_on(stream.request(get(path, "*/*"), true)), "{path}");
        stream.close();
    }
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
        let stream = worker.stream();
        let with_an_id = at_path(head(method, &[("mcp-session-id", "s")]), "/s?a");
        assert!(!goes_on(stream.request(with_an_id, false)));
        let reply = stream.reply().unwrap();
        assert_eq!((reply.status, reply.body.len()), (405, 0));
        assert!(
            reply.headers.contains(&("allow".to_owned(), b"GET".to_vec())),
            "{:?}",
            reply.headers
        );
        stream.close();
    }
    worker.tick();
    assert_eq!(envoy.stat("ungoverned"), 0);
}

#[test]
fn a_browser_gets_a_page_that_may_load_nothing() {
    let worker = Envoy::new().worker(VIEW);
    let stream = worker.stream();
    stream.request(get("/s", "text/html,*/*;q=0.8"), true);
    let reply = stream.reply().unwrap();
    let header = |name: &str| {
        let found = reply.headers.iter().find(|(other, _)| other == name);
        String::from_utf8(found.unwrap().1.clone()).unwrap()
    };
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "no-store");
    assert!(header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(reply.body.starts_with("<!doctype html>"));
    stream.close();
}

#[test]
fn a_look_costs_few_host_calls_and_writes_nothing() {
    let envoy = Envoy::new();
    let gateway = envoy.worker(GATEWAY);
    gateway.tick();
    let view = envoy.worker(VIEW);
    view.tick();
    open_session(&gateway, "one");
    document(&view);
    view.calls();
    document(&view);
    let calls = view.calls();
    // The ledger, the paths and the one bucket of a group.
    assert_eq!(calls.get("get_shared_data"), Some(&3));
    // Three counters, six ends, fifteen refusals and seven revisions.
    assert_eq!(calls.get("get_metric"), Some(&31));
    assert_eq!(calls.get("set_shared_data"), None);
    assert_eq!(calls.get("record_metric"), None);
    assert_eq!(calls.get("define_metric"), None);
}

/// A governed request of a configuration with a view pays no host call for it.
#[test]
fn a_governed_request_pays_nothing_for_the_view() {
    let bill = |configuration: &str| {
        let worker = Envoy::new().worker(configuration);
        open_session(&worker, "s");
        worker.calls();
        let stream = worker.stream();
        stream.request(head("GET", &[("mcp-session-id", "s")]), true);
        stream.close();
        worker.calls()
    };
    let with_view = GATEWAY.replacen('{', r#"{"status": {"path": "/s"}, "#, 1);
    assert_eq!(bill(&with_view), bill(GATEWAY));
}

#[test]
fn a_table_that_cannot_be_read_is_503() {
    let envoy = Envoy::new();
    let worker = envoy.worker(VIEW);
    worker.tick();
    envoy.shared_data(|data| data.set("mcp_sessions/3/ledger", &[99], 0).unwrap());
    let stream = worker.stream();
    stream.request(get("/s", "*/*"), true);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(503));
    stream.close();
}
