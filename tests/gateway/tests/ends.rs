//! What ends a session, and what must not.

use gateway::envoy::tells_of_broken_answers;
use gateway::stage::Stage;
use gateway::{Call, Reply, Setup, everywhere, message};
use serde_json::json;

fn as_shipped(setup: Setup) -> Setup {
    setup
}

/// Sends a request in a fresh session. The request must end the session for this reason.
async fn ends(stage: &Stage, call: Call, reason: &str) {
    let name = format!("ended.reason.{reason}");
    let (ended, session) = (stage.stat(&name), stage.client.open_session().await);
    stage.expect("active", 1).await;
    stage
        .client
        .try_send(call.session(&session))
        .await
        .expect("an answer");
    stage.expect(&name, ended + 1).await;
    stage.expect("active", 0).await;
    stage.expect_gone(&session).await;
}

/// Sends a request in a fresh session. The session must stay alive.
async fn leaves_alive(stage: &Stage, call: Call) {
    let session = stage.client.open_session().await;
    // Whether the client gets an answer does not matter here.
    let _ = stage.client.try_send(call.session(&session)).await;
    stage.expect_alive(&session).await;
    assert_eq!(stage.stat("active"), 1);
    assert_eq!(stage.client.delete(&session).await.status, 200);
    stage.expect("active", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_answered_2xx_ends() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        for status in ["200", "202", "204"] {
            ends(&stage, Call::delete().reply(status), "client_delete").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_from_the_server_to_post_or_delete_frees_the_place_and_is_not_remembered() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        for (count, call) in (1..).zip([
            Call::delete(),
            Call::tools_list(),
            Call::post(&message::initialized()),
        ]) {
            let session = stage.client.open_session().await;
            stage.client.send(call.reply("404").session(&session)).await;
            stage.expect("ended.reason.upstream_gone", count).await;
            stage.expect("active", 0).await;
            // The server knows best: the next request reaches it.
            stage.expect_alive(&session).await;
            stage.expect("adopted", count).await;
            assert_eq!(stage.client.delete(&session).await.status, 200);
            stage.expect("active", 0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_to_a_get_leaves_alive() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        leaves_alive(&stage, Call::get().reply("404")).await;
        assert_eq!(stage.stat("ended.reason.upstream_gone"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_answered_otherwise_leaves_alive() {
    let impatient = |setup: Setup| setup.route(json!({"timeout": "0.3s"}));
    everywhere(impatient, Reply::as_told, |stage| async move {
        for reply in ["400", "401", "403", "405", "500", "503", "reset", "hang"] {
            leaves_alive(&stage, Call::delete().reply(reply)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_errors_leave_alive_on_any_method() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        for reply in ["400", "401", "403", "409", "429", "500", "503", "reset", "broken"] {
            leaves_alive(&stage, Call::tools_list().reply(reply)).await;
            leaves_alive(&stage, Call::get().reply(reply)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_of_envoys_own_leaves_alive() {
    let lost = json!({
        "match": {"prefix": "/", "headers": [{"name": "x-lost", "present_match": true}]},
        "direct_response": {"status": 404},
    });
    let setup = move |setup: Setup| setup.route_before(lost.clone());
    everywhere(setup, Reply::as_told, |stage| async move {
        leaves_alive(&stage, Call::tools_list().header("x-lost", "yes")).await;
        leaves_alive(&stage, Call::get().header("x-lost", "yes")).await;
        leaves_alive(&stage, Call::delete().header("x-lost", "yes")).await;
        assert_eq!(stage.stat("ended.reason.upstream_gone"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_its_delete_leaves_alive() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let reached = stage.server.count(stage.path);
        let delete = Call::delete().session(&session).reply("hang");
        let client = stage.client.clone();
        let waiting = tokio::spawn(async move { client.try_send(delete).await });
        gateway::poll::eventually(gateway::poll::SOON, "it arrives", || {
            stage.server.count(stage.path) > reached
        })
        .await;
        waiting.abort();
        stage.expect_alive(&session).await;
        assert_eq!(stage.stat("active"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stream_leaves_alive_from_whichever_side() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let mut stream = stage.client.open_stream(&session).await;
        stream.next().await.expect("an event").expect("whole");
        stage.expect("streams", 1).await;
        drop(stream);
        stage.expect("streams", 0).await;
        let get = || Call::get().session(&session);
        assert!(stage.client.open(get().reply("sse")).await.ended().await);
        let is_whole = stage.client.open(get().reply("broken")).await.ended().await;
        assert_eq!(is_whole, !tells_of_broken_answers(stage.http));
        stage.expect("streams", 0).await;
        stage.expect_alive(&session).await;
        assert_eq!(stage.stat("active"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_refused_alike_on_every_method() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        assert_eq!(stage.client.delete(&session).await.status, 200);
        let reached = stage.server.count(stage.path);
        let calls = [
            Call::tools_list(),
            Call::post(&message::initialized()),
            Call::get(),
            Call::delete(),
        ];
        for call in calls {
            let answer = stage.client.send(call.session(&session)).await;
            gateway::stage::expect_refused(&answer, 404, -32001, "Session not found", None);
        }
        assert_eq!(stage.server.count(stage.path), reached);
        stage.expect("rejected.reason.session_not_found", 4).await;
        assert_eq!(stage.stat("ended.reason.client_delete"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_minted_again_is_a_new_session() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let mint = || Call::initialize().reply("200").mint(stage.endpoint);
        for round in 1..=3 {
            assert_eq!(stage.client.send(mint()).await.status, 200);
            stage.expect("created", round).await;
            stage.expect_alive(stage.endpoint).await;
            assert_eq!(stage.client.delete(stage.endpoint).await.status, 200);
            stage.expect("active", 0).await;
            stage.expect_gone(stage.endpoint).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_twice_at_once_ends_once() {
    everywhere(as_shipped, Reply::as_told, |stage| async move {
        let other = stage.client.open_session().await;
        let session = stage.client.open_session().await;
        let deletes = (0..8).map(|_| {
            let (client, session) = (stage.client.clone(), session.clone());
            tokio::spawn(async move { client.delete(&session).await.status })
        });
        for delete in deletes.collect::<Vec<_>>() {
            let status = delete.await.expect("an answer");
            assert!(status == 200 || status == 404, "{status}");
        }
        stage.expect("ended.reason.client_delete", 1).await;
        stage.expect("active", 1).await;
        stage.expect_alive(&other).await;
    })
    .await;
}
