//! A good MCP server that knows how many sessions it has, and how many it ever had at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use gateway::{OddServer, Reply, Request};

/// The server behind all gateways.
pub struct Server {
    server: OddServer,
    sessions: Arc<Mutex<Sessions>>,
}

#[derive(Default)]
struct Sessions {
    live: BTreeSet<String>,
    peak: usize,
}

impl Server {
    /// Starts it.
    pub async fn start() -> Self {
        let sessions = Arc::new(Mutex::new(Sessions::default()));
        let kept = sessions.clone();
        let server = OddServer::start(move |request| answer(request, &mut locked(&kept))).await;
        Self { server, sessions }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The sessions that it holds.
    pub fn held(&self) -> usize {
        locked(&self.sessions).live.len()
    }

    /// The most that it held at once since this was last asked.
    pub fn take_peak(&self) -> usize {
        let mut sessions = locked(&self.sessions);
        std::mem::replace(&mut sessions.peak, 0).max(sessions.live.len())
    }
}

fn locked(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    sessions.lock().expect("nobody panics with it")
}

fn answer(request: &Request, sessions: &mut Sessions) -> Reply {
    match (request.method.as_str(), request.session()) {
        ("POST", None) if request.rpc_method() == "initialize" => {
            let id = format!("session-{}", request.number);
            sessions.live.insert(id.clone());
            sessions.peak = sessions.peak.max(sessions.live.len());
            Reply::initialized(request).session(&id)
        }
        ("DELETE", Some(id)) if sessions.live.remove(id) => Reply::status(200),
        (_, Some(id)) if sessions.live.contains(id) => Reply::polite(request),
        _ => Reply::status(404),
    }
}
