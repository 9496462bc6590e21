//! More and more sessions at the same time, each with an open stream and calls now and then.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Load;
use crate::figures::Latency;
use crate::pool::Pool;
use crate::progress::Progress;
use crate::requests::Kind;
use crate::wire::Connection;

/// A ramp to `sessions` sessions that are all open at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Ramp {
    pub sessions: u64,
    /// Sessions opened a second.
    pub pace: f64,
    /// Between two tool calls of a session.
    pub call_every: Duration,
    /// How long all of them stay when the last has come.
    pub hold: Duration,
    /// Connections the POSTs share; each stream has its own.
    pub connections: usize,
    /// How many times on the way latency is looked at.
    pub steps: u64,
}

/// The latency of tool calls while there were about this many sessions.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Step {
    pub sessions: u64,
    pub latency: Latency,
}

/// What the sessions of a ramp share.
struct Shared {
    load: Load,
    pool: Pool,
    /// Sessions that have their stream.
    open: Cell<u64>,
    /// Turns true when all may leave.
    over: watch::Receiver<bool>,
    call_every: Duration,
}

impl Ramp {
    /// Climbs, holds, and has every session leave by DELETE. Returns the steps; the last is the hold.
    pub async fn run(self, load: &Load) -> Vec<Step> {
        let _progress = Progress::show("sessions with a stream", self.sessions, &load.recorder);
        let (end, over) = watch::channel(false);
        let shared = Rc::new(Shared {
            load: load.clone(),
            pool: Pool::new(self.connections, &load.target, &load.recorder),
            open: Cell::new(0),
            over,
            call_every: self.call_every,
        });
        let mut sessions = tokio::task::JoinSet::new();
        let mut steps = self.climb(&shared, &mut sessions).await;
        shared.load.recorder.take_recent();
        tokio::time::sleep(self.hold).await;
        steps.push(shared.step());
        // No one is left to hear it if every session has failed.
        let _ = end.send(true);
        while sessions.join_next().await.is_some() {}
        steps
    }

    async fn climb(self, shared: &Rc<Shared>, sessions: &mut tokio::task::JoinSet<()>) -> Vec<Step> {
        let start = Instant::now();
        let mut steps = Vec::new();
        let step = (self.sessions / self.steps.max(1)).max(1);
        for number in 1..=self.sessions {
            let due = start + Duration::from_secs_f64(number as f64 / self.pace);
            tokio::time::sleep_until(due.into()).await;
            sessions.spawn_local(live(Rc::clone(shared), number));
            if number % step == 0 {
                steps.push(shared.step());
            }
        }
        steps
    }
}

impl Shared {
    fn step(&self) -> Step {
        Step {
            sessions: self.open.get(),
            latency: self.load.recorder.take_recent(),
        }
    }
}

/// One session, from `initialize` to its DELETE.
async fn live(shared: Rc<Shared>, number: u64) {
    let Some(id) = shared.pool.worker().await.initialize().await else {
        return shared.load.recorder.fail("no session");
    };
    let id = id.as_bytes();
    for kind in [Kind::Initialized, Kind::ToolsList] {
        shared.pool.worker().await.send(kind, id).await;
    }
    // The loan ends with the statement: the stream has a connection of its own.
    let stream = shared.pool.worker().await.open_stream(id).await;
    let Some(mut stream) = stream else { return };
    shared.open.set(shared.open.get() + 1);
    shared.load.recorder.one_more();
    // Spread, so that sessions opened together do not call together.
    let offset = shared.call_every.mul_f64((number % 97) as f64 / 97.0);
    let left_early = call_until_over(&shared, id, &mut stream, offset).await;
    if left_early {
        shared.load.recorder.fail("stream ended early");
    }
    shared.open.set(shared.open.get() - 1);
    drop(stream);
    shared.pool.worker().await.send(Kind::Delete, id).await;
}

/// Calls the tool now and then until the ramp is over; true if the stream ended before.
async fn call_until_over(shared: &Shared, id: &[u8], stream: &mut Connection, offset: Duration) -> bool {
    let mut over = shared.over.clone();
    let start = tokio::time::Instant::now() + offset;
    let mut ticks = tokio::time::interval_at(start, shared.call_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let closed = stream.until_closed();
    tokio::pin!(closed);
    loop {
        tokio::select! {
            _ = over.wait_for(|over| *over) => return false,
            () = &mut closed => return true,
            _ = ticks.tick() => {}
        }
        let due = Instant::now();
        let mut worker = shared.pool.worker().await;
        worker.send_since(due, Kind::ToolsCall, id).await;
    }
}
