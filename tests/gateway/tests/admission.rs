//! Which requests take a place under the cap, and what happens to it when the answer opens a session.

use std::sync::Arc;

use gateway::client::BOTH;
use gateway::envoy::tells_of_broken_answers;
use gateway::stage::Stage;
use gateway::{Call, Gate, OddServer, Reply, Request, Setup, everywhere, message};
use serde_json::{Value, json};

fn as_shipped(setup: Setup) -> Setup {
    setup
}

/// Holds every POST without an id until the test has looked.
fn held(gate: &Gate) -> impl Fn(&Request) -> Reply + Clone + Send + Sync + use<> {
    let gate = gate.clone();
    move |request| match request.session() {
        None => Reply::as_told(request).held_by(&gate),
        Some(_) => Reply::as_told(request),
    }
}

/// Sends a POST without an id. While the server holds the answer, checks how many places are taken.
async fn places_taken_by(stage: &Stage, gate: &Gate, message: &Value, places: u64) {
    let reached = stage.server.count(stage.path);
    let (client, call) = (stage.client.clone(), Call::post(message));
    let answer = tokio::spawn(async move { client.send(call).await });
    gateway::poll::eventually(gateway::poll::SOON, "the request reaches the server", || {
        stage.server.count(stage.path) == reached + 1
    })
    .await;
    stage.expect("reserved", places).await;
    assert_eq!(stage.stat("active"), 0);
    gate.let_one_through();
    assert!(answer.await.expect("an answer").status < 300);
}

/// As `everywhere`, but the scenarios run one after the other, so that each has the gate to itself.
async fn one_at_a_time(setup: impl Fn(Setup) -> Setup, scenario: impl AsyncFn(&Stage, &Gate)) {
    for workers in [1, 2] {
        let gate = Gate::closed();
        let server = Arc::new(OddServer::start(held(&gate)).await);
        let gateway = Arc::new(setup(Setup::new(server.address()).workers(workers)).start().await);
        for http in BOTH {
            let client = gateway.client(http);
            let (gateway, server) = (gateway.clone(), server.clone());
            scenario(
                &Stage {
                    gateway,
                    server,
                    client,
                    http,
                    endpoint: "mcp",
                    path: "/mcp",
                },
                &gate,
            )
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn initialize_holds_a_place_until_its_answer_makes_it_a_session() {
    one_at_a_time(as_shipped, async |stage, gate| {
        let created = stage.stat("created");
        places_taken_by(stage, gate, &message::initialize(1), 1).await;
        stage.expect("active", 1).await;
        assert_eq!((stage.stat("reserved"), stage.stat("created")), (0, created + 1));
        let session = format!("session-{}", stage.last_seen().number);
        stage.expect_alive(&session).await;
        assert_eq!(stage.client.delete(&session).await.status, 200);
        stage.expect("active", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_by_sse_opens_a_session_too() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let answer = stage
            .client
            .send(Call::initialize().reply("sse").mint(stage.endpoint))
            .await;
        assert_eq!(answer.session(), Some(stage.endpoint));
        assert_eq!(answer.messages().len(), 1);
        stage.expect("created", 1).await;
        stage.expect("active", 1).await;
        stage.expect("reserved", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_opened_by_an_answer_that_breaks_off_is_a_session() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let stream = stage
            .client
            .open(Call::initialize().reply("broken").mint(stage.endpoint))
            .await;
        assert_eq!(stream.status, 200);
        assert_eq!(stream.ended().await, !tells_of_broken_answers(stage.http));
        stage.expect("active", 1).await;
        stage.expect("reserved", 0).await;
        stage.expect_alive(stage.endpoint).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_request_without_an_id_may_open_a_session() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let answer = stage
            .client
            .send(Call::tools_list().reply("200").mint(stage.endpoint))
            .await;
        assert_eq!(answer.status, 200);
        stage.expect("created", 1).await;
        stage.expect("active", 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_message_without_an_id_takes_a_place() {
    one_at_a_time(as_shipped, async |stage, gate| {
        let batch = json!([
            message::notification("notifications/cancelled"),
            message::response(3)
        ]);
        places_taken_by(stage, gate, &message::initialized(), 1).await;
        places_taken_by(stage, gate, &message::response(3), 1).await;
        places_taken_by(stage, gate, &batch, 1).await;
        places_taken_by(stage, gate, &message::tools_list(1), 1).await;
        stage.expect("reserved", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn judged_by_headers_any_post_without_an_id_takes_a_place() {
    one_at_a_time(Setup::admission_by_headers, async |stage, gate| {
        places_taken_by(stage, gate, &message::initialized(), 1).await;
        stage.expect("reserved", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn judged_by_headers_sessions_open_and_end_as_ever() {
    everywhere(Setup::admission_by_headers, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        stage.expect("active", 1).await;
        stage.expect_alive(&session).await;
        assert_eq!(stage.client.delete(&session).await.status, 200);
        stage.expect("ended.reason.client_delete", 1).await;
        stage.expect("active", 0).await;
        stage.expect_gone(&session).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn initialize_inside_a_session_is_a_request_like_any_other() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let again = Call::initialize().session(&session).reply("200").mint(&session);
        assert_eq!(stage.client.send(again).await.status, 200);
        assert_eq!(
            (
                stage.stat("created"),
                stage.stat("active"),
                stage.stat("reserved")
            ),
            (1, 1, 0)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_and_its_answer_pass_unchanged() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let body = b"{ \"jsonrpc\" :\"2.0\",\"method\":\"initialize\", \"id\":\"\\u0061\",\"params\":{\"x\":[1e3]} }";
        let call = Call::post_bytes(&body[..]).header("x-extra", b"\xfe\xff").header("authorization", "Bearer x");
        let answer = stage.client.send(call.reply("200").mint("An-Opaque=Id!~")).await;
        let seen = stage.last_seen();
        assert_eq!(&seen.body[..], body);
        assert_eq!(seen.headers["x-extra"].as_bytes(), b"\xfe\xff");
        assert_eq!(seen.header("authorization"), Some("Bearer x"));
        assert_eq!(answer.session(), Some("An-Opaque=Id!~"));
        assert_eq!(answer.json()["id"], "a");
    })
    .await;
}
