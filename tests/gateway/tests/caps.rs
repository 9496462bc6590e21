//! The caps on sessions, and what happens at them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway::stage::{Stage, expect_refused};
use gateway::{Answer, Call, Gate, Gateway, Http, OddServer, Reply, Setup, everywhere, message, poll};
use serde_json::{Value, json};

const FULL: &str = "Too many open sessions";

fn expect_full(answer: &Answer, status: u16, retry_after: &str, id: Option<Value>) {
    expect_refused(answer, status, -32603, FULL, id);
    assert_eq!(answer.header("retry-after"), Some(retry_after));
}

async fn fill_two_places_and_free_one(stage: Stage) {
    let first = stage.client.open_session().await;
    stage.client.open_session().await;
    stage.expect("active", 2).await;
    let reached = stage.server.count(stage.path);
    expect_full(
        &stage.client.send(Call::post(&message::initialize("x"))).await,
        429,
        "5",
        Some(json!("x")),
    );
    assert_eq!(
        stage.server.count(stage.path),
        reached,
        "the refused one reached the server"
    );
    assert_eq!(stage.stat("rejected.reason.capacity"), 1);
    stage.expect_alive(&first).await;

    assert_eq!(stage.client.delete(&first).await.status, 200);
    stage.client.open_session().await;
    expect_full(&stage.client.initialize().await, 429, "5", Some(json!(1)));
    assert_eq!(stage.stat("active"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_endpoint_refuses_and_a_place_freed_is_free_at_once() {
    let two_places = |setup: Setup| setup.endpoint(json!({"max_sessions": 2}));
    everywhere(two_places, Reply::as_told, fill_two_places_and_free_one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn judged_by_headers_the_refusal_has_no_id() {
    let one_place = |setup: Setup| setup.endpoint(json!({"max_sessions": 1})).admission_by_headers();
    everywhere(one_place, Reply::as_told, |stage| async move {
        stage.client.open_session().await;
        let reached = stage.server.count(stage.path);
        expect_full(&stage.client.initialize().await, 429, "5", None);
        assert_eq!(
            stage.server.count(stage.path),
            reached,
            "the refused one reached the server"
        );
        stage.expect("rejected.reason.capacity", 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_retry_after_are_configured() {
    let busy = json!({"max_sessions": 1, "capacity_status": 503, "retry_after": "90s"});
    let setup = move |setup: Setup| setup.endpoint(busy.clone());
    everywhere(setup, Reply::as_told, |stage| async move {
        stage.client.open_session().await;
        expect_full(&stage.client.initialize().await, 503, "90", Some(json!(1)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initialization_in_flight_counts() {
    let one_place = |setup: Setup| setup.endpoint(json!({"max_sessions": 1}));
    everywhere(one_place, Reply::as_told, |stage| async move {
        let client = stage.client.clone();
        let waiting = tokio::spawn(async move { client.try_send(Call::initialize().reply("hang")).await });
        stage.expect("reserved", 1).await;
        expect_full(&stage.client.initialize().await, 429, "5", Some(json!(1)));
        waiting.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_would_take_a_place_is_refused() {
    let one_place = |setup: Setup| setup.endpoint(json!({"max_sessions": 1}));
    everywhere(one_place, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        stage.expect_alive(&session).await;
        assert_eq!(
            stage.client.post(&session, &message::initialized()).await.status,
            202
        );
        assert_eq!(
            stage.client.post(&session, &message::response(9)).await.status,
            202
        );
        assert_eq!(stage.client.send(Call::get().reply("405")).await.status, 405);
        assert_eq!(stage.stat("rejected.reason.capacity"), 0);
        // Some servers open a session for any message without an id.
        let without_an_id = stage.client.send(Call::post(&message::initialized())).await;
        expect_full(&without_an_id, 429, "5", None);
        stage.expect("rejected.reason.capacity", 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vm_cap_counts_all_endpoints() {
    for workers in [1, 2] {
        let server = OddServer::polite().await;
        let setup = Setup::new(server.address())
            .workers(workers)
            .endpoints(&["a", "b"]);
        let gateway = setup.top(json!({"max_sessions": 3})).start().await;
        let [a, b] = ["/a", "/b"].map(|path| gateway.client(Http::One).at(path));
        a.open_session().await;
        b.open_session().await;
        let third = b.open_session().await;
        for client in [&a, &b] {
            expect_full(&client.initialize().await, 429, "5", Some(json!(1)));
        }
        gateway.expect("vm.active", 3).await;
        assert_eq!(gateway.stat("vm.limit"), 3);
        assert_eq!(
            (
                gateway.stat("endpoint.a.active"),
                gateway.stat("endpoint.b.active")
            ),
            (1, 2)
        );
        assert_eq!(b.delete(&third).await.status, 200);
        a.open_session().await;
        gateway.expect("endpoint.a.active", 2).await;
        assert_eq!(gateway.stat("vm.active"), 3);
    }
}

/// The highest `active + reserved` while `running`. The two are read one after the other, active first. While no
/// session ends, the sum is never too high.
fn highest_load(gateway: &Gateway, running: &AtomicBool) -> u64 {
    let mut highest = 0;
    while running.load(Ordering::Relaxed) {
        let stats = gateway.stats();
        let stat = |name: &str| stats.get(name).copied().unwrap_or(0);
        highest = highest.max(stat("vm.active") + stat("vm.reserved"));
        highest = highest.max(stat("endpoint.mcp.active") + stat("endpoint.mcp.reserved"));
    }
    highest
}

async fn burst(gateway: &Gateway, http: Http) -> Vec<(u64, Answer)> {
    // Each has a connection of its own, so that both workers get their share.
    let requests = (0..200_u64).map(|id| {
        let client = gateway.client(http);
        tokio::spawn(async move { (id, client.send(Call::post(&message::initialize(id))).await) })
    });
    let requests: Vec<_> = requests.collect();
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.expect("an answer"));
    }
    answers
}

async fn two_hundred_for_fifty_places(http: Http) {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = OddServer::start(move |request| Reply::polite(request).held_by(&held)).await;
    let setup = Setup::new(server.address())
        .workers(2)
        .top(json!({"max_sessions": 50}));
    let gateway = Arc::new(setup.start().await);
    let running = Arc::new(AtomicBool::new(true));
    let sampler = tokio::task::spawn_blocking({
        let (gateway, running) = (gateway.clone(), running.clone());
        move || highest_load(&gateway, &running)
    });
    let opener = tokio::spawn({
        let gateway = gateway.clone();
        async move {
            // The answers flow only after all requests were judged, so that no place becomes free in between.
            gateway.expect("endpoint.mcp.rejected.reason.capacity", 150).await;
            gate.open();
        }
    });
    let answers = burst(&gateway, http).await;
    opener.await.expect("150 are refused");
    running.store(false, Ordering::Relaxed);

    let (opened, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answer)| answer.status == 200);
    assert_eq!((opened.len(), refused.len()), (50, 150));
    for (id, answer) in &refused {
        expect_full(answer, 429, "5", Some(json!(id)));
    }
    assert_eq!(server.count("/mcp"), 50, "a refused one reached the server");
    assert_eq!(
        sampler.await.expect("samples"),
        50,
        "the highest of active + reserved"
    );
    gateway.expect("vm.active", 50).await;
    assert_eq!(
        (gateway.stat("vm.reserved"), gateway.stat("endpoint.mcp.created")),
        (0, 50)
    );

    let client = gateway.client(http);
    assert_eq!(
        client.delete(opened[0].1.session().expect("an id")).await.status,
        200
    );
    client.open_session().await;
    expect_full(&client.initialize().await, 429, "5", Some(json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_for_fifty_places() {
    for http in gateway::client::BOTH {
        two_hundred_for_fifty_places(http).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_shown() {
    let server = OddServer::polite().await;
    let setup = Setup::new(server.address())
        .top(json!({"max_sessions": 77}))
        .endpoint(json!({"max_sessions": 33}));
    let gateway = setup.start().await;
    assert_eq!(
        (gateway.stat("vm.limit"), gateway.stat("endpoint.mcp.limit")),
        (77, 33)
    );
    poll::throughout(
        std::time::Duration::from_millis(300),
        "nothing is counted",
        || gateway.stat("vm.active") + gateway.stat("vm.reserved") == 0,
    )
    .await;
}
