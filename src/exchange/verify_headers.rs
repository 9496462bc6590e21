//! Compares headers with a held message (MCP 2026-07-28, `basic/transports/streamable-http` § Server Validation). If
//! they could differ, a proxy that decides by the headers would decide about another message.

use super::{Exchange, RequestHead, is_modern};
use crate::mcp::json_rpc::{Kind, Message};
use crate::mcp::method::Method;
use crate::mcp::occurs::Occurs;
use crate::mcp::revision::Revision;

/// `Mcp-Method` and `Mcp-Name` of a held request.
#[derive(Debug)]
pub(super) struct StatedHeaders {
    method: Occurs<Vec<u8>>,
    name: Occurs<Vec<u8>>,
}

impl StatedHeaders {
    fn agree_with(&self, message: &Message<'_>, method: Method) -> bool {
        self.method.states(message.method.as_deref())
            && (method.target().is_none() || self.name.states(message.target.as_deref()))
    }
}

impl Exchange {
    /// Keeps the headers for the comparison with the message. Before 2026-07-28 there are none.
    pub(super) fn keep_stated_headers(&mut self, head: &RequestHead<'_>) {
        if self.site.rules.verify_headers && is_modern(self.revision) {
            self.stated_headers = Some(Box::new(StatedHeaders {
                method: head.rpc_method.map(<[u8]>::to_vec),
                name: head.rpc_name.map(<[u8]>::to_vec),
            }));
        }
    }

    /// Whether the headers contradict the message, or lack a required value.
    pub(super) fn is_misstated(&self, message: &Message<'_>) -> bool {
        let stated = message.meta_version.as_deref().map(str::as_bytes);
        let states_modern = is_modern(stated.and_then(Revision::parse));
        // If the message states no revision, the server decides whether it misses one.
        let is_compared = stated.is_some() && (states_modern || is_modern(self.revision));
        let misses_version = is_compared && stated != self.revision.as_ref().map(Revision::as_bytes);
        match message.kind {
            _ if !self.site.rules.verify_headers || self.site.is_http_sse() => false,
            // Whatever the header says, this `initialize` is of an earlier revision.
            Kind::Request(Method::Initialize) if !states_modern => false,
            // Clients send `server/discover` to learn which revision to use, and only the server's own answer tells
            // them.
            Kind::Request(Method::ServerDiscover) => false,
            Kind::Request(method) => misses_version || !self.stated_headers_agree(message, method),
            Kind::Notification(_) | Kind::Response => misses_version,
        }
    }

    fn stated_headers_agree(&self, message: &Message<'_>, method: Method) -> bool {
        self.stated_headers
            .as_ref()
            .is_none_or(|stated_headers| stated_headers.agree_with(message, method))
    }
}
