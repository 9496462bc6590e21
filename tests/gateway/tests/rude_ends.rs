//! Servers that answer 404: for a session that is gone, for a method that they do not have, or once and never again.

use gateway::stage::expect_refused;
use gateway::{Call, Reply, Request, Setup, Stage, everywhere, message};
use serde_json::json;

type Change = fn(Setup) -> Setup;

/// Both ways to let newcomers in.
const ADMISSIONS: [Change; 2] = [|setup| setup, Setup::admission_by_headers];

fn one_place(change: Change, unknown: &'static str) -> impl Fn(Setup) -> Setup {
    move |setup| change(setup).endpoint(json!({"max_sessions": 1, "unknown_session": unknown}))
}

/// Checks that the place of a session is free after the server answered 404 to this request, and that nothing of it
/// is remembered.
async fn lose(stage: &Stage, call: Call) -> String {
    let session = stage.client.open_session().await;
    let answer = stage.client.send(call.session(&session).reply("404")).await;
    assert_eq!(answer.status, 404);
    stage.expect("active", 0).await;
    session
}

fn calls() -> [Call; 2] {
    [Call::tools_list(), Call::delete()]
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_404_the_next_request_of_an_adopted_id_reaches_the_server() {
    for change in ADMISSIONS {
        everywhere(one_place(change, "adopt"), Reply::as_told, |stage| async move {
            for (turn, call) in (1..).zip(calls()) {
                let session = lose(&stage, call).await;
                stage.expect("ended.reason.upstream_gone", turn).await;
                stage.expect_alive(&session).await;
                assert_eq!(stage.last_seen().session(), Some(&*session));
                stage.expect("adopted", turn).await;
                stage.expect("active", 1).await;
                assert_eq!(stage.client.delete(&session).await.status, 200);
                stage.expect("active", 0).await;
            }
            assert_eq!((stage.stat("untracked"), stage.stat("reserved")), (0, 0));
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_404_a_rejected_id_is_unknown_and_its_place_is_free() {
    for change in ADMISSIONS {
        everywhere(one_place(change, "reject"), Reply::as_told, |stage| async move {
            for (turn, call) in (1..).zip(calls()) {
                let session = lose(&stage, call).await;
                stage.expect("ended.reason.upstream_gone", turn).await;
                let reached = stage.seen().len();
                let answer = stage.client.ping(&session).await;
                expect_refused(&answer, 404, -32001, "Session not found", None);
                assert_eq!(stage.seen().len(), reached);
                let newcomer = stage.client.open_session().await;
                assert_eq!(stage.client.delete(&newcomer).await.status, 200);
                stage.expect("active", 0).await;
            }
        })
        .await;
    }
}

/// A server without a route for GET.
fn without_get(request: &Request) -> Reply {
    match request.method.as_str() {
        "GET" => Reply::status(404),
        _ => Reply::polite(request),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_get_route_keeps_its_sessions() {
    for change in ADMISSIONS {
        for unknown in ["adopt", "reject"] {
            everywhere(one_place(change, unknown), without_get, |stage| async move {
                let session = stage.client.open_session().await;
                assert_eq!(
                    stage.client.post(&session, &message::initialized()).await.status,
                    202
                );
                for _ in 0..3 {
                    let get = stage.client.open_stream(&session).await;
                    assert_eq!(get.status, 404);
                    stage.expect_alive(&session).await;
                }
                assert_eq!(
                    (stage.stat("active"), stage.stat("ended.reason.upstream_gone")),
                    (1, 0)
                );
                assert_eq!(stage.client.delete(&session).await.status, 200);
                stage.expect("active", 0).await;
            })
            .await;
        }
    }
}
