//! Several workers and one table.

use std::time::Duration;

use crate::envoy::{Envoy, Worker, goes_on};
use crate::requests::{
    HELD, INITIALIZE, VIA_UPSTREAM, answer, delete_session, head, initialize, of_session, open_session,
    refusal,
};

#[test]
fn what_one_worker_opens_every_worker_knows() {
    let envoy = Envoy::new();
    let [a, b] = [envoy.worker(HELD), envoy.worker(HELD)];
    open_session(&a, "s");
    assert_eq!(refusal(&b, "s"), None);
    delete_session(&b, "s");
    assert_eq!(refusal(&a, "s"), Some(404));
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn the_cap_holds_over_all_workers() {
    let envoy = Envoy::new();
    let workers = [envoy.worker(HELD), envoy.worker(HELD), envoy.worker(HELD)];
    let waiting: Vec<_> = (0..4).map(|turn| initialize(&workers[turn % 3])).collect();
    for worker in &workers {
        let refused = worker.stream();
        refused.request(head("POST", &[]), false);
        assert!(!goes_on(refused.body(INITIALIZE, true)));
        refused.close();
    }
    waiting.into_iter().for_each(|stream| drop(stream.close()));
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn a_session_that_one_worker_has_in_use_outlives_the_sweeps_of_another() {
    let envoy = Envoy::new();
    let [a, b] = [envoy.worker(HELD), envoy.worker(HELD)];
    open_session(&a, "s");
    let listening = of_session(&a, "GET", "s");
    listening.answer(answer(200, &[]), VIA_UPSTREAM, false);
    for _ in 0..10 {
        envoy.wait(Duration::from_secs(300));
        a.tick();
        b.tick();
    }
    assert_eq!(envoy.gauges(), [1, 0, 1]);
    listening.close();
    for _ in 0..20 {
        envoy.wait(Duration::from_secs(300));
        b.tick();
    }
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

/// A trap: that VM gets no more callbacks.
#[test]
fn what_a_dead_worker_held_comes_back() {
    let envoy = Envoy::new();
    let [dead, alive] = [envoy.worker(HELD), envoy.worker(HELD)];
    open_session(&dead, "s");
    let stream = of_session(&dead, "GET", "s");
    stream.answer(answer(200, &[]), VIA_UPSTREAM, false);
    let _never_answered = initialize(&dead);
    assert_eq!(envoy.gauges(), [1, 1, 1]);
    envoy.wait(Duration::from_secs(90));
    alive.tick();
    assert_eq!(envoy.gauges(), [1, 0, 0]);
    for _ in 0..16 {
        envoy.wait(Duration::from_secs(300));
        alive.tick();
    }
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

/// The hash key, the caps and the sessions are gone.
#[test]
fn a_table_that_the_host_has_lost_is_back_at_the_next_tick() {
    let envoy = Envoy::new();
    let worker = envoy.worker(HELD);
    let keys = envoy.shared_data(|store| store.len());
    open_session(&worker, "s");
    let waiting = initialize(&worker);
    let listening = of_session(&worker, "GET", "s");
    envoy.shared_data(std::mem::take);
    worker.tick();
    assert_eq!(envoy.shared_data(|store| store.len()), keys);
    assert_eq!((envoy.gauges(), envoy.stat("endpoint.mcp.limit")), ([0, 0, 0], 4));
    waiting.answer(answer(200, &[("mcp-session-id", "t")]), VIA_UPSTREAM, false);
    waiting.close();
    listening.answer(answer(200, &[]), VIA_UPSTREAM, false);
    listening.close();
    assert_eq!(envoy.gauges(), [1, 0, 0]);
}

#[test]
fn a_worker_joins_the_table_that_others_have_begun_anew() {
    let envoy = Envoy::new();
    let old = envoy.worker(HELD);
    open_session(&old, "s");
    let listening = of_session(&old, "GET", "s");
    envoy.shared_data(std::mem::take);
    let new = envoy.worker(HELD);
    old.tick();
    listening.close();
    open_session(&new, "t");
    delete_session(&old, "t");
    assert_eq!(refusal(&new, "t"), Some(404));
    assert_eq!(envoy.gauges(), [0, 0, 0]);
}

#[test]
fn workers_that_run_at_once_count_every_session_once() {
    const ROUNDS: usize = 40;
    let envoy = Envoy::new();
    let workers: Vec<Worker> = (0..3).map(|_| envoy.worker("")).collect();
    std::thread::scope(|scope| {
        for (number, worker) in workers.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let id = format!("{number}-{round}");
                    let stream = worker.stream();
                    stream.request(head("POST", &[]), true);
                    stream.answer(answer(200, &[("mcp-session-id", &id)]), VIA_UPSTREAM, true);
                    stream.close();
                    if round % 2 == 0 {
                        delete_session(worker, &id);
                    }
                    worker.tick();
                }
            });
        }
    });
    let total = u64::try_from(3 * ROUNDS).unwrap();
    assert_eq!(envoy.stat("endpoint.mcp.created"), total);
    assert_eq!(envoy.gauges(), [total / 2, 0, 0]);
    assert_eq!(envoy.stat("repaired"), 0);
}
