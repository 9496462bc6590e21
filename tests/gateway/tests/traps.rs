//! A worker's VM that crashes on purpose, by a module that never ships.

use gateway::{Call, Gateway, Http, OddServer, RawConnection, Reply, Setup, poll, setup};
use serde_json::json;

#[test]
fn what_ships_cannot_be_trapped_on_purpose() {
    let has_trap = |path: std::path::PathBuf| {
        let module = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mark = b"trapped on purpose";
        module.windows(mark.len()).any(|bytes| bytes == mark)
    };
    assert!(!has_trap(setup::module()));
    assert!(has_trap(setup::trap_module()), "the search finds nothing");
}

async fn trappable(server: &OddServer) -> Gateway {
    Setup::new(server.address())
        .workers(2)
        .endpoint(json!({"initialize_timeout": "4s"}))
        .filter(json!({"vm_config": {"code": {"local": {"filename": setup::trap_module()}}}}))
        .faults_expected()
        .start()
        .await
}

/// The status of a ping on this connection; 0 if it has closed.
async fn ping(connection: &mut RawConnection, session: &str) -> u16 {
    let header = format!("mcp-session-id: {session}");
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    connection.post("/mcp", &[header.as_bytes()], body).await;
    connection.answer().await.map_or(0, |answer| answer.status)
}

/// Pings on a new connection until the gateway answers 200.
async fn is_served(gateway: &Gateway, session: &str) {
    let end = std::time::Instant::now() + poll::SOON;
    let client = gateway.client(Http::One);
    loop {
        let status = client.ping(session).await.status;
        if status == 200 {
            return;
        }
        assert_eq!(status, 503, "only a dead VM refuses");
        assert!(std::time::Instant::now() < end, "the VM does not come back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_traps_takes_no_session_with_it() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = trappable(&server).await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(gateway.client(Http::One).open_session().await);
    }
    let mut connections = Vec::new();
    for _ in 0..16 {
        let mut connection = gateway.connect().await;
        assert_eq!(ping(&mut connection, &sessions[0]).await, 200);
        connections.push(connection);
    }
    // Very likely each worker has one that waits for its answer. Their reservations are in the ledger.
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let client = gateway.client(Http::One);
            tokio::spawn(async move { client.try_send(Call::initialize().reply("hang")).await })
        })
        .collect();
    gateway.expect("vm.reserved", 16).await;

    let mut fatal = gateway.connect().await;
    fatal
        .send(b"GET /mcp HTTP/1.1\r\nhost: x\r\nx-trap-vm: 1\r\n\r\n")
        .await;
    let answer = fatal.answer().await.map_or(0, |answer| answer.status);
    assert_eq!(answer, 503);
    let mut undisturbed = 0;
    for connection in &mut connections {
        undisturbed += u32::from(ping(connection, &sessions[0]).await == 200);
    }
    assert!(undisturbed > 0, "the other worker goes on");
    for session in &sessions {
        is_served(&gateway, session).await;
    }
    assert_eq!(gateway.stat("vm.active"), 8);
    // The dead worker's reservations come back at their deadline, and so do the other's.
    gateway.expect("vm.reserved", 0).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(gateway.stat("vm.active"), 8);
    assert_eq!(gateway.stat("repaired"), 0);
    for session in &sessions {
        assert_eq!(gateway.client(Http::Two).delete(session).await.status, 200);
    }
    gateway.expect("vm.active", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_may_trap_again_and_again() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = trappable(&server).await;
    let session = gateway.client(Http::One).open_session().await;
    for _ in 0..4 {
        let answer = gateway
            .client(Http::One)
            .send(Call::get().header("x-trap-vm", "1"))
            .await;
        assert_eq!(answer.status, 503);
        is_served(&gateway, &session).await;
    }
    gateway.expect("vm.active", 1).await;
    assert_eq!(gateway.stat("repaired"), 0);
}
