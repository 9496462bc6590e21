//! Tests of the tests' own tools, against an Envoy without the filter.

use bytes::Bytes;
use gateway::envoy::tells_of_broken_answers;
use gateway::{Call, Gate, OddServer, Reply, Setup, client::BOTH, message};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_server_gets_what_the_client_sends() {
    let server = OddServer::polite().await;
    let gateway = Setup::new(server.address()).without_the_filter().start().await;
    for http in BOTH {
        let client = gateway.client(http);
        let cut = Call::post(&message::initialize(1))
            .cut_at(&[1, 9, 30])
            .header("x-test", b"\xff");
        let answer = client.send(cut).await;
        assert_eq!(answer.status, 200);
        assert!(answer.session().is_some());
        let seen = server.seen("/mcp").pop().expect("it came");
        assert!(seen.complete);
        assert_eq!(seen.rpc_method(), "initialize");
        assert_eq!(seen.headers["x-test"].as_bytes(), b"\xff");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_go_both_ways_over_http2() {
    let server = OddServer::start(|_| Reply::status(200).chunk("body").trailer("x-end", "yes")).await;
    let gateway = Setup::new(server.address())
        .without_the_filter()
        .upstream_http2()
        .start()
        .await;
    let client = gateway.client(gateway::Http::Two);
    let answer = client.send(Call::post_bytes("x").trailer("x-start", "yes")).await;
    assert_eq!(answer.trailers["x-end"], "yes");
    assert_eq!(server.seen("/mcp")[0].trailers["x-start"], "yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_held_streamed_broken_off_and_reset() {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = OddServer::start(move |request| match request.path.as_str() {
        "/held" => Reply::status(204).held_by(&held),
        "/stream" => Reply::sse().event(&json!(1)).left_open(),
        "/broken" => Reply::sse().event(&json!(1)).broken_off(),
        _ => Reply::reset(),
    })
    .await;
    let gateway = Setup::new(server.address()).without_the_filter().start().await;
    for http in BOTH {
        let client = gateway.client(http);
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.send(Call::get().path("/held")).await }
        });
        let mut stream = client.open(Call::get().path("/stream")).await;
        let first = stream.next().await.expect("an event").expect("whole");
        assert_eq!(first, Bytes::from("event: message\ndata: 1\n\n"));
        drop(stream);
        let is_whole = client.open(Call::get().path("/broken")).await.ended().await;
        assert_eq!(is_whole, !tells_of_broken_answers(http));
        assert_eq!(client.send(Call::get().path("/reset")).await.status, 503);
        assert!(!waiting.is_finished());
        gate.let_one_through();
        assert_eq!(waiting.await.expect("an answer").status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_can_be_broken_off() {
    let server = OddServer::polite().await;
    let gateway = Setup::new(server.address()).without_the_filter().start().await;
    for (number, http) in BOTH.into_iter().enumerate() {
        let (upload, answer) = gateway.client(http).upload(Call::post_bytes("").path("/up"));
        assert!(upload.send("{"));
        gateway::poll::eventually(gateway::poll::SOON, "the head comes", || {
            server.count("/up") == number + 1
        })
        .await;
        drop(upload);
        assert!(answer.await.expect("no panic").is_err());
        assert!(!server.seen("/up")[number].complete);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_configuration_is_an_error_with_envoys_words() {
    let setup = Setup::new(([127, 0, 0, 1], 1).into()).connection_manager(json!({"codec_type": "NONSENSE"}));
    let log = setup.try_start().await.err().expect("Envoy refuses");
    assert!(log.contains("NONSENSE"), "{log}");
}
