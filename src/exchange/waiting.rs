//! Newcomers that wait for a place in this gateway's share of a fleet's cap, while the gateway asks for more.
//!
//! ```text
//! no place in the share --> Waiting -- a place --------------------------------> as any newcomer that was let in
//!                              +------ the fleet is full, a second is over -----> under `evict_idle` an idle session
//!                              |                                                 gives way, else refused
//!                              +------ the gateway is lost, and lets nobody in -> refused
//! ```
//!
//! Only a place in the share is worth a wait: the gateway's own caps and quotas are asked first, and refuse at once.

use super::newcomer::Refused;
use super::{Effects, Exchange, Gate, State, Verdict};
use crate::fleet::Outlook;
use crate::mcp::json_rpc::{KeptId, RequestId};
use crate::session::{Store, TrackedId};

/// What a newcomer needs once it is let in, or refused.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its id, which the table does not hold.
    unknown: Option<TrackedId<'static>>,
    /// The id of its message.
    request_id: Option<KeptId>,
    /// It asks for a stream of HTTP+SSE.
    asks_for_sse: bool,
}

impl Exchange {
    /// Begins to wait.
    pub(super) fn wait(
        &mut self,
        unknown: Option<TrackedId<'static>>,
        request_id: Option<RequestId<'_>>,
        asks_for_sse: bool,
    ) -> Verdict<'static> {
        self.state = State::Waiting(Box::new(Waiting {
            unknown,
            request_id: request_id.map(KeptId::of),
            asks_for_sse,
        }));
        Verdict::Wait
    }

    /// Whether the request waits for a place in the fleet.
    pub fn waits(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Tries again to let a request in that waits; `outlook` tells what becomes of it without a place. Calls `act` with
    /// the verdict, unless the request goes on waiting. Returns whether it does.
    pub fn try_again<S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        outlook: Outlook,
        act: impl FnOnce(Verdict<'_>),
    ) -> bool {
        let waiting = match core::mem::take(&mut self.state) {
            State::Waiting(waiting) => waiting,
            state @ (State::Holding(_)
            | State::Opening { .. }
            | State::Using(_)
            | State::Sessionless
            | State::StreamAsked(_)
            | State::Announcing(_)
            | State::Streaming(..)
            | State::Over) => {
                self.state = state;
                return false;
            }
        };
        let Waiting {
            unknown,
            request_id,
            asks_for_sse,
        } = *waiting;
        let id = request_id.as_ref().map(KeptId::as_id);
        let verdict = match self.reserve(gate, effects, id, outlook) {
            Ok(reservation) if asks_for_sse => {
                self.state = State::StreamAsked(Some(reservation));
                self.pass(effects)
            }
            Ok(reservation) => {
                let reservation = Some(reservation);
                self.state = State::Opening { unknown, reservation };
                self.pass(effects)
            }
            Err(Refused::Waits) => self.wait(unknown, id, asks_for_sse),
            Err(Refused::By(answer)) => {
                self.end_stream(gate, effects);
                self.refuse(effects, answer)
            }
        };
        if verdict == Verdict::Wait {
            return true;
        }
        act(verdict);
        false
    }
}
