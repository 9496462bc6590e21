//! The same bytes give the same decision, however they are cut, over whichever protocol, with trailers or without.

use gateway::{Call, Http, OddServer, Reply, Setup, everywhere, message};
use serde_json::json;

fn one_place(setup: Setup) -> Setup {
    setup.endpoint(json!({"max_sessions": 1}))
}

/// A short `initialize` with everything a cut could split: escapes, multi-byte characters, nesting.
const INITIALIZE: &str =
    r#"{"params":{"a":["é",{"\"":1}]},"id":"\u00e9","method":"initialize","jsonrpc":"2.0"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_any_point() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        stage.client.open_session().await;
        for offset in 1..INITIALIZE.len() {
            let answer = stage
                .client
                .send(Call::post_bytes(INITIALIZE).cut_at(&[offset]))
                .await;
            assert_eq!(answer.status, 429, "cut at {offset}: {answer:?}");
            assert!(
                answer.text().contains(r#""id":"\u00e9""#),
                "cut at {offset}: {answer:?}"
            );
        }
        stage
            .expect("rejected.reason.capacity", INITIALIZE.len() as u64 - 1)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn byte_by_byte_with_an_empty_end() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        let offsets: Vec<usize> = (1..=INITIALIZE.len()).collect();
        let whole = || Call::post_bytes(INITIALIZE).cut_at(&offsets);
        let answer = stage.client.send(whole().reply("200").mint(stage.endpoint)).await;
        assert_eq!(answer.session(), Some(stage.endpoint));
        assert_eq!(stage.last_seen().body, INITIALIZE);
        assert_eq!(stage.client.send(whole()).await.status, 429);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_trailers() {
    let with_trailers = |setup| {
        one_place(setup).connection_manager(json!({"http_protocol_options": {"enable_trailers": true}}))
    };
    everywhere(with_trailers, Reply::as_told, |stage| async move {
        let with_trailer = |call: Call| call.cut_at(&[20]).trailer("x-end", "yes");
        let answer = stage
            .client
            .send(with_trailer(Call::post_bytes(INITIALIZE).reply("200").mint("t")))
            .await;
        assert_eq!((answer.status, answer.session()), (200, Some("t")));
        assert_eq!(stage.last_seen().body, INITIALIZE);
        stage.expect("active", 1).await;
        let refused = stage
            .client
            .send(with_trailer(Call::post_bytes(INITIALIZE)))
            .await;
        assert_eq!(refused.status, 429);
        let invalid = stage
            .client
            .send(with_trailer(Call::post_bytes("{".repeat(40))))
            .await;
        assert_eq!(invalid.status, 400);
        // In a session the filter holds nothing, with or without trailers.
        let in_session = with_trailer(Call::tools_list().session("t"));
        assert_eq!(stage.client.send(in_session).await.status, 200);
        assert_eq!(stage.stat("reserved"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_a_client_that_enables_none_change_nothing() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        stage.client.open_session().await;
        let refused = stage
            .client
            .send(Call::initialize().cut_at(&[20]).trailer("x-end", "yes"))
            .await;
        assert_eq!(refused.status, 429);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_without_a_body() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        let reached = stage.server.count(stage.path);
        let call = Call::method("POST").header("content-type", "application/json");
        assert_eq!(stage.client.send(call).await.status, 400);
        assert_eq!(stage.server.count(stage.path), reached);
        stage.expect("rejected.reason.invalid_message", 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_http2_server() {
    let upstream_http2 = |setup| one_place(setup).upstream_http2();
    everywhere(upstream_http2, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        assert_eq!(stage.client.initialize().await.status, 429);
        let mut stream = stage.client.open_stream(&session).await;
        stream.next().await.expect("an event").expect("whole");
        assert_eq!(stage.client.delete(&session).await.status, 200);
        stage.expect("active", 0).await;
        let reset = stage.client.send(Call::initialize().reply("reset")).await;
        assert!(reset.status >= 500);
        stage.expect("reserved", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_as_they_come() {
    everywhere(one_place, Reply::polite, |stage| async move {
        let session = stage.client.open_session().await;
        let mut stream = stage.client.open_stream(&session).await;
        // The server leaves the stream open. A gateway that buffered would never pass this event on.
        let event = stream.next().await.expect("an event").expect("whole");
        assert!(event.starts_with(b"event: message\n"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_in_a_session_streams_through() {
    let body = message::tools_call(1, "echo", json!({"message": "x".repeat(8 << 20)})).to_string();
    let server = OddServer::polite().await;
    let gateway = Setup::new(server.address()).start().await;
    for http in [Http::One, Http::Two] {
        let client = gateway.client(http);
        let session = client.open_session().await;
        let answer = client
            .send(Call::post_bytes(body.clone()).session(&session))
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(server.seen("/mcp").pop().expect("it came").body, body);
    }
}
