use crate::session::Timestamp;

/// The host's monotonic clock. All workers of a process read the same clock, and it does not jump when the machine's
/// date is set.
///
/// `std::time::Instant` reads it too, but hides its value, and workers must exchange values.
pub(super) fn now() -> Timestamp {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    #[allow(unsafe_code, reason = "there is no safe call for it on WASI")]
    // SAFETY: `time` is a valid timespec, and outlives the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    debug_assert_eq!(failed, 0, "a monotonic clock that every WASI host has");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(millis))
}
