//! Several configurations at once: two listeners, updates, drains, refusals, reloads after a failed VM, a lost store.

use super::*;

/// One thread of the process: the roots on it, each of one configuration.
struct Thread {
    table: Worker,
    roots: Vec<Configuration>,
}

/// A process, with what Envoy does to the roots of the filter. The first thread is the main one, which serves no
/// requests.
struct Process {
    world: World,
    threads: Vec<Thread>,
}

/// The text of a configuration: the VM's cap, and the endpoints with their caps.
#[derive(Clone, Copy, Debug)]
struct Text {
    vm: Option<u32>,
    endpoints: &'static [(&'static str, u32)],
}

const fn text(vm: Option<u32>, endpoints: &'static [(&'static str, u32)]) -> Text {
    Text { vm, endpoints }
}

impl Text {
    fn configuration(self) -> Configuration {
        let endpoints = self.endpoints.iter().map(|(name, cap)| EndpointSettings {
            name: (*name).to_owned(),
            max_sessions: *cap,
            quota: None,
            max_streams: None,
            max_streams_per_principal: None,
            lifespans: Lifespans {
                idle: Some(secs(600)),
                ..Lifespans::default()
            },
            evict_after: Duration::ZERO,
        });
        let settings = VmSettings {
            max_sessions: self.vm,
            fleet: None,
            endpoints: endpoints.collect(),
        };
        Configuration::new(ConfigurationId::of(&[format!("{self:?}").as_bytes()]), settings)
    }
}

impl Process {
    fn new() -> Self {
        let world = World {
            shared: Shared::new(&settings(1_000, 1_000, 1_000)),
            settings: settings(1_000, 1_000, 1_000),
        };
        let threads = (1..=3).map(|root| Thread {
            table: world.worker(root),
            roots: Vec::new(),
        });
        let threads = threads.collect();
        let process = Self { world, threads };
        change_ledger(&process.threads[0].table, |ledger| {
            ledger.leave_awake(&HOT_GROUPS);
        })
        .unwrap();
        process
    }

    /// Loads a listener as Envoy does: a canary first, then a root on every thread.
    fn load(&mut self, text: Text) {
        self.load_on(0, text);
        self.threads[0].roots.pop();
        for thread in 0..self.threads.len() {
            self.load_on(thread, text);
        }
    }

    fn load_on(&mut self, thread: usize, text: Text) {
        let now = self.world.now();
        let thread = &mut self.threads[thread];
        let mut configuration = text.configuration();
        thread.table.load(&mut configuration, now).unwrap();
        thread.roots.push(configuration);
        self.world.advance(Duration::from_millis(3));
    }

    /// Sends a request to a listener with this text, on this thread.
    fn request(&mut self, thread: usize, text: Text) -> Kept {
        let now = self.world.now();
        let Thread { table, roots } = &mut self.threads[thread];
        table.serve(find(roots, text), now).unwrap()
    }

    /// Makes the VM of this thread fail. The next request to the listener with this text starts a new one.
    fn fail_and_reload(&mut self, thread: usize, text: Text) -> Kept {
        self.threads[thread].roots.clear();
        self.load_on(thread, text);
        self.request(thread, text)
    }

    /// Removes the listener with this text: it has drained, or Envoy has refused it.
    fn remove(&mut self, text: Text) {
        let now = self.world.now();
        for Thread { table, roots } in &mut self.threads {
            table.leave(find(roots, text), now).unwrap();
            let id = text.configuration().id;
            roots.retain(|root| root.id != id);
        }
    }

    fn tick(&mut self) -> Vec<Kept> {
        self.world.advance(SECOND);
        let now = self.world.now();
        let mut all = Vec::new();
        for Thread { table, roots } in &mut self.threads {
            for root in roots {
                all.push(table.restore(root, now).unwrap().unwrap());
                table.keep_leases(&[], now).unwrap();
            }
        }
        all
    }

    fn ticks(&mut self, seconds: usize) {
        (0..seconds).for_each(|_| drop(self.tick()));
    }

    fn sweep(&self) -> SweepReport {
        let mut all = SweepReport::default();
        while let Some(report) = self.threads[1].table.sweep(self.world.now()).unwrap() {
            all.ended.extend(report.ended);
            all.ready.extend(report.ready);
        }
        all
    }

    fn vm_limit(&self) -> u32 {
        self.world.counts().limit
    }

    /// The caps of endpoints, by name.
    fn limits(&self) -> Vec<(String, u32)> {
        let rows = self.world.counts().endpoints.into_iter();
        let mut limits: Vec<_> = rows
            .map(|row| (row.settings.name, row.settings.max_sessions))
            .collect();
        limits.sort();
        limits
    }

    #[track_caller]
    fn assert_limits(&self, expected: &[(&str, u32)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, cap)| ((*name).to_owned(), *cap))
            .collect();
        assert_eq!(self.limits(), expected);
    }

    fn is_named(&self, endpoint: &str) -> bool {
        let ledger = self.threads[0].table.ledger().unwrap();
        ledger.is_named(EndpointTag::of(endpoint), self.world.now())
    }
}

fn find(roots: &mut [Configuration], text: Text) -> &mut Configuration {
    let id = text.configuration().id;
    roots.iter_mut().find(|root| root.id == id).unwrap()
}

const OLD: Text = text(Some(1_000), &[("a", 100)]);
const NEW: Text = text(Some(5), &[("a", 3)]);

#[test]
fn two_listeners_keep_the_caps_of_their_endpoints() {
    let mut process = Process::new();
    let (first, second) = (text(Some(50), &[("a", 1)]), text(Some(50), &[("b", 40)]));
    process.load(first);
    process.request(1, first);
    process.load(second);
    process.request(2, second);
    process.assert_limits(&[("a", 1), ("b", 40)]);
    process.ticks(200);
    process.assert_limits(&[("a", 1), ("b", 40)]);
    let worker = &process.threads[1].table;
    let admitted = ids(0)
        .iter()
        .take(20)
        .filter(|id| process.world.admit(worker, id) == Ok(Opened::Created));
    assert_eq!(admitted.count(), 1);
}

#[test]
fn before_any_request_the_newest_that_is_loaded_is_shown() {
    let mut process = Process::new();
    process.load(OLD);
    assert_eq!(process.vm_limit(), 0);
    process.tick();
    assert_eq!(process.vm_limit(), 1_000);
    process.load(NEW);
    process.tick();
    assert_eq!(process.vm_limit(), 5);
    process.assert_limits(&[("a", 3)]);
    process.request(1, OLD);
    assert_eq!(process.vm_limit(), 1_000);
    process.assert_limits(&[("a", 100)]);
}

#[test]
fn a_refused_update_changes_nothing() {
    let mut process = Process::new();
    process.load(NEW);
    process.request(1, NEW);
    process.load(OLD);
    process.ticks(2);
    process.remove(OLD);
    process.ticks(100);
    assert_eq!(process.vm_limit(), 5);
    process.assert_limits(&[("a", 3)]);
}

#[test]
fn an_update_comes_into_force_with_its_first_request() {
    let mut process = Process::new();
    process.load(OLD);
    process.request(1, OLD);
    process.load(NEW);
    process.ticks(100);
    assert_eq!(process.vm_limit(), 1_000);
    process.request(2, NEW);
    assert_eq!(process.vm_limit(), 5);
    process.assert_limits(&[("a", 3)]);
    process.request(1, OLD);
    process.ticks(100);
    assert_eq!(process.vm_limit(), 5);
    process.assert_limits(&[("a", 3)]);
}

/// Whichever VM fails, and whichever listener reloads it first: the newest stays in force.
#[test]
fn a_draining_listener_that_reloads_a_failed_vm_is_as_old_as_before() {
    for failing in [&[1][..], &[2], &[1, 2], &[1, 1, 2, 2]] {
        let mut process = Process::new();
        process.load(OLD);
        process.request(1, OLD);
        process.ticks(300);
        process.load(NEW);
        process.request(2, NEW);
        process.ticks(10);
        for thread in failing {
            process.fail_and_reload(*thread, OLD);
            assert_eq!(process.vm_limit(), 5, "{failing:?}");
            process.ticks(100);
        }
        assert_eq!(process.vm_limit(), 5, "{failing:?}");
        process.assert_limits(&[("a", 3)]);
        process.fail_and_reload(1, NEW);
        process.remove_where_it_is(OLD);
        process.ticks(5);
        assert_eq!(process.vm_limit(), 5, "{failing:?}");
    }
}

#[test]
fn a_configuration_that_is_loaded_again_is_the_newest_again() {
    let mut process = Process::new();
    for (number, now) in [OLD, NEW, OLD, NEW, OLD].into_iter().enumerate() {
        process.load(now);
        process.request(1 + number % 2, now);
        assert_eq!(process.vm_limit(), now.vm.unwrap(), "load {number}");
        for other in [OLD, NEW] {
            process.remove_unless(other, now);
        }
        process.ticks(2);
        assert_eq!(process.vm_limit(), now.vm.unwrap(), "load {number}");
    }
}

#[test]
fn what_is_loaded_again_while_it_drains_is_in_force_when_the_one_between_has_drained() {
    let mut process = Process::new();
    process.load(OLD);
    process.request(1, OLD);
    process.load(NEW);
    process.request(1, NEW);
    // The roots are there: Envoy calls nothing.
    process.request(2, OLD);
    process.ticks(30);
    process.remove(NEW);
    process.ticks(4);
    assert_eq!(process.vm_limit(), 1_000);
    process.assert_limits(&[("a", 100)]);
}

#[test]
fn the_cap_of_the_vm_is_that_of_the_newest_that_writes_one() {
    let mut process = Process::new();
    let silent = text(None, &[("b", 40)]);
    process.load(NEW);
    process.request(1, NEW);
    process.load(silent);
    process.request(1, silent);
    process.ticks(2);
    assert_eq!(process.vm_limit(), 5);
    process.remove(NEW);
    process.ticks(4);
    assert_eq!(process.vm_limit(), 10_000);
    process.assert_limits(&[("b", 40)]);
}

#[test]
fn a_configuration_without_endpoints_takes_nothing_from_the_others() {
    let mut process = Process::new();
    let status = text(None, &[]);
    process.load(NEW);
    process.request(1, NEW);
    process.load(status);
    process.request(2, status);
    process.ticks(100);
    assert_eq!(process.vm_limit(), 5);
    process.assert_limits(&[("a", 3)]);
}

#[test]
fn caps_that_differ_are_told_once() {
    let mut process = Process::new();
    process.load(OLD);
    process.request(1, OLD);
    process.load(NEW);
    let first = process.request(1, NEW);
    assert_eq!(first.differing_limits, Some((5, 1_000)));
    process.remove(OLD);
    process.ticks(10);
    process.load(OLD);
    assert_eq!(process.request(2, OLD).differing_limits, None);
    assert!(process.tick().iter().all(|kept| kept.differing_limits.is_none()));
}

#[test]
fn the_first_root_of_a_load_is_told_so_and_no_other() {
    let mut process = Process::new();
    process.load(OLD);
    let first = process.tick();
    assert_eq!(first.iter().filter(|kept| kept.is_new).count(), 1);
    assert!(!process.request(1, OLD).is_new);
    assert!(!process.fail_and_reload(1, OLD).is_new);
    process.world.shared.memory.lose_everything();
    assert!(process.tick().iter().all(|kept| !kept.is_new));
}

#[test]
fn a_lost_store_gets_every_configuration_back_in_their_order() {
    for first in 0..3 {
        let mut process = Process::new();
        let other = text(Some(70), &[("b", 40)]);
        for loaded in [OLD, other, NEW] {
            process.load(loaded);
            process.request(1, loaded);
            process.ticks(2);
        }
        process.world.shared.memory.lose_everything();
        // Any root may be the first to tick.
        for thread in &mut process.threads {
            thread.roots.rotate_left(first);
        }
        process.tick();
        assert_eq!(process.vm_limit(), 5);
        process.assert_limits(&[("a", 3), ("b", 40)]);
        process.load(OLD.with_vm(9));
        process.request(2, OLD.with_vm(9));
        assert_eq!(process.vm_limit(), 9);
    }
}

#[test]
fn a_pause_of_the_whole_process_takes_nothing_out_of_force() {
    let mut process = Process::new();
    let other = text(None, &[("b", 40)]);
    for loaded in [OLD, other, NEW] {
        process.load(loaded);
        process.request(1, loaded);
    }
    process.tick();
    process.world.advance(secs(3_600));
    process.tick();
    assert_eq!(process.vm_limit(), 5);
    process.assert_limits(&[("a", 3), ("b", 40)]);
}

#[test]
fn an_endpoint_that_none_names_any_more_keeps_its_sessions_and_their_times() {
    let mut process = Process::new();
    let with_b = text(Some(50), &[("a", 10), ("b", 10)]);
    process.load(with_b);
    process.request(1, with_b);
    let session = &ids(1)[0];
    let worker = process.threads[1].table.clone();
    let delete_request = DeleteRequest::new(None, b"/b");
    let new = NewSession {
        delete_request: Some(&delete_request),
        ..process.world.new_session(session)
    };
    let opened = worker.open(&new, Origin::Adopted(None), process.world.now());
    assert_eq!(opened, Ok(Opened::Created));
    process.world.rest(&process.threads[1].table, session).unwrap();
    process.load(NEW);
    process.request(1, NEW);
    process.ticks(100);
    assert!(process.is_named("b"));
    process.remove(with_b);
    process.ticks(5);
    assert!(!process.is_named("b") && process.is_named("a"));
    process.assert_limits(&[("a", 3), ("b", 10)]);
    process.ticks(400);
    assert_eq!(process.sweep().ended.len(), 0);
    process.ticks(200);
    let swept = process.sweep();
    let [ended] = swept.ended.as_slice() else {
        panic!("one session was there: {swept:?}");
    };
    assert_eq!(ended.reason, EndReason::Idle);
    assert!(
        !ended.leaves_pending_delete() && swept.ready.is_empty(),
        "the server is not told"
    );
    process.tick();
    process.ticks(60);
    process.assert_limits(&[("a", 3)]);
}

#[test]
fn a_lowered_cap_ends_nothing_and_lets_nobody_in_until_enough_have_ended() {
    let mut process = Process::new();
    process.load(OLD);
    process.request(1, OLD);
    let worker = process.threads[1].table.clone();
    for id in &ids(0)[..6] {
        assert_eq!(process.world.admit(&worker, id), Ok(Opened::Created));
    }
    process.load(NEW);
    process.request(1, NEW);
    process.ticks(5);
    assert_eq!(process.world.counts().active, 6);
    for (ended, id) in ids(0)[..6].iter().enumerate() {
        let newcomer = process.world.reserve(&worker, id).unwrap();
        assert_eq!(newcomer.is_ok(), ended >= 4, "{ended} have ended");
        if let Ok(reservation) = newcomer {
            worker.release(reservation).unwrap();
        }
        process.world.end(&worker, id).unwrap();
    }
}

#[test]
fn more_configurations_than_there_is_room_for_leave_the_newest_in_force() {
    let mut process = Process::new();
    for number in 1..=100 {
        let text = OLD.with_vm(number);
        process.load_on(1, text);
        process.request(1, text);
        assert_eq!(process.vm_limit(), number);
    }
    process.ticks(2);
    assert_eq!(process.vm_limit(), 100);
    process.assert_limits(&[("a", 100)]);
}

impl Text {
    fn with_vm(self, vm: u32) -> Self {
        Self { vm: Some(vm), ..self }
    }
}

impl Process {
    fn remove_unless(&mut self, text: Text, kept: Text) {
        if text.configuration().id != kept.configuration().id {
            self.remove_where_it_is(text);
        }
    }

    /// As [`Process::remove`], where a failed VM may have taken some of the roots already.
    fn remove_where_it_is(&mut self, text: Text) {
        let now = self.world.now();
        let id = text.configuration().id;
        for Thread { table, roots } in &mut self.threads {
            for root in roots.iter().filter(|root| root.id == id) {
                table.leave(root, now).unwrap();
            }
            roots.retain(|root| root.id != id);
        }
    }
}
