//! A proxy between a client and the gateway. It alters one request so that the filter refuses it: an official client
//! sends no such request by itself.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gateway::poll;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::Fallible;

const SESSION: &str = "mcp-session-id";

/// How long a call waits for the client to open its stream.
const STREAM: Duration = Duration::from_secs(3);

/// The request of a client that the proxy alters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Place {
    Initialize,
    Initialized,
    Call,
    Stream,
}

impl Place {
    /// How tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Initialized => "notifications/initialized",
            Self::Call => "tools/call",
            Self::Stream => "GET",
        }
    }

    fn is(self, seen: &Seen) -> bool {
        match self {
            Self::Initialize => seen.message == "initialize",
            Self::Initialized => seen.message == "notifications/initialized",
            Self::Call => seen.message == "tools/call",
            Self::Stream => seen.method == "GET",
        }
    }
}

/// The alteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Alteration {
    /// Another session id, or with `Some(None)` none.
    pub id: Option<Option<&'static str>>,
    /// So many further spaces at the end of its body.
    pub padding: usize,
    /// Another value for a header of the request.
    pub header: Option<(&'static str, &'static str)>,
}

/// The form of the filter's answer, to find the form that serves a client best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Form {
    AsItIs,
    /// With the request's id in the JSON-RPC error.
    Echoed,
    /// The message alone, as text.
    Text,
    /// As `Echoed`, with status 200.
    Ok,
}

/// When the proxy alters the request: each time, or the first time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Times {
    Once,
    Always,
}

/// What the proxy alters, and where.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rule {
    pub place: Place,
    pub times: Times,
    pub alteration: Alteration,
    /// All places under the cap are taken when the request is sent on.
    pub full: bool,
    pub form: Form,
}

/// A request that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub method: String,
    /// The JSON-RPC method.
    pub message: String,
    pub altered: bool,
    /// 0 while there is no answer.
    pub status: u16,
}

#[derive(Default)]
struct Book {
    seen: Vec<Seen>,
    sessions: BTreeSet<String>,
}

/// The proxy. Ends with this value.
pub struct Bend {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    accepting: JoinHandle<()>,
}

type Http = hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>;
type Answer = Response<BoxBody<Bytes, hyper::Error>>;

#[derive(Clone)]
struct Way {
    gateway: SocketAddr,
    rule: Option<Rule>,
    book: Arc<Mutex<Book>>,
    http: Http,
}

/// What the proxy knows of a request.
struct Noted {
    number: usize,
    rule: Option<Rule>,
    /// Its JSON-RPC id.
    id: Value,
}

impl Bend {
    /// Starts the proxy before the gateway.
    pub async fn start(gateway: SocketAddr, rule: Option<Rule>) -> Fallible<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let book = Arc::default();
        let way = Way {
            gateway,
            rule,
            book: Arc::clone(&book),
            http: hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http(),
        };
        let accepting = tokio::spawn(accept(listener, way));
        Ok(Self {
            address,
            book,
            accepting,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that passed.
    pub fn seen(&self) -> Vec<Seen> {
        self.book.lock().expect("no panic").seen.clone()
    }

    /// The sessions that were opened.
    pub fn sessions(&self) -> BTreeSet<String> {
        self.book.lock().expect("no panic").sessions.clone()
    }
}

impl Drop for Bend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, way: Way) {
    // Dropping this set ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(connection(socket, way.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(socket: TcpStream, way: Way) {
    let pass = service_fn(move |request| {
        let way = way.clone();
        async move { Ok::<_, Infallible>(way.pass(request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), pass)
        .await;
}

impl Way {
    async fn pass(&self, request: Request<Incoming>) -> Answer {
        match self.forward(request).await {
            Ok(answer) => answer,
            Err(_) => {
                let body = Full::default().map_err(|never| match never {}).boxed();
                let mut answer = Response::new(body);
                *answer.status_mut() = http::StatusCode::BAD_GATEWAY;
                answer
            }
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> Fallible<Answer> {
        let (mut head, body) = request.into_parts();
        let body = collected(body).await?;
        let noted = self.note(&head.method, &body);
        self.hold_for_stream(&noted).await;
        let mut body = Vec::from(body);
        if let Some(rule) = noted.rule {
            alter(&mut head, &mut body, rule.alteration);
            if rule.full {
                self.fill().await;
            }
        }
        head.headers.remove(CONTENT_LENGTH);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("http://{}{path}", self.gateway)
            .parse()
            .map_err(|_| "no such path")?;
        let request = Request::from_parts(head, Full::from(body));
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|error| error.to_string())?;
        self.note_answer(noted.number, &answer);
        match noted.rule.filter(|rule| rule.form != Form::AsItIs) {
            Some(rule) => reform(answer, rule.form, &noted.id).await,
            None => Ok(answer.map(BodyExt::boxed)),
        }
    }

    /// Writes a request down. Returns what to do to it.
    fn note(&self, method: &Method, body: &[u8]) -> Noted {
        let message: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut seen = Seen {
            method: method.to_string(),
            message: message["method"].as_str().unwrap_or_default().to_owned(),
            altered: false,
            status: 0,
        };
        let mut book = self.book.lock().expect("no panic");
        let done = book.seen.iter().any(|seen| seen.altered);
        let applies = |rule: &Rule| rule.place.is(&seen) && !(done && rule.times == Times::Once);
        let rule = self.rule.filter(applies);
        seen.altered = rule.is_some();
        book.seen.push(seen);
        Noted {
            number: book.seen.len() - 1,
            rule,
            id: message["id"].clone(),
        }
    }

    /// If the proxy alters the stream, calls wait for the stream: a client opens it beside them.
    async fn hold_for_stream(&self, noted: &Noted) {
        let message = self.book.lock().expect("no panic").seen[noted.number]
            .message
            .clone();
        let waits = message == "tools/call" && self.rule.is_some_and(|rule| rule.place == Place::Stream);
        let altered = || {
            let book = self.book.lock().expect("no panic");
            let answered = |seen: &Seen| seen.altered && seen.status != 0;
            book.seen.iter().any(answered).then_some(())
        };
        if waits {
            poll::until(STREAM, altered).await;
        }
    }

    /// Opens sessions until there is no room.
    async fn fill(&self) {
        let http = gateway::Client::new(self.gateway, gateway::client::Http::One);
        let opened = fill(&http).await;
        self.book.lock().expect("no panic").sessions.extend(opened);
    }

    fn note_answer(&self, number: usize, answer: &Response<Incoming>) {
        let mut book = self.book.lock().expect("no panic");
        if let Some(seen) = book.seen.get_mut(number) {
            seen.status = answer.status().as_u16();
        }
        let id = answer.headers().get(SESSION).and_then(|id| id.to_str().ok());
        if let Some(id) = id.filter(|_| answer.status().is_success()) {
            book.sessions.insert(id.to_owned());
        }
    }
}

/// Opens sessions until there is no room. Returns their ids.
pub async fn fill(http: &gateway::Client) -> Vec<String> {
    let mut opened = Vec::new();
    while let Some(id) = http.initialize().await.session() {
        opened.push(id.to_owned());
    }
    opened
}

fn alter(head: &mut Parts, body: &mut Vec<u8>, alteration: Alteration) {
    if let Some(id) = alteration.id {
        head.headers.remove(SESSION);
        if let Some(id) = id {
            head.headers.insert(SESSION, HeaderValue::from_static(id));
        }
    }
    if let Some((name, value)) = alteration.header {
        head.headers.insert(name, HeaderValue::from_static(value));
    }
    body.resize(body.len() + alteration.padding, b' ');
}

/// The whole of a body.
async fn collected(body: Incoming) -> Fallible<Bytes> {
    let whole = body.collect().await.map_err(|error| error.to_string())?;
    Ok(whole.to_bytes())
}

/// The filter's answer in another form.
async fn reform(answer: Response<Incoming>, form: Form, id: &Value) -> Fallible<Answer> {
    let (mut head, body) = answer.into_parts();
    let body = collected(body).await?;
    let mut error: Value = serde_json::from_slice(&body).unwrap_or_default();
    error["id"] = id.clone();
    let text = error["error"]["message"].as_str().unwrap_or_default().to_owned();
    let (body, kind) = match form {
        Form::AsItIs => (body, "application/json"),
        Form::Echoed | Form::Ok => (error.to_string().into(), "application/json"),
        Form::Text => (text.into(), "text/plain"),
    };
    if form == Form::Ok {
        head.status = http::StatusCode::OK;
    }
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let body = Full::from(body).map_err(|never| match never {}).boxed();
    Ok(Response::from_parts(head, body))
}
