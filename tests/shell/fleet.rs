//! One cap over several gateways: the whole filter on several workers of several gateways, and an etcd between them.

#[path = "../simulation/fleet/etcd.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the simulated fleets use all of it, from another program"
)]
mod etcd;
mod faults;
mod newcomers;
mod reloads;
mod world;

use proxy_wasm::types::Action;
use serde_json::json;

use self::world::{Gateway, World, finish, is_in, newcomer, with_cap, with_fleet};
use crate::costs::bills_of_live_session;
use crate::envoy::{Envoy, Worker, goes_on};
use crate::requests::{INITIALIZE, VIA_UPSTREAM, answer, head, of_session};

#[test]
fn a_gateway_has_a_share_before_its_first_newcomer_comes() {
    let world = World::new();
    let gateway = Gateway::new(&with_cap(100), 2);
    world.run(&[&gateway], 50);
    assert_eq!(world.places(), 6);
    let shown = ["limit", "share", "used", "gateways", "lost"].map(|name| gateway.fleet(name));
    assert_eq!(shown, [100, 6, 0, 1, 0]);
    let stream = newcomer(gateway.worker(0));
    assert!(is_in(&stream));
    stream.close();
}

#[test]
fn a_request_says_who_asks_and_waits_no_longer_than_a_sixth_of_the_lease() {
    let gateway = Gateway::new(
        &with_fleet(
            9,
            r#", "lease": "3s", "authority": "etcd:2379", "headers": {"authorization": "s3cret"}"#,
            "",
            "",
        ),
        1,
    );
    gateway.worker(0).tick();
    let callouts = gateway.worker(0).callouts();
    let [call] = &callouts[..] else {
        panic!("{callouts:?}")
    };
    assert_eq!((call.cluster.as_str(), call.timeout_ms), ("etcd", 500));
    for (name, value) in [
        (":method", "POST"),
        (":path", "/v3/lease/grant"),
        (":authority", "etcd:2379"),
        ("content-type", "application/json"),
        ("authorization", "s3cret"),
    ] {
        assert_eq!(call.header(name), Some(value));
    }
    assert_eq!(call.body, r#"{"TTL":"3"}"#);
    assert!(
        gateway
            .worker(0)
            .log()
            .iter()
            .all(|(_, line)| !line.contains("s3cret"))
    );
}

#[test]
fn gateways_fill_the_cap_and_never_exceed_it() {
    let world = World::new();
    let (a, b) = (world.gateway(&with_cap(40), 2), world.gateway(&with_cap(40), 2));
    let all = [&a, &b];
    let mut streams = Vec::new();
    for (gateway, count) in [(&a, 25), (&b, 30)] {
        for number in 0..count {
            streams.push(newcomer(gateway.worker(number % 2)));
        }
    }
    for _ in 0..30 {
        world.run(&all, 50);
        let there = streams.iter().filter(|stream| is_in(stream)).count();
        assert!(there <= 40, "{there}");
    }
    let refused: Vec<_> = streams.iter().filter_map(|stream| stream.reply()).collect();
    assert_eq!(refused.len(), 15);
    for reply in &refused {
        assert_eq!((reply.status, reply.header("retry-after")), (429, Some("5")));
        assert_eq!(
            reply.body,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Too many open sessions"}}"#
        );
    }
    assert_eq!(finish(streams, "all"), 40);
    let refusals = |gateway: &Gateway| gateway.envoy.stat("endpoint.mcp.rejected.reason.fleet_capacity");
    assert_eq!(refusals(&a) + refusals(&b), 15);
    assert_eq!(a.active() + b.active(), 40);
    world.run(&all, 2_000);
    assert_eq!(a.fleet("used") + b.fleet("used"), 40);
}

#[test]
fn a_place_that_a_session_leaves_is_usable_at_the_other_gateway_within_two_seconds() {
    let world = World::new();
    let (a, b) = (world.gateway(&with_cap(10), 1), world.gateway(&with_cap(10), 1));
    let streams = (0..10).map(|_| newcomer(a.worker(0))).collect::<Vec<_>>();
    world.run(&[&a, &b], 1_500);
    assert_eq!(finish(streams, "a"), 10);
    crate::requests::delete_session(a.worker(0), "a-1");
    world.run(&[&a, &b], 2_000);
    let stream = newcomer(b.worker(0));
    world.run(&[&a, &b], 250);
    assert!(is_in(&stream));
    stream.close();
}

#[test]
fn a_gateway_at_rest_sends_one_request_a_second() {
    let world = World::new();
    let (a, b) = (world.gateway(&with_cap(100), 2), world.gateway(&with_cap(100), 2));
    for number in 0..3 {
        world.open(&a, 0, &format!("s{number}"));
    }
    world.run(&[&a, &b], 3_000);
    world.calls.set(0);
    world.run(&[&a, &b], 30_000);
    assert!((55..=62).contains(&world.calls.get()), "{}", world.calls.get());
    assert_eq!((a.fleet("failed"), b.fleet("failed")), (0, 0));
}

/// Not even where the share is used up, newcomers wait, and it is this worker that speaks.
#[test]
fn a_request_of_a_live_session_makes_the_same_host_calls_as_without_a_fleet() {
    let without =
        r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body"}]}"#;
    let alone = Envoy::new().worker(without);
    crate::requests::open_session(&alone, "s");
    let expected = bills_of_live_session(&alone);
    let world = World::new();
    let gateway = world.gateway(&with_cap(1), 1);
    world.open(&gateway, 0, "s");
    assert_eq!(bills_of_live_session(gateway.worker(0)), expected);
    let stream = newcomer(gateway.worker(0));
    assert!(stream.is_held());
    assert_eq!(bills_of_live_session(gateway.worker(0)), expected);
    stream.close();
}

#[test]
fn a_newcomer_that_finds_a_place_makes_the_same_host_calls_as_without_a_fleet() {
    let bill = |worker: &Worker| {
        worker.calls();
        let stream = newcomer(worker);
        assert!(is_in(&stream));
        let calls = worker.calls();
        stream.close();
        calls
    };
    let without =
        r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body"}]}"#;
    let alone = Envoy::new().worker(without);
    let world = World::new();
    let gateway = world.gateway(&with_cap(100), 1);
    for worker in [&alone, gateway.worker(0)] {
        // The first request brings the configuration into force.
        newcomer(worker).close();
    }
    assert_eq!(bill(gateway.worker(0)), bill(&alone));
}

#[test]
fn the_own_caps_are_asked_first_and_refuse_at_once() {
    let world = World::new();
    let gateway = world.gateway(&with_fleet(1, "", "", r#", "max_sessions": 1"#), 1);
    let first = newcomer(gateway.worker(0));
    world.run(&[&gateway], 100);
    assert!(is_in(&first));
    let second = newcomer(gateway.worker(0));
    assert_eq!(second.reply().map(|reply| reply.status), Some(429));
    assert_eq!(gateway.envoy.stat("endpoint.mcp.rejected.reason.capacity"), 1);
    finish(vec![first, second], "s");
}

#[test]
fn under_evict_idle_an_idle_session_gives_way_once_the_fleet_is_full_and_not_before() {
    let world = World::new();
    let (a, b) = (
        world.gateway(&with_fleet(4, "", r#", "on_full": "evict_idle""#, ""), 1),
        world.gateway(&with_cap(4), 1),
    );
    let all = [&a, &b];
    let streams = (0..2).map(|_| newcomer(a.worker(0))).collect::<Vec<_>>();
    world.run(&all, 500);
    assert_eq!(finish(streams, "a"), 2);
    let (third, evicted) = (newcomer(a.worker(0)), "endpoint.mcp.ended.reason.evicted");
    world.run(&all, 500);
    assert_eq!(
        (is_in(&third), a.envoy.stat(evicted)),
        (true, 0),
        "the fleet has room"
    );
    let streams = vec![newcomer(b.worker(0)), newcomer(b.worker(0))];
    world.run(&all, 1_500);
    assert_eq!(finish(streams, "b"), 1);
    let fifth = newcomer(a.worker(0));
    assert!(fifth.is_held());
    world.run(&all, 1_100);
    assert_eq!((is_in(&fifth), a.envoy.stat(evicted)), (true, 1));
    finish(vec![third, fifth], "c");
    assert_eq!(a.active() + b.active(), 4);
}

#[test]
fn unknown_ids_wait_for_nothing_unless_they_come_with_an_initialize() {
    let world = World::new();
    let gateway = world.gateway(&with_cap(1), 1);
    let first = newcomer(gateway.worker(0));
    world.run(&[&gateway], 100);
    finish(vec![first], "s");
    let stream = gateway.worker(0).stream();
    stream.request(head("POST", &[("mcp-session-id", "unknown")]), false);
    assert!(goes_on(stream.body(crate::requests::CALL, true)));
    stream.answer(answer(200, &[]), VIA_UPSTREAM, true);
    stream.close();
    assert_eq!(gateway.envoy.stat("endpoint.mcp.untracked"), 1);
    let stream = gateway.worker(0).stream();
    stream.request(head("POST", &[("mcp-session-id", "other")]), false);
    assert_eq!(stream.body(INITIALIZE, true), Action::Pause);
    world.run(&[&gateway], 1_100);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(429));
    stream.close();
}

#[test]
fn an_id_that_a_server_mints_without_a_reservation_needs_a_place_of_the_share() {
    let world = World::new();
    let gateway = world.gateway(&with_cap(1), 1);
    world.open(&gateway, 0, "s");
    let stream = of_session(gateway.worker(0), "POST", "s");
    stream.answer(answer(200, &[("mcp-session-id", "t")]), VIA_UPSTREAM, false);
    let (_, head) = stream.heads();
    assert_eq!(head, answer(200, &[]));
    stream.close();
    assert_eq!(gateway.active(), 1);
}

#[test]
fn the_status_view_shows_the_fleet() {
    let world = World::new();
    let (a, b) = (world.gateway(&with_cap(100), 1), world.gateway(&with_cap(100), 1));
    world.open(&a, 0, "s");
    world.run(&[&a, &b], 2_000);
    assert!(a.worker(0).configure(r#"{"status": {"path": "/s"}}"#));
    let document = crate::status::document(a.worker(0));
    let fleet = &document["fleet"];
    for (field, expected) in [("limit", json!(100)), ("used", json!(1)), ("lost", json!(false))] {
        assert_eq!(fleet[field], expected, "{field}");
    }
    assert_eq!(fleet["share"], a.fleet("share"));
    let gateways = fleet["gateways"].as_array().unwrap();
    let mut shares: Vec<_> = gateways
        .iter()
        .map(|gateway| gateway["share"].as_u64().unwrap())
        .collect();
    let mut in_etcd: Vec<_> = world.shares().iter().map(|share| share.places).collect();
    shares.sort_unstable();
    in_etcd.sort_unstable();
    assert_eq!(shares, in_etcd);
    let own: Vec<_> = gateways
        .iter()
        .filter(|gateway| gateway["self"] == true)
        .collect();
    assert_eq!((own.len(), &own[0]["share"]), (1, &json!(a.fleet("share"))));
    assert_eq!(own[0]["waiting"], false);
}
