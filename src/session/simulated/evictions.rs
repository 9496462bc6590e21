//! `on_full: evict_idle` on several roots: only idle sessions are evicted, on whichever root they became idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::thread;

use super::super::values::bucket::Bucket;
use super::interleaved::{explore, stage};
use super::*;
use crate::worker::longest_idle::LongestIdle;

/// A root with its knowledge of idle sessions.
struct Root {
    table: Worker,
    longest_idle: LongestIdle,
}

impl Root {
    fn new(world: &World, tag: u32) -> Self {
        Self {
            table: world.worker(tag),
            longest_idle: LongestIdle::default(),
        }
    }

    /// One whose calls for every bucket are counted.
    fn counted(world: &World) -> Self {
        let handle = world.shared.memory.handle_that_counts(|_| true);
        Self {
            table: Table::attach(handle, RootTag::from_random(2), SECRET).unwrap(),
            longest_idle: LongestIdle::default(),
        }
    }

    fn evict(&mut self, world: &World, evict_after: Duration) -> Option<EndedSession> {
        let (tag, lifespans, now) = (ids(0)[0].tag(), world.lifespans(&ids(0)[0]), world.now());
        self.longest_idle
            .evict(&self.table, tag, evict_after, lifespans, now)
            .unwrap()
    }

    fn rest(&mut self, world: &World, id: &Id, evict_after: Duration) {
        let (lifespans, now) = (world.lifespans(id), world.now());
        if self.table.rest(id.key, lifespans, now).unwrap() {
            self.longest_idle
                .note_rest(&self.table, id.tag(), id.key, evict_after, now)
                .unwrap();
        }
    }

    /// Judges a newcomer as an exchange does. Returns whether it was let in, with the session `id`.
    fn admit(&mut self, world: &World, id: &Id, evict_after: Duration) -> bool {
        if world.admit(&self.table, id) == Ok(Opened::Created) {
            return true;
        }
        let ended = self.evict(world, evict_after);
        ended.is_some() && world.admit(&self.table, id) == Ok(Opened::Created)
    }
}

fn evicting(cap: u32) -> World {
    let mut all = settings(cap, cap, cap);
    all.endpoints[0].lifespans.evictable = true;
    World::new(all)
}

/// Counts the calls for buckets.
fn counting(world: &mut World) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let memory = world.shared.memory.clone();
    world.shared.memory = memory.before_calls(move |key| {
        if matches!(key, Key::Bucket(_)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    calls
}

#[test]
fn a_newcomer_every_30_ms_is_let_in_whichever_root_the_session_rested_on() {
    let world = evicting(1);
    let mut roots = [Root::new(&world, 2), Root::new(&world, 3)];
    for number in 0..40 {
        let id = &ids(0)[number % IDS];
        assert!(roots[number % 2].admit(&world, id, Duration::ZERO), "{number}");
        world.advance(Duration::from_millis(10));
        roots[number / 3 % 2]
            .table
            .renew(id.key, world.lifespans(id), world.now())
            .unwrap();
        // Both roots end their use of the session, one after the other.
        for root in &mut roots {
            root.rest(&world, id, Duration::ZERO);
        }
        world.advance(Duration::from_millis(20));
    }
}

#[test]
fn a_flood_at_a_table_that_is_all_in_use_costs_one_look() {
    let mut world = evicting(3);
    let calls = counting(&mut world);
    let mut root = Root::counted(&world);
    for id in &ids(0)[..3] {
        assert!(root.admit(&world, id, Duration::ZERO));
    }
    let flood = |root: &mut Root| {
        let before = calls.load(Ordering::Relaxed);
        for _ in 0..1_000 {
            assert_eq!(root.evict(&world, Duration::ZERO), None);
            world.advance(Duration::from_millis(1));
        }
        calls.load(Ordering::Relaxed) - before
    };
    let looks = flood(&mut root);
    println!("{looks} reads of buckets");
    assert!((3..=512).contains(&looks), "{looks} reads of buckets");
    assert_eq!(flood(&mut root), 0);
    // A use and its end cost one scan each, and no more.
    root.rest(&world, &ids(0)[1], Duration::ZERO);
    world.use_session(&root.table, &ids(0)[1]).unwrap();
    assert!(flood(&mut root) <= 520);
}

#[test]
fn a_session_is_evicted_once_it_has_been_idle_for_evict_after_and_not_before() {
    let world = evicting(1);
    let evict_after = secs(5);
    let mut roots = [Root::new(&world, 2), Root::new(&world, 3)];
    let id = &ids(0)[0];
    assert!(roots[0].admit(&world, id, evict_after));
    for _ in 0..3 {
        for _ in 0..10 {
            world.advance(Duration::from_millis(900));
            roots
                .iter_mut()
                .for_each(|root| assert_eq!(root.evict(&world, evict_after), None));
        }
        roots[0].rest(&world, id, evict_after);
        for _ in 0..4 {
            world.advance(secs(1));
            roots
                .iter_mut()
                .for_each(|root| assert_eq!(root.evict(&world, evict_after), None));
        }
        world.use_session(&roots[0].table, id).unwrap();
    }
    roots[1].rest(&world, id, evict_after);
    roots[0].rest(&world, id, evict_after);
    world.advance(secs(5) - Duration::from_millis(1));
    assert_eq!(roots[1].evict(&world, evict_after), None);
    world.advance(Duration::from_millis(1));
    assert!(roots[1].evict(&world, evict_after).is_some());
}

#[test]
fn a_newcomer_that_would_not_be_let_in_evicts_nobody() {
    let world = evicting(3);
    let mut root = Root::new(&world, 2);
    for id in &ids(0)[..3] {
        assert!(root.admit(&world, id, Duration::ZERO));
        root.rest(&world, id, Duration::ZERO);
    }
    world.shared.stop_audit();
    let mut lowered = world.settings.clone();
    lowered.endpoints[0].max_sessions = 2;
    world.advance(secs(1));
    let mut configuration = Configuration::new(ConfigurationId::of(&[b"second"]), lowered);
    root.table.load(&mut configuration, world.now()).unwrap();
    root.table.serve(&mut configuration, world.now()).unwrap();
    assert!(!root.admit(&world, &ids(0)[3], Duration::ZERO));
    assert_eq!(world.counts().active, 3);
    world.end(&root.table, &ids(0)[0]).unwrap();
    assert!(root.admit(&world, &ids(0)[3], Duration::ZERO));
    assert_eq!(world.counts().active, 2);
}

#[test]
fn a_principal_loses_its_own_longest_idle_session_if_it_has_been_idle_for_evict_after() {
    let world = evicting(10);
    let mut table = world.worker(2);
    table.keep_books().unwrap();
    let owner = Owner(1 << 63 | 7);
    for id in &ids(0)[..2] {
        let new = NewSession {
            owner,
            quota: Some(2),
            ..world.new_session(id)
        };
        table.open(&new, Origin::Minted(None), world.now()).unwrap();
        world.rest(&table, id).unwrap();
        world.advance(secs(1));
    }
    let evict = |limit| {
        let quota = Quota { owner, limit };
        let (tag, lifespans) = (ids(0)[0].tag(), world.lifespans(&ids(0)[0]));
        table
            .evict_of(quota, tag, secs(5), lifespans, world.now())
            .unwrap()
    };
    world.advance(secs(2));
    assert_eq!(evict(2), None);
    world.advance(secs(1));
    assert_eq!(evict(1), None, "its quota was lowered");
    assert_eq!(evict(2).unwrap().session.key, ids(0)[0].key);
    assert_eq!(evict(2), None);
}

/// Whether a session of endpoint `a` has been idle for `evict_after`, by the buckets.
fn is_any_idle(world: &World, evict_after: Duration) -> bool {
    let now = world.now();
    let values = HOT_BUCKETS
        .iter()
        .filter_map(|index| world.shared.memory.value(Key::Bucket(*index)));
    let sessions = values.flat_map(|value| Bucket::from_value(value).unwrap().sessions().collect::<Vec<_>>());
    sessions
        .filter(|session| session.endpoint == ids(0)[0].tag())
        .any(|session| !session.in_use(now) && session.stamp.after(evict_after) <= now)
}

/// Roots use sessions, leave them, die, and get newcomers. A newcomer is refused only if no session could be evicted.
#[test]
fn who_finds_nobody_idle_is_right_whatever_others_did() {
    let mut random = seed();
    let mut below = move |most: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % most
    };
    let (mut evicted, mut refused) = (0, 0);
    for round in 0..iterations(60) {
        let world = evicting(6);
        let evict_after = [Duration::ZERO, secs(1), secs(7)][round % 3];
        let mut roots: Vec<_> = (2..5).map(|tag| Root::new(&world, tag)).collect();
        for step in 0..300_u32 {
            let (at, id) = (below(3), &ids(0)[below(8)]);
            match below(12) {
                0..2 => {
                    let idle = is_any_idle(&world, evict_after);
                    let ended = roots[at].evict(&world, evict_after);
                    assert_eq!(ended.is_some(), idle, "step {step} of {round}: {ended:?}");
                    evicted += u32::from(idle);
                    refused += u32::from(!idle);
                }
                2..5 => drop(world.admit(&roots[at].table, id).unwrap()),
                5..7 => drop(world.use_session(&roots[at].table, id).unwrap()),
                7..10 => roots[at].rest(&world, id, evict_after),
                10 => world.advance(Duration::from_millis([30, 400, 3_000][below(3)])),
                // No root gives back what this one has in use.
                _ if below(10) == 0 => roots[at] = Root::new(&world, 10 + step),
                _ => world.renew(&roots[at].table, id).unwrap(),
            }
            if below(150) == 0 {
                world.advance(secs(31));
            }
        }
    }
    println!("{evicted} evicted, {refused} refused");
    assert!(evicted > 100 && refused > 100);
}

/// A session becomes idle on one root at any time during another root's scan. The next newcomer finds it.
#[test]
fn no_rest_is_missed_however_it_meets_a_look() {
    explore(iterations(300), || {
        let mut world = stage();
        world.settings.endpoints[0].lifespans.evictable = true;
        let (mut first, mut second) = (Root::new(&world, 2), Root::new(&world, 3));
        let mut third = Root::new(&world, 4);
        let id = &ids(0)[0];
        assert_eq!(world.admit(&first.table, id), Ok(Opened::Created));
        let rests = {
            let world = world.clone();
            thread::spawn(move || first.rest(&world, &ids(0)[0], Duration::ZERO))
        };
        let looks = {
            let world = world.clone();
            thread::spawn(move || {
                let ended = (0..2).find_map(|_| second.evict(&world, Duration::ZERO));
                (second, ended.is_some())
            })
        };
        let other = third.evict(&world, Duration::ZERO).is_some();
        rests.join().unwrap();
        let (mut second, ended) = looks.join().unwrap();
        let evicted = ended || other;
        assert_eq!(second.evict(&world, Duration::ZERO).is_some(), !evicted);
    });
}

/// One scan sees only a part of a million sessions. The next newcomer's scan starts where it ended.
#[test]
fn the_only_idle_one_of_a_million_is_found_by_the_eighth_newcomer_at_the_latest() {
    let mut world = evicting(1_000_000);
    world.shared.stop_audit();
    let tag = EndpointTag::of("a");
    let busy = (world.now().after(secs(1_000)), [2].map(RootTag::from_random));
    let mut buckets = vec![Bucket::empty(); usize::from(BUCKETS)];
    let mut only = None;
    for number in 0..1_000_000_u32 {
        let key = SessionKey::new(&SECRET, tag, &number.to_le_bytes());
        let session = size::session(key, tag);
        let session = if number == 500_000 {
            only = Some(key);
            session
        } else {
            let leaseholders = busy
                .1
                .iter()
                .copied()
                .fold(record::Leaseholders::default(), record::Leaseholders::joined_by);
            session.stamped(busy.0, leaseholders)
        };
        buckets[usize::from(key.bucket())].insert(&session).unwrap();
    }
    for (index, bucket) in (0..).zip(buckets) {
        world.shared.memory.put(Key::Bucket(index), &bucket.into_value());
    }
    let calls = counting(&mut world);
    let mut root = Root::counted(&world);
    let counted = root.table.update_ledger(|ledger| {
        (0..64).for_each(|group| ledger.add_session(tag, group, Timestamp::NEVER));
        table::Change::Write(())
    });
    counted.unwrap();
    for newcomer in 1..=8 {
        let before = calls.load(Ordering::Relaxed);
        let ended = root.evict(&world, Duration::ZERO);
        println!(
            "newcomer {newcomer}: {} reads of buckets",
            calls.load(Ordering::Relaxed) - before
        );
        if let Some(ended) = ended {
            assert_eq!(Some(ended.session.key), only);
            return;
        }
    }
    panic!("it was not found");
}
