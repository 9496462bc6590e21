//! Plays one scenario everywhere: with one worker and with two, over HTTP/1.1 and over HTTP/2.

use std::sync::Arc;

use crate::answer::Answer;
use crate::client::{Client, Http};
use crate::gateway::Gateway;
use crate::odd_server::{OddServer, Request};
use crate::reply::Reply;
use crate::setup::Setup;

/// Where a scenario plays: its own endpoint behind a shared gateway, so that it has its own numbers.
#[derive(Clone)]
pub struct Stage {
    pub gateway: Arc<Gateway>,
    pub server: Arc<OddServer>,
    pub client: Client,
    pub http: Http,
    /// The endpoint's name.
    pub endpoint: &'static str,
    /// The endpoint's path.
    pub path: &'static str,
}

impl Stage {
    fn new(gateway: Arc<Gateway>, server: Arc<OddServer>, http: Http) -> Self {
        let (endpoint, path) = match http {
            Http::One => ("h1", "/h1"),
            Http::Two => ("h2", "/h2"),
        };
        let client = gateway.client(http).at(path);
        Self {
            gateway,
            server,
            client,
            http,
            endpoint,
            path,
        }
    }

    /// A stat of the endpoint's: `active`, `ended.reason.idle`.
    pub fn stat(&self, name: &str) -> u64 {
        self.gateway.stat(&format!("endpoint.{}.{name}", self.endpoint))
    }

    /// Waits until a stat of the endpoint's has this value.
    #[track_caller]
    pub fn expect<'a>(&'a self, name: &str, value: u64) -> impl Future<Output = ()> + use<'a> {
        let name = format!("endpoint.{}.{name}", self.endpoint);
        self.gateway.expect(&name, value)
    }

    /// The requests that reached the server for this endpoint.
    pub fn seen(&self) -> Vec<Request> {
        self.server.seen(self.path)
    }

    /// The last request that reached the server for this endpoint.
    pub fn last_seen(&self) -> Request {
        self.seen().pop().expect("the server has been reached")
    }

    /// Asserts that the session lives: a request in it passes.
    #[track_caller]
    pub fn expect_alive<'a>(&'a self, session: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.client.ping(session).await;
            assert_eq!(answer.status, 200, "{caller}: the session is gone: {answer:?}");
        }
    }

    /// Asserts that the filter itself answers for the session, and the server gets no request.
    #[track_caller]
    pub fn expect_gone<'a>(&'a self, session: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let before = self.server.count(self.path);
            let answer = self.client.ping(session).await;
            assert_refused(&answer, 404, -32001, "Session not found", None, caller);
            assert_eq!(
                self.server.count(self.path),
                before,
                "{caller}: the request reached the server"
            );
        }
    }
}

/// Asserts that an answer is the filter's own: this status, this JSON-RPC error, this `id` or none.
#[track_caller]
pub fn expect_refused(answer: &Answer, status: u16, code: i64, message: &str, id: Option<serde_json::Value>) {
    assert_refused(answer, status, code, message, id, std::panic::Location::caller());
}

fn assert_refused(
    answer: &Answer,
    status: u16,
    code: i64,
    message: &str,
    id: Option<serde_json::Value>,
    caller: &std::panic::Location<'_>,
) {
    let mut body = serde_json::json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}});
    if let Some(id) = id {
        body["id"] = id;
    }
    assert_eq!(answer.status, status, "{caller}: {answer:?}");
    assert_eq!(answer.json(), body, "{caller}: {answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{caller}: {answer:?}"
    );
    assert_eq!(
        answer.session(),
        None,
        "{caller}: an id on an answer of the filter's own"
    );
}

/// Plays a scenario with one worker and with two, over HTTP/1.1 and over HTTP/2, all at the same time.
///
/// `setup` is applied to the configuration that ships, `behaviour` is the server's.
pub async fn everywhere<S, F>(
    setup: impl Fn(Setup) -> Setup,
    behaviour: impl Fn(&Request) -> Reply + Clone + Send + Sync + 'static,
    scenario: S,
) where
    S: Fn(Stage) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    // The gateways are dropped here, where their last check can fail the test. A scenario may keep parts of its stage
    // until then.
    let mut kept = Vec::new();
    let mut scenarios = Vec::new();
    for workers in [1, 2] {
        let server = Arc::new(OddServer::start(behaviour.clone()).await);
        let base = Setup::new(server.address())
            .workers(workers)
            .endpoints(&["h1", "h2"]);
        let gateway = Arc::new(setup(base).start().await);
        for http in crate::client::BOTH {
            let stage = Stage::new(gateway.clone(), server.clone(), http);
            scenarios.push((workers, http, tokio::spawn(scenario(stage))));
        }
        kept.push((gateway, server));
    }
    for (workers, http, played) in scenarios {
        if let Err(panicked) = played.await {
            eprintln!("--- with {workers} workers, over HTTP/{http:?}");
            std::panic::resume_unwind(panicked.into_panic());
        }
    }
}
