//! Callbacks in random orders.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use crate::envoy::{Envoy, Stream, Worker};
use crate::requests::{CALL, INITIALIZE, VIA_UPSTREAM, answer, head};

const STREAMS: usize = 4;

const EVENT: &[u8] = b"event: endpoint\ndata: /mcp?sessionId=s\n\n";

const ERROR: &[u8] = br#"{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}"#;

const HTTP_SSE: &str = r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "max_sessions": 2,
    "transport": "http_sse", "message_path": "/message", "idle_timeout": "5s", "max_lifetime": "60s"}]}"#;

const CONFIGURATION: &str = r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "max_sessions": 2,
    "admission": "body", "idle_timeout": "5s", "max_lifetime": "60s", "max_request_bytes": 1024}]}"#;

const LOST_SESSIONS: &str = r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "max_sessions": 2,
    "admission": "body", "idle_timeout": "5s", "max_lifetime": "60s", "lost_session": [
        {"status": 200, "contains": "x"}, {"status": 404, "contains": "x"}, {"status": 503, "contains": "x"}]}]}"#;

#[derive(Clone, Debug)]
enum Callback {
    Request {
        method: &'static str,
        id: &'static str,
        modern: bool,
        end: bool,
    },
    Body {
        part: Vec<u8>,
        end: bool,
    },
    Trailers,
    Answer {
        status: u16,
        id: &'static str,
        from_server: bool,
    },
    AnswerPart {
        part: &'static [u8],
        end: bool,
    },
    AnswerTrailers,
    Close {
        with_log: bool,
    },
    Wait(u64),
    Tick,
}

fn callback() -> impl Strategy<Value = Callback> {
    let id = || select(vec!["", "s", "t", "two words"]);
    let parts = vec![
        INITIALIZE.to_vec(),
        CALL.to_vec(),
        INITIALIZE[..30].to_vec(),
        INITIALIZE[30..].to_vec(),
        b"[]".to_vec(),
        Vec::new(),
        vec![0xff; 1100],
    ];
    prop_oneof![
        4 => (select(vec!["GET", "POST", "POST", "DELETE", "PUT"]), id(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(method, id, modern, end)| Callback::Request { method, id, modern, end }),
        4 => (select(parts), any::<bool>()).prop_map(|(part, end)| Callback::Body { part, end }),
        1 => Just(Callback::Trailers),
        4 => (select(vec![200, 202, 404, 503]), id(), any::<bool>())
            .prop_map(|(status, id, from_server)| Callback::Answer { status, id, from_server }),
        4 => (select(vec![EVENT, &EVENT[..20], &EVENT[20..], b"data: x\n\n", ERROR, &[b' '; 8000]]), prop::bool::weighted(0.2))
            .prop_map(|(part, end)| Callback::AnswerPart { part, end }),
        1 => Just(Callback::AnswerTrailers),
        2 => any::<bool>().prop_map(|with_log| Callback::Close { with_log }),
        1 => (0_u64..8).prop_map(Callback::Wait),
        1 => Just(Callback::Tick),
    ]
}

/// A stream, and the callbacks that Envoy would no longer call for it.
struct Open<'a> {
    stream: Stream<'a>,
    has_head: bool,
    request_is_over: bool,
    is_answered: bool,
    answer_is_over: bool,
}

impl<'a> Open<'a> {
    fn new(worker: &'a Worker) -> Self {
        Self {
            stream: worker.stream(),
            has_head: false,
            request_is_over: false,
            is_answered: false,
            answer_is_over: false,
        }
    }

    fn call(&mut self, callback: &Callback) {
        match callback {
            Callback::Request {
                method,
                id,
                modern,
                end,
            } if !self.has_head && !self.is_answered => {
                let mut fields = Vec::new();
                if !id.is_empty() {
                    fields.push(("mcp-session-id", *id));
                }
                if *modern {
                    fields.push(("mcp-protocol-version", "2026-07-28"));
                }
                self.stream.request(head(method, &fields), *end);
                self.has_head = true;
                self.request_is_over = *end;
            }
            Callback::Body { part, end } if self.has_head && !self.request_is_over => {
                self.stream.body(part, *end);
                self.request_is_over = *end;
            }
            Callback::Trailers if self.has_head && !self.request_is_over => {
                self.stream.trailers();
                self.request_is_over = true;
            }
            Callback::Answer {
                status,
                id,
                from_server,
            } if !self.is_answered => {
                let fields: &[_] = if id.is_empty() {
                    &[]
                } else {
                    &[("mcp-session-id", *id)]
                };
                let details = if *from_server { VIA_UPSTREAM } else { None };
                self.stream.answer_head(answer(*status, fields), details, false);
                self.is_answered = true;
                // If the filter still holds a request, Envoy itself answers it, and it gets no further.
                self.request_is_over |= self.stream.is_held();
            }
            Callback::AnswerPart { part, end } if self.may_answer_more() => {
                self.stream.send_answer(part, *end);
                self.answer_is_over = *end;
            }
            Callback::AnswerTrailers if self.may_answer_more() => {
                self.stream.answer_trailers();
                self.answer_is_over = true;
            }
            _ => {}
        }
        if self.stream.reply().is_some() {
            self.request_is_over = true;
            self.is_answered = true;
        }
    }

    fn may_answer_more(&self) -> bool {
        self.is_answered && !self.answer_is_over && self.stream.reply().is_none()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_and_no_cap_is_passed_in_any_order(
        callbacks in prop::collection::vec((0..STREAMS, callback()), 1..60),
        configuration in select(vec![CONFIGURATION, HTTP_SSE, LOST_SESSIONS]),
    ) {
        let envoy = Envoy::new();
        let worker = envoy.worker(configuration);
        let mut open: Vec<_> = (0..STREAMS).map(|_| Open::new(&worker)).collect();
        for (stream, callback) in &callbacks {
            match callback {
                Callback::Close { with_log } => {
                    let over = std::mem::replace(&mut open[*stream], Open::new(&worker));
                    if *with_log {
                        over.stream.log();
                    }
                    over.stream.delete();
                }
                Callback::Wait(seconds) => envoy.wait(Duration::from_secs(*seconds)),
                Callback::Tick => worker.tick(),
                callback => open[*stream].call(callback),
            }
            let [active, reserved, _] = envoy.gauges();
            prop_assert!(active + reserved <= 2, "{active} and {reserved} after {callback:?}");
        }
        open.into_iter().for_each(|open| drop(open.stream.close()));
        let [_, reserved, streams] = envoy.gauges();
        prop_assert_eq!((reserved, streams), (0, 0));
        for _ in 0..10 {
            envoy.wait(Duration::from_secs(5));
            worker.tick();
        }
        prop_assert_eq!(envoy.gauges(), [0, 0, 0]);
        prop_assert_eq!(envoy.stat("repaired"), 0);
    }
}
