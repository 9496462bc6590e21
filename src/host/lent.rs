use core::fmt;
use std::cell::RefCell;
use std::rc::Rc;

use crate::exchange::Exchange;

/// The exchange of a stream that may get no callback for a while, so that the root acts on it. `S` is the state that
/// the stream shares with the root.
pub(super) struct Lent<S> {
    /// The stream.
    pub(super) context: u32,
    /// `None` while the stream itself has the exchange.
    lent: RefCell<Option<(Rc<S>, Exchange)>>,
}

impl<S> Lent<S> {
    /// The stream `context` lends its exchange next.
    pub(super) fn of(context: u32) -> Self {
        Self {
            context,
            lent: RefCell::new(None),
        }
    }

    /// Lends the exchange to the root.
    pub(super) fn lend(&self, shared: &Rc<S>, exchange: Exchange) {
        self.lent.replace(Some((Rc::clone(shared), exchange)));
    }

    /// Takes the exchange back for its stream.
    pub(super) fn take_back(&self) -> Option<Exchange> {
        self.lent.take().map(|(_, exchange)| exchange)
    }

    /// Whether the root has nothing more to do with it: its stream has taken the exchange back.
    pub(super) fn is_over(&self) -> bool {
        self.lent.borrow().is_none()
    }

    /// Acts on the exchange, if it is lent. Returns what `act` returns.
    pub(super) fn act<T>(&self, act: impl FnOnce(&S, &mut Exchange) -> T) -> Option<T> {
        let (shared, mut exchange) = self.lent.take()?;
        let result = act(&shared, &mut exchange);
        self.lend(&shared, exchange);
        Some(result)
    }
}

/// Prints nothing of the state, which leads back to the list of what is lent.
impl<S> fmt::Debug for Lent<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
