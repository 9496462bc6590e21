//! Every range of the configuration, each with the reason for its ends.

use core::ops::RangeInclusive;
use core::time::Duration;

/// Sessions: a cap of zero would refuse everything, and a million entries are the most the shared table is measured for.
pub(super) const SESSIONS: RangeInclusive<u32> = 1..=1_000_000;

/// Sessions of one principal, where zero means no cap.
pub(super) const SESSIONS_PER_PRINCIPAL: RangeInclusive<u32> = 0..=1_000_000;

/// Endpoints: each has dozens of stats, and every request walks the list.
pub(super) const ENDPOINTS: RangeInclusive<usize> = 1..=64;

/// Every duration without a range of its own: idle times are kept to the second, and 30 days outlast any session.
pub(super) const DURATION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(720);

/// Between two sweeps: each wakes every worker, and none may leave expired sessions for long.
pub(super) const SWEEP_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_mins(1);

/// `Retry-After` counts whole seconds (RFC 9110, section 10.2.3), and past an hour nobody waits.
pub(super) const RETRY_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// Bytes of a held body: room for an `initialize` at least, and what a gateway can spare for one request at most.
pub(super) const REQUEST_BYTES: RangeInclusive<u32> = 1024..=16 * 1024 * 1024;

/// Characters of a wrong value or name that an error message repeats.
pub(super) const ECHOED_CHARS: usize = 64;
