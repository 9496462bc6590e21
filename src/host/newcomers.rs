//! Newcomers that wait for a place in the share of a fleet's cap.
//!
//! Their requests are held. The root that holds them tries again on its ticks, and when etcd has answered: in the order
//! in which they came, a few in each callback. The first that goes on waiting ends the try, since the others want the
//! same places. While a newcomer waits, its stream lends its exchange to the root.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::lent::Lent;
use crate::exchange::Exchange;
use crate::session::Timestamp;

/// A newcomer that waits.
#[derive(Debug)]
pub(super) struct Newcomer<S> {
    /// Its exchange.
    pub(super) lent: Lent<S>,
    /// When it came.
    pub(super) came: Timestamp,
    /// Some of its body has come to the filter, and not all. Before Envoy 1.39.1 what is held of a body gets lost if
    /// the root lets its request go then: so the stream's next callback does.
    pub(super) is_arriving: Cell<bool>,
}

/// The newcomers that the streams of one root hold, the first one first.
#[derive(Debug)]
pub(super) struct Newcomers<S>(RefCell<VecDeque<Rc<Newcomer<S>>>>);

/// What a try has done.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// The streams that were let go or answered.
    pub(super) streams: Vec<u32>,
    /// There may be more to do.
    pub(super) is_cut: bool,
}

impl<S> Newcomers<S> {
    /// Enters the request of the stream `context`. The stream lends its exchange next.
    pub(super) fn hold(&self, context: u32, now: Timestamp) -> Rc<Newcomer<S>> {
        let newcomer = Rc::new(Newcomer {
            lent: Lent::of(context),
            came: now,
            is_arriving: Cell::new(false),
        });
        self.0.borrow_mut().push_back(Rc::clone(&newcomer));
        newcomer
    }

    /// How many there are. Forgets those whose streams are over.
    pub(super) fn count(&self) -> u32 {
        let mut list = self.0.borrow_mut();
        list.retain(|newcomer| !newcomer.lent.is_over());
        u32::try_from(list.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Tries `most` of them at most. `act` returns whether the newcomer goes on waiting.
    pub(super) fn try_again(
        &self,
        most: usize,
        act: impl Fn(&Newcomer<S>, &S, &mut Exchange) -> bool,
    ) -> Tried {
        let mut tried = Tried::default();
        while let Some(newcomer) = self.next() {
            if tried.streams.len() >= most {
                self.0.borrow_mut().push_front(newcomer);
                tried.is_cut = true;
                break;
            }
            let waits = newcomer
                .lent
                .act(|shared, exchange| act(&newcomer, shared, exchange));
            if waits == Some(true) {
                self.0.borrow_mut().push_front(newcomer);
                break;
            }
            tried.streams.push(newcomer.lent.context);
        }
        tried
    }

    /// Takes the first one out whose stream is not over.
    fn next(&self) -> Option<Rc<Newcomer<S>>> {
        let mut list = self.0.borrow_mut();
        while list.pop_front_if(|newcomer| newcomer.lent.is_over()).is_some() {}
        list.pop_front()
    }
}

impl<S> Default for Newcomers<S> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}
