//! The memory of the worlds, with a clock, and with an audit of every write.

use core::time::Duration;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::testing::{Handle, Memory, SharedData};
use super::super::values::bucket::Bucket;
use super::super::values::ledger::Ledger;
use super::*;

/// The state that all workers share: the values, the clock, and whether the audit is on.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) memory: Memory,
    clock: Arc<AtomicU64>,
    is_audited: Arc<AtomicBool>,
    audit: Audit,
}

/// The invariants that must hold after every single write.
#[derive(Clone)]
struct Audit {
    names: BTreeMap<[u8; 4], String>,
    vm_limit: u32,
}

impl Shared {
    pub(super) fn new(settings: &VmSettings) -> Self {
        let names = settings.endpoints.iter().map(|endpoint| endpoint.name.clone());
        let audit = Audit {
            names: names
                .map(|name| (EndpointTag::of(&name).to_bytes(), name))
                .collect(),
            vm_limit: settings.max_sessions.unwrap(),
        };
        Self::of(SharedData::default(), audit, 1_000_000, false)
    }

    fn of(data: SharedData<Key>, audit: Audit, now: u64, is_audited: bool) -> Self {
        let is_audited = Arc::new(AtomicBool::new(is_audited));
        let (auditor, is_on) = (audit.clone(), Arc::clone(&is_audited));
        let memory = Memory::of(data).watched_by(move |key, data| {
            if is_on.load(Ordering::Relaxed) && is_hot(key) {
                auditor.look_at(data);
            }
        });
        Self {
            memory,
            clock: Arc::new(AtomicU64::new(now)),
            is_audited,
            audit,
        }
    }

    pub(super) fn handle(&self) -> Handle {
        self.memory.handle_that_counts(is_hot)
    }

    /// A copy of all values, for another world.
    pub(super) fn fork(&self) -> Self {
        let is_audited = self.is_audited.load(Ordering::Relaxed);
        let now = self.now().as_millis();
        Self::of(
            self.memory.look(Clone::clone),
            self.audit.clone(),
            now,
            is_audited,
        )
    }

    /// From now on, the ledger must count every record in a bucket, and no more sessions than the caps allow.
    pub(super) fn start_audit(&self) {
        self.is_audited.store(true, Ordering::Relaxed);
    }

    /// Called after the loss of a value: the audit's invariants need not hold until the next recount.
    pub(super) fn stop_audit(&self) {
        self.is_audited.store(false, Ordering::Relaxed);
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

    /// The sessions in the buckets, by endpoint.
    pub(super) fn records(&self) -> BTreeMap<String, u32> {
        self.memory.look(|data| self.audit.records(data))
    }
}

impl Audit {
    fn records(&self, data: &SharedData<Key>) -> BTreeMap<String, u32> {
        let mut records = BTreeMap::new();
        let mut keys = HashSet::new();
        for index in HOT_BUCKETS {
            let Some((bytes, _)) = data.get(&Key::Bucket(index)) else {
                continue;
            };
            // A bucket of another version of the filter is not read.
            let Ok(bucket) = Bucket::from_value(bytes.to_vec()) else {
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

    fn look_at(&self, data: &SharedData<Key>) {
        let Some((ledger, _)) = data.get(&Key::Ledger) else {
            return;
        };
        let Ok(ledger) = Ledger::from_value(ledger) else {
            return;
        };
        let (counts, records) = (ledger.counts(), self.records(data));
        assert!(
            counts.active + counts.reserved <= self.vm_limit,
            "over the cap: {counts:?}"
        );
        for endpoint in &counts.endpoints {
            let there = records.get(&endpoint.settings.name).copied().unwrap_or(0);
            assert!(
                there <= endpoint.active,
                "{there} records are not counted: {endpoint:?}"
            );
            assert!(
                endpoint.active + endpoint.reserved <= endpoint.settings.max_sessions,
                "over the cap: {endpoint:?}"
            );
            let max_streams = endpoint.settings.max_streams.unwrap_or(u32::MAX);
            assert!(
                endpoint.streams <= max_streams,
                "over the cap of streams: {endpoint:?}"
            );
        }
    }
}

/// Whether several workers ever use the value. Calls for other values are neither counted nor interleaved.
fn is_hot(key: Key) -> bool {
    match key {
        Key::HashKey | Key::Ledger | Key::Rests | Key::Paths | Key::Speech | Key::Gateways => true,
        // The last three are those that the first one splits into.
        Key::Bucket(index) => HOT_BUCKETS.contains(&index) || [64, 128, 192].contains(&index),
        Key::Principals(_) => true,
    }
}

#[test]
fn the_audit_sees_a_record_that_is_not_counted() {
    let world = World::new(settings(2, 2, 2));
    let worker = world.worker(1);
    world.admit(&worker, &ids(0)[0]).unwrap();
    let forgets = |ledger: &mut Ledger| {
        ledger.uncount_session(ids(0)[0].tag(), 0);
        ledger.uncount_session(ids(0)[0].tag(), 1);
        ledger.set_streams(RootTag::from_random(1), ids(0)[0].tag(), 1, Timestamp::NEVER);
        table::Change::Write(())
    };
    let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| worker.update_ledger(forgets)));
    assert!(caught.is_err());
}
