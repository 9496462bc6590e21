//! The shared data of one process, as its workers' [`Store`].

use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{SharedData, Stale};
use crate::session::{BUCKETS, Key, SetError, Store, StoreError, Value, Version};

/// Sees each value that has changed, with all values.
type Watcher = dyn Fn(Key, &SharedData<Key>) + Send + Sync;

/// Sees each call before it happens.
pub(super) type Hook = dyn Fn(Key) + Send + Sync;

/// The state that all workers share. Its clones are the same memory.
#[derive(Clone, Default)]
pub struct Memory {
    data: Arc<Mutex<SharedData<Key>>>,
    watcher: Option<Arc<Watcher>>,
    pub(super) before_calls: Option<Arc<Hook>>,
}

impl Memory {
    /// A memory in which no root has to make empty buckets: absent buckets are empty, and the last one exists, at the
    /// least and the greatest depth, which tells that all are made.
    pub fn ready() -> Self {
        Self::of(SharedData::default())
    }

    /// The same, over existing values. If the last bucket is absent, it is made.
    pub fn of(mut data: SharedData<Key>) -> Self {
        for last in [Key::LAST, Key::Bucket(BUCKETS - 1)] {
            // This fails only if the bucket exists.
            let _ = data.set(&last, b"", u32::MAX);
        }
        Self {
            data: Arc::new(Mutex::new(data)),
            watcher: None,
            before_calls: None,
        }
    }

    /// Shows `watcher` every value that changes.
    #[must_use]
    pub fn watched_by(self, watcher: impl Fn(Key, &SharedData<Key>) + Send + Sync + 'static) -> Self {
        Self {
            watcher: Some(Arc::new(watcher)),
            ..self
        }
    }

    /// `hook` runs before each call that a [`Handle`](super::Handle) makes.
    #[must_use]
    pub fn before_calls(self, hook: impl Fn(Key) + Send + Sync + 'static) -> Self {
        Self {
            before_calls: Some(Arc::new(hook)),
            ..self
        }
    }

    /// Passes all values as they are to `look`.
    pub fn look<T>(&self, look: impl FnOnce(&SharedData<Key>) -> T) -> T {
        look(&self.lock())
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.look(SharedData::len)
    }

    /// The value of an existing key.
    pub fn value(&self, key: Key) -> Option<Vec<u8>> {
        self.lock().get(&key).map(|(value, _)| value.to_vec())
    }

    /// Writes a value, whatever was there before.
    pub fn put(&self, key: Key, value: &[u8]) {
        // With the number 0 no numbers are compared.
        let _ = self.write(key, value, 0);
    }

    /// Removes the key, as if it had never been written.
    pub fn lose(&self, key: Key) {
        let mut data = self.lock();
        data.remove(&key);
        self.tell(key, &data);
    }

    /// Removes all keys.
    pub fn lose_everything(&self) {
        let keys: Vec<_> = self.lock().iter().map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.lose(key));
    }

    /// Writes the value once more, so that it gets another number.
    pub(super) fn touch(&self, key: Key) {
        let same = self.value(key).unwrap_or_default();
        self.put(key, &same);
    }

    fn write(&self, key: Key, value: &[u8], cas: u32) -> Result<(), Stale> {
        let mut data = self.lock();
        data.set(&key, value, cas)?;
        self.tell(key, &data);
        Ok(())
    }

    fn tell(&self, key: Key, data: &SharedData<Key>) {
        if let Some(watcher) = &self.watcher {
            watcher(key, data);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SharedData<Key>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn get(&self, key: Key) -> Result<Value, StoreError> {
        let data = self.lock();
        let (bytes, cas) = data.get(&key).unzip();
        Ok(Value::new(bytes.map(<[u8]>::to_vec), cas))
    }

    fn set(&self, key: Key, bytes: &[u8], expected: Version) -> Result<(), SetError> {
        let written = self.write(key, bytes, expected.cas());
        written.map_err(|Stale| SetError::Stale)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}
