//! A server over bare HTTP/1.1, for answers that no HTTP library would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server does for one request, one step after the other.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes again and again at this interval, until the other side leaves.
    Trickle(&'static str, Duration),
    /// Waits until the other side leaves.
    Hang,
    /// Closes the connection.
    Close,
}

/// The server. Ends with this value.
pub struct RawServer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

type Behaviour = dyn Fn(&str) -> Vec<Step> + Send + Sync;

impl RawServer {
    /// Starts a server that does for each request, head and body as text, what `behaviour` says.
    pub async fn start(behaviour: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accepting = tokio::spawn(accept(listener, Arc::new(behaviour)));
        Self { address, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, behaviour: Arc<Behaviour>) {
    // Dropping this set ends every connection with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        connections.spawn(serve(socket, behaviour.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves requests until one of both sides closes. `None` is the end.
async fn serve(mut socket: TcpStream, behaviour: Arc<Behaviour>) -> Option<()> {
    let mut unread = Vec::new();
    loop {
        let request = next_request(&mut socket, &mut unread).await?;
        for step in behaviour(&request) {
            match step {
                Step::Send(bytes) => socket.write_all(&bytes).await.ok()?,
                Step::Trickle(bytes, every) => trickle(&mut socket, bytes, every).await?,
                Step::Hang => {
                    let _ = socket.read_to_end(&mut unread).await;
                }
                Step::Close => return None,
            }
        }
    }
}

async fn trickle(socket: &mut TcpStream, bytes: &str, every: Duration) -> Option<()> {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        socket.write_all(bytes.as_bytes()).await.ok()?;
    }
}

/// The next whole request as text; `None` if the other side closes before.
async fn next_request(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(length) = request_length(unread) {
            let request: Vec<u8> = unread.drain(..length).collect();
            return Some(String::from_utf8_lossy(&request).into_owned());
        }
        let mut chunk = [0; 4096];
        let length = socket.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        unread.extend_from_slice(&chunk[..length]);
    }
}

/// How many bytes the first request has, once they are there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head_length = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_length]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |value| value.trim().parse().unwrap_or(0));
    (bytes.len() >= head_length + length).then_some(head_length + length)
}
