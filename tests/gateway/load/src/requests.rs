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
}

/// A request but for the session id.
struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Target {
    /// The gateway at `address`, its endpoint at `path`.
    pub fn new(address: SocketAddr, path: &str) -> Self {
        let template = |kind| Template::new(kind, address, path);
        Self {
            address,
            templates: Kind::ALL.map(template),
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
        if !id.is_empty() {
            bytes.extend_from_slice(b"mcp-session-id: ");
            bytes.extend_from_slice(id);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(after);
    }
}

impl Template {
    fn new(kind: Kind, address: SocketAddr, path: &str) -> Self {
        let (method, accept, message) = match kind {
            Kind::Stream => ("GET", "text/event-stream", None),
            Kind::Delete => ("DELETE", "*/*", None),
            _ => ("POST", "application/json, text/event-stream", Some(body(kind))),
        };
        let before = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: node\r\naccept: {accept}\r\n\
             mcp-protocol-version: {}\r\n",
            message::REVISION
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
