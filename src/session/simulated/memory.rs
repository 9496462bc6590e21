//! Shared data as Envoy has it, with an audit of every write and faults on demand.

use core::time::Duration;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::values::bucket::Bucket;
use super::super::values::ledger::{Leased, Ledger};
use super::*;

/// What all workers share: the values, the clock, and the books of the audit.
#[derive(Clone)]
pub(super) struct Shared {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<AtomicU64>,
    /// Set where `shuttle` schedules the workers; touching it lets it switch to another.
    pub(super) switch: Option<Arc<shuttle::sync::atomic::AtomicBool>>,
}

struct Inner {
    values: BTreeMap<Key, (Vec<u8>, u32)>,
    last_cas: u32,
    audit: Option<Audit>,
    names: BTreeMap<[u8; 4], String>,
    vm_limit: u32,
}

/// What must hold after every single write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audit {
    /// The ledger counts every record that is in a bucket, and counts no more than the caps allow.
    CountsCoverRecords,
    /// As after the loss of a value: nothing is promised until the next recount.
    Nothing,
}

/// One worker's way to the store.
#[derive(Clone)]
pub(super) struct Handle {
    shared: Shared,
    calls: Arc<Mutex<Calls>>,
}

/// What happens to a worker's calls. Only those are counted that other workers could interfere with.
#[derive(Default)]
struct Calls {
    made: u64,
    dies_after: Option<u64>,
    loses: u32,
    interrupt: Option<(u64, Box<dyn FnOnce() + Send>)>,
}

impl Shared {
    pub(super) fn new(settings: &VmSettings) -> Self {
        let last_bucket = Key::LAST;
        let names = settings.endpoints.iter().map(|endpoint| endpoint.name.clone());
        let inner = Inner {
            // Absent buckets are empty buckets; the last one tells that all have been made.
            values: BTreeMap::from([(last_bucket, (Bucket::empty().into_value(), 1))]),
            last_cas: 1,
            audit: None,
            names: names
                .map(|name| (EndpointTag::of(&name).to_bytes(), name))
                .collect(),
            vm_limit: settings.max_sessions,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            clock: Arc::new(AtomicU64::new(1_000_000)),
            switch: None,
        }
    }

    pub(super) fn handle(&self) -> Handle {
        Handle {
            shared: self.clone(),
            calls: Arc::default(),
        }
    }

    /// A copy of everything as it is, for a world of its own.
    pub(super) fn fork(&self) -> Self {
        let inner = self.lock();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                values: inner.values.clone(),
                names: inner.names.clone(),
                ..*inner
            })),
            clock: Arc::new(AtomicU64::new(self.clock.load(Ordering::Relaxed))),
            switch: None,
        }
    }

    pub(super) fn start_audit(&self) {
        self.lock().audit = Some(Audit::CountsCoverRecords);
    }

    pub(super) fn stop_audit(&self) {
        self.lock().audit = Some(Audit::Nothing);
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.load(Ordering::Relaxed))
    }

    pub(super) fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) fn set_clock(&self, to: Timestamp) {
        self.clock.store(to.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn lose(&self, key: Key) {
        self.lock().values.remove(&key);
    }

    pub(super) fn lose_everything(&self) {
        self.lock().values.clear();
    }

    pub(super) fn value(&self, key: Key) -> Option<Vec<u8>> {
        self.lock().values.get(&key).map(|(bytes, _)| bytes.clone())
    }

    pub(super) fn put(&self, key: Key, bytes: &[u8]) {
        self.lock().write(key, bytes);
    }

    pub(super) fn keys(&self) -> usize {
        self.lock().values.len()
    }

    /// The sessions that are really in buckets, by endpoint.
    pub(super) fn records(&self) -> BTreeMap<String, u32> {
        self.lock().records()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, key: Key, bytes: &[u8]) {
        // As Envoy's: one counter for all keys, which never gives 0.
        self.last_cas = self.last_cas.checked_add(1).unwrap_or(1);
        self.values.insert(key, (bytes.to_vec(), self.last_cas));
    }

    fn records(&self) -> BTreeMap<String, u32> {
        let mut records = BTreeMap::new();
        let mut keys = HashSet::new();
        for index in HOT_BUCKETS {
            let Some((bytes, _)) = self.values.get(&Key::Bucket(index)) else {
                continue;
            };
            // What another version has written is its own business.
            let Ok(bucket) = Bucket::from_value(bytes.clone()) else {
                continue;
            };
            for session in bucket.sessions() {
                assert!(keys.insert(session.key), "twice in the table: {session:?}");
                let name = self.names[&session.endpoint.to_bytes()].clone();
                *records.entry(name).or_insert(0) += 1;
            }
        }
        records
    }

    fn audit(&self) {
        if self.audit != Some(Audit::CountsCoverRecords) {
            return;
        }
        let Some((ledger, _)) = self.values.get(&Key::Ledger) else {
            return;
        };
        let Ok(ledger) = Ledger::from_value(ledger) else {
            return;
        };
        let (counts, records) = (ledger.counts(), self.records());
        assert!(
            counts.active + counts.reserved <= self.vm_limit,
            "over the cap: {counts:?}"
        );
        for endpoint in &counts.endpoints {
            let there = records.get(&endpoint.name).copied().unwrap_or(0);
            assert!(
                there <= endpoint.active,
                "{there} records are not counted: {endpoint:?}"
            );
            assert!(
                endpoint.active + endpoint.reserved <= endpoint.limit,
                "over the cap: {endpoint:?}"
            );
        }
    }
}

impl Handle {
    /// After `calls` more calls the worker is gone: none of its calls happens any more.
    pub(super) fn die_after(&self, calls: u64) {
        let mut state = self.calls.lock().unwrap();
        state.dies_after = Some(state.made + calls);
    }

    pub(super) fn is_dead(&self) -> bool {
        let state = self.calls.lock().unwrap();
        state.dies_after.is_some_and(|last| state.made > last)
    }

    /// The next `times` writes find that somebody else has just written the value.
    pub(super) fn lose_races(&self, times: u32) {
        self.calls.lock().unwrap().loses = times;
    }

    /// Runs `other` just before the call number `call` from now on.
    pub(super) fn interrupt_at(&self, call: u64, other: impl FnOnce() + Send + 'static) {
        let mut state = self.calls.lock().unwrap();
        state.interrupt = Some((state.made + call, Box::new(other)));
    }

    /// Whether [`Handle::interrupt_at`] is still waiting for its call.
    pub(super) fn interrupt_is_pending(&self) -> bool {
        self.calls.lock().unwrap().interrupt.is_some()
    }

    /// Counts a call; false if the worker is dead.
    fn enter(&self, key: Key) -> bool {
        if !is_hot(key) {
            return !self.is_dead();
        }
        let interrupt = {
            let mut state = self.calls.lock().unwrap();
            let due = matches!(&state.interrupt, Some((call, _)) if *call == state.made);
            state.made += 1;
            if due { state.interrupt.take() } else { None }
        };
        if let Some((_, other)) = interrupt {
            other();
        }
        if let Some(switch) = &self.shared.switch {
            switch.load(Ordering::SeqCst);
        }
        !self.is_dead()
    }

    fn loses_race(&self) -> bool {
        let mut state = self.calls.lock().unwrap();
        let loses = state.loses > 0;
        state.loses = state.loses.saturating_sub(1);
        loses
    }
}

/// Whether more than one worker may ever care for the value. Calls for others are neither counted nor
/// interleaved.
fn is_hot(key: Key) -> bool {
    match key {
        Key::HashKey | Key::Ledger => true,
        Key::Bucket(index) => HOT_BUCKETS.contains(&index),
        Key::Principals(_) => true,
    }
}

impl Store for Handle {
    fn get(&self, key: Key) -> Result<Value, StoreError> {
        if !self.enter(key) {
            return Err(StoreError::Unavailable);
        }
        let (bytes, cas) = self.shared.lock().values.get(&key).cloned().unzip();
        Ok(Value::new(bytes, cas))
    }

    fn set(&self, key: Key, bytes: &[u8], expected: Version) -> Result<(), SetError> {
        if !self.enter(key) {
            return Err(SetError::Unavailable);
        }
        let lost = self.loses_race();
        let mut inner = self.shared.lock();
        let current = inner.values.get(&key).cloned();
        match (&current, expected) {
            (Some((same, _)), _) if lost => {
                inner.write(key, same);
                return Err(SetError::Stale);
            }
            (None, _) if lost => {
                inner.write(key, &[]);
                return Err(SetError::Stale);
            }
            (Some(_), Version::Absent) => return Err(SetError::Stale),
            (Some((_, cas)), Version::At(seen)) if *cas != seen => return Err(SetError::Stale),
            // An absent key is never compared: any write makes it.
            (Some(_), Version::At(_)) | (None, _) => {}
        }
        inner.write(key, bytes);
        if is_hot(key) {
            inner.audit();
        }
        Ok(())
    }
}

impl core::fmt::Debug for Handle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Handle")
    }
}

#[test]
fn a_write_to_a_present_key_needs_its_version_and_one_to_an_absent_key_does_not() {
    let store = Shared::new(&settings(1, 1, 1)).handle();
    let key = Key::Bucket(0);
    assert_eq!(store.set(key, b"a", Version::At(77)), Ok(()));
    assert_eq!(store.set(key, b"b", Version::Absent), Err(SetError::Stale));
    let seen = store.get(key).unwrap().version;
    assert_eq!(store.set(key, b"b", seen), Ok(()));
    assert_eq!(store.set(key, b"c", seen), Err(SetError::Stale));
    assert_eq!(store.get(key).unwrap().bytes, b"b");
}

#[test]
fn the_audit_sees_a_record_that_is_not_counted() {
    let world = World::new(settings(2, 2, 2));
    let worker = world.worker(1);
    world.admit(&worker, &ids(0)[0]).unwrap();
    let forgets = |ledger: &mut Ledger| {
        ledger.uncount_session(ids(0)[0].tag(), 0);
        ledger.uncount_session(ids(0)[0].tag(), 1);
        ledger.lease(
            Leased::Streams,
            RootTag::from_random(1),
            ids(0)[0].tag(),
            Timestamp::NEVER,
        );
        table::Change::Write(())
    };
    let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| worker.update_ledger(forgets)));
    assert!(caught.is_err());
}
