//! Caps on open streams: exact over two workers, and every place comes back, however a stream ends. The times are
//! printed: `cargo test … streams:: -- --nocapture`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gateway::envoy::tells_of_broken_answers;
use gateway::listeners::{Listeners, from_file};
use gateway::{Call, Gate, Gateway, Http, OddServer, Reply, Request, Setup, Stream, message, setup};
use serde_json::{Value, json};

const CAP: u64 = 50;
const TOO_MANY: &str = "Too many open streams";

/// What opens a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    Listen,
}

const KINDS: [Kind; 2] = [Kind::Get, Kind::Listen];

impl Kind {
    /// Each kind has an endpoint of its own.
    fn endpoint(self) -> &'static str {
        match self {
            Self::Get => "gets",
            Self::Listen => "listens",
        }
    }

    fn call(self, number: usize) -> Call {
        let call = match self {
            Self::Get => Call::get().revision(message::REVISION),
            Self::Listen => Call::post(&listen(number))
                .revision(message::STATELESS_REVISION)
                .header("mcp-method", "subscriptions/listen"),
        };
        call.path(&format!("/{}", self.endpoint()))
    }
}

fn listen(number: usize) -> Value {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": message::STATELESS_REVISION});
    message::request(number, "subscriptions/listen", json!({"_meta": meta}))
}

/// A server that opens a stream for both kinds and keeps it open, unless `x-reply` asks for something else.
fn streaming(request: &Request, gate: &Gate) -> Reply {
    let stream = || Reply::sse().event(&json!({"jsonrpc": "2.0", "method": "notifications/message"}));
    match (request.header("x-reply"), request.rpc_method().as_str()) {
        (Some("ended"), _) => stream().ended_by(gate),
        (Some("broken"), _) => stream().broken_off(),
        (None, "subscriptions/listen") => stream().left_open(),
        (Some(_) | None, _) => Reply::as_told(request),
    }
}

async fn server(gate: &Gate) -> OddServer {
    let gate = gate.clone();
    OddServer::start(move |request| streaming(request, &gate)).await
}

fn capped(server: &OddServer) -> Setup {
    Setup::new(server.address())
        .workers(2)
        .endpoints(&["gets", "listens"])
        .endpoint(json!({"max_streams": CAP}))
}

async fn started() -> (Gateway, OddServer, Gate) {
    let gate = Gate::closed();
    let server = server(&gate).await;
    (capped(&server).start().await, server, gate)
}

/// Sends so many requests of a kind at once, each on a connection of its own. Returns the streams that were let in;
/// all others must be refused.
async fn open(gateway: &Gateway, kind: Kind, requests: usize, reply: Option<&str>) -> Vec<Stream> {
    let calls: Vec<_> = (0..requests)
        .map(|number| {
            let client = gateway.client(gateway::client::BOTH[number % 2]);
            let call = kind.call(number);
            let call = reply.map_or(call.clone(), |reply| call.reply(reply));
            tokio::spawn(async move { (number, client.open(call).await) })
        })
        .collect();
    let mut streams = Vec::new();
    for call in calls {
        let (number, stream) = call.await.expect("an answer");
        match stream.status {
            200 => streams.push(stream),
            _ => expect_refused(stream, kind, number).await,
        }
    }
    streams
}

async fn expect_refused(stream: Stream, kind: Kind, number: usize) {
    let answer = stream.whole().await.expect("a whole answer");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("5")),
        "{answer:?}"
    );
    let error = json!({"code": -32603, "message": TOO_MANY});
    let body = match kind {
        Kind::Get => json!({"jsonrpc": "2.0", "error": error}),
        Kind::Listen => json!({"jsonrpc": "2.0", "id": number, "error": error}),
    };
    assert_eq!(answer.json(), body);
}

fn gauge(kind: Kind, name: &str) -> String {
    format!("endpoint.{}.{name}", kind.endpoint())
}

/// Fills both endpoints.
async fn fill(gateway: &Gateway, reply: Option<&str>) -> Vec<Stream> {
    let mut streams = Vec::new();
    for kind in KINDS {
        let opened = open(gateway, kind, 60, reply).await;
        assert_eq!(opened.len() as u64, CAP, "{kind:?}");
        streams.extend(opened);
    }
    streams
}

/// Waits until every place is back, prints how long it took, and fills all anew.
async fn expect_all_back(gateway: &Gateway, how: &str, since: Instant) {
    for kind in KINDS {
        gateway
            .expect_within(Duration::from_secs(62), &gauge(kind, "streams"), 0)
            .await;
    }
    println!("{how}: {} places are back after {:?}", 2 * CAP, since.elapsed());
    let streams = fill(gateway, None).await;
    drop(streams);
    for kind in KINDS {
        gateway.expect(&gauge(kind, "streams"), 0).await;
    }
    assert_eq!(gateway.stat("repaired"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_at_once_exactly_fifty_are_let_in() {
    let (gateway, server, _gate) = started().await;
    let (gets, listens) = tokio::join!(
        open(&gateway, Kind::Get, 200, None),
        open(&gateway, Kind::Listen, 200, None)
    );
    println!(
        "of 200 GETs {} were let in, of 200 subscriptions/listen {}",
        gets.len(),
        listens.len()
    );
    assert_eq!((gets.len() as u64, listens.len() as u64), (CAP, CAP));
    for kind in KINDS {
        assert_eq!(server.count(&format!("/{}", kind.endpoint())) as u64, CAP);
        gateway.expect(&gauge(kind, "streams"), CAP).await;
        assert_eq!(gateway.stat(&gauge(kind, "streams_limit")), CAP);
        gateway.expect(&gauge(kind, "rejected.reason.streams"), 150).await;
    }
    let since = Instant::now();
    drop((gets, listens));
    expect_all_back(&gateway, "clients left", since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_come_back_when_the_server_ends_or_breaks_streams_or_refuses() {
    let (gateway, _server, gate) = started().await;
    let streams = fill(&gateway, Some("ended")).await;
    let since = Instant::now();
    gate.open();
    for stream in streams {
        assert!(stream.ended().await, "a clean end");
    }
    expect_all_back(&gateway, "the server ended them", since).await;

    for reply in ["broken", "405", "503", "reset"] {
        let since = Instant::now();
        for kind in KINDS {
            for _ in 0..2 {
                let calls = (0..CAP as usize).map(|number| {
                    let client = gateway.client(Http::One);
                    tokio::spawn(async move { client.try_send(kind.call(number).reply(reply)).await })
                });
                for call in calls.collect::<Vec<_>>() {
                    let answer = call.await.expect("no panic");
                    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status != 429));
                }
            }
        }
        expect_all_back(&gateway, &format!("the server answered {reply}"), since).await;
    }
}

/// This is no test but the process that [`places_come_back_when_a_client_is_killed`] kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as a process of its own"]
async fn streaming_process() {
    let address = std::env::var("MSF_GATEWAY").expect("set");
    let client = gateway::Client::new(address.parse().expect("an address"), Http::One);
    let mut streams = Vec::new();
    for kind in KINDS {
        for number in 0..CAP as usize {
            streams.push(client.open(kind.call(number)).await);
        }
    }
    let _never = client.send(Call::initialize().path("/gets").reply("hang")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_come_back_when_a_client_is_killed() {
    let (gateway, _server, _gate) = started().await;
    let mut process = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "streams::streaming_process", "--ignored"])
        .env("MSF_GATEWAY", gateway.address().to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    for kind in KINDS {
        gateway.expect(&gauge(kind, "streams"), CAP).await;
        assert_eq!(open(&gateway, kind, 1, None).await.len(), 0);
    }
    let since = Instant::now();
    process.kill().expect("SIGKILL");
    process.wait().expect("it is gone");
    expect_all_back(&gateway, "kill -9 of the client", since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_come_back_within_a_minute_when_workers_trap() {
    let gate = Gate::closed();
    let server = server(&gate).await;
    let trap = json!({"vm_config": {"code": {"local": {"filename": setup::trap_module()}}}});
    let gateway = capped(&server).filter(trap).faults_expected().start().await;
    let _streams = fill(&gateway, None).await;
    let since = Instant::now();
    // Connections are spread over both workers; the trapped ones take no part any more until they are reloaded.
    for _ in 0..8 {
        let client = gateway.client(Http::One);
        let _ = client
            .try_send(Call::get().path("/gets").header("x-trap-vm", "1"))
            .await;
    }
    expect_all_back(&gateway, "trapped workers", since).await;
    assert!(since.elapsed() < Duration::from_secs(62));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_draining_listener_count_until_they_are_over() {
    let gate = Gate::closed();
    let server = server(&gate).await;
    let setup = |retry_after: &str| {
        capped(&server)
            .drain_seconds(4)
            .endpoint(json!({"initialize_timeout": retry_after}))
    };
    let listeners = Listeners::new();
    listeners.write(&setup("60s"));
    let gateway = from_file(setup("60s"), &listeners.file()).start().await;
    let streams = fill(&gateway, None).await;
    listeners.write(&setup("50s"));
    gateway::poll::eventually(gateway::poll::SOON, "the update is in force", || {
        gateway.envoy_stat("listener_manager.total_filter_chains_draining") > 0
            || gateway.envoy_stat("listener_manager.total_listeners_draining") > 0
    })
    .await;
    let since = Instant::now();
    for kind in KINDS {
        let refused = open(&gateway, kind, 4, None).await;
        assert_eq!(refused.len(), 0, "the old listener's streams still count");
        assert_eq!(gateway.stat(&gauge(kind, "streams")), CAP);
    }
    for stream in streams {
        stream.ended().await;
    }
    expect_all_back(&gateway, "a listener update with a drain of 4 s", since).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_closed_at_its_age_and_its_session_lives_on() {
    let gate = Gate::closed();
    let server = server(&gate).await;
    let gateway = Setup::new(server.address())
        .workers(2)
        .endpoint(json!({"max_stream_lifetime": "2s"}))
        .start()
        .await;
    for http in gateway::client::BOTH {
        let client = gateway.client(http);
        let session = client.open_session().await;
        let (since, mut streams) = (Instant::now(), Vec::new());
        for _ in 0..100 {
            streams.push(client.open_stream(&session).await);
        }
        for stream in streams {
            assert_eq!(stream.ended().await, !tells_of_broken_answers(http), "it is cut");
        }
        println!(
            "{http:?}: 100 streams of a lifetime of 2s are over after {:?}",
            since.elapsed()
        );
        assert!(since.elapsed() >= Duration::from_secs(2));
        assert_eq!(client.ping(&session).await.status, 200);
        gateway.expect("endpoint.mcp.streams", 0).await;
        assert_eq!(client.delete(&session).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_has_a_cap_of_its_own_on_both_workers() {
    let gate = Gate::closed();
    let server = server(&gate).await;
    let gateway = capped(&server)
        .endpoint(json!({"max_streams_per_principal": 5, "principal": [{"header": "x-user"}]}))
        .start()
        .await;
    let mut streams = Vec::new();
    for user in ["alice", "bob"] {
        for kind in KINDS {
            let calls = (0..40).map(|number| {
                let client = gateway.client(gateway::client::BOTH[number % 2]);
                let call = kind.call(number).header("x-user", user);
                tokio::spawn(async move { client.open(call).await })
            });
            let mut let_in = 0;
            for call in calls.collect::<Vec<_>>() {
                let stream = call.await.expect("an answer");
                if stream.status == 200 {
                    let_in += 1;
                    streams.push(stream);
                    continue;
                }
                let answer = stream.whole().await.expect("whole");
                assert_eq!(
                    answer.json()["error"]["message"],
                    "Too many open streams for this client"
                );
            }
            assert_eq!(let_in, 5, "{user} {kind:?}");
        }
    }
    gateway
        .expect(&gauge(Kind::Get, "rejected.reason.principal_streams"), 70)
        .await;
    drop(streams);
    gateway.expect(&gauge(Kind::Get, "streams"), 0).await;
}

/// What tells the message arrives after the head, which the filter has let go.
#[tokio::test(flavor = "multi_thread")]
async fn a_listening_message_of_a_live_session_is_refused_from_its_body() {
    let gate = Gate::closed();
    let server = server(&gate).await;
    let gateway = Setup::new(server.address())
        .workers(2)
        .endpoint(json!({"max_streams": 1}))
        .start()
        .await;
    for http in gateway::client::BOTH {
        let client = gateway.client(http);
        let session = client.open_session().await;
        let open = client.open_stream(&session).await;
        let call = Call::post(&listen(9))
            .session(&session)
            .revision(message::REVISION);
        expect_refused(client.open(call.clone()).await, Kind::Listen, 9).await;
        drop(open);
        gateway.expect("endpoint.mcp.streams", 0).await;
        let listening = client.open(call).await;
        assert_eq!(listening.status, 200);
        gateway.expect("endpoint.mcp.streams", 1).await;
        drop(listening);
        gateway.expect("endpoint.mcp.streams", 0).await;
        assert_eq!(client.ping(&session).await.status, 200);
    }
}
