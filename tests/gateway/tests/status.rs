//! The status view on its own listener, as it ships.

use gateway::listeners::{Listeners, from_file};
use gateway::{Answer, Call, Encoding, Gateway, Http, OddServer, Reply, Setup, client::BOTH, poll};
use serde_json::{Value, json};

/// What a server could try to bring into the view, as an id.
const MARKUP: &str = "</script><img/src=x/onerror=alert(1)>&lt;'\"\\";

async fn get(gateway: &Gateway, accept: &str) -> Answer {
    let call = Call::method("GET").header("accept", accept);
    gateway.status_view(Http::One).send(call).await
}

async fn document(gateway: &Gateway) -> Value {
    let answer = gateway.status_view(Http::One).send(Call::method("GET")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    answer.json()
}

/// Waits until the document has this value at this place.
#[track_caller]
fn shows<'a>(gateway: &'a Gateway, place: &'a str, value: Value) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let end = std::time::Instant::now() + poll::SOON;
        loop {
            let shown = document(gateway).await;
            if shown.pointer(place) == Some(&value) {
                return;
            }
            assert!(
                std::time::Instant::now() < end,
                "{caller}: {place} is not {value}: {shown:#}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_shows_an_empty_table_a_few_sessions_and_the_cap() {
    for (workers, encoding) in [(1, Encoding::Struct), (2, Encoding::String)] {
        let server = OddServer::polite().await;
        let setup = Setup::new(server.address())
            .workers(workers)
            .encoding(encoding)
            .top(json!({"max_sessions": 3}))
            .endpoint(json!({"max_streams": 2}));
        let gateway = setup.status_view(json!({})).start().await;
        shows(&gateway, "/vm/limit", json!(3)).await;
        let empty = document(&gateway).await;
        assert_eq!(empty["endpoints"][0]["path"], "/mcp");
        assert_eq!(
            (
                &empty["oldest"],
                &empty["most_idle"],
                &empty["partial"],
                &empty["fleet"]
            ),
            (&json!([]), &json!([]), &json!(false), &Value::Null)
        );

        let client = gateway.client(Http::One);
        let first = client.open_session().await;
        let stream = client.open_stream(&first).await;
        let second = client.open_session().await;
        client.delete(&second).await;
        client.open_session().await;
        client.open_session().await;
        assert_eq!(client.initialize().await.status, 429);
        for (place, value) in [
            ("/vm/active", 3),
            ("/endpoints/0/active", 3),
            ("/endpoints/0/reserved", 0),
            ("/endpoints/0/limit", 3),
            ("/endpoints/0/streams", 1),
            ("/endpoints/0/streams_limit", 2),
            ("/endpoints/0/created", 4),
            ("/endpoints/0/ended/client_delete", 1),
            ("/endpoints/0/rejected/capacity", 1),
            ("/endpoints/0/requests/none", 5),
        ] {
            shows(&gateway, place, json!(value)).await;
        }
        let full = document(&gateway).await;
        assert_eq!(full["oldest"].as_array().map(Vec::len), Some(3));
        assert_eq!(full["most_idle"].as_array().map(Vec::len), Some(3));
        for session in full["oldest"].as_array().into_iter().flatten() {
            assert_eq!(session["session"].as_str().map(str::len), Some(16), "{session}");
            assert_eq!(session["endpoint"], "mcp");
        }
        assert_eq!(full["endpoints"].as_array().map(Vec::len), Some(1));
        drop(stream);
        assert_eq!(gateway.stat("vm.limit"), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_get_by_a_name_of_this_machine_is_answered() {
    let server = OddServer::polite().await;
    let gateway = Setup::new(server.address()).status_view(json!({})).start().await;
    for http in BOTH {
        let view = gateway.status_view(http);
        for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = view.send(Call::method(method).session("s")).await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some("GET")),
                "{method}"
            );
            assert!(answer.body.is_empty());
        }
        for path in ["/", "/mcp", "/mcp-sessions/", "/MCP-sessions", "/mcp-sessions/x"] {
            let answer = view.send(Call::method("GET").path(path)).await;
            assert_eq!(answer.status, 404, "{path}");
        }
        let with_query = Call::method("GET").path("/mcp-sessions?x=1");
        assert_eq!(view.send(with_query).await.status, 200);
        for (name, status) in [
            ("localhost", 200),
            ("localhost:10001", 200),
            ("[::1]:1", 200),
            ("127.0.0.1", 200),
            ("evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("localhost.evil.example:10001", 403),
        ] {
            let answer = view.send(Call::method("GET").authority(name)).await;
            assert_eq!(answer.status, status, "{name}");
        }
        // Counts are told on a tick: this one tells that those before it were, had there been any.
        view.send(Call::method("GET").path("/other").session("s")).await;
    }
    gateway.expect("ungoverned", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_the_page_with_a_policy_that_lets_it_load_nothing() {
    let server = OddServer::polite().await;
    let gateway = Setup::new(server.address()).status_view(json!({})).start().await;
    let page = get(&gateway, "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().starts_with("<!doctype html>"));
    let document = get(&gateway, "application/json").await;
    for answer in [&page, &document] {
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("vary", "accept"),
        ] {
            assert_eq!(answer.header(name), Some(value));
        }
    }
    assert_eq!(
        get(&gateway, "*/*").await.header("content-type"),
        Some("application/json")
    );
}

/// Whoever chooses an id, a path, a name, a header: a server, an operator, a client.
#[tokio::test(flavor = "multi_thread")]
async fn markup_is_nowhere_unescaped() {
    let server = OddServer::start(Reply::as_told).await;
    let plain = json!({"log_session_id": "plain"});
    let path = "/<b>&'\"/mcp";
    let plugin = json!({
        "log_session_id": "plain",
        "sweep_interval": "100ms",
        "endpoints": [
            {"name": "mcp", "path": "/mcp", "admission": "body", "principal": [{"header": "x-user"}]},
            {"name": "odd", "path": path},
        ],
    });
    let setup = Setup::new(server.address()).plugin(plugin);
    let gateway = setup.status_view(plain).start().await;
    let client = gateway.client(Http::One);
    let mut raw = gateway.connect().await;
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"<i>"}}"#;
    let lines = [
        "x-reply: 200".to_owned(),
        format!("x-mint: {MARKUP}"),
        format!("x-user: {MARKUP}"),
    ];
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    raw.post("/mcp", &lines, body).await;
    assert_eq!(raw.answer().await.map(|answer| answer.status), Some(200));
    client
        .send(Call::method("GET").session(MARKUP).revision("<u>"))
        .await;
    shows(&gateway, "/vm/active", json!(1)).await;

    let answer = get(&gateway, "*/*, <script>").await;
    let text = answer.text();
    assert!(!text.contains(['<', '>', '&', '\'']), "{text}");
    let shown = answer.json();
    assert_eq!(shown["oldest"][0]["session"], MARKUP);
    assert_eq!(shown["endpoints"][1]["path"], path);
    // No principal is shown, and no header but the id.
    assert_eq!(text.matches("img").count(), 2, "{text}");
    let page = get(&gateway, "text/html, <script>").await.text();
    assert!(!page.contains("img/src") && !page.contains("<b>&"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_was_taken_out_is_shown_until_its_sessions_have_ended() {
    let server = OddServer::polite().await;
    let setup = |names: &[&str]| {
        Setup::new(server.address())
            .endpoints(names)
            .endpoint(json!({"idle_timeout": "8s"}))
            .status_view(json!({}))
    };
    let listeners = Listeners::new();
    listeners.write(&setup(&["mcp", "tools"]));
    let gateway = from_file(setup(&[]), &listeners.file()).start().await;
    gateway.client(Http::One).at("/tools").open_session().await;
    shows(&gateway, "/endpoints/1/configured", json!(true)).await;
    listeners.write(&setup(&["mcp"]));
    poll::eventually(poll::SOON, "the update is there", || {
        gateway.envoy_stat("listener_manager.listener_modified")
            + gateway.envoy_stat("listener_manager.listener_in_place_updated")
            > 0
    })
    .await;
    gateway.client(Http::One).ping("none").await;
    shows(&gateway, "/endpoints/1/configured", json!(false)).await;
    let shown = document(&gateway).await;
    assert_eq!(shown["endpoints"][1]["path"], "/tools");
    assert_eq!(
        (&shown["endpoints"][1]["active"], &shown["oldest"][0]["endpoint"]),
        (&json!(1), &json!("tools"))
    );
    gateway
        .expect_within(poll::SOON * 2, "endpoint.tools.active", 0)
        .await;
    shows(&gateway, "/oldest", json!([])).await;
}

/// The view beside endpoints, in one configuration and on one listener.
#[tokio::test(flavor = "multi_thread")]
async fn the_view_may_stand_beside_endpoints() {
    let server = OddServer::polite().await;
    let view = json!({"status": {"path": "/view"}, "log_session_id": "off"});
    let gateway = Setup::new(server.address()).workers(2).top(view).start().await;
    let client = gateway.client(Http::Two);
    let session = client.open_session().await;
    let answer = client.send(Call::method("GET").path("/view")).await;
    let shown = answer.json();
    assert_eq!(shown["oldest"][0]["session"], Value::Null);
    assert_eq!(shown["endpoints"][0]["active"], 1);
    assert_eq!(server.count("/view"), 0);
    assert_eq!(client.ping(&session).await.status, 200);
}
