//! Ids that the table does not hold.

use gateway::stage::expect_refused;
use gateway::{Call, Http, OddServer, Reply, Setup, everywhere, message};
use serde_json::json;

fn adopting(setup: Setup) -> Setup {
    setup.endpoint(json!({"unknown_session": "adopt"}))
}

fn rejecting(setup: Setup) -> Setup {
    setup.endpoint(json!({"unknown_session": "reject"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn adopted_once_the_server_has_answered_2xx() {
    everywhere(adopting, Reply::as_told, |stage| async move {
        let post = || Call::tools_list().session("from-before");
        for reply in ["400", "404", "500", "reset"] {
            stage.client.send(post().reply(reply)).await;
        }
        assert_eq!((stage.stat("adopted"), stage.stat("active")), (0, 0));
        for _ in 0..3 {
            assert_eq!(stage.client.send(post()).await.status, 200);
        }
        stage.expect("adopted", 1).await;
        assert_eq!(
            (
                stage.stat("active"),
                stage.stat("created"),
                stage.stat("reserved")
            ),
            (1, 0, 0)
        );

        let get = Call::get().session("from-before-too").reply("sse");
        assert!(stage.client.open(get).await.ended().await);
        stage.expect("adopted", 2).await;
        stage.expect("active", 2).await;

        assert_eq!(stage.client.delete("from-before").await.status, 200);
        stage.expect("ended.reason.client_delete", 1).await;
        stage.expect_gone("from-before").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_that_is_deleted_is_not_adopted() {
    everywhere(adopting, Reply::as_told, |stage| async move {
        assert_eq!(stage.client.delete("nobody").await.status, 200);
        assert_eq!(stage.last_seen().session(), Some("nobody"));
        assert_eq!((stage.stat("adopted"), stage.stat("active")), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_it_passes_untracked() {
    let one_place = |setup| adopting(setup).endpoint(json!({"max_sessions": 1}));
    everywhere(one_place, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        stage.expect_alive("from-before").await;
        stage.expect("untracked", 1).await;
        assert_eq!((stage.stat("adopted"), stage.stat("active")), (0, 1));
        stage.expect_alive(&session).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_before_the_server_hears_of_it() {
    everywhere(rejecting, Reply::as_told, |stage| async move {
        let calls = [
            Call::tools_list(),
            Call::post(&message::initialized()),
            Call::get(),
            Call::delete(),
        ];
        let mut bodies = Vec::new();
        for call in calls {
            let answer = stage.client.send(call.session("nobody")).await;
            expect_refused(&answer, 404, -32001, "Session not found", None);
            bodies.push(answer.body);
        }
        assert_eq!(stage.seen().len(), 0);
        stage.expect("rejected.reason.session_not_found", 4).await;

        // The answers for ended and unknown ids are the same bytes.
        let session = stage.client.open_session().await;
        assert_eq!(stage.client.delete(&session).await.status, 200);
        bodies.push(stage.client.ping(&session).await.body);
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initialize_with_an_unknown_id_is_a_newcomer() {
    everywhere(rejecting, Reply::as_told, |stage| async move {
        let answer = stage.client.send(Call::initialize().session("nobody")).await;
        expect_refused(&answer, 404, -32001, "Session not found", None);
        assert_eq!(stage.seen().len(), 0);
    })
    .await;
    let one_place = |setup| adopting(setup).endpoint(json!({"max_sessions": 1}));
    everywhere(one_place, Reply::as_told, |stage| async move {
        assert_eq!(
            stage
                .client
                .send(Call::initialize().session("nobody").reply("200"))
                .await
                .status,
            200
        );
        assert_eq!(stage.last_seen().session(), Some("nobody"));
        // A server that mints no id accepts the one that came.
        stage.expect("adopted", 1).await;
        assert_eq!(stage.stat("created"), 0);
        let newcomer = || Call::initialize().session("somebody").reply("200").mint("fresh");
        assert_eq!(stage.client.send(newcomer()).await.status, 429);
        stage.client.delete("nobody").await;
        stage.expect("active", 0).await;
        assert_eq!(stage.client.send(newcomer()).await.session(), Some("fresh"));
        stage.expect("created", 1).await;
        stage.expect_alive("fresh").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adopted_sessions_go_idle_like_others() {
    let setup = |setup| adopting(setup).endpoint(json!({"idle_timeout": "1s"}));
    everywhere(setup, Reply::as_told, |stage| async move {
        stage.expect_alive("from-before").await;
        stage.expect("adopted", 1).await;
        stage.expect("ended.reason.idle", 1).await;
        stage.expect_gone("from-before").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_a_restart_of_the_gateway() {
    let server = OddServer::polite().await;
    for (workers, http) in [(1, Http::One), (2, Http::Two)] {
        let before = Setup::new(server.address()).workers(workers).start().await;
        let session = before.client(http).open_session().await;
        before.expect("endpoint.mcp.active", 1).await;
        drop(before);
        let after = Setup::new(server.address()).workers(workers).start().await;
        assert_eq!(after.client(http).ping(&session).await.status, 200);
        after.expect("endpoint.mcp.adopted", 1).await;
        after.expect("endpoint.mcp.active", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_adopt_once() {
    everywhere(adopting, Reply::as_told, |stage| async move {
        let requests = (0..32).map(|_| {
            let client = stage.gateway.client(stage.http).at(stage.path);
            tokio::spawn(async move { client.ping("from-before").await.status })
        });
        for request in requests.collect::<Vec<_>>() {
            assert_eq!(request.await.expect("an answer"), 200);
        }
        stage.expect("adopted", 1).await;
        assert_eq!((stage.stat("active"), stage.stat("untracked")), (1, 0));
    })
    .await;
}
