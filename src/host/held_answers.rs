//! Answers that the filter holds until their bodies tell whether the server has lost the session.
//!
//! The root's timer lets an answer go that is not whole in time, since its stream may get no callback by then. So the
//! stream lends its exchange to the root while its answer is held.

use core::fmt;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::exchange::{Exchange, HELD_ANSWER_TIME};
use crate::session::Timestamp;

/// An answer that is held. `S` is the state that its stream shares with the root.
pub(super) struct HeldAnswer<S> {
    context: u32,
    /// It must be whole by then.
    pub(super) until: Timestamp,
    /// How many bytes of it have come.
    pub(super) size: Cell<usize>,
    /// The exchange; `None` while the stream itself has it.
    lent: RefCell<Option<(Rc<S>, Exchange)>>,
}

impl<S> HeldAnswer<S> {
    /// Lends the exchange to the root.
    pub(super) fn lend(&self, shared: &Rc<S>, exchange: Exchange) {
        self.lent.replace(Some((Rc::clone(shared), exchange)));
    }

    /// Takes the exchange back for its stream.
    pub(super) fn take_back(&self) -> Option<Exchange> {
        self.lent.take().map(|(_, exchange)| exchange)
    }

    /// Whether the root has nothing more to do with it: its stream has judged the answer, or is over.
    fn is_over(&self) -> bool {
        self.lent.borrow().is_none()
    }
}

/// Prints nothing of the state, which leads back to the list of held answers.
impl<S> fmt::Debug for HeldAnswer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldAnswer")
            .field("context", &self.context)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// The answers that the streams of one root hold, the oldest first.
#[derive(Debug)]
pub(super) struct HeldAnswers<S>(RefCell<VecDeque<Rc<HeldAnswer<S>>>>);

impl<S> HeldAnswers<S> {
    /// Enters the answer of the stream `context`, which is held from `now` on. The stream lends its exchange next.
    pub(super) fn hold(&self, context: u32, now: Timestamp) -> Rc<HeldAnswer<S>> {
        let held = Rc::new(HeldAnswer {
            context,
            until: now.after(HELD_ANSWER_TIME),
            size: Cell::new(0),
            lent: RefCell::new(None),
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
            // A stream that is over has taken its exchange back.
            let Some((shared, mut exchange)) = held.lent.take() else {
                continue;
            };
            act(held.context, &shared, &mut exchange);
            held.lend(&shared, exchange);
            streams.push(held.context);
        }
        streams
    }

    /// Removes the first answer that is not whole in time, and those that are over before it.
    fn next(&self, now: Timestamp) -> Option<Rc<HeldAnswer<S>>> {
        let mut list = self.0.borrow_mut();
        while list.pop_front_if(|held| held.is_over()).is_some() {}
        list.pop_front_if(|held| held.until <= now)
    }
}

impl<S> Default for HeldAnswers<S> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}
