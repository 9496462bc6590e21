//! The look over the table, for the status view.

use core::cell::Cell;

use super::super::table::look::MOST_LISTED;
use super::super::testing::SharedData;
use super::*;

const NO_END: &dyn Fn() -> bool = &|| false;

fn look(world: &World) -> Look {
    world.worker(9).look(world.now(), NO_END).unwrap()
}

fn digests(list: &[Listed]) -> Vec<IdDigest> {
    list.iter().map(|listed| listed.digest).collect()
}

fn digest(id: &Id) -> IdDigest {
    IdDigest::of(id.text.as_bytes())
}

/// The number of every value, which each write changes.
fn versions(world: &World) -> std::collections::BTreeMap<Key, u32> {
    let number = |data: &SharedData<Key>, key: &Key| data.get(key).map_or(0, |(_, number)| number);
    let memory = &world.shared.memory;
    memory.look(|data| data.iter().map(|(key, _)| (*key, number(data, key))).collect())
}

#[test]
fn an_empty_table_costs_no_read_of_a_bucket() {
    let mut world = World::new(settings(10, 10, 10));
    let reads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&reads);
    let memory = world.shared.memory.clone();
    world.shared.memory = memory.before_calls(move |key| seen.lock().unwrap().push(key));
    let worker = world.worker(9);
    reads.lock().unwrap().clear();
    let look = worker.look(world.now(), NO_END).unwrap();
    assert_eq!(*reads.lock().unwrap(), [Key::Ledger, Key::Paths]);
    assert_eq!((look.counts.limit, look.is_partial), (10, false));
    assert!(look.oldest.is_empty() && look.most_idle.is_empty());
}

#[test]
fn the_oldest_and_the_most_idle_come_first_and_no_more_than_are_listed() {
    let world = World::new(settings(100, 100, 100));
    let worker = world.worker(2);
    let (a, b) = (ids(0), ids(1));
    for id in a.iter().chain(b) {
        assert_eq!(world.admit(&worker, id), Ok(Opened::Created));
        world.advance(secs(2));
    }
    // The first one is used again; the second one is in use.
    world.use_session(&worker, &a[0]).unwrap();
    world.renew(&worker, &a[1]).unwrap();
    let before = versions(&world);
    let look = look(&world);
    assert_eq!(versions(&world), before, "a look writes nothing");
    assert_eq!(
        (look.oldest.len(), look.most_idle.len()),
        (MOST_LISTED, MOST_LISTED)
    );
    assert_eq!(digests(&look.oldest)[..3], [&a[0], &a[1], &a[2]].map(digest));
    assert_eq!(digests(&look.most_idle)[..2], [&a[2], &a[3]].map(digest));
    assert!(look.oldest[1].is_in_use && !look.oldest[0].is_in_use);
    assert_eq!(look.oldest[0].id, a[0].text.as_bytes());
    assert!(look.oldest.is_sorted_by_key(|listed| listed.opened));
    assert!(look.most_idle.is_sorted_by_key(|listed| listed.idle_since));
    assert!(!look.is_partial);
}

#[test]
fn a_look_without_time_for_all_says_that_it_is_partial() {
    let world = World::new(settings(100, 100, 100));
    let worker = world.worker(2);
    for id in ids(0) {
        world.admit(&worker, id).unwrap();
    }
    let asked = Cell::new(0);
    let look = worker.look(world.now(), &|| {
        asked.set(asked.get() + 1);
        asked.get() > 1
    });
    let look = look.unwrap();
    assert!(look.is_partial);
    let first: Vec<_> = ids(0)
        .iter()
        .filter(|id| id.key.bucket() < 16)
        .map(digest)
        .collect();
    assert_eq!(look.oldest.len(), first.len());
    assert!(digests(&look.oldest).iter().all(|digest| first.contains(digest)));
    assert_eq!(look.counts.active as usize, IDS);
}

#[test]
fn a_value_of_another_version_makes_a_look_partial() {
    let world = World::new(settings(100, 100, 100));
    let worker = world.worker(2);
    world.admit(&worker, &ids(0)[0]).unwrap();
    world.shared.stop_audit();
    let of_the_same_group = ids(0)[0].key.bucket() ^ 2;
    world.shared.memory.put(Key::Bucket(of_the_same_group), &[99]);
    world.shared.memory.put(Key::Paths, &[99]);
    let look = look(&world);
    assert_eq!((look.oldest.len(), look.is_partial), (1, true));
    assert!(look.endpoints[0].path.is_none());
}

#[test]
fn every_configuration_tells_where_its_endpoints_are() {
    let world = World::new(settings(10, 10, 10));
    let worker = world.worker(2);
    let path = |name: &str, path: &str| EndpointPath {
        tag: EndpointTag::of(name),
        is_http_sse: false,
        path: path.to_owned(),
    };
    let mut configuration = world.configuration();
    worker.tell_paths(&configuration, &[path("a", "/a")]).unwrap();
    worker.serve(&mut configuration, world.now()).unwrap();
    let told = [path("a", "/new"), path("b", "/b")];
    worker.tell_paths(&configuration, &told).unwrap();
    let look = look(&world);
    let shown: Vec<_> = look
        .endpoints
        .iter()
        .map(|endpoint| endpoint.path.clone())
        .collect();
    assert_eq!(shown, told.map(Some));
    assert!(look.endpoints.iter().all(|endpoint| endpoint.is_named));
}

#[test]
fn an_endpoint_that_was_taken_out_is_there_as_long_as_it_has_sessions() {
    let world = World::new(settings(10, 10, 10));
    let worker = world.worker(2);
    world.admit(&worker, &ids(0)[0]).unwrap();
    let leaving = world.configuration();
    let mut without = Configuration::new(
        ConfigurationId::of(&[b"second"]),
        VmSettings {
            endpoints: world.settings.endpoints[1..].to_vec(),
            ..world.settings.clone()
        },
    );
    worker.serve(&mut without, world.now()).unwrap();
    worker.leave(&leaving, world.now()).unwrap();
    world.advance(secs(5));
    worker.restore(&mut without, world.now()).unwrap();
    let look = look(&world);
    let row = look
        .counts
        .endpoints
        .iter()
        .position(|row| row.settings.name == "a")
        .unwrap();
    assert_eq!(
        (look.counts.endpoints[row].active, look.endpoints[row].is_named),
        (1, false)
    );
}
