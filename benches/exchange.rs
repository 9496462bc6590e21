//! The cost of a whole exchange without a host, by the number of sessions in the table.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench may be blunt"
)]

#[allow(dead_code, unreachable_pub, reason = "each bench uses its part")]
mod world;

use std::rc::Rc;
use std::time::Duration;

use divan::{Bencher, black_box};
use mcp_session_filter::config::Config;
use mcp_session_filter::exchange::{
    Effects, Exchange, Gate, Interest, RequestHead, ResponseHead, Site, Verdict,
};
use mcp_session_filter::session::testing::Memory;
use mcp_session_filter::session::{EndedSession, SessionKey, StoreError};
use mcp_session_filter::telemetry::{Event, Fact};
use mcp_session_filter::worker::in_use::InUse;
use world::{SIZES, World};

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello world, this is a tool call"}}}"#;
const INITIALIZE: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;

fn main() {
    divan::main();
}

/// Takes every effect and drops it.
struct Nowhere;

impl Effects for Nowhere {
    fn count(&mut self, site: usize, event: Event) {
        black_box((site, event));
    }

    fn ended(&mut self, ended: &EndedSession) {
        black_box(ended);
    }

    fn delete_pending(&mut self, site: usize, key: SessionKey) {
        black_box((site, key));
    }

    fn delete_failed(&mut self, site: usize) {
        black_box(site);
    }

    fn counts_moved(&mut self, _: usize) {}

    fn stream_closed(&mut self, site: usize, lived: Duration) {
        black_box((site, lived));
    }

    fn note(&mut self, fact: Fact<'_>) {
        black_box(fact);
    }

    fn write_field(&mut self, name: &'static str, value: Option<&str>) {
        black_box((name, value));
    }

    fn ungoverned(&mut self) {}

    fn failed(&mut self, operation: &'static str, error: StoreError) {
        panic!("{operation}: {error}");
    }
}

/// A root with one endpoint.
struct Root {
    config: Config,
    sites: Vec<Rc<Site>>,
    in_use: InUse,
    world: &'static World,
}

impl Root {
    fn new(size: u64) -> Self {
        let config = br#"{"endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body", "idle_timeout": "720h", "max_lifetime": "0s"}]}"#;
        let config = Config::parse(config).expect("valid");
        Self {
            sites: Site::all(&config),
            config,
            in_use: InUse::default(),
            world: World::of(size),
        }
    }

    fn gate(&mut self) -> Gate<'_, Memory> {
        Gate {
            config: &self.config,
            sites: &self.sites,
            table: &self.world.table,
            in_use: &mut self.in_use,
            now: self.world.opened(),
        }
    }

    /// Plays a request from its head to the end of its stream, and passes only the parts that the exchange asks for.
    fn play(&mut self, request: &Fields, body: &[u8], answer: &Fields) {
        let head = RequestHead::new(pairs(request), !body.is_empty());
        let (mut exchange, _) =
            Exchange::begin(&mut self.gate(), &mut Nowhere, &head, 1).expect("a request of the endpoint");
        match exchange.wants().request_body {
            Interest::Nothing => {}
            Interest::Part(_) => drop(exchange.glimpse(&mut Nowhere, body, true)),
            Interest::Whole(_) => {
                let verdict = exchange.judge(&mut self.gate(), &mut Nowhere, body);
                assert_eq!(verdict, Verdict::Forward);
            }
        }
        let head = ResponseHead::new(pairs(answer));
        if exchange.wants().answer_head && !exchange.is_of_no_interest(&head) {
            exchange.answered(&mut self.gate(), &mut Nowhere, &head, || true);
        }
        if !exchange.end_locally(&mut self.in_use) {
            exchange.end(&mut self.gate(), &mut Nowhere);
        }
    }
}

fn pairs(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn request(method: &str, session: Option<&str>) -> Fields {
    let mut fields = vec![
        (":authority", "gateway.example.com"),
        (":path", "/mcp"),
        (":method", method),
        (":scheme", "https"),
        ("user-agent", "node"),
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2025-11-25"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "8d4e5a0c-7f3b-4f3e-9a53-0a1b2c3d4e5f"),
    ];
    fields.extend(session.map(|id| ("mcp-session-id", id)));
    owned(&fields)
}

fn answer(session: Option<&str>) -> Fields {
    let mut fields = vec![(":status", "200"), ("content-type", "application/json")];
    fields.extend(session.map(|id| ("mcp-session-id", id)));
    owned(&fields)
}

fn owned(fields: &[(&str, &str)]) -> Fields {
    let field = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    fields.iter().map(field).collect()
}

/// A tool call of a live session. In the empty table the first call adopts the session.
#[divan::bench(args = SIZES)]
fn tools_call(bencher: Bencher<'_, '_>, size: u64) {
    let mut root = Root::new(size);
    let (world, answer) = (root.world, answer(None));
    bencher
        .with_inputs(|| request("POST", Some(&world.some_id())))
        .bench_local_refs(|request| root.play(request, CALL, &answer));
}

/// A session opened by `initialize`.
#[divan::bench(args = SIZES)]
fn initialize(bencher: Bencher<'_, '_>, size: u64) {
    let mut root = Root::new(size);
    let (world, request) = (root.world, request("POST", None));
    bencher
        .with_inputs(|| {
            let id = world.fresh_id();
            (answer(Some(&id)), Ended(world, id))
        })
        .bench_local_values(|(answer, ended)| {
            root.play(&request, INITIALIZE, &answer);
            (answer, ended)
        });
}

/// A session ended by DELETE.
#[divan::bench(args = SIZES)]
fn delete(bencher: Bencher<'_, '_>, size: u64) {
    let mut root = Root::new(size);
    let (world, answer) = (root.world, answer(None));
    let opened = || {
        let id = world.fresh_id();
        world.open_session(&id);
        request("DELETE", Some(&id))
    };
    bencher
        .with_inputs(opened)
        .bench_local_refs(|request| root.play(request, b"", &answer));
}

/// Ends its session after the clock has stopped.
struct Ended(&'static World, String);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end_session(&self.1);
    }
}
