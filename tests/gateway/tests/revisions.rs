//! Revisions without sessions: 2026-07-28 and later.

use gateway::message::STATELESS_REVISION;
use gateway::stage::expect_refused;
use gateway::{Call, Reply, Setup, everywhere, message};
use serde_json::json;

fn one_place(setup: Setup) -> Setup {
    setup.endpoint(json!({"max_sessions": 1}))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_opened_or_used() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        let modern = || {
            Call::tools_list()
                .revision(STATELESS_REVISION)
                .header("mcp-method", "tools/list")
        };
        // An id is taken off the answer …
        let answer = stage.client.send(modern().reply("200").mint("minted")).await;
        assert_eq!((answer.status, answer.session()), (200, None));
        // … and off the request, whether the table knows it or not.
        let session = stage.client.open_session().await;
        for id in ["unknown", session.as_str()] {
            assert_eq!(stage.client.send(modern().session(id)).await.status, 200);
            assert_eq!(stage.last_seen().session(), None);
        }
        stage.expect("active", 1).await;
        assert_eq!(
            (
                stage.stat("created"),
                stage.stat("adopted"),
                stage.stat("reserved")
            ),
            (1, 0, 0)
        );
        // A full gateway is full for sessions only.
        assert_eq!(stage.client.send(modern()).await.status, 200);
        assert_eq!(
            stage
                .client
                .send(
                    Call::tools_list()
                        .revision("2027-01-01")
                        .header("mcp-method", "tools/list")
                        .reply("400")
                )
                .await
                .status,
            400
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_in_them_ends_nothing() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let unknown_method = Call::tools_list()
            .revision(STATELESS_REVISION)
            .header("mcp-method", "tools/list")
            .session(&session)
            .reply("404");
        assert_eq!(stage.client.send(unknown_method).await.status, 404);
        stage.expect_alive(&session).await;
        assert_eq!(stage.stat("ended.reason.upstream_gone"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_is_no_way_around_the_cap() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        let disguised = || Call::initialize().revision(STATELESS_REVISION);
        let answer = stage
            .client
            .send(disguised().reply("200").mint(stage.endpoint))
            .await;
        assert_eq!(answer.status, 200);
        stage.expect("active", 1).await;
        let reached = stage.server.count(stage.path);
        expect_refused(
            &stage.client.send(disguised()).await,
            429,
            -32603,
            "Too many open sessions",
            Some(json!(1)),
        );
        assert_eq!(stage.server.count(stage.path), reached);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_date_or_an_earlier_one_is_none_of_them() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        for revision in [
            "2025-03-26",
            "2026-07-27",
            "1999-01-01",
            "9999",
            "2026-7-28",
            "2026-13-01x",
            "latest",
            "",
        ] {
            let call = Call::tools_list().session(&session).revision(revision);
            assert_eq!(stage.client.send(call).await.status, 200);
            assert_eq!(
                stage.last_seen().session(),
                Some(session.as_str()),
                "{revision:?}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_never_refused() {
    everywhere(one_place, Reply::as_told, |stage| async move {
        stage.client.open_session().await;
        let discover = || Call::post(&message::request(1, "server/discover", json!({})));
        let modern = discover()
            .revision(STATELESS_REVISION)
            .header("mcp-method", "server/discover");
        assert_eq!(stage.client.send(modern.reply("200")).await.status, 200);
        let answer = stage.client.send(discover().reply("200")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    })
    .await;
}
