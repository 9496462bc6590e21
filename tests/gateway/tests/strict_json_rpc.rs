//! `strict_json_rpc`: every message is validated before the server sees it.

use gateway::stage::expect_refused;
use gateway::{Call, Reply, Setup, everywhere, message};
use serde_json::json;

fn strict(setup: Setup) -> Setup {
    setup.endpoint(json!({"strict_json_rpc": true, "max_request_bytes": 4096}))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_of_a_session_does_not_reach_the_server() {
    everywhere(strict, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let reached = stage.server.count(stage.path);
        let of_session = |body: &str| Call::post_bytes(body.to_owned()).session(&session);
        for (body, code, text) in [
            ("{\"jsonrpc\":\"2.0\",\"id\":1", -32700, "Parse error"),
            ("", -32700, "Parse error"),
            (
                "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}",
                -32600,
                "Invalid request",
            ),
            (
                "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}]",
                -32600,
                "Invalid request",
            ),
        ] {
            let answer = stage.client.send(of_session(body)).await;
            expect_refused(&answer, 400, code, text, None);
        }
        let batch = of_session("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]");
        let answer = stage.client.send(batch.revision("2025-11-25")).await;
        expect_refused(&answer, 400, -32600, "Invalid request", None);
        let answer = stage.client.send(of_session(&" ".repeat(5_000))).await;
        expect_refused(&answer, 413, -32600, "Request too large", None);
        assert_eq!(stage.server.count(stage.path), reached);
        stage.expect_alive(&session).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_messages_of_a_session_pass_unchanged() {
    everywhere(strict, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let messages = [
            message::request(7, "tools/call", json!({"name": "echo"})),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": 3, "result": {}}),
            json!([{"jsonrpc": "2.0", "id": 4, "method": "ping"}]),
        ];
        for message in messages {
            let call = Call::post(&message).session(&session).cut_at(&[1, 9]);
            let status = stage.client.send(call).await.status;
            assert!((200..300).contains(&status), "{message}: {status}");
            let seen = stage.last_seen();
            assert_eq!((seen.json(), seen.session()), (message, Some(session.as_str())));
        }
        assert_eq!(stage.client.delete(&session).await.status, 200);
        stage.expect_gone(&session).await;
    })
    .await;
}
