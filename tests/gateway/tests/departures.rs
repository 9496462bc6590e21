//! Clients and servers that leave, by the thousand and at every stage. They leave nothing behind.

use std::process::{Command, Stdio};

use gateway::{Call, Gateway, Http, McpServer, OddServer, RawConnection, Reply, Setup, message, poll};
use serde_json::json;

const TIMES: usize = 1_000;
const AT_ONCE: usize = 50;

/// Stages of a request at which its client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    HeadersNotEnded,
    BodyHeld,
    Forwarded,
    Streaming,
}

async fn leave_at(stage: Stage) {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = Setup::new(server.address()).workers(2).start().await;
    let session = gateway.client(Http::One).open_session().await;
    for _ in 0..TIMES / AT_ONCE {
        let reached = server.count("/mcp");
        let mut connections = Vec::new();
        for _ in 0..AT_ONCE {
            let mut connection = gateway.connect().await;
            connection.send(bytes_until(stage, &session)).await;
            connections.push(connection);
        }
        match stage {
            Stage::HeadersNotEnded => {}
            Stage::BodyHeld => {
                poll::eventually(poll::SOON, "Envoy has the heads", || {
                    gateway.envoy_stat("http.mcp.downstream_rq_active") >= AT_ONCE as u64
                })
                .await;
            }
            Stage::Forwarded => {
                gateway.expect("vm.reserved", AT_ONCE as u64).await;
                assert!(server.count("/mcp") > reached);
            }
            Stage::Streaming => gateway.expect("endpoint.mcp.streams", AT_ONCE as u64).await,
        }
        connections.into_iter().for_each(RawConnection::leave);
        gateway.expect("vm.reserved", 0).await;
        gateway.expect("endpoint.mcp.streams", 0).await;
    }
    nothing_is_left(&gateway, &session).await;
}

fn bytes_until(stage: Stage, session: &str) -> Vec<u8> {
    let body = message::initialize(1).to_string();
    let length = body.len();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-reply: hang\r\ncontent-length: {length}\r\n"
    );
    match stage {
        Stage::HeadersNotEnded => head,
        Stage::BodyHeld => format!("{head}\r\n{}", &body[..length / 2]),
        Stage::Forwarded => format!("{head}\r\n{body}"),
        Stage::Streaming => format!("GET /mcp HTTP/1.1\r\nhost: x\r\nmcp-session-id: {session}\r\n\r\n"),
    }
    .into_bytes()
}

async fn nothing_is_left(gateway: &Gateway, session: &str) {
    gateway.expect("vm.active", 1).await;
    gateway.expect("vm.reserved", 0).await;
    gateway.expect("endpoint.mcp.streams", 0).await;
    assert_eq!(gateway.client(Http::Two).ping(session).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_leave_before_their_headers_end() {
    leave_at(Stage::HeadersNotEnded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_leave_while_their_body_is_held() {
    leave_at(Stage::BodyHeld).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_leave_before_the_answer() {
    leave_at(Stage::Forwarded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_leave_their_streams() {
    leave_at(Stage::Streaming).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_half_requests_that_never_finish() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = Setup::new(server.address())
        .workers(2)
        .endpoint(json!({"max_sessions": 2}))
        .connection_manager(json!({"request_timeout": "2s"}))
        .start()
        .await;
    let mut halves = Vec::new();
    for _ in 0..200 {
        let mut connection = gateway.connect().await;
        connection.send(bytes_until(Stage::BodyHeld, "")).await;
        halves.push(connection);
    }
    // They take up no place that others need.
    let session = gateway.client(Http::One).open_session().await;
    assert_eq!(gateway.stat("vm.reserved"), 0);
    for half in &mut halves {
        assert!(half.answer().await.is_none_or(|answer| answer.status == 408));
    }
    nothing_is_left(&gateway, &session).await;
}

/// This is no test but the process that [`a_client_process_is_killed`] kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as a process of its own"]
async fn client_process() {
    let variable = |name: &str| std::env::var(name).expect(name);
    let address = variable("MSF_GATEWAY").parse().expect("an address");
    let client = gateway::Client::new(address, Http::One);
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(client.open_stream(&variable("MSF_SESSION")).await);
    }
    let _ = client.send(Call::initialize().reply("hang")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_process_is_killed() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = Setup::new(server.address()).workers(2).start().await;
    let session = gateway.client(Http::One).open_session().await;
    let mut process = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "departures::client_process", "--ignored"])
        .env("MSF_GATEWAY", gateway.address().to_string())
        .env("MSF_SESSION", &session)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    gateway.expect("endpoint.mcp.streams", 20).await;
    gateway.expect("vm.reserved", 1).await;
    process.kill().expect("SIGKILL");
    process.wait().expect("it is gone");
    nothing_is_left(&gateway, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_killed_and_comes_back() {
    let server = McpServer::start(0).await.expect("a server");
    let address = server.address();
    let gateway = Setup::new(address).workers(2).start().await;
    let client = gateway.client(Http::One);
    let session = client.open_session().await;
    drop(server);
    for _ in 0..20 {
        assert_eq!(client.ping(&session).await.status, 503);
        assert_eq!(client.initialize().await.status, 503);
    }
    assert_eq!((gateway.stat("vm.active"), gateway.stat("vm.reserved")), (1, 0));
    let server = McpServer::start(address.port()).await.expect("the same port");
    // The server has forgotten the session, and says so.
    assert_eq!(client.ping(&session).await.status, 404);
    gateway.expect("endpoint.mcp.ended.reason.upstream_gone", 1).await;
    let session = client.open_session().await;
    assert_eq!(client.ping(&session).await.status, 200);
    gateway.expect("vm.active", 1).await;
    drop(server);
}
