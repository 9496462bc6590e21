//! The memory of a world, with its own reader of the buckets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use mcp_session_filter::session::testing::{Memory, SharedData};
use mcp_session_filter::session::{self, Key};

/// Most bytes of a bucket: 60 KiB, and the padding.
const MAX_BUCKET_BYTES: usize = 64 * 1024 - 1;

/// Shared-data keys of the filter: the buckets, the books of principals, the ledger and the hash key.
const KEYS: usize = session::BUCKETS as usize + 4_096 + 2;

/// The first byte of every value of this version of the filter.
const LAYOUT: u8 = 3;

/// The state that all workers share.
pub struct Shared {
    pub memory: Memory,
    calls: Arc<AtomicU64>,
    records: Arc<Mutex<Records>>,
}

/// The sessions in the buckets, by bucket.
type Records = BTreeMap<u16, Vec<Record>>;

/// A session as its bucket holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub key: [u8; 16],
    pub endpoint: [u8; 4],
    /// When it was opened, as it is written.
    pub opened: [u8; 5],
}

impl Shared {
    pub fn new(last_cas: u32) -> Self {
        let calls = Arc::new(AtomicU64::new(0));
        let records = Arc::new(Mutex::new(Records::new()));
        let (counted, noted) = (Arc::clone(&calls), Arc::clone(&records));
        let memory = Memory::of(SharedData::counting_from(last_cas))
            .before_calls(move |_| _ = counted.fetch_add(1, Ordering::Relaxed))
            .watched_by(move |key, data| note(&mut noted.lock().unwrap(), key, data));
        Self {
            memory,
            calls,
            records,
        }
    }

    /// Calls of all workers so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The number of sessions of one endpoint in the buckets.
    pub fn count(&self, endpoint: [u8; 4]) -> usize {
        let records = self.lock();
        records
            .values()
            .flatten()
            .filter(|record| record.endpoint == endpoint)
            .count()
    }

    /// The sessions in the buckets.
    pub fn records(&self) -> Vec<Record> {
        self.lock().values().flatten().copied().collect()
    }

    /// A bucket with sessions; `choose` picks one of so many.
    pub fn inhabited(&self, choose: impl FnOnce(usize) -> usize) -> Option<Key> {
        let records = self.lock();
        let count = records.len();
        let chosen = (count > 0).then(|| choose(count))?;
        records.keys().nth(chosen).map(|bucket| Key::Bucket(*bucket))
    }

    /// Writes the value as another version of the filter would. Returns the value before; `None` if it is not ours.
    pub fn become_foreign(&self, key: Key) -> Option<(Key, Vec<u8>)> {
        let ours = self
            .memory
            .value(key)
            .filter(|value| value.first() == Some(&LAYOUT))?;
        let mut foreign = ours.clone();
        foreign[0] = LAYOUT + 1;
        self.memory.put(key, &foreign);
        Some((key, ours))
    }

    /// Loses everything, and makes the empty buckets anew.
    pub fn lose_everything(&self) {
        self.memory.lose_everything();
        self.memory.put(Key::LAST, b"");
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap()
    }
}

/// Notes the sessions that a changed bucket holds now.
fn note(records: &mut Records, key: Key, data: &SharedData<Key>) {
    assert!(data.len() <= KEYS, "{} keys", data.len());
    let Key::Bucket(index) = key else { return };
    let bytes = data.get(&key).map_or(&b""[..], |(bytes, _)| bytes);
    assert!(
        bytes.len() <= MAX_BUCKET_BYTES,
        "a bucket of {} bytes",
        bytes.len()
    );
    match read_bucket(bytes) {
        found if found.is_empty() => drop(records.remove(&index)),
        found => drop(records.insert(index, found)),
    }
}

/// The sessions in a bucket's value; see `src/session/values/bucket.rs` for the layout. None for another layout.
fn read_bucket(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    if bytes.len() < 9 || bytes[0] != LAYOUT {
        return records;
    }
    let used = usize::from(u16::from_le_bytes([bytes[1], bytes[2]]));
    let mut at = 9;
    while at < used {
        at += match bytes[at] {
            1 => {
                records.push(Record {
                    key: bytes[at + 1..at + 17].try_into().unwrap(),
                    endpoint: bytes[at + 17..at + 21].try_into().unwrap(),
                    opened: bytes[at + 29..at + 34].try_into().unwrap(),
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
                let fixed = 42 + length_at(bytes, at + 40);
                fixed + 2 + length_at(bytes, at + fixed)
            }
            4 => 30,
            other => panic!("a record of kind {other} was written"),
        };
    }
    records
}

fn length_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}
