//! The answers the filter gives itself. Those at a cap are in `caps`, those to unknown ids in `unknown_ids`.

use gateway::stage::{Stage, expect_refused};
use gateway::{Call, Reply, Setup, everywhere, message};
use serde_json::{Value, json};

fn as_shipped(setup: Setup) -> Setup {
    setup
}

/// Sends a request that the filter must refuse in this way. The server must not get it.
async fn refused(stage: &Stage, call: Call, answer: (u16, i64, &str), reason: &str) {
    refused_with(stage, call, answer, None, reason).await;
}

/// The same, where the answer echoes the request's id.
async fn refused_with(
    stage: &Stage,
    call: Call,
    (status, code, text): (u16, i64, &str),
    id: Option<Value>,
    reason: &str,
) {
    let name = format!("rejected.reason.{reason}");
    let (before, reached) = (stage.stat(&name), stage.server.count(stage.path));
    let answer = stage.client.send(call.clone()).await;
    assert_eq!(answer.status, status, "{call:?}: {answer:?}");
    assert_eq!(answer.json()["error"]["code"], code, "{call:?}: {answer:?}");
    expect_refused(&answer, status, code, text, id);
    stage.expect(&name, before + 1).await;
    assert_eq!(
        stage.server.count(stage.path),
        reached,
        "{call:?} reached the server"
    );
    assert_eq!((stage.stat("reserved"), stage.stat("active")), (0, 0));
}

const INVALID_ID: (u16, i64, &str) = (404, -32001, "Invalid session id");
const PARSE_ERROR: (u16, i64, &str) = (400, -32700, "Parse error");
const INVALID_REQUEST: (u16, i64, &str) = (400, -32600, "Invalid request");
const TOO_LARGE: (u16, i64, &str) = (413, -32600, "Request too large");

#[tokio::test(flavor = "multi_thread")]
async fn malformed_session_ids() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let too_long = "x".repeat(8193);
        let ids: [&[u8]; 7] = [
            b"",
            b"a b",
            b"a\tb",
            b"caf\xc3\xa9",
            b"\xff",
            b"a,\x80",
            too_long.as_bytes(),
        ];
        for id in ids {
            for call in [
                Call::tools_list(),
                Call::initialize(),
                Call::get(),
                Call::delete(),
            ] {
                refused(
                    &stage,
                    call.header("mcp-session-id", id),
                    INVALID_ID,
                    "invalid_session_id",
                )
                .await;
            }
        }
        for call in [Call::tools_list(), Call::get(), Call::delete()] {
            let twice = call.clone().session("one").session("two");
            refused(&stage, twice, INVALID_ID, "invalid_session_id").await;
            let the_same_twice = call.session("one").session("one");
            refused(&stage, the_same_twice, INVALID_ID, "invalid_session_id").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_and_strangest_valid_ids_pass() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let visible: String = (0x21..=0x7e_u8).map(char::from).collect();
        for id in [visible, "x".repeat(8192), ",".to_owned(), "\"".to_owned()] {
            let answer = stage.client.send(Call::initialize().reply("200").mint(&id)).await;
            assert_eq!(answer.session(), Some(id.as_str()));
            stage.expect_alive(&id).await;
            assert_eq!(stage.last_seen().session(), Some(id.as_str()));
            assert_eq!(stage.client.delete(&id).await.status, 200);
            stage.expect_gone(&id).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_no_client_could_send_back_is_taken_off() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        for (count, id) in (1..).zip(["x".repeat(8193), "a b".to_owned()]) {
            let answer = stage.client.send(Call::initialize().reply("200").mint(&id)).await;
            assert_eq!((answer.status, answer.session()), (200, None));
            stage.expect("reserved", 0).await;
            stage.expect("untracked", count).await;
            assert_eq!((stage.stat("active"), stage.stat("created")), (0, 0));
        }
    })
    .await;
}

fn not_json() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 8] = [
        b"",
        b" ",
        b"{",
        b"nope",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"",
        b"{}x",
        b"\xff\xfe",
        b"\"\\ud800",
    ];
    texts.iter().map(|text| text.to_vec()).collect()
}

fn not_messages() -> Vec<Value> {
    vec![
        json!(null),
        json!(1),
        json!("initialize"),
        json!({}),
        json!([]),
        json!([1]),
        json!({"jsonrpc": "1.0", "id": 1, "method": "ping"}),
        json!({"id": 1, "method": "ping"}),
        json!({"jsonrpc": "2.0", "id": 1}),
        json!({"jsonrpc": "2.0", "id": {}, "method": "ping"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": 2}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        for body in not_json() {
            refused(&stage, Call::post_bytes(body), PARSE_ERROR, "invalid_message").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_message() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        for message in not_messages() {
            refused(&stage, Call::post(&message), INVALID_REQUEST, "invalid_message").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_with_initialize_or_where_there_are_none() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let smuggled = json!([message::tools_list(1), message::initialize(2)]);
        refused(&stage, Call::post(&smuggled), INVALID_REQUEST, "invalid_message").await;
        let batch = json!([message::tools_list(1), message::tools_list(2)]);
        for revision in ["2025-06-18", "2025-11-25"] {
            refused(
                &stage,
                Call::post(&batch).revision(revision),
                INVALID_REQUEST,
                "invalid_message",
            )
            .await;
        }
        assert_eq!(
            stage
                .client
                .send(Call::post(&batch).revision("2025-03-26").reply("202"))
                .await
                .status,
            202
        );
        assert_eq!(
            stage.client.send(Call::post(&batch).reply("202")).await.status,
            202
        );
    })
    .await;
}

/// `initialize`, padded to this length.
fn padded_to(length: usize) -> Vec<u8> {
    let mut body = message::initialize(1).to_string().into_bytes();
    body.resize(length, b' ');
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit() {
    let small = |setup: Setup| setup.endpoint(json!({"max_request_bytes": 4096}));
    everywhere(small, Reply::as_told, |stage| async move {
        for length in [4097, 100_000] {
            let call = Call::post_bytes(padded_to(length));
            for call in [call.clone(), call.cut_at(&[10, 4096])] {
                refused_with(&stage, call, TOO_LARGE, Some(json!(1)), "too_large").await;
            }
        }
        for length in [4095, 4096] {
            let call = Call::post_bytes(padded_to(length)).reply("202");
            assert_eq!(stage.client.send(call.clone()).await.status, 202);
            assert_eq!(stage.client.send(call.cut_at(&[10, 2048])).await.status, 202);
            assert_eq!(stage.last_seen().body, padded_to(length));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_an_id_is_not_held_whatever_it_is() {
    let small = |setup: Setup| setup.endpoint(json!({"max_request_bytes": 4096}));
    everywhere(small, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        for body in not_json().into_iter().chain([padded_to(2_000_000)]) {
            let answer = stage
                .client
                .send(Call::post_bytes(body.clone()).session(&session).reply("202"))
                .await;
            assert_eq!(answer.status, 202);
            assert_eq!(stage.last_seen().body, body);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_echoed_as_the_bytes_that_came() {
    let one_place = |setup: Setup| setup.endpoint(json!({"max_sessions": 1}));
    everywhere(one_place, Reply::as_told, |stage| async move {
        stage.client.open_session().await;
        let longest = format!("\"{}\"", "x".repeat(1024));
        let ids = [
            "0",
            "-1",
            "1e3",
            "1.50",
            "12345678901234567890123",
            "\"\"",
            "\"\\u0041\\n\"",
            "\"é\"",
            &longest,
        ];
        for id in ids {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"initialize","id":{id}}}"#);
            let answer = stage.client.send(Call::post_bytes(body)).await;
            assert_eq!(answer.status, 429);
            assert!(
                answer.text().contains(&format!("\"id\":{id}")),
                "{id}: {}",
                answer.text()
            );
        }
        let over = format!(
            r#"{{"jsonrpc":"2.0","method":"initialize","id":"{}"}}"#,
            "x".repeat(1025)
        );
        let answer = stage.client.send(Call::post_bytes(over)).await;
        expect_refused(&answer, 429, -32603, "Too many open sessions", None);
    })
    .await;
}
