//! HTTP+SSE (2024-11-05): sessions that are streams.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::envoy::tells_of_broken_answers;
use gateway::stage::expect_refused;
use gateway::{
    Call, Gate, Gateway, Http, OddServer, Reply, Request, Setup, Stage, Stream, everywhere, poll, setup,
};
use serde_json::{Value, json};

const PING: &str = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;

/// An endpoint of HTTP+SSE for each protocol, with these further fields.
fn http_sse(fields: Value) -> impl Fn(Setup) -> Setup {
    move |setup| {
        let endpoint = |name: &str| {
            let mut endpoint = json!({
                "name": name, "path": format!("/{name}"), "transport": "http_sse",
                "message_path": format!("/{name}/message"), "admission": "body",
            });
            setup::merge(&mut endpoint, fields.clone());
            endpoint
        };
        let endpoints = [endpoint("h1"), endpoint("h2")];
        setup.plugin(json!({"sweep_interval": "100ms", "endpoints": endpoints}))
    }
}

/// Opens a stream, and reads it up to the end of its first event. Returns the URI for POSTs.
async fn open(stage: &Stage) -> (Stream, String) {
    let mut stream = stage.client.open(Call::get()).await;
    assert_eq!(stream.status, 200);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        let part = stream
            .next()
            .await
            .expect("the stream is open")
            .expect("and not cut");
        text.push_str(std::str::from_utf8(&part).expect("text"));
    }
    let uri = text
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .expect("data");
    (stream, uri.to_owned())
}

/// The status of the answer to a message to this URI.
async fn post(stage: &Stage, uri: &str) -> u16 {
    stage.client.send(Call::post_bytes(PING).path(uri)).await.status
}

fn messages(stage: &Stage) -> usize {
    stage.server.count(&format!("{}/message", stage.path))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_as_long_as_its_stream() {
    everywhere(
        http_sse(json!({"unknown_session": "reject"})),
        Reply::http_sse,
        |stage| async move {
            let (stream, uri) = open(&stage).await;
            // The session is in the table before its client can know of it.
            assert_eq!(post(&stage, &uri).await, 202);
            stage.expect("active", 1).await;
            stage.expect("streams", 1).await;
            // An answer to a message never ends the session.
            let answered_404 = Call::post_bytes(PING).path(&uri).reply("404");
            assert_eq!(stage.client.send(answered_404).await.status, 404);
            assert_eq!(post(&stage, &uri).await, 202);
            let reached = messages(&stage);
            drop(stream);
            stage.expect("active", 0).await;
            stage.expect("streams", 0).await;
            for gone in [uri.as_str(), &format!("{}/message?session_id=never", stage.path)] {
                let answer = stage.client.send(Call::post_bytes(PING).path(gone)).await;
                expect_refused(&answer, 404, -32001, "Session not found", None);
            }
            assert_eq!(messages(&stage), reached);
            // The server judges a message without an id.
            assert_eq!(post(&stage, &format!("{}/message", stage.path)).await, 202);
            assert_eq!(
                (stage.stat("created"), stage.stat("ended.reason.stream_closed")),
                (1, 1)
            );
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_passes_untracked() {
    everywhere(http_sse(json!({})), Reply::http_sse, |stage| async move {
        assert_eq!(
            post(&stage, &format!("{}/message?sessionId=x", stage.path)).await,
            202
        );
        stage.expect("untracked", 1).await;
        assert_eq!(stage.stat("active"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hundred_and_first_stream_is_refused_before_the_server_sees_it() {
    everywhere(
        http_sse(json!({"max_sessions": 100})),
        Reply::http_sse,
        |stage| async move {
            let mut streams = Vec::new();
            for _ in 0..100 {
                streams.push(open(&stage).await);
            }
            let reached = stage.server.count(stage.path);
            let answer = stage.client.send(Call::get()).await;
            expect_refused(&answer, 429, -32603, "Too many open sessions", None);
            assert_eq!(answer.header("retry-after"), Some("5"));
            assert_eq!((stage.server.count(stage.path), reached), (100, 100));
            streams.pop();
            stage.expect("active", 99).await;
            streams.push(open(&stage).await);
            drop(streams);
            stage.expect("active", 0).await;
            assert_eq!(stage.stat("ended.reason.stream_closed"), 101);
        },
    )
    .await;
}

async fn burst(workers: u32, http: Http) {
    let gate = Gate::closed();
    let held = gate.clone();
    let server = OddServer::start(move |request| Reply::http_sse(request).held_by(&held)).await;
    let setup = Setup::new(server.address()).workers(workers);
    let gateway = http_sse(json!({"max_sessions": 5}))(setup).start().await;
    let gets: Vec<_> = (0..20)
        .map(|_| {
            let client = gateway.client(http).at("/h1");
            tokio::spawn(async move { client.open(Call::get()).await })
        })
        .collect();
    gateway.expect("endpoint.h1.rejected.reason.capacity", 15).await;
    assert_eq!((gateway.stat("vm.reserved"), server.count("/h1")), (5, 5));
    gate.open();
    let mut streams = Vec::new();
    for get in gets {
        streams.push(get.await.expect("an answer"));
    }
    gateway.expect("vm.active", 5).await;
    assert_eq!(gateway.stat("vm.reserved"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_gets_never_passes_the_cap() {
    for workers in [1, 2] {
        for http in gateway::client::BOTH {
            burst(workers, http).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_that_break_off_leave_nothing() {
    everywhere(
        http_sse(json!({"max_sessions": 100})),
        Reply::http_sse,
        |stage| async move {
            for round in 1..=20 {
                let mut streams = Vec::new();
                for turn in 0..50 {
                    // Some leave before they got the event.
                    streams.push(if turn % 2 == 0 {
                        open(&stage).await.0
                    } else {
                        stage.client.open(Call::get()).await
                    });
                }
                stage.expect("streams", 50).await;
                drop(streams);
                stage.expect("streams", 0).await;
                stage.expect("active", 0).await;
                assert_eq!(stage.stat("ended.reason.stream_closed"), stage.stat("created"));
                assert!(stage.stat("created") >= round * 25);
            }
            assert_eq!(stage.stat("reserved"), 0);
            drop(open(&stage).await);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_before_the_answer_give_the_place_back() {
    let behaviour = |_: &Request| Reply::sse().held_by(&Gate::closed());
    everywhere(
        http_sse(json!({"max_sessions": 50})),
        behaviour,
        |stage| async move {
            for _ in 0..4 {
                let gets: Vec<_> = (0..50)
                    .map(|_| {
                        let client = stage.client.clone();
                        tokio::spawn(async move { client.try_open(Call::get()).await.is_ok() })
                    })
                    .collect();
                stage.expect("reserved", 50).await;
                gets.iter().for_each(tokio::task::JoinHandle::abort);
                stage.expect("reserved", 0).await;
            }
            assert_eq!((stage.stat("created"), stage.stat("streams")), (0, 0));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_s_end_of_a_stream_ends_the_session() {
    let behaviour = |request: &Request| {
        let uri = format!("{}/message?session_id={}", request.path, request.number);
        let stream = Reply::sse().chunk(format!("event: endpoint\ndata: {uri}\n\n"));
        match request.header("x-end") {
            Some("break") => stream.broken_off(),
            _ => stream,
        }
    };
    everywhere(http_sse(json!({})), behaviour, |stage| async move {
        for (turn, how) in (1..).zip(["break", "whole", "break", "whole"]) {
            let _ = stage
                .client
                .open(Call::get().header("x-end", how))
                .await
                .ended()
                .await;
            stage.expect("ended.reason.stream_closed", turn).await;
            assert_eq!((stage.stat("created"), stage.stat("active")), (turn, 0));
        }
        stage.expect("streams", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_answers_give_the_place_back() {
    everywhere(
        http_sse(json!({"max_sessions": 1})),
        Reply::http_sse,
        |stage| async move {
            for status in ["401", "404", "405", "500"] {
                let answer = stage.client.send(Call::get().reply(status)).await;
                assert_eq!(answer.status.to_string(), status);
                stage.expect("reserved", 0).await;
            }
            assert_eq!(
                (stage.stat("created"), stage.stat("rejected.reason.capacity")),
                (0, 0)
            );
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_is_found_wherever_it_is_cut_and_passes_unchanged() {
    const STREAM: &str = "\u{feff}: hi\r\n\r\nid: 1\revent: endpoint\ndata: https://x/y?a=1&\rdata: session_id=a%2Db\n\r\nevent: message\ndata: {}\n\n";
    // The server cuts the event where the client says.
    let behaviour = |request: &Request| {
        let cut: usize = request
            .header("x-cut")
            .and_then(|cut| cut.parse().ok())
            .unwrap_or(0);
        let (first, second) = STREAM.as_bytes().split_at(cut);
        Reply::sse().chunk(first).chunk(second).left_open()
    };
    everywhere(http_sse(json!({})), behaviour, |stage| async move {
        let boundaries = (0..STREAM.len())
            .step_by(3)
            .chain(STREAM.len() - 3..=STREAM.len());
        for (turn, cut) in (1..).zip(boundaries) {
            let mut stream = stage
                .client
                .open(Call::get().header("x-cut", cut.to_string()))
                .await;
            let mut bytes = Vec::new();
            while bytes.len() < STREAM.len() {
                bytes.extend(
                    stream
                        .next()
                        .await
                        .expect("the stream is open")
                        .expect("and not cut"),
                );
            }
            assert_eq!(bytes, STREAM.as_bytes(), "cut at {cut}");
            stage.expect("created", turn).await;
            drop(stream);
            stage.expect("ended.reason.stream_closed", turn).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_event_in_time_the_stream_itself_is_the_session() {
    let behaviour = |_: &Request| Reply::sse().chunk(": nothing\n\n").left_open();
    let setup = http_sse(json!({"max_sessions": 1, "initialize_timeout": "1s"}));
    everywhere(setup, behaviour, |stage| async move {
        let stream = stage.client.open(Call::get()).await;
        assert_eq!(stage.client.send(Call::get()).await.status, 429);
        stage.expect("active", 1).await;
        stage.expect("created", 1).await;
        assert_eq!((stage.stat("reserved"), stage.stat("streams")), (0, 1));
        assert_eq!(stage.client.send(Call::get()).await.status, 429);
        drop(stream);
        stage.expect("active", 0).await;
        stage.expect("ended.reason.stream_closed", 1).await;
        assert_eq!((stage.stat("reserved"), stage.stat("streams")), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lifetime_closes_the_stream() {
    let setup = http_sse(json!({"idle_timeout": "1s", "max_lifetime": "3s"}));
    everywhere(setup, Reply::http_sse, |stage| async move {
        let (stream, _) = open(&stage).await;
        // The open stream keeps the session past its idle timeout.
        let is_whole = stream.ended().await;
        assert_eq!(
            is_whole,
            !tells_of_broken_answers(stage.http),
            "the stream is cut"
        );
        stage.expect("active", 0).await;
        assert_eq!(
            (
                stage.stat("ended.reason.lifetime"),
                stage.stat("ended.reason.idle")
            ),
            (1, 0)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_compressed_stream_is_asked_for() {
    everywhere(http_sse(json!({})), Reply::http_sse, |stage| async move {
        let call = Call::get()
            .header("accept-encoding", "gzip")
            .header("x-kept", "yes");
        let stream = stage.client.open(call).await;
        let seen = stage.last_seen();
        assert_eq!(
            (seen.header("accept-encoding"), seen.header("x-kept")),
            (None, Some("yes"))
        );
        drop(stream);
        stage.expect("active", 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_and_the_new_transport_share_a_gateway() {
    let server = OddServer::start(|request| match request.path.as_str() {
        "/mcp" => Reply::polite(request),
        _ => Reply::http_sse(request),
    })
    .await;
    let plugin = json!({"max_sessions": 2, "endpoints": [
        {"name": "mcp", "path": "/mcp", "admission": "body"},
        {"name": "sse", "path": "/sse", "transport": "http_sse", "message_path": "/sse/message"},
    ]});
    let gateway = Setup::new(server.address()).plugin(plugin).start().await;
    let client = gateway.client(Http::One);
    // A client that first tries the new transport and then falls back.
    let probe = Call::initialize().path("/sse").reply("405");
    assert_eq!(client.send(probe).await.status, 405);
    let stream = client.open(Call::get().path("/sse")).await;
    assert_eq!(stream.status, 200);
    let session = client.open_session().await;
    assert_eq!(client.initialize().await.status, 429);
    drop(stream);
    gateway.expect("vm.active", 1).await;
    let other = client.open_session().await;
    assert_eq!(client.ping(&session).await.status, 200);
    assert_eq!(client.ping(&other).await.status, 200);
    assert_eq!(gateway.stat("endpoint.sse.created"), 1);
}

/// This is no test but the process that [`a_killed_client_s_place_is_usable_at_once`] kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as a process of its own"]
async fn client_process() {
    let variable = |name: &str| std::env::var(name).expect(name);
    let address = variable("MSF_GATEWAY").parse().expect("an address");
    let http = if variable("MSF_HTTP") == "2" {
        Http::Two
    } else {
        Http::One
    };
    let client = gateway::Client::new(address, http).at(&variable("MSF_PATH"));
    let stream = client.open(Call::get()).await;
    // Until it is killed.
    stream.ended().await;
}

fn client_process_of(gateway: &Gateway, http: Http) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "http_sse::client_process", "--ignored"])
        .env("MSF_GATEWAY", gateway.address().to_string())
        .env("MSF_HTTP", if http == Http::Two { "2" } else { "1" })
        .env("MSF_PATH", "/h1")
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts")
}

/// The time from SIGKILL until another client has the place.
async fn time_until_usable(gateway: &Gateway, http: Http) -> Duration {
    let client = gateway.client(http).at("/h1");
    let mut process = client_process_of(gateway, http);
    gateway.expect("vm.active", 1).await;
    assert_eq!(client.send(Call::get()).await.status, 429);
    let killed = Instant::now();
    process.kill().expect("SIGKILL");
    let stream = loop {
        let stream = client.open(Call::get()).await;
        if stream.status == 200 {
            break stream;
        }
        let _ = stream.whole().await;
        assert!(killed.elapsed() < poll::SOON, "the place does not come back");
    };
    let took = killed.elapsed();
    process.wait().expect("it is gone");
    drop(stream);
    gateway.expect("vm.active", 0).await;
    took
}

/// The runs come one after the other, and sweeps are far apart, so that only the stream's end can free the place. The
/// test asserts the shortest of five times: the others show how busy the machine is with other tests.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_s_place_is_usable_at_once() {
    let server = OddServer::start(Reply::http_sse).await;
    for (workers, http) in [(1, Http::One), (1, Http::Two), (2, Http::One), (2, Http::Two)] {
        let setup = http_sse(json!({"max_sessions": 1}))(Setup::new(server.address()));
        let rarely = json!({"sweep_interval": "60s"});
        let gateway = setup.top(rarely).workers(workers).start().await;
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(time_until_usable(&gateway, http).await);
        }
        times.sort();
        println!("{workers} workers, HTTP/{http:?}: usable {times:.1?} after SIGKILL");
        assert!(times[0] < Duration::from_millis(100), "{times:?}");
        // A client that took the place may have left before its event came.
        let ended = gateway.stat("endpoint.h1.ended.reason.stream_closed");
        assert!(ended >= 5 && ended == gateway.stat("endpoint.h1.created"));
    }
}
