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
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The tools. Their schemas and calls are written out: the macros that could write them take more of a first build than
/// all of this package.
#[derive(Clone)]
struct Tools;

#[derive(serde::Deserialize)]
struct Echo {
    message: String,
}

#[derive(serde::Deserialize)]
struct Add {
    a: f64,
    b: f64,
}

#[derive(serde::Deserialize)]
struct Slow {
    /// How many steps to take.
    steps: u32,
    /// How long each takes, in milliseconds.
    step_ms: u64,
}

/// The name, description and arguments of each tool.
fn tools() -> Vec<Tool> {
    let tool = |name, description, arguments: Value| {
        let required: Vec<&String> = arguments.as_object().into_iter().flat_map(Map::keys).collect();
        let schema = json!({"type": "object", "properties": arguments, "required": required});
        Tool::new(
            name,
            description,
            Map::from_iter(schema.as_object().cloned().unwrap_or_default()),
        )
    };
    let number = json!({"type": "number"});
    let count = |description| json!({"type": "integer", "minimum": 0, "description": description});
    vec![
        tool("add", "Adds two numbers", json!({"a": number, "b": number})),
        tool(
            "echo",
            "Says the message back",
            json!({"message": {"type": "string", "description": "What to say back."}}),
        ),
        tool(
            "slow",
            "Takes its time and tells how far it is",
            json!({
                "steps": count("How many steps to take."),
                "step_ms": count("How long each takes, in milliseconds."),
            }),
        ),
    ]
}

/// The arguments of a call.
fn arguments<T: DeserializeOwned>(call: Option<Map<String, Value>>) -> Result<T, ErrorData> {
    let read = serde_json::from_value(Value::Object(call.unwrap_or_default()));
    read.map_err(|error| ErrorData::invalid_params(error.to_string(), None))
}

impl Slow {
    /// Takes its steps, and tells the client of each if it has asked for it.
    async fn take(self, context: &RequestContext<RoleServer>) -> String {
        for step in 1..=self.steps {
            tokio::time::sleep(Duration::from_millis(self.step_ms)).await;
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, f64::from(step));
                let told = progress.with_total(f64::from(self.steps));
                let _ = context.peer.notify_progress(told).await;
            }
        }
        format!("{} steps", self.steps)
    }
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = match call.name.as_ref() {
            "add" => arguments(call.arguments).map(|Add { a, b }| (a + b).to_string())?,
            "echo" => arguments(call.arguments).map(|Echo { message }| message)?,
            "slow" => arguments::<Slow>(call.arguments)?.take(&context).await,
            name => return Err(ErrorData::invalid_params(format!("no tool {name}"), None)),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
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
