//! Gateways with an etcd between them. Time passes in steps of five milliseconds; a worker ticks as its filter asks.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::etcd::{Etcd, Share};
use crate::envoy::{Envoy, Stream, Worker};
use crate::requests::{INITIALIZE, VIA_UPSTREAM, answer, head};

const STEP: u64 = 5;

/// How etcd answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// What comes back in place of an answer: a status, and a body. Status 0 is none.
    Ill(u16, &'static str),
    /// The first bytes of the answer, this many in a hundred.
    Half(usize),
    /// Nothing ever comes back.
    Silent,
}

pub(super) struct World {
    etcd: RefCell<Etcd>,
    now: Cell<u64>,
    pub(super) mood: Cell<Mood>,
    /// Requests that have come to etcd.
    pub(super) calls: Cell<usize>,
}

pub(super) struct Gateway {
    pub(super) envoy: Envoy,
    pub(super) workers: Vec<Running>,
}

/// A worker, and the milliseconds until its next tick.
pub(super) struct Running {
    pub(super) worker: Worker,
    left: Cell<u64>,
    period: Cell<u64>,
}

/// A configuration with a fleet, and these further fields of the fleet, of the endpoint and at the top.
pub(super) fn with_fleet(cap: u32, fleet: &str, endpoint: &str, top: &str) -> String {
    format!(
        r#"{{"filter_state": []{top}, "fleet": {{"cluster": "etcd", "name": "f", "max_sessions": {cap}{fleet}}},
            "endpoints": [{{"name": "mcp", "path": "/mcp", "admission": "body"{endpoint}}}]}}"#
    )
}

/// The same with nothing further.
pub(super) fn with_cap(cap: u32) -> String {
    with_fleet(cap, "", "", "")
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            etcd: RefCell::new(Etcd::new(0, 0)),
            now: Cell::new(1_000_000),
            mood: Cell::new(Mood::Well),
            calls: Cell::new(0),
        }
    }

    /// A gateway with so many workers of this configuration, which has been up for a while.
    pub(super) fn gateway(&self, configuration: &str, workers: usize) -> Gateway {
        let gateway = Gateway::new(configuration, workers);
        self.run(&[&gateway], 1_500);
        gateway
    }

    /// Opens a session, which may wait for its place.
    pub(super) fn open(&self, gateway: &Gateway, worker: usize, id: &str) {
        let stream = newcomer(gateway.worker(worker));
        if stream.is_held() {
            self.run(&[gateway], 250);
        }
        stream.answer(answer(200, &[("mcp-session-id", id)]), VIA_UPSTREAM, true);
        stream.close();
    }

    pub(super) fn shares(&self) -> Vec<Share> {
        let mut etcd = self.etcd.borrow_mut();
        etcd.pass(self.now.get());
        etcd.shares()
    }

    /// The places of all gateways together.
    pub(super) fn places(&self) -> u64 {
        self.shares().iter().map(|share| share.places).sum()
    }

    /// Lets time pass.
    pub(super) fn run(&self, gateways: &[&Gateway], millis: u64) {
        let end = self.now.get() + millis;
        while self.now.get() < end {
            self.now.set(self.now.get() + STEP);
            for gateway in gateways {
                gateway.envoy.wait(Duration::from_millis(STEP));
                gateway.workers.iter().for_each(|running| self.step(running));
            }
        }
    }

    fn step(&self, running: &Running) {
        running.follow();
        running.left.set(running.left.get().saturating_sub(STEP));
        if running.left.get() == 0 {
            running.worker.tick();
            running.left.set(running.worker.vm(|vm| u64::from(vm.tick_ms)));
        }
        self.serve(&running.worker);
    }

    /// Answers the requests to etcd that a worker has sent.
    pub(super) fn serve(&self, worker: &Worker) {
        loop {
            let callouts = worker.callouts();
            if callouts.is_empty() {
                return;
            }
            for callout in callouts {
                self.calls.set(self.calls.get() + 1);
                match self.mood.get() {
                    Mood::Silent => {}
                    Mood::Ill(status, body) => worker.answer_callout_with(&callout, status, body.as_bytes()),
                    mood @ (Mood::Well | Mood::Half(_)) => {
                        let path = callout.header(":path").unwrap();
                        let body = self.etcd.borrow_mut().serve(path, &callout.body, self.now.get());
                        let len = match mood {
                            Mood::Half(percent) => body.len() * percent / 100,
                            Mood::Well | Mood::Ill(..) | Mood::Silent => body.len(),
                        };
                        worker.answer_callout_with(&callout, 200, &body[..len]);
                    }
                }
            }
        }
    }
}

impl Running {
    fn new(worker: Worker) -> Self {
        Self {
            worker,
            left: Cell::new(0),
            period: Cell::new(0),
        }
    }

    /// Follows the timer, if the filter has set it anew.
    fn follow(&self) {
        let period = self.worker.vm(|vm| u64::from(vm.tick_ms));
        if self.period.replace(period) != period {
            self.left.set(period);
        }
    }
}

impl Gateway {
    /// A gateway that has just started.
    pub(super) fn new(configuration: &str, workers: usize) -> Self {
        let envoy = Envoy::new();
        let workers = (0..workers).map(|_| Running::new(envoy.worker(configuration)));
        Self {
            workers: workers.collect(),
            envoy,
        }
    }

    pub(super) fn worker(&self, index: usize) -> &Worker {
        &self.workers[index].worker
    }

    /// A number of the fleet, as this gateway shows it.
    pub(super) fn fleet(&self, name: &str) -> u64 {
        self.envoy.stat(&format!("fleet.{name}"))
    }

    pub(super) fn active(&self) -> u64 {
        self.envoy.gauges()[0]
    }

    /// The lines of all workers' logs with this event.
    pub(super) fn logged(&self, event: &str) -> usize {
        let event = format!("event={event} ");
        let lines = |running: &Running| {
            let log = running.worker.log();
            log.iter().filter(|(_, line)| line.contains(&event)).count()
        };
        self.workers.iter().map(lines).sum()
    }

    /// Whether the worker with this index speaks.
    pub(super) fn speaks(&self, index: usize) -> bool {
        self.worker(index).vm(|vm| vm.tick_ms) <= 100
    }
}

/// A POST of an `initialize`, whose message has come to its end.
pub(super) fn newcomer(worker: &Worker) -> Stream<'_> {
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    stream.body(INITIALIZE, true);
    stream
}

/// Whether the request has reached the server.
pub(super) fn is_in(stream: &Stream<'_>) -> bool {
    !stream.is_held() && stream.reply().is_none()
}

/// Answers those newcomers that have reached the server, and ends all streams. Returns how many are in.
pub(super) fn finish(streams: Vec<Stream<'_>>, name: &str) -> usize {
    let mut count = 0;
    for stream in streams {
        if is_in(&stream) {
            count += 1;
            let id = format!("{name}-{count}");
            stream.answer(answer(200, &[("mcp-session-id", &id)]), VIA_UPSTREAM, true);
        }
        stream.close();
    }
    count
}
