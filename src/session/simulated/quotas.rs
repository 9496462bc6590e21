//! Quotas: no principal ever has more than its quota, whatever happens in between, and an ended session does not
//! count for long.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::interleaved::{explore, stage};
use super::*;
use crate::worker::longest_idle::LongestIdle;

const LIMIT: u32 = 2;
const ALICE: Owner = Owner(1 << 63 | 5);

fn quota(owner: Owner) -> Option<Quota> {
    Some(Quota { owner, limit: LIMIT })
}

fn reserve(world: &World, worker: &Worker, owner: Owner) -> Result<Result<Reservation, Refusal>, StoreError> {
    worker.reserve(ids(0)[0].tag(), quota(owner), TIMEOUT, world.now())
}

fn open(world: &World, worker: &Worker, owner: Owner, id: &Id, origin: Origin) -> Result<Opened, StoreError> {
    let new = NewSession {
        owner,
        bound: true,
        quota: Some(LIMIT),
        keep_id: false,
        ..world.new_session(id)
    };
    worker.open(&new, origin, world.now())
}

fn admit(world: &World, worker: &Worker, owner: Owner, id: &Id) -> Result<Opened, StoreError> {
    match reserve(world, worker, owner)? {
        Ok(reservation) => open(world, worker, owner, id, Origin::Minted(Some(reservation))),
        Err(_) => Ok(Opened::Full),
    }
}

fn roomy() -> (World, Worker) {
    let world = World::new(settings(40, 40, 40));
    let mut worker = world.worker(1);
    worker.keep_books().unwrap();
    (world, worker)
}

/// The number of bytes in books that are not zero; an empty value has almost none.
fn bytes_of_books(world: &World) -> usize {
    (0..store::PRINCIPALS)
        .filter_map(|index| world.shared.memory.value(Key::Principals(index)))
        .map(|value| value.iter().filter(|byte| **byte != 0).count())
        .sum()
}

#[test]
fn a_principal_has_its_quota_and_others_have_theirs() {
    let (world, worker) = roomy();
    let mut all = ids(0).iter();
    for owner in [ALICE, Owner::NOBODY, Owner(1 << 63 | 6)] {
        for _ in 0..LIMIT {
            assert_eq!(
                admit(&world, &worker, owner, all.next().unwrap()),
                Ok(Opened::Created)
            );
        }
        assert_eq!(reserve(&world, &worker, owner), Ok(Err(Refusal::Quota)));
    }
    let first = &ids(0)[0];
    world.end(&worker, first).unwrap().unwrap();
    let reservation = reserve(&world, &worker, ALICE).unwrap().unwrap();
    assert_eq!(
        reserve(&world, &worker, ALICE),
        Ok(Err(Refusal::Quota)),
        "a reservation counts"
    );
    worker.release(reservation).unwrap();
    assert_eq!(admit(&world, &worker, ALICE, first), Ok(Opened::Created));
    assert_eq!(admit(&world, &worker, ALICE, first), Ok(Opened::Full));
}

#[test]
fn whom_the_endpoint_refuses_has_nothing_in_its_book() {
    let world = World::new(settings(1, 1, 1));
    let worker = world.worker(1);
    let reservation = worker.reserve(ids(0)[0].tag(), None, TIMEOUT, world.now());
    reservation.unwrap().unwrap();
    let before = bytes_of_books(&world);
    for _ in 0..9 {
        assert_eq!(reserve(&world, &worker, ALICE), Ok(Err(Refusal::Capacity)));
    }
    assert!(bytes_of_books(&world) <= before + 2);
}

#[test]
fn a_session_that_is_gone_is_taken_off_before_anyone_is_refused_for_it() {
    let (world, worker) = roomy();
    for id in &ids(0)[..2] {
        admit(&world, &worker, ALICE, id).unwrap();
    }
    for bucket in HOT_BUCKETS {
        world.shared.memory.lose(Key::Bucket(bucket));
    }
    assert_eq!(admit(&world, &worker, ALICE, &ids(0)[2]), Ok(Opened::Created));
    assert_eq!(admit(&world, &worker, ALICE, &ids(0)[3]), Ok(Opened::Created));
    assert_eq!(reserve(&world, &worker, ALICE), Ok(Err(Refusal::Quota)));
}

#[test]
fn wherever_a_worker_dies_its_principal_gets_its_places_back() {
    for calls in 0..24 {
        let (world, worker) = roomy();
        admit(&world, &worker, ALICE, &ids(0)[0]).unwrap();
        let dying = world.worker(2);
        dying.store.die_after(calls);
        let _ = admit(&world, &dying, ALICE, &ids(0)[1]).and_then(|_| world.end(&dying, &ids(0)[1]));
        world.advance(TIMEOUT);
        let _ = world.end(&worker, &ids(0)[1]).unwrap();
        assert_eq!(
            admit(&world, &worker, ALICE, &ids(0)[2]),
            Ok(Opened::Created),
            "dead after {calls}"
        );
        assert_eq!(
            reserve(&world, &worker, ALICE),
            Ok(Err(Refusal::Quota)),
            "dead after {calls}"
        );
    }
}

#[test]
fn the_sweep_leaves_nothing_of_principals_that_never_come_back() {
    let (world, worker) = roomy();
    let empty = bytes_of_books(&world);
    for (number, id) in (0..).zip(ids(0).iter().take(30)) {
        let owner = Owner(1 << 63 | number);
        admit(&world, &worker, owner, id).unwrap();
        let _never_given_back = reserve(&world, &worker, Owner(1 << 63 | number | 1 << 20));
    }
    assert!(bytes_of_books(&world) > empty + 30 * 8);
    world.advance(secs(7200));
    change_ledger(&worker, |ledger| {
        (0..ledger::GROUPS).for_each(|group| ledger.touch_group(group, Timestamp::default()));
    })
    .unwrap();
    world.sweep(&worker);
    // Each value still has its length.
    assert!(
        bytes_of_books(&world) <= empty + 60,
        "{} {empty}",
        bytes_of_books(&world)
    );
    assert!(worker.counts().unwrap().0.table_bytes > 0);
}

#[test]
fn only_the_owner_uses_or_adopts_a_session() {
    let (world, worker) = roomy();
    let id = &ids(1)[0];
    let bob = Owner(1 << 63 | 9);
    admit(&world, &worker, ALICE, id).unwrap();
    world.advance(secs(3));
    let claim = |owner| {
        worker
            .use_session(id.key, Some(owner), world.lifespans(id), world.now())
            .unwrap()
    };
    let before = world.shared.memory.value(Key::Bucket(id.key.bucket()));
    assert_eq!(claim(bob), Standing::Foreign);
    for origin in [Origin::Adopted(None), Origin::Minted(None)] {
        assert_eq!(open(&world, &worker, bob, id, origin), Ok(Opened::Foreign));
    }
    assert_eq!(
        worker.standing(id.key, Some(bob), world.now()),
        Ok(Standing::Foreign)
    );
    assert!(matches!(
        worker.standing(id.key, Some(ALICE), world.now()),
        Ok(Standing::Alive(_))
    ));
    assert_eq!(
        world.shared.memory.value(Key::Bucket(id.key.bucket())),
        before,
        "it left a trace"
    );
    assert!(matches!(claim(ALICE), Standing::Alive(_)));
    world.end(&worker, id).unwrap();
    assert_eq!(claim(bob), Standing::Ended);
    assert_eq!(
        open(&world, &worker, bob, id, Origin::Adopted(None)),
        Ok(Opened::Ended)
    );
}

#[test]
fn a_session_that_the_server_has_lost_is_taken_up_again_by_its_owner_only() {
    let (world, worker) = roomy();
    let id = &ids(1)[0];
    let bob = Owner(1 << 63 | 9);
    let adopt = |owner| open(&world, &worker, owner, id, Origin::Adopted(None));
    let claim = |owner| worker.use_session(id.key, owner, world.lifespans(id), world.now());
    for _ in 0..2 {
        admit(&world, &worker, ALICE, id).unwrap();
        world
            .end_for(&worker, id, EndReason::UpstreamGone, true)
            .unwrap()
            .unwrap();
        assert_eq!(claim(Some(bob)), Ok(Standing::Foreign));
        assert_eq!(adopt(bob), Ok(Opened::Ended));
        assert_eq!(claim(Some(ALICE)), Ok(Standing::Unknown));
        assert_eq!(claim(None), Ok(Standing::Unknown));
        assert_eq!(adopt(ALICE), Ok(Opened::Created));
        assert!(matches!(claim(Some(ALICE)), Ok(Standing::Alive(_))));
        world
            .end_for(&worker, id, EndReason::UpstreamGone, true)
            .unwrap()
            .unwrap();
        world.sweep(&worker);
        assert_eq!(claim(Some(bob)), Ok(Standing::Foreign));
        world.advance(secs(60));
        assert_eq!(claim(Some(bob)), Ok(Standing::Unknown));
    }
}

#[test]
fn an_id_that_the_server_mints_again_is_whose_it_is_given_to() {
    let (world, worker) = roomy();
    let id = &ids(1)[0];
    let bob = Owner(1 << 63 | 9);
    admit(&world, &worker, ALICE, id).unwrap();
    world
        .end_for(&worker, id, EndReason::UpstreamGone, true)
        .unwrap()
        .unwrap();
    assert_eq!(
        open(&world, &worker, bob, id, Origin::Minted(None)),
        Ok(Opened::Created)
    );
    let standing = worker.standing(id.key, Some(ALICE), world.now());
    assert_eq!(standing, Ok(Standing::Foreign));
}

#[test]
fn an_adopted_session_has_the_place_that_was_kept_for_it() {
    let world = World::new(settings(1, 1, 1));
    let (worker, id) = (world.worker(2), &ids(1)[0]);
    let reservation = world.reserve(&worker, id).unwrap().unwrap();
    let opened = world.open(&worker, id, Origin::Adopted(Some(reservation)));
    assert_eq!(opened, Ok(Opened::Created));
    assert_eq!((world.counts().active, world.counts().reserved), (1, 0));
    let opened = world.open(&worker, &ids(1)[1], Origin::Adopted(None));
    assert_eq!(opened, Ok(Opened::Full));
}

#[test]
fn no_interleaving_exceeds_a_quota_or_leaves_it_too_small() {
    explore(iterations(600), crowd);
}

/// Several workers open and end sessions of one principal, while its book is compared with the table. Each of them
/// may be delayed at any call.
fn crowd() {
    let world = stage();
    let ids = || ids(0).iter().filter(|id| id.key.bucket() < 2).take(3);
    let threads = (1..5).map(|root| {
        let (world, worker) = (world.clone(), world.worker(root));
        thread::spawn(move || {
            for _ in 0..6 {
                let id = ids().nth(thread_rng().gen_range(0..3)).unwrap();
                match thread_rng().gen_range(0..4) {
                    0 => drop(world.end(&worker, id).unwrap()),
                    1 => drop(open(&world, &worker, ALICE, id, Origin::Minted(None)).unwrap()),
                    2 => drop(open(&world, &worker, ALICE, id, Origin::Adopted(None)).unwrap()),
                    _ => drop(admit(&world, &worker, ALICE, id).unwrap()),
                }
                assert!(
                    world.shared.records().values().sum::<u32>() <= LIMIT,
                    "over the quota"
                );
                world.advance(Duration::from_millis(thread_rng().gen_range(0..300)));
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    let alive = world.shared.records().values().sum::<u32>();
    let worker = world.worker(9);
    world.advance(TIMEOUT);
    for _ in alive..LIMIT {
        assert!(
            matches!(reserve(&world, &worker, ALICE), Ok(Ok(_))),
            "{alive} alive"
        );
    }
    assert_eq!(reserve(&world, &worker, ALICE), Ok(Err(Refusal::Quota)));
}

#[test]
fn the_longest_idle_goes_first_and_never_one_in_use() {
    let mut all = settings(40, 40, 40);
    all.endpoints[0].lifespans.evictable = true;
    let world = World::new(all);
    let (worker, other) = (world.worker(1), world.worker(2));
    let mut longest_idle = LongestIdle::default();
    let ids = &ids(0)[..6];
    for id in ids {
        world.admit(&worker, id).unwrap();
        world.rest(&worker, id).unwrap();
        world.advance(secs(1));
    }
    // The first session is used again and becomes idle. Another worker uses the second.
    world.use_session(&other, &ids[0]).unwrap();
    world.rest(&other, &ids[0]).unwrap();
    world.use_session(&other, &ids[1]).unwrap();
    let mut evict = || {
        longest_idle.evict(
            &worker,
            ids[0].tag(),
            Duration::ZERO,
            world.lifespans(&ids[0]),
            world.now(),
        )
    };
    for expected in [2, 3] {
        let ended = evict().unwrap().unwrap();
        assert_eq!(
            (ended.session.key, ended.reason),
            (ids[expected].key, EndReason::Evicted)
        );
    }
    // The next candidate is used meanwhile.
    world.use_session(&other, &ids[4]).unwrap();
    for expected in [5, 0] {
        assert_eq!(evict().unwrap().unwrap().session.key, ids[expected].key);
    }
    assert_eq!(evict(), Ok(None));
    world.rest(&other, &ids[1]).unwrap();
    world.advance(secs(1));
    assert_eq!(evict().unwrap().unwrap().session.key, ids[1].key);
    assert_eq!(world.counts().active, 1);
    world.assert_counts_are_true();
}

/// Newcomers evict sessions, while others use sessions and leave them.
#[test]
fn evictions_exceed_no_cap_and_end_nothing_in_use() {
    explore(iterations(300), || {
        let mut world = stage();
        world.settings.endpoints[0].lifespans.evictable = true;
        let world = Arc::new(world);
        let ids = || ids(0).iter().take(5);
        let threads = (1..5).map(|root| {
            let (world, worker) = (world.clone(), world.worker(root));
            thread::spawn(move || {
                let mut longest_idle = LongestIdle::default();
                for _ in 0..5 {
                    let id = ids().nth(thread_rng().gen_range(0..5)).unwrap();
                    if world.admit(&worker, id).unwrap() == Opened::Full {
                        let tag = id.tag();
                        let lifespans = world.lifespans(id);
                        longest_idle
                            .evict(&worker, tag, Duration::ZERO, lifespans, world.now())
                            .unwrap();
                    }
                    if matches!(world.use_session(&worker, id), Ok(Standing::Alive(_))) {
                        // The session is in use now, whatever other workers do.
                        let standing = world.use_session(&worker, id).unwrap();
                        assert!(matches!(standing, Standing::Alive(_)), "{standing:?}");
                        world.rest(&worker, id).unwrap();
                    }
                    world.advance(Duration::from_millis(thread_rng().gen_range(0..200)));
                }
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        world.assert_counts_are_true();
    });
}

/// A million with `MSF_ITERATIONS=10`.
#[test]
fn principals_that_come_and_go_leave_nothing() {
    let (world, worker) = roomy();
    let bytes = |world: &World| -> usize {
        let values =
            (0..store::PRINCIPALS).filter_map(|index| world.shared.memory.value(Key::Principals(index)));
        values.map(|value| value.len()).sum()
    };
    // A world makes its buckets when it first needs them.
    admit(&world, &worker, ALICE, &ids(0)[0]).unwrap();
    world.end(&worker, &ids(0)[0]).unwrap();
    let (keys, before) = (world.shared.memory.keys(), bytes(&world));
    world.shared.stop_audit();
    for number in 0..iterations(100_000) as u64 {
        let owner = Owner::of_hash(worker.digest(&number.to_le_bytes()));
        let id = &ids(0)[0];
        if number % 10 == 0 {
            assert_eq!(admit(&world, &worker, owner, id), Ok(Opened::Created));
            world.end(&worker, id).unwrap().unwrap();
        } else {
            worker
                .release(reserve(&world, &worker, owner).unwrap().unwrap())
                .unwrap();
        }
    }
    println!(
        "{} principals: {before} bytes before, {} after",
        iterations(100_000),
        bytes(&world)
    );
    assert_eq!((world.shared.memory.keys(), bytes(&world)), (keys, before));
}
