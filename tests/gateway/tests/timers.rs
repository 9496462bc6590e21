//! Sessions and reservations that time ends, and those that it must not end.

use std::time::{Duration, Instant};

use gateway::stage::Stage;
use gateway::{Call, Gate, Http, OddServer, Reply, Setup, everywhere, poll};
use serde_json::json;

/// The shortest idle timeout.
const IDLE: Duration = Duration::from_secs(1);

fn soon_idle(setup: Setup) -> Setup {
    setup.endpoint(json!({"idle_timeout": "1s"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends() {
    everywhere(soon_idle, Reply::as_told, |stage| async move {
        let opened = Instant::now();
        let session = stage.client.open_session().await;
        stage.expect("ended.reason.idle", 1).await;
        assert!(opened.elapsed() >= IDLE, "ended after {:?}", opened.elapsed());
        stage.expect("active", 0).await;
        stage.expect_gone(&session).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_keep_a_session_from_being_idle() {
    everywhere(soon_idle, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        let opened = Instant::now();
        while opened.elapsed() < IDLE * 3 {
            stage.expect_alive(&session).await;
            poll::throughout(IDLE / 3, "not idle", || stage.stat("ended.reason.idle") == 0).await;
        }
        stage.expect("ended.reason.idle", 1).await;
    })
    .await;
}

/// The session must live while `call` is open, and its idle time must start at the end of `call`.
async fn pins(stage: Stage, call: Call) {
    let session = stage.client.open_session().await;
    let (client, open) = (stage.client.clone(), call.session(&session));
    let reached = stage.server.count(stage.path);
    let held = tokio::spawn(async move {
        let answer = client.try_open(open).await;
        std::future::pending::<()>().await;
        drop(answer);
    });
    poll::eventually(poll::SOON, "it arrives", || {
        stage.server.count(stage.path) > reached
    })
    .await;
    poll::throughout(IDLE * 3, "alive", || stage.stat("ended.reason.idle") == 0).await;
    let left = Instant::now();
    held.abort();
    stage.expect("ended.reason.idle", 1).await;
    // Stamps have a resolution of one second.
    assert!(
        left.elapsed() + Duration::from_millis(50) >= IDLE,
        "ended {:?} after the end",
        left.elapsed()
    );
    stage.expect("active", 0).await;
    stage.expect("streams", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_keeps_a_session_from_being_idle() {
    everywhere(soon_idle, Reply::as_told, |stage| pins(stage, Call::get())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_keeps_a_session_from_being_idle() {
    everywhere(soon_idle, Reply::as_told, |stage| {
        pins(stage, Call::tools_list().reply("hang"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifetime_ends_a_session_in_use_and_closes_its_streams() {
    let short = |setup: Setup| setup.endpoint(json!({"idle_timeout": "1s", "max_lifetime": "2s"}));
    everywhere(short, Reply::as_told, |stage| async move {
        let opened = Instant::now();
        let session = stage.client.open_session().await;
        let mut stream = stage.client.open_stream(&session).await;
        stream.next().await.expect("an event").expect("whole");
        stage.expect("streams", 1).await;
        stage.expect("ended.reason.lifetime", 1).await;
        assert!(
            opened.elapsed() >= Duration::from_secs(2),
            "ended after {:?}",
            opened.elapsed()
        );
        // The filter closed it: the server would have kept it open.
        stream.ended().await;
        stage.expect("streams", 0).await;
        stage.expect("active", 0).await;
        assert_eq!(stage.stat("ended.reason.idle"), 0);
        stage.expect_gone(&session).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifetime_closes_streams_of_every_worker() {
    let server = OddServer::polite().await;
    let setup = Setup::new(server.address())
        .workers(2)
        .endpoint(json!({"idle_timeout": "1s", "max_lifetime": "2s"}));
    let gateway = setup.start().await;
    for http in gateway::client::BOTH {
        let session = gateway.client(http).open_session().await;
        // Each has a connection of its own, so that both workers hold some.
        let mut streams = Vec::new();
        for _ in 0..16 {
            let mut stream = gateway.client(http).open_stream(&session).await;
            stream.next().await.expect("an event").expect("whole");
            streams.push(stream);
        }
        gateway.expect("endpoint.mcp.streams", 16).await;
        for stream in streams {
            stream.ended().await;
        }
        gateway.expect("endpoint.mcp.streams", 0).await;
    }
    gateway.expect("endpoint.mcp.ended.reason.lifetime", 2).await;
}

/// Envoy executes what one callback asks of other streams one inside the other: to close them all at once would overflow
/// a worker's stack.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_streams_of_one_age_are_closed_within_seconds() {
    const STREAMS: u64 = 2_000;
    let server = OddServer::polite().await;
    let setup = Setup::new(server.address())
        .workers(2)
        .endpoint(json!({"idle_timeout": "0s", "max_lifetime": "30s"}));
    let gateway = setup.start().await;
    let session = gateway.client(Http::One).open_session().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(gateway.client(Http::One).open_stream(&session).await);
    }
    gateway.expect("endpoint.mcp.streams", STREAMS).await;
    gateway
        .expect_within(Duration::from_secs(60), "endpoint.mcp.ended.reason.lifetime", 1)
        .await;
    gateway
        .expect_within(Duration::from_secs(10), "endpoint.mcp.streams", 0)
        .await;
    gateway.expect("vm.active", 0).await;
    let next = gateway.client(Http::One).open_session().await;
    assert_eq!(gateway.client(Http::One).ping(&next).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initialization_without_an_answer_gives_its_place_back() {
    let one_place = |setup: Setup| setup.endpoint(json!({"max_sessions": 1, "initialize_timeout": "1s"}));
    everywhere(one_place, Reply::as_told, |stage| async move {
        let client = stage.client.clone();
        let waiting = tokio::spawn(async move { client.try_send(Call::initialize().reply("hang")).await });
        stage.expect("reserved", 1).await;
        stage.expect("reserved", 0).await;
        assert!(!waiting.is_finished(), "the request itself goes on");
        stage.client.open_session().await;
        stage.expect("active", 1).await;
        waiting.abort();
        // Given back once, not twice.
        stage.expect("reserved", 0).await;
        assert_eq!(stage.client.initialize().await.status, 429);
    })
    .await;
}

/// A server that answers an `initialize` with `x-late` only when the gate lets it, and all else at once.
async fn late(workers: u32, gate: &Gate) -> (OddServer, gateway::Gateway) {
    let gate = gate.clone();
    let server = OddServer::start(move |request| match request.header("x-late") {
        Some(_) => Reply::polite(request).held_by(&gate),
        None => Reply::polite(request),
    })
    .await;
    let fields = json!({"max_sessions": 1, "initialize_timeout": "1s"});
    let gateway = Setup::new(server.address())
        .workers(workers)
        .endpoint(fields)
        .start()
        .await;
    (server, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_takes_a_place_again_if_there_is_room() {
    for (workers, http) in [(1, gateway::Http::One), (2, gateway::Http::Two)] {
        let gate = Gate::closed();
        let (_server, gateway) = late(workers, &gate).await;
        let client = gateway.client(http);
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.send(Call::initialize().header("x-late", "yes")).await }
        });
        gateway.expect("endpoint.mcp.reserved", 1).await;
        gateway.expect("endpoint.mcp.reserved", 0).await;
        gate.open();
        let answer = waiting.await.expect("an answer");
        gateway.expect("endpoint.mcp.active", 1).await;
        assert_eq!(client.ping(answer.session().expect("an id")).await.status, 200);
        assert_eq!(client.initialize().await.status, 429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_without_room_loses_its_id() {
    for (workers, http) in [(1, gateway::Http::One), (2, gateway::Http::Two)] {
        let gate = Gate::closed();
        let (_server, gateway) = late(workers, &gate).await;
        let client = gateway.client(http);
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.send(Call::initialize().header("x-late", "yes")).await }
        });
        gateway.expect("endpoint.mcp.reserved", 1).await;
        gateway.expect("endpoint.mcp.reserved", 0).await;
        client.open_session().await;
        gate.open();
        let answer = waiting.await.expect("an answer");
        assert_eq!((answer.status, answer.session()), (200, None));
        gateway.expect("endpoint.mcp.active", 1).await;
        assert_eq!((gateway.stat("vm.active"), gateway.stat("vm.reserved")), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_can_be_off() {
    let off = |setup: Setup| setup.endpoint(json!({"idle_timeout": "0s", "max_lifetime": "0s"}));
    everywhere(off, Reply::as_told, |stage| async move {
        let session = stage.client.open_session().await;
        poll::throughout(IDLE * 2, "alive", || stage.stat("active") == 1).await;
        stage.expect_alive(&session).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_ended_sessions_is_measured() {
    let server = OddServer::polite().await;
    let flushing = |config: &mut serde_json::Value| config["stats_flush_interval"] = json!("0.2s");
    let gateway = Setup::new(server.address()).patch(flushing).start().await;
    let client = gateway.client(gateway::Http::One);
    let session = client.open_session().await;
    client.delete(&session).await;
    poll::eventually(poll::SOON, "a duration is counted", || {
        let samples = gateway.prometheus();
        samples
            .iter()
            .any(|sample| sample.name == "mcp_sessions_duration_count" && sample.value >= 1.0)
    })
    .await;
}
