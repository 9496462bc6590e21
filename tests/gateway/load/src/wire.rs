//! HTTP/1.1 as a client speaks it, without any work that the measurement does not need.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::session_id::SessionId;

/// No answer takes this long; a request without one by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Room for the next read.
const READ: usize = 4096;

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    NoConnection,
    Broken,
    Silent,
    NotHttp,
}

impl Failure {
    /// As reports name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoConnection => "no connection",
            Self::Broken => "connection broken off",
            Self::Silent => "no answer in 30 s",
            Self::NotHttp => "not an HTTP answer",
        }
    }
}

/// The head of an answer.
#[derive(Clone, Copy)]
pub struct Answer {
    pub status: u16,
    pub session: Option<SessionId>,
    /// Whether the connection can be used again.
    keep_alive: bool,
    body: Body,
    head_length: usize,
}

/// How the end of a body is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunked,
    UntilClosed,
}

/// A connection to the gateway.
pub struct Connection {
    socket: TcpStream,
    unread: BytesMut,
    reusable: bool,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
        let socket = connecting
            .await
            .map_err(|_| Failure::Silent)?
            .map_err(|_| Failure::NoConnection)?;
        socket.set_nodelay(true).map_err(|_| Failure::NoConnection)?;
        Ok(Self {
            socket,
            unread: BytesMut::with_capacity(READ),
            reusable: true,
        })
    }

    /// Whether another request may be sent.
    pub fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        let answered = async {
            let answer = self.send(request).await?;
            self.skip_body(&answer).await?;
            Ok(answer)
        };
        let answer = tokio::time::timeout(PATIENCE, answered).await;
        let answer = answer.unwrap_or(Err(Failure::Silent));
        self.reusable = answer.is_ok_and(|answer| answer.keep_alive);
        answer
    }

    /// Sends a HEAD and reads its answer, which has no body whatever its head says.
    pub async fn exchange_head(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        let answer = tokio::time::timeout(PATIENCE, self.send(request)).await;
        let answer = answer.unwrap_or(Err(Failure::Silent));
        self.reusable = answer.is_ok_and(|answer| answer.keep_alive);
        answer
    }

    /// Sends a request and reads the head of its answer; the body keeps coming.
    pub async fn open_stream(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.reusable = false;
        let answer = tokio::time::timeout(PATIENCE, self.send(request)).await;
        answer.unwrap_or(Err(Failure::Silent))
    }

    /// Sends a request and reads nothing.
    pub async fn send_only(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.reusable = false;
        self.socket.write_all(request).await.map_err(|_| Failure::Broken)
    }

    /// Drops what comes until the other side ends it.
    pub async fn until_closed(&mut self) {
        while self.read().await.is_ok() {
            self.unread.clear();
        }
    }

    async fn send(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.socket
            .write_all(request)
            .await
            .map_err(|_| Failure::Broken)?;
        loop {
            if let Some(answer) = read_head(&self.unread)? {
                self.unread.advance(answer.head_length);
                return Ok(answer);
            }
            self.read().await?;
        }
    }

    async fn skip_body(&mut self, answer: &Answer) -> Result<(), Failure> {
        loop {
            let end = match answer.body {
                Body::Length(length) => (self.unread.len() >= length).then_some(length),
                Body::Chunked => chunks_end(&self.unread)?,
                Body::UntilClosed => None,
            };
            if let Some(end) = end {
                self.unread.advance(end);
                return Ok(());
            }
            match self.read().await {
                Err(Failure::Broken) if answer.body == Body::UntilClosed => return Ok(()),
                other => other?,
            }
        }
    }

    async fn read(&mut self) -> Result<(), Failure> {
        self.unread.reserve(READ);
        match self.socket.read_buf(&mut self.unread).await {
            Ok(0) | Err(_) => Err(Failure::Broken),
            Ok(_) => Ok(()),
        }
    }
}

/// The head of an answer, once all of it is there.
fn read_head(bytes: &[u8]) -> Result<Option<Answer>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(parsed) = head.parse(bytes) else {
        return Err(Failure::NotHttp);
    };
    let httparse::Status::Complete(head_length) = parsed else {
        return Ok(None);
    };
    let mut answer = Answer {
        status: head.code.unwrap_or(0),
        session: None,
        keep_alive: true,
        body: Body::UntilClosed,
        head_length,
    };
    if matches!(answer.status, 204 | 304) {
        answer.body = Body::Length(0);
    }
    for header in head.headers {
        note_header(&mut answer, header)?;
    }
    Ok(Some(answer))
}

fn note_header(answer: &mut Answer, header: &httparse::Header<'_>) -> Result<(), Failure> {
    let is = |name: &str| header.name.eq_ignore_ascii_case(name);
    if is("content-length") {
        let length = std::str::from_utf8(header.value)
            .ok()
            .and_then(|text| text.parse().ok());
        answer.body = Body::Length(length.ok_or(Failure::NotHttp)?);
    } else if is("transfer-encoding") {
        answer.body = Body::Chunked;
    } else if is("mcp-session-id") {
        answer.session = SessionId::new(header.value);
    } else if is("connection") {
        answer.keep_alive = !header.value.eq_ignore_ascii_case(b"close");
    }
    Ok(())
}

/// Where a body of chunks ends, once all of it is there. No trailers.
fn chunks_end(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let mut at = 0;
    loop {
        let Some(line) = bytes
            .get(at..)
            .and_then(|rest| memchr::memmem::find(rest, b"\r\n"))
        else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + line])
            .ok()
            .and_then(|text| usize::from_str_radix(text.split(';').next()?.trim(), 16).ok())
            .ok_or(Failure::NotHttp)?;
        at += line + 2 + size + 2;
        if size == 0 {
            return Ok((bytes.len() >= at).then_some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nMcp-Session-Id: abc\r\n\r\n";
        for cut in 0..bytes.len() {
            assert!(read_head(&bytes[..cut]).unwrap().is_none());
        }
        let answer = read_head(bytes).unwrap().unwrap();
        assert_eq!((answer.status, answer.head_length), (200, bytes.len()));
        assert!(answer.body == Body::Length(12) && answer.keep_alive);
        assert_eq!(answer.session.unwrap().as_bytes(), b"abc");
    }

    #[test]
    fn chunks_end_with_the_empty_one() {
        let bytes = b"5\r\nhello\r\n0\r\n\r\n";
        for cut in 0..bytes.len() {
            assert_eq!(chunks_end(&bytes[..cut]), Ok(None));
        }
        assert_eq!(chunks_end(bytes), Ok(Some(bytes.len())));
    }
}
