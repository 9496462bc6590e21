//! The share of a fleet's cap: nobody is let in beyond the limit that is in force, whichever worker writes it and when;
//! and no worker writes it whose turn is over.

use std::sync::Mutex;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::super::values::ledger::Ledger;
use super::interleaved::{explore, on_stage};
use super::*;

const FLEET: FleetSettings = FleetSettings {
    tag: FleetTag::from_number(1),
    cap: 100,
};

fn places(most: u32) -> Limit {
    Limit::Places {
        most,
        until: Timestamp::NEVER,
    }
}

/// A world whose own caps leave room.
fn fleet() -> World {
    World::new(VmSettings {
        fleet: Some(FLEET),
        ..settings(40, 40, 40)
    })
}

fn attendant(world: &World) -> Attendant {
    Attendant {
        configuration: world.configuration().id,
        fleet: FLEET.tag,
        gateway: 7,
    }
}

fn attend(world: &World, worker: &Worker, waiting: u32) -> Attended {
    worker.attend(&attendant(world), waiting, world.now()).unwrap()
}

#[test]
fn nobody_is_let_in_beyond_the_limit_nor_after_its_end() {
    let (world, mut all) = (fleet(), ids(0).iter());
    let worker = world.worker(1);
    let mut admit = |world: &World| world.admit(&worker, all.next().unwrap());
    assert_eq!(admit(&world), Ok(Opened::Full), "no worker has spoken yet");
    let until = world.now().after(secs(10));
    assert_eq!(worker.set_limit(1, Limit::Places { most: 2, until }), Ok(true));
    assert_eq!(admit(&world), Ok(Opened::Created));
    let reservation = world.reserve(&worker, &ids(1)[0]).unwrap().unwrap();
    assert_eq!(world.reserve(&worker, &ids(1)[1]), Ok(Err(Refusal::Fleet)));
    assert_eq!(admit(&world), Ok(Opened::Full));
    assert_eq!(worker.used(world.now()), Ok(2));
    // What is in stays in, and what has a reservation comes in.
    assert_eq!(worker.set_limit(1, places(0)), Ok(true));
    let opened = world.open(&worker, &ids(1)[0], Origin::Minted(Some(reservation)));
    assert_eq!(opened, Ok(Opened::Created));
    worker.set_limit(1, Limit::Places { most: 9, until }).unwrap();
    world.advance(secs(10));
    assert_eq!(admit(&world), Ok(Opened::Full));
    worker.set_limit(1, Limit::Own).unwrap();
    assert_eq!(admit(&world), Ok(Opened::Created));
}

#[test]
fn an_answer_that_names_an_id_without_a_reservation_needs_a_place_of_the_share() {
    let world = fleet();
    let worker = world.worker(1);
    worker.set_limit(1, places(1)).unwrap();
    let minted = |id: usize| world.open(&worker, &ids(0)[id], Origin::Minted(None));
    assert_eq!(minted(0), Ok(Opened::Created));
    assert_eq!(minted(1), Ok(Opened::Full));
    let adopted = world.open(&worker, &ids(0)[2], Origin::Adopted(None));
    assert_eq!(adopted, Ok(Opened::Full));
}

#[test]
fn the_end_of_a_session_makes_room_only_if_the_limit_has_room_then() {
    let world = fleet();
    let worker = world.worker(1);
    worker.set_limit(1, places(2)).unwrap();
    for id in &ids(0)[..2] {
        world.admit(&worker, id).unwrap();
    }
    let would_let_in = || worker.would_let_in(ids(0)[0].tag(), world.now());
    assert_eq!(would_let_in(), Ok(true));
    worker.set_limit(1, places(1)).unwrap();
    assert_eq!(would_let_in(), Ok(false));
}

#[test]
fn without_a_configuration_that_writes_a_fleet_there_is_no_limit() {
    let world = World::new(settings(40, 40, 40));
    let worker = world.worker(1);
    worker.set_limit(1, places(0)).unwrap();
    assert_eq!(world.admit(&worker, &ids(0)[0]), Ok(Opened::Created));
    assert_eq!(attend(&world, &worker, 0).term, None);
}

#[test]
fn one_root_speaks_until_it_says_nothing_for_a_second() {
    let world = fleet();
    let (one, two) = (world.worker(1), world.worker(2));
    assert_eq!(attend(&world, &one, 0).term, Some(1));
    for _ in 0..20 {
        world.advance(Duration::from_millis(250));
        assert_eq!(attend(&world, &one, 0).term, Some(1));
        assert_eq!(attend(&world, &two, 0).term, None);
    }
    world.advance(SECOND);
    assert_eq!(attend(&world, &two, 0).term, Some(2));
    assert_eq!(attend(&world, &one, 0).term, None);
    assert_eq!(two.stop_speaking(2, world.now()), Ok(true));
    assert_eq!(attend(&world, &one, 0).term, Some(3));
}

#[test]
fn what_one_has_found_out_the_next_one_knows_and_an_old_turn_tells_nothing() {
    let world = fleet();
    let (one, two) = (world.worker(1), world.worker(2));
    let term = attend(&world, &one, 0).term.unwrap();
    let findings = Findings {
        lease: Some((5, world.now(), world.now().after(secs(8)))),
        full_at: Some(world.now()),
        ..Findings::default()
    };
    assert_eq!(one.tell(term, findings), Ok(true));
    world.advance(SECOND);
    let attended = attend(&world, &two, 0);
    assert_eq!((attended.findings, attended.gateway), (findings, 7));
    assert_eq!(one.tell(term, Findings::default()), Ok(false));
    assert_eq!(attend(&world, &one, 0).findings, findings);
}

#[test]
fn newcomers_that_wait_are_counted_over_all_roots() {
    let world = fleet();
    let (one, two) = (world.worker(1), world.worker(2));
    attend(&world, &one, 3);
    assert_eq!(attend(&world, &two, 4).waiting, 7);
    assert_eq!(attend(&world, &two, 0).waiting, 3);
    world.advance(SECOND);
    assert_eq!(attend(&world, &two, 1).waiting, 1);
}

#[test]
fn a_limit_of_an_earlier_turn_is_not_written() {
    let world = fleet();
    let worker = world.worker(1);
    worker.set_limit(2, places(3)).unwrap();
    assert_eq!(worker.begin_term(1), Ok(None));
    assert_eq!(worker.set_limit(1, places(9)), Ok(false));
    assert_eq!(worker.begin_term(3), Ok(Some(places(3))));
    assert_eq!(worker.set_limit(2, places(9)), Ok(false));
}

#[test]
fn workers_that_let_in_and_workers_that_speak_may_overlap_in_any_way() {
    explore(iterations(300), || {
        let world = watched(on_stage(&fleet()));
        let roots = 1..=2 + thread_rng().gen_range(1..=2);
        let threads = roots.map(|root| {
            let (world, worker) = (world.clone(), world.worker(root));
            thread::spawn(move || match root {
                1 | 2 => let_in(&world, &worker),
                _ => speak(&world, &worker),
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
    });
}

/// Checks each write of the ledger: more sessions and reservations than before are at most as many as the limit, and no
/// turn comes after a later one.
fn watched(mut world: World) -> World {
    let before = Mutex::new((0, 0));
    world.shared.memory = world.shared.memory.watched_by(move |key, data| {
        let value = data.get(&key).filter(|_| key == Key::Ledger);
        let Some(ledger) = value.and_then(|(bytes, _)| Ledger::from_value(bytes).ok()) else {
            return;
        };
        let now = (ledger.used(), ledger.fleet_term());
        let before = core::mem::replace(&mut *before.lock().unwrap(), now);
        if now.0 > before.0 {
            let limit = ledger.fleet_limit();
            assert!(limit.has_room(now.0 - 1, Timestamp::START), "{now:?} {limit:?}");
        }
        assert!(now.1 >= before.1, "{now:?} after {before:?}");
    });
    world
}

fn let_in(world: &World, worker: &Worker) {
    let mut reservations = Vec::new();
    for _ in 0..8 {
        let endpoint = thread_rng().gen_range(0..2);
        let id = &ids(endpoint)[thread_rng().gen_range(0..6)];
        match thread_rng().gen_range(0..6) {
            0 | 1 => reservations.extend(world.reserve(worker, id).unwrap().ok()),
            2 | 3 => {
                let reservation = reservations.pop();
                world.open(worker, id, Origin::Minted(reservation)).unwrap();
            }
            4 => drop(world.end(worker, id).unwrap()),
            _ => reservations
                .pop()
                .into_iter()
                .for_each(|reservation| worker.release(reservation).unwrap()),
        }
    }
}

/// Takes turns at speaking, and goes on with each for a while though another may have taken over.
fn speak(world: &World, worker: &Worker) {
    for _ in 0..3 {
        if let Some(term) = attend(world, worker, 0).term
            && worker.begin_term(term).unwrap().is_some()
        {
            for _ in 0..3 {
                worker
                    .set_limit(term, places(thread_rng().gen_range(0..5)))
                    .unwrap();
            }
        }
        world.advance(SECOND);
    }
}
