//! MCP 2026-07-28, `basic/transports/streamable-http` § Server Validation: what headers say of a message has to agree
//! with it, or whoever decided by the headers has decided about something else.

use super::{Exchange, RequestHead, is_modern};
use crate::mcp::json_rpc::{Kind, Message};
use crate::mcp::method::Method;
use crate::mcp::occurs::Occurs;
use crate::mcp::revision::Revision;

/// `Mcp-Method` and `Mcp-Name` of a held request.
#[derive(Debug)]
pub(super) struct Mirrors {
    method: Occurs<Vec<u8>>,
    name: Occurs<Vec<u8>>,
}

impl Mirrors {
    fn agree_with(&self, message: &Message<'_>, method: Method) -> bool {
        self.method.states(message.method.as_deref())
            && (method.target().is_none() || self.name.states(message.target.as_deref()))
    }
}

impl Exchange {
    /// Keeps what will be compared with the message: nothing before 2026-07-28.
    pub(super) fn keep_mirrors(&mut self, head: &RequestHead<'_>) {
        if self.site.rules.verify_headers && is_modern(self.revision) {
            self.mirrors = Some(Box::new(Mirrors {
                method: head.rpc_method.map(<[u8]>::to_vec),
                name: head.rpc_name.map(<[u8]>::to_vec),
            }));
        }
    }

    /// Whether the headers say something else than the message, or do not say what they must.
    pub(super) fn is_misstated(&self, message: &Message<'_>) -> bool {
        let claims = message.meta_version.as_deref().map(str::as_bytes);
        let claims_modern = is_modern(claims.and_then(Revision::parse));
        // What the message does not claim is the server's to miss.
        let is_compared = claims.is_some() && (claims_modern || is_modern(self.revision));
        let misses_version = is_compared && claims != self.revision.as_ref().map(Revision::as_bytes);
        match message.kind {
            _ if !self.site.rules.verify_headers || self.site.is_http_sse() => false,
            // Whatever the header says, it is one of an earlier revision.
            Kind::Request(Method::Initialize) if !claims_modern => false,
            // Clients ask it to learn which revision to speak: only the server's own answer tells them.
            Kind::Request(Method::ServerDiscover) => false,
            Kind::Request(method) => misses_version || !self.mirrors_agree(message, method),
            Kind::Notification(_) | Kind::Response => misses_version,
        }
    }

    fn mirrors_agree(&self, message: &Message<'_>, method: Method) -> bool {
        self.mirrors
            .as_ref()
            .is_none_or(|mirrors| mirrors.agree_with(message, method))
    }
}
