//! What a sweep takes of one tick, if a million sessions end together.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::super::testing::Handle;
use super::super::values::book::{BookOwner, Books};
use super::super::values::bucket::Bucket;
use super::super::values::ledger::Ledger;
use super::*;

const SESSIONS: u32 = 1_000_000;
const PRINCIPALS: u32 = 1_000;

fn owner_of(number: u32) -> Owner {
    let principal = u64::from(number % PRINCIPALS);
    Owner::of_hash(principal.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A table in which every 64th group holds its share of a million sessions, all idle for too long, with books.
fn ending_together() -> (World, Table<Handle>) {
    let mut all = settings(SESSIONS, SESSIONS, SESSIONS);
    all.endpoints[0].quota = Some(2_000);
    let world = World::new(all);
    world.shared.stop_audit();
    let tag = EndpointTag::of("a");
    let mut buckets = vec![Bucket::empty(); usize::from(BUCKETS)];
    let mut books = vec![Books::empty(); usize::from(store::PRINCIPALS)];
    let mut of_principal = vec![Vec::new(); PRINCIPALS as usize];
    for number in 0..SESSIONS {
        let key = SessionKey::new(&SECRET, tag, &number.to_le_bytes());
        let session = Session {
            owner: owner_of(number),
            ..size::session(key, tag)
        };
        buckets[usize::from(key.bucket())].insert(&session).unwrap();
        of_principal[(number % PRINCIPALS) as usize].push(key.short());
    }
    for (number, sessions) in (0..).zip(of_principal) {
        let (owner, endpoint) = (owner_of(number), tag);
        let book_owner = BookOwner { owner, endpoint };
        let books = &mut books[usize::from(book_owner.index())];
        let mut book = books.find(book_owner);
        book.sessions = sessions;
        book.checked = world.now().after(secs(100_000));
        books.put(&book);
    }
    for (index, bucket) in (0..).zip(buckets) {
        world.shared.memory.put(Key::Bucket(index), &bucket.into_value());
    }
    for (index, books) in (0..).zip(books) {
        world
            .shared
            .memory
            .put(Key::Principals(index), &books.into_value());
    }
    let mut worker = world.worker(2);
    worker.keep_books().unwrap();
    change_ledger(&worker, |ledger: &mut Ledger| {
        for number in 0..SESSIONS {
            let key = SessionKey::new(&SECRET, tag, &number.to_le_bytes());
            let group = u8::try_from(key.bucket() / GROUP_LEN).unwrap();
            ledger.add_session(tag, group, Timestamp::NEVER);
        }
        ledger.leave_awake(&[]);
        (0..64).for_each(|group| ledger.touch_group(group, world.now()));
    })
    .unwrap();
    world.advance(secs(100_000));
    (world, worker)
}

#[test]
fn a_tick_stops_when_its_time_is_up_and_leaves_nothing_in_the_books() {
    let (world, worker) = ending_together();
    let mut sweep = Sweep::default();
    let (mut ticks, mut ended, mut longest, mut whole) = (0, 0, secs(0), secs(0));
    loop {
        let began = Instant::now();
        let is_time_up = || began.elapsed() >= Duration::from_millis(10);
        let progress = loop {
            let progress = worker.sweep_on(&mut sweep, world.now(), &is_time_up).unwrap();
            if !matches!(progress, SweepProgress::Counted(_)) || is_time_up() {
                break progress;
            }
            ended += count(&progress);
        };
        ended += count(&progress);
        longest = longest.max(began.elapsed());
        whole += began.elapsed();
        ticks += 1;
        if progress == SweepProgress::NothingDue {
            break;
        }
    }
    println!("{ended} sessions ended in {ticks} ticks, {whole:?} in all, the longest tick {longest:?}");
    assert_eq!(ended, SESSIONS as usize);
    assert_eq!(world.counts().active, 0);
    let values = (0..store::PRINCIPALS).filter_map(|index| world.shared.memory.value(Key::Principals(index)));
    let books = values.flat_map(|value| Books::from_value(value).unwrap().all());
    let listed: Vec<_> = books
        .map(|book| book.count())
        .filter(|count| *count > 0)
        .collect();
    assert_eq!((listed.len(), listed.first()), (0, None));
}

#[test]
fn sessions_are_struck_from_their_books_book_by_book() {
    let (mut world, _) = ending_together();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let memory = world.shared.memory.clone();
    world.shared.memory = memory.before_calls(move |key| {
        let is_book = matches!(key, Key::Principals(_));
        counter.fetch_add(usize::from(is_book), Ordering::Relaxed);
    });
    let mut worker = world.worker(3);
    worker.keep_books().unwrap();
    calls.store(0, Ordering::Relaxed);
    let began = Instant::now();
    let ended = worker.sweep(world.now()).unwrap().unwrap().ended.len();
    let calls = calls.load(Ordering::Relaxed);
    println!(
        "a group of {ended} sessions: {calls} calls for books, {:?}",
        began.elapsed()
    );
    // Two reads and a write for each value, and the cost of the sweep of the group's own 64.
    assert!(calls <= 3 * PRINCIPALS as usize + 2 * 64, "{calls} calls");
}

#[test]
fn a_sweep_that_is_cut_anywhere_ends_and_counts_what_one_at_a_stretch_does() {
    for step in [1, 7, 100, 255, 256, 257, 300] {
        let world = World::new(settings(40, 40, 40));
        let worker = world.worker(2);
        for id in ids(0).iter().take(9) {
            world.admit(&worker, id).unwrap();
            world.rest(&worker, id).unwrap();
        }
        world.advance(secs(700));
        let (mut sweep, asked) = (Sweep::default(), Cell::new(0));
        let is_time_up = || {
            asked.set(asked.get() + 1);
            asked.get() % step == 0
        };
        let mut ended = 0;
        loop {
            let progress = worker.sweep_on(&mut sweep, world.now(), &is_time_up).unwrap();
            ended += count(&progress);
            if progress == SweepProgress::NothingDue {
                break;
            }
        }
        assert_eq!((ended, world.counts().active), (9, 0));
        world.assert_counts_are_true();
    }
}

fn count(progress: &SweepProgress) -> usize {
    match progress {
        SweepProgress::Counted(report) | SweepProgress::Cut(report) => report.ended.len(),
        SweepProgress::NothingDue => 0,
    }
}
