//! Buffers of the host.

use super::{HostError, returned};

/// A buffer, with the number of proxy-wasm ABI 0.2.1 (`WasmBufferType` in `proxy_wasm_enums.h`).
#[derive(Clone, Copy, Debug)]
pub(super) enum Buffer {
    RequestBody = 0,
    ResponseBody = 1,
    CallResponseBody = 4,
    PluginConfiguration = 7,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
}

/// The first `len` bytes of a buffer.
pub(super) fn first_bytes(buffer: Buffer, len: usize) -> Result<Vec<u8>, HostError> {
    if len == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the host writes to `data` and `size` before it returns.
    returned(|data, size| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, len, data, size) })
}
