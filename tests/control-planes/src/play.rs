//! What clients do to a gateway, and what they must see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway::{Answer, Call, Client, Http, OddServer, Reply, Request, message, poll, stats};
use serde_json::json;
use tokio::task::JoinSet;

use crate::Fallible;

/// How many clients open sessions, or use them, at the same time.
const CLIENTS: usize = 16;

/// How long a new configuration may take to be in force: the control plane sends it, an image is pulled and compiled.
const IN_FORCE: Duration = Duration::from_secs(60);

/// A tool that calls for an answer by events.
const SLOW: &str = "slow";

/// Starts the server behind the gateway. It takes any path for its endpoint, any id for a live session, and every
/// `initialize` for a new one: whatever is refused was refused by the gateway.
pub async fn server(port: u16) -> OddServer {
    OddServer::start_at(port, |request: &Request| {
        let answer =
            |text: &str| json!({"jsonrpc": "2.0", "id": request.json()["id"], "result": {"text": text}});
        match request.json()["params"]["name"].as_str() {
            Some(SLOW) => Reply::sse()
                .event(&message::notification("notifications/progress"))
                .event(&answer("slow")),
            _ => Reply::polite(request),
        }
    })
    .await
}

/// A gateway in front of [`server`].
pub struct Target<'a> {
    pub client: Client,
    /// Envoy's admin interface.
    pub admin: SocketAddr,
    /// The name of the endpoint in the filter's configuration.
    pub endpoint: &'a str,
    pub server: &'a OddServer,
}

impl<'a> Target<'a> {
    /// The gateway at this address, whose clients name this host.
    pub fn new(address: SocketAddr, host: &str, admin: SocketAddr, server: &'a OddServer) -> Self {
        Self {
            client: Client::new(address, Http::One).naming(host),
            admin,
            endpoint: "mcp",
            server,
        }
    }

    /// A stat of the endpoint; 0 if there is none.
    pub fn stat(&self, name: &str) -> u64 {
        self.number(&format!("endpoint.{}.{name}", self.endpoint))
    }

    /// A stat of the filter; 0 if there is none.
    pub fn number(&self, name: &str) -> u64 {
        let name = format!("wasmcustom.mcp_sessions.{name}");
        let answer = gateway::envoy::ask(self.admin, "GET", "/stats?format=json&filter=wasmcustom");
        answer.map_or(0, |json| stats::read(&json).get(&name).copied().unwrap_or(0))
    }

    /// Waits until a stat has this value.
    pub async fn expect(&self, name: &str, value: u64) -> Fallible<()> {
        let came = poll::until(IN_FORCE, || (self.stat(name) == value).then_some(())).await;
        came.ok_or_else(|| format!("{name} is {}, not {value}", self.stat(name)))
    }

    /// Waits until a request comes through to the server: the DELETE of a session that nobody opened, which leaves
    /// nothing in the filter's table.
    pub async fn is_up(&self) -> Fallible<()> {
        self.answers(200).await
    }

    /// Waits until that request gets this status.
    pub async fn answers(&self, status: u16) -> Fallible<()> {
        until(Instant::now() + IN_FORCE, async || {
            let answer = self.client.try_send(Call::delete().session("nobody-s")).await;
            is(status, &answer?)
        })
        .await
    }

    /// One session from its beginning to its end, and a request with its id afterwards, which only the filter refuses.
    pub async fn session(&self) -> Fallible<()> {
        let before = self.stat("active");
        let id = self.opened().await?;
        self.expect("active", before + 1).await?;
        let client = &self.client;
        is(202, &client.post(&id, &message::initialized()).await)?;
        is(200, &client.post(&id, &message::tools_list(2)).await)?;
        let slow = client.post(&id, &message::tools_call(3, SLOW, json!({}))).await;
        is(200, &slow)?;
        if slow.messages().len() != 2 {
            return Err(format!("not two events: {}", slow.text()));
        }
        let mut stream = client.open_stream(&id).await;
        if !matches!(stream.next().await, Some(Ok(event)) if event.starts_with(b"event: message")) {
            return Err("the stream to the client begins with no event".to_owned());
        }
        is(200, &client.delete(&id).await)?;
        drop(stream);
        let reached = self.server.total();
        is(404, &client.ping(&id).await)?;
        self.unreached(reached)?;
        self.expect("active", before).await
    }

    /// The server has had no request since it had had so many.
    pub fn unreached(&self, before: usize) -> Fallible<()> {
        match self.server.total().checked_sub(before) {
            Some(0) => Ok(()),
            some => Err(format!("{some:?} of what was refused reached the server")),
        }
    }

    /// A new session.
    pub async fn opened(&self) -> Fallible<String> {
        let answer = self.client.try_send(Call::initialize()).await?;
        is(200, &answer)?;
        Ok(answer.session().ok_or("no id")?.to_owned())
    }

    /// Opens so many sessions.
    pub async fn fill(&self, count: u64) -> Fallible<Vec<String>> {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS as u64 {
            let client = self.client.clone();
            let share = count / CLIENTS as u64 + u64::from(number < count % CLIENTS as u64);
            clients.spawn(async move {
                let mut ids = Vec::new();
                for _ in 0..share {
                    let answer = client.try_send(Call::initialize()).await?;
                    is(200, &answer)?;
                    ids.push(answer.session().ok_or("no id")?.to_owned());
                }
                Fallible::Ok(ids)
            });
        }
        let mut all = Vec::new();
        while let Some(ids) = clients.join_next().await {
            all.extend(ids.map_err(|error| error.to_string())??);
        }
        Ok(all)
    }

    /// The next newcomer is refused with 429, and the server hears nothing of it.
    pub async fn is_full(&self) -> Fallible<()> {
        let reached = self.server.total();
        let answer = self.client.try_send(Call::initialize()).await?;
        is(429, &answer)?;
        if answer.header("retry-after").is_none() {
            return Err("429 without Retry-After".to_owned());
        }
        self.unreached(reached)
    }

    /// Sends a request with each of these ids, and tells how many were answered 200.
    pub async fn alive(&self, ids: &[String]) -> Fallible<usize> {
        let mut clients = JoinSet::new();
        for share in ids.chunks(ids.len().div_ceil(CLIENTS).max(1)) {
            let (client, share) = (self.client.clone(), share.to_vec());
            clients.spawn(async move {
                let mut alive = 0;
                for id in &share {
                    alive += usize::from(ping(&client, id).await?.status == 200);
                }
                Fallible::Ok(alive)
            });
        }
        let mut all = 0;
        while let Some(alive) = clients.join_next().await {
            all += alive.map_err(|error| error.to_string())??;
        }
        Ok(all)
    }

    /// Begins to use these sessions without a pause.
    pub fn load(&self, ids: &[String]) -> Load {
        let state = Arc::new(State::default());
        let mut clients = JoinSet::new();
        for share in ids.chunks(ids.len().div_ceil(4).max(1)) {
            let (client, share, state) = (self.client.clone(), share.to_vec(), state.clone());
            clients.spawn(async move { used(&client, &share, &state).await });
        }
        Load { clients, state }
    }

    /// A policy denies the one tool and not the other. The client lies in the headers that the policy reads.
    pub async fn denies(&self, denied: &str, allowed: &str) -> Fallible<()> {
        let id = self.opened().await?;
        let call = |tool: &str, said: &str| {
            let call = Call::post(&message::tools_call(1, tool, json!({}))).session(&id);
            call.header("mcp-name", said).header("mcp-method", "ping")
        };
        let reached = self.server.total();
        is(403, &self.client.try_send(call(denied, allowed)).await?)?;
        self.unreached(reached)?;
        is(200, &self.client.try_send(call(allowed, denied)).await?)?;
        is(200, &self.client.delete(&id).await)
    }

    /// Asks for a session at each path, and ends those that it gets. What came through to the server came through the
    /// filter: as many sessions began as requests reached the server. Tells what each path got.
    pub async fn spelled(&self, paths: &[&str]) -> Fallible<String> {
        let (created, reached) = (self.stat("created"), self.server.total());
        let (mut seen, mut opened) = (Vec::new(), 0);
        for path in paths {
            let answer = self.client.try_send(Call::initialize().path(path)).await?;
            seen.push(format!("{path} {}", answer.status));
            if let Some(id) = answer.session() {
                opened += 1;
                is(200, &self.client.delete(id).await)?;
            } else if answer.status < 400 {
                return Err(format!("{path}: {} without a session", answer.status));
            }
        }
        // Each session is an `initialize` and a DELETE.
        self.unreached(reached + 2 * opened)?;
        self.expect("created", created + opened as u64).await?;
        Ok(seen.join(", "))
    }
}

/// Tries until it succeeds, or until `end`: then with the last error.
pub async fn until<T>(end: Instant, mut attempt: impl AsyncFnMut() -> Fallible<T>) -> Fallible<T> {
    loop {
        match attempt().await {
            Err(_) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(20)).await,
            last => return last,
        }
    }
}

/// The use of sessions until it is stopped.
pub struct Load {
    clients: JoinSet<Fallible<()>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_over: AtomicBool,
    /// Requests that were answered 200.
    requests: AtomicU64,
}

impl Load {
    /// Waits until so many more requests were answered.
    pub async fn more(&self, requests: u64) -> Fallible<()> {
        let done = || self.state.requests.load(Ordering::Relaxed);
        let wanted = done() + requests;
        let came = poll::until(IN_FORCE, || (done() >= wanted).then_some(())).await;
        came.ok_or_else(|| format!("{} requests were answered, not {wanted}", done()))
    }

    /// Stops it, and tells how many requests there were. One that was not answered 200 is an error.
    pub async fn stop(mut self) -> Fallible<u64> {
        self.state.is_over.store(true, Ordering::Relaxed);
        while let Some(used) = self.clients.join_next().await {
            used.map_err(|error| error.to_string())??;
        }
        Ok(self.state.requests.load(Ordering::Relaxed))
    }
}

async fn used(client: &Client, ids: &[String], state: &State) -> Fallible<()> {
    for id in ids.iter().cycle() {
        if state.is_over.load(Ordering::Relaxed) {
            break;
        }
        is(200, &ping(client, id).await?)?;
        state.requests.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn ping(client: &Client, id: &str) -> Fallible<Answer> {
    let ping = message::request(7, "ping", json!({}));
    client
        .try_send(Call::post(&ping).session(id).revision(message::REVISION))
        .await
}

/// An answer has this status, or else it is told.
pub fn is(status: u16, answer: &Answer) -> Fallible<()> {
    match answer.status == status {
        true => Ok(()),
        false => Err(format!("got {} {}, not {status}", answer.status, answer.text())),
    }
}
