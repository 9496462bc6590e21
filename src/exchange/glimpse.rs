//! Looks at the beginning of a body that streams by. The beginning tells the method and the tool, for metrics, filter
//! state and logs.

use super::{Effects, Exchange, RequestHead};
use crate::endpoint::Admission;
use crate::mcp::json_rpc;
use crate::mcp::method::Method;
use crate::telemetry::{Event, Fact};

/// How many bytes of a body that streams by are searched for its method and tool.
const GLIMPSE_BYTES: usize = 4096;

/// Where streams are capped, this many parts of a body are looked at one by one. So a message that asks for a stream is
/// known at its first part that tells, even if the client sends it in pieces.
const EAGER_LOOKS: u8 = 64;

/// Longest tool name that the filter leaves for access logs, in bytes.
const MAX_TOOL_BYTES: usize = 256;

/// The first bytes of a body that streams by.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    bytes: Vec<u8>,
    /// The number of bytes at the last look.
    looked_at: usize,
    looks: u8,
}

impl Beginning {
    pub(super) fn room(&self) -> usize {
        GLIMPSE_BYTES.saturating_sub(self.bytes.len())
    }

    /// Adds as much as there is room for. Returns whether the buffer is full.
    fn extend(&mut self, part: &[u8]) -> bool {
        self.bytes.extend(part.iter().take(self.room()));
        self.room() == 0
    }

    /// Whether another look is due. Looking again at every byte of a slow body would take time that grows with the
    /// square of its length.
    fn is_due(&mut self, is_eager: bool) -> bool {
        let has_doubled = self.bytes.len() >= self.looked_at.saturating_mul(2);
        let is_due = has_doubled || (is_eager && self.looks < EAGER_LOOKS);
        if is_due {
            self.looked_at = self.bytes.len();
            self.looks = self.looks.saturating_add(1);
        }
        is_due
    }
}

impl Exchange {
    /// Decides how a POST's method becomes known. Under `admission: body` the body tells it. Otherwise the body is
    /// not read, and the header of newer revisions must do.
    pub(super) fn expect_body(&mut self, effects: &mut impl Effects, head: &RequestHead<'_>) {
        if self.verb != super::Verb::Post {
            return;
        }
        match self.site.rules.admission {
            Admission::Body if head.is_json => {
                self.glimpse = Some(Beginning::default());
                self.validates = self.site.rules.strict_json_rpc;
            }
            Admission::Body => effects.count(self.site.index, Event::Request(Method::Other)),
            Admission::Headers => match head.rpc_method.one() {
                Some(method) => {
                    self.report_method(effects, Method::from_bytes(method), head.plain_name());
                }
                None => effects.count(self.site.index, Event::Request(Method::Other)),
            },
        }
    }

    /// Looks at a part of the body that streams by; `last` means that no more will come. Returns the beginning of the
    /// message if it asks for a stream that must have a place: then call [`Exchange::listen_late`].
    pub fn glimpse(&mut self, effects: &mut impl Effects, part: &[u8], last: bool) -> Option<Vec<u8>> {
        let is_eager = self.site.caps_streams();
        let beginning = self.glimpse.as_mut()?;
        let is_all = beginning.extend(part) || last;
        if !is_all && !beginning.is_due(is_eager) {
            return None;
        }
        let glimpse = json_rpc::glimpse(&beginning.bytes);
        if !is_all && !glimpse.complete {
            return None;
        }
        let beginning = self.glimpse.take()?;
        self.report_glimpse(effects, &glimpse);
        self.note_glimpse(&glimpse).then_some(beginning.bytes)
    }

    /// Ends the look at the body.
    pub(super) fn end_glimpse(&mut self, effects: &mut impl Effects) {
        if let Some(beginning) = self.glimpse.take() {
            self.report_glimpse(effects, &json_rpc::glimpse(&beginning.bytes));
        }
    }

    fn report_glimpse(&self, effects: &mut impl Effects, glimpse: &json_rpc::Glimpse) {
        if !glimpse.is_response {
            self.report_method(
                effects,
                glimpse.method.unwrap_or(Method::Other),
                glimpse.name.as_deref(),
            );
        }
    }

    pub(super) fn report_method(&self, effects: &mut impl Effects, method: Method, target: Option<&str>) {
        effects.count(self.site.index, Event::Request(method));
        effects.note(Fact::Method(method));
        if let (Method::ToolsCall, Some(tool)) = (method, target.filter(|name| is_fit_for_logs(name))) {
            effects.note(Fact::Tool(tool));
        }
    }
}

/// Whether a name from a client may stand in an access log. The specification asks for 1 to 128 characters of ASCII
/// (MCP 2025-11-25, `server/tools` § Tool Names). A line break would forge log lines.
fn is_fit_for_logs(name: &str) -> bool {
    name.len() <= MAX_TOOL_BYTES && !name.contains(char::is_control)
}
