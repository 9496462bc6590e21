//! Many requests at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conformance::Fallible;
use load::SessionId;
use load::wire::{Connection, Failure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::kinds::{Kind, Way};

/// So many connections: a server in Python is busy with fewer.
const CONNECTIONS: u64 = 16;

/// Large bodies go out in pieces of this many bytes.
const PIECE: usize = 65_536;

/// A large body has its answer by then.
const LARGE: Duration = Duration::from_secs(60);

/// How often each status came, or what else.
pub type Tally = BTreeMap<String, u64>;

/// Sends `count` requests of this kind.
pub async fn send(address: SocketAddr, kind: &Kind, count: u64) -> Tally {
    let left = Arc::new(AtomicU64::new(count));
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS.min(count) {
        workers.spawn(work(address, kind.clone(), Arc::clone(&left)));
    }
    let mut all = Tally::new();
    while let Some(tally) = workers.join_next().await {
        for (what, count) in tally.unwrap_or_default() {
            *all.entry(what).or_default() += count;
        }
    }
    all
}

/// Sends the head of a request, and `size` spaces for its body. Returns the status of the answer, which may come before
/// the body is whole; `None` if the connection broke before it came.
pub async fn send_large(address: SocketAddr, head: &str, size: usize) -> Fallible<Option<u16>> {
    let mut socket = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let (mut from, mut to) = socket.split();
    let write = async {
        to.write_all(head.as_bytes()).await?;
        let piece = [b' '; PIECE];
        for _ in 0..size / PIECE {
            to.write_all(&piece).await?;
        }
        std::io::Result::Ok(())
    };
    let read = async {
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && from.read_buf(&mut answer).await.unwrap_or(0) > 0 {}
        String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
    };
    // Who has answered may stop reading, and the rest is then not taken.
    let both = async {
        tokio::pin!(read);
        tokio::select! {
            status = &mut read => status,
            _ = write => read.await,
        }
    };
    tokio::time::timeout(LARGE, both)
        .await
        .map_err(|_| "no answer to a large body".to_owned())
}

async fn work(address: SocketAddr, kind: Kind, left: Arc<AtomicU64>) -> Tally {
    let request = kind.request(&address.to_string());
    let (mut tally, mut connection) = (Tally::new(), None);
    let one_less = |left: u64| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
        .is_ok()
    {
        let what = match one(address, &mut connection, &kind, &request).await {
            Ok(what) => what,
            Err(failure) => failure.as_str().to_owned(),
        };
        *tally.entry(what).or_default() += 1;
    }
    tally
}

async fn one(
    address: SocketAddr,
    kept: &mut Option<Connection>,
    kind: &Kind,
    request: &[u8],
) -> Result<String, Failure> {
    let mut connection = match kept.take() {
        Some(connection) if connection.is_reusable() => connection,
        _ => Connection::open(address).await?,
    };
    let answer = match kind.way {
        Way::Leave => {
            connection.send_only(request).await?;
            return Ok("left".to_owned());
        }
        Way::ReadHead => connection.exchange_head(request).await?,
        Way::Read | Way::Delete => connection.exchange(request).await?,
    };
    let mut what = answer.status.to_string();
    if let Some(id) = answer.session.filter(|_| kind.way == Way::Delete) {
        let ended = connection.exchange(&delete(address, &id)).await?;
        what = format!("{what}, {}", ended.status);
    }
    *kept = Some(connection);
    Ok(what)
}

fn delete(address: SocketAddr, id: &SessionId) -> Vec<u8> {
    let id = String::from_utf8_lossy(id.as_bytes());
    format!(
        "DELETE /mcp HTTP/1.1\r\nhost: {address}\r\nmcp-session-id: {id}\r\nmcp-protocol-version: 2025-11-25\r\n\r\n"
    )
    .into_bytes()
}
