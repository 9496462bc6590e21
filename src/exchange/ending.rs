//! The end of an exchange: it gives back its reservation and its use of a session, exactly once.

use super::{Effects, Exchange, Gate, State};
use crate::session::{Reservation, SessionKey, Store};
use crate::worker::in_use::InUse;

impl Exchange {
    /// Ends the exchange as far as that needs no table. Returns true if nothing is left to do (most requests);
    /// otherwise call [`Exchange::end`].
    pub fn end_locally(&mut self, in_use: &mut InUse) -> bool {
        if self.glimpse.is_some() || self.open_stream.has_place() || self.holds_answer() {
            return false;
        }
        match &self.state {
            State::Using(key) => in_use.leave_quietly(*key, self.context),
            State::Opening { reservation, .. } => reservation.is_none(),
            State::Waiting(_) | State::Sessionless | State::Over => true,
            State::Holding(_) | State::StreamAsked(_) | State::Announcing(_) | State::Streaming(..) => false,
        }
    }

    /// Called at the end of every stream, for any reason, unless [`Exchange::end_locally`] has done all.
    pub fn end<S: Store>(&mut self, gate: &mut Gate<'_, S>, effects: &mut impl Effects) {
        self.end_glimpse(effects);
        self.abandon_answer(gate, effects);
        self.end_stream(gate, effects);
        match core::mem::take(&mut self.state) {
            State::Opening { reservation, .. } | State::StreamAsked(reservation) => {
                self.give_back(gate, effects, reservation);
            }
            State::Using(key) => self.release_use(gate, effects, key),
            State::Announcing(announcement) => self.end_unnamed(gate, effects, &announcement),
            State::Streaming(key, opened) => self.end_with_stream(gate, effects, key, opened),
            State::Holding(_) | State::Waiting(_) | State::Sessionless | State::Over => {}
        }
    }

    fn release_use<S: Store>(&self, gate: &mut Gate<'_, S>, effects: &mut impl Effects, key: SessionKey) {
        if !gate.in_use.leave(key, self.context, gate.now) {
            return;
        }
        let lifespans = self.site.lifespans();
        match gate.table.rest(key, lifespans, gate.now) {
            Ok(true) if lifespans.evictable => {
                let (tag, evict_after) = (self.site.tag, self.site.evict_after());
                let longest_idle = &mut gate.in_use.longest_idle;
                if let Err(error) = longest_idle.note_rest(gate.table, tag, key, evict_after, gate.now) {
                    effects.failed("note_rest", error);
                }
            }
            Ok(true | false) => {}
            Err(error) => effects.failed("rest", error),
        }
    }

    /// Gives back a reservation that was not used.
    pub(super) fn give_back<S: Store>(
        &self,
        gate: &mut Gate<'_, S>,
        effects: &mut impl Effects,
        reservation: Option<Reservation>,
    ) {
        let Some(reservation) = reservation else { return };
        match gate.table.release(reservation) {
            Ok(()) => effects.counts_moved(self.site.index),
            Err(error) => effects.failed("release", error),
        }
    }
}
