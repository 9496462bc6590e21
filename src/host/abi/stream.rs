//! Host functions called directly, where the SDK's wrapper panics or costs.
//!
//! The SDK's wrappers panic at any status they do not expect, and copy every header field into two
//! allocations of its own. These do neither: what the host refuses reads as nothing. Signatures after
//! proxy-wasm ABI 0.2.1, `proxy_wasm_exports.h` of proxy-wasm-cpp-host.

#![allow(unsafe_code, reason = "the ABI is a set of foreign functions")]

use core::ptr::null_mut;

use crate::fields::Fields;

/// Which header map of the stream in effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum Headers {
    Request = 0,
    Response = 2,
    /// Of the answer to a callout, while the root hears of it.
    CallResponse = 6,
}

/// The buffers with the bodies.
const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;

const OK: u32 = 0;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
}

/// All fields of a header map.
pub(super) fn fields(map: Headers) -> Fields {
    // SAFETY: the host writes to `data` and `size` before it returns.
    Fields::new(returned(|data, size| unsafe {
        proxy_get_header_map_pairs(map as u32, data, size)
    }))
}

/// The first value of a header field; empty if there is none.
pub(super) fn value(map: Headers, name: &str) -> Vec<u8> {
    // SAFETY: the host reads `name` within its bounds, and writes to `data` and `size`.
    returned(|data, size| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    })
}

/// The first `len` bytes of the request's body that the host has buffered.
pub(super) fn request_body(len: usize) -> Vec<u8> {
    buffer(REQUEST_BODY, len)
}

/// The first `len` bytes of the part of the answer's body that is passing.
pub(super) fn response_body(len: usize) -> Vec<u8> {
    buffer(RESPONSE_BODY, len)
}

fn buffer(buffer: u32, len: usize) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: the host writes to `data` and `size` before it returns.
    returned(|data, size| unsafe { proxy_get_buffer_bytes(buffer, 0, len, data, size) })
}

/// A property of the stream in effect, or of its connection; empty if there is none. One that is a map comes
/// as [`Fields`] do.
pub(super) fn property(path: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in path {
        joined.extend_from_slice(part);
        joined.push(0);
    }
    joined.pop();
    // SAFETY: the host reads `joined` within its bounds, and writes to `data` and `size`.
    returned(|data, size| unsafe { proxy_get_property(joined.as_ptr(), joined.len(), data, size) })
}

/// Leaves a value in the filter state of the stream in effect; one that the host refuses is left out.
pub(super) fn set_property(name: &str, value: &[u8]) {
    // SAFETY: the host reads both within their bounds. A path of one element needs no terminator.
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// The bytes that a host function returns in memory which it has asked this module to allocate.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Vec<u8> {
    let (mut data, mut size) = (null_mut(), 0);
    if call(&raw mut data, &raw mut size) != OK || data.is_null() {
        return Vec::new();
    }
    // SAFETY: on success `data` is what `proxy_on_memory_allocate` gave the host for `size` bytes: a boxed
    // slice of that length, which nobody else frees.
    unsafe { Vec::from_raw_parts(data, size, size) }
}
