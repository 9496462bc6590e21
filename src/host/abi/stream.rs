use core::ptr::null;

use super::buffer::{Buffer, first_bytes};
use super::{HostError, done, returned};
use crate::header_map::HeaderMap;

/// A header map of the current stream, or its trailers.
#[derive(Clone, Copy, Debug)]
pub(in crate::host) enum Headers {
    Request = 0,
    RequestTrailers = 1,
    Response = 2,
    /// Of the answer to a callout, during the root's callback for it.
    CallResponse = 6,
}

/// The half of a stream that leads to the server, of the same numbers.
const TO_SERVER: u32 = 0;

/// The half of a stream that leads to the client (`WasmStreamType` in `proxy_wasm_enums.h`).
const TO_CLIENT: u32 = 1;

/// The answer is not one of gRPC.
const NO_GRPC_STATUS: i32 = -1;

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
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_close_stream(stream: u32) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
}

/// All fields of a header map; none if the host refuses.
pub(in crate::host) fn fields(map: Headers) -> HeaderMap {
    // SAFETY: the host writes to `data` and `size` before it returns.
    let bytes = returned(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) });
    HeaderMap::new(bytes.unwrap_or_default())
}

/// The first value of a header field; empty if there is none.
pub(in crate::host) fn value(map: Headers, name: &str) -> Vec<u8> {
    // SAFETY: the host reads `name` within its bounds, and writes to `data` and `size`.
    let bytes = returned(|data, size| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    });
    bytes.unwrap_or_default()
}

/// Removes every field of this name from a header map.
pub(in crate::host) fn remove_field(map: Headers, name: &str) -> Result<(), HostError> {
    // SAFETY: the host reads `name` within its bounds.
    done(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// Replaces every field of this name in a header map by one with this value. Envoy then chooses the route anew.
pub(in crate::host) fn replace_field(map: Headers, name: &str, value: &str) -> Result<(), HostError> {
    // SAFETY: the host reads `name` and `value` within their bounds.
    done(unsafe {
        proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// The first `len` bytes of the request's body that the host has buffered; none if the host refuses.
pub(in crate::host) fn request_body(len: usize) -> Vec<u8> {
    first_bytes(Buffer::RequestBody, len).unwrap_or_default()
}

/// The first `len` bytes of the answer's body that the host has buffered, or else of the part that is passing; none if
/// the host refuses.
pub(in crate::host) fn response_body(len: usize) -> Vec<u8> {
    first_bytes(Buffer::ResponseBody, len).unwrap_or_default()
}

/// The first `len` bytes of the answer to a callout, during the root's callback for it; none if the host refuses.
pub(in crate::host) fn call_response_body(len: usize) -> Vec<u8> {
    first_bytes(Buffer::CallResponseBody, len).unwrap_or_default()
}

/// A property of the current stream or of its connection; empty if there is none. A map has the bytes of a
/// [`HeaderMap`].
pub(in crate::host) fn property(path: &[&[u8]]) -> Vec<u8> {
    let joined = path.join(&0);
    // SAFETY: the host reads `joined` within its bounds, and writes to `data` and `size`.
    let bytes =
        returned(|data, size| unsafe { proxy_get_property(joined.as_ptr(), joined.len(), data, size) });
    bytes.unwrap_or_default()
}

/// Writes a value into the filter state of the current stream.
pub(in crate::host) fn set_property(name: &str, value: &[u8]) -> Result<(), HostError> {
    // SAFETY: the host reads both within their bounds. A path of one element needs no terminator.
    done(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Answers the request of the current stream. The answer passes through the filter as any other does.
pub(in crate::host) fn send_local_response(
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(), HostError> {
    let headers = serialized(headers);
    // SAFETY: the host reads `body` and `headers` within their bounds; the details are empty.
    done(unsafe {
        proxy_send_local_response(
            u32::from(status),
            null(),
            0,
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Resets the current stream, once its answer has begun.
pub(in crate::host) fn close_response() -> Result<(), HostError> {
    // SAFETY: only a number is handed over.
    done(unsafe { proxy_close_stream(TO_CLIENT) })
}

/// Lets the request of the current stream go on, if the filter holds it.
pub(in crate::host) fn resume_request() -> Result<(), HostError> {
    // SAFETY: only a number is handed over.
    done(unsafe { proxy_continue_stream(TO_SERVER) })
}

/// Lets the answer of the current stream go on, if the filter holds it.
pub(in crate::host) fn resume_response() -> Result<(), HostError> {
    // SAFETY: only a number is handed over.
    done(unsafe { proxy_continue_stream(TO_CLIENT) })
}

/// Makes another stream, or root, of this VM the current one.
pub(in crate::host) fn set_effective_context(context: u32) -> Result<(), HostError> {
    // SAFETY: only a number is handed over.
    done(unsafe { proxy_set_effective_context(context) })
}

/// A header map in the host's form, which [`HeaderMap`] reads.
fn serialized(headers: &[(&str, &str)]) -> Vec<u8> {
    // The headers of the filter are far smaller than 4 GiB.
    let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = number(headers.len()).to_vec();
    for (name, value) in headers {
        bytes.extend(number(name.len()));
        bytes.extend(number(value.len()));
    }
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
