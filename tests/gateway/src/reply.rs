//! The answers an [`OddServer`](crate::OddServer) can be told to give.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use crate::message::REVISION;
use crate::odd_server::{Performed, Request, ResetByTest};

pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, ResetByTest>;

/// Holds answers back until a test lets them pass.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one answer pass.
    pub fn let_one_through(&self) {
        self.0.add_permits(1);
    }

    /// Lets all answers pass, also later ones.
    pub fn open(&self) {
        self.0.close();
    }

    async fn pass(&self) {
        // A closed semaphore is an open gate.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// How an answer ends.
enum End {
    Whole,
    /// With trailers.
    Trailers(HeaderMap),
    /// Never, until the other side leaves.
    Open,
    /// When the gate lets it.
    At(Gate),
    /// The connection breaks after what has been sent.
    Reset,
}

/// One answer.
pub struct Reply {
    held_by: Option<Gate>,
    /// `None` breaks the connection off in place of an answer.
    status: Option<StatusCode>,
    headers: HeaderMap,
    chunks: Vec<Bytes>,
    end: End,
}

impl Reply {
    /// An empty answer.
    pub fn status(status: u16) -> Self {
        Self {
            held_by: None,
            status: Some(StatusCode::from_u16(status).expect("a status")),
            headers: HeaderMap::new(),
            chunks: Vec::new(),
            end: End::Whole,
        }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::status(status)
            .header("content-type", "application/json")
            .chunk(body.to_string())
    }

    /// 200 with the result to a request.
    pub fn result(request: &Request, result: Value) -> Self {
        Self::json(
            200,
            &json!({"jsonrpc": "2.0", "id": request.json()["id"], "result": result}),
        )
    }

    /// 200 with the result to `initialize`.
    pub fn initialized(request: &Request) -> Self {
        Self::result(request, initialize_result())
    }

    /// The same as an event stream that ends.
    pub fn initialized_by_sse(request: &Request) -> Self {
        Self::sse()
            .event(&json!({"jsonrpc": "2.0", "id": request.json()["id"], "result": initialize_result()}))
    }

    /// An event stream without events, which ends.
    pub fn sse() -> Self {
        Self::status(200).header("content-type", "text/event-stream")
    }

    /// A broken connection in place of an answer.
    pub fn reset() -> Self {
        Self {
            status: None,
            ..Self::status(500)
        }
    }

    /// The answer of a good server: a fresh id to `initialize`, 200 to requests, 202 to the rest, an open stream to
    /// GET, 200 to DELETE. The server takes any id for a live session.
    pub fn polite(request: &Request) -> Self {
        match (request.method.as_str(), request.rpc_method().as_str()) {
            ("POST", "initialize") if request.session().is_none() => {
                Self::initialized(request).session(&format!("session-{}", request.number))
            }
            ("POST", _)
                if request
                    .json()
                    .get("id")
                    .is_some_and(|_| request.json().get("method").is_some()) =>
            {
                Self::result(request, json!({}))
            }
            ("POST", _) => Self::status(202),
            ("GET", _) => Self::sse()
                .event(&json!({"jsonrpc": "2.0", "method": "notifications/message"}))
                .left_open(),
            _ => Self::status(200),
        }
    }

    /// The answer of a server of HTTP+SSE: an open stream to GET, whose first event names a fresh session, and 202 to
    /// POST. A request's header `x-reply` asks for another status.
    pub fn http_sse(request: &Request) -> Self {
        match (request.header("x-reply"), request.method.as_str()) {
            (Some(status), _) => Self::status(status.parse().expect("a status")),
            (None, "GET") => Self::sse()
                .chunk(format!(
                    "event: endpoint\r\ndata: {}/message?sessionId=session-{}\r\n\r\n",
                    request.path, request.number
                ))
                .left_open(),
            (None, _) => Self::status(202),
        }
    }

    /// The answer that the request's header `x-reply` asks for, or else the polite answer: a status, `reset`, `hang`
    /// (never an answer), `sse` (an event stream that ends) or `broken` (an event stream that breaks off). `x-mint`
    /// names an id for the answer.
    pub fn as_told(request: &Request) -> Self {
        let reply = match request.header("x-reply") {
            None => Self::polite(request),
            Some("reset") => Self::reset(),
            Some("hang") => Self::status(200).held_by(&Gate::closed()),
            Some("sse") => Self::initialized_by_sse(request),
            Some("broken") => Self::initialized_by_sse(request).broken_off(),
            Some("200") => Self::initialized(request),
            Some(status) => Self::status(status.parse().expect("a status")),
        };
        match request.header("x-mint") {
            None => reply,
            Some(id) => reply.session(id),
        }
    }

    /// With this `Mcp-Session-Id`.
    pub fn session(self, id: &str) -> Self {
        self.header("mcp-session-id", id)
    }

    /// With this header more.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(
            name,
            HeaderValue::from_bytes(value.as_ref()).expect("a header value"),
        );
        self
    }

    /// With this piece of body more, sent on its own.
    pub fn chunk(mut self, bytes: impl Into<Bytes>) -> Self {
        self.chunks.push(bytes.into());
        self
    }

    /// With this event more.
    pub fn event(self, message: &Value) -> Self {
        self.chunk(format!("event: message\ndata: {message}\n\n"))
    }

    /// Trailers after the body.
    pub fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        let trailers =
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
        self.end = End::Trailers(trailers);
        self
    }

    /// The answer never ends by itself.
    pub fn left_open(mut self) -> Self {
        self.end = End::Open;
        self
    }

    /// The answer ends when the gate lets it.
    pub fn ended_by(mut self, gate: &Gate) -> Self {
        self.end = End::At(gate.clone());
        self
    }

    /// The connection breaks in the middle of the answer.
    pub fn broken_off(mut self) -> Self {
        self.end = End::Reset;
        self
    }

    /// Nothing is sent before the gate lets it.
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.held_by = Some(gate.clone());
        self
    }

    pub(crate) async fn perform(self) -> Performed {
        if let Some(gate) = &self.held_by {
            gate.pass().await;
        }
        let status = self.status.ok_or(ResetByTest)?;
        let mut response = Response::new(body(self.chunks, self.end));
        *response.status_mut() = status;
        *response.headers_mut() = self.headers;
        Ok(response)
    }
}

fn initialize_result() -> Value {
    json!({
        "protocolVersion": REVISION,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "odd-server", "version": "0.1.0"},
    })
}

fn body(chunks: Vec<Bytes>, end: End) -> ReplyBody {
    if let End::Whole = end {
        let whole: Vec<u8> = chunks.concat();
        return http_body_util::Full::from(whole)
            .map_err(ResetByTest::from)
            .boxed_unsync();
    }
    let (sender, frames) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for chunk in chunks {
            let _ = sender.send(Ok(Frame::data(chunk))).await;
        }
        match end {
            End::Whole => {}
            End::Trailers(trailers) => drop(sender.send(Ok(Frame::trailers(trailers))).await),
            End::Open => sender.closed().await,
            End::At(gate) => tokio::select! { () = gate.pass() => {}, () = sender.closed() => {} },
            End::Reset => {
                // The bytes must be on their way before the connection breaks.
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(sender.send(Err(ResetByTest)).await);
            }
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(ReceiverStream::new(frames).map(|frame| frame)))
}
