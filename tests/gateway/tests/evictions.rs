//! `on_full: evict_idle`: which sessions are evicted, and which never are; and floods of initializations.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use gateway::client::BOTH;
use gateway::stage::{Stage, expect_refused};
use gateway::{Answer, Call, Gateway, Http, OddServer, Reply, Setup, everywhere, poll};
use serde_json::json;

fn evicting(setup: Setup) -> Setup {
    setup.endpoint(json!({"max_sessions": 3, "on_full": "evict_idle", "unknown_session": "reject"}))
}

/// Idle times have a resolution of one second. After this wait an event counts as later than those before.
async fn a_second_later(stage: &Stage, active: u64) {
    let span = Duration::from_millis(1100);
    poll::throughout(span, "the sessions live", || stage.stat("active") == active).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_idle_gives_up_its_place() {
    everywhere(evicting, Reply::as_told, |stage| async move {
        let mut sessions = Vec::new();
        for active in 1..=3 {
            sessions.push(stage.client.open_session().await);
            stage.expect("active", active).await;
            a_second_later(&stage, active).await;
        }
        // The first session is used again. Now the second has been idle longest.
        stage.expect_alive(&sessions[0]).await;
        for (opened, evicted) in [(1, 1), (2, 2), (3, 0)] {
            a_second_later(&stage, 3).await;
            sessions.push(stage.client.open_session().await);
            stage.expect("ended.reason.evicted", opened).await;
            stage.expect("active", 3).await;
            stage.expect_gone(&sessions[evicted]).await;
        }
        for session in &sessions[3..] {
            stage.expect_alive(session).await;
        }
        assert_eq!(stage.stat("rejected.reason.capacity"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_stays_and_the_newcomer_is_refused_when_all_are() {
    everywhere(evicting, Reply::as_told, |stage| async move {
        let mut sessions = Vec::new();
        let mut held = Vec::new();
        for _ in 0..3 {
            sessions.push(stage.client.open_session().await);
        }
        // Two of them get an open stream each, on connections of their own, so that any worker may have them.
        for session in &sessions[..2] {
            let client = stage.gateway.client(stage.http).at(stage.path);
            held.push(client.open(Call::get().session(session)).await);
        }
        let third = sessions[2].clone();
        let client = stage.gateway.client(stage.http).at(stage.path);
        let waiting = tokio::spawn(async move {
            client
                .try_send(Call::tools_list().session(&third).reply("hang"))
                .await
        });
        let in_flight = || {
            stage
                .seen()
                .iter()
                .filter(|seen| seen.header("x-reply") == Some("hang"))
                .count()
        };
        poll::eventually(poll::SOON, "the request is in flight", || in_flight() == 1).await;
        let refused = stage.client.initialize().await;
        expect_refused(&refused, 429, -32603, "Too many open sessions", Some(json!(1)));
        assert_eq!(stage.stat("ended.reason.evicted"), 0);

        // One session becomes idle, and is the one to evict.
        drop(held.remove(0));
        let end = Instant::now() + poll::SOON;
        while stage.client.initialize().await.status != 200 {
            assert!(Instant::now() < end, "no place becomes free");
        }
        stage.expect("ended.reason.evicted", 1).await;
        stage.expect_gone(&sessions[0]).await;
        stage.expect_alive(&sessions[1]).await;
        waiting.abort();
    })
    .await;
}

/// Sends an `initialize` over a connection of its own, so that either worker may get it.
async fn newcomer(gateway: &Gateway, number: usize) -> Answer {
    gateway.client(BOTH[number % 2]).initialize().await
}

/// How many connections each of two workers has had.
fn connections_of_workers(gateway: &Gateway) -> [u64; 2] {
    let all = gateway::stats::read(&gateway.envoy().admin("/stats?format=json&filter=worker_"));
    [0, 1].map(|worker| {
        let name = format!(".worker_{worker}.downstream_cx_total");
        let is_ours = |stat: &&String| stat.starts_with("listener.127.0.0.1") && stat.ends_with(&name);
        all.iter()
            .filter(|(stat, _)| is_ours(stat))
            .map(|(_, value)| value)
            .sum()
    })
}

/// A gateway of two workers with room for one session.
async fn with_room_for_one(server: &OddServer, fields: serde_json::Value) -> Gateway {
    Setup::new(server.address())
        .workers(2)
        .endpoint(json!({"max_sessions": 1, "on_full": "evict_idle", "unknown_session": "reject"}))
        .endpoint(fields)
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_newcomer_is_refused_while_the_session_is_idle_on_the_other_worker() {
    let server = OddServer::polite().await;
    let gateway = with_room_for_one(&server, json!({})).await;
    let mut sessions = Vec::new();
    let mut refused = 0;
    for number in 0..40 {
        let answer = newcomer(&gateway, number).await;
        sessions.extend(answer.session().map(str::to_owned));
        refused += usize::from(answer.status != 200);
        // The pace of the newcomers: each session is idle when the next one comes.
        let span = Duration::from_millis(30);
        poll::throughout(span, "one session lives", || gateway.stat("vm.active") <= 1).await;
    }
    println!(
        "connections of the workers: {:?}",
        connections_of_workers(&gateway)
    );
    assert_eq!((refused, sessions.len()), (0, 40));
    assert!(connections_of_workers(&gateway).iter().all(|count| *count >= 5));
    gateway.expect("endpoint.mcp.ended.reason.evicted", 39).await;
    gateway.expect("vm.active", 1).await;
    assert_eq!(gateway.stat("endpoint.mcp.rejected.reason.capacity"), 0);
    let last = sessions.pop().expect("40 sessions");
    assert_eq!(gateway.client(Http::One).ping(&last).await.status, 200);
    for session in &sessions {
        assert_eq!(gateway.client(Http::One).ping(session).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_place_until_it_was_idle_for_evict_after() {
    let server = OddServer::polite().await;
    let gateway = with_room_for_one(&server, json!({"evict_after": "2s"})).await;
    let mut session = gateway.client(Http::One).open_session().await;
    for number in 0..4 {
        // The use is over at the latest when its answer has come, and was not over before it was sent.
        let sent = Instant::now();
        assert_eq!(gateway.client(BOTH[number % 2]).ping(&session).await.status, 200);
        let answered = Instant::now();
        let mut refused = 0;
        session = loop {
            let asked = Instant::now();
            let answer = newcomer(&gateway, refused).await;
            if answer.status == 200 {
                assert!(sent.elapsed() >= EVICT_AFTER, "let in after {:?}", sent.elapsed());
                break answer.session().expect("an id").to_owned();
            }
            expect_refused(&answer, 429, -32603, "Too many open sessions", Some(json!(1)));
            let idle = asked.saturating_duration_since(answered);
            assert!(idle < EVICT_AFTER + STAMP, "refused after {idle:?}");
            refused += 1;
            let span = Duration::from_millis(20);
            poll::throughout(span, "the session lives", || gateway.stat("vm.active") == 1).await;
        };
        println!("let in after {:?}, {refused} refused before", answered.elapsed());
        assert!(refused > 0, "nobody came within the time");
    }
    assert_eq!(gateway.stat("endpoint.mcp.ended.reason.evicted"), 4);
    assert!(connections_of_workers(&gateway).iter().all(|count| *count >= 5));
}

/// `evict_after` of the test above.
const EVICT_AFTER: Duration = Duration::from_secs(2);

/// How exact the time is at which a session was used last.
const STAMP: Duration = Duration::from_secs(1);

fn by_user(setup: Setup) -> Setup {
    setup.endpoint(
        json!({"max_sessions": 3, "max_sessions_per_principal": 2, "on_full": "evict_idle",
        "principal": [{"header": "x-user-id"}], "unknown_session": "reject"}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_quota_a_principal_loses_only_its_own() {
    everywhere(by_user, Reply::as_told, |stage| async move {
        let open = async |user: &str| {
            let answer = stage
                .client
                .send(Call::initialize().header("x-user-id", user))
                .await;
            assert_eq!(answer.status, 200);
            answer.session().expect("an id").to_owned()
        };
        let ping = async |user: &str, session: &str| {
            let call = Call::tools_list().session(session).header("x-user-id", user);
            stage.client.send(call).await.status
        };
        let bobs = open("bob").await;
        let mut alices = Vec::new();
        for active in [2, 3, 3] {
            alices.push(open("alice").await);
            stage.expect("active", active).await;
            a_second_later(&stage, active).await;
        }
        stage.expect("ended.reason.evicted", 1).await;
        assert_eq!(ping("bob", &bobs).await, 200);
        assert_eq!(ping("alice", &alices[0]).await, 404);
        assert_eq!(ping("alice", &alices[1]).await, 200);
        a_second_later(&stage, 3).await;
        assert_eq!(ping("bob", &bobs).await, 200);
        // The endpoint is full and carol has no session, so the longest idle session of all is evicted.
        let carols = open("carol").await;
        assert_eq!(ping("alice", &alices[2]).await, 404);
        assert_eq!(ping("carol", &carols).await, 200);
        assert_eq!(ping("bob", &bobs).await, 200);
        stage.expect("active", 3).await;
    })
    .await;
}

/// Requests of established sessions, one after the other: how long each took, and how many failed.
async fn established(gateway: &Gateway, sessions: &[String], time: Duration) -> (Vec<Duration>, usize) {
    let client = gateway.client(Http::One);
    let (mut took, mut failures, start) = (Vec::new(), 0, Instant::now());
    for session in sessions.iter().cycle() {
        if start.elapsed() > time {
            break;
        }
        let begun = Instant::now();
        let call = Call::tools_list()
            .session(session)
            .header("x-forwarded-for", "192.0.2.1");
        failures += usize::from(client.send(call).await.status != 200);
        took.push(begun.elapsed());
    }
    took.sort();
    (took, failures)
}

/// Sends initializations from one address, as fast as it can.
async fn flood(gateway: &Gateway, http: Http) -> u64 {
    let client = gateway.client(http);
    let mut refused = 0;
    loop {
        let answer = client
            .send(Call::initialize().header("x-forwarded-for", "203.0.113.9"))
            .await;
        match answer.status {
            429 => refused += 1,
            200 => {}
            other => panic!("{other}"),
        }
        tokio::task::yield_now().await;
        REFUSED.store(refused, std::sync::atomic::Ordering::Relaxed);
    }
}

static REFUSED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_stops_at_its_quota() {
    let server = OddServer::polite().await;
    let setup = Setup::new(server.address()).workers(2);
    let quota =
        json!({"principal": [{"source_address": true}], "max_sessions_per_principal": 5, "max_sessions": 50});
    let setup = setup
        .endpoint(quota)
        .connection_manager(json!({"use_remote_address": true, "xff_num_trusted_hops": 1}));
    let gateway = std::sync::Arc::new(setup.start().await);
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let call = Call::initialize().header("x-forwarded-for", "192.0.2.1");
        sessions.push(
            gateway
                .client(Http::One)
                .send(call)
                .await
                .session()
                .expect("an id")
                .to_owned(),
        );
    }
    let (calm, failed_calm) = established(&gateway, &sessions, Duration::from_secs(2)).await;
    let floods = BOTH.map(|http| {
        let gateway = gateway.clone();
        tokio::spawn(async move { flood(&gateway, http).await })
    });
    let before = server.count("/mcp");
    let (busy, failed_busy) = established(&gateway, &sessions, Duration::from_secs(2)).await;
    let reached = server.count("/mcp") - before - busy.len();
    let newcomer = gateway
        .client(Http::Two)
        .send(Call::initialize().header("x-forwarded-for", "192.0.2.7"))
        .await;
    assert_eq!(newcomer.status, 200, "others have room");
    floods.iter().for_each(tokio::task::JoinHandle::abort);
    let p99 = |took: &[Duration]| took[took.len() * 99 / 100];
    println!(
        "established sessions: p99 {:?} of {} requests; beside a flood (more than {} refused): p99 {:?} of {}",
        p99(&calm),
        calm.len(),
        REFUSED.load(std::sync::atomic::Ordering::Relaxed),
        p99(&busy),
        busy.len(),
    );
    assert_eq!((failed_calm, failed_busy), (0, 0));
    assert!(reached <= 5, "{reached} reached the server");
    let distinct: HashSet<_> = sessions.iter().collect();
    assert_eq!(distinct.len(), 5);
}
