//! A real MCP server on the official Rust SDK, with a few tools, some of which stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ProgressNotificationParam, RequestMetaObject, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{Peer, RoleServer, ServerHandler, schemars, tool, tool_handler, tool_router};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The tools.
#[derive(Clone)]
struct Tools;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    /// What to say back.
    message: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Add {
    a: f64,
    b: f64,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Slow {
    /// How many steps to take.
    steps: u32,
    /// How long each takes, in milliseconds.
    step_ms: u64,
}

#[tool_router]
impl Tools {
    #[tool(description = "Says the message back")]
    async fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        message
    }

    #[tool(description = "Adds two numbers")]
    async fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> String {
        (a + b).to_string()
    }

    #[tool(description = "Takes its time and tells how far it is")]
    async fn slow(
        &self,
        Parameters(Slow { steps, step_ms }): Parameters<Slow>,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> String {
        for step in 1..=steps {
            tokio::time::sleep(Duration::from_millis(step_ms)).await;
            if let Some(token) = meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, f64::from(step));
                let _ = client
                    .notify_progress(progress.with_total(f64::from(steps)))
                    .await;
            }
        }
        format!("{steps} steps")
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

type Mcp = StreamableHttpService<Tools, LocalSessionManager>;
type Sessions = Arc<LocalSessionManager>;
type Body = BoxBody<Bytes, std::convert::Infallible>;

/// The server, at `/mcp`; `/stats` tells how many sessions it holds. Ends with this value.
pub struct McpServer {
    address: SocketAddr,
    sessions: Sessions,
    accepting: JoinHandle<()>,
}

impl McpServer {
    /// Starts the server on a loopback port, 0 for one that the system chooses.
    pub async fn start(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let sessions = Sessions::default();
        let mcp = Mcp::new(
            || Ok(Tools),
            sessions.clone(),
            StreamableHttpServerConfig::default(),
        );
        let accepting = tokio::spawn(accept(listener, mcp, sessions.clone()));
        Ok(Self {
            address,
            sessions,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many sessions the server itself holds.
    pub async fn sessions(&self) -> usize {
        self.sessions.sessions.read().await.len()
    }

    /// Serves until the process ends.
    pub async fn serve(mut self) {
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, mcp: Mcp, sessions: Sessions) {
    // Dropping this set ends every connection with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        connections.spawn(connection(socket, mcp.clone(), sessions.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(socket: TcpStream, mcp: Mcp, sessions: Sessions) {
    let answer = move |request| answer(request, mcp.clone(), sessions.clone());
    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = http
        .serve_connection(TokioIo::new(socket), service_fn(answer))
        .await;
}

async fn answer(
    request: Request<Incoming>,
    mcp: Mcp,
    sessions: Sessions,
) -> Result<Response<Body>, std::convert::Infallible> {
    match request.uri().path() {
        "/mcp" => Ok(mcp.handle(request).await),
        "/stats" => {
            let count = sessions.sessions.read().await.len();
            Ok(Response::new(
                Full::from(format!("{{\"sessions\":{count}}}\n")).boxed(),
            ))
        }
        _ => Ok(Response::builder()
            .status(404)
            .body(Body::default())
            .expect("a valid answer")),
    }
}
