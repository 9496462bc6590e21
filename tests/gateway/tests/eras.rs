//! Both eras on one path, and the habits of each.

use std::sync::atomic::{AtomicUsize, Ordering};

use gateway::message::STATELESS_REVISION;
use gateway::{Call, Gate, Reply, Request, everywhere, message};
use serde_json::json;

/// A server of the older era: it answers discovery with an error.
fn older_server(request: &Request) -> Reply {
    match request.rpc_method().as_str() {
        "server/discover" => Reply::json(
            400,
            &json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "no session"}}),
        ),
        _ => Reply::as_told(request),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_falls_back_to_a_session() {
    everywhere(
        |setup| setup,
        older_server,
        |stage| async move {
            let discover = Call::post(&message::request(1, "server/discover", json!({})))
                .revision(STATELESS_REVISION)
                .header("mcp-method", "server/discover");
            let answer = stage.client.send(discover).await;
            assert_eq!(
                (answer.status, answer.json()["error"]["message"].as_str()),
                (400, Some("no session"))
            );
            assert_eq!(stage.stat("reserved"), 0);
            let session = stage.client.open_session().await;
            stage.expect_alive(&session).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_eras_share_a_path() {
    everywhere(
        |setup| setup.endpoint(json!({"max_sessions": 1})),
        Reply::as_told,
        |stage| async move {
            let session = stage.client.open_session().await;
            for _ in 0..3 {
                stage.expect_alive(&session).await;
                let modern = Call::tools_list()
                    .revision(STATELESS_REVISION)
                    .header("mcp-method", "tools/list")
                    .session(&session);
                assert_eq!(stage.client.send(modern).await.status, 200);
                assert_eq!(stage.last_seen().session(), None);
            }
            assert_eq!((stage.stat("active"), stage.stat("created")), (1, 1));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listen_stream_is_untouched_and_counted() {
    // Scenarios run at the same time, each with a gate of its own.
    let gates: [Gate; 4] = std::array::from_fn(|_| Gate::closed());
    let (ends, next) = (gates.clone(), AtomicUsize::new(0));
    let behaviour = move |request: &Request| {
        let gate: usize = request
            .header("x-gate")
            .expect("a number")
            .parse()
            .expect("a number");
        Reply::sse()
            .event(&json!({"jsonrpc": "2.0"}))
            .ended_by(&ends[gate])
    };
    everywhere(
        |setup| setup,
        behaviour,
        move |stage| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let gate = gates[number].clone();
            async move {
                let listen = Call::post(&message::request(1, "subscriptions/listen", json!({})))
                    .revision(STATELESS_REVISION)
                    .header("mcp-method", "subscriptions/listen")
                    .header("x-gate", number.to_string());
                let mut stream = stage.client.open(listen).await;
                assert!(stream.next().await.is_some_and(|part| part.is_ok()));
                assert_eq!(
                    (
                        stage.stat("streams"),
                        stage.stat("active"),
                        stage.stat("reserved")
                    ),
                    (1, 0, 0)
                );
                gate.let_one_through();
                assert!(stream.ended().await);
                stage.expect("streams", 0).await;
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_pass_where_the_revision_has_them() {
    everywhere(
        |setup| setup,
        Reply::as_told,
        |stage| async move {
            let session = stage.client.open_session().await;
            let batch = json!([
                {"jsonrpc": "2.0", "id": 1, "method": "ping"},
                {"jsonrpc": "2.0", "method": "notifications/initialized"},
            ]);
            for call in [
                Call::post(&batch).session(&session),
                Call::post(&batch).session(&session).revision("2025-03-26"),
                Call::post(&batch).revision("2025-03-26"),
                Call::post(&batch),
            ] {
                assert_eq!(stage.client.send(call).await.status, 202);
                assert_eq!(stage.last_seen().json(), batch);
            }
            stage.expect("reserved", 0).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_resumed_and_polled() {
    let behaviour = |request: &Request| match request.method.as_str() {
        // It gives an id, says when to come back, and closes.
        "GET" => Reply::sse().chunk("id: 7\nretry: 10\ndata:\n\n"),
        _ => Reply::as_told(request),
    };
    everywhere(
        |setup| setup,
        behaviour,
        |stage| async move {
            let session = stage.client.open_session().await;
            for _ in 0..5 {
                let resumed = Call::get().session(&session).header("last-event-id", "7");
                let answer = stage.client.send(resumed).await;
                assert_eq!(
                    (answer.status, answer.text().as_ref()),
                    (200, "id: 7\nretry: 10\ndata:\n\n")
                );
                assert_eq!(stage.last_seen().header("last-event-id"), Some("7"));
            }
            stage.expect("streams", 0).await;
            stage.expect_alive(&session).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_streams_of_a_session_and_answers_to_the_server() {
    everywhere(
        |setup| setup,
        Reply::as_told,
        |stage| async move {
            let session = stage.client.open_session().await;
            let first = stage.client.open_stream(&session).await;
            let second = stage.client.open_stream(&session).await;
            stage.expect("streams", 2).await;
            let answer = json!({"jsonrpc": "2.0", "id": "from-the-server", "result": {"roots": []}});
            assert_eq!(stage.client.post(&session, &answer).await.status, 202);
            assert_eq!(stage.last_seen().json(), answer);
            drop(first);
            stage.expect("streams", 1).await;
            drop(second);
            stage.expect("streams", 0).await;
            stage.expect_alive(&session).await;
        },
    )
    .await;
}
