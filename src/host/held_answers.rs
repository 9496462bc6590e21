//! Answers that the filter holds until their bodies tell whether the server has lost the session.
//!
//! The root's timer lets an answer go that is not whole in time, since its stream may get no callback by then. So the
//! stream lends its exchange to the root while its answer is held.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::lent::Lent;
use crate::exchange::{Exchange, HELD_ANSWER_TIME};
use crate::session::Timestamp;

/// An answer that is held.
#[derive(Debug)]
pub(super) struct HeldAnswer<S> {
    /// Its exchange.
    pub(super) lent: Lent<S>,
    /// It must be whole by then.
    pub(super) until: Timestamp,
    /// How many bytes of it have come.
    pub(super) size: Cell<usize>,
}

/// The answers that the streams of one root hold, the oldest first.
#[derive(Debug)]
pub(super) struct HeldAnswers<S>(RefCell<VecDeque<Rc<HeldAnswer<S>>>>);

impl<S> HeldAnswers<S> {
    /// Enters the answer of the stream `context`, which is held from `now` on. The stream lends its exchange next.
    pub(super) fn hold(&self, context: u32, now: Timestamp) -> Rc<HeldAnswer<S>> {
        let held = Rc::new(HeldAnswer {
            lent: Lent::of(context),
            until: now.after(HELD_ANSWER_TIME),
            size: Cell::new(0),
        });
        self.0.borrow_mut().push_back(Rc::clone(&held));
        held
    }

    /// Removes the answers that are not whole in time, `most` of them at most, and lets each go by `act` on its stream
    /// with the state and the exchange. Returns these streams.
    pub(super) fn let_go(
        &self,
        most: usize,
        now: Timestamp,
        act: impl Fn(u32, &S, &mut Exchange),
    ) -> Vec<u32> {
        let mut streams = Vec::new();
        while streams.len() < most
            && let Some(held) = self.next(now)
        {
            let context = held.lent.context;
            // A stream that is over has taken its exchange back.
            if held
                .lent
                .act(|shared, exchange| act(context, shared, exchange))
                .is_some()
            {
                streams.push(context);
            }
        }
        streams
    }

    /// Removes the first answer that is not whole in time, and those that are over before it.
    fn next(&self, now: Timestamp) -> Option<Rc<HeldAnswer<S>>> {
        let mut list = self.0.borrow_mut();
        while list.pop_front_if(|held| held.lent.is_over()).is_some() {}
        list.pop_front_if(|held| held.until <= now)
    }
}

impl<S> Default for HeldAnswers<S> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}
