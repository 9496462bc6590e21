//! `method_headers`: policies that read headers act on the method and the tool of the message, whatever a client writes
//! into `Mcp-Method` and `Mcp-Name`.

use gateway::message::{STATELESS_REVISION, request, response, tools_call};
use gateway::odd_server::Request;
use gateway::setup::connection_manager;
use gateway::stage::expect_refused;
use gateway::{Call, Http, OddServer, RawConnection, Reply, Setup, everywhere};
use serde_json::{Value, json};

/// The filter, and behind it: a rule that denies the tool `evil`, and a route of the tool `special`.
fn guarded(setup: Setup) -> Setup {
    let route = json!({
        "match": {"prefix": "/", "headers": [{"name": "mcp-name", "string_match": {"exact": "special"}}]},
        "route": {"cluster": "mcp", "timeout": "0s"},
        "request_headers_to_add": [{"header": {"key": "x-route", "value": "special"}}],
    });
    setup
        .endpoint(json!({"strict_json_rpc": true, "method_headers": true}))
        .route_before(route)
        .patch(|config| {
            let filters = &mut connection_manager(config)["http_filters"];
            let filters = filters.as_array_mut().expect("filters");
            filters.insert(1, deny_evil());
        })
}

fn deny_evil() -> Value {
    let header =
        |name: &str, value: &str| json!({"header": {"name": name, "string_match": {"exact": value}}});
    let rules = [header("mcp-method", "tools/call"), header("mcp-name", "evil")];
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"tools": {
                "permissions": [{"and_rules": {"rules": rules}}],
                "principals": [{"any": true}],
            }}},
        },
    })
}

fn call(tool: &str) -> Call {
    Call::post(&tools_call(1, tool, json!({})))
}

/// What a client may write to be taken for the caller of another tool.
const LIES: [&[(&str, &str)]; 8] = [
    &[],
    &[("mcp-method", "tools/call"), ("mcp-name", "harmless")],
    &[("mcp-method", "tools/list")],
    &[("mcp-name", "")],
    &[("mcp-name", "harmless"), ("mcp-name", "evil")],
    &[
        ("mcp-name", "evil"),
        ("mcp-name", "harmless"),
        ("mcp-method", "ping"),
        ("mcp-method", "ping"),
    ],
    &[("mcp-name", "=?base64?aGFybWxlc3M=?=")],
    &[
        ("mcp-method", "=?base64?dG9vbHMvY2FsbA==?="),
        ("mcp-name", "=?base64?ZXZpbA==?="),
    ],
];

fn with(call: Call, fields: &[(&str, &str)]) -> Call {
    fields
        .iter()
        .fold(call, |call, (name, value)| call.header(name, value))
}

/// Every `Mcp-Method` and every `Mcp-Name` that reached the server.
fn stated(request: &Request) -> (Vec<&str>, Vec<&str>) {
    let all = |name: &str| {
        let values = request.headers.get_all(name).into_iter();
        values.map(|value| value.to_str().expect("ASCII")).collect()
    };
    (all("mcp-method"), all("mcp-name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_tool_is_denied_whatever_the_headers_say() {
    everywhere(guarded, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let reached = stage.server.count(stage.path);
        for lie in LIES {
            for revision in ["2025-03-26", "2025-11-25"] {
                for call in [call("evil").session(&session), call("evil")] {
                    let call = with(call.revision(revision).cut_at(&[30]), lie);
                    let answer = stage.client.send(call).await;
                    assert_eq!(
                        (answer.status, answer.text().as_str()),
                        (403, "RBAC: access denied")
                    );
                }
            }
        }
        assert_eq!(stage.server.count(stage.path), reached);
        stage.expect_alive(&session).await;
        stage.expect("reserved", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tool_passes_and_the_server_sees_one_line_each() {
    everywhere(guarded, Reply::as_told, |stage| async move {
        for lie in LIES {
            let call = with(call("harmless"), lie);
            assert_eq!(stage.client.send(call).await.status, 200, "{lie:?}");
            assert_eq!(stated(&stage.last_seen()), (vec!["tools/call"], vec!["harmless"]));
            let list = with(Call::tools_list(), lie);
            assert_eq!(stage.client.send(list).await.status, 200, "{lie:?}");
            assert_eq!(stated(&stage.last_seen()), (vec!["tools/list"], vec![]));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_request_is_refused_for_a_lie_and_denied_for_the_truth() {
    everywhere(guarded, Reply::as_told, |stage| async move {
        let modern = |name: &str| {
            let call = call("evil").revision(STATELESS_REVISION);
            call.header("mcp-method", "tools/call").header("mcp-name", name)
        };
        let lie = stage.client.send(modern("harmless")).await;
        expect_refused(&lie, 400, -32020, "Header mismatch", Some(json!(1)));
        for truth in ["evil", "=?base64?ZXZpbA==?="] {
            assert_eq!(stage.client.send(modern(truth)).await.status, 403, "{truth}");
        }
        assert_eq!(stage.server.count(stage.path), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_message_has_no_headers() {
    everywhere(guarded, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let lies = [
            ("mcp-method", "tools/call"),
            ("mcp-name", "evil"),
            ("mcp-name", "special"),
        ];
        let calls = [
            Call::get().reply("200"),
            Call::method("HEAD"),
            Call::method("OPTIONS"),
            Call::method("PUT"),
            Call::post(&response(5)),
            Call::delete(),
        ];
        for call in calls {
            let method = call.method_sent().to_owned();
            let call = with(call.session(&session), &lies);
            let status = stage.client.open(call).await.status;
            assert!((200..300).contains(&status), "{method}: {status}");
            let seen = stage.last_seen();
            assert_eq!(
                (stated(&seen), seen.header("x-route")),
                ((vec![], vec![]), None),
                "{method}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_route_is_chosen_by_the_message() {
    everywhere(guarded, Reply::as_told, |stage| async move {
        let cases = [
            ("special", None, Some("special")),
            ("special", Some("harmless"), Some("special")),
            ("harmless", Some("special"), None),
            ("harmless", None, None),
        ];
        for (tool, said, route) in cases {
            let said: Vec<_> = said.into_iter().map(|said| ("mcp-name", said)).collect();
            assert_eq!(stage.client.send(with(call(tool), &said)).await.status, 200);
            assert_eq!(stage.last_seen().header("x-route"), route, "{tool}, {said:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_header_can_name_does_not_reach_the_server() {
    everywhere(guarded, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let reached = stage.server.count(stage.path);
        let long = "a".repeat(4097);
        let messages = [
            json!([tools_call(1, "evil", json!({}))]),
            json!([tools_call(1, "harmless", json!({})), tools_call(2, "evil", json!({}))]),
            tools_call(1, &long, json!({})),
            request(1, "tools/call", json!({"name": 7})),
            request(1, "tools/call", json!({})),
            request(1, "resources/read", json!({"uri": long})),
            request(1, &long, json!({})),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "Name": "evil"}}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"},
                "param\u{17f}": {"name": "evil"}}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "evil"}, "result": {}}),
        ];
        for message in messages {
            let call = Call::post(&message).session(&session).revision("2025-03-26");
            let answer = stage.client.send(call.header("mcp-name", "harmless")).await;
            expect_refused(&answer, 400, -32600, "Invalid request", None);
        }
        let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","name":"evil"}}"#;
        let answer = stage.client.send(Call::post_bytes(twice).session(&session)).await;
        expect_refused(&answer, 400, -32600, "Invalid request", None);
        assert_eq!(stage.server.count(stage.path), reached);
        stage.expect_alive(&session).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_plain_arrives_encoded() {
    everywhere(guarded, Reply::as_told, |stage| async move {
        let names = [
            ("", ""),
            ("two words", "two words"),
            (" evil ", "=?base64?IGV2aWwg?="),
            ("\u{fc}ber", "=?base64?w7xiZXI=?="),
            ("a\r\nx-admin: 1", "=?base64?YQ0KeC1hZG1pbjogMQ==?="),
            ("\0", "=?base64?AA==?="),
            ("=?base64?ZXZpbA==?=", "=?base64?PT9iYXNlNjQ/WlhacGJBPT0/PQ==?="),
        ];
        for (name, value) in names {
            assert_eq!(stage.client.send(call(name)).await.status, 200, "{name:?}");
            let seen = stage.last_seen();
            assert_eq!(stated(&seen), (vec!["tools/call"], vec![value]));
            assert_eq!(
                (seen.header("x-admin"), &seen.json()["params"]["name"]),
                (None, &json!(name))
            );
        }
        let longest = "a".repeat(4096);
        assert_eq!(stage.client.send(call(&longest)).await.status, 200);
        assert_eq!(stated(&stage.last_seen()).1, [&longest]);
    })
    .await;
}

/// Letters of any case, which HTTP/2 does not know.
#[tokio::test(flavor = "multi_thread")]
async fn the_case_of_a_headers_letters_changes_nothing() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = guarded(Setup::new(server.address())).start().await;
    let lines: [&[&[u8]]; 3] = [
        &[b"MCP-NAME: harmless", b"MCP-METHOD: ping"],
        &[b"Mcp-Name: harmless", b"mCP-nAME: x", b"mcp-name: evil"],
        &[b"mcp-name:evil", b"MCP-Name:"],
    ];
    for lines in lines {
        for (tool, status) in [("evil", 403), ("harmless", 200)] {
            let mut connection: RawConnection = gateway.connect().await;
            let body = tools_call(1, tool, json!({})).to_string();
            connection.post("/mcp", lines, body.as_bytes()).await;
            assert_eq!(
                connection.answer().await.expect("an answer").status,
                status,
                "{tool}"
            );
        }
        let seen = server.seen("/mcp").pop().expect("a request");
        assert_eq!(stated(&seen), (vec!["tools/call"], vec!["harmless"]));
    }
    assert_eq!(server.count("/mcp"), lines.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_trailers_have_neither() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = guarded(Setup::new(server.address()).upstream_http2())
        .start()
        .await;
    let call = call("harmless").cut_at(&[20]).trailer("x-end", "yes");
    let call = call.trailer("mcp-name", "evil").trailer("mcp-method", "ping");
    assert_eq!(gateway.client(Http::Two).send(call).await.status, 200);
    let seen = server.seen("/mcp").pop().expect("a request");
    assert_eq!(stated(&seen), (vec!["tools/call"], vec!["harmless"]));
    let names: Vec<_> = seen.trailers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-end"]);
}
