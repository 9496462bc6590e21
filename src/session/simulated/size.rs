//! How large the table is.

use super::super::values::bucket::Bucket;
use super::*;
use crate::worker::longest_idle::LongestIdle;

#[test]
fn a_session_without_its_id_takes_under_46_bytes_at_a_million() {
    assert!(bytes_at_a_million(session) < 46.0);
}

/// With `terminate_upstream`, and a UUID as id.
#[test]
fn a_session_whose_end_the_server_is_to_hear_of_takes_under_140() {
    let owing = |key, endpoint| Session {
        id: vec![b'x'; 36],
        delete_request: Some(DeleteRequest::new(None, b"")),
        ..session(key, endpoint)
    };
    assert!(bytes_at_a_million(owing) < 140.0);
}

/// Bytes per session at a million ids. Only the ids that fall into a 64th of the buckets are entered.
fn bytes_at_a_million(session: impl Fn(SessionKey, EndpointTag) -> Session) -> f64 {
    const SAMPLE: u16 = BUCKETS / 64;
    let tag = EndpointTag::of("a");
    let mut buckets = vec![Bucket::empty().at_least(DEEPEST); usize::from(SAMPLE)];
    let mut sessions = 0;
    for number in 0..1_000_000_u32 {
        let key = SessionKey::new(&SECRET, tag, &number.to_le_bytes());
        let Some(bucket) = buckets.get_mut(usize::from(key.bucket())) else {
            continue;
        };
        bucket.insert(&session(key, tag)).unwrap();
        sessions += 1;
    }
    let bytes: usize = buckets.into_iter().map(|bucket| bucket.into_value().len()).sum();
    let each = bytes as f64 / f64::from(sessions);
    println!("{each:.1} bytes a session, {sessions} in {SAMPLE} buckets");
    each
}

pub(super) fn session(key: SessionKey, endpoint: EndpointTag) -> Session {
    let now = Timestamp::from_millis(1_000_000);
    Session {
        key,
        endpoint,
        owner: Owner::UNKNOWN,
        digest: IdDigest::of(b"id"),
        opened: now,
        stamp: now,
        leaseholders: record::Leaseholders::default(),
        id: Vec::new(),
        delete_request: None,
    }
}

#[test]
fn no_key_is_added_after_the_first_worker_has_joined() {
    let world = World::new(settings(100, 100, 100));
    world.shared.stop_audit();
    world.shared.memory.lose_everything();
    let worker = world.worker(1);
    world.restore(&worker).unwrap();
    let keys = world.shared.memory.keys();
    assert_eq!(keys, usize::from(BUCKETS / GROUP_LEN) + 4);
    for round in 0..3 {
        for number in 0..100 {
            let text = format!("{round}-{number}");
            let key = worker.key(EndpointTag::of("a"), text.as_bytes());
            let id = Id {
                endpoint: 0,
                text,
                key,
            };
            assert_eq!(world.admit(&worker, &id), Ok(Opened::Created));
            world.use_session(&worker, &id).unwrap();
            world.end(&worker, &id).unwrap();
        }
        world.advance(secs(30));
        world.sweep(&worker);
    }
    assert_eq!(world.shared.memory.keys(), keys);
}

/// If one hash key were known, trying ids would find 1,000 that share a bucket. Under the key of the workers, which
/// is secret, these ids are spread like any others.
#[test]
fn ids_chosen_to_fall_into_one_bucket_do_not() {
    let tag = EndpointTag::of("a");
    let bucket = |secret: &[u8; 16], id: &u64| SessionKey::new(secret, tag, &id.to_le_bytes()).bucket();
    let mut full = std::collections::BTreeMap::<u16, Vec<u64>>::new();
    for id in 0..800_000 {
        full.entry(bucket(b"a guessed secret", &id) / 64)
            .or_default()
            .push(id);
    }
    let chosen = full.into_values().max_by_key(Vec::len).unwrap();
    assert!(chosen.len() > 1_000);
    let mut found = std::collections::BTreeMap::<u16, usize>::new();
    for id in &chosen {
        *found.entry(bucket(&SECRET, id)).or_default() += 1;
    }
    let fullest = found.into_values().max().unwrap();
    assert!(fullest <= 5, "{fullest} of {} ids share a bucket", chosen.len());
}

#[test]
fn remembering_what_ended_costs_an_empty_bucket_nothing() {
    let world = World::new(settings(4, 4, 4));
    let worker = world.worker(1);
    let empty = Bucket::empty().at_least(DEEPEST).into_value().len();
    for id in ids(0) {
        world.admit(&worker, id).unwrap();
        world.end(&worker, id).unwrap();
        let value = world.shared.memory.value(Key::Bucket(id.key.bucket())).unwrap();
        assert_eq!(value.len(), empty);
    }
}

/// One scan sees only a part of so many sessions. The test counts how many had been idle longer than the evicted one.
#[test]
fn of_a_million_sessions_one_of_the_longest_idle_goes() {
    let mut all = settings(1_000_000, 1_000_000, 1_000_000);
    all.endpoints[0].lifespans.evictable = true;
    let world = World::new(all);
    world.shared.stop_audit();
    let (worker, tag) = (world.worker(1), EndpointTag::of("a"));
    let mut buckets = vec![Bucket::empty(); usize::from(BUCKETS)];
    for number in 0..1_000_000_u32 {
        let key = SessionKey::new(&SECRET, tag, &number.to_le_bytes());
        let stamp = Timestamp::from_millis(u64::from(number));
        let bucket = &mut buckets[usize::from(key.bucket())];
        bucket
            .insert(&session(key, tag).stamped(stamp, record::Leaseholders::default()))
            .unwrap();
    }
    for (index, bucket) in (0..).zip(buckets) {
        world.shared.memory.put(Key::Bucket(index), &bucket.into_value());
    }
    let counted = worker.update_ledger(|ledger| {
        (0..64).for_each(|group| ledger.add_session(tag, group, Timestamp::NEVER));
        table::Change::Write(())
    });
    counted.unwrap();
    let lifespans = world.settings.endpoints[0].lifespans;
    let mut longer: Vec<_> = (0..50)
        .map(|_| {
            world.advance(secs(1));
            let mut longest_idle = LongestIdle::default();
            let ended = longest_idle.evict(&worker, tag, Duration::ZERO, lifespans, world.now());
            ended.unwrap().unwrap().session.stamp().as_millis()
        })
        .collect();
    longer.sort_unstable();
    println!(
        "idle longer than the one that went, of a million: median {}, at most {}",
        longer[25], longer[49]
    );
    assert!(longer[49] < 1_000);
}
