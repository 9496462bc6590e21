//! The number of buckets follows the cap: splits amid other work, interrupted and overtaken at each call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::interleaved::{explore, on_stage};
use super::*;

const NO_END: &dyn Fn() -> bool = &|| false;

/// A world in which all buckets have this depth.
fn world_at(depth: u8, cap: u32) -> World {
    let world = World::new(settings(cap, cap, cap));
    world.shared.stop_audit();
    world.shared.memory.lose_everything();
    let worker = world.worker(1);
    worker.serve(&mut world.configuration(), world.now()).unwrap();
    change_ledger(&worker, |ledger| {
        ledger.leave_awake(&[0]);
    })
    .unwrap();
    for known in 0..depth {
        split_all(&worker, known);
        change_ledger(&worker, |ledger| _ = ledger.deepen(known + 1)).unwrap();
    }
    world
}

/// Splits the buckets of the first group.
fn split_all(worker: &Worker, depth: u8) {
    for index in (0..GROUP_LEN).step_by(usize::from(GROUP_LEN >> depth)) {
        worker.split(index, depth).unwrap();
    }
}

/// Ids of one endpoint all over the first group.
fn spread(count: usize) -> Vec<Id> {
    let tag = EndpointTag::of("a");
    let all = (0..).map(|number| format!("spread-{number}")).map(|text| Id {
        endpoint: 0,
        key: SessionKey::new(&SECRET, tag, text.as_bytes()),
        text,
    });
    all.filter(|id| id.key.bucket() < GROUP_LEN).take(count).collect()
}

fn keys(world: &World) -> usize {
    world.shared.memory.keys()
}

/// Grows the table to what its cap wants, tick by tick.
fn tick(world: &World, worker: &Worker, configuration: &mut Configuration) {
    worker.restore(configuration, world.now()).unwrap().unwrap();
    worker.grow(NO_END).unwrap();
}

fn configuration_with(world: &World, id: &'static [u8], cap: u32) -> Configuration {
    let settings = VmSettings {
        max_sessions: Some(cap),
        fleet: None,
        ..world.settings.clone()
    };
    Configuration::new(ConfigurationId::of(&[id]), settings)
}

fn alive(world: &World, worker: &Worker, id: &Id) -> bool {
    matches!(world.use_session(worker, id), Ok(Standing::Alive(_)))
}

#[test]
fn a_new_table_has_as_many_buckets_as_its_cap_wants() {
    for (cap, buckets) in [(10, 64), (1_024, 64), (10_000, 1_024), (1_000_000, 16_384)] {
        let world = World::new(settings(cap, cap, cap));
        world.shared.stop_audit();
        world.shared.memory.lose_everything();
        let worker = world.worker(1);
        worker.load(&mut world.configuration(), world.now()).unwrap();
        assert_eq!(keys(&world), buckets + 4, "cap {cap}");
        let others = world.worker(2);
        others.load(&mut world.configuration(), world.now()).unwrap();
        tick(&world, &others, &mut world.configuration());
        assert_eq!(keys(&world), buckets + 4, "cap {cap}");
    }
}

#[test]
fn a_raised_cap_brings_more_buckets_and_a_lowered_one_keeps_them() {
    let world = world_at(0, 1_000);
    let (worker, other) = (world.worker(2), world.worker(3));
    let ids = spread(200);
    for id in &ids {
        assert_eq!(world.admit(&worker, id), Ok(Opened::Created));
    }
    world.end(&worker, &ids[0]).unwrap();
    assert_eq!(keys(&world), 64 + 4);
    for (name, cap, buckets) in [(b"2", 10_000, 1_024), (b"3", 20, 1_024), (b"4", 100_000, 8_192)] {
        world.advance(SECOND);
        let mut configuration = configuration_with(&world, name, cap);
        worker.load(&mut configuration, world.now()).unwrap();
        worker.serve(&mut configuration, world.now()).unwrap();
        tick(&world, &worker, &mut configuration);
        assert_eq!(keys(&world), buckets + 4, "cap {cap}");
        // The other worker has had no tick yet.
        for id in &ids[1..] {
            assert!(
                alive(&world, &other, id) && alive(&world, &worker, id),
                "cap {cap}"
            );
        }
        assert_eq!(world.use_session(&other, &ids[0]), Ok(Standing::Ended));
    }
    let round = world.sweep_round(&other);
    assert_eq!((round.repaired, world.counts().active), (0, 199));
}

#[test]
fn a_tick_grows_only_as_long_as_it_may_and_the_next_one_goes_on() {
    let world = World::new(settings(1_000_000, 9, 9));
    world.shared.stop_audit();
    world.shared.memory.lose_everything();
    let worker = world.worker(1);
    worker.serve(&mut world.configuration(), world.now()).unwrap();
    let mut ticks = 0;
    while keys(&world) < usize::from(BUCKETS) + 4 {
        let before = keys(&world);
        worker.grow(&|| true).unwrap();
        assert!(keys(&world) <= before + 16);
        ticks += 1;
        assert!(ticks <= 2_000);
    }
    assert!(ticks > 1_000);
}

/// With its records in one place for a moment, a session would be gone, or there twice.
#[test]
fn a_split_may_be_interrupted_at_any_call_by_anything() {
    type Act = fn(&World, &Worker, &Id);
    let acts: [Act; 7] = [
        |_, worker, _| worker.split(0, 0).unwrap(),
        |_, worker, _| split_all(worker, 1),
        |world, worker, id| drop(world.end(worker, id).unwrap()),
        |world, worker, _| {
            for id in spread(24).iter().skip(12) {
                assert_eq!(world.admit(worker, id), Ok(Opened::Created));
            }
        },
        |world, worker, id| {
            world.advance(secs(2));
            world.use_session(worker, id).unwrap();
        },
        |world, worker, _| drop(world.sweep(worker)),
        |world, worker, _| {
            change_ledger(worker, |ledger| ledger.suspect(&[0])).unwrap();
            world.sweep(worker);
        },
    ];
    for (number, act) in (0..).zip(acts) {
        for call in 0.. {
            let world = world_at(0, 1_000);
            let worker = world.worker(2);
            let ids = spread(12);
            for id in &ids {
                world.admit(&worker, id).unwrap();
            }
            let (of_other, other) = (world.clone(), world.worker(3));
            let ended = ids[0].clone();
            worker.store.interrupt_at(call, move || {
                other.split(0, 0).unwrap();
                act(&of_other, &other, &ended);
            });
            worker.split(0, 0).unwrap();
            if worker.store.interrupt_is_pending() {
                assert!(call >= 4, "a split is four calls");
                break;
            }
            println!("act {number} at call {call}");
            let here = world.worker(4);
            for id in &ids[1..] {
                assert!(alive(&world, &here, id), "act {number} at call {call}");
            }
            assert_counted(&world, &here);
        }
    }
}

/// A look, which walks through all buckets, finds each session once, and the ledger counts them.
#[track_caller]
fn assert_counted(world: &World, worker: &Worker) {
    let mut found = Vec::new();
    let mut index = 0;
    while index < GROUP_LEN {
        let read = worker.read_bucket(index).unwrap();
        found.extend(read.bucket.sessions().map(|session| session.key));
        index = read.end();
    }
    let count = found.len();
    let distinct: std::collections::HashSet<_> = found.into_iter().collect();
    assert_eq!(distinct.len(), count, "twice in the table");
    assert_eq!(world.counts().active as usize, count);
    let repaired = world.sweep_round(worker).repaired;
    assert_eq!(repaired, 0);
}

#[test]
fn a_root_may_die_between_any_two_steps_of_a_split() {
    for calls in 0..5 {
        let world = world_at(0, 1_000);
        let (dying, worker) = (world.worker(2), world.worker(3));
        let ids = spread(40);
        for id in &ids {
            world.admit(&worker, id).unwrap();
        }
        dying.store.die_after(calls);
        let _ = dying.split(0, 0);
        world.end(&worker, &ids[0]).unwrap();
        for id in &ids[1..] {
            assert!(alive(&world, &worker, id), "after {calls} calls");
        }
        assert_counted(&world, &worker);
        split_all(&worker, 0);
        for id in &ids[1..] {
            assert!(alive(&world, &world.worker(4), id), "after {calls} calls");
        }
        assert_counted(&world, &worker);
    }
}

/// The mark of a recount goes to both halves: a session that is removed after it is not taken off the new counts.
#[test]
fn both_halves_keep_the_mark_of_the_recount() {
    let world = world_at(0, 1_000);
    let worker = world.worker(2);
    change_ledger(&worker, |ledger| ledger.suspect(&[0])).unwrap();
    world.sweep(&worker);
    let mark = worker.read_bucket(0).unwrap().bucket.mark();
    assert_ne!(mark, Timestamp::default());
    worker.split(0, 0).unwrap();
    let halves = [0, GROUP_LEN / 2].map(|index| worker.read_bucket(index).unwrap().bucket.mark());
    assert_eq!(halves, [mark, mark]);
}

#[test]
fn a_session_is_found_at_the_first_read_once_the_depth_is_known() {
    let mut world = world_at(3, 1_000);
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let memory = world.shared.memory.clone();
    world.shared.memory = memory.before_calls(move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    world.shared.memory.lose(Key::Principals(0));
    let everywhere = |key: Key| matches!(key, Key::Bucket(_));
    let worker = Table::attach(
        world.shared.memory.handle_that_counts(everywhere),
        RootTag::from_random(2),
        SECRET,
    )
    .unwrap();
    for id in spread(40) {
        reads.store(0, Ordering::Relaxed);
        worker.standing(id.key, None, world.now()).unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }
}

/// Ids of 1 KiB, which are kept for the DELETE, fill a bucket long before it has its share of sessions.
#[test]
fn a_bucket_that_is_full_of_bytes_splits_whatever_the_cap_is() {
    let world = world_at(0, 1_000);
    let worker = world.worker(2);
    let long = vec![b'x'; 1_024];
    let ids = spread(200);
    for id in &ids {
        let new = NewSession {
            id: &long,
            ..world.new_session(id)
        };
        assert_eq!(
            worker.open(&new, Origin::Minted(None), world.now()),
            Ok(Opened::Created)
        );
    }
    for id in &ids {
        assert!(alive(&world, &world.worker(3), id));
    }
    assert_counted(&world, &worker);
}

#[test]
fn a_wiped_store_gets_its_buckets_back() {
    let world = World::new(settings(10_000, 10_000, 10_000));
    world.shared.stop_audit();
    world.shared.memory.lose_everything();
    let worker = world.worker(1);
    let mut configuration = world.configuration();
    worker.load(&mut configuration, world.now()).unwrap();
    worker.serve(&mut configuration, world.now()).unwrap();
    world.shared.memory.lose_everything();
    tick(&world, &worker, &mut configuration);
    assert_eq!(keys(&world), 1_024 + 4);
    for id in &spread(9) {
        assert_eq!(world.admit(&worker, id), Ok(Opened::Created));
        assert!(alive(&world, &world.worker(2), id));
    }
}

#[test]
fn a_lost_ledger_is_found_again_at_the_depth_of_the_buckets() {
    let world = world_at(2, 1_000);
    let worker = world.worker(2);
    let ids = spread(30);
    for id in &ids {
        world.admit(&worker, id).unwrap();
    }
    world.shared.memory.lose(Key::Ledger);
    // A root that joins now knows of no depth: it follows the buckets from the first of the group.
    let stranger = world.worker(3);
    for id in &ids {
        assert!(alive(&world, &stranger, id));
    }
    world.restore(&stranger).unwrap();
    world.sweep_round(&worker);
    assert_counted(&world, &worker);
}

#[test]
fn buckets_split_while_workers_open_use_and_end_sessions() {
    explore(iterations(300), grow_amid_changes);
}

/// Two workers split the group's buckets, one of which may die. Others open, use and end sessions there, and sweep.
fn grow_amid_changes() {
    static BASE: OnceLock<World> = OnceLock::new();
    let world = on_stage(BASE.get_or_init(|| world_at(0, 40)));
    let ids = spread(8);
    let growers = (2..4).map(|root| {
        let (world, worker) = (world.clone(), world.worker(root));
        thread::spawn(move || {
            if root == 3 && thread_rng().gen_ratio(1, 2) {
                worker.store.die_after(thread_rng().gen_range(0..8));
            }
            for depth in 0..2 {
                for index in (0..GROUP_LEN).step_by(usize::from(GROUP_LEN >> depth)) {
                    let _ = worker.split(index, depth);
                }
                world.advance(secs([0, 2, 11][thread_rng().gen_range(0..3)]));
            }
        })
    });
    let users = (4..7).map(|root| {
        let (world, worker, ids) = (world.clone(), world.worker(root), ids.clone());
        thread::spawn(move || {
            for _ in 0..6 {
                // Each worker has its own ids, so that it knows what must be there.
                let mine: Vec<_> = ids.iter().skip(root as usize - 4).step_by(3).collect();
                let id = mine[thread_rng().gen_range(0..mine.len())];
                match thread_rng().gen_range(0..3) {
                    0 => {
                        let opened = world.open(&worker, id, Origin::Minted(None)).unwrap();
                        assert!(
                            matches!(opened, Opened::Created | Opened::Alive { .. }),
                            "{opened:?}"
                        );
                        assert!(alive(&world, &worker, id));
                    }
                    1 => {
                        world.end(&worker, id).unwrap();
                        assert!(!alive(&world, &worker, id));
                    }
                    _ => {
                        change_ledger(&worker, |ledger| ledger.suspect(&[0])).unwrap();
                        worker.sweep(world.now()).unwrap();
                    }
                }
            }
        })
    });
    for thread in growers.chain(users).collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    world.advance(secs(12));
    let worker = world.worker(9);
    for depth in 0..2 {
        split_all(&worker, depth);
    }
    world.sweep_round(&worker);
    assert_counted(&world, &worker);
}
