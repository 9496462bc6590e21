//! Every range of the configuration, each with the reason for its ends.

use core::ops::RangeInclusive;
use core::time::Duration;

/// Sessions. A cap of zero would refuse everything; the shared table is measured for a million entries at most.
pub(super) const SESSIONS: RangeInclusive<u32> = 1..=1_000_000;

/// Sessions of one principal, or open streams, where zero means no cap.
pub(super) const CAP_OR_NONE: RangeInclusive<u32> = 0..=1_000_000;

/// Endpoints. Each has dozens of stats, and every request walks the list.
pub(super) const ENDPOINTS: RangeInclusive<usize> = 1..=64;

/// Every duration without a range of its own. Idle times have a resolution of one second, and 30 days outlast any
/// session.
pub(super) const DURATION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(720);

/// Time between two sweeps. Each sweep wakes every worker, so they must not be too frequent; expired sessions must
/// not stay for long, so they must not be too rare.
pub(super) const SWEEP_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_mins(1);

/// `Retry-After` counts whole seconds (RFC 9110, section 10.2.3), and no client waits longer than an hour.
pub(super) const RETRY_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// Bytes of a held body. The least has room for an `initialize`; the most is what a gateway can spare for one
/// request.
pub(super) const REQUEST_BYTES: RangeInclusive<u32> = 1024..=16 * 1024 * 1024;

/// Entries of `lost_session`. An answer with a listed status is searched for the text of each.
pub(super) const LOST_ANSWERS: RangeInclusive<usize> = 0..=8;

/// Statuses in `lost_session`: those of final answers (RFC 9110, section 15).
pub(super) const LOST_STATUS: RangeInclusive<u32> = 200..=599;

/// Bytes of a text in `lost_session`. An empty text is in every answer.
pub(super) const LOST_TEXT_BYTES: RangeInclusive<usize> = 1..=256;

/// Characters of a wrong value or name that an error message repeats.
pub(super) const ECHOED_CHARS: usize = 64;

/// Sessions of a fleet. A hundred gateways of a million sessions each.
pub(super) const FLEET_SESSIONS: RangeInclusive<u32> = 1..=100_000_000;

/// The lease of a gateway in its fleet. etcd gives none under two seconds, and a lost request must be sent again in
/// time; what a dead gateway had is of no use to anyone for as long.
pub(super) const FLEET_LEASE: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_mins(5);

/// Characters of a fleet's name, which is in every key.
pub(super) const FLEET_NAME_LEN: RangeInclusive<usize> = 1..=64;
