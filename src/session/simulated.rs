//! The table in simulated worlds: several workers over one store that behaves as Envoy's shared data does, with a
//! clock, faults, and an audit after every write.
//!
//! `MSF_ITERATIONS` multiplies the number of schedules and cases, `MSF_SEED` chooses others. A failure prints what is
//! needed to repeat it.

mod configurations;
mod evictions;
mod faults;
mod growing;
mod interleaved;
mod leases;
mod looks;
mod memory;
mod pairs;
mod quotas;
mod sequential;
mod shares;
mod size;
mod streams;
mod sweeping;
mod upstream_delete;

use core::time::Duration;
use std::sync::OnceLock;

use self::memory::Shared;
use super::store::{BUCKETS, GROUP_LEN};
use super::testing::Handle;
use super::values::depth::DEEPEST;
use super::values::{ledger, record};
use super::*;

type Worker = Table<Handle>;

const SECRET: [u8; 16] = *b"only the workers";

/// The buckets of the worlds' sessions: two neighbours, and one of another group.
const HOT_BUCKETS: [u16; 3] = [0, 1, GROUP_LEN];

/// The groups of [`HOT_BUCKETS`].
const HOT_GROUPS: [u8; 2] = [0, 1];

/// Ids in each world for each endpoint: more than the ended sessions that a bucket remembers.
const IDS: usize = 36;

const SECOND: Duration = Duration::from_secs(1);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A timeout that is not changed by rounding deadlines to whole seconds.
const TIMEOUT: Duration = Duration::from_secs(16);

/// Two endpoints: `a` counts idleness in minutes, `b` in seconds.
fn settings(vm: u32, a: u32, b: u32) -> VmSettings {
    let endpoint = |name: &str, max_sessions, idle, lifetime| EndpointSettings {
        name: name.to_owned(),
        max_sessions,
        quota: None,
        max_streams: None,
        max_streams_per_principal: None,
        lifespans: Lifespans {
            idle: Some(secs(idle)),
            lifetime,
            ..Lifespans::default()
        },
        evict_after: Duration::ZERO,
    };
    VmSettings {
        max_sessions: Some(vm),
        fleet: None,
        endpoints: vec![endpoint("a", a, 600, Some(secs(3600))), endpoint("b", b, 5, None)],
    }
}

/// A world: the store, its clock and the settings in force.
#[derive(Clone)]
pub(super) struct World {
    shared: Shared,
    settings: VmSettings,
}

impl World {
    fn new(settings: VmSettings) -> Self {
        let world = Self {
            shared: Shared::new(&settings),
            settings,
        };
        let first = world.worker(1);
        first.serve(&mut world.configuration(), world.now()).unwrap();
        change_ledger(&first, |ledger| {
            ledger.leave_awake(&HOT_GROUPS);
            // Each place has its own bucket, so that each world sees several.
            ledger.deepen(DEEPEST);
        })
        .unwrap();
        world.shared.start_audit();
        world
    }

    fn worker(&self, root: u32) -> Worker {
        Table::attach(self.shared.handle(), RootTag::from_random(root), SECRET).unwrap()
    }

    /// The world's configuration, which a root has just loaded.
    fn configuration(&self) -> Configuration {
        Configuration::new(ConfigurationId::of(&[b"first"]), self.settings.clone())
    }

    /// The first tick of a root that has served.
    fn restore(&self, worker: &Worker) -> Result<bool, StoreError> {
        let mut configuration = self.configuration();
        configuration.serves = true;
        worker
            .restore(&mut configuration, self.now())
            .map(|kept| kept.is_some())
    }

    fn now(&self) -> Timestamp {
        self.shared.now()
    }

    fn advance(&self, by: Duration) {
        self.shared.advance(by);
    }

    fn counts(&self) -> Counts {
        self.worker(99).counts().unwrap().0
    }

    fn lifespans(&self, id: &Id) -> Lifespans {
        self.settings.endpoints[id.endpoint].lifespans
    }

    fn reserve(&self, worker: &Worker, id: &Id) -> Result<Result<Reservation, Refusal>, StoreError> {
        worker.reserve(id.tag(), None, TIMEOUT, self.now())
    }

    fn open(&self, worker: &Worker, id: &Id, origin: Origin) -> Result<Opened, StoreError> {
        worker.open(&self.new_session(id), origin, self.now())
    }

    fn new_session<'a>(&self, id: &'a Id) -> NewSession<'a> {
        NewSession {
            endpoint: id.tag(),
            lifespans: self.lifespans(id),
            owner: Owner(7),
            bound: false,
            quota: None,
            key: id.key,
            id: id.text.as_bytes(),
            digest: IdDigest::of(id.text.as_bytes()),
            keep_id: true,
            delete_request: None,
        }
    }

    /// Makes a reservation and opens the session.
    fn admit(&self, worker: &Worker, id: &Id) -> Result<Opened, StoreError> {
        match self.reserve(worker, id)? {
            Ok(reservation) => self.open(worker, id, Origin::Minted(Some(reservation))),
            Err(_) => Ok(Opened::Full),
        }
    }

    fn use_session(&self, worker: &Worker, id: &Id) -> Result<Standing, StoreError> {
        worker.use_session(id.key, None, self.lifespans(id), self.now())
    }

    fn renew(&self, worker: &Worker, id: &Id) -> Result<(), StoreError> {
        worker.renew(id.key, self.lifespans(id), self.now())
    }

    fn rest(&self, worker: &Worker, id: &Id) -> Result<(), StoreError> {
        let rests = worker.rest(id.key, self.lifespans(id), self.now())?;
        if rests && self.lifespans(id).evictable {
            worker.tell_of_rest()?;
        }
        Ok(())
    }

    fn end(&self, worker: &Worker, id: &Id) -> Result<Option<EndedSession>, StoreError> {
        self.end_for(worker, id, EndReason::ClientDelete, false)
    }

    fn end_for(
        &self,
        worker: &Worker,
        id: &Id,
        reason: EndReason,
        bound: bool,
    ) -> Result<Option<EndedSession>, StoreError> {
        worker.end(id.key, reason, bound, self.lifespans(id), self.now())
    }

    /// Sweeps until nothing is due, at a tick that keeps the configuration in force where the ledger can be read.
    fn sweep(&self, worker: &Worker) -> SweepReport {
        let _ = self.restore(worker);
        let mut all = SweepReport::default();
        while let Some(report) = worker.sweep(self.now()).unwrap() {
            all.ended.extend(report.ended);
            all.repaired += report.repaired;
            all.ready.extend(report.ready);
            all.given_up += report.given_up;
        }
        all
    }

    /// One round of sweeps: waits until abandoned claims lapse and every group is due, sweeps, and recounts the
    /// suspect groups.
    fn sweep_round(&self, worker: &Worker) -> SweepReport {
        self.advance(secs(30));
        let mut all = self.sweep(worker);
        self.advance(secs(2));
        let second = self.sweep(worker);
        all.ended.extend(second.ended);
        all.repaired += second.repaired;
        worker.keep_leases(&[], self.now()).unwrap();
        all
    }

    /// A copy of this world.
    fn fork(&self) -> Self {
        Self {
            shared: self.shared.fork(),
            settings: self.settings.clone(),
        }
    }

    /// Makes the next sweep a recount, as after a mismatch.
    fn suspect(&self, worker: &Worker) -> Result<(), StoreError> {
        change_ledger(worker, |ledger| ledger.suspect(&HOT_GROUPS))
    }

    /// Checks that the ledger's counts of sessions are those of the records in the buckets.
    #[track_caller]
    fn assert_counts_are_true(&self) {
        let (counts, records) = (self.counts(), self.shared.records());
        for endpoint in &counts.endpoints {
            let name = &endpoint.settings.name;
            let there = records.get(name).copied().unwrap_or(0);
            assert_eq!(endpoint.active, there, "{name}: {counts:?}");
        }
        assert_eq!(counts.active, records.values().sum::<u32>());
    }
}

fn change_ledger(worker: &Worker, mut change: impl FnMut(&mut ledger::Ledger)) -> Result<(), StoreError> {
    worker.update_ledger(|ledger| {
        change(ledger);
        table::Change::Write(())
    })
}

/// An id, and its bucket.
#[derive(Clone, Debug)]
struct Id {
    endpoint: usize,
    text: String,
    key: SessionKey,
}

impl Id {
    fn tag(&self) -> EndpointTag {
        EndpointTag::of(["a", "b"][self.endpoint])
    }
}

/// Ids in [`HOT_BUCKETS`], by endpoint.
fn ids(endpoint: usize) -> &'static [Id] {
    static FOUND: OnceLock<[Vec<Id>; 2]> = OnceLock::new();
    &FOUND.get_or_init(|| [0, 1].map(find_ids))[endpoint]
}

fn find_ids(endpoint: usize) -> Vec<Id> {
    let tag = EndpointTag::of(["a", "b"][endpoint]);
    let all = (0..).map(|number| format!("session-{number}")).map(|text| Id {
        endpoint,
        key: SessionKey::new(&SECRET, tag, text.as_bytes()),
        text,
    });
    all.filter(|id| HOT_BUCKETS.contains(&id.key.bucket()))
        .take(IDS)
        .collect()
}

/// How many iterations to run, if `default` is the usual number.
fn iterations(default: usize) -> usize {
    default * from_environment("MSF_ITERATIONS").unwrap_or(1) as usize
}

fn seed() -> u64 {
    from_environment("MSF_SEED").unwrap_or(0x5e55_1075)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
