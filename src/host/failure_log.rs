use core::cell::Cell;
use core::time::Duration;

use crate::session::{StoreError, Timestamp};

/// At most one line is logged in this time, since an unreadable table fails at every request.
const INTERVAL: Duration = Duration::from_secs(1);

/// Logs failures of the table. The number of lines is bounded, however many failures there are.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    next_line: Cell<Timestamp>,
    unlogged: Cell<u32>,
}

impl FailureLog {
    /// Logs a failure, or counts it towards the next line.
    pub(super) fn add(&self, operation: &str, error: StoreError, now: Timestamp) {
        if now < self.next_line.get() {
            self.unlogged.set(self.unlogged.get().saturating_add(1));
            return;
        }
        self.next_line.set(now.after(INTERVAL));
        let unlogged = self.unlogged.take();
        log::warn!("event=table_failed operation={operation} error=\"{error}\" unlogged_before={unlogged}");
    }
}
