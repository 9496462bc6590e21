//! Writes `Mcp-Method` and `Mcp-Name` itself (`method_headers`), for policies that read headers and no filter state.
//! They are what MCP 2026-07-28 asks of its clients (`basic/transports/streamable-http` § Standard Request Headers),
//! here for every revision and from the message that the server will read.
//!
//! A policy that denies by these headers holds only if no request comes without them, or with those of a client. So
//! what a client wrote is taken off every request, and a message that no header can name is refused.

use super::{Effects, Exchange, RequestHead, Verdict};
use crate::mcp::json_rpc::Message;
use crate::mcp::mcp_name::header_value;

const MCP_METHOD: &str = "mcp-method";
const MCP_NAME: &str = "mcp-name";

/// Longest method, and longest name, that a header repeats, in bytes before any encoding.
const MAX_VALUE_BYTES: usize = 4096;

impl Exchange {
    /// The fields that only the filter itself may write. A client's trailers must not have them either, since a
    /// server may merge trailers into the head (RFC 9110, section 6.5.1).
    pub fn own_fields(&self) -> &'static [&'static str] {
        if self.site.rules.method_headers {
            &[MCP_METHOD, MCP_NAME]
        } else {
            &[]
        }
    }

    /// Takes off what the client wrote. GETs, DELETEs and responses have neither header.
    pub(super) fn drop_method_headers(&self, effects: &mut impl Effects, head: &RequestHead<'_>) {
        if !self.site.rules.method_headers {
            return;
        }
        if !head.rpc_method.is_absent() {
            effects.write_field(MCP_METHOD, None);
        }
        if !head.rpc_name.is_absent() {
            effects.write_field(MCP_NAME, None);
        }
    }

    /// Whether the headers cannot say what the message asks for. Some servers take a number for the name of a tool,
    /// so a request must name its target, and with a string.
    pub(super) fn lacks_a_header_for(&self, message: &Message<'_>) -> bool {
        let names_a_target = message
            .kind
            .method()
            .is_some_and(|method| method.target().is_some());
        let values = [&message.method, &message.target];
        let is_too_long = values
            .into_iter()
            .flatten()
            .any(|text| text.len() > MAX_VALUE_BYTES);
        self.site.rules.method_headers && (is_too_long || (names_a_target && message.target.is_none()))
    }

    /// Writes the headers of a message that goes on to the server.
    pub(super) fn write_method_headers(
        &self,
        effects: &mut impl Effects,
        message: &Message<'_>,
        verdict: &Verdict<'_>,
    ) {
        if !self.site.rules.method_headers || matches!(verdict, Verdict::Answer(_)) {
            return;
        }
        let fields = [(MCP_METHOD, &message.method), (MCP_NAME, &message.target)];
        for (name, text) in fields {
            if let Some(text) = text {
                effects.write_field(name, Some(&header_value(text)));
            }
        }
    }
}
