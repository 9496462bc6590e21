//! Requests that may open a session, and their reservations.

use super::{Effects, Exchange, Gate, Opens, State, Verdict};
use crate::answer::{Answer, whole_seconds};
use crate::endpoint::CapacityStatus;
use crate::fleet::Outlook;
use crate::mcp::json_rpc::RequestId;
use crate::session::{EndedSession, Quota, Refusal, Reservation, Store, StoreError, TrackedId};

/// Why a newcomer gets no reservation.
#[derive(Debug)]
pub(super) enum Refused<'b> {
    /// There is no place in the share of the fleet's cap, and there may be one soon.
    Waits,
    /// It gets this answer.
    By(Answer<'b>),
}

/// Most sessions that the filter ends for one newcomer.
const MOST_EVICTED: u32 = 4;

impl Exchange {
    /// Lets a request without an id in. All but `server/discover` need a reservation.
    pub(super) fn admit_unless<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        opens: Opens,
        request_id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        match opens {
            Opens::Session | Opens::Perhaps => self.admit(gate, effects, None, request_id),
            Opens::Nothing => {
                self.state = State::Opening {
                    unknown: None,
                    reservation: None,
                };
                self.pass(effects)
            }
        }
    }

    /// Lets the request in if there is room for the session that it may open.
    pub(super) fn admit<'b, S: Store>(
        &mut self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        unknown: Option<TrackedId<'static>>,
        request_id: Option<RequestId<'b>>,
    ) -> Verdict<'b> {
        // The stream's place comes first, so that a request which gets none ends no session.
        let reserved = self
            .take_place_for_stream(gate, effects, request_id)
            .map_err(Refused::By)
            .and_then(|()| self.reserve(gate, effects, request_id, Outlook::Wait));
        match reserved {
            Ok(reservation) => {
                let reservation = Some(reservation);
                self.state = State::Opening { unknown, reservation };
                self.pass(effects)
            }
            Err(Refused::Waits) => self.wait(unknown, request_id, false),
            Err(Refused::By(answer)) => {
                self.end_stream(gate, effects);
                self.refuse(effects, answer)
            }
        }
    }

    /// Makes a reservation, or returns the refusal of the request. `outlook` says what becomes of it if there is no
    /// place in the share of the fleet's cap.
    pub(super) fn reserve<'b, S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        request_id: Option<RequestId<'b>>,
        outlook: Outlook,
    ) -> Result<Reservation, Refused<'b>> {
        let refusal = match self.reserve_or_evict(gate, effects, outlook) {
            Ok(Ok(reservation)) => {
                effects.counts_moved(self.site.index);
                return Ok(reservation);
            }
            Ok(Err(refusal)) => refusal,
            // If the request cannot be counted, it is refused, since the cap is exact.
            Err(error) => {
                effects.failed("reserve", error);
                Refusal::Capacity
            }
        };
        Err(match refusal {
            Refusal::Fleet if outlook == Outlook::Wait => Refused::Waits,
            Refusal::Fleet => Refused::By(self.at_fleet_capacity(request_id)),
            Refusal::Capacity => Refused::By(self.at_capacity(request_id)),
            Refusal::Quota => Refused::By(self.at_quota(request_id)),
        })
    }

    /// Makes a reservation if there is room. If there is none, evicts no session and does not refuse the request.
    pub(super) fn reserve_if_room<S: Store>(
        &self,
        gate: &Gate<'_, S>,
        effects: &mut impl Effects,
    ) -> Option<Reservation> {
        match self.reserve_once(gate) {
            Ok(Ok(reservation)) => {
                effects.counts_moved(self.site.index);
                Some(reservation)
            }
            Ok(Err(Refusal::Capacity | Refusal::Fleet | Refusal::Quota)) => None,
            Err(error) => {
                effects.failed("reserve", error);
                None
            }
        }
    }

    fn reserve_once<S: Store>(&self, gate: &Gate<'_, S>) -> Result<Result<Reservation, Refusal>, StoreError> {
        let timeout = self.site.rules.initialize_timeout;
        gate.table.reserve(self.site.tag, self.quota(), timeout, gate.now)
    }

    fn quota(&self) -> Option<Quota> {
        let owner = self.owner;
        self.site.quota().map(|limit| Quota { owner, limit })
    }

    /// Makes a reservation. Under `evict_idle` a session that is not in use may end for it; for a place in the share of
    /// the fleet's cap only if the fleet is full.
    fn reserve_or_evict<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        outlook: Outlook,
    ) -> Result<Result<Reservation, Refusal>, StoreError> {
        let mut evicted = 0;
        loop {
            let reservation = self.reserve_once(gate)?;
            let Err(refusal) = reservation else {
                return Ok(reservation);
            };
            if refusal == Refusal::Fleet && outlook != Outlook::Full {
                return Ok(reservation);
            }
            evicted += 1;
            // Another newcomer may have taken the free place first.
            if !self.site.lifespans().may_evict(gate.now) || evicted > MOST_EVICTED {
                return Ok(reservation);
            }
            let Some(ended) = self.evict(gate, refusal)? else {
                return Ok(reservation);
            };
            effects.ended(&ended);
            effects.counts_moved(self.site.index);
        }
    }

    fn evict<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        refusal: Refusal,
    ) -> Result<Option<EndedSession>, StoreError> {
        let (tag, lifespans) = (self.site.tag, self.site.lifespans());
        let (evict_after, now) = (self.site.evict_after(), gate.now);
        match (refusal, self.quota()) {
            (Refusal::Quota, Some(quota)) => gate.table.evict_of(quota, tag, evict_after, lifespans, now),
            (Refusal::Capacity | Refusal::Fleet, _) | (Refusal::Quota, None) => {
                let longest_idle = &mut gate.in_use.longest_idle;
                longest_idle.evict(gate.table, tag, evict_after, lifespans, now)
            }
        }
    }

    fn at_quota<'b>(&self, id: Option<RequestId<'b>>) -> Answer<'b> {
        Answer::PrincipalQuota {
            retry_after_s: whole_seconds(self.site.rules.retry_after),
            id,
        }
    }

    fn at_capacity<'b>(&self, id: Option<RequestId<'b>>) -> Answer<'b> {
        self.no_room(self.capacity_status(), id)
    }

    fn at_fleet_capacity<'b>(&self, id: Option<RequestId<'b>>) -> Answer<'b> {
        Answer::FleetCapacity {
            status: self.capacity_status(),
            retry_after_s: whole_seconds(self.site.rules.retry_after),
            id,
        }
    }

    fn capacity_status(&self) -> u16 {
        match self.site.rules.capacity_status {
            CapacityStatus::TooManyRequests => 429,
            CapacityStatus::ServiceUnavailable => 503,
        }
    }

    /// The answer if the table cannot be read and the request must not pass unjudged.
    pub(super) fn unavailable<'b>(&self, id: Option<RequestId<'b>>) -> Answer<'b> {
        self.no_room(503, id)
    }

    fn no_room<'b>(&self, status: u16, id: Option<RequestId<'b>>) -> Answer<'b> {
        Answer::Capacity {
            status,
            retry_after_s: whole_seconds(self.site.rules.retry_after),
            id,
        }
    }
}
