//! A server that keeps a session for whatever comes without an id, and what of it the filter lets through.

use gateway::message::STATELESS_REVISION;
use gateway::stage::expect_refused;
use gateway::{Call, Reply, Request, Setup, Stage, everywhere, message};
use serde_json::{Value, json};

fn guarded(setup: Setup) -> Setup {
    setup.endpoint(json!({"sessionless": "reject", "modern": "reject"}))
}

/// The server opens a session for every request without an id, as the official Python SDK 1.29 does, and refuses all
/// but an `initialize`.
fn keeper(request: &Request) -> Reply {
    match request.session() {
        Some(_) => Reply::as_told(request),
        None if request.rpc_method() == "initialize" => Reply::as_told(request),
        None => Reply::status(400).session("of-no-use"),
    }
}

/// The requests that reached the server without an id.
fn sessionless(stage: &Stage) -> Vec<Request> {
    let mut seen = stage.seen();
    seen.retain(|request| request.session().is_none());
    seen
}

fn with_accept(accept: &str) -> Call {
    Call::initialize().without("accept").header("accept", accept)
}

fn with_type(kind: &str) -> Call {
    Call::initialize()
        .without("content-type")
        .header("content-type", kind)
}

fn initialize_with(id: &str, params: &str) -> Call {
    Call::post_bytes(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{params}}}"#
    ))
}

/// Refused by the head: the method, the content type, then `Accept`.
fn refused_heads() -> Vec<(Call, u16, &'static str)> {
    let mut calls = vec![
        (Call::get(), 400, "Session id required"),
        (Call::delete(), 400, "Session id required"),
        (Call::initialize().without("accept"), 406, "Not acceptable"),
        (
            Call::initialize().without("content-type"),
            415,
            "Unsupported media type",
        ),
        (
            with_type("text/plain").without("accept"),
            415,
            "Unsupported media type",
        ),
    ];
    for method in ["PUT", "PATCH", "OPTIONS", "TRACE"] {
        calls.push((Call::method(method), 405, "Method not allowed"));
    }
    for kind in [
        "Application/JSON",
        "application/json, text/plain",
        "application/jsonx",
    ] {
        calls.push((with_type(kind), 415, "Unsupported media type"));
    }
    calls.push((
        Call::initialize().header("content-type", "application/json"),
        415,
        "Unsupported media type",
    ));
    for accept in [
        "*/*",
        "application/*, text/*",
        "application/json",
        "Application/json, text/event-stream",
        "application/json, text/event-stream;q=0",
        "application/json;a=\",text/event-stream,\"",
    ] {
        calls.push((with_accept(accept), 406, "Not acceptable"));
    }
    calls
}

/// Refused by the message, with this id or none.
fn refused_messages() -> Vec<(Call, i64, &'static str, Option<Value>)> {
    const VERSION: &str = r#"{"protocolVersion":"2025-11-25"}"#;
    let required = |call, id| (call, -32600, "Session id required", id);
    let initialize = message::initialize(1).to_string();
    vec![
        required(
            Call::post(&message::request(7, "ping", json!({}))),
            Some(json!(7)),
        ),
        required(
            Call::post(&message::request("x", "server/discover", json!({}))),
            Some(json!("x")),
        ),
        required(Call::post(&message::initialized()), None),
        required(Call::post(&message::response(9)), None),
        required(Call::post(&json!([message::request(1, "ping", json!({}))])), None),
        required(initialize_with("null", VERSION), None),
        required(initialize_with("1.5", VERSION), Some(json!(1.5))),
        required(initialize_with("1", "{}"), Some(json!(1))),
        required(initialize_with("1", r#"{"protocolVersion":1}"#), Some(json!(1))),
        required(
            initialize_with("1", r#"{"protocolVersion":"2025-11-25","x":"\ud800"}"#),
            Some(json!(1)),
        ),
        (
            Call::post_bytes(format!("\u{FEFF}{initialize}")),
            -32700,
            "Parse error",
            None,
        ),
        (
            Call::post_bytes(format!("{initialize}x")),
            -32700,
            "Parse error",
            None,
        ),
        (Call::post_bytes(""), -32700, "Parse error", None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_without_an_id_reaches_the_server_but_a_good_initialize() {
    everywhere(guarded, keeper, |stage| async move {
        for (call, status, message) in refused_heads() {
            let answer = stage.client.send(call).await;
            expect_refused(&answer, status, -32600, message, None);
            let allow = (status == 405).then_some("GET, POST, DELETE");
            assert_eq!(answer.header("allow"), allow);
        }
        for (call, code, message, id) in refused_messages() {
            expect_refused(&stage.client.send(call).await, 400, code, message, id);
        }
        let head = stage.client.send(Call::method("HEAD")).await;
        assert_eq!(
            (head.status, head.header("allow")),
            (405, Some("GET, POST, DELETE"))
        );
        assert!(stage.seen().is_empty(), "{:?}", stage.seen());
        assert_eq!((stage.stat("active"), stage.stat("reserved")), (0, 0));

        let session = stage.client.open_session().await;
        stage.expect_alive(&session).await;
        assert_eq!(
            stage
                .client
                .send(Call::method("PUT").session(&session))
                .await
                .status,
            200
        );
        assert_eq!(stage.client.delete(&session).await.status, 200);
        assert_eq!(sessionless(&stage).len(), 1);
        assert_eq!(stage.stat("ended.reason.client_delete"), 1);
        let refused = refused_heads()
            .iter()
            .filter(|(_, status, _)| *status == 405)
            .count()
            + 1;
        stage
            .expect("rejected.reason.method_not_allowed", refused.try_into().unwrap())
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_body_is_cut_the_answer_is_the_same() {
    everywhere(guarded, keeper, |stage| async move {
        let ping = message::request(7, "ping", json!({}));
        let marked = format!("\u{FEFF}{}", message::initialize(1));
        for cut in (0..40).step_by(3) {
            let answer = stage.client.send(Call::post(&ping).cut_at(&[cut])).await;
            expect_refused(&answer, 400, -32600, "Session id required", Some(json!(7)));
            let trailing = Call::post_bytes(marked.clone())
                .cut_at(&[cut])
                .trailer("x-end", "1");
            let answer = stage.client.send(trailing).await;
            expect_refused(&answer, 400, -32700, "Parse error", None);
        }
        assert!(stage.seen().is_empty());
        let cut = Call::initialize().cut_at(&[1, 20]);
        assert!(stage.client.send(cut).await.session().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_tries_the_new_revision_goes_on_to_an_older_one() {
    everywhere(guarded, keeper, |stage| async move {
        let discover = || {
            Call::post(&message::request("probe", "server/discover", json!({})))
                .revision(STATELESS_REVISION)
                .header("mcp-method", "server/discover")
        };
        let error = |id: Option<Value>| {
            let mut body = json!({"jsonrpc": "2.0", "error": {
                "code": -32600, "message": "Unsupported protocol version", "data": {
                    "supported": ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"],
                    "requested": STATELESS_REVISION}}});
            if let Some(id) = id {
                body["id"] = id;
            }
            (400, body)
        };
        let ask = async |call| {
            let answer = stage.client.send(call).await;
            (answer.status, answer.json())
        };
        assert_eq!(ask(discover()).await, error(Some(json!("probe"))));
        assert_eq!(ask(discover().cut_at(&[9])).await, error(Some(json!("probe"))));
        assert_eq!(
            ask(Call::initialize().revision(STATELESS_REVISION)).await,
            error(Some(json!(1)))
        );
        assert_eq!(
            ask(Call::get().revision(STATELESS_REVISION).session("x")).await,
            error(None)
        );
        let large = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"ping\",\"x\":\"{}\"}}",
            "a".repeat(600_000)
        );
        let large = Call::post_bytes(large).revision(STATELESS_REVISION);
        assert_eq!(ask(large).await, error(Some(json!(3))));
        assert!(stage.seen().is_empty());
        stage.client.open_session().await;
        stage.expect("requests.revision.2026-07-28", 4).await;
        stage.expect("requests.revision.none", 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_of_the_new_revision_pass_where_only_sessionless_is_rejected() {
    everywhere(
        |setup| setup.endpoint(json!({"sessionless": "reject"})),
        keeper,
        |stage| async move {
            let list = Call::tools_list()
                .revision(STATELESS_REVISION)
                .header("mcp-method", "tools/list");
            stage.client.send(list).await;
            assert_eq!(stage.seen().len(), 1);
            let get = Call::get().revision(STATELESS_REVISION).session("x");
            expect_refused(
                &stage.client.send(get).await,
                400,
                -32600,
                "Session id required",
                None,
            );
            let initialize = with_accept("*/*").revision(STATELESS_REVISION);
            let answer = stage.client.send(initialize).await;
            expect_refused(&answer, 406, -32600, "Not acceptable", Some(json!(1)));
            assert_eq!(stage.seen().len(), 1);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_alone_tell_an_initialize_as_far_as_they_go() {
    everywhere(
        |setup| guarded(setup.admission_by_headers()),
        keeper,
        |stage| async move {
            for (call, status, message) in refused_heads() {
                let answer = stage.client.send(call).await;
                expect_refused(&answer, status, -32600, message, None);
            }
            let ping = Call::post(&message::request(7, "ping", json!({}))).header("mcp-method", "ping");
            let answer = stage.client.send(ping).await;
            expect_refused(&answer, 400, -32600, "Session id required", None);
            assert!(stage.seen().is_empty());
            stage.client.open_session().await;
        },
    )
    .await;
}

/// Envoy joins the lines of `Accept`, so that such a server finds both types in one, and takes the request.
#[tokio::test(flavor = "multi_thread")]
async fn two_lines_of_accept_reach_the_server_as_one() {
    everywhere(guarded, keeper, |stage| async move {
        let two_lines = with_accept("application/json").header("accept", "text/event-stream");
        assert_eq!(stage.client.send(two_lines).await.status, 200);
        let joined = "application/json,text/event-stream";
        assert_eq!(stage.last_seen().header("accept"), Some(joined));
    })
    .await;
}
