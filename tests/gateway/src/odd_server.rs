//! A server that answers as a test says, and remembers every request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::poll;
use crate::reply::{Reply, ReplyBody};

/// A request as the server got it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number among all requests, from 0.
    pub number: usize,
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
    /// Whether the whole request came.
    pub complete: bool,
}

impl Request {
    /// The body, `null` where it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The method of the JSON-RPC message, empty where there is none.
    pub fn rpc_method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    /// The value of a header, where there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `Mcp-Session-Id` that came along.
    pub fn session(&self) -> Option<&str> {
        self.header("mcp-session-id")
    }
}

type Behaviour = dyn Fn(&Request) -> Reply + Send + Sync;

/// The server. Ends with this value.
pub struct OddServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    behaviour: Box<Behaviour>,
    seen: Mutex<Vec<Request>>,
}

impl OddServer {
    /// Starts a server that answers each request as `behaviour` says, over HTTP/1.1 or HTTP/2 as the gateway chooses.
    pub async fn start(behaviour: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(0, behaviour).await
    }

    /// The same at this port, which a server that has just ended may still have for a moment.
    pub async fn start_at(port: u16, behaviour: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let bind = || std::net::TcpListener::bind(("127.0.0.1", port)).ok();
        let listener = poll::until(poll::SOON, bind).await.expect("a port");
        listener.set_nonblocking(true).expect("a socket of ours");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            behaviour: Box::new(behaviour),
            seen: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Starts a server that behaves as a good MCP server does; see [`Reply::polite`].
    pub async fn polite() -> Self {
        Self::start(Reply::polite).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far for `path`, including those whose body is still coming.
    pub fn seen(&self, path: &str) -> Vec<Request> {
        self.shared
            .seen()
            .iter()
            .filter(|request| request.path == path)
            .cloned()
            .collect()
    }

    /// The number of requests for `path`.
    pub fn count(&self, path: &str) -> usize {
        self.shared
            .seen()
            .iter()
            .filter(|request| request.path == path)
            .count()
    }

    /// The number of requests for any path.
    pub fn total(&self) -> usize {
        self.shared.seen().len()
    }
}

impl Drop for OddServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Vec<Request>> {
        self.seen.lock().expect("no test panics with the lock held")
    }

    /// Remembers the request's head at once, its body when it has come.
    async fn receive(&self, request: http::Request<Incoming>) -> Request {
        let (head, body) = request.into_parts();
        let number = self.remember(&head);
        let collected = body.collect().await;
        let mut seen = self.seen();
        if let Ok(collected) = collected {
            seen[number].trailers = collected.trailers().cloned().unwrap_or_default();
            seen[number].body = collected.to_bytes();
            seen[number].complete = true;
        }
        seen[number].clone()
    }

    fn remember(&self, head: &http::request::Parts) -> usize {
        let mut seen = self.seen();
        let number = seen.len();
        seen.push(Request {
            number,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            headers: head.headers.clone(),
            body: Bytes::new(),
            trailers: HeaderMap::new(),
            complete: false,
        });
        number
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping this set ends every connection with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        connections.spawn(serve(socket, shared.clone()));
    }
}

async fn serve(socket: tokio::net::TcpStream, shared: Arc<Shared>) {
    let answer = |request| {
        let shared = shared.clone();
        async move {
            let request = shared.receive(request).await;
            let reply = (shared.behaviour)(&request);
            reply.perform().await
        }
    };
    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // A reset is an error here. The test looks at the client's side of it.
    let _ = http
        .serve_connection(TokioIo::new(socket), service_fn(answer))
        .await;
}

/// To make a reset, the service fails; hyper reports that as another kind of error.
pub(crate) type Performed = Result<http::Response<ReplyBody>, ResetByTest>;

/// The server was told to break the connection off.
#[derive(Debug)]
pub struct ResetByTest;

impl std::fmt::Display for ResetByTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset by the test")
    }
}

impl std::error::Error for ResetByTest {}

impl From<Infallible> for ResetByTest {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
