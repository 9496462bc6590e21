//! The whole core in simulated worlds; see [`world`].
//!
//! `MSF_ITERATIONS` multiplies the number of worlds, `MSF_SEED` is the seed of the first one. A failure prints the
//! command that plays its world alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]
#![allow(unreachable_pub, dead_code, reason = "the fuzz targets use the world, too")]

mod fleet;
mod hostile;
mod world;

use std::fmt::Debug;
use std::time::Instant;

use fleet::Fleet;
use hostile::Hostile;
use world::choices::Choices;
use world::{Tally, World};

/// Steps of one world.
const STEPS: u64 = 2_000;

/// Steps of one world of a fleet.
const FLEET_STEPS: u64 = 4_000;

#[test]
fn light_faults_are_never_seen() {
    let all = play_many(
        "light_faults_are_never_seen",
        60,
        |seed| play(seed, false),
        Tally::add,
    );
    assert_much_has_happened(&all);
}

#[test]
fn heavy_faults_are_never_seen_after_a_round_of_sweeps() {
    let test = "heavy_faults_are_never_seen_after_a_round_of_sweeps";
    let all = play_many(test, 60, |seed| play(seed, true), Tally::add);
    assert_much_has_happened(&all);
}

#[test]
fn usable_ids_are_at_most_the_cap_whatever_clients_and_servers_write() {
    let test = "usable_ids_are_at_most_the_cap_whatever_clients_and_servers_write";
    let all = play_many(test, 40, |seed| play_hostile(seed, false), hostile::Tally::add);
    assert_all_has_happened(&all);
}

#[test]
fn usable_ids_are_at_most_the_cap_after_heavy_faults() {
    let test = "usable_ids_are_at_most_the_cap_after_heavy_faults";
    let all = play_many(test, 40, |seed| play_hostile(seed, true), hostile::Tally::add);
    assert_all_has_happened(&all);
}

#[test]
fn the_gateways_of_a_fleet_have_at_most_the_cap() {
    let test = "the_gateways_of_a_fleet_have_at_most_the_cap";
    let all = play_many(test, 40, |seed| play_fleet(seed, false), fleet::Tally::add);
    let counts = [
        all.at_once,
        all.soon,
        all.late,
        all.refused,
        all.lost,
        all.full,
        all.above,
    ];
    assert!(counts.iter().all(|count| *count > 0), "too little has happened");
}

#[test]
fn a_fleet_with_a_good_network_uses_every_place() {
    let test = "a_fleet_with_a_good_network_uses_every_place";
    let all = play_many(test, 20, |seed| play_fleet(seed, true), fleet::Tally::add);
    let counts = [all.at_once, all.soon, all.refused, all.full];
    assert!(counts.iter().all(|count| *count > 0), "too little has happened");
    assert_eq!(all.lost, 0);
}

fn play_many<T: Debug + Default>(test: &str, worlds: u64, play: fn(u64) -> T, add: fn(&mut T, &T)) -> T {
    let first = from_environment("MSF_SEED").unwrap_or(0x5e55_1075);
    let worlds = worlds * from_environment("MSF_ITERATIONS").unwrap_or(1);
    let (started, mut all) = (Instant::now(), T::default());
    for seed in first..first + worlds {
        let played = std::panic::catch_unwind(|| play(seed));
        let tally = played.unwrap_or_else(|panic| {
            eprintln!("again: MSF_SEED={seed} cargo test --no-default-features --test simulation {test}");
            std::panic::resume_unwind(panic)
        });
        add(&mut all, &tally);
    }
    println!(
        "{worlds} worlds from seed {first} in {:.1?}: {all:?}",
        started.elapsed()
    );
    all
}

fn assert_much_has_happened(all: &Tally) {
    let worlds = all.steps / STEPS;
    assert!(
        all.sessions > worlds && all.streams > worlds && all.unnamed > 0 && all.named_late > 0,
        "too little has happened"
    );
}

fn assert_all_has_happened(all: &hostile::Tally) {
    let counts = [
        all.given,
        all.adopted,
        all.untracked,
        all.taken_off,
        all.ended,
        all.full,
    ];
    assert!(counts.iter().all(|count| *count > 0), "too little has happened");
}

fn play(seed: u64, heavy: bool) -> Tally {
    let mut world = World::new(Choices::of_seed(seed), heavy);
    while world.tally.steps < STEPS && !world.is_over() {
        world.step();
    }
    world.finish()
}

fn play_hostile(seed: u64, heavy: bool) -> hostile::Tally {
    let mut world = Hostile::new(Choices::of_seed(seed), heavy);
    while world.tally.steps < STEPS {
        world.step();
    }
    world.finish()
}

fn play_fleet(seed: u64, is_calm: bool) -> fleet::Tally {
    let mut world = Fleet::new(Choices::of_seed(seed), is_calm);
    while world.tally.steps < FLEET_STEPS {
        world.step();
    }
    world.finish()
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
