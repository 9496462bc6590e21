//! Shared data as Envoy has it, with faults on demand, and a reader of its own for what the buckets hold.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use mcp_session_filter::session::{self, Key, SetError, Store, StoreError, Value, Version};

const BUCKETS: usize = session::BUCKETS as usize;

/// Bytes that no bucket exceeds: 60 KiB, and the padding.
const MAX_BUCKET_BYTES: usize = 64 * 1024 - 1;

/// Shared-data keys of the filter.
const PRINCIPALS: usize = 4_096;
const KEYS: usize = BUCKETS + 2 + PRINCIPALS;

type Slot = Option<(Vec<u8>, u32)>;

/// What all workers share.
#[derive(Clone)]
pub struct Shared(Rc<Inner>);

struct Inner {
    /// The buckets, the ledger and the hash key.
    slots: RefCell<Vec<Slot>>,
    /// The sessions that are really there, by bucket.
    records: RefCell<BTreeMap<usize, Vec<Record>>>,
    last_cas: Cell<u32>,
    calls: Cell<u64>,
}

/// A session as its bucket holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub key: [u8; 16],
    pub endpoint: [u8; 4],
}

/// One worker's way to the store, and what is to go wrong on it.
#[derive(Clone)]
pub struct Handle {
    shared: Shared,
    faults: Rc<Faults>,
}

#[derive(Default)]
struct Faults {
    /// Calls that still happen before the worker is gone.
    lives_for: Cell<Option<u64>>,
    /// Writes that come too late.
    loses: Cell<u32>,
    /// Calls that the host refuses.
    refused: Cell<u32>,
}

impl Shared {
    /// A store in which nobody has to make empty buckets: absent ones are empty, and the last tells
    /// that all are made.
    pub fn new(last_cas: u32) -> Self {
        let mut slots = vec![None; KEYS];
        slots[BUCKETS - 1] = Some((Vec::new(), 1));
        Self(Rc::new(Inner {
            slots: RefCell::new(slots),
            records: RefCell::default(),
            last_cas: Cell::new(last_cas),
            calls: Cell::new(0),
        }))
    }

    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.clone(),
            faults: Rc::default(),
        }
    }

    /// Calls of all workers so far.
    pub fn calls(&self) -> u64 {
        self.0.calls.get()
    }

    /// Sessions that buckets really hold, of one endpoint.
    pub fn count(&self, endpoint: [u8; 4]) -> usize {
        let records = self.0.records.borrow();
        records
            .values()
            .flatten()
            .filter(|record| record.endpoint == endpoint)
            .count()
    }

    /// Sessions that buckets really hold.
    pub fn records(&self) -> Vec<Record> {
        self.0.records.borrow().values().flatten().copied().collect()
    }

    /// A bucket with sessions, the one that `choose` chooses of so many.
    pub fn inhabited(&self, choose: impl FnOnce(usize) -> usize) -> Option<Key> {
        let records = self.0.records.borrow();
        let count = records.len();
        let chosen = (count > 0).then(|| choose(count))?;
        let bucket = records.keys().nth(chosen)?;
        Some(Key::Bucket(u16::try_from(*bucket).unwrap()))
    }

    pub fn value(&self, key: Key) -> Option<Vec<u8>> {
        let slots = self.0.slots.borrow();
        slots[slot_of(key)].as_ref().map(|(bytes, _)| bytes.clone())
    }

    /// The key is gone, as if it had never been written.
    pub fn lose(&self, key: Key) {
        self.0.slots.borrow_mut()[slot_of(key)] = None;
        self.note(key, &[]);
    }

    pub fn lose_everything(&self) {
        self.0.slots.borrow_mut().fill(None);
        self.0.slots.borrow_mut()[BUCKETS - 1] = Some((Vec::new(), 1));
        self.0.records.borrow_mut().clear();
    }

    pub fn put(&self, key: Key, bytes: &[u8]) {
        // As Envoy's: one counter for all keys, which never gives 0.
        let cas = self.0.last_cas.get().checked_add(1).unwrap_or(1);
        self.0.last_cas.set(cas);
        self.0.slots.borrow_mut()[slot_of(key)] = Some((bytes.to_vec(), cas));
        self.note(key, bytes);
    }

    fn note(&self, key: Key, bytes: &[u8]) {
        let Key::Bucket(index) = key else { return };
        assert!(
            bytes.len() <= MAX_BUCKET_BYTES,
            "a bucket of {} bytes",
            bytes.len()
        );
        let mut all = self.0.records.borrow_mut();
        match read_bucket(bytes) {
            records if records.is_empty() => drop(all.remove(&usize::from(index))),
            records => drop(all.insert(usize::from(index), records)),
        }
    }
}

fn slot_of(key: Key) -> usize {
    match key {
        Key::Bucket(index) => usize::from(index),
        Key::Ledger => BUCKETS,
        Key::HashKey => BUCKETS + 1,
        Key::Principals(index) => BUCKETS + 2 + usize::from(index),
    }
}

/// The sessions in a bucket's value; see `src/session/bucket.rs` for the layout. Of another layout: none.
fn read_bucket(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    if bytes.len() < 8 || bytes[0] != 1 {
        return records;
    }
    let used = usize::from(u16::from_le_bytes([bytes[1], bytes[2]]));
    let mut at = 8;
    while at < used {
        at += match bytes[at] {
            1 => {
                records.push(Record {
                    key: bytes[at + 1..at + 17].try_into().unwrap(),
                    endpoint: bytes[at + 17..at + 21].try_into().unwrap(),
                });
                let parts = bytes[at + 39];
                let mut len = 40;
                if parts & 1 != 0 {
                    len += 8;
                }
                if parts & 2 != 0 {
                    len += 1 + 4 * usize::from(bytes[at + len]);
                }
                for part in [4, 8] {
                    if parts & part != 0 {
                        len += 2 + length_at(bytes, at + len);
                    }
                }
                len
            }
            2 => 22,
            3 => {
                let fixed = 34 + length_at(bytes, at + 32);
                fixed + 2 + length_at(bytes, at + fixed)
            }
            other => panic!("a record of kind {other} was written"),
        };
    }
    records
}

fn length_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

impl Handle {
    /// After so many more calls the worker is gone: no more of its calls happen.
    pub fn die_after(&self, calls: u64) {
        self.faults.lives_for.set(Some(calls));
    }

    /// The next writes find that somebody else has just written the value.
    pub fn lose_races(&self, times: u32) {
        self.faults.loses.set(times);
    }

    /// The host refuses the next calls.
    pub fn be_refused(&self, times: u32) {
        self.faults.refused.set(times);
    }

    pub fn is_disturbed(&self) -> bool {
        self.faults.refused.get() > 0 || self.faults.loses.get() > 0
    }

    fn happens(&self) -> bool {
        self.shared.0.calls.set(self.shared.0.calls.get() + 1);
        if let Some(left) = self.faults.lives_for.get() {
            self.faults.lives_for.set(Some(left.saturating_sub(1)));
            return left > 0;
        }
        let refused = self.faults.refused.get();
        self.faults.refused.set(refused.saturating_sub(1));
        refused == 0
    }
}

impl Store for Handle {
    fn get(&self, key: Key) -> Result<Value, StoreError> {
        if !self.happens() {
            return Err(StoreError::Unavailable);
        }
        let (bytes, cas) = self.shared.0.slots.borrow()[slot_of(key)].clone().unzip();
        Ok(Value::new(bytes, cas))
    }

    fn set(&self, key: Key, bytes: &[u8], expected: Version) -> Result<(), SetError> {
        if !self.happens() {
            return Err(SetError::Unavailable);
        }
        let loses = self.faults.loses.get();
        if loses > 0 {
            self.faults.loses.set(loses - 1);
            let same = self.shared.value(key).unwrap_or_default();
            self.shared.put(key, &same);
            return Err(SetError::Stale);
        }
        let current = self.shared.0.slots.borrow()[slot_of(key)]
            .as_ref()
            .map(|(_, cas)| *cas);
        // An absent key is never compared: any write makes it.
        if current.is_some_and(|cas| expected != Version::At(cas)) {
            return Err(SetError::Stale);
        }
        self.shared.put(key, bytes);
        Ok(())
    }
}

impl core::fmt::Debug for Handle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Handle")
    }
}
