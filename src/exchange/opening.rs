//! POSTs without a session: whether they are let in, and the place that is kept for them.

use super::{Effects, Exchange, Gate, State, Verdict, is_modern};
use crate::answer::{Answer, whole_seconds};
use crate::endpoint::CapacityStatus;
use crate::mcp::json_rpc::{self, Batch, Body, Kind, Message, RequestId};
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use crate::session::{EndedSession, Quota, Refusal, Reservation, Store, StoreError};
use crate::telemetry::{Event, Fact};

/// Longest tool name that is left for access logs, in bytes.
const MAX_TOOL_BYTES: usize = 256;

/// At most this many sessions are ended for one newcomer.
const MOST_EVICTED: u32 = 4;

impl Exchange {
    /// Judges the whole message of a held request.
    pub fn judge<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        body: &'b [u8],
    ) -> Verdict<'b> {
        self.glimpse = None;
        let belongs_already = core::mem::take(&mut self.validates);
        match json_rpc::read(body) {
            Err(error) => {
                self.report_method(effects, Method::Other, None);
                self.refuse(effects, error.into())
            }
            Ok(Body::Batch(batch)) => {
                self.report_method(effects, Method::Other, None);
                self.judge_batch(gate, effects, batch, belongs_already)
            }
            Ok(Body::Single(message)) => {
                self.report_message(effects, &message);
                self.judge_message(gate, effects, &message, belongs_already)
            }
        }
    }

    /// The held body is longer than the endpoint allows.
    pub fn too_large(&mut self, effects: &mut impl Effects) -> Verdict<'static> {
        self.glimpse = None;
        self.report_method(effects, Method::Other, None);
        self.refuse(effects, Answer::TooLarge)
    }

    fn judge_message<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        message: &Message<'b>,
        belongs_already: bool,
    ) -> Verdict<'b> {
        if self.is_misstated(message) {
            return self.refuse(effects, Answer::HeaderMismatch { id: message.id });
        }
        match message.kind {
            _ if belongs_already => self.pass(effects),
            // Whatever the version header says, an `initialize` is what opens a session.
            Kind::Request(Method::Initialize) => self.reserve(gate, effects, message.id),
            _ if is_modern(self.revision) => {
                self.state = State::Sessionless;
                self.pass(effects)
            }
            // A refusal would turn a client that asks which revisions there are into one with sessions.
            Kind::Request(Method::ServerDiscover) | Kind::Notification(_) | Kind::Response => {
                self.state = State::Opening(None);
                self.pass(effects)
            }
            Kind::Request(_) => self.reserve(gate, effects, message.id),
        }
    }

    fn judge_batch<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        batch: Batch,
        belongs_already: bool,
    ) -> Verdict<'static> {
        let allowed = self.revision.unwrap_or(Revision::V2025_03_26).allows_batches();
        if batch.holds_initialize || !allowed {
            return self.refuse(effects, Answer::InvalidRequest);
        }
        if belongs_already {
            return self.pass(effects);
        }
        if batch.holds_request {
            return self.reserve(gate, effects, None);
        }
        self.state = State::Opening(None);
        self.pass(effects)
    }

    /// Lets the request in if there is room for the session that it may open.
    pub(super) fn reserve<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        match self.take_reservation(gate, effects) {
            Ok(Ok(reservation)) => {
                effects.counts_moved();
                self.state = State::Opening(Some(reservation));
                self.pass(effects)
            }
            Ok(Err(Refusal::Capacity)) => self.refuse(effects, self.at_capacity(id)),
            Ok(Err(Refusal::Quota)) => self.refuse(effects, self.at_quota(id)),
            // What cannot be counted is not let in: the cap is exact.
            Err(error) => {
                effects.failed("reserve", error);
                self.refuse(effects, self.at_capacity(id))
            }
        }
    }

    /// Takes a place. Under `evict_idle` a session that is not in use gives up its own.
    fn take_reservation<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
    ) -> Result<Result<Reservation, Refusal>, StoreError> {
        let rules = &self.site.rules;
        let quota = self.site.quota().map(|limit| Quota {
            owner: self.owner,
            limit,
        });
        let mut evicted = 0;
        loop {
            let reservation = gate
                .table
                .reserve(self.site.tag, quota, rules.initialize_timeout, gate.now)?;
            let Err(refusal) = reservation else {
                return Ok(reservation);
            };
            evicted += 1;
            // Another newcomer may be quicker to take the place that became free.
            if !self.site.lifespans().evictable || evicted > MOST_EVICTED {
                return Ok(reservation);
            }
            let Some(ended) = self.evict(gate, refusal)? else {
                return Ok(reservation);
            };
            effects.ended(&ended);
            effects.counts_moved();
        }
    }

    fn evict<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        refusal: Refusal,
    ) -> Result<Option<EndedSession>, StoreError> {
        let (tag, lifespans) = (self.site.tag, self.site.lifespans());
        match refusal {
            Refusal::Capacity => gate
                .in_use
                .longest_idle
                .evict(gate.table, tag, lifespans, gate.now),
            Refusal::Quota => gate.table.evict_of(self.owner, tag, lifespans, gate.now),
        }
    }

    fn at_quota<'b>(&self, id: Option<RequestId<'b>>) -> Answer<'b> {
        Answer::PrincipalQuota {
            retry_after_s: whole_seconds(self.site.rules.retry_after),
            id,
        }
    }

    fn at_capacity<'b>(&self, id: Option<RequestId<'b>>) -> Answer<'b> {
        let status = match self.site.rules.capacity_status {
            CapacityStatus::TooManyRequests => 429,
            CapacityStatus::ServiceUnavailable => 503,
        };
        Answer::Capacity {
            status,
            retry_after_s: whole_seconds(self.site.rules.retry_after),
            id,
        }
    }

    /// Counts a message by its method; answers to the server's own requests are not counted.
    fn report_message(&self, effects: &mut impl Effects, message: &Message<'_>) {
        if let Some(method) = message.kind.method() {
            self.report_method(effects, method, message.target.as_deref());
        }
        let stated = message.protocol_version.as_deref().map(str::as_bytes);
        if let (None, Some(version)) = (self.revision, stated.and_then(Revision::parse)) {
            effects.note(Fact::Version(version.as_str()));
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
