//! Newcomers that wait for a place.

use proxy_wasm::types::Action;

use super::world::{Gateway, Mood, World, finish, is_in, newcomer, with_cap, with_fleet};
use crate::envoy::{Stream, goes_on};
use crate::requests::{INITIALIZE, VIA_UPSTREAM, answer, at_path, head};

/// A gateway whose share is used up, while the fleet has room.
fn used_up(world: &World) -> Gateway {
    let gateway = world.gateway(&with_cap(32), 2);
    let streams = (0..2).map(|_| newcomer(gateway.worker(0))).collect();
    assert_eq!(finish(streams, "s"), 2);
    gateway
}

#[test]
fn a_newcomer_waits_for_the_share_to_grow_and_then_goes_on_as_it_came() {
    for index in [0, 1] {
        let world = World::new();
        let gateway = used_up(&world);
        let stream = newcomer(gateway.worker(index));
        assert!(stream.is_held() && stream.reply().is_none());
        let (before, _) = stream.heads();
        world.run(&[&gateway], 250);
        assert!(is_in(&stream), "{index}");
        assert_eq!(stream.heads().0, before);
        let minted = answer(200, &[("mcp-session-id", "n")]);
        stream.answer(minted, VIA_UPSTREAM, true);
        assert_eq!(stream.close().reply, None);
        assert_eq!(gateway.envoy.gauges(), [3, 0, 0]);
        assert_eq!(gateway.envoy.stat("endpoint.mcp.created"), 3);
    }
}

#[test]
fn what_it_leaves_for_logs_and_policies_is_as_of_any_other() {
    let world = World::new();
    let configuration = with_fleet(32, "", r#", "strict_json_rpc": true, "method_headers": true"#, "")
        .replace(r#""filter_state": [], "#, "");
    let gateway = world.gateway(&configuration, 1);
    let streams: Vec<_> = (0..3).map(|_| newcomer(gateway.worker(0))).collect();
    assert!(streams[2].is_held());
    world.run(&[&gateway], 250);
    let mut states = Vec::new();
    for stream in streams {
        let (head, _) = stream.heads();
        states.push((head, stream.close().filter_state));
    }
    assert_eq!(states[2], states[0]);
    assert_eq!(states[2].1["mcp.outcome"], "forwarded");
}

#[test]
fn the_first_newcomer_is_let_in_first() {
    let world = World::new();
    let gateway = used_up(&world);
    world.mood.set(Mood::Silent);
    let streams: Vec<_> = (0..3).map(|_| newcomer(gateway.worker(0))).collect();
    world.run(&[&gateway], 500);
    assert!(streams.iter().all(Stream::is_held));
    crate::requests::delete_session(gateway.worker(1), "s-1");
    world.run(&[&gateway], 50);
    assert_eq!(
        [0, 1, 2].map(|index| is_in(&streams[index])),
        [true, false, false]
    );
    finish(streams, "n");
}

#[test]
fn a_newcomer_waits_for_a_second_at_most() {
    let world = World::new();
    let gateway = used_up(&world);
    world.mood.set(Mood::Silent);
    let stream = newcomer(gateway.worker(0));
    world.run(&[&gateway], 960);
    assert!(stream.is_held() && stream.reply().is_none());
    world.run(&[&gateway], 80);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(429));
    let over = stream.close();
    assert_eq!(over.reply.unwrap().header("retry-after"), Some("5"));
    assert_eq!(gateway.envoy.gauges(), [2, 0, 0]);
}

#[test]
fn of_many_newcomers_a_few_are_answered_in_each_callback() {
    let world = World::new();
    let gateway = used_up(&world);
    world.mood.set(Mood::Silent);
    let streams: Vec<_> = (0..100).map(|_| newcomer(gateway.worker(0))).collect();
    let mut answered = 0;
    for _ in 0..250 {
        world.run(&[&gateway], 5);
        let now = streams.iter().filter(|stream| stream.reply().is_some()).count();
        assert!(now - answered <= 32, "{answered} {now}");
        answered = now;
    }
    assert_eq!(answered, 100);
    finish(streams, "n");
}

#[test]
fn a_client_that_leaves_takes_its_wait_along() {
    let world = World::new();
    let gateway = used_up(&world);
    world.mood.set(Mood::Silent);
    let (first, second) = (newcomer(gateway.worker(0)), newcomer(gateway.worker(0)));
    world.run(&[&gateway], 100);
    first.close();
    crate::requests::delete_session(gateway.worker(0), "s-1");
    world.run(&[&gateway], 50);
    assert!(is_in(&second));
    finish(vec![second], "n");
    assert_eq!(gateway.envoy.gauges(), [2, 0, 0]);
    // Nobody is counted as waiting any more: the share does not grow for those who have gone.
    world.mood.set(Mood::Well);
    world.run(&[&gateway], 3_000);
    assert_eq!(world.places(), 2 + 2);
}

#[test]
fn a_newcomer_whose_stream_is_gone_while_it_is_let_in_leaves_no_reservation() {
    let world = World::new();
    let gateway = used_up(&world);
    let stream = newcomer(gateway.worker(0));
    world.run(&[&gateway], 250);
    assert_eq!(gateway.envoy.gauges(), [2, 1, 0]);
    stream.close();
    assert_eq!(gateway.envoy.gauges(), [2, 0, 0]);
}

/// Under `admission: headers` the request waits at its head, while its body may come.
#[test]
fn a_body_that_comes_while_its_request_waits_goes_on_whole() {
    let parts: [&[&[u8]]; 4] = [
        &[INITIALIZE],
        &[&INITIALIZE[..9], &INITIALIZE[9..]],
        &[INITIALIZE, b""],
        &[],
    ];
    for parts in parts {
        let world = World::new();
        let gateway = world.gateway(
            &with_cap(16).replace(r#""admission": "body""#, r#""admission": "headers""#),
            1,
        );
        let first = gateway.worker(0).stream();
        assert!(goes_on(first.request(head("POST", &[]), false)));
        let stream = gateway.worker(0).stream();
        let has_no_body = parts.is_empty();
        assert_eq!(stream.request(head("POST", &[]), has_no_body), Action::Pause);
        for (index, part) in parts.iter().enumerate() {
            assert_eq!(stream.body(part, index + 1 == parts.len()), Action::Pause);
        }
        world.run(&[&gateway], 250);
        assert!(is_in(&stream), "{} parts", parts.len());
        finish(vec![first, stream], "s");
    }
}

#[test]
fn a_request_is_let_go_in_the_midst_of_its_body_by_its_own_callback() {
    let world = World::new();
    let gateway = world.gateway(
        &with_cap(16).replace(r#""admission": "body""#, r#""admission": "headers""#),
        1,
    );
    let first = gateway.worker(0).stream();
    first.request(head("POST", &[]), false);
    let stream = gateway.worker(0).stream();
    stream.request(head("POST", &[]), false);
    assert_eq!(stream.body(&INITIALIZE[..9], false), Action::Pause);
    world.run(&[&gateway], 250);
    assert!(stream.is_held());
    assert_eq!(gateway.envoy.gauges(), [0, 2, 0]);
    assert!(goes_on(stream.body(&INITIALIZE[9..], true)));
    finish(vec![first, stream], "s");
}

#[test]
fn a_request_that_ends_with_trailers_waits_as_any_other() {
    let world = World::new();
    let gateway = used_up(&world);
    let stream = gateway.worker(0).stream();
    stream.request(head("POST", &[]), false);
    stream.body(INITIALIZE, false);
    assert_eq!(stream.trailers(), Action::Pause);
    world.run(&[&gateway], 250);
    assert!(is_in(&stream));
    finish(vec![stream], "n");
}

#[test]
fn a_stream_of_http_sse_waits_for_its_place() {
    let world = World::new();
    let configuration = r#"{"filter_state": [], "fleet": {"cluster": "etcd", "name": "f", "max_sessions": 16},
        "endpoints": [{"name": "mcp", "path": "/mcp", "transport": "http_sse", "message_path": "/message"}]}"#;
    let gateway = world.gateway(configuration, 1);
    let sse = |stream: &Stream<'_>| {
        let fields = [("accept", "text/event-stream"), ("accept-encoding", "gzip")];
        stream.request(at_path(head("GET", &fields), "/mcp"), true)
    };
    let first = gateway.worker(0).stream();
    assert!(goes_on(sse(&first)));
    let stream = gateway.worker(0).stream();
    assert_eq!(sse(&stream), Action::Pause);
    world.run(&[&gateway], 250);
    assert!(is_in(&stream));
    let (request, _) = stream.heads();
    assert!(
        request.iter().all(|(name, _)| name != "accept-encoding"),
        "{request:?}"
    );
    stream.answer(
        answer(200, &[("content-type", "text/event-stream")]),
        VIA_UPSTREAM,
        false,
    );
    stream.answer_part(b"event: endpoint\ndata: /message?session_id=a\n\n");
    assert_eq!(gateway.envoy.gauges(), [1, 1, 1]);
    stream.close();
    first.close();
    assert_eq!(gateway.envoy.gauges(), [0, 0, 0]);
}
