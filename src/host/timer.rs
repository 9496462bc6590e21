use core::cell::Cell;
use core::time::Duration;

use super::abi::{self, HostError};

/// The timer of a root. It belongs to the root, so another context must become the root to set it.
#[derive(Debug)]
pub(super) struct Timer {
    root: u32,
    period: Cell<Duration>,
}

impl Timer {
    /// The timer of a root that has none yet.
    pub(super) fn new(root: u32) -> Self {
        let period = Cell::new(Duration::MAX);
        Self { root, period }
    }

    /// The root itself.
    pub(super) fn root(&self) -> u32 {
        self.root
    }

    /// How often it fires.
    pub(super) fn period(&self) -> Duration {
        self.period.get()
    }

    /// Starts it.
    ///
    /// # Errors
    /// Why the host refuses.
    pub(super) fn start(&self, period: Duration) -> Result<(), HostError> {
        self.period.set(period);
        abi::set_tick_period(period)
    }

    /// Lets it fire so often, from now on. Called in a callback of the root.
    pub(super) fn set(&self, period: Duration) {
        if self.period.replace(period) == period {
            return;
        }
        if let Err(error) = abi::set_tick_period(period) {
            log::warn!("event=timer_not_set status={error}");
        }
    }

    /// Lets it fire at least so often. Called in a callback of the stream `context`.
    pub(super) fn hurry(&self, period: Duration, context: u32) {
        if self.period.get() <= period || abi::set_effective_context(self.root).is_err() {
            return;
        }
        self.set(period);
        if let Err(error) = abi::set_effective_context(context) {
            log::warn!("event=context_not_restored status={error}");
        }
    }
}
