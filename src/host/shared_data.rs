use std::cell::RefCell;

use proxy_wasm::hostcalls;
use proxy_wasm::types::Status;

use crate::session::{Key, SetError, Store, StoreError, Value, Version};

/// Envoy's shared data: one key/value store for all VMs of a `vm_id`.
#[derive(Debug, Default)]
pub(super) struct SharedData {
    name: RefCell<String>,
}

impl Store for SharedData {
    fn get(&self, key: Key) -> Result<Value, StoreError> {
        let mut name = self.name.borrow_mut();
        key.write_name(&mut name);
        let (bytes, cas) = hostcalls::get_shared_data(&name).map_err(|_| StoreError::Unavailable)?;
        Ok(Value::new(bytes, cas))
    }

    fn set(&self, key: Key, bytes: &[u8], expected: Version) -> Result<(), SetError> {
        let mut name = self.name.borrow_mut();
        key.write_name(&mut name);
        let written = hostcalls::set_shared_data(&name, Some(bytes), Some(expected.cas()));
        written.map_err(|status| {
            if status == Status::CasMismatch {
                SetError::Stale
            } else {
                SetError::Unavailable
            }
        })
    }
}
