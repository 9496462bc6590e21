//! What the server reads and what it says.

use std::sync::atomic::Ordering::Relaxed;

use serde::Deserialize;
use serde_json::Value;

use super::State;

/// Not a request that this server reads.
pub(super) struct Unreadable;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Delete,
    Counts,
}

/// A request, and how many bytes it took.
pub(super) struct Request<'a> {
    verb: Verb,
    session: &'a [u8],
    body: &'a [u8],
    pub(super) length: usize,
}

/// As much of a JSON-RPC message as the answer depends on.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    method: Option<&'a str>,
    id: Option<Value>,
}

const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"load","version":"1"}}"#;
const TOOLS: &str = r#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}"#;
const CALLED: &str = r#"{"content":[{"type":"text","text":"hello world, this is a tool call"}]}"#;

impl<'a> Request<'a> {
    /// The first request in `bytes`, once all of it is there.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Option<Self>, Unreadable> {
        let mut headers = [httparse::EMPTY_HEADER; 48];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head_length) = head.parse(bytes).map_err(|_| Unreadable)? else {
            return Ok(None);
        };
        let (mut session, mut body_length) = (&b""[..], 0);
        for header in head.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                body_length = number(header.value).ok_or(Unreadable)?;
            } else if header.name.eq_ignore_ascii_case("mcp-session-id") {
                session = header.value;
            }
        }
        let length = head_length.saturating_add(body_length);
        let Some(body) = bytes.get(head_length..length) else {
            return Ok(None);
        };
        let verb = match (head.method, head.path) {
            (Some("GET"), Some("/counts")) => Verb::Counts,
            (Some("GET"), _) => Verb::Get,
            (Some("POST"), _) => Verb::Post,
            (Some("DELETE"), _) => Verb::Delete,
            _ => return Err(Unreadable),
        };
        Ok(Some(Self {
            verb,
            session,
            body,
            length,
        }))
    }

    pub(super) fn opens_stream(&self) -> bool {
        self.verb == Verb::Get
    }

    pub(super) fn initializes(&self) -> bool {
        self.verb == Verb::Post && self.session.is_empty()
    }

    /// Appends the answer to `out`.
    pub(super) fn answer(&self, state: &State, out: &mut Vec<u8>) {
        if self.verb == Verb::Counts {
            let counts = serde_json::to_string(&state.counts()).unwrap_or_default();
            return write(out, "200 OK", None, counts.as_bytes());
        }
        if !self.session.is_empty() && !state.live.has(self.session) {
            state.unknown.fetch_add(1, Relaxed);
            return write(out, "404 Not Found", None, b"{}");
        }
        match self.verb {
            Verb::Post => self.answer_message(state, out),
            Verb::Delete => {
                if state.live.end(self.session) {
                    state.deleted.fetch_add(1, Relaxed);
                }
                write(out, "200 OK", None, b"");
            }
            Verb::Get | Verb::Counts => out.extend_from_slice(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                  transfer-encoding: chunked\r\n\r\n9\r\n: ready\n\n\r\n",
            ),
        }
    }

    fn answer_message(&self, state: &State, out: &mut Vec<u8>) {
        let Ok(Message { method, id }) = serde_json::from_slice(self.body) else {
            return write(out, "400 Bad Request", None, b"{}");
        };
        let Some(id) = id else {
            return write(out, "202 Accepted", None, b"");
        };
        let (result, mut session) = (result_of(method), Vec::new());
        if method == Some("initialize") {
            state.initialized.fetch_add(1, Relaxed);
            state.live.mint(&mut session);
        }
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        write(
            out,
            "200 OK",
            Some(&session).filter(|id| !id.is_empty()),
            body.as_bytes(),
        );
    }
}

fn result_of(method: Option<&str>) -> &'static str {
    match method {
        Some("initialize") => INITIALIZED,
        Some("tools/list") => TOOLS,
        Some("tools/call") => CALLED,
        _ => "{}",
    }
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn write(out: &mut Vec<u8>, status: &str, session: Option<&Vec<u8>>, body: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_bytes());
    if let Some(session) = session {
        out.extend_from_slice(b"\r\nmcp-session-id: ");
        out.extend_from_slice(session);
    }
    let head = format!(
        "\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::{Kind, Target};
    use crate::server::live::Live;

    #[test]
    fn a_request_is_read_once_it_is_whole_and_answered_with_its_id() {
        let state = State {
            live: Live::new(true),
            ..State::default()
        };
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        let target = Target::new(([127, 0, 0, 1], 1).into(), "/mcp");
        target.write(Kind::Initialize, b"", &mut bytes);
        for cut in 0..bytes.len() {
            assert!(Request::read(&bytes[..cut]).is_ok_and(|request| request.is_none()));
        }
        let request = Request::read(&bytes).ok().flatten().expect("a request");
        assert!(request.initializes() && request.length == bytes.len());
        request.answer(&state, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nmcp-session-id: "), "{text}");
        assert!(text.contains(r#""id":1,"result""#), "{text}");
    }
}
