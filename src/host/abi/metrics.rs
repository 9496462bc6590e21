use super::{HostError, done};

/// A metric's id on this VM.
#[derive(Clone, Copy, Debug)]
pub(in crate::host) struct MetricId(u32);

/// The kind of a metric.
#[derive(Clone, Copy, Debug)]
pub(in crate::host) enum MetricKind {
    /// Only rises.
    Counter = 0,
    /// Rises and falls.
    Gauge = 1,
    /// Takes samples.
    Histogram = 2,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
}

/// Defines a metric. If one of this name and kind exists, returns that one.
pub(in crate::host) fn define_metric(kind: MetricKind, name: &str) -> Result<MetricId, HostError> {
    let mut id = 0;
    // SAFETY: the host reads `name` within its bounds, and writes to `id` before it returns.
    done(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(MetricId(id))
}

/// The value of a counter or gauge.
pub(in crate::host) fn get_metric(metric: MetricId) -> Result<u64, HostError> {
    let mut value = 0;
    // SAFETY: the host writes to `value` before it returns.
    done(unsafe { proxy_get_metric(metric.0, &raw mut value) })?;
    Ok(value)
}

/// Sets a gauge, or adds a sample to a histogram.
pub(in crate::host) fn record_metric(metric: MetricId, value: u64) -> Result<(), HostError> {
    // SAFETY: only numbers are handed over.
    done(unsafe { proxy_record_metric(metric.0, value) })
}

/// Adds to a counter or gauge.
pub(in crate::host) fn increment_metric(metric: MetricId, by: i64) -> Result<(), HostError> {
    // SAFETY: only numbers are handed over.
    done(unsafe { proxy_increment_metric(metric.0, by) })
}
