//! DELETEs to servers, with several workers, some of which die.

use std::collections::BTreeMap;

use super::super::values::bucket::Bucket;
use super::super::values::delete_request::DeleteRequest;
use super::*;
use crate::mcp::revision::Revision;

const VERSION: Revision = Revision::V2025_06_18;

fn world() -> World {
    World::new(settings(1_000_000, 1_000_000, 1_000_000))
}

fn open(world: &World, worker: &Worker, id: &Id) {
    let delete_request = DeleteRequest::new(None, b"/path");
    let new = NewSession {
        delete_request: Some(&delete_request),
        ..world.new_session(id)
    };
    let opened = worker.open(&new, Origin::Minted(None), world.now());
    assert_eq!(opened, Ok(Opened::Created));
    world.rest(worker, id).unwrap();
}

/// A world with one session of `b` that has just become idle.
fn just_idle() -> (World, Worker, &'static Id) {
    let (world, id) = (world(), &ids(1)[0]);
    let worker = world.worker(2);
    open(&world, &worker, id);
    world.advance(secs(6));
    world.sweep(&worker);
    (world, worker, id)
}

fn take(world: &World, worker: &Worker, id: &Id) -> Option<PendingDelete> {
    worker.take_pending_delete(id.key, secs(5), world.now()).unwrap()
}

fn settle(world: &World, worker: &Worker, id: &Id, outcome: DeleteOutcome) {
    worker.settle_delete(id.key, outcome, world.now()).unwrap();
}

#[test]
fn the_write_that_ends_a_session_leaves_what_the_server_is_owed() {
    let (world, worker, id) = just_idle();
    assert_eq!(world.counts().active, 0);
    assert_eq!(world.use_session(&worker, id), Ok(Standing::Ended));
    let pending = take(&world, &worker, id).unwrap();
    assert_eq!(
        (pending.id, pending.endpoint),
        (id.text.clone().into_bytes(), id.tag())
    );
    assert_eq!(
        (pending.delete_request.version(), pending.delete_request.path()),
        (None, &b"/path"[..])
    );
}

#[test]
fn so_does_a_request_that_finds_its_session_overdue() {
    let (world, id) = (world(), &ids(1)[0]);
    let worker = world.worker(2);
    open(&world, &worker, id);
    world.advance(secs(6));
    let Ok(Standing::Expired(ended)) = world.use_session(&worker, id) else {
        panic!("it has been idle for 40 s")
    };
    assert!(ended.leaves_pending_delete());
    assert!(take(&world, &worker, id).is_some());
}

#[test]
fn nothing_is_owed_for_an_end_that_the_server_knows_of() {
    let (world, id) = (world(), &ids(1)[0]);
    let worker = world.worker(2);
    open(&world, &worker, id);
    let ended = world.end(&worker, id);
    assert!(!ended.unwrap().unwrap().leaves_pending_delete());
    assert_eq!(take(&world, &worker, id), None);
}

/// A world with one session of `b` that the server has answered 404.
fn lost(bound: bool) -> (World, Worker, &'static Id) {
    let (world, id) = (world(), &ids(1)[0]);
    let worker = world.worker(2);
    open(&world, &worker, id);
    let ended = world.end_for(&worker, id, EndReason::UpstreamGone, bound);
    assert!(ended.unwrap().unwrap().leaves_pending_delete());
    assert_eq!(world.counts().active, 0);
    (world, worker, id)
}

#[test]
fn a_session_that_the_server_has_lost_is_deleted_there_and_unknown_here() {
    let (world, worker, id) = lost(false);
    for outcome in [DeleteOutcome::Failed, DeleteOutcome::Answered] {
        assert_eq!(world.use_session(&worker, id), Ok(Standing::Unknown));
        world.advance(secs(5));
        assert_eq!(take(&world, &worker, id).unwrap().id, id.text.as_bytes());
        assert_eq!(world.use_session(&worker, id), Ok(Standing::Unknown));
        settle(&world, &worker, id, outcome);
    }
    assert_eq!(world.use_session(&worker, id), Ok(Standing::Unknown));
    assert_eq!(world.shared.records().len(), 0);
    let bucket = world.shared.memory.value(Key::Bucket(id.key.bucket())).unwrap();
    let empty = Bucket::empty().at_least(DEEPEST).into_value();
    assert_eq!(bucket, empty, "something is left of it");
}

#[test]
fn its_owner_is_remembered_while_the_delete_is_pending_and_after_it() {
    let (world, worker, id) = lost(true);
    let claim = |owner| worker.standing(id.key, Some(owner), world.now()).unwrap();
    for sends in [true, false] {
        assert_eq!(claim(Owner(7)), Standing::Unknown);
        assert_eq!(claim(Owner(8)), Standing::Foreign);
        if sends {
            assert!(take(&world, &worker, id).is_some());
            assert_eq!(claim(Owner(8)), Standing::Foreign);
            settle(&world, &worker, id, DeleteOutcome::Answered);
        }
    }
    world.advance(secs(60));
    assert_eq!(claim(Owner(8)), Standing::Unknown);
}

#[test]
fn who_takes_a_lost_session_up_again_calls_its_delete_off_unless_it_is_sent() {
    let (world, worker, id) = lost(false);
    let adopt = || world.open(&worker, id, Origin::Adopted(None));
    let sent = take(&world, &worker, id).unwrap();
    assert_eq!(adopt(), Ok(Opened::Ended));
    worker
        .settle_delete(sent.key, DeleteOutcome::Failed, world.now())
        .unwrap();
    assert_eq!(adopt(), Ok(Opened::Created));
    world.advance(secs(5));
    assert_eq!(take(&world, &worker, id), None);
    assert!(matches!(world.use_session(&worker, id), Ok(Standing::Alive(_))));
}

#[test]
fn a_sweep_gives_the_delete_of_a_lost_session_up_and_leaves_its_owner() {
    let (world, worker, id) = lost(true);
    assert!(take(&world, &worker, id).is_some());
    world.advance(secs(36));
    assert_eq!(world.sweep(&worker).given_up, 1);
    let standing = worker.standing(id.key, Some(Owner(8)), world.now());
    assert_eq!(standing, Ok(Standing::Foreign));
}

#[test]
fn one_root_takes_it_and_nobody_after_an_answer() {
    let (world, worker, id) = just_idle();
    let other = world.worker(3);
    assert!(take(&world, &worker, id).is_some());
    assert_eq!(take(&world, &other, id), None);
    settle(&world, &worker, id, DeleteOutcome::Answered);
    world.advance(secs(30));
    assert_eq!(world.sweep(&other).ready, []);
    assert_eq!(take(&world, &other, id), None);
    assert_eq!(world.use_session(&worker, id), Ok(Standing::Ended));
}

#[test]
fn after_a_failure_it_waits_and_after_three_it_is_over() {
    let (world, worker, id) = just_idle();
    for wait in [5, 10] {
        assert!(take(&world, &worker, id).is_some());
        settle(&world, &worker, id, DeleteOutcome::Failed);
        world.advance(secs(wait) - Duration::from_millis(1));
        assert_eq!(take(&world, &worker, id), None);
        world.advance(Duration::from_millis(1));
    }
    assert!(take(&world, &worker, id).is_some());
    settle(&world, &worker, id, DeleteOutcome::Failed);
    world.advance(secs(31));
    let swept = world.sweep(&worker);
    assert_eq!((swept.ready.len(), swept.given_up), (0, 0));
    assert_eq!(take(&world, &worker, id), None);
}

#[test]
fn what_was_not_sent_can_be_taken_at_once_and_as_often_as_before() {
    let (world, worker, id) = just_idle();
    for _ in 0..5 {
        assert!(take(&world, &worker, id).is_some());
        settle(&world, &worker, id, DeleteOutcome::Unsent);
    }
    assert!(take(&world, &worker, id).is_some());
}

#[test]
fn what_a_dead_root_has_taken_is_given_up_and_what_it_has_not_is_found() {
    let (world, worker, id) = just_idle();
    let other = world.worker(3);
    world.advance(secs(5));
    assert_eq!(world.sweep(&other).ready, [(id.tag(), id.key)]);
    assert!(take(&world, &worker, id).is_some());
    world.advance(secs(36));
    let swept = world.sweep(&other);
    assert_eq!((swept.ready.len(), swept.given_up), (0, 1));
    assert_eq!(take(&world, &other, id), None);
}

/// The end of a session and its pending DELETE are one write, so a worker cannot die between the two.
#[test]
fn who_ends_a_session_may_die_between_any_two_calls() {
    for calls in 0..600 {
        let (world, id) = (world(), &ids(1)[0]);
        let (worker, other) = (world.worker(2), world.worker(3));
        open(&world, &worker, id);
        world.advance(secs(6));
        worker.store.die_after(calls);
        let _ = worker.sweep(world.now());
        world.sweep_round(&other);
        assert!(take(&world, &other, id).is_some(), "died after {calls} calls");
    }
}

#[test]
fn nothing_waits_for_ever() {
    let (world, worker, id) = just_idle();
    world.advance(secs(60 + 600));
    assert_eq!(world.sweep(&worker).given_up, 1);
    assert_eq!(take(&world, &worker, id), None);
}

#[test]
fn an_id_minted_again_is_not_deleted() {
    let (world, worker, id) = just_idle();
    open(&world, &worker, id);
    assert_eq!(take(&world, &worker, id), None);
    settle(&world, &worker, id, DeleteOutcome::Answered);
    assert_eq!(world.counts().active, 1);
    assert!(matches!(world.use_session(&worker, id), Ok(Standing::Alive(_))));
}

#[test]
fn an_id_that_is_no_session_can_be_owed_and_one_that_is_cannot() {
    let world = world();
    let worker = world.worker(2);
    let (stray, alive) = (&ids(1)[1], &ids(1)[2]);
    open(&world, &worker, alive);
    let owe = |id: &Id| {
        let delete_request = DeleteRequest::new(Some(VERSION), b"");
        let lifespans = world.lifespans(id);
        let id_bytes = id.text.as_bytes();
        worker.put_pending_delete(
            id.key,
            id.tag(),
            id_bytes,
            &delete_request,
            lifespans,
            world.now(),
        )
    };
    assert_eq!(owe(alive), Ok(DeleteEntry::SessionIsAlive));
    assert_eq!(owe(stray), Ok(DeleteEntry::Entered));
    let pending = take(&world, &worker, stray).unwrap();
    assert_eq!(pending.delete_request.version(), Some(VERSION));
    assert_eq!(world.use_session(&worker, stray), Ok(Standing::Ended));
    assert!(matches!(
        world.use_session(&worker, alive),
        Ok(Standing::Alive(_))
    ));
}

#[test]
fn an_id_too_long_to_be_kept_is_tracked_and_never_told() {
    let (world, id) = (world(), &ids(1)[0]);
    let worker = world.worker(2);
    let delete_request = DeleteRequest::new(None, b"");
    let long = "x".repeat(1025);
    let new = NewSession {
        id: long.as_bytes(),
        delete_request: Some(&delete_request),
        ..world.new_session(id)
    };
    let opened = worker.open(&new, Origin::Minted(None), world.now());
    assert_eq!(opened, Ok(Opened::Created));
    world.rest(&worker, id).unwrap();
    world.advance(secs(6));
    let ended = world.sweep(&worker).ended;
    assert!(ended[0].is_never_told() && !ended[0].leaves_pending_delete());
    assert_eq!(take(&world, &worker, id), None);
    assert_eq!(world.use_session(&worker, id), Ok(Standing::Ended));
    let (lifespans, now) = (world.lifespans(id), world.now());
    let entry = worker.put_pending_delete(id.key, id.tag(), new.id, &delete_request, lifespans, now);
    assert_eq!(entry, Ok(DeleteEntry::IdTooLong));
}

#[test]
fn the_first_revision_that_a_session_states_is_kept() {
    let (world, id) = (world(), &ids(1)[0]);
    let worker = world.worker(2);
    open(&world, &worker, id);
    for version in [VERSION, Revision::V2025_11_25] {
        worker.note_version(id.key, version, world.now()).unwrap();
    }
    world.advance(secs(6));
    world.sweep(&worker);
    let pending = take(&world, &worker, id).unwrap();
    assert_eq!(pending.delete_request.version(), Some(VERSION));
}

/// A bucket keeps eight, and twice its share of the sessions.
#[test]
fn those_that_have_waited_longest_are_dropped() {
    let world = World::new(settings(60, 60, 60));
    let worker = world.worker(2);
    let of_bucket = HOT_BUCKETS
        .map(|bucket| -> Vec<_> { ids(1).iter().filter(|id| id.key.bucket() == bucket).collect() })
        .into_iter()
        .max_by_key(Vec::len)
        .unwrap();
    let mut taken = Vec::new();
    for id in &of_bucket {
        open(&world, &worker, id);
        world.advance(secs(6));
        let swept = world.sweep(&worker);
        assert_eq!(swept.given_up, u32::from(taken.len() >= 8));
        taken.push(id);
    }
    assert!(of_bucket.len() > 8, "{}", of_bucket.len());
    let is_left = of_bucket.iter().map(|id| take(&world, &worker, id).is_some());
    assert!(is_left.eq((0..of_bucket.len()).map(|number| number >= of_bucket.len() - 8)));
}

/// Roots open, end, take, settle and die at random. No id gets two DELETEs. An id gets none only if a root died after
/// it had taken the DELETE.
#[test]
fn each_is_sent_once_whichever_root_dies() {
    let mut random = seed();
    let mut below = move |most: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % most
    };
    for _ in 0..iterations(20) {
        let world = world();
        let mut workers: Vec<_> = (0..4).map(|root| (world.worker(root + 2), Vec::new())).collect();
        let mut next_root = 10;
        let mut opened = Vec::new();
        let (mut sent, mut lost) = (BTreeMap::<&str, usize>::new(), 0);
        let mut fresh = ids(1).iter();
        for _ in 0..400 {
            let at = below(workers.len());
            match below(10) {
                0 | 1 => {
                    if let Some(id) = fresh.next() {
                        open(&world, &workers[at].0, id);
                        opened.push(id);
                    }
                }
                2 => world.advance(secs(3)),
                3 => drop(world.sweep(&workers[at].0)),
                4 => {
                    lost += workers[at].1.len();
                    next_root += 1;
                    workers[at] = (world.worker(next_root), Vec::new());
                }
                5..8 if !opened.is_empty() => {
                    let id = opened[below(opened.len())];
                    if take(&world, &workers[at].0, id).is_some() {
                        *sent.entry(&id.text).or_default() += 1;
                        workers[at].1.push(id);
                    }
                }
                _ => {
                    if let Some(id) = workers[at].1.pop() {
                        settle(&world, &workers[at].0, id, DeleteOutcome::Answered);
                    }
                }
            }
        }
        world.advance(secs(30));
        world.sweep_round(&workers[0].0);
        for id in &opened {
            if take(&world, &workers[0].0, id).is_some() {
                *sent.entry(&id.text).or_default() += 1;
            }
        }
        assert!(sent.values().all(|times| *times == 1), "{sent:?}");
        assert_eq!(
            sent.len(),
            opened.len(),
            "{lost} died with their root, after they were sent"
        );
    }
}

#[test]
fn a_bucket_with_farewells_survives_the_round_trip_and_any_cut() {
    let (world, worker, id) = just_idle();
    open(&world, &worker, &ids(1)[1]);
    let whole = world.shared.memory.value(Key::Bucket(id.key.bucket())).unwrap();
    let bucket = Bucket::from_value(whole.clone()).unwrap();
    assert_eq!(bucket.clone().into_value(), whole);
    for len in 0..whole.len() {
        let cut = Bucket::from_value(whole[..len].to_vec()).unwrap();
        let pending = cut.pending(&id.key);
        assert!(pending.is_none() || pending == bucket.pending(&id.key));
    }
}
