//! A body that streams by: its beginning tells the method and the tool, for metrics, filter state and logs.

use super::{Effects, Exchange, RequestHead};
use crate::endpoint::Admission;
use crate::mcp::json_rpc;
use crate::mcp::method::Method;
use crate::telemetry::{Event, Fact};

/// How much of a body that streams by is looked at for its method and tool, in bytes.
const GLIMPSE_BYTES: usize = 4096;

/// Longest tool name that is left for access logs, in bytes.
const MAX_TOOL_BYTES: usize = 256;

/// The first bytes of a body that streams by.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    bytes: Vec<u8>,
    /// How many there were when they were last looked at.
    looked_at: usize,
}

impl Beginning {
    pub(super) fn room(&self) -> usize {
        GLIMPSE_BYTES.saturating_sub(self.bytes.len())
    }

    /// Adds what there is room for. Returns whether it is full.
    fn extend(&mut self, part: &[u8]) -> bool {
        self.bytes.extend(part.iter().take(self.room()));
        self.room() == 0
    }

    /// Whether another look is worth it: looking at every byte anew as a body trickles in would be work
    /// that grows with the square of its length.
    fn has_doubled(&mut self) -> bool {
        let doubled = self.bytes.len() >= self.looked_at.saturating_mul(2);
        if doubled {
            self.looked_at = self.bytes.len();
        }
        doubled
    }
}

impl Exchange {
    /// Decides how a POST's method becomes known. Under `admission: body` the body tells; else it is not
    /// read at all, and the header that newer revisions require has to do.
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

    /// Looks at a part of the body that streams by; `last` says that no more will come.
    pub fn glimpse(&mut self, effects: &mut impl Effects, part: &[u8], last: bool) {
        let Some(beginning) = &mut self.glimpse else {
            return;
        };
        let is_all = beginning.extend(part) || last;
        if !is_all && !beginning.has_doubled() {
            return;
        }
        let glimpse = json_rpc::glimpse(&beginning.bytes);
        if is_all || glimpse.complete {
            self.glimpse = None;
            self.report_glimpse(effects, &glimpse);
        }
    }

    /// No more of the body will be seen.
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

/// Whether a name that a client chose may stand in an access log. The specification asks for 1 to 128
/// characters of ASCII (MCP 2025-11-25, `server/tools` § Tool Names); a line break would forge log lines.
fn is_fit_for_logs(name: &str) -> bool {
    name.len() <= MAX_TOOL_BYTES && !name.contains(char::is_control)
}
