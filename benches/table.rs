//! The cost of each operation of the session table, by the number of sessions in it.
//!
//! `cargo bench --package benches` runs all benches, `-- use_session` only some. Divan was chosen over Criterion:
//! sizes are arguments of a bench, the output is one readable table, and it needs far fewer crates. To see where an
//! operation allocates, make `divan::AllocProfiler` the global allocator.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench may be blunt"
)]

#[allow(dead_code, unreachable_pub, reason = "each bench uses its part")]
mod world;

use std::time::Duration;

use divan::Bencher;
use mcp_session_filter::session::Reservation;
use world::{LIFESPANS, SIZES, World};

const TIMEOUT: Duration = Duration::from_secs(60);

fn main() {
    divan::main();
}

fn reserved(world: &World) -> Reservation {
    let place = world.table.reserve(world.endpoint, None, TIMEOUT, world.now());
    place.expect("memory").expect("there is room")
}

/// Undoes an operation after the clock has stopped.
struct Undo<F: FnMut()>(F);

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// The hash of an id.
#[divan::bench]
fn key(bencher: Bencher<'_, '_>) {
    let world = World::of(0);
    bencher
        .with_inputs(|| world.some_id())
        .bench_local_refs(|id| world.key(id));
}

/// A request of a session whose stamp is fresh: one read.
#[divan::bench(args = SIZES)]
fn use_session_hit(bencher: Bencher<'_, '_>, size: u64) {
    let world = World::of(size);
    bencher
        .with_inputs(|| world.key(&world.some_id()))
        .bench_local_values(|key| world.table.use_session(key, None, LIFESPANS, world.opened()));
}

/// A request of a session whose stamp has aged: one read and one write.
#[divan::bench(args = SIZES)]
fn use_session_aged(bencher: Bencher<'_, '_>, size: u64) {
    let world = World::of(size);
    bencher
        .with_inputs(|| (world.key(&world.some_id()), world.a_second_later()))
        .bench_local_values(|(key, now)| world.table.use_session(key, None, LIFESPANS, now));
}

/// A reservation for an initialization.
#[divan::bench(args = SIZES)]
fn reserve(bencher: Bencher<'_, '_>, size: u64) {
    let world = World::of(size);
    bencher.bench_local(|| {
        let mut place = Some(reserved(world));
        Undo(move || {
            let place = place.take().expect("dropped once");
            world.table.release(place).expect("memory");
        })
    });
}

/// A reservation given back.
#[divan::bench(args = SIZES)]
fn release(bencher: Bencher<'_, '_>, size: u64) {
    let world = World::of(size);
    bencher
        .with_inputs(|| reserved(world))
        .bench_local_values(|place| world.table.release(place));
}

/// A session entered: ledger and bucket.
#[divan::bench(args = SIZES)]
fn open(bencher: Bencher<'_, '_>, size: u64) {
    let world = World::of(size);
    bencher.with_inputs(|| world.fresh_id()).bench_local_values(|id| {
        world.open_session(&id);
        Undo(move || drop(world.end_session(&id)))
    });
}

/// A session ended: ledger and bucket.
#[divan::bench(args = SIZES)]
fn end(bencher: Bencher<'_, '_>, size: u64) {
    let world = World::of(size);
    let opened = || {
        let id = world.fresh_id();
        world.open_session(&id);
        id
    };
    bencher
        .with_inputs(opened)
        .bench_local_refs(|id| world.end_session(id));
}

/// One call of the sweep, over one group of buckets that is due for a recount.
#[divan::bench(args = SIZES)]
fn sweep_of_one_group(bencher: Bencher<'_, '_>, size: u64) {
    let world = World::of(size);
    bencher
        .with_inputs(|| world.a_second_later())
        .bench_local_values(|now| {
            let swept = world.table.sweep(now).expect("memory");
            swept.expect("a group is due").repaired
        });
}

/// What a tick reads for the gauges.
#[divan::bench(args = SIZES)]
fn counts(bencher: Bencher<'_, '_>, size: u64) {
    let world = World::of(size);
    bencher.bench_local(|| world.table.counts());
}
