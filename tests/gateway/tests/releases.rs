//! A reservation is given back exactly once, however the request ends without a session.

use gateway::stage::Stage;
use gateway::{Call, Reply, Setup, everywhere, poll};
use serde_json::json;

/// A cap of one. If a reservation is given back too seldom, the next newcomer is refused; if too often, the gauge
/// wraps.
fn one_place(setup: Setup) -> Setup {
    setup.endpoint(json!({"max_sessions": 1}))
}

fn one_place_by_headers(setup: Setup) -> Setup {
    one_place(setup).admission_by_headers()
}

/// Checks that no place is taken and no session was made, and that a session can be opened and ended.
async fn place_is_back(stage: &Stage) {
    stage.expect("reserved", 0).await;
    assert_eq!(stage.stat("active"), 0);
    let created = stage.stat("created");
    let session = stage.client.open_session().await;
    stage.expect("active", 1).await;
    assert_eq!((stage.stat("reserved"), stage.stat("created")), (0, created + 1));
    assert_eq!(stage.client.delete(&session).await.status, 200);
    stage.expect("active", 0).await;
}

async fn answers_without_a_session(stage: Stage) {
    // 2xx without an id: a server without sessions.
    assert_eq!(
        stage.client.send(Call::initialize().reply("200")).await.status,
        200
    );
    place_is_back(&stage).await;
    // A fresh id on an error opens no session.
    for status in ["302", "400", "401", "404", "406", "409", "500", "503"] {
        let answer = stage
            .client
            .send(Call::initialize().reply(status).mint("stillborn"))
            .await;
        assert_eq!(answer.status.to_string(), status);
        place_is_back(&stage).await;
    }
    assert_eq!(
        stage.client.send(Call::initialize().reply("reset")).await.status,
        503
    );
    place_is_back(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_answer_opens_no_session() {
    everywhere(one_place, Reply::as_told, answers_without_a_session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_answer_opens_no_session_judged_by_headers() {
    everywhere(one_place_by_headers, Reply::as_told, answers_without_a_session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_server_takes_too_long() {
    let impatient = |setup| one_place(setup).route(json!({"timeout": "0.3s"}));
    everywhere(impatient, Reply::as_told, |stage| async move {
        assert_eq!(
            stage.client.send(Call::initialize().reply("hang")).await.status,
            504
        );
        place_is_back(&stage).await;
    })
    .await;
}

async fn client_leaves_before_the_answer(stage: Stage) {
    let reached = stage.server.count(stage.path);
    let client = stage.client.clone();
    let waiting = tokio::spawn(async move { client.try_send(Call::initialize().reply("hang")).await });
    poll::eventually(poll::SOON, "the server has it", || {
        stage.server.count(stage.path) > reached
    })
    .await;
    stage.expect("reserved", 1).await;
    waiting.abort();
    assert!(waiting.await.is_err());
    place_is_back(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_client_leaves_before_the_answer() {
    everywhere(one_place, Reply::as_told, client_leaves_before_the_answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_client_leaves_before_the_answer_judged_by_headers() {
    everywhere(
        one_place_by_headers,
        Reply::as_told,
        client_leaves_before_the_answer,
    )
    .await;
}

/// `taken`: how many places the half request takes.
async fn client_leaves_in_the_middle_of_its_request(stage: Stage, taken: u64) {
    let (upload, answer) = stage.client.upload(Call::post_bytes(""));
    assert!(upload.send(r#"{"jsonrpc":"2.0","id":1,"#));
    poll::eventually(poll::SOON, "Envoy has the request", || {
        stage.gateway.envoy_stat("http.mcp.downstream_rq_active") > 0
    })
    .await;
    stage.expect("reserved", taken).await;
    drop(upload);
    assert!(answer.await.expect("no panic").is_err());
    place_is_back(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_client_leaves_in_the_middle_of_its_request() {
    let scenario = |stage| client_leaves_in_the_middle_of_its_request(stage, 0);
    everywhere(one_place, Reply::as_told, scenario).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_client_leaves_in_the_middle_of_its_request_judged_by_headers() {
    let scenario = |stage| client_leaves_in_the_middle_of_its_request(stage, 1);
    everywhere(one_place_by_headers, Reply::as_told, scenario).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_server_is_there() {
    for workers in [1, 2] {
        // A port that was free a moment ago.
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let gateway = one_place(Setup::new(nowhere.expect("a port")).workers(workers))
            .start()
            .await;
        for http in gateway::client::BOTH {
            for _ in 0..3 {
                assert_eq!(gateway.client(http).initialize().await.status, 503);
                gateway.expect("endpoint.mcp.reserved", 0).await;
            }
            assert_eq!(gateway.stat("endpoint.mcp.rejected.reason.capacity"), 0);
        }
    }
}
