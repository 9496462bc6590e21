//! Open streams: their caps over all workers and configurations, their lifetime, their numbers.

use std::time::Duration;

use crate::envoy::{Envoy, Stream, Worker, goes_on};
use crate::requests::{VIA_UPSTREAM, answer, closed_by_each_tick, head, initialize, open_session};

const CAPPED: &str =
    r#"{"filter_state": [], "endpoints": [{"name": "mcp", "path": "/mcp", "max_streams": 3}]}"#;
const CAPPED_BY_BODY: &str = r#"{"filter_state": [], "endpoints": [
    {"name": "mcp", "path": "/mcp", "max_streams": 1, "admission": "body"}]}"#;

const LISTEN: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{}}"#;

/// A GET that the filter lets in; `None` if it refuses it.
fn get(worker: &Worker) -> Option<Stream<'_>> {
    let stream = worker.stream();
    if goes_on(stream.request(head("GET", &[]), true)) {
        return Some(stream);
    }
    let reply = stream.reply().unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("5")));
    stream.close();
    None
}

fn open(worker: &Worker) -> Option<Stream<'_>> {
    let stream = get(worker)?;
    stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
    Some(stream)
}

#[test]
fn the_cap_holds_over_all_workers_and_the_gauges_show_it() {
    let envoy = Envoy::new();
    let workers = [envoy.worker(CAPPED), envoy.worker(CAPPED)];
    let opened: Vec<_> = (0..9).filter_map(|turn| open(&workers[turn % 2])).collect();
    assert_eq!(opened.len(), 3);
    let stat = |name: &str| envoy.stat(&format!("endpoint.mcp.{name}"));
    assert_eq!((stat("streams"), stat("streams_limit")), (3, 3));
    assert_eq!(stat("rejected.reason.streams"), 6);
    envoy.wait(Duration::from_millis(250));
    opened.into_iter().for_each(|stream| drop(stream.close()));
    assert_eq!((stat("streams"), stat("stream_duration")), (0, 3));
    assert!(open(&workers[0]).is_some());
}

#[test]
fn a_dead_worker_gives_its_streams_back_within_a_minute() {
    let envoy = Envoy::new();
    let [dead, alive] = [envoy.worker(CAPPED), envoy.worker(CAPPED)];
    let _lost: Vec<_> = (0..3).filter_map(|_| open(&dead)).collect();
    dead.tick();
    for _ in 0..29 {
        envoy.wait(Duration::from_secs(1));
        alive.tick();
        assert!(get(&alive).is_none());
    }
    for _ in 0..31 {
        envoy.wait(Duration::from_secs(1));
        alive.tick();
    }
    assert_eq!(envoy.stat("endpoint.mcp.streams"), 0);
    assert!(get(&alive).is_some());
}

#[test]
fn streams_of_a_draining_listener_count_and_the_newest_cap_holds() {
    let envoy = Envoy::new();
    let worker = envoy.worker(CAPPED);
    let old: Vec<_> = (0..2).filter_map(|_| open(&worker)).collect();
    assert!(worker.configure(&CAPPED.replace("\"max_streams\": 3", "\"max_streams\": 4")));
    let new: Vec<_> = (0..9).filter_map(|_| open(&worker)).collect();
    assert_eq!((old.len(), new.len()), (2, 2));
    assert_eq!(envoy.stat("endpoint.mcp.streams_limit"), 4);
    for _ in 0..100 {
        envoy.wait(Duration::from_secs(1));
        worker.tick();
    }
    assert!(open(&worker).is_none());
    old.into_iter().for_each(|stream| drop(stream.close()));
    assert_eq!(envoy.stat("endpoint.mcp.streams"), 2);
    assert!(open(&worker).is_some());
}

#[test]
fn a_listening_message_of_a_live_session_is_refused_as_soon_as_it_is_known() {
    let envoy = Envoy::new();
    let worker = envoy.worker(CAPPED_BY_BODY);
    open_session(&worker, "s");
    let listen = |parts: &[&[u8]]| {
        let stream = worker.stream();
        stream.request(head("POST", &[("mcp-session-id", "s")]), false);
        let actions: Vec<_> = parts
            .iter()
            .map(|part| goes_on(stream.body(part, false)))
            .collect();
        (stream, actions)
    };
    let (first, passes) = listen(&[LISTEN]);
    assert_eq!(passes, [true]);
    let (second, passes) = listen(&[&LISTEN[..40], &LISTEN[40..]]);
    assert_eq!(passes, [true, false]);
    let reply = second.reply().unwrap();
    assert_eq!(
        reply.body,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"Too many open streams"}}"#
    );
    second.close();
    first.answer(answer(200, &[]), VIA_UPSTREAM, false);
    assert_eq!(envoy.stat("endpoint.mcp.streams"), 1);
    first.close();
    assert_eq!(envoy.stat("endpoint.mcp.streams"), 0);
    assert_eq!(envoy.stat("endpoint.mcp.active"), 1);
}

/// Envoy closes what one callback asks for one inside the other, on one stack.
#[test]
fn old_streams_are_closed_a_few_at_a_time_and_their_sessions_live_on() {
    let envoy = Envoy::new();
    let text = CAPPED.replace("\"max_streams\": 3", "\"max_stream_lifetime\": \"2m\"");
    let worker = envoy.worker(&text);
    let keeper = initialize_plain(&worker);
    let streams: Vec<_> = (0..100).filter_map(|_| open(&worker)).collect();
    envoy.wait(Duration::from_millis(119_999));
    worker.tick();
    assert!(!streams.iter().any(Stream::is_reset));
    envoy.wait(Duration::from_millis(1));
    assert_eq!(closed_by_each_tick(&envoy, &worker, streams), [32, 32, 32, 4]);
    keeper.close();
    let stat = |name: &str| envoy.stat(&format!("endpoint.mcp.{name}"));
    assert_eq!(
        (stat("active"), stat("streams"), stat("stream_duration")),
        (1, 0, 100)
    );
}

/// An `initialize` that is judged by its head, and whose answer goes on.
fn initialize_plain(worker: &Worker) -> Stream<'_> {
    let stream = initialize(worker);
    stream.answer(answer(200, &[("mcp-session-id", "s")]), VIA_UPSTREAM, false);
    stream
}
