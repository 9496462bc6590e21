//! The requests an MCP client sends, written once and filled in with an id.

use std::net::SocketAddr;

use gateway::message;
use serde_json::{Value, json};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Initialize,
    Initialized,
    ToolsList,
    ToolsCall,
    Stream,
    Delete,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Initialize,
        Self::Initialized,
        Self::ToolsList,
        Self::ToolsCall,
        Self::Stream,
        Self::Delete,
    ];

    /// Its name, as MCP and HTTP spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Initialized => "notifications/initialized",
            Self::ToolsList => "tools/list",
            Self::ToolsCall => "tools/call",
            Self::Stream => "GET",
            Self::Delete => "DELETE",
        }
    }
}

/// A gateway, and the requests to it.
pub struct Target {
    address: SocketAddr,
    templates: [Template; 6],
    /// Whether its requests have the headers of MCP.
    is_mcp: bool,
}

/// A request but for the session id.
struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Target {
    /// The gateway at `address`, its endpoint at `path`.
    pub fn new(address: SocketAddr, path: &str) -> Self {
        let version = format!("mcp-protocol-version: {}\r\n", message::REVISION);
        let template = |kind| Template::new(kind, address, path, &version);
        Self {
            address,
            templates: Kind::ALL.map(template),
            is_mcp: true,
        }
    }

    /// The gateway at `address`, for requests to `path` that have none of the headers of MCP.
    pub fn foreign(address: SocketAddr, path: &str) -> Self {
        let template = |kind| Template::new(kind, address, path, "");
        Self {
            address,
            templates: Kind::ALL.map(template),
            is_mcp: false,
        }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts a request into `bytes`, in place of what was there. An empty `id` is none.
    pub fn write(&self, kind: Kind, id: &[u8], bytes: &mut Vec<u8>) {
        let Template { before, after } = &self.templates[kind as usize];
        bytes.clear();
        bytes.extend_from_slice(before);
        if self.is_mcp && !id.is_empty() {
            bytes.extend_from_slice(b"mcp-session-id: ");
            bytes.extend_from_slice(id);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(after);
    }
}

impl Template {
    fn new(kind: Kind, address: SocketAddr, path: &str, version: &str) -> Self {
        let (method, accept, message) = match kind {
            Kind::Stream => ("GET", "text/event-stream", None),
            Kind::Delete => ("DELETE", "*/*", None),
            _ => ("POST", "application/json, text/event-stream", Some(body(kind))),
        };
        let before = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: node\r\naccept: {accept}\r\n\
             {version}"
        );
        let after = message.map_or_else(
            || "\r\n".to_owned(),
            |message| {
                let body = message.to_string();
                format!(
                    "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
            },
        );
        Self {
            before: before.into_bytes(),
            after: after.into_bytes(),
        }
    }
}

fn body(kind: Kind) -> Value {
    match kind {
        Kind::Initialize => message::initialize(1),
        Kind::Initialized => message::initialized(),
        Kind::ToolsList => message::tools_list(2),
        Kind::ToolsCall => {
            message::tools_call(7, "echo", json!({"message": "hello world, this is a tool call"}))
        }
        Kind::Stream | Kind::Delete => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(target: &Target) -> String {
        let mut bytes = Vec::new();
        target.write(Kind::ToolsCall, b"an-id", &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn only_requests_of_mcp_have_its_headers() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let mcp = written(&Target::new(address, "/mcp"));
        assert!(mcp.contains("\r\nmcp-protocol-version: ") && mcp.contains("\r\nmcp-session-id: an-id\r\n"));
        let foreign = written(&Target::foreign(address, "/api"));
        assert!(foreign.starts_with("POST /api HTTP/1.1\r\n") && !foreign.contains("\r\nmcp-"));
    }
}
