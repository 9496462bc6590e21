//! A server that is never the bottleneck: it answers every MCP request by rote, with bounded memory.
//!
//! Ids are numbered, so that one bit tells whether a session is alive.

mod answers;
mod live;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use answers::Request;
use live::Live;

/// Connections that may wait to be accepted; the kernel has its own bound.
const BACKLOG: u32 = 65_535;

/// Room for the next read.
const READ: usize = 4096;

/// A longer request is not one of ours.
const LONGEST_REQUEST: usize = 1 << 20;

/// The server. Ends with this value.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

/// What the server has counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counts {
    pub connections: u64,
    pub connections_ever: u64,
    pub requests: u64,
    pub initialized: u64,
    pub deleted: u64,
    /// Requests with an id that is not alive.
    pub unknown: u64,
    pub streams: u64,
    /// Sessions alive; 0 where they are not remembered.
    pub alive: u64,
}

#[derive(Default)]
struct State {
    connections: AtomicU64,
    connections_ever: AtomicU64,
    requests: AtomicU64,
    initialized: AtomicU64,
    deleted: AtomicU64,
    unknown: AtomicU64,
    streams: AtomicU64,
    /// How long `initialize` takes, in milliseconds.
    delay_ms: AtomicU64,
    live: Live,
}

impl Server {
    /// Starts the server on a loopback port, 0 for one that the system chooses. One that `remembers` answers 404
    /// to sessions it has not opened or has ended; one that does not answers them all.
    pub fn start(port: u16, remembers: bool) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            live: Live::new(remembers),
            ..State::default()
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `initialize` takes this long.
    pub fn take_to_initialize(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.delay_ms.store(milliseconds, Relaxed);
    }

    /// Forgets all sessions, as a restart would.
    pub fn forget(&self) {
        self.state.live.clear();
    }

    /// What it has counted.
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Relaxed);
        Counts {
            connections: read(&self.connections),
            connections_ever: read(&self.connections_ever),
            requests: read(&self.requests),
            initialized: read(&self.initialized),
            deleted: read(&self.deleted),
            unknown: read(&self.unknown),
            streams: read(&self.streams),
            alive: self.live.count(),
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, state: Arc<State>) {
    // Dropping this set ends every connection with the server.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

/// Counts something as long as it lives.
struct Held<'a>(&'a AtomicU64);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Serves a connection until either side ends it. The gateway judges a broken one.
async fn serve(mut socket: TcpStream, state: Arc<State>) {
    let _ = socket.set_nodelay(true);
    let _connection = Held::new(&state.connections);
    state.connections_ever.fetch_add(1, Relaxed);
    let mut stream = None;
    let mut input = BytesMut::with_capacity(READ);
    let mut output = Vec::with_capacity(1024);
    loop {
        while let Ok(Some(request)) = Request::read(&input) {
            state.requests.fetch_add(1, Relaxed);
            if request.opens_stream() {
                stream.get_or_insert_with(|| Held::new(&state.streams));
            }
            let wait = match request.initializes() {
                true => state.delay_ms.load(Relaxed),
                false => 0,
            };
            request.answer(&state, &mut output);
            input.advance(request.length);
            if wait > 0 {
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
        }
        if !output.is_empty() && socket.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
        input.reserve(READ);
        match socket.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) if input.len() > LONGEST_REQUEST => return,
            Ok(_) => {}
        }
    }
}
