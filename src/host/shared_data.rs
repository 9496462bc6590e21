use std::cell::RefCell;

use super::abi::{self, HostError};
use crate::session::{Key, SetError, Store, StoreError, Value, Version};

/// Envoy's shared data: one key/value store for all VMs of a `vm_id`.
#[derive(Debug, Default)]
pub(super) struct SharedData {
    name: RefCell<String>,
}

/// A write with this number asks for no comparison, so no value may have it.
const ANY: u32 = 0;

impl Store for SharedData {
    fn get(&self, key: Key) -> Result<Value, StoreError> {
        let mut name = self.name.borrow_mut();
        key.write_name(&mut name);
        match abi::get_shared_data(&name) {
            Ok((bytes, cas)) => Ok(Value::new(Some(bytes), (cas != ANY).then_some(cas))),
            Err(HostError::NotFound) => Ok(Value::new(None, None)),
            Err(HostError::CasMismatch | HostError::Other(_)) => Err(StoreError::Unavailable),
        }
    }

    fn set(&self, key: Key, bytes: &[u8], expected: Version) -> Result<(), SetError> {
        let mut name = self.name.borrow_mut();
        key.write_name(&mut name);
        abi::set_shared_data(&name, bytes, expected.cas()).map_err(|error| match error {
            HostError::CasMismatch => SetError::Stale,
            HostError::NotFound | HostError::Other(_) => SetError::Unavailable,
        })
    }
}
