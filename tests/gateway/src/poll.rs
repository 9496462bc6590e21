//! Waits for a condition, with a deadline in place of a sleep.

use std::time::{Duration, Instant};

/// How long a test waits for an event that should come soon. The time is generous, because two cores may be busy with
/// other tests; only a failing test waits this long.
pub const SOON: Duration = Duration::from_secs(15);

/// Polls `probe` until it yields a value. Gives up at the deadline.
pub async fn until<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Polls `condition` until it holds.
///
/// # Panics
/// With `what`, if it does not hold by the deadline.
pub async fn eventually(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let held = until(deadline, || condition().then_some(())).await;
    assert!(held.is_some(), "not within {deadline:?}: {what}");
}

/// Asserts that `condition` holds throughout `span`, by polling it.
///
/// # Panics
/// With `what`, the first time the condition does not hold.
pub async fn throughout(span: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let broken = until(span, || (!condition()).then_some(())).await;
    assert!(broken.is_none(), "did not hold for {span:?}: {what}");
}
