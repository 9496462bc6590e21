//! Open streams: never more are let in than the caps allow, every place comes back exactly once, and a dead worker's
//! within a minute.

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::interleaved::{explore, on_stage};
use super::*;
use crate::worker::open_streams::{OpenStreams, StreamPlace, StreamRefusal};

const CAP: u32 = 3;
const LIMIT: u32 = 2;
const ALICE: Owner = Owner(1 << 63 | 5);
const BOB: Owner = Owner(1 << 63 | 6);
const MINUTE: Duration = Duration::from_secs(60);

type Taken = Result<Result<StreamPlace, StreamRefusal>, StoreError>;

/// A worker, its streams, and the places of those that are open.
struct Host {
    world: World,
    worker: Worker,
    streams: OpenStreams,
    places: Vec<(Owner, StreamPlace)>,
}

impl Host {
    fn new(world: &World, root: u32) -> Self {
        Self {
            world: world.clone(),
            worker: world.worker(root),
            streams: OpenStreams::default(),
            places: Vec::new(),
        }
    }

    fn take(&mut self, owner: Owner) -> Taken {
        let quota = Some(Quota { owner, limit: LIMIT });
        let now = self.world.now();
        self.streams.take(&self.worker, tag(), quota, true, now)
    }

    /// Takes a place and keeps it. Returns why there is none.
    fn open(&mut self, owner: Owner) -> Result<Option<StreamRefusal>, StoreError> {
        match self.take(owner)? {
            Ok(place) => {
                self.places.push((owner, place));
                Ok(None)
            }
            Err(refusal) => Ok(Some(refusal)),
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let Some((_, place)) = self.places.pop() else {
            return Ok(());
        };
        self.give_back(place)
    }

    fn give_back(&mut self, place: StreamPlace) -> Result<(), StoreError> {
        self.streams.give_back(&self.worker, place, self.world.now())
    }

    fn tick(&mut self) {
        self.streams.keep(&self.worker, self.world.now(), &mut |_, _| {});
    }

    /// Lets time pass, with a tick each second.
    fn live(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.world.advance(SECOND);
            self.tick();
        }
    }
}

fn tag() -> EndpointTag {
    ids(0)[0].tag()
}

fn capped() -> World {
    let mut settings = settings(8, 8, 8);
    settings.endpoints[0].max_streams = Some(CAP);
    World::new(settings)
}

fn counted(world: &World) -> u32 {
    world.counts().endpoints[0].streams
}

#[track_caller]
fn assert_all_is_free(world: &World) {
    let mut late = Host::new(world, 77);
    let answers = [ALICE, ALICE, ALICE, BOB, BOB].map(|owner| late.open(owner).unwrap());
    let principal = Some(StreamRefusal::Principal);
    let endpoint = Some(StreamRefusal::Endpoint);
    assert_eq!(answers, [None, None, principal, None, endpoint]);
}

#[test]
fn every_cap_is_asked_and_every_place_comes_back() {
    let world = capped();
    let (mut one, mut other) = (Host::new(&world, 1), Host::new(&world, 2));
    assert_eq!(one.open(ALICE), Ok(None));
    assert_eq!(other.open(ALICE), Ok(None));
    assert_eq!(one.open(ALICE), Ok(Some(StreamRefusal::Principal)));
    assert_eq!(one.open(BOB), Ok(None));
    assert_eq!(other.open(BOB), Ok(Some(StreamRefusal::Endpoint)));
    assert_eq!(counted(&world), CAP);
    other.close().unwrap();
    one.close().unwrap();
    one.close().unwrap();
    assert_eq!(counted(&world), 0);
    assert_all_is_free(&world);
}

#[test]
fn streams_of_a_dead_worker_are_forgotten_within_a_minute_and_those_of_a_live_one_are_not() {
    let world = capped();
    let (mut live, mut dead) = (Host::new(&world, 1), Host::new(&world, 2));
    live.open(ALICE).unwrap();
    dead.open(ALICE).unwrap();
    dead.open(BOB).unwrap();
    dead.live(100);
    live.tick();
    assert_eq!(counted(&world), CAP);
    live.live(29);
    assert_eq!(counted(&world), CAP, "a worker may miss many ticks");
    live.live(31);
    assert_eq!(counted(&world), 1);
    assert_eq!(live.open(ALICE), Ok(None));
    assert_eq!(live.open(ALICE), Ok(Some(StreamRefusal::Principal)));
}

#[test]
fn a_worker_keeps_its_streams_for_hours() {
    let world = capped();
    let mut host = Host::new(&world, 1);
    host.open(ALICE).unwrap();
    host.open(ALICE).unwrap();
    host.live(4_000);
    let mut other = Host::new(&world, 2);
    assert_eq!(other.open(ALICE), Ok(Some(StreamRefusal::Principal)));
    assert_eq!(other.open(BOB), Ok(None));
    assert_eq!(other.open(BOB), Ok(Some(StreamRefusal::Endpoint)));
}

#[test]
fn many_principals_are_all_kept() {
    let mut settings = settings(8, 8, 8);
    settings.endpoints[0].max_streams = Some(10_000);
    let world = World::new(settings);
    let mut host = Host::new(&world, 1);
    for number in 0..3_000 {
        host.open(Owner(1 << 63 | number)).unwrap();
        host.open(Owner(1 << 63 | number)).unwrap();
    }
    host.live(200);
    let mut other = Host::new(&world, 2);
    for number in 0..3_000 {
        let refused = other.open(Owner(1 << 63 | number));
        assert_eq!(refused, Ok(Some(StreamRefusal::Principal)), "{number}");
    }
}

#[test]
fn a_lost_value_is_told_anew() {
    let world = capped();
    let mut host = Host::new(&world, 1);
    host.open(ALICE).unwrap();
    host.open(ALICE).unwrap();
    world.shared.stop_audit();
    world.shared.memory.lose(Key::Ledger);
    (0..store::PRINCIPALS).for_each(|index| world.shared.memory.lose(Key::Principals(index)));
    world.restore(&world.worker(3)).unwrap();
    host.live(16);
    assert_eq!(counted(&world), 2);
    let mut other = Host::new(&world, 2);
    assert_eq!(other.open(ALICE), Ok(Some(StreamRefusal::Principal)));
    assert_eq!(other.open(BOB), Ok(None));
    assert_eq!(other.open(BOB), Ok(Some(StreamRefusal::Endpoint)));
}

#[test]
fn wherever_a_worker_dies_its_places_are_free_within_a_minute() {
    for calls in 0..16 {
        let world = capped();
        let mut dying = Host::new(&world, 2);
        dying.worker.store.die_after(calls);
        for _ in 0..2 {
            let _ = dying.open(ALICE);
            let _ = dying.close();
            let _ = dying.open(BOB);
        }
        world.advance(MINUTE);
        assert_all_is_free(&world);
    }
}

#[test]
fn whatever_the_host_refuses_all_is_right_at_the_next_tick() {
    for calls in 1..12 {
        for held in 0..3 {
            let world = capped();
            let mut host = Host::new(&world, 1);
            (0..held).for_each(|_| _ = host.open(ALICE).unwrap());
            host.worker.store.be_refused(calls);
            let _ = host.open(BOB);
            let _ = host.close();
            let _ = host.open(ALICE);
            host.worker.store.be_refused(0);
            host.tick();
            let held = u32::try_from(host.places.len()).unwrap();
            assert_eq!(counted(&world), held, "{calls} refused");
            while !host.places.is_empty() {
                host.close().unwrap();
            }
            assert_eq!(counted(&world), 0);
            assert_all_is_free(&world);
        }
    }
}

#[test]
fn a_lowered_cap_closes_nothing_and_lets_nobody_in() {
    let world = capped();
    let mut host = Host::new(&world, 1);
    host.open(ALICE).unwrap();
    host.open(BOB).unwrap();
    let mut lower = world.clone();
    lower.settings.endpoints[0].max_streams = Some(1);
    let mut newer = Configuration::new(ConfigurationId::of(&[b"newer"]), lower.settings.clone());
    world.shared.stop_audit();
    host.worker.load(&mut newer, world.now()).unwrap();
    host.worker.serve(&mut newer, world.now()).unwrap();
    assert_eq!(counted(&world), 2);
    assert_eq!(host.open(ALICE), Ok(Some(StreamRefusal::Endpoint)));
    host.close().unwrap();
    assert_eq!(host.open(ALICE), Ok(Some(StreamRefusal::Endpoint)));
    host.close().unwrap();
    assert_eq!(host.open(ALICE), Ok(None));
}

#[test]
fn streams_that_come_and_go_leave_nothing() {
    let world = capped();
    let mut host = Host::new(&world, 1);
    let size = |world: &World| -> usize {
        let books = (0..store::PRINCIPALS).map(Key::Principals);
        let keys = books.chain([Key::Ledger]);
        let values = keys.filter_map(|key| world.shared.memory.value(key));
        values.map(|value| value.len()).sum()
    };
    host.worker.keep_books().unwrap();
    host.open(ALICE).unwrap();
    host.close().unwrap();
    let (keys, before) = (world.shared.memory.keys(), size(&world));
    for number in 0..iterations(20_000) as u64 {
        host.open(Owner::of_hash(number)).unwrap();
        host.close().unwrap();
    }
    assert_eq!((world.shared.memory.keys(), size(&world)), (keys, before));
}

#[test]
fn no_interleaving_lets_in_more_streams_than_the_caps_allow() {
    explore(iterations(500), || crowd(false));
}

#[test]
fn nor_do_workers_that_die() {
    explore(iterations(500), || crowd(true));
}

/// What is open, over all workers. A stream counts from the moment it is let in to the moment its end begins.
#[derive(Default)]
struct Truth {
    all: AtomicU32,
    alices: AtomicU32,
}

impl Truth {
    fn begin(&self, owner: Owner) {
        assert!(self.all.fetch_add(1, Ordering::SeqCst) < CAP, "over the cap");
        if owner == ALICE {
            assert!(
                self.alices.fetch_add(1, Ordering::SeqCst) < LIMIT,
                "over the quota"
            );
        }
    }

    fn end(&self, owner: Owner) {
        self.all.fetch_sub(1, Ordering::SeqCst);
        if owner == ALICE {
            self.alices.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn crowd(dies: bool) {
    static BASE: OnceLock<World> = OnceLock::new();
    let world = on_stage(BASE.get_or_init(capped));
    let truth = Arc::new(Truth::default());
    let threads = (1..5).map(|root| {
        let (mut host, truth) = (Host::new(&world, root), Arc::clone(&truth));
        thread::spawn(move || work(&mut host, &truth, dies))
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    if dies {
        world.advance(MINUTE);
    } else {
        assert_eq!(counted(&world), 0, "a place has not come back");
    }
    assert_all_is_free(&world);
}

fn work(host: &mut Host, truth: &Truth, dies: bool) {
    for _ in 0..8 {
        match thread_rng().gen_range(0..6) {
            0..=2 => open(host, truth),
            3 | 4 => close(host, truth),
            _ => host.tick(),
        }
        host.world
            .advance(Duration::from_millis(thread_rng().gen_range(0..300)));
        if dies && thread_rng().gen_ratio(1, 12) {
            host.worker.store.die_after(thread_rng().gen_range(0..4));
        }
        if host.worker.store.is_dead() {
            // Its streams die with it.
            host.places.drain(..).for_each(|(owner, _)| truth.end(owner));
            return;
        }
    }
    while !host.places.is_empty() {
        close(host, truth);
    }
}

fn open(host: &mut Host, truth: &Truth) {
    let owner = [ALICE, BOB][thread_rng().gen_range(0..2)];
    let before = host.places.len();
    let opened = host.open(owner);
    assert!(opened.is_ok() || host.worker.store.is_dead(), "{opened:?}");
    if host.places.len() > before {
        truth.begin(owner);
    }
}

fn close(host: &mut Host, truth: &Truth) {
    if let Some((owner, place)) = host.places.pop() {
        truth.end(owner);
        let given_back = host.give_back(place);
        assert!(
            given_back.is_ok() || host.worker.store.is_dead(),
            "{given_back:?}"
        );
    }
}
