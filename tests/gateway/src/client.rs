//! An HTTP client over HTTP/1.1 or HTTP/2, with the requests MCP clients send.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::answer::{Answer, Stream, causes};
use crate::call::{Call, RequestBody, Upload};
use crate::message;

/// Every answer of the gateway comes within this time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The protocol between client and gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// Both.
pub const BOTH: [Http; 2] = [Http::One, Http::Two];

/// A client. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    http: hyper_util::client::legacy::Client<ToGateway, RequestBody>,
    /// The host that its requests name.
    authority: String,
    path: String,
}

/// Connects to the gateway whatever host a request names.
#[derive(Clone)]
struct ToGateway(SocketAddr);

impl Client {
    /// A client of the gateway at `address`, for `/mcp`.
    pub fn new(address: SocketAddr, http: Http) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .http2_only(http == Http::Two)
            // hyper repeats only a request of which no byte was sent: Envoy had closed the pooled connection before. So
            // no request reaches the gateway twice.
            .retry_canceled_requests(true)
            .build(ToGateway(address));
        Self {
            http,
            authority: address.to_string(),
            path: "/mcp".to_owned(),
        }
    }

    /// The same client, for another host, to which the gateway answers at the same address.
    pub fn naming(&self, authority: &str) -> Self {
        Self {
            authority: authority.to_owned(),
            ..self.clone()
        }
    }

    /// The same client, for another path.
    pub fn at(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn try_open(&self, mut call: Call) -> Result<Stream, String> {
        let body = call.whole_body();
        self.dispatch(call.into_request(&self.authority, &self.path, body))
            .await
    }

    async fn dispatch(&self, request: http::Request<RequestBody>) -> Result<Stream, String> {
        let described = format!("{} {}", request.method(), request.uri());
        let answer = tokio::time::timeout(PATIENCE, self.http.request(request)).await;
        let answer = answer.map_err(|_| format!("{described}: no answer in {PATIENCE:?}"))?;
        let (head, body) = answer
            .map_err(|error| format!("{described}: {}", causes(&error)))?
            .into_parts();
        Ok(Stream {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn open(&self, call: Call) -> Stream {
        self.try_open(call)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends a request and waits for the whole answer. `Err` if the connection broke before.
    pub async fn try_send(&self, call: Call) -> Result<Answer, String> {
        self.try_open(call).await?.whole().await
    }

    /// Sends a request and waits for the whole answer.
    pub async fn send(&self, call: Call) -> Answer {
        self.try_send(call)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a request whose body the test sends piece by piece. The handle gives the answer when it comes.
    pub fn upload(&self, call: Call) -> (Upload, tokio::task::JoinHandle<Result<Answer, String>>) {
        let (upload, body) = Upload::start();
        let request = call.into_request(&self.authority, &self.path, body);
        let client = self.clone();
        let answer = tokio::spawn(async move { client.dispatch(request).await?.whole().await });
        (upload, answer)
    }

    /// `initialize`, as any client sends it.
    pub async fn initialize(&self) -> Answer {
        self.send(Call::initialize()).await
    }

    /// Opens a session.
    ///
    /// # Panics
    /// If there is no 200 with an id.
    pub async fn open_session(&self) -> String {
        let answer = self.initialize().await;
        assert_eq!(answer.status, 200, "initialize was refused: {answer:?}");
        answer.session().expect("an id").to_owned()
    }

    /// A request in a session: `ping`.
    pub async fn ping(&self, session: &str) -> Answer {
        let ping = message::request(7, "ping", json!({}));
        self.send(Call::post(&ping).session(session).revision(message::REVISION))
            .await
    }

    /// A message in a session.
    pub async fn post(&self, session: &str, message: &Value) -> Answer {
        self.send(Call::post(message).session(session).revision(message::REVISION))
            .await
    }

    /// The session's event stream.
    pub async fn open_stream(&self, session: &str) -> Stream {
        self.open(Call::get().session(session).revision(message::REVISION))
            .await
    }

    /// The end of a session.
    pub async fn delete(&self, session: &str) -> Answer {
        self.send(Call::delete().session(session).revision(message::REVISION))
            .await
    }
}

impl Service<Uri> for ToGateway {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            Ok(TokioIo::new(socket))
        })
    }
}
