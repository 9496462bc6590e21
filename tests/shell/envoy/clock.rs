//! The clock of WASI. Natively it is the C library's, which this definition replaces.

#![allow(unsafe_code, reason = "the C library's interface")]

use super::vm;

/// On a worker the process's own clock, elsewhere the real one.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    let now = if clock == libc::CLOCK_MONOTONIC {
        vm::clock_of_this_thread()
    } else {
        None
    };
    let Some(nanos) = now else {
        // SAFETY: the arguments are those of the replaced call.
        let failed = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        return if failed == 0 { 0 } else { -1 };
    };
    let value = libc::timespec {
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        tv_nsec: (nanos % 1_000_000_000).cast_signed(),
    };
    // SAFETY: the caller passes a timespec to write to.
    unsafe { time.write(value) };
    0
}
