//! The functions of the host, called directly.
//!
//! The SDK's wrappers panic at any unexpected status, and a panic ends the worker's VM with every stream on it. Here
//! a failure is a value. Functions that only read a stream return nothing at a failure: if the host refuses to show a
//! value, there is nothing to act on. Signatures follow proxy-wasm ABI 0.2.1, `proxy_wasm_exports.h` of
//! proxy-wasm-cpp-host.

#![allow(unsafe_code, reason = "the ABI is a set of foreign functions")]

mod buffer;
mod metrics;
mod root;
mod shared_data;
mod stream;

use core::fmt;
use core::ptr::null_mut;

pub(super) use metrics::{MetricId, MetricKind, define_metric, get_metric, increment_metric, record_metric};
pub(super) use root::{LogLevel, log, log_level, plugin_configuration, set_tick_period};
pub(super) use shared_data::{get_shared_data, set_shared_data};
pub(super) use stream::{
    Headers, call_response_body, close_response, fields, property, remove_field, replace_field, request_body,
    response_body, resume_request, resume_response, send_local_response, set_effective_context, set_property,
    value,
};

/// Why the host refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostError {
    /// The thing asked for does not exist.
    NotFound,
    /// Another VM has written the key of shared data since it was read.
    CasMismatch,
    /// Anything else, by its number (`WasmResult` in `proxy_wasm_enums.h`).
    Other(u32),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not_found"),
            Self::CasMismatch => f.write_str("cas_mismatch"),
            Self::Other(status) => write!(f, "{status}"),
        }
    }
}

/// The status of a host function, as a value.
fn done(status: u32) -> Result<(), HostError> {
    match status {
        0 => Ok(()),
        1 => Err(HostError::NotFound),
        8 => Err(HostError::CasMismatch),
        status => Err(HostError::Other(status)),
    }
}

/// The bytes that a host function returns, in memory that the host has asked this module to allocate.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, HostError> {
    let (mut data, mut size) = (null_mut(), 0);
    done(call(&raw mut data, &raw mut size))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: on success `data` is what `proxy_on_memory_allocate` gave the host for `size` bytes: a boxed slice of
    // that length. Nothing else frees it.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}
