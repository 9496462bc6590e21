//! Passes log lines and panics to Envoy's log. The SDK's own logger panics if Envoy refuses a line.

use std::panic;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::abi::{self, LogLevel};

struct EnvoyLog;

/// Sends the filter's log lines from level info on to Envoy. Also sends the message of a panic, which ends the VM.
pub(super) fn install() {
    if log::set_logger(&EnvoyLog).is_err() {
        return;
    }
    log::set_max_level(LevelFilter::Info);
    let otherwise = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if abi::log(LogLevel::Critical, &panic.to_string()).is_err() {
            otherwise(panic);
        }
    }));
}

/// Logs only the levels that Envoy's log accepts, so that unseen lines cost nothing.
pub(super) fn follow_level() {
    let Ok(level) = abi::log_level() else { return };
    log::set_max_level(match level {
        0 => LevelFilter::Trace,
        1 => LevelFilter::Debug,
        2 => LevelFilter::Info,
        3 => LevelFilter::Warn,
        4 => LevelFilter::Error,
        _ => LevelFilter::Off,
    });
}

impl Log for EnvoyLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        // If the log itself fails, there is no other place to say so.
        let _ = abi::log(level, &record.args().to_string());
    }

    fn flush(&self) {}
}
