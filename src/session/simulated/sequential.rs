//! One operation after another, compared with a simple model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// Names a session: its endpoint, and the number of its id.
type Name = (usize, usize);

const CAPS: [u32; 2] = [4, 5];
const VM_CAP: u32 = 7;

/// A bucket remembers at least this many ended sessions.
const REMEMBERED: usize = 8;

#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve(usize, usize),
    Release(usize),
    Open(usize, Name),
    OpenLate(usize, Name),
    Announce(usize, Name),
    Adopt(usize, Name),
    Use(usize, Name),
    Renew(usize, Name),
    Rest(usize, Name),
    End(usize, Name),
    Lose(usize, Name),
    OpenStream(usize, usize),
    CloseStream(usize, usize),
    Advance(u64),
    Sweep(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let (worker, endpoint) = (0..2_usize, 0..2_usize);
    let name = (0..2_usize, 0..12_usize);
    let on = (worker.clone(), name);
    prop_oneof![
        3 => (worker.clone(), endpoint.clone()).prop_map(|(worker, endpoint)| Step::Reserve(worker, endpoint)),
        1 => (0..8_usize).prop_map(Step::Release),
        4 => (0..8_usize, on.1.clone()).prop_map(|(reservation, name)| Step::Open(reservation, name)),
        3 => on.clone().prop_map(|(worker, name)| Step::OpenLate(worker, name)),
        1 => on.clone().prop_map(|(worker, name)| Step::Announce(worker, name)),
        2 => on.clone().prop_map(|(worker, name)| Step::Adopt(worker, name)),
        4 => on.clone().prop_map(|(worker, name)| Step::Use(worker, name)),
        2 => on.clone().prop_map(|(worker, name)| Step::Renew(worker, name)),
        3 => on.clone().prop_map(|(worker, name)| Step::Rest(worker, name)),
        2 => on.clone().prop_map(|(worker, name)| Step::Lose(worker, name)),
        4 => on.prop_map(|(worker, name)| Step::End(worker, name)),
        1 => (worker.clone(), endpoint.clone()).prop_map(|(worker, endpoint)| Step::OpenStream(worker, endpoint)),
        1 => (worker.clone(), endpoint).prop_map(|(worker, endpoint)| Step::CloseStream(worker, endpoint)),
        4 => prop_oneof![Just(1), Just(3), Just(5), Just(17), Just(40), Just(620), Just(3600)].prop_map(Step::Advance),
        3 => worker.prop_map(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(iterations(500)).unwrap(),
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_table_does_what_the_model_says(steps in proptest::collection::vec(steps(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
            model.check_counts();
        }
    }
}

/// A session that is alive by the model.
#[derive(Clone, Debug)]
struct Alive {
    opened: Timestamp,
    used: Timestamp,
    /// The lease that the leaseholders share.
    lease: Timestamp,
    leaseholders: BTreeSet<usize>,
}

struct Place {
    worker: usize,
    endpoint: usize,
    until: Timestamp,
    reservation: Reservation,
}

struct Model {
    world: World,
    workers: [Worker; 2],
    alive: BTreeMap<Name, Alive>,
    reservations: Vec<Place>,
    ended: BTreeMap<Name, Timestamp>,
    streams: [[u32; 2]; 2],
}

impl Model {
    fn new() -> Self {
        let world = World::new(settings(VM_CAP, CAPS[0], CAPS[1]));
        Self {
            workers: [world.worker(1), world.worker(2)],
            world,
            alive: BTreeMap::new(),
            reservations: Vec::new(),
            ended: BTreeMap::new(),
            streams: [[0; 2]; 2],
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Reserve(worker, endpoint) => self.reserve(worker, endpoint),
            Step::Release(reservation) => self.release(reservation),
            Step::Open(reservation, name) => self.open_reserved(reservation, name),
            Step::OpenLate(worker, name) => self.mint(worker, name, None),
            Step::Announce(worker, name) => self.announce(worker, name),
            Step::Adopt(worker, name) => self.adopt(worker, name),
            Step::Use(worker, name) => self.use_session(worker, name),
            Step::Renew(worker, name) => self.renew(worker, name),
            Step::Rest(worker, name) => self.rest(worker, name),
            Step::End(worker, name) => self.end(worker, name, EndReason::ClientDelete),
            Step::Lose(worker, name) => self.end(worker, name, EndReason::UpstreamGone),
            Step::OpenStream(worker, endpoint) => {
                let tag = ids(endpoint)[0].tag();
                let count = self.streams[worker][endpoint] + 1;
                self.workers[worker]
                    .set_streams(tag, count, self.world.now())
                    .unwrap();
                self.streams[worker][endpoint] = count;
            }
            Step::CloseStream(worker, endpoint) => {
                let tag = ids(endpoint)[0].tag();
                let count = self.streams[worker][endpoint].saturating_sub(1);
                self.workers[worker]
                    .set_streams(tag, count, self.world.now())
                    .unwrap();
                self.streams[worker][endpoint] = count;
            }
            Step::Advance(secs) => self.advance(secs),
            Step::Sweep(worker) => self.sweep(worker),
        }
    }

    fn reserve(&mut self, worker: usize, endpoint: usize) {
        let room = self.has_room(endpoint);
        let got = self
            .world
            .reserve(&self.workers[worker], &ids(endpoint)[0])
            .unwrap();
        assert_eq!(got.is_ok(), room);
        if let Ok(reservation) = got {
            let until = self.world.now().after(TIMEOUT);
            self.reservations.push(Place {
                worker,
                endpoint,
                until,
                reservation,
            });
        }
    }

    fn release(&mut self, reservation: usize) {
        if reservation < self.reservations.len() {
            let reservation = self.reservations.remove(reservation);
            self.workers[reservation.worker]
                .release(reservation.reservation)
                .unwrap();
        }
    }

    fn open_reserved(&mut self, reservation: usize, name: Name) {
        let fits = |reservation: &Place| reservation.endpoint == name.0;
        let Some(index) = (0..self.reservations.len())
            .filter(|index| fits(&self.reservations[*index]))
            .nth(reservation % 3)
        else {
            return;
        };
        let reservation = self.reservations.remove(index);
        self.mint(reservation.worker, name, Some(reservation));
    }

    fn mint(&mut self, worker: usize, name: Name, reservation: Option<Place>) {
        let now = self.world.now();
        let room = reservation
            .as_ref()
            .is_some_and(|reservation| now < reservation.until)
            || self.has_room(name.0);
        let origin = Origin::Minted(reservation.map(|reservation| reservation.reservation));
        let opened = self.world.open(&self.workers[worker], id(name), origin).unwrap();
        match opened {
            Opened::Alive { opened } => {
                assert!(!self.must_have_ended(name), "{:?}", self.alive[&name]);
                assert_eq!(opened, self.alive[&name].opened);
                self.used(worker, name);
            }
            Opened::Renewed => {
                assert!(self.may_have_ended(name), "{:?}", self.alive[&name]);
                self.renewed(worker, name);
            }
            Opened::Created | Opened::Full => {
                assert!(!self.alive.contains_key(&name));
                assert_eq!(opened == Opened::Created, room);
            }
            Opened::Foreign | Opened::Ended => panic!("minted, yet {opened:?}"),
        }
        if opened == Opened::Created {
            self.begin(worker, name);
        }
    }

    fn announce(&mut self, worker: usize, name: Name) {
        let origin = Origin::Announced(None);
        let opened = self.world.open(&self.workers[worker], id(name), origin).unwrap();
        let expected = match (self.alive.contains_key(&name), self.has_room(name.0)) {
            (true, _) => Opened::Renewed,
            (false, true) => Opened::Created,
            (false, false) => Opened::Full,
        };
        assert_eq!(opened, expected);
        if opened == Opened::Renewed {
            self.renewed(worker, name);
        } else if opened == Opened::Created {
            self.begin(worker, name);
        }
    }

    fn renewed(&mut self, worker: usize, name: Name) {
        self.alive.get_mut(&name).unwrap().opened = self.world.now();
        self.used(worker, name);
    }

    fn adopt(&mut self, worker: usize, name: Name) {
        let opened = self
            .world
            .open(&self.workers[worker], id(name), Origin::Adopted(None))
            .unwrap();
        match opened {
            Opened::Alive { .. } => self.used(worker, name),
            Opened::Renewed | Opened::Foreign => panic!("adopted, yet {opened:?}"),
            Opened::Ended => assert_ne!(self.remembers(name), Some(false)),
            Opened::Created | Opened::Full => {
                assert!(!self.alive.contains_key(&name));
                assert_ne!(self.remembers(name), Some(true));
                assert_eq!(opened == Opened::Created, self.has_room(name.0));
            }
        }
        if opened == Opened::Created {
            self.begin(worker, name);
        }
    }

    fn use_session(&mut self, worker: usize, name: Name) {
        match self.world.use_session(&self.workers[worker], id(name)).unwrap() {
            Standing::Alive(session) => {
                assert_eq!(session.id, id(name).text.as_bytes());
                assert!(
                    !self.must_have_ended(name),
                    "used past its time: {:?}",
                    self.alive[&name]
                );
                self.used(worker, name);
            }
            Standing::Expired(ended) => self.note_end(name, &ended),
            Standing::Ended => {
                assert!(!self.alive.contains_key(&name));
                assert_ne!(self.remembers(name), Some(false));
            }
            Standing::Foreign => panic!("nobody claims a session here"),
            Standing::Unknown => {
                assert!(!self.alive.contains_key(&name));
                assert_ne!(self.remembers(name), Some(true));
            }
        }
    }

    fn used(&mut self, worker: usize, name: Name) {
        let now = self.world.now();
        let short = self.lifespans(name).leases_every_use();
        let alive = self.alive.get_mut(&name).unwrap();
        alive.used = now;
        alive.lapse(now);
        if short {
            self.lease(worker, name);
        }
    }

    fn renew(&mut self, worker: usize, name: Name) {
        self.world.renew(&self.workers[worker], id(name)).unwrap();
        if self.alive.contains_key(&name) {
            self.lease(worker, name);
        }
    }

    fn rest(&mut self, worker: usize, name: Name) {
        self.world.rest(&self.workers[worker], id(name)).unwrap();
        let now = self.world.now();
        if let Some(alive) = self.alive.get_mut(&name) {
            alive.leaseholders.remove(&worker);
            alive.lapse(now);
            alive.used = now;
        }
    }

    fn end(&mut self, worker: usize, name: Name, reason: EndReason) {
        let worker = &self.workers[worker];
        let ended = self.world.end_for(worker, id(name), reason, false).unwrap();
        assert_eq!(ended.is_some(), self.alive.remove(&name).is_some());
        if ended.is_some() && reason == EndReason::ClientDelete {
            self.remember(name);
        }
    }

    /// Lets time pass, in ticks.
    fn advance(&mut self, mut seconds: u64) {
        while seconds > 0 {
            let tick = seconds.min(20);
            self.world.advance(secs(tick));
            seconds -= tick;
            for (worker, counts) in self.workers.iter().zip(&self.streams) {
                let streams = [0, 1].map(|endpoint| (ids(endpoint)[0].tag(), counts[endpoint]));
                worker.keep_leases(&streams, self.world.now()).unwrap();
            }
        }
    }

    fn sweep(&mut self, worker: usize) {
        let report = self.world.sweep(&self.workers[worker]);
        assert_eq!(report.repaired, 0);
        for ended in &report.ended {
            let name = *self
                .alive
                .keys()
                .find(|name| id(**name).key == ended.session.key)
                .unwrap();
            self.note_end(name, ended);
        }
        let overlooked = self.alive.keys().find(|name| self.must_have_ended(**name));
        assert_eq!(overlooked, None);
    }

    fn check_counts(&self) {
        let (now, counts) = (self.world.now(), self.world.counts());
        for (endpoint, shown) in counts.endpoints.iter().enumerate() {
            let kept = |reservation: &&Place| reservation.endpoint == endpoint && now < reservation.until;
            assert_eq!(shown.active, self.active(endpoint));
            assert_eq!(
                shown.reserved as usize,
                self.reservations.iter().filter(kept).count()
            );
            assert_eq!(
                shown.streams,
                self.streams[0][endpoint] + self.streams[1][endpoint]
            );
        }
        self.world.assert_counts_are_true();
    }

    fn begin(&mut self, worker: usize, name: Name) {
        let now = self.world.now();
        let alive = Alive {
            opened: now,
            used: now,
            lease: now,
            leaseholders: BTreeSet::new(),
        };
        self.alive.insert(name, alive);
        self.ended.remove(&name);
        if self.lifespans(name).leases_every_use() {
            self.lease(worker, name);
        }
    }

    fn lease(&mut self, worker: usize, name: Name) {
        let (now, lifespans) = (self.world.now(), self.lifespans(name));
        let alive = self.alive.get_mut(&name).unwrap();
        alive.lapse(now);
        alive.used = now;
        alive.lease = alive.lease.max(now.after(lifespans.lease()));
        alive.leaseholders.insert(worker);
    }

    fn note_end(&mut self, name: Name, ended: &EndedSession) {
        let (now, lifespans) = (self.world.now(), self.lifespans(name));
        let alive = self.alive.remove(&name).unwrap();
        let in_vain = |reason| panic!("{name:?} ended by {reason:?} at {now:?}: {alive:?}");
        match ended.reason {
            EndReason::Idle if now < alive.last_in_use().after(lifespans.idle.unwrap()) => {
                in_vain(ended.reason)
            }
            EndReason::Lifetime if now < alive.opened.after(lifespans.lifetime.unwrap()) => {
                in_vain(ended.reason)
            }
            EndReason::Idle | EndReason::Lifetime => self.remember(name),
            EndReason::ClientDelete
            | EndReason::UpstreamGone
            | EndReason::StreamClosed
            | EndReason::Evicted => in_vain(ended.reason),
        }
    }

    fn remember(&mut self, name: Name) {
        let until = self
            .world
            .now()
            .after(self.lifespans(name).idle.unwrap().max(secs(60)));
        self.ended.insert(name, until);
    }

    /// Whether the table must know that the session has ended; `None` if it may have forgotten it.
    fn remembers(&self, name: Name) -> Option<bool> {
        let now = self.world.now();
        let Some(until) = self.ended.get(&name).filter(|until| now < **until) else {
            return Some(false);
        };
        let bucket = id(name).key.bucket();
        let as_recent =
            |(other, at): &(&Name, &Timestamp)| *at >= until && id(**other).key.bucket() == bucket;
        (self.ended.iter().filter(as_recent).count() <= REMEMBERED).then_some(true)
    }

    /// Whether the session was not used for its idle timeout, or has reached its lifetime.
    fn may_have_ended(&self, name: Name) -> bool {
        let (now, lifespans, alive) = (self.world.now(), self.lifespans(name), &self.alive[&name]);
        let lives_until = lifespans.lifetime.map(|lifetime| alive.opened.after(lifetime));
        alive.last_in_use().after(lifespans.idle.unwrap()) <= now
            || lives_until.is_some_and(|until| until <= now)
    }

    fn must_have_ended(&self, name: Name) -> bool {
        let (now, lifespans, alive) = (self.world.now(), self.lifespans(name), &self.alive[&name]);
        let idle = alive
            .last_in_use()
            .after(lifespans.idle.unwrap())
            .after(lifespans.grain());
        idle <= now
            || lifespans
                .lifetime
                .is_some_and(|lifetime| alive.opened.after(lifetime) <= now)
    }

    fn lifespans(&self, name: Name) -> Lifespans {
        self.world.lifespans(id(name))
    }

    fn active(&self, endpoint: usize) -> u32 {
        u32::try_from(self.alive.keys().filter(|name| name.0 == endpoint).count()).unwrap()
    }

    fn has_room(&self, endpoint: usize) -> bool {
        let now = self.world.now();
        let taken = |endpoint| {
            let kept = self
                .reservations
                .iter()
                .filter(|reservation| reservation.endpoint == endpoint && now < reservation.until);
            self.active(endpoint) + u32::try_from(kept.count()).unwrap()
        };
        taken(endpoint) < CAPS[endpoint] && taken(0) + taken(1) < VM_CAP
    }
}

impl Alive {
    /// Forgets the leaseholders if their lease has run out, or if all have left.
    fn lapse(&mut self, now: Timestamp) {
        if self.lease <= now || self.leaseholders.is_empty() {
            self.leaseholders.clear();
            self.lease = self.lease.min(now);
        }
    }

    fn last_in_use(&self) -> Timestamp {
        if self.leaseholders.is_empty() {
            self.used
        } else {
            self.lease.max(self.used)
        }
    }
}

fn id(name: Name) -> &'static Id {
    &ids(name.0)[name.1]
}
