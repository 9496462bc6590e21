//! A request, as a test wants it sent.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};

pub(crate) type RequestBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: Option<String>,
    authority: Option<String>,
    headers: HeaderMap,
    body: Vec<Bytes>,
    trailers: Option<HeaderMap>,
}

/// The body of a request that a test sends piece by piece. Dropping it without [`Upload::finish`] breaks the request
/// off.
pub struct Upload(Option<mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>>);

impl Call {
    fn new(method: Method) -> Self {
        Self {
            method,
            path: None,
            authority: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
            trailers: None,
        }
    }

    /// A POST of a message, with the headers an MCP client sends.
    pub fn post(message: &Value) -> Self {
        Self::post_bytes(message.to_string())
    }

    /// A POST of any bytes.
    pub fn post_bytes(body: impl Into<Bytes>) -> Self {
        let mut call = Self::new(Method::POST)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        call.body = vec![body.into()];
        call
    }

    /// A GET for the event stream.
    pub fn get() -> Self {
        Self::new(Method::GET).header("accept", "text/event-stream")
    }

    /// A DELETE.
    pub fn delete() -> Self {
        Self::new(Method::DELETE)
    }

    /// Any other method.
    pub fn method(method: &str) -> Self {
        Self::new(Method::from_bytes(method.as_bytes()).expect("a method"))
    }

    /// A POST of `initialize`.
    pub fn initialize() -> Self {
        Self::post(&crate::message::initialize(1))
    }

    /// A POST of `tools/list`, as an example of an ordinary request.
    pub fn tools_list() -> Self {
        Self::post(&crate::message::tools_list(2))
    }

    /// Sets the session.
    pub fn session(self, id: &str) -> Self {
        self.header("mcp-session-id", id)
    }

    /// Sets the revision.
    pub fn revision(self, revision: &str) -> Self {
        self.header("mcp-protocol-version", revision)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(
            name,
            HeaderValue::from_bytes(value.as_ref()).expect("a header value"),
        );
        self
    }

    /// The `Mcp-Session-Id` it carries.
    pub fn session_sent(&self) -> Option<&str> {
        self.headers.get("mcp-session-id")?.to_str().ok()
    }

    /// Its method.
    pub fn method_sent(&self) -> &str {
        self.method.as_str()
    }

    /// Without this header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Tells the server how to answer; see [`Reply::as_told`](crate::Reply::as_told).
    pub fn reply(self, reply: &str) -> Self {
        self.header("x-reply", reply)
    }

    /// Tells the server to answer with this id; see [`Reply::as_told`](crate::Reply::as_told).
    pub fn mint(self, id: &str) -> Self {
        self.header("x-mint", id)
    }

    /// Sets the path, in place of the client's.
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Sets the host.
    pub fn authority(mut self, authority: &str) -> Self {
        self.authority = Some(authority.to_owned());
        self
    }

    /// Sends the body in pieces, cut at these offsets, each in a segment of its own.
    pub fn cut_at(mut self, offsets: &[usize]) -> Self {
        let mut rest = Bytes::from(self.body.concat());
        let mut start = 0;
        self.body.clear();
        for offset in offsets {
            self.body.push(rest.split_to(offset - start));
            start = *offset;
        }
        self.body.push(rest);
        self
    }

    /// Adds trailers after the body.
    pub fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        let trailers = self.trailers.get_or_insert_default();
        trailers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// The request with this body, to `authority` and `path` unless the call has its own.
    pub(crate) fn into_request(
        self,
        authority: &str,
        path: &str,
        body: RequestBody,
    ) -> http::Request<RequestBody> {
        let path = self.path.unwrap_or_else(|| path.to_owned());
        let authority = self.authority.unwrap_or_else(|| authority.to_owned());
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = format!("http://{authority}{path}").parse().expect("a URI");
        *request.headers_mut() = self.headers;
        request
    }

    /// The whole body: in one piece with its length, or in pieces.
    pub(crate) fn whole_body(&mut self) -> RequestBody {
        let mut pieces = std::mem::take(&mut self.body);
        let trailers = self.trailers.take();
        if pieces.len() <= 1 && trailers.is_none() {
            let whole = http_body_util::Full::from(pieces.pop().unwrap_or_default());
            return whole.map_err(|never| match never {}).boxed_unsync();
        }
        if let Some(trailers) = &trailers {
            let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
            self.headers
                .insert("trailer", names.join(",").parse().expect("a header value"));
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for piece in pieces {
                let _ = sender.send(Ok(Frame::data(piece))).await;
                // This is no wait for an event: it keeps the pieces in segments of their own.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if let Some(trailers) = trailers {
                let _ = sender.send(Ok(Frame::trailers(trailers))).await;
            }
        });
        BodyExt::boxed_unsync(StreamBody::new(ReceiverStream::new(receiver)))
    }
}

impl Upload {
    /// An upload and the body it feeds.
    pub(crate) fn start() -> (Self, RequestBody) {
        // The channel is unbounded. Otherwise breaking off could fail for want of room, and look like an end.
        let (sender, receiver) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(receiver));
        (Self(Some(sender)), BodyExt::boxed_unsync(body))
    }

    /// Sends a piece. `false` if the gateway no longer listens.
    pub fn send(&self, piece: impl Into<Bytes>) -> bool {
        let sender = self.0.as_ref().expect("not finished");
        sender.send(Ok(Frame::data(piece.into()))).is_ok()
    }

    /// Ends the body.
    pub fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(Err(std::io::Error::other("the client leaves")));
        }
    }
}
