//! Workers that die halfway, races that are lost, values that vanish or are foreign, clocks that go back.

use super::pairs::{Op, Stage, alive, new};
use super::*;

/// After a round of sweeps by another worker, the faults have left no trace.
#[track_caller]
fn assert_heals(stage: &Stage) {
    stage.world.sweep_round(&stage.workers[1]);
    stage.world.assert_counts_are_true();
    assert_eq!(stage.world.counts().reserved, 0);
    let again = stage.world.sweep_round(&stage.workers[1]);
    assert_eq!(again.repaired, 0);
}

#[test]
fn a_worker_may_die_between_any_two_calls() {
    let base = Stage::new();
    for op in Op::ALL {
        for calls in 0.. {
            let stage = base.fork();
            stage.workers[0].store.die_after(calls);
            let _ = stage.act(0, op);
            let finished = !stage.workers[0].store.is_dead();
            println!("{op:?} after {calls} calls");
            assert_heals(&stage);
            if finished {
                break;
            }
        }
    }
}

#[test]
fn a_dead_sweeper_delays_nothing_but_its_own_group() {
    let base = Stage::new();
    for calls in 1..6 {
        let stage = base.fork();
        stage.workers[0].store.die_after(calls);
        let _ = stage.act(0, Op::Sweep);
        stage.world.advance(secs(10));
        stage.world.sweep(&stage.workers[1]);
        assert_eq!(stage.world.shared.records().get("b"), None, "after {calls} calls");
    }
}

#[test]
fn a_few_lost_races_change_no_result() {
    let base = Stage::new();
    for op in Op::ALL {
        let undisturbed = base.fork().act(0, op);
        for races in 1..6 {
            let stage = base.fork();
            stage.workers[0].store.lose_races(races);
            assert_eq!(stage.act(0, op), undisturbed, "{op:?} after {races} lost races");
            stage.world.assert_counts_are_true();
        }
    }
}

#[test]
fn a_worker_that_loses_every_race_gives_up_and_leaves_nothing_behind() {
    let base = Stage::new();
    for op in [
        Op::Reserve,
        Op::Open,
        Op::OpenLate,
        Op::Adopt,
        Op::Remint,
        Op::Announce,
        Op::End,
        Op::Lose,
        Op::Renew,
    ] {
        let stage = base.fork();
        stage.workers[0].store.lose_races(10_000);
        assert_eq!(stage.act(0, op), Err(StoreError::Contended), "{op:?}");
        assert_heals(&stage);
    }
}

#[test]
fn an_opening_that_fails_at_the_bucket_gives_its_place_back_at_once() {
    let stage = Stage::new().fork();
    let bucket = Key::Bucket(new().key.bucket());
    let ours = stage.world.shared.memory.value(bucket).unwrap();
    stage.world.shared.memory.put(bucket, &[u8::MAX, 0, 0]);
    assert_eq!(stage.act(0, Op::Open), Err(StoreError::Foreign));
    assert_eq!(stage.world.counts().reserved, 1);
    stage.world.shared.memory.put(bucket, &ours);
    stage.world.assert_counts_are_true();
}

#[test]
fn a_bucket_may_vanish_between_any_two_calls() {
    let base = Stage::new();
    let bucket = Key::Bucket(alive().key.bucket());
    for op in Op::ALL {
        for call in 0.. {
            let stage = base.fork();
            let shared = stage.world.shared.clone();
            stage.workers[0]
                .store
                .interrupt_at(call, move || shared.memory.lose(bucket));
            stage.act(0, op).unwrap();
            if stage.workers[0].store.interrupt_is_pending() {
                break;
            }
            println!("{op:?}, bucket lost at call {call}");
            assert_heals(&stage);
        }
    }
}

#[test]
fn the_ledger_may_vanish_between_any_two_calls() {
    let base = Stage::new();
    for op in Op::ALL {
        for call in 0.. {
            let stage = base.fork();
            let shared = stage.world.shared.clone();
            stage.workers[0].store.interrupt_at(call, move || {
                shared.stop_audit();
                shared.memory.lose(Key::Ledger);
            });
            let _ = stage.act(0, op);
            if stage.workers[0].store.interrupt_is_pending() {
                break;
            }
            println!("{op:?}, ledger lost at call {call}");
            assert_eq!(stage.world.restore(&stage.workers[1]), Ok(true));
            assert_heals(&stage);
            assert_eq!(stage.world.counts().limit, 5);
        }
    }
}

#[test]
fn without_a_ledger_no_newcomer_is_let_in_and_no_session_is_shut_out() {
    let stage = Stage::new().fork();
    stage.world.shared.memory.lose(Key::Ledger);
    assert_eq!(
        stage.world.reserve(&stage.workers[0], new()),
        Ok(Err(Refusal::Capacity))
    );
    let standing = stage.world.use_session(&stage.workers[0], alive()).unwrap();
    assert!(matches!(standing, Standing::Alive(_)));
}

/// A lost ledger forgets how many sessions there are. Until the next round of sweeps has counted them again, as many
/// more may be let in; after that no newcomer is, until enough have ended.
#[test]
fn a_lost_ledger_lets_in_at_most_the_cap_again_and_only_until_the_recount() {
    let world = World::new(settings(4, 4, 4));
    let worker = world.worker(1);
    let mut ids = ids(0).iter();
    let mut admitted = || {
        ids.by_ref()
            .take(8)
            .filter(|id| world.admit(&worker, id) == Ok(Opened::Created))
            .count()
    };
    assert_eq!(admitted(), 4);
    world.shared.stop_audit();
    world.shared.memory.lose(Key::Ledger);
    assert_eq!(world.restore(&worker), Ok(true));
    assert_eq!(admitted(), 4);
    world.sweep_round(&worker);
    assert_eq!(world.counts().active, 8);
    assert_eq!(admitted(), 0);
}

#[test]
fn a_wiped_store_is_put_back_by_the_first_to_tick() {
    let world = World::new(settings(2, 2, 2));
    let worker = world.worker(1);
    world.admit(&worker, alive()).unwrap();
    world.shared.memory.lose_everything();
    assert_eq!(world.restore(&worker), Ok(true));
    assert_eq!(world.counts().limit, 2);
    assert_eq!(world.admit(&worker, alive()), Ok(Opened::Created));
    assert!(matches!(
        world.use_session(&world.worker(2), alive()),
        Ok(Standing::Alive(_))
    ));
    world.assert_counts_are_true();
}

#[test]
fn a_worker_learns_that_others_have_agreed_on_another_hash_key() {
    let world = World::new(settings(2, 2, 2));
    let worker = world.worker(1);
    world.shared.memory.lose_everything();
    Table::attach(world.shared.handle(), RootTag::from_random(2), [9; 16]).unwrap();
    assert_eq!(world.restore(&worker), Ok(false));
}

#[test]
fn a_bucket_of_another_layout_is_left_alone() {
    let base = Stage::new();
    let bucket = Key::Bucket(alive().key.bucket());
    for op in Op::ALL {
        let stage = base.fork();
        let mut foreign = stage.world.shared.memory.value(bucket).unwrap();
        let ours = foreign.clone();
        foreign[0] = u8::MAX;
        stage.world.shared.memory.put(bucket, &foreign);
        let _ = stage.act(0, op);
        stage.world.sweep_round(&stage.workers[1]);
        stage.world.sweep_round(&stage.workers[1]);
        assert_eq!(stage.world.shared.memory.value(bucket), Some(foreign), "{op:?}");
        stage.world.shared.memory.put(bucket, &ours);
        assert_heals(&stage);
    }
}

#[test]
fn a_ledger_of_another_layout_is_left_alone() {
    let base = Stage::new();
    for op in Op::ALL {
        let stage = base.fork();
        let mut foreign = stage.world.shared.memory.value(Key::Ledger).unwrap();
        foreign[0] = u8::MAX;
        stage.world.shared.memory.put(Key::Ledger, &foreign);
        let _ = stage.act(0, op);
        let _ = stage.workers[1].sweep(stage.world.now());
        assert_eq!(
            stage.world.shared.memory.value(Key::Ledger),
            Some(foreign),
            "{op:?}"
        );
    }
}

#[test]
fn a_clock_that_goes_back_breaks_nothing_and_ends_nothing_early() {
    let base = Stage::new();
    for op in Op::ALL {
        for back in [1, 1_000, 20_000, 1_000_000] {
            let stage = base.fork();
            let now = stage.world.now();
            stage
                .world
                .shared
                .set_clock(Timestamp::from_millis(now.as_millis() - back));
            stage.act(0, op).unwrap();
            stage.world.assert_counts_are_true();
            let lives = stage.world.shared.records().contains_key("a");
            assert!(lives || matches!(op, Op::End | Op::Lose), "{op:?} at -{back} ms");
            stage.world.shared.set_clock(now);
            stage.world.advance(TIMEOUT);
            assert_heals(&stage);
        }
    }
}

#[test]
fn a_place_that_was_reaped_is_not_given_back_again() {
    let world = World::new(settings(4, 4, 4));
    let (slow, other) = (world.worker(1), world.worker(2));
    let late = world.reserve(&slow, new()).unwrap().unwrap();
    world.advance(TIMEOUT);
    other.keep_leases(&[], world.now()).unwrap();
    let _kept = world.reserve(&slow, new()).unwrap().unwrap();
    slow.release(late).unwrap();
    assert_eq!(world.counts().reserved, 1);
}

#[test]
fn a_late_opening_takes_a_place_only_if_there_is_room() {
    let world = World::new(settings(1, 1, 1));
    let worker = world.worker(1);
    let late = world.reserve(&worker, new()).unwrap().unwrap();
    world.advance(TIMEOUT);
    assert_eq!(world.admit(&worker, alive()), Ok(Opened::Created));
    assert_eq!(
        world.open(&worker, new(), Origin::Minted(Some(late))),
        Ok(Opened::Full)
    );
    world.end(&worker, alive()).unwrap();
    assert_eq!(
        world.open(&worker, new(), Origin::Minted(None)),
        Ok(Opened::Created)
    );
}

#[test]
fn a_late_opening_may_take_the_place_of_a_reservation_that_is_not_reaped_yet() {
    let world = World::new(settings(1, 1, 1));
    let (dead, worker) = (world.worker(1), world.worker(2));
    world.reserve(&dead, new()).unwrap().unwrap();
    world.advance(TIMEOUT);
    assert_eq!(
        world.open(&worker, new(), Origin::Minted(None)),
        Ok(Opened::Created)
    );
}

#[test]
fn a_worker_caught_halfway_by_a_sweep_counts_as_no_repair() {
    for op in [
        Op::Open,
        Op::OpenLate,
        Op::Adopt,
        Op::Remint,
        Op::Announce,
        Op::End,
        Op::Lose,
        Op::UseOverdue,
    ] {
        for call in 0..6 {
            let stage = std::sync::Arc::new(Stage::new());
            let other = stage.clone();
            stage.workers[0].store.interrupt_at(call, move || {
                other.world.advance(secs(1));
                let report = other.world.sweep(&other.workers[1]);
                assert_eq!(report.repaired, 0);
            });
            stage.act(0, op).unwrap();
            let round = stage.world.sweep_round(&stage.workers[1]);
            assert_eq!(round.repaired, 0, "{op:?} caught at call {call}");
            stage.world.assert_counts_are_true();
        }
    }
}

#[test]
fn a_group_that_cannot_be_counted_does_not_keep_the_sweep_busy() {
    let stage = Stage::new();
    stage.world.suspect(&stage.workers[0]).unwrap();
    let bucket = Key::Bucket(alive().key.bucket());
    stage.world.shared.memory.put(bucket, &[u8::MAX, 0, 0]);
    let mut sweeps = 0;
    while stage.workers[0].sweep(stage.world.now()).unwrap().is_some() {
        sweeps += 1;
        assert!(sweeps <= HOT_GROUPS.len());
    }
}
