//! `terminate_upstream`: the filter tells the server, once, of each session that it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway::listeners::{Listeners, from_file};
use gateway::{Call, Gateway, Http, OddServer, Reply, Request, Setup, message, poll};
use serde_json::{Value, json};

/// Ends sessions after a second, and tells the server, with these further fields.
fn telling(server: &OddServer, fields: Value) -> Setup {
    let mut upstream = json!({"cluster": "mcp", "authority": "mcp.internal", "timeout": "1s"});
    gateway::setup::merge(&mut upstream, fields);
    Setup::new(server.address())
        .workers(2)
        .endpoint(json!({"idle_timeout": "1s", "terminate_upstream": upstream}))
}

/// The filter's own DELETEs that have reached the server.
fn deletes(server: &OddServer, path: &str) -> Vec<Request> {
    let of_filter =
        |request: &Request| request.method == "DELETE" && request.header("x-envoy-internal").is_some();
    server.seen(path).into_iter().filter(of_filter).collect()
}

/// How many of the filter's DELETEs had each id.
fn deleted(server: &OddServer) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for request in deletes(server, "/mcp") {
        let id = request.session().unwrap_or_default().to_owned();
        *times.entry(id).or_default() += 1;
    }
    times
}

/// `sent`, `ok`, `gone`, `unsupported`, `denied` and `failed`.
fn counted(gateway: &Gateway) -> [u64; 6] {
    ["sent", "ok", "gone", "unsupported", "denied", "failed"]
        .map(|name| gateway.stat(&format!("upstream_delete.{name}")))
}

async fn expect_counted(gateway: &Gateway, expected: [u64; 6], within: Duration) {
    let came = poll::until(within, || (counted(gateway) == expected).then_some(())).await;
    assert!(came.is_some(), "{:?} is not {expected:?}", counted(gateway));
}

async fn sessions(gateway: &Gateway, number: usize) -> Vec<String> {
    let client = gateway.client(Http::Two);
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.push(client.open_session().await);
    }
    ids
}

fn every_id_once(ids: &[String]) -> BTreeMap<String, usize> {
    ids.iter().map(|id| (id.clone(), 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_goes_idle_ends_at_the_server_too() {
    let server = OddServer::polite().await;
    let headers = json!({"headers": {"authorization": "Bearer service"}});
    let gateway = telling(&server, headers).start().await;
    let client = gateway.client(Http::One);
    let session = client.open_session().await;
    client
        .send(
            Call::post(&message::initialized())
                .session(&session)
                .revision("2025-06-18"),
        )
        .await;
    expect_counted(&gateway, [1, 1, 0, 0, 0, 0], poll::SOON).await;
    let delete = deletes(&server, "/mcp").pop().expect("it came");
    assert_eq!(delete.session(), Some(&*session));
    assert_eq!(delete.header("mcp-protocol-version"), Some("2025-06-18"));
    assert_eq!(delete.header("authorization"), Some("Bearer service"));
    assert_eq!(delete.header("host"), Some("mcp.internal"));
    assert!(delete.body.is_empty());
    let answer = client.ping(&session).await;
    gateway::stage::expect_refused(&answer, 404, -32001, "Session not found", None);
    poll::throughout(Duration::from_secs(2), "no second DELETE", || {
        deleted(&server) == every_id_once(std::slice::from_ref(&session))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_age_ends_at_the_path_it_was_opened_at() {
    let server = OddServer::polite().await;
    let ends = json!({"path": "/all/*", "idle_timeout": "0s", "max_lifetime": "1s"});
    let gateway = telling(&server, json!({})).endpoint(ends).start().await;
    let client = gateway.client(Http::One).at("/all/of/it?key=secret");
    client.open_session().await;
    expect_counted(&gateway, [1, 1, 0, 0, 0, 0], poll::SOON).await;
    let delete = deletes(&server, "/all/of/it").pop().expect("it came");
    assert_eq!(delete.header("mcp-protocol-version"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_client_has_deleted_is_not_mentioned() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = telling(&server, json!({})).start().await;
    let client = gateway.client(Http::One);
    let session = client.open_session().await;
    assert_eq!(client.delete(&session).await.status, 200);
    gateway.expect("endpoint.mcp.ended.reason.client_delete", 1).await;
    poll::throughout(Duration::from_secs(3), "no DELETE", || {
        deletes(&server, "/mcp").is_empty() && counted(&gateway) == [0; 6]
    })
    .await;
}

/// An id that the server answers with 404 is of no use to anyone; another replica may still have the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_says_it_has_lost_is_ended_there() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = telling(&server, json!({})).start().await;
    let client = gateway.client(Http::One);
    let session = client.open_session().await;
    client
        .send(Call::tools_list().session(&session).reply("404"))
        .await;
    gateway.expect("endpoint.mcp.ended.reason.upstream_gone", 1).await;
    gateway.expect("upstream_delete.sent", 1).await;
    poll::eventually(poll::SOON, "one DELETE", || deletes(&server, "/mcp").len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_the_server_hears_nothing() {
    let server = OddServer::polite().await;
    let quiet = telling(&server, json!({})).endpoint(json!({"terminate_upstream": null}));
    let gateway = quiet.start().await;
    sessions(&gateway, 3).await;
    gateway.expect("endpoint.mcp.ended.reason.idle", 3).await;
    assert!(deletes(&server, "/mcp").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_no_client_can_use_ends_at_once() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = telling(&server, json!({})).start().await;
    let client = gateway.client(Http::One);
    let modern = Call::tools_list()
        .revision("2026-07-28")
        .header("mcp-method", "tools/list")
        .mint("unwanted");
    let answer = client.send(modern).await;
    assert_eq!((answer.status, answer.session()), (200, None));
    expect_counted(&gateway, [1, 1, 0, 0, 0, 0], poll::SOON).await;
    assert_eq!(deleted(&server), every_id_once(&["unwanted".to_owned()]));
}

/// How a DELETE with this answer is counted, and how often the server gets it.
async fn answered(reply: fn() -> Reply, expected: [u64; 6], times: usize) {
    let server = OddServer::start(move |request| match request.method.as_str() {
        "DELETE" => reply(),
        _ => Reply::polite(request),
    })
    .await;
    let gateway = telling(&server, json!({})).start().await;
    let ids = sessions(&gateway, 1).await;
    expect_counted(&gateway, expected, Duration::from_secs(60)).await;
    poll::throughout(Duration::from_secs(7), "that was all", || {
        counted(&gateway) == expected
    })
    .await;
    assert_eq!(deleted(&server), BTreeMap::from([(ids[0].clone(), times)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_final_but_for_those_that_say_later() {
    tokio::join!(
        answered(|| Reply::status(204), [1, 1, 0, 0, 0, 0], 1),
        answered(|| Reply::status(404), [1, 0, 1, 0, 0, 0], 1),
        answered(|| Reply::status(405), [1, 0, 0, 1, 0, 0], 1),
        answered(|| Reply::status(401), [1, 0, 0, 0, 1, 0], 1),
        answered(|| Reply::status(403), [1, 0, 0, 0, 1, 0], 1),
        answered(|| Reply::status(400), [1, 0, 0, 0, 0, 1], 1),
        answered(|| Reply::status(500), [1, 0, 0, 0, 0, 1], 3),
        answered(
            || Reply::status(200).held_by(&gateway::Gate::closed()),
            [1, 0, 0, 0, 0, 1],
            3
        ),
        answered(Reply::reset, [1, 0, 0, 0, 0, 1], 3),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_harms_nothing() {
    let server = OddServer::polite().await;
    let gateway = telling(&server, json!({"cluster": "nowhere"})).start().await;
    let ids = sessions(&gateway, 3).await;
    gateway.expect("endpoint.mcp.ended.reason.idle", 3).await;
    poll::eventually(poll::SOON, "it is said", || {
        gateway.envoy().log().contains("event=upstream_delete_not_sent")
    })
    .await;
    assert_eq!(counted(&gateway), [0; 6]);
    assert_eq!(gateway.client(Http::One).ping(&ids[0]).await.status, 404);
}

/// Opens sessions, one after the other, even while workers crash. Returns the ids that came back.
async fn open_anyhow(gateway: Arc<Gateway>, number: usize) -> Vec<String> {
    let client = gateway.client(Http::One);
    let mut ids = Vec::new();
    while ids.len() < number {
        match client.try_send(Call::initialize()).await {
            Ok(answer) if answer.status == 200 => ids.extend(answer.session().map(str::to_owned)),
            // The worker is down, and takes a moment to come back.
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    }
    ids
}

/// Crashes a worker about every second until told to stop. Returns how many.
async fn trap_workers(gateway: Arc<Gateway>, is_over: Arc<AtomicBool>) -> u64 {
    let mut rhythm = tokio::time::interval(Duration::from_secs(1));
    let mut traps = 0;
    while !is_over.load(Ordering::Relaxed) {
        rhythm.tick().await;
        let fatal = Call::get().header("x-trap-vm", "1");
        if let Ok(answer) = gateway.client(Http::One).try_send(fatal).await {
            traps += u64::from(answer.status == 503);
        }
    }
    traps
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_sent_once_whatever_happens_to_workers_and_listeners() {
    const CLIENTS: usize = 10;
    const EACH: usize = 500;
    let server = OddServer::polite().await;
    let setup = |limit: u32| {
        let module = json!({"vm_config": {"code": {"local": {"filename": gateway::setup::trap_module()}}}});
        telling(&server, json!({}))
            .workers(4)
            .top(json!({"max_sessions": limit}))
            .filter(module)
            .faults_expected()
    };
    let listeners = Listeners::new();
    listeners.write(&setup(20_000));
    let gateway = Arc::new(from_file(setup(20_000), &listeners.file()).start().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let trapping = tokio::spawn(trap_workers(gateway.clone(), is_over.clone()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(open_anyhow(gateway.clone(), EACH)))
        .collect();
    let ok = || gateway.stat("upstream_delete.ok");
    poll::eventually(Duration::from_secs(60), "some have ended", || ok() > 500).await;
    listeners.write(&setup(30_000));
    gateway.expect("vm.limit", 30_000).await;
    let mut ids = Vec::new();
    for client in clients {
        ids.extend(client.await.expect("no panic"));
    }
    let seen = ok();
    poll::eventually(Duration::from_secs(60), "more have ended", || ok() > seen + 500).await;
    is_over.store(true, Ordering::Relaxed);
    let traps = trapping.await.expect("no panic");

    // Leases and claims of dead workers lapse after half a minute.
    poll::eventually(Duration::from_secs(150), "all are settled", || {
        let [sent, ok, .., failed] = counted(&gateway);
        gateway.stat("vm.active") == 0 && sent >= 4_500 && ok + failed >= ids.len() as u64
    })
    .await;
    let deleted = deleted(&server);
    let twice: Vec<_> = deleted.iter().filter(|(_, times)| **times > 1).collect();
    assert_eq!(twice, [], "sent twice");
    let missing = ids.iter().filter(|id| !deleted.contains_key(*id)).count() as u64;
    let counts = counted(&gateway);
    println!(
        "{} ended, {traps} traps, {missing} missing; sent, ok, gone, unsupported, denied, failed: {counts:?}",
        ids.len()
    );
    assert!(
        traps > 3 && missing <= counts[5],
        "{missing} missing of {counts:?}"
    );
}
