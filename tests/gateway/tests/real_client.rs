//! The official SDK on both sides.

use std::net::SocketAddr;
use std::time::Duration;

use gateway::{Gateway, McpServer, Setup};
use rmcp::model::CallToolRequestParams;
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{RoleClient, ServiceExt};
use serde_json::json;
use tokio::net::{TcpStream, UnixListener};

/// The SDK has a client that stands on the HTTP of these tests, where the usual one brings its own and 36 crates. It
/// speaks through a Unix socket, and what it sends there goes to the gateway as it is. `make conformance` has the other.
async fn connect(gateway: &Gateway) -> Result<RunningService<RoleClient, ()>, String> {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("gateway");
    let listener = UnixListener::bind(&socket).expect("a socket");
    tokio::spawn(forward(listener, gateway.address(), folder));
    let uri = format!("http://{}/mcp", gateway.address());
    let socket = socket.to_str().expect("a path of letters");
    ().serve(StreamableHttpClientTransport::from_unix_socket(socket, uri))
        .await
        .map_err(|error| error.to_string())
}

async fn forward(listener: UnixListener, gateway: SocketAddr, _folder: tempfile::TempDir) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut gateway = TcpStream::connect(gateway).await?;
            tokio::io::copy_bidirectional(&mut client, &mut gateway).await
        });
    }
}

async fn call(
    client: &RunningService<RoleClient, ()>,
    tool: &'static str,
    arguments: serde_json::Value,
) -> String {
    let arguments = arguments.as_object().cloned().expect("an object");
    let result = client
        .call_tool(CallToolRequestParams::new(tool).with_arguments(arguments))
        .await;
    let result = serde_json::to_value(result.expect("a result")).expect("JSON");
    result["content"][0]["text"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_lives_a_whole_session() {
    for workers in [1, 2] {
        let server = McpServer::start(0).await.expect("a server");
        let setup = Setup::new(server.address())
            .workers(workers)
            .endpoint(json!({"idle_timeout": "1s"}));
        let gateway = setup.start().await;
        let client = connect(&gateway).await.expect("a session");
        gateway.expect("endpoint.mcp.active", 1).await;
        // The client opens its event stream by itself.
        gateway.expect("endpoint.mcp.streams", 1).await;
        assert_eq!(client.list_all_tools().await.expect("tools").len(), 3);
        assert_eq!(call(&client, "echo", json!({"message": "hello"})).await, "hello");
        // The call takes longer than the idle timeout. A session in use is not idle.
        assert_eq!(
            call(&client, "slow", json!({"steps": 25, "step_ms": 100})).await,
            "25 steps"
        );
        client.cancel().await.expect("an end");
        gateway.expect("endpoint.mcp.ended.reason.client_delete", 1).await;
        gateway.expect("endpoint.mcp.active", 0).await;
        gateway.expect("endpoint.mcp.streams", 0).await;
        assert_eq!(server.sessions().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_that_the_gateway_is_full() {
    let server = McpServer::start(0).await.expect("a server");
    let full = json!({"max_sessions": 1});
    let gateway = Setup::new(server.address()).endpoint(full).start().await;
    let first = connect(&gateway).await.expect("a session");
    let refused = connect(&gateway).await.expect_err("a refusal");
    assert!(refused.contains("Too many open sessions"), "{refused}");
    first.cancel().await.expect("an end");
    gateway.expect("endpoint.mcp.active", 0).await;
    connect(&gateway).await.expect("a session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_session_was_ended_starts_a_new_one() {
    let server = McpServer::start(0).await.expect("a server");
    let lifetime = json!({"idle_timeout": "1s", "max_lifetime": "2s"});
    let gateway = Setup::new(server.address()).endpoint(lifetime).start().await;
    let client = connect(&gateway).await.expect("a session");
    gateway
        .expect_within(Duration::from_secs(15), "endpoint.mcp.ended.reason.lifetime", 1)
        .await;
    assert_eq!(call(&client, "echo", json!({"message": "again"})).await, "again");
    assert_eq!(gateway.stat("endpoint.mcp.created"), 2);
}
