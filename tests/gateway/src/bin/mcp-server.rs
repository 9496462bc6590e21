//! The MCP server of the tests, by itself: `mcp-server [port]`. With 0 or nothing the system chooses the port.

use gateway::McpServer;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .unwrap_or(0);
    let server = McpServer::start(port).await?;
    println!(
        "http://{0}/mcp, its number of sessions at http://{0}/stats",
        server.address()
    );
    server.serve().await;
    Ok(())
}
