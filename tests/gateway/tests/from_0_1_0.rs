//! The update from release 0.1.0, whose table has another layout, to the module under test: by a listener file, with the
//! same `vm_id`, under load. While the old listener drains, each module counts its own sessions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gateway::client::BOTH;
use gateway::envoy::root;
use gateway::listeners::{Listeners, from_file};
use gateway::stage::expect_refused;
use gateway::{Answer, Call, Client, Gateway, Http, OddServer, RawConnection, Reply, Request, Setup, poll};
use serde_json::json;

/// The cap of each endpoint: `busy`, where more clients than that are at once, and `held`, where nobody but the test
/// opens sessions.
const CAP: usize = 6;

/// Clients that open, use and end sessions at the same time.
const CLIENTS: usize = 8;

/// How long the old listener drains, in seconds. All that the test does meanwhile takes two seconds on a quiet machine; at the end
/// Envoy closes the old connections.
const DRAIN_S: u32 = 20;

/// The module of release 0.1.0; `fixtures/README.md` says how it was made.
fn release_0_1_0() -> PathBuf {
    root().join("tests/gateway/fixtures/mcp_session_filter-0.1.0.wasm")
}

/// The setup with the module under test.
fn new_module(server: &OddServer, unknown_session: &str) -> Setup {
    let setup = Setup::new(server.address()).workers(2).drain_seconds(DRAIN_S);
    let rules = json!({"max_sessions": CAP, "unknown_session": unknown_session});
    setup
        .endpoints(&["busy", "held"])
        .endpoint(rules)
        .top(json!({"max_sessions": 1000}))
}

/// The same setup, with the module of release 0.1.0.
fn old_module(server: &OddServer, unknown_session: &str) -> Setup {
    let code = json!({"vm_config": {"code": {"local": {"filename": release_0_1_0()}}}});
    new_module(server, unknown_session).filter(code)
}

/// The answer of a good server, marked as the server's.
fn marked(request: &Request) -> Reply {
    Reply::polite(request).header("x-answered-by", "server")
}

/// What came of the load's requests.
#[derive(Debug, Default)]
struct Load {
    /// Sessions that were opened, used and ended.
    whole: AtomicU64,
    /// Newcomers that the filter refused at the cap.
    refused: AtomicU64,
    /// Sessions that the new module did not know, because the old one let them in.
    unknown: AtomicU64,
    /// Requests without an answer, on a connection that Envoy had told the client to leave.
    unanswered: AtomicU64,
    is_over: AtomicBool,
}

impl Load {
    /// Opens, uses and ends sessions. Every other pair of clients keeps its connections until Envoy tells it to leave;
    /// the others take new ones for each session.
    async fn run(&self, gateway: &Gateway, number: usize) {
        let new_client = || gateway.client(BOTH[number % 2]).at("/busy");
        let mut client = new_client();
        while !self.is_over.load(Ordering::Relaxed) {
            if (number / 2).is_multiple_of(2) {
                client = new_client();
            }
            let counter = match self.session(&client).await {
                Ok(counter) => counter,
                Err(error) => {
                    eprintln!("client {number}: {error}");
                    &self.unanswered
                }
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One session from its beginning to its end; which counter it belongs to.
    async fn session(&self, client: &Client) -> Result<&AtomicU64, String> {
        let opened = client.try_send(Call::initialize()).await?;
        if !is_servers(&opened) {
            expect_refused(&opened, 429, -32603, "Too many open sessions", Some(json!(1)));
            return Ok(&self.refused);
        }
        let session = opened.session().expect("an id");
        let uses = std::iter::repeat_n(Call::tools_list(), 3).chain([Call::delete()]);
        for call in uses {
            let answer = client.try_send(call.session(session)).await?;
            if !is_servers(&answer) {
                expect_refused(&answer, 404, -32001, "Session not found", None);
                return Ok(&self.unknown);
            }
        }
        Ok(&self.whole)
    }

    fn whole(&self) -> u64 {
        self.whole.load(Ordering::Relaxed)
    }

    /// Waits until so many sessions more have come and gone.
    async fn goes_on(&self, sessions: u64) {
        let until = self.whole() + sessions;
        poll::eventually(poll::SOON, "the load goes on", || self.whole() >= until).await;
    }
}

/// Whether the server gave this answer. A server's answer is always good here.
fn is_servers(answer: &Answer) -> bool {
    let is_servers = answer.header("x-answered-by") == Some("server");
    assert!(!is_servers || matches!(answer.status, 200 | 202), "{answer:?}");
    is_servers
}

/// A connection to the old listener. It is for one request: each answer of a draining listener may be its last.
async fn old_connection(gateway: &Gateway, session: &str) -> RawConnection {
    let mut connection = gateway.connect().await;
    assert_eq!(send(&mut connection, &[session], PING).await, (200, true));
    connection
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// Sends a message to the endpoint `held`: the answer's status, and whether it is the server's.
async fn send(connection: &mut RawConnection, sessions: &[&str], message: &str) -> (u16, bool) {
    let lines: Vec<String> = sessions
        .iter()
        .map(|session| format!("mcp-session-id: {session}"))
        .collect();
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    connection.post("/held", &lines, message.as_bytes()).await;
    let answer = connection.answer().await.expect("an answer");
    (answer.status, answer.header("x-answered-by").is_some())
}

/// Which release answers on this connection: to two ids at once 0.1.0 says 400, and this release 404.
async fn is_new(connection: &mut RawConnection) -> bool {
    match send(connection, &["a", "b"], PING).await {
        (404, false) => true,
        (400, false) => false,
        other => panic!("{other:?}"),
    }
}

/// Waits until the new module answers on every new connection.
async fn the_new_module_serves(gateway: &Gateway) {
    let end = std::time::Instant::now() + poll::SOON;
    let mut in_a_row = 0;
    while in_a_row < 20 {
        assert!(std::time::Instant::now() < end, "the old module still answers");
        in_a_row = match is_new(&mut gateway.connect().await).await {
            true => in_a_row + 1,
            false => 0,
        };
    }
}

/// A gateway with release 0.1.0, sessions that it counts, and connections that it goes on serving while it drains.
struct Before {
    gateway: Arc<Gateway>,
    listeners: Listeners,
    sessions: Vec<String>,
    connections: Vec<RawConnection>,
}

impl Before {
    async fn start(server: &OddServer, unknown_session: &str) -> Self {
        let listeners = Listeners::new();
        listeners.write(&old_module(server, unknown_session));
        let setup = from_file(old_module(server, unknown_session), &listeners.file());
        let gateway = Arc::new(setup.start().await);
        assert!(
            !is_new(&mut gateway.connect().await).await,
            "release 0.1.0 answers"
        );
        let client = gateway.client(Http::One).at("/held");
        let (mut sessions, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..CAP - 2 {
            sessions.push(client.open_session().await);
        }
        for _ in 0..24 {
            connections.push(old_connection(&gateway, &sessions[0]).await);
        }
        Self {
            gateway,
            listeners,
            sessions,
            connections,
        }
    }

    /// A message of the old listener's client.
    async fn old(&mut self, sessions: &[&str], message: &str) -> (u16, bool) {
        let mut connection = self.connections.pop().expect("a connection is left");
        send(&mut connection, sessions, message).await
    }

    /// The draining module serves its sessions, and lets in as many as its own table has room for.
    async fn the_old_module_counts_its_own(&mut self) {
        let mut connection = self.connections.pop().expect("a connection is left");
        assert!(!is_new(&mut connection).await, "release 0.1.0 still answers");
        let initialize = gateway::message::initialize(1).to_string();
        for session in self.sessions.clone() {
            assert_eq!(self.old(&[&session], PING).await, (200, true));
        }
        for expected in [(200, true), (200, true), (429, false), (429, false)] {
            assert_eq!(self.old(&[], &initialize).await, expected);
        }
    }

    /// The new module does not know the old one's sessions. Under `adopt` they go on.
    async fn sessions_of_the_old_table_come(&self, is_adopting: bool) {
        let client = self.gateway.client(Http::Two).at("/held");
        for session in &self.sessions {
            let answer = client.ping(session).await;
            if is_adopting {
                assert!(is_servers(&answer), "{answer:?}");
            } else {
                expect_refused(&answer, 404, -32001, "Session not found", None);
            }
        }
        let adopted = if is_adopting { self.sessions.len() } else { 0 };
        let stat = |name: &str| self.gateway.stat(&format!("endpoint.held.{name}"));
        assert_eq!((stat("adopted"), stat("untracked")), (adopted as u64, 0));
    }

    /// The old listener has drained.
    async fn is_over(&self) {
        let drained = Duration::from_secs(DRAIN_S.into()) + poll::SOON;
        poll::eventually(drained, "the old listener has drained", || {
            self.gateway
                .envoy_stat("listener_manager.total_filter_chains_draining")
                == 0
                && self
                    .gateway
                    .envoy_stat("listener_manager.total_listeners_draining")
                    == 0
        })
        .await;
    }
}

/// Opens sessions until the endpoint `held` is full, and sees the next newcomers refused.
async fn fill(gateway: &Gateway, room: usize) -> Vec<String> {
    let mut sessions = Vec::new();
    for number in 0..room {
        sessions.push(gateway.client(BOTH[number % 2]).at("/held").open_session().await);
    }
    for http in BOTH {
        let refused = gateway.client(http).at("/held").initialize().await;
        expect_refused(&refused, 429, -32603, "Too many open sessions", Some(json!(1)));
    }
    sessions
}

/// Only the new module writes gauges now, and they are right; it ends what it has let in.
async fn the_new_table_is_right(gateway: &Gateway, held: &[String]) {
    for (stat, value) in [
        ("held.active", CAP as u64),
        ("busy.active", 0),
        ("busy.reserved", 0),
    ] {
        gateway.expect(&format!("endpoint.{stat}"), value).await;
    }
    for (number, session) in held.iter().enumerate() {
        let client = gateway.client(BOTH[number % 2]).at("/held");
        assert!(is_servers(&client.ping(session).await));
        assert!(is_servers(&client.delete(session).await));
        let gone = client.ping(session).await;
        expect_refused(&gone, 404, -32001, "Session not found", None);
    }
    for stat in ["endpoint.held.active", "vm.active", "vm.reserved"] {
        gateway.expect(stat, 0).await;
    }
}

/// No VM failed: Envoy's log tells of no error, and Envoy reloaded none.
fn no_vm_failed(gateway: &Gateway) {
    let log = gateway.envoy().log();
    let is_error = |line: &&str| line.contains("[error]") || line.contains("[critical]");
    let errors: Vec<&str> = log.lines().filter(is_error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let all = gateway::stats::read(&gateway.envoy().admin("/stats?format=json&filter=vm_reload"));
    assert!(all.values().all(|count| *count == 0), "{all:?}");
}

/// How many VMs Envoy has.
fn vms(gateway: &Gateway) -> u64 {
    gateway.envoy_stat("wasm.envoy.wasm.runtime.v8.active")
}

async fn update_under_load(unknown_session: &str) {
    let is_adopting = unknown_session == "adopt";
    let server = OddServer::start(marked).await;
    let mut before = Before::start(&server, unknown_session).await;
    let (gateway, load) = (before.gateway.clone(), Arc::new(Load::default()));
    let vms_before = vms(&gateway);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (gateway, load) = (gateway.clone(), load.clone());
            tokio::spawn(async move { load.run(&gateway, number).await })
        })
        .collect();
    load.goes_on(100).await;

    before.listeners.write(&new_module(&server, unknown_session));
    the_new_module_serves(&gateway).await;
    before.sessions_of_the_old_table_come(is_adopting).await;
    let adopted = if is_adopting {
        before.sessions.clone()
    } else {
        Vec::new()
    };
    let mut held = fill(&gateway, CAP - adopted.len()).await;
    held.extend(adopted);
    before.the_old_module_counts_its_own().await;
    load.goes_on(100).await;
    before.is_over().await;
    load.goes_on(100).await;

    load.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every answer is known");
    }
    println!("{unknown_session}: {load:?}");
    assert_eq!(load.unanswered.load(Ordering::Relaxed), 0);
    assert!(load.refused.load(Ordering::Relaxed) > 0, "the cap was never met");
    poll::eventually(poll::SOON, "the old module's VMs have gone", || {
        vms(&gateway) == vms_before
    })
    .await;
    the_new_table_is_right(&gateway, &held).await;
    no_vm_failed(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_reject_an_update_from_0_1_0_answers_every_request_and_begins_anew() {
    update_under_load("reject").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_adopt_an_update_from_0_1_0_keeps_every_session() {
    update_under_load("adopt").await;
}
