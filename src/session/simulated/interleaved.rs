//! Workers that run at the same time: at each call of the store, another worker may go on instead.
//!
//! `shuttle` chooses the worker, and every random value. A failure prints its schedule, for [`shuttle::replay`].

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::{Config, Runner, thread};

use super::*;

/// What may happen besides the workers' operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Time passes, but no worker halfway through a change is delayed for as long as a recount waits.
    Calm,
    /// Any call may take a long time.
    Slow,
    /// The same, and workers die.
    Deadly,
}

const OPERATIONS: usize = 12;

#[test]
fn calm_workers_keep_the_caps_and_leave_nothing_to_repair() {
    explore(iterations(500), || live(Weather::Calm));
}

#[test]
fn slow_workers_keep_the_caps_and_the_counts() {
    explore(iterations(500), || live(Weather::Slow));
}

#[test]
fn dying_workers_exceed_no_cap_and_the_next_round_puts_the_counts_right() {
    explore(iterations(500), || live(Weather::Deadly));
}

#[test]
fn a_session_in_use_is_never_ended_for_being_idle() {
    explore(iterations(200), keep_in_use);
}

#[test]
fn recounts_and_changes_may_overlap_in_any_way() {
    explore(iterations(1000), recount_amid_changes);
}

/// Runs `scene` under both schedulers: uniformly random, and with priorities, which finds other orders.
pub(super) fn explore(iterations: usize, scene: fn()) {
    run(RandomScheduler::new_from_seed(seed(), iterations), scene);
    run(PctScheduler::new_from_seed(seed(), 4, iterations), scene);
}

fn run(scheduler: impl Scheduler + 'static, scene: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    Runner::new(scheduler, config).run(scene);
}

pub(super) fn stage() -> World {
    static BASE: OnceLock<World> = OnceLock::new();
    on_stage(BASE.get_or_init(|| World::new(settings(4, 3, 3))))
}

/// A copy of the world in which workers take turns.
pub(super) fn on_stage(base: &World) -> World {
    let mut world = base.fork();
    // `shuttle` may switch to another worker at each call.
    let switch = AtomicBool::default();
    world.shared.memory = world
        .shared
        .memory
        .before_calls(move |_| _ = switch.load(Ordering::SeqCst));
    world
}

fn live(weather: Weather) {
    let world = stage();
    for _ in 0..2 {
        let since = world.now();
        let roots = 1..thread_rng().gen_range(3..=8);
        let threads = roots.map(|root| {
            let (world, worker) = (world.clone(), world.worker(root));
            thread::spawn(move || work(&world, &worker, weather, since))
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        let healer = world.worker(100);
        if weather != Weather::Deadly {
            world.assert_counts_are_true();
        }
        world.advance(TIMEOUT);
        let round = world.sweep_round(&healer);
        assert!(weather != Weather::Calm || round.repaired == 0, "{round:?}");
        world.assert_counts_are_true();
        assert_eq!(world.counts().reserved, 0);
        assert_eq!(world.sweep_round(&healer).repaired, 0);
    }
}

fn work(world: &World, worker: &Worker, weather: Weather, since: Timestamp) {
    let mut reservations = Vec::new();
    for _ in 0..OPERATIONS {
        operate(world, worker, &mut reservations).unwrap_or_else(|error| {
            assert!(worker.store.is_dead(), "{error:?}");
        });
        match weather {
            Weather::Calm => pass_time(world, 200, since.after(secs(1))),
            Weather::Slow | Weather::Deadly => pass_time(world, 6_000, Timestamp::NEVER),
        }
        if weather == Weather::Deadly && thread_rng().gen_ratio(1, 10) {
            worker.store.die_after(thread_rng().gen_range(0..8));
        }
    }
}

fn pass_time(world: &World, most: u64, until: Timestamp) {
    let by = Duration::from_millis(thread_rng().gen_range(0..most));
    if thread_rng().gen_ratio(1, 3) && world.now().after(by) < until {
        world.advance(by);
    }
}

/// Does one thing, chosen at random.
fn operate(
    world: &World,
    worker: &Worker,
    reservations: &mut Vec<(usize, Reservation)>,
) -> Result<(), StoreError> {
    let endpoint = thread_rng().gen_range(0..2);
    let id = &ids(endpoint)[thread_rng().gen_range(0..4)];
    match thread_rng().gen_range(0..14) {
        0..3 => reservations.extend(
            world
                .reserve(worker, id)?
                .ok()
                .map(|reservation| (endpoint, reservation)),
        ),
        3..6 => {
            let reservation = reservations.pop();
            let (endpoint, reservation) = reservation.map_or((endpoint, None), |(endpoint, reservation)| {
                (endpoint, Some(reservation))
            });
            let id = &ids(endpoint)[thread_rng().gen_range(0..4)];
            world.open(worker, id, Origin::Minted(reservation))?;
        }
        6 => {
            if let Some((_, reservation)) = reservations.pop() {
                worker.release(reservation)?;
            }
        }
        7 => drop(world.open(worker, id, Origin::Adopted(None))?),
        8 => drop(world.use_session(worker, id)?),
        9 => world.renew(worker, id)?,
        10 => world.rest(worker, id)?,
        11 | 12 => drop(world.end(worker, id)?),
        _ => drop(worker.sweep(world.now())?),
    }
    Ok(())
}

/// One worker keeps a session in use, and lets time pass between its renewals. Others use it, leave it, and sweep.
fn keep_in_use() {
    let world = stage();
    let id = &ids(1)[0];
    let keeper = world.worker(1);
    assert_eq!(world.admit(&keeper, id), Ok(Opened::Created));
    let others = (2..5).map(|root| {
        let (world, worker) = (world.clone(), world.worker(root));
        thread::spawn(move || {
            for _ in 0..8 {
                assert!(matches!(world.use_session(&worker, id), Ok(Standing::Alive(_))));
                let ended = worker.sweep(world.now()).unwrap().map(|report| report.ended);
                assert_eq!(ended.unwrap_or_default(), []);
                world.rest(&worker, id).unwrap();
            }
        })
    });
    let others: Vec<_> = others.collect();
    for _ in 0..20 {
        world.advance(secs(thread_rng().gen_range(0..14)));
        world.renew(&keeper, id).unwrap();
    }
    for other in others {
        other.join().unwrap();
    }
}

/// Some workers recount one group again and again, delayed for long enough to lose their claim, while others open and
/// end sessions in it.
fn recount_amid_changes() {
    let world = stage();
    let ids = || ids(0).iter().filter(|id| id.key.bucket() < 2).take(3);
    for id in ids().take(2) {
        world.admit(&world.worker(1), id).unwrap();
    }
    let sweepers = (2..5).map(|root| {
        let (world, worker) = (world.clone(), world.worker(root));
        thread::spawn(move || {
            for _ in 0..3 {
                world.advance(secs([0, 2, 11][thread_rng().gen_range(0..3)]));
                world.suspect(&worker).unwrap();
                worker.sweep(world.now()).unwrap();
            }
        })
    });
    let changers = (5..7).map(|root| {
        let (world, worker) = (world.clone(), world.worker(root));
        thread::spawn(move || {
            for id in ids() {
                world.end(&worker, id).unwrap();
                world.open(&worker, id, Origin::Minted(None)).unwrap();
            }
        })
    });
    for thread in sweepers.chain(changers).collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    world.assert_counts_are_true();
}
