//! What goes wrong: workers that fail, an etcd that is away or says what is none of etcd's.

use std::time::Duration;

use super::world::{Gateway, Mood, World, finish, is_in, newcomer, with_cap, with_fleet};
use crate::requests::refusal;

/// Which of two workers speaks.
fn speaker(gateway: &Gateway) -> usize {
    let speakers: Vec<_> = (0..gateway.workers.len())
        .filter(|index| gateway.speaks(*index))
        .collect();
    assert_eq!(speakers.len(), 1, "{speakers:?}");
    speakers[0]
}

#[test]
fn another_worker_takes_over_within_two_seconds_and_goes_on_with_the_share() {
    let world = World::new();
    let mut gateway = world.gateway(&with_cap(100), 3);
    for number in 0..3 {
        world.open(&gateway, number, &format!("s{number}"));
    }
    world.run(&[&gateway], 2_000);
    let (share, grown) = (world.shares(), gateway.fleet("granted"));
    gateway.workers.remove(speaker(&gateway));
    let stream = newcomer(gateway.worker(0));
    assert!(is_in(&stream), "the share goes on");
    finish(vec![stream], "t");
    world.run(&[&gateway], 2_000);
    speaker(&gateway);
    let streams: Vec<_> = (0..20).map(|_| newcomer(gateway.worker(1))).collect();
    world.run(&[&gateway], 250);
    assert_eq!(finish(streams, "u"), 20);
    assert_eq!(world.shares().len(), 1);
    assert_eq!(world.shares()[0].gateway, share[0].gateway);
    assert!(gateway.fleet("granted") > grown);
    assert_eq!((gateway.logged("fleet_lost"), gateway.fleet("failed")), (0, 0));
}

#[test]
fn newcomers_of_other_workers_are_served_though_the_one_that_speaks_dies() {
    let world = World::new();
    let mut gateway = world.gateway(&with_cap(100), 2);
    // Its last request is never answered.
    world.mood.set(Mood::Silent);
    let other = 1 - speaker(&gateway);
    let waiting: Vec<_> = (0..8).map(|_| newcomer(gateway.worker(other))).collect();
    world.run(&[&gateway], 200);
    let held = waiting.iter().filter(|stream| stream.is_held()).count();
    assert_eq!(held, 2);
    drop(waiting);
    gateway.workers.remove(1 - other);
    world.mood.set(Mood::Well);
    world.run(&[&gateway], 1_900);
    let streams: Vec<_> = (0..8).map(|_| newcomer(gateway.worker(0))).collect();
    world.run(&[&gateway], 300);
    assert_eq!(finish(streams, "t"), 8);
}

#[test]
fn the_newcomers_of_a_dead_worker_are_forgotten() {
    let world = World::new();
    let mut gateway = world.gateway(&with_cap(1), 2);
    world.open(&gateway, 0, "s");
    let dies = 1 - speaker(&gateway);
    let stream = newcomer(gateway.worker(dies));
    world.run(&[&gateway], 100);
    assert!(stream.is_held());
    gateway.workers.remove(dies);
    world.run(&[&gateway], 1_500);
    world.calls.set(0);
    world.run(&[&gateway], 10_000);
    assert!(
        world.calls.get() <= 12,
        "{}: it looks for nobody",
        world.calls.get()
    );
}

#[test]
fn a_call_that_is_never_answered_is_given_up_and_its_answer_ignored() {
    let world = World::new();
    let gateway = world.gateway(&with_cap(100), 1);
    let streams: Vec<_> = (0..8).map(|_| newcomer(gateway.worker(0))).collect();
    gateway.worker(0).tick();
    let late = gateway.worker(0).callouts();
    assert_eq!(late.len(), 1);
    world.mood.set(Mood::Silent);
    world.run(&[&gateway], 900);
    gateway.worker(0).answer_callout_with(&late[0], 200, b"{}");
    world.mood.set(Mood::Well);
    world.run(&[&gateway], 2_500);
    finish(streams, "s");
    let streams: Vec<_> = (0..8).map(|_| newcomer(gateway.worker(0))).collect();
    world.run(&[&gateway], 250);
    assert_eq!(finish(streams, "t"), 8);
}

const ILL: [Mood; 7] = [
    Mood::Ill(503, "no healthy upstream"),
    Mood::Ill(0, ""),
    Mood::Ill(200, "<html>it works</html>"),
    Mood::Ill(200, "{}"),
    Mood::Ill(
        200,
        r#"{"error":"etcdserver: no leader","code":14,"message":"etcdserver: no leader"}"#,
    ),
    Mood::Half(50),
    Mood::Silent,
];

#[test]
fn what_is_no_answer_of_etcds_counts_as_none() {
    for mood in ILL {
        let world = World::new();
        let gateway = world.gateway(&with_fleet(100, r#", "lease": "3s""#, "", ""), 2);
        world.open(&gateway, 0, "s");
        world.mood.set(mood);
        // Within a lease nothing changes.
        world.run(&[&gateway], 1_000);
        let stream = newcomer(gateway.worker(1));
        assert!(is_in(&stream), "{mood:?}");
        finish(vec![stream], "t");
        assert_eq!(gateway.fleet("lost"), 0, "{mood:?}");
        world.run(&[&gateway], 4_000);
        assert_eq!(
            (gateway.fleet("lost"), gateway.logged("fleet_lost")),
            (1, 1),
            "{mood:?}"
        );
        assert!(gateway.fleet("failed") > 2, "{mood:?}");
        assert_eq!(refusal(gateway.worker(0), "s"), None);
        // Its own cap decides alone, and lets in at once.
        let streams: Vec<_> = (0..120).map(|_| newcomer(gateway.worker(0))).collect();
        assert!(streams.iter().all(is_in), "{mood:?}");
        finish(streams, "u");
        world.run(&[&gateway], 5_000);
        assert_eq!(gateway.logged("fleet_lost"), 1, "{mood:?}");
        world.mood.set(Mood::Well);
        world.run(&[&gateway], 3_000);
        assert_eq!(
            (gateway.fleet("lost"), gateway.logged("fleet_back")),
            (0, 1),
            "{mood:?}"
        );
        // It brings its sessions along, even over the cap, and nobody comes to them.
        assert_eq!(gateway.fleet("share"), 122);
        let stream = newcomer(gateway.worker(0));
        world.run(&[&gateway], 1_200);
        assert_eq!(stream.reply().map(|reply| reply.status), Some(429));
        stream.close();
    }
}

#[test]
fn a_gateway_that_is_lost_and_refuses_lets_nobody_in_and_ends_no_session() {
    let world = World::new();
    let configuration = with_fleet(
        100,
        r#", "when_lost": "refuse", "lease": "3s""#,
        r#", "on_full": "evict_idle", "capacity_status": 503"#,
        "",
    );
    let gateway = world.gateway(&configuration, 2);
    world.open(&gateway, 0, "s");
    world.mood.set(Mood::Ill(503, ""));
    world.run(&[&gateway], 5_000);
    assert_eq!(gateway.fleet("lost"), 1);
    let stream = newcomer(gateway.worker(1));
    world.run(&[&gateway], 50);
    assert_eq!(
        stream.reply().map(|reply| reply.status),
        Some(503),
        "it is told at once"
    );
    stream.close();
    assert_eq!(refusal(gateway.worker(0), "s"), None);
    assert_eq!(gateway.envoy.stat("endpoint.mcp.ended.reason.evicted"), 0);
    assert_eq!(
        gateway.envoy.stat("endpoint.mcp.rejected.reason.fleet_capacity"),
        1
    );
}

#[test]
fn a_lost_gateway_whose_speaker_dies_stays_lost_and_says_so_once() {
    let world = World::new();
    let mut gateway = Gateway::new(&with_cap(100), 3);
    world.mood.set(Mood::Ill(0, ""));
    world.run(&[&gateway], 2_000);
    assert_eq!(gateway.fleet("lost"), 1);
    let logged = gateway.logged("fleet_lost");
    gateway.workers.remove(speaker(&gateway));
    let stream = newcomer(gateway.worker(0));
    assert!(is_in(&stream));
    finish(vec![stream], "s");
    world.run(&[&gateway], 3_000);
    let stream = newcomer(gateway.worker(1));
    assert!(is_in(&stream));
    finish(vec![stream], "t");
    assert_eq!((logged, gateway.logged("fleet_lost")), (1, 0));
}

#[test]
fn a_gateway_that_slept_for_longer_than_its_lease_asks_before_it_lets_anybody_in() {
    let world = World::new();
    let gateway = world.gateway(&with_fleet(10, r#", "lease": "3s""#, "", ""), 1);
    world.open(&gateway, 0, "s");
    let other = world.gateway(&with_fleet(10, r#", "lease": "3s""#, "", ""), 1);
    let streams: Vec<_> = (0..20).map(|_| newcomer(other.worker(0))).collect();
    // The first gateway sleeps.
    world.run(&[&other], 5_000);
    finish(streams, "o");
    gateway.envoy.wait(Duration::from_millis(5_000));
    let stream = newcomer(gateway.worker(0));
    assert!(stream.is_held(), "its lease is over");
    world.run(&[&gateway, &other], 1_500);
    assert!(!is_in(&stream));
    stream.close();
    assert_eq!(gateway.active(), 1, "its session lives on");
}

#[test]
fn a_cluster_that_envoy_does_not_know_counts_as_no_answer() {
    let world = World::new();
    let gateway = Gateway::new(&with_cap(100), 1);
    for _ in 0..60 {
        gateway.worker(0).fail(crate::envoy::Fault {
            function: "http_call",
            after: 0,
            status: proxy_wasm::types::Status::BadArgument,
        });
        world.run(&[&gateway], 50);
    }
    assert_eq!((gateway.fleet("lost"), gateway.logged("fleet_lost")), (1, 1));
}

#[test]
fn a_table_that_the_host_has_lost_begins_a_new_gateway() {
    let world = World::new();
    let gateway = world.gateway(&with_cap(100), 2);
    gateway.envoy.shared_data(|data| *data = Default::default());
    world.run(&[&gateway], 3_000);
    assert!(gateway.fleet("share") > 0);
    let stream = newcomer(gateway.worker(0));
    assert!(is_in(&stream));
    finish(vec![stream], "s");
}
