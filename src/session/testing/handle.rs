//! One worker's access to the memory, with its faults.

use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Memory;
use crate::session::{Key, SetError, Store, StoreError, Value, Version};

/// One worker's access to the [`Memory`]. Its clones are the same access.
#[derive(Clone)]
pub struct Handle {
    memory: Memory,
    /// The keys whose calls are counted, interrupted and scheduled.
    counts: fn(Key) -> bool,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    made: u64,
    dies_after: Option<u64>,
    refused: u32,
    stale: u32,
    interruption: Option<(u64, Box<dyn FnOnce() + Send>)>,
}

impl Memory {
    /// A worker's access to this memory; every call counts.
    pub fn handle(&self) -> Handle {
        self.handle_that_counts(|_| true)
    }

    /// The same, but only calls for some keys count; other calls are never interrupted.
    pub fn handle_that_counts(&self, counts: fn(Key) -> bool) -> Handle {
        Handle {
            memory: self.clone(),
            counts,
            faults: Arc::default(),
        }
    }
}

impl Handle {
    /// After `calls` more calls the worker is dead: none of its calls happens any more.
    pub fn die_after(&self, calls: u64) {
        let mut faults = self.faults();
        faults.dies_after = Some(faults.made.saturating_add(calls));
    }

    /// Whether a call has not happened because the worker is dead.
    pub fn is_dead(&self) -> bool {
        self.faults().is_dead()
    }

    /// The host refuses the next `calls` calls.
    pub fn be_refused(&self, calls: u32) {
        self.faults().refused = calls;
    }

    /// The next `times` writes find that another worker has just written the value.
    pub fn lose_races(&self, times: u32) {
        self.faults().stale = times;
    }

    /// Whether calls are still to be refused, or writes still to be overtaken.
    pub fn is_disturbed(&self) -> bool {
        let faults = self.faults();
        faults.refused > 0 || faults.stale > 0
    }

    /// Runs `other` just before the call with this number; the next call has the number 0.
    pub fn interrupt_at(&self, call: u64, other: impl FnOnce() + Send + 'static) {
        let mut faults = self.faults();
        faults.interruption = Some((faults.made.saturating_add(call), Box::new(other)));
    }

    /// Whether [`Handle::interrupt_at`] still waits for its call.
    pub fn interrupt_is_pending(&self) -> bool {
        self.faults().interruption.is_some()
    }

    /// Counts a call, lets other workers run first, and tells whether the call happens at all.
    fn happens(&self, key: Key) -> bool {
        if (self.counts)(key) {
            let interruption = self.faults().next_call();
            if let Some(other) = interruption {
                other();
            }
            if let Some(hook) = &self.memory.before_calls {
                hook(key);
            }
        }
        self.faults().lets_pass()
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    fn is_dead(&self) -> bool {
        self.dies_after.is_some_and(|last| self.made > last)
    }

    /// Counts a call. Returns what must run before it.
    fn next_call(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        let now = self.made;
        self.made += 1;
        let due = self.interruption.take_if(|(call, _)| *call == now);
        due.map(|(_, other)| other)
    }

    fn lets_pass(&mut self) -> bool {
        if self.dies_after.is_some() {
            // A worker that is to die counts its calls even if the host refuses them.
            return !self.is_dead();
        }
        take_one(&mut self.refused).is_none()
    }
}

/// Takes one of those that are left.
fn take_one(left: &mut u32) -> Option<()> {
    *left = left.checked_sub(1)?;
    Some(())
}

impl Store for Handle {
    fn get(&self, key: Key) -> Result<Value, StoreError> {
        if !self.happens(key) {
            return Err(StoreError::Unavailable);
        }
        self.memory.get(key)
    }

    fn set(&self, key: Key, bytes: &[u8], expected: Version) -> Result<(), SetError> {
        if !self.happens(key) {
            return Err(SetError::Unavailable);
        }
        if take_one(&mut self.faults().stale).is_some() {
            self.memory.touch(key);
            return Err(SetError::Stale);
        }
        self.memory.set(key, bytes, expected)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const KEY: Key = Key::Ledger;

    #[test]
    fn a_worker_dies_after_its_last_call() {
        let handle = Memory::ready().handle();
        handle.die_after(1);
        assert_eq!(handle.set(KEY, b"1", Version::Absent), Ok(()));
        assert!(!handle.is_dead());
        assert_eq!(handle.get(KEY).unwrap_err(), StoreError::Unavailable);
        assert!(handle.is_dead());
        assert_eq!(handle.memory.value(KEY), Some(b"1".to_vec()));
    }

    #[test]
    fn refused_calls_do_not_happen_and_later_ones_do() {
        let handle = Memory::ready().handle();
        handle.be_refused(2);
        assert!(handle.is_disturbed());
        assert_eq!(handle.get(KEY).unwrap_err(), StoreError::Unavailable);
        assert_eq!(handle.set(KEY, b"1", Version::Absent), Err(SetError::Unavailable));
        assert!(!handle.is_disturbed());
        assert_eq!(handle.get(KEY).unwrap().version, Version::Absent);
    }

    #[test]
    fn an_overtaken_write_finds_the_same_value_with_another_number() {
        let memory = Memory::ready();
        let handle = memory.handle();
        handle.set(KEY, b"1", Version::Absent).unwrap();
        let seen = handle.get(KEY).unwrap().version;
        handle.lose_races(1);
        assert_eq!(handle.set(KEY, b"2", seen), Err(SetError::Stale));
        let found = handle.get(KEY).unwrap();
        assert_eq!(found.bytes, b"1");
        assert_ne!(found.version, seen);
        assert_eq!(memory.handle().set(KEY, b"2", found.version), Ok(()));
    }

    #[test]
    fn others_go_before_the_call_that_they_interrupt() {
        let memory = Memory::ready();
        let (handle, other) = (memory.handle_that_counts(|key| key == KEY), memory.clone());
        handle.interrupt_at(1, move || other.put(KEY, b"2"));
        handle.get(Key::HashKey).unwrap();
        assert_eq!(handle.get(KEY).unwrap().version, Version::Absent);
        assert!(handle.interrupt_is_pending());
        assert_eq!(handle.set(KEY, b"1", Version::Absent), Err(SetError::Stale));
        assert!(!handle.interrupt_is_pending());
    }

    #[test]
    fn a_hook_runs_before_each_call_and_a_watcher_after_each_change() {
        let counted = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let (before, after) = (Arc::clone(&counted), Arc::clone(&counted));
        let memory = Memory::ready()
            .before_calls(move |_| _ = before[0].fetch_add(1, Ordering::Relaxed))
            .watched_by(move |key, data| {
                assert!(data.get(&key).is_none_or(|(value, _)| value == b"1"));
                after[1].fetch_add(1, Ordering::Relaxed);
            });
        let handle = memory.handle();
        handle.get(KEY).unwrap();
        handle.set(KEY, b"1", Version::Absent).unwrap();
        handle.set(KEY, b"2", Version::Absent).unwrap_err();
        memory.lose(KEY);
        assert_eq!(
            counted.each_ref().map(|count| count.load(Ordering::Relaxed)),
            [3, 2]
        );
    }

    #[test]
    fn what_is_lost_is_absent() {
        let memory = Memory::ready();
        memory.put(KEY, b"1");
        memory.lose_everything();
        assert_eq!(memory.keys(), 0);
        assert_eq!(memory.get(KEY).unwrap().version, Version::Absent);
    }
}
