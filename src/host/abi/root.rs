use core::time::Duration;

use super::buffer::{Buffer, first_bytes};
use super::{HostError, done};

/// The level of a log line, with Envoy's numbers.
#[derive(Clone, Copy, Debug)]
pub(in crate::host) enum LogLevel {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Critical = 5,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
}

/// Writes a line to Envoy's log.
pub(in crate::host) fn log(level: LogLevel, message: &str) -> Result<(), HostError> {
    // SAFETY: the host reads `message` within its bounds.
    done(unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) })
}

/// The lowest level that Envoy's log accepts, as the number of a [`LogLevel`].
pub(in crate::host) fn log_level() -> Result<u32, HostError> {
    let mut level = 0;
    // SAFETY: the host writes to `level` before it returns.
    done(unsafe { proxy_get_log_level(&raw mut level) })?;
    Ok(level)
}

/// Sets how often the current root ticks. A period over 49 days is cut to that.
pub(in crate::host) fn set_tick_period(period: Duration) -> Result<(), HostError> {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: only a number is handed over.
    done(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

/// The configuration of the current root, `len` bytes of it.
pub(in crate::host) fn plugin_configuration(len: usize) -> Result<Vec<u8>, HostError> {
    first_bytes(Buffer::PluginConfiguration, len)
}
