//! Bytes that no honest client or server sends. Each request gets its answer, the VM never traps, and no session is
//! lost.

use gateway::{Call, Gateway, OddServer, RawConnection, Reply, Setup, everywhere, message, poll};
use serde_json::json;

/// A gateway with one live session. If it survives, nothing was lost.
async fn with_a_session(workers: u32) -> (OddServer, Gateway, String) {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = Setup::new(server.address()).workers(workers).start().await;
    let session = gateway.client(gateway::Http::One).open_session().await;
    (server, gateway, session)
}

async fn nothing_lost(gateway: &Gateway, session: &str) {
    gateway.expect("vm.active", 1).await;
    gateway.expect("vm.reserved", 0).await;
    for http in gateway::client::BOTH {
        assert_eq!(gateway.client(http).ping(session).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn header_bytes_beyond_ascii() {
    let (_server, gateway, session) = with_a_session(2).await;
    let initialize = message::initialize(1).to_string();
    let headers: [(&[u8], u16); 10] = [
        (b"mcp-session-id: \xff\xfe", 404),
        (b"mcp-session-id: \x01", 400),
        (b"mcp-session-id: caf\xc3\xa9", 404),
        (b"Mcp-Session-Id: a\r\nmCP-sESSION-iD: b", 404),
        (b"mcp-session-id:", 404),
        (b"mcp-session-id: \t ", 404),
        (b"mcp-protocol-version: \xff", 202),
        (b"mcp-method: \xc3\x28", 202),
        (b"user-agent: \xf0\x28\x8c\x28", 202),
        (b"x-\xff: y", 400),
    ];
    for (line, status) in headers {
        let mut connection = gateway.connect().await;
        connection
            .post("/mcp", &[line, b"x-reply: 202"], initialize.as_bytes())
            .await;
        let answer = connection.answer().await.expect("an answer");
        assert_eq!(answer.status, status, "{}: {answer:?}", line.escape_ascii());
    }
    nothing_lost(&gateway, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_hosts_beyond_ascii() {
    let (_server, gateway, session) = with_a_session(1).await;
    let requests: [&[u8]; 6] = [
        b"GET /mcp\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /mcp?\xff HTTP/1.1\r\nhost: x\r\nmcp-session-id: y\r\n\r\n",
        b"GET /mcp HTTP/1.1\r\nhost: \xff\r\nmcp-session-id: y\r\n\r\n",
        b"GET /mcp HTTP/1.1\r\nmcp-session-id: y\r\n\r\n",
        b"\xff\xff\xff\xff\r\n\r\n",
        b"GET /mcp HTTP/9.9\r\n\r\n",
    ];
    for request in requests {
        let mut connection = gateway.connect().await;
        connection.send(request).await;
        // The gateway answers or closes. If it serves the GET, its stream ends with the connection.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(300), connection.answer()).await;
    }
    let mut stats = gateway.stats();
    poll::eventually(poll::SOON, "all streams are over", || {
        stats = gateway.stats();
        stats["endpoint.mcp.streams"] == 0
    })
    .await;
    gateway.expect("vm.reserved", 0).await;
    assert_eq!(
        gateway.client(gateway::Http::One).ping(&session).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_every_kind_of_garbage() {
    let (_server, gateway, session) = with_a_session(2).await;
    let nested =
        |open: &str, close: &str, depth| [open.repeat(depth), close.repeat(depth)].concat().into_bytes();
    let bodies: Vec<Vec<u8>> = vec![
        (0..=255).collect(),
        vec![0; 4096],
        nested("[", "]", 200_000),
        nested("{\"a\":", "}", 50_000),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "m".repeat(400_000)).into_bytes(),
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"ping"}}"#,
            "9".repeat(400_000)
        )
        .into_bytes(),
        format!(
            "[{}]",
            vec![r#"{"jsonrpc":"2.0","method":"x"}"#; 10_000].join(",")
        )
        .into_bytes(),
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","id":2,"method":"initialize"}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"initialize"}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":1e400,"method":"ping"}"#.to_vec(),
        "\u{feff}{}".as_bytes().to_vec(),
    ];
    for http in gateway::client::BOTH {
        let client = gateway.client(http);
        for body in &bodies {
            let answer = client.send(Call::post_bytes(body.clone()).reply("202")).await;
            assert!([202, 400, 413].contains(&answer.status), "{answer:?}");
            let answer = client
                .send(Call::post_bytes(body.clone()).session(&session).reply("202"))
                .await;
            assert_eq!(answer.status, 202);
        }
    }
    nothing_lost(&gateway, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_servers_should_not_send() {
    let stage = |setup: Setup| setup.endpoint(json!({"max_sessions": 2}));
    everywhere(stage, Reply::as_told, |stage| async move {
        // Several ids, empty ones, odd bytes. The answer may open a session or not, but no reservation may be lost.
        let ids: [&[u8]; 4] = [b"", b"\xff\xfe", b"a b", b"tab\tbed"];
        for id in ids {
            let answer = stage
                .client
                .send(Call::initialize().reply("200").header("x-mint", id))
                .await;
            assert_eq!(answer.status, 200, "{}", id.escape_ascii());
            stage.expect("reserved", 0).await;
            assert_eq!(stage.stat("active"), 0, "{}", id.escape_ascii());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_several_ids() {
    let odd = |request: &gateway::Request| match request.rpc_method().as_str() {
        "initialize" => Reply::initialized(request).session("one").session("two"),
        _ => Reply::as_told(request),
    };
    everywhere(
        |setup| setup,
        odd,
        |stage| async move {
            let answer = stage.client.initialize().await;
            assert_eq!(answer.status, 200);
            stage.expect("reserved", 0).await;
            assert_eq!((stage.stat("active"), stage.stat("created")), (0, 0));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_at_any_point_of_a_request() {
    let (server, gateway, session) = with_a_session(2).await;
    let body = message::initialize(1).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\nx-reply: hang\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = format!("{head}{body}").into_bytes();
    for length in (1..=request.len()).step_by(3).chain([request.len()]) {
        let mut connection: RawConnection = gateway.connect().await;
        connection.send(&request[..length]).await;
        if length == request.len() {
            let reached = || {
                server.seen("/mcp").iter().any(|request| {
                    request.rpc_method() == "initialize" && request.header("x-reply").is_some()
                })
            };
            poll::eventually(poll::SOON, "the whole request arrives", reached).await;
        }
        connection.leave();
    }
    nothing_lost(&gateway, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_that_leave_at_once() {
    everywhere(
        |setup| setup,
        Reply::as_told,
        |stage| async move {
            let session = stage.client.open_session().await;
            let leaving = (0..200).map(|number: u64| {
                let client = stage.gateway.client(stage.http).at(stage.path);
                let call = match number % 4 {
                    0 => Call::initialize().reply("hang"),
                    1 => Call::get().session(&session),
                    2 => Call::tools_list().session(&session).reply("hang"),
                    _ => Call::initialize(),
                };
                tokio::spawn(async move {
                    let patience = std::time::Duration::from_millis(number);
                    let _ = tokio::time::timeout(patience, client.try_open(call)).await;
                })
            });
            for left in leaving.collect::<Vec<_>>() {
                left.await.expect("no panic");
            }
            stage.expect("reserved", 0).await;
            stage.expect("streams", 0).await;
            stage.expect_alive(&session).await;
            assert_eq!(stage.stat("active"), stage.stat("created"));
        },
    )
    .await;
}
