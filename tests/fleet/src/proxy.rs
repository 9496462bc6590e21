//! Stands between the gateways and etcd: passes everything on, or answers as no etcd would.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Fallible;

/// What becomes of a request to etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It reaches etcd, and the answer comes back.
    Pass,
    /// 503, and etcd never sees it.
    Refuse,
    /// 200 with bytes that no etcd sends, each time others, and etcd never sees it.
    Rubbish,
    /// It reaches etcd, *which does as it was told*, and half of the answer comes back before the connection breaks.
    Half,
    /// It reaches etcd, which does as it was told, and no answer comes back.
    Nothing,
    /// 200 with a body that does not end, and etcd never sees it.
    Endless,
}

/// What no etcd answers.
const RUBBISH: [&[u8]; 10] = [
    b"<html><body>It works!</body></html>",
    b"",
    b"\x00\xff\xfe",
    b"null",
    b"[]",
    br#"{"header":{"revision":"99999999"},"succeeded":true}"#,
    br#"{"header":{"revision":"-1"},"kvs":"none"}"#,
    br#"{"header":{"revision":"5"},"kvs":[{"key":"AAAA","value":"AAAA"}],"count":"1"}"#,
    br#"{"ID":"0","TTL":"999999999999999999999"}"#,
    br#"{"result":{"header":{"revision":"5"},"ID":"1","TTL":"0"}}"#,
];

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The proxy. Ends with this value.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    mode: Mutex<Mode>,
    requests: AtomicU64,
    etcd: SocketAddr,
    client: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Proxy {
    /// Starts it in front of an etcd. It passes everything on.
    pub async fn start(etcd: SocketAddr) -> Fallible<Self> {
        let failed = |error: std::io::Error| format!("no port for the proxy of etcd: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Pass),
            requests: AtomicU64::new(0),
            etcd,
            client: hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on requests are treated so.
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().expect("nobody panics with it") = mode;
    }

    /// The requests that have come so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping this set ends every connection.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        connections.spawn(serve(socket, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let answer = |request| {
        let shared = shared.clone();
        async move { shared.answer(request).await }
    };
    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = http
        .serve_connection(TokioIo::new(socket), service_fn(answer))
        .await;
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mode = *self.mode.lock().expect("nobody panics with it");
        match mode {
            Mode::Pass => {
                let (status, bytes) = self.ask(request).await?;
                Ok(whole(status, bytes))
            }
            Mode::Refuse => Ok(whole(StatusCode::SERVICE_UNAVAILABLE, Bytes::new())),
            Mode::Rubbish => {
                let rubbish = RUBBISH[usize::try_from(number).unwrap_or(0) % RUBBISH.len()];
                Ok(whole(StatusCode::OK, Bytes::from_static(rubbish)))
            }
            Mode::Half => {
                let (_, bytes) = self.ask(request).await?;
                Ok(half(&bytes))
            }
            Mode::Nothing => {
                self.ask(request).await?;
                std::future::pending().await
            }
            Mode::Endless => Ok(endless()),
        }
    }

    /// etcd's own answer.
    async fn ask(&self, request: Request<Incoming>) -> Result<(StatusCode, Bytes), std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let forwarded = Request::builder()
            .method(head.method)
            .uri(format!("http://{}{}", self.etcd, head.uri.path()))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(std::io::Error::other)?;
        let answer = self
            .client
            .request(forwarded)
            .await
            .map_err(std::io::Error::other)?;
        let status = answer.status();
        let bytes = answer
            .into_body()
            .collect()
            .await
            .map_err(std::io::Error::other)?;
        Ok((status, bytes.to_bytes()))
    }
}

fn whole(status: StatusCode, bytes: Bytes) -> Response<Body> {
    let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    answered(status, body)
}

fn answered(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

/// The first half, and then the connection breaks.
fn half(bytes: &Bytes) -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    let first = bytes.slice(..bytes.len() / 2);
    tokio::spawn(async move {
        let _ = sender.send_data(first).await;
        // The bytes must be on their way before the connection breaks.
        tokio::time::sleep(Duration::from_millis(20)).await;
        sender.abort(std::io::Error::other("half an answer is enough"));
    });
    answered(StatusCode::OK, body.boxed_unsync())
}

/// A value in JSON that goes on until the other side leaves, some 3 MB in a second.
fn endless() -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b' '; 32 * 1024]);
        while sender.send_data(piece.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    answered(StatusCode::OK, body.boxed_unsync())
}

#[cfg(test)]
mod tests {
    use gateway::{Call, Client, Http};
    use serde_json::{Value, json};

    use super::*;
    use crate::etcd::Etcd;

    /// What a client of the proxy gets to a request that every etcd answers: status and body, or nothing.
    async fn asked(proxy: &Proxy) -> Option<(u16, Value)> {
        let client = Client::new(proxy.address(), Http::One).at("/v3/maintenance/status");
        let answer = tokio::time::timeout(
            Duration::from_millis(300),
            client.try_send(Call::post(&json!({}))),
        )
        .await;
        let answer = answer.ok()?.ok()?;
        Some((answer.status, answer.json()))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_as_no_etcd_would_and_as_etcd_again() {
        let etcd = Etcd::start(1, None).await.expect("etcd starts");
        let proxy = Proxy::start(etcd.addresses()[0]).await.expect("a port");
        let (status, body) = asked(&proxy).await.expect("an answer");
        assert_eq!((status, body["version"].is_string()), (200, true));
        proxy.set(Mode::Refuse);
        assert_eq!(asked(&proxy).await, Some((503, Value::Null)));
        proxy.set(Mode::Rubbish);
        for _ in 0..RUBBISH.len() {
            let (status, body) = asked(&proxy).await.expect("an answer");
            assert_eq!((status, body["version"].is_string()), (200, false));
        }
        for mode in [Mode::Half, Mode::Nothing, Mode::Endless] {
            proxy.set(mode);
            assert_eq!(asked(&proxy).await, None, "{mode:?}");
        }
        proxy.set(Mode::Pass);
        assert!(asked(&proxy).await.is_some());
        assert_eq!(proxy.requests(), 6 + RUBBISH.len() as u64);
    }
}
