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

mod world;

use std::time::Instant;

use world::choices::Choices;
use world::{Tally, World};

/// Steps of one world.
const STEPS: u64 = 2_000;

#[test]
fn light_faults_are_never_seen() {
    play_many("light_faults_are_never_seen", 60, false);
}

#[test]
fn heavy_faults_are_never_seen_after_a_round_of_sweeps() {
    play_many("heavy_faults_are_never_seen_after_a_round_of_sweeps", 60, true);
}

fn play_many(test: &str, worlds: u64, heavy: bool) {
    let first = from_environment("MSF_SEED").unwrap_or(0x5e55_1075);
    let worlds = worlds * from_environment("MSF_ITERATIONS").unwrap_or(1);
    let (started, mut all) = (Instant::now(), Tally::default());
    for seed in first..first + worlds {
        let played = std::panic::catch_unwind(|| play(seed, heavy));
        let tally = played.unwrap_or_else(|panic| {
            eprintln!("again: MSF_SEED={seed} cargo test --no-default-features --test simulation {test}");
            std::panic::resume_unwind(panic)
        });
        all.add(&tally);
    }
    println!(
        "{worlds} worlds from seed {first} in {:.1?}: {all:?}",
        started.elapsed()
    );
    assert!(
        all.sessions > worlds && all.streams > worlds,
        "too little has happened"
    );
}

fn play(seed: u64, heavy: bool) -> Tally {
    let mut world = World::new(Choices::of_seed(seed), heavy);
    while world.tally.steps < STEPS && !world.is_over() {
        world.step();
    }
    world.finish()
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
