//! How long sessions live: idleness, leases, lifetimes.

use super::*;

fn world() -> (World, [Worker; 2]) {
    let world = World::new(settings(8, 8, 8));
    let workers = [world.worker(1), world.worker(2)];
    (world, workers)
}

/// A session of the endpoint whose idle timeout is 600 s.
fn long() -> &'static Id {
    &ids(0)[0]
}

/// A session of the endpoint whose idle timeout is 5 s.
fn short() -> &'static Id {
    &ids(1)[0]
}

/// Sweeps every second for `span`. Returns whether `id` is alive at the end, and when it ended.
fn ended_within(world: &World, sweeper: &Worker, span: u64, id: &Id) -> Option<(u64, EndReason)> {
    (1..=span).find_map(|second| {
        world.advance(SECOND);
        let ended = world.sweep(sweeper).ended;
        let found = ended.iter().find(|ended| ended.session.key == id.key)?;
        Some((second, found.reason))
    })
}

#[test]
fn a_session_not_used_ends_at_its_idle_timeout() {
    let (world, [worker, sweeper]) = world();
    world.admit(&worker, long()).unwrap();
    world.admit(&worker, short()).unwrap();
    world.rest(&worker, short()).unwrap();
    assert_eq!(
        ended_within(&world, &sweeper, 20, short()),
        Some((5, EndReason::Idle))
    );
    assert_eq!(
        ended_within(&world, &sweeper, 700, long()),
        Some((602 - 5, EndReason::Idle))
    );
}

#[test]
fn a_request_under_a_short_idle_timeout_keeps_the_session_until_it_rests() {
    let (world, [worker, sweeper]) = world();
    world.admit(&worker, short()).unwrap();
    assert_eq!(ended_within(&world, &sweeper, 15, short()), None);
    world.rest(&worker, short()).unwrap();
    assert_eq!(
        ended_within(&world, &sweeper, 60, short()),
        Some((5, EndReason::Idle))
    );
}

#[test]
fn a_request_whose_session_was_adopted_meanwhile_uses_it_like_the_adopter() {
    let (world, [first, second]) = world();
    assert_eq!(
        world.open(&first, short(), Origin::Adopted(None)),
        Ok(Opened::Created)
    );
    let opened = world.now();
    assert_eq!(
        world.open(&second, short(), Origin::Adopted(None)),
        Ok(Opened::Alive { opened })
    );
    world.rest(&first, short()).unwrap();
    assert_eq!(ended_within(&world, &first, 15, short()), None);
    world.rest(&second, short()).unwrap();
    assert_eq!(
        ended_within(&world, &first, 60, short()),
        Some((5, EndReason::Idle))
    );
}

#[test]
fn an_id_handed_out_again_is_still_in_use_by_its_earlier_users() {
    let opened = world().0.now();
    let origins = [
        (Origin::Minted(None), Opened::Alive { opened }),
        (Origin::Announced(None), Opened::Renewed),
    ];
    for (origin, expected) in origins {
        let (world, [first, second]) = world();
        world.admit(&first, short()).unwrap();
        assert_eq!(world.open(&second, short(), origin), Ok(expected));
        world.rest(&second, short()).unwrap();
        assert_eq!(ended_within(&world, &second, 15, short()), None);
    }
}

#[test]
fn a_request_whose_session_was_adopted_long_ago_uses_it_now() {
    let (world, [first, second]) = world();
    let opened = world.now();
    world.open(&first, long(), Origin::Adopted(None)).unwrap();
    assert_eq!(ended_within(&world, &first, 500, long()), None);
    assert_eq!(
        world.open(&second, long(), Origin::Adopted(None)),
        Ok(Opened::Alive { opened })
    );
    assert_eq!(
        ended_within(&world, &first, 700, long()),
        Some((602, EndReason::Idle))
    );
}

#[test]
fn a_session_that_a_worker_renews_is_never_idle() {
    for id in [long(), short()] {
        let (world, [worker, sweeper]) = world();
        world.admit(&worker, id).unwrap();
        for _ in 0..100 {
            world.renew(&worker, id).unwrap();
            assert_eq!(ended_within(&world, &sweeper, 15, id), None);
        }
        assert!(matches!(world.use_session(&sweeper, id), Ok(Standing::Alive(_))));
    }
}

#[test]
fn a_session_whose_worker_died_goes_idle_by_itself() {
    for (id, idle) in [(long(), 602), (short(), 5)] {
        let (world, [dead, sweeper]) = world();
        world.admit(&dead, id).unwrap();
        world.renew(&dead, id).unwrap();
        let lease = world.lifespans(id).lease().as_secs();
        let ended = ended_within(&world, &sweeper, 2_000, id);
        assert_eq!(ended, Some((lease + idle, EndReason::Idle)));
    }
}

#[test]
fn the_lifetime_ends_a_session_in_use() {
    let (world, [worker, sweeper]) = world();
    world.admit(&worker, long()).unwrap();
    let ended = (0..5_000).find_map(|_| {
        world.renew(&worker, long()).unwrap();
        ended_within(&world, &sweeper, 15, long())
    });
    assert_eq!(ended.unwrap().1, EndReason::Lifetime);
    assert_eq!(world.now(), Timestamp::from_millis(1_000_000 + 3_600_000));
}

#[test]
fn the_idle_clock_starts_when_the_last_worker_leaves() {
    for (id, idle) in [(long(), 602), (short(), 5)] {
        let (world, [first, second]) = world();
        world.admit(&first, id).unwrap();
        world.renew(&first, id).unwrap();
        world.renew(&second, id).unwrap();
        world.rest(&first, id).unwrap();
        assert_eq!(ended_within(&world, &first, 10, id), None);
        world.rest(&second, id).unwrap();
        assert_eq!(
            ended_within(&world, &first, 2_000, id),
            Some((idle, EndReason::Idle))
        );
    }
}

#[test]
fn a_request_on_another_worker_does_not_end_a_lease() {
    for id in [long(), short()] {
        let (world, [leaseholder, other]) = world();
        world.admit(&leaseholder, id).unwrap();
        world.renew(&leaseholder, id).unwrap();
        world.use_session(&other, id).unwrap();
        world.rest(&other, id).unwrap();
        assert!(
            matches!(world.use_session(&other, id), Ok(Standing::Alive(session)) if session.in_use(world.now()))
        );
        world.rest(&other, id).unwrap();
        assert_eq!(ended_within(&world, &other, 25, id), None);
    }
}

#[test]
fn a_holder_whose_lease_ran_out_is_forgotten() {
    let (world, [dead, worker]) = world();
    world.admit(&dead, short()).unwrap();
    world.advance(world.lifespans(short()).lease() + SECOND);
    world.renew(&worker, short()).unwrap();
    world.rest(&worker, short()).unwrap();
    assert_eq!(
        ended_within(&world, &dead, 60, short()),
        Some((5, EndReason::Idle))
    );
}

#[test]
fn a_use_that_finds_a_session_overdue_does_not_end_it_once_another_has_renewed_it() {
    for call in 0..3 {
        let (world, [worker, other]) = world();
        world.admit(&worker, short()).unwrap();
        world.rest(&worker, short()).unwrap();
        world.advance(secs(6));
        let elsewhere = world.clone();
        let renew = move || elsewhere.renew(&other, short()).unwrap();
        worker.store.interrupt_at(call, renew);
        let standing = world.use_session(&worker, short()).unwrap();
        assert!(!worker.store.interrupt_is_pending());
        assert!(matches!(standing, Standing::Alive(_)), "renewed at call {call}");
    }
}

#[test]
fn eight_workers_may_renew_one_session_and_the_lease_ends_when_all_have_left() {
    let (world, [sweeper, _]) = world();
    let workers: Vec<_> = (10..18).map(|root| world.worker(root)).collect();
    world.admit(&workers[0], short()).unwrap();
    for _ in 0..2 {
        workers
            .iter()
            .for_each(|worker| world.renew(worker, short()).unwrap());
    }
    workers
        .iter()
        .for_each(|worker| world.rest(worker, short()).unwrap());
    assert_eq!(
        ended_within(&world, &sweeper, 60, short()),
        Some((5, EndReason::Idle))
    );
}

#[test]
fn a_session_that_more_workers_use_than_can_be_noted_is_kept_until_the_lease_runs_out() {
    let (world, [sweeper, _]) = world();
    let workers: Vec<_> = (10..30).map(|root| world.worker(root)).collect();
    world.admit(&workers[0], short()).unwrap();
    workers
        .iter()
        .for_each(|worker| world.renew(worker, short()).unwrap());
    workers[..19]
        .iter()
        .for_each(|worker| world.rest(worker, short()).unwrap());
    assert_eq!(ended_within(&world, &sweeper, 20, short()), None);
    world.rest(&workers[19], short()).unwrap();
    assert_eq!(
        ended_within(&world, &sweeper, 60, short()),
        Some((15, EndReason::Idle))
    );
}

#[test]
fn a_use_writes_only_when_the_stored_stamp_is_a_second_old() {
    let (world, [worker, _]) = world();
    world.admit(&worker, long()).unwrap();
    let bucket = Key::Bucket(long().key.bucket());
    let before = world.shared.memory.value(bucket);
    world.advance(Duration::from_millis(999));
    world.use_session(&worker, long()).unwrap();
    assert_eq!(world.shared.memory.value(bucket), before);
    world.advance(Duration::from_millis(1));
    world.use_session(&worker, long()).unwrap();
    assert_ne!(world.shared.memory.value(bucket), before);
}
