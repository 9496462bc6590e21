use super::{HostError, done, returned};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
}

/// The value of a key and its compare-and-set number.
///
/// # Errors
///
/// [`HostError::NotFound`] if the key does not exist.
pub(in crate::host) fn get_shared_data(key: &str) -> Result<(Vec<u8>, u32), HostError> {
    let mut cas = 0;
    // SAFETY: the host reads `key` within its bounds, and writes to `data`, `size` and `cas` before it returns.
    let value = returned(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut cas)
    })?;
    Ok((value, cas))
}

/// Writes a key, if its compare-and-set number is still `cas`. If the key does not exist, Envoy creates it whatever
/// `cas` is. If `cas` is 0, Envoy writes without comparing.
///
/// # Errors
///
/// [`HostError::CasMismatch`] if the number has changed.
pub(in crate::host) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), HostError> {
    // SAFETY: the host reads `key` and `value` within their bounds.
    done(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}
