//! A bare connection, for bytes that no HTTP library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::PATIENCE;

/// An open connection to the gateway.
pub struct RawConnection {
    socket: TcpStream,
    /// Read and not yet taken.
    unread: Vec<u8>,
}

/// An answer over HTTP/1.1, header names in lower case.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl RawAnswer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }
}

impl RawConnection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("the gateway accepts");
        socket.set_nodelay(true).expect("a TCP socket");
        Self {
            socket,
            unread: Vec::new(),
        }
    }

    /// Sends bytes as they are. An error means that the gateway has closed, which the answer shows better.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref()).await;
    }

    /// Sends a POST with a body, and these header lines more, as bytes.
    pub async fn post(&mut self, path: &str, header_lines: &[&[u8]], body: &[u8]) {
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: gateway\r\n").into_bytes();
        request.extend_from_slice(b"content-type: application/json\r\n");
        for line in header_lines {
            request.extend_from_slice(line);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend_from_slice(body);
        self.send(request).await;
    }

    /// The next answer, `None` if the gateway closes before it is whole.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        let read = async {
            loop {
                if let Some((answer, length)) = parse(&self.unread, false) {
                    self.unread.drain(..length);
                    return Some(answer);
                }
                let mut chunk = [0; 4096];
                match self.socket.read(&mut chunk).await {
                    Ok(0) | Err(_) => return parse(&self.unread, true).map(|(answer, _)| answer),
                    Ok(length) => self.unread.extend_from_slice(&chunk[..length]),
                }
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("an answer or a close")
    }

    /// Leaves without an end of the request: the kernel sends a reset if anything is unread, else an end.
    pub fn leave(self) {}
}

/// The body of a whole answer.
pub(crate) fn body_of(answer: &[u8]) -> Option<String> {
    parse(answer, true).map(|(answer, _)| answer.body)
}

/// An answer and how many bytes it took, once it is there.
fn parse(bytes: &[u8], closed: bool) -> Option<(RawAnswer, usize)> {
    let head_length = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_length]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let mut answer = RawAnswer {
        status,
        headers,
        body: String::new(),
    };
    let rest = &bytes[head_length..];
    let (body, length) = match (
        answer.header("content-length"),
        answer.header("transfer-encoding"),
    ) {
        (Some(length), _) => {
            let length = length.parse().ok()?;
            (rest.get(..length)?.to_vec(), length)
        }
        (None, Some(_)) => unchunk(rest)?,
        (None, None) if closed => (rest.to_vec(), rest.len()),
        (None, None) => return None,
    };
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Some((answer, head_length + length))
}

fn unchunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line_length = bytes.get(at..)?.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line_length]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at += line_length + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
        if size == 0 {
            return (bytes.len() >= at).then_some((body, at));
        }
    }
}
