//! Answers that are held until their bodies tell whether the server has lost the session.

use std::time::Duration;

use proxy_wasm::types::Action;

use crate::envoy::{Envoy, Stream, Worker, goes_on};
use crate::requests::{CALL, VIA_UPSTREAM, answer, of_session, open_session};

const CONFIGURATION: &str = r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body",
    "lost_session": [{"status": 400, "contains": "No valid session ID"}, {"status": 200, "contains": "gone"}]}]}"#;

const LOST: &[u8] = br#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#;
const OTHER: &[u8] =
    br#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"No valid session id"},"id":null}"#;

/// A worker with the live session `s`.
fn live(envoy: &Envoy) -> Worker {
    let worker = envoy.worker(CONFIGURATION);
    open_session(&worker, "s");
    worker
}

/// A request of the session whose answer has begun with this status, and is held.
fn held<'a>(worker: &'a Worker, status: u16, fields: &[(&str, &str)]) -> Stream<'a> {
    let stream = of_session(worker, "PUT", "s");
    let action = stream.answer_head(answer(status, fields), VIA_UPSTREAM, false);
    assert_eq!(action, Action::Pause);
    stream
}

/// How an answer ends.
#[derive(Clone, Copy, Debug)]
enum End {
    LastPart,
    EmptyPart,
    Trailers,
}

const ENDS: [End; 3] = [End::LastPart, End::EmptyPart, End::Trailers];

/// Sends the parts of an answer, and its end.
fn send(stream: &Stream<'_>, parts: &[&[u8]], end: End) {
    let last = parts.len() - 1;
    for (index, part) in parts.iter().enumerate() {
        stream.send_answer(part, index == last && matches!(end, End::LastPart));
    }
    match end {
        End::LastPart => {}
        End::EmptyPart => drop(stream.send_answer(b"", true)),
        End::Trailers => drop(stream.answer_trailers()),
    }
}

#[test]
fn a_body_that_is_cut_anywhere_gives_the_same_decision() {
    for (body, is_lost) in [(LOST, true), (OTHER, false)] {
        for at in 0..=body.len() {
            for end in ENDS {
                let envoy = Envoy::new();
                let worker = live(&envoy);
                let stream = held(&worker, 400, &[]);
                let (first, second) = body.split_at(at);
                send(&stream, &[first, second], end);
                let status = stream.reply().map(|reply| reply.status);
                assert_eq!(status, is_lost.then_some(404), "{at} {end:?}");
                if !is_lost {
                    assert_eq!(stream.got().as_deref(), Some(body), "{at} {end:?}");
                }
                let over = stream.close();
                let outcome = if is_lost { "session_not_found" } else { "forwarded" };
                assert_eq!(over.filter_state["mcp.outcome"], outcome);
                assert_eq!(envoy.gauges(), [u64::from(!is_lost), 0, 0]);
                assert_eq!(
                    envoy.stat("endpoint.mcp.ended.reason.upstream_gone"),
                    u64::from(is_lost)
                );
                assert_eq!(
                    envoy.stat("endpoint.mcp.rejected.reason.session_not_found"),
                    u64::from(is_lost)
                );
            }
        }
    }
}

#[test]
fn the_longest_answer_that_is_read_has_8_kib() {
    for (len, is_read) in [(8192, true), (8193, false)] {
        for end in ENDS {
            let envoy = Envoy::new();
            let worker = live(&envoy);
            let stream = held(&worker, 400, &[("content-encoding", "identity")]);
            let mut body = vec![b' '; len - LOST.len()];
            body.extend(LOST);
            send(&stream, &[&body[..4096], &body[4096..]], end);
            assert_eq!(stream.reply().is_some(), is_read);
            if !is_read {
                assert_eq!(stream.got(), Some(body));
            }
            stream.close();
        }
    }
}

#[test]
fn what_is_too_long_is_let_go_at_once_and_not_held_again() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    let stream = held(&worker, 400, &[("mcp-session-id", "t")]);
    assert!(!goes_on(stream.send_answer(&[b'x'; 8192], false)));
    assert!(goes_on(stream.send_answer(b"x", false)));
    let (_, response) = stream.heads();
    assert_eq!(response, answer(400, &[]), "the id is off");
    envoy.wait(Duration::from_secs(2));
    worker.calls();
    worker.tick();
    assert!(!worker.calls().contains_key("continue_stream"));
    assert!(goes_on(stream.send_answer(LOST, true)));
    assert_eq!(stream.reply(), None);
    assert_eq!(stream.got().map(|got| got.len()), Some(8193 + LOST.len()));
}

#[test]
fn an_answer_that_is_not_whole_in_time_is_let_go_by_the_timer_and_only_once() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    let stream = held(&worker, 400, &[("mcp-session-id", "t")]);
    stream.send_answer(&LOST[..50], false);
    envoy.wait(Duration::from_millis(999));
    worker.tick();
    assert_eq!(stream.got(), None);
    envoy.wait(Duration::from_millis(1));
    worker.tick();
    assert_eq!(stream.got().as_deref(), Some(&LOST[..50]));
    assert_eq!(stream.heads().1, answer(400, &[]), "the id is off");
    envoy.wait(Duration::from_secs(2));
    worker.calls();
    worker.tick();
    assert!(!worker.calls().contains_key("continue_stream"));
    assert!(goes_on(stream.send_answer(&LOST[50..], true)));
    assert_eq!(stream.got().as_deref(), Some(LOST));
    stream.close();
    assert_eq!(envoy.gauges(), [1, 0, 0]);
}

#[test]
fn an_answer_that_comes_in_a_trickle_is_let_go_by_its_next_part() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    let stream = held(&worker, 400, &[]);
    stream.send_answer(&LOST[..50], false);
    envoy.wait(Duration::from_secs(1));
    assert!(goes_on(stream.send_answer(&LOST[50..60], false)));
    assert_eq!(stream.got().as_deref(), Some(&LOST[..60]));
    worker.calls();
    worker.tick();
    assert!(!worker.calls().contains_key("continue_stream"));
}

/// Envoy runs what one callback asks for one inside the other, on one stack.
#[test]
fn answers_that_are_late_together_are_let_go_a_few_at_a_time_and_soon() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    let mut streams: Vec<_> = (0..100).map(|_| held(&worker, 400, &[])).collect();
    let over: Vec<_> = streams.drain(10..20).collect();
    over.into_iter().for_each(|stream| drop(stream.close()));
    for stream in streams.drain(..10) {
        stream.send_answer(OTHER, true);
        stream.close();
    }
    envoy.wait(Duration::from_secs(2));
    worker.calls();
    let mut let_go = Vec::new();
    while !streams.is_empty() {
        worker.tick();
        let held: Vec<_> = streams.extract_if(.., |stream| stream.got().is_some()).collect();
        let_go.push(held.len());
        envoy.wait(Duration::from_millis(20));
    }
    assert_eq!(let_go, [32, 32, 16]);
    let calls = worker.calls();
    assert_eq!(calls["continue_stream"], 80);
    assert_eq!(calls["set_tick_period"], 2, "faster, then as before");
}

/// Envoy does not bear two acts on one stream in one callback.
#[test]
fn an_answer_that_is_late_when_its_session_ends_is_let_go_first_and_closed_later() {
    let envoy = Envoy::new();
    let worker = envoy.worker(&CONFIGURATION.replace(
        r#""admission": "body","#,
        r#""admission": "body", "idle_timeout": "1s", "max_lifetime": "2s","#,
    ));
    open_session(&worker, "s");
    let stream = held(&worker, 400, &[]);
    envoy.wait(Duration::from_secs(3));
    worker.tick();
    assert_eq!((stream.got().is_some(), stream.is_reset()), (true, false));
    worker.tick();
    assert!(stream.is_reset());
}

#[test]
fn a_request_whose_body_still_comes_is_still_looked_at() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    let stream = of_session(&worker, "POST", "s");
    assert!(goes_on(stream.body(&CALL[..30], false)));
    assert!(!goes_on(stream.answer_head(
        answer(400, &[]),
        VIA_UPSTREAM,
        false
    )));
    assert!(goes_on(stream.body(&CALL[30..], true)));
    worker.tick();
    assert_eq!(envoy.stat("endpoint.mcp.requests.method.tools/call"), 1);
    stream.send_answer(LOST, true);
    let over = stream.close();
    assert_eq!(over.filter_state["gen_ai.tool.name"], "echo");
    assert_eq!(over.reply.map(|reply| reply.status), Some(404));
}

#[test]
fn an_answer_whose_head_is_all_of_it_passes() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    let stream = of_session(&worker, "PUT", "s");
    stream.answer(answer(400, &[("content-length", "0")]), VIA_UPSTREAM, true);
    stream.close();
    assert_eq!(envoy.gauges(), [1, 0, 0]);
}

#[test]
fn a_listed_answer_of_envoys_own_passes() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    for details in [None, Some("direct_response")] {
        let stream = of_session(&worker, "PUT", "s");
        stream.answer(answer(400, &[]), details, false);
        stream.answer_part(LOST);
        stream.close();
    }
    assert_eq!(envoy.gauges(), [1, 0, 0]);
}

#[test]
fn a_get_that_is_read_counts_as_a_stream_once_it_is_let_go() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    let stream = of_session(&worker, "GET", "s");
    stream.answer_head(answer(200, &[]), VIA_UPSTREAM, false);
    assert_eq!(envoy.gauges(), [1, 0, 0]);
    envoy.wait(Duration::from_secs(1));
    worker.tick();
    assert_eq!(envoy.gauges(), [1, 0, 1]);
    stream.close();
    assert_eq!(envoy.gauges(), [1, 0, 0]);
}

/// A streams of a root that has joined a new table are still let go.
#[test]
fn answers_held_while_the_table_is_lost_are_let_go() {
    let envoy = Envoy::new();
    let worker = live(&envoy);
    let stream = held(&worker, 400, &[]);
    envoy.shared_data(|data| *data = Default::default());
    let other = envoy.worker(CONFIGURATION);
    envoy.wait(Duration::from_secs(2));
    worker.tick();
    worker.tick();
    assert!(
        worker
            .log()
            .iter()
            .any(|(_, line)| line.contains("table_joined_anew")),
        "{:?}",
        worker.log()
    );
    assert!(stream.got().is_some());
    stream.send_answer(OTHER, true);
    stream.close();
    other.tick();
}
