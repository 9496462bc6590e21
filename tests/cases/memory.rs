//! A store of one worker's own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use mcp_session_filter::session::{Key, SetError, Store, StoreError, Value, Version};

/// Shared data as a map, which a case can switch off.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    values: RefCell<BTreeMap<Key, (Vec<u8>, u32)>>,
    last_version: Cell<u32>,
    works: Cell<bool>,
    has_failed: Cell<bool>,
}

impl Memory {
    /// A store in which nobody has to make empty buckets.
    pub(crate) fn new() -> Self {
        let memory = Self(Rc::new(Inner {
            values: RefCell::default(),
            last_version: Cell::new(0),
            works: Cell::new(true),
            has_failed: Cell::new(false),
        }));
        memory.set(Key::LAST, b"", Version::Absent).unwrap();
        memory
    }

    /// Bytes of the longest value.
    #[allow(dead_code, reason = "the fuzz targets ask for it")]
    pub(crate) fn longest(&self) -> usize {
        let values = self.0.values.borrow();
        values.values().map(|(bytes, _)| bytes.len()).max().unwrap_or(0)
    }

    pub(crate) fn switch(&self, works: bool) {
        self.0.works.set(works);
        self.0.has_failed.set(self.0.has_failed.get() || !works);
    }

    /// Whether it has been switched off at any time.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.has_failed.get()
    }
}

impl Store for Memory {
    fn get(&self, key: Key) -> Result<Value, StoreError> {
        if !self.0.works.get() {
            return Err(StoreError::Unavailable);
        }
        let (bytes, version) = self.0.values.borrow().get(&key).cloned().unzip();
        Ok(Value::new(bytes, version))
    }

    fn set(&self, key: Key, bytes: &[u8], expected: Version) -> Result<(), SetError> {
        if !self.0.works.get() {
            return Err(SetError::Unavailable);
        }
        let mut values = self.0.values.borrow_mut();
        let current = values.get(&key).map(|(_, version)| Version::At(*version));
        if current.is_some_and(|current| current != expected) {
            return Err(SetError::Stale);
        }
        let version = self.0.last_version.get() + 1;
        self.0.last_version.set(version);
        values.insert(key, (bytes.to_vec(), version));
        Ok(())
    }
}
