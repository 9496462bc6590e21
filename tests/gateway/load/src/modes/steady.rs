//! A rate that is held whatever the answers do.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Load, Places};
use crate::pool::Pool;
use crate::progress::Progress;
use crate::requests::Kind;
use crate::session_id::SessionIds;

/// Requests at a steady rate, in sessions that are there already.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    /// Requests a second.
    pub rate: f64,
    pub duration: Duration,
    /// The most connections used at once. Who finds all busy waits, and the wait counts.
    pub connections: usize,
}

impl Steady {
    /// Holds the rate to the end, and waits for the last answers. Each latency counts from the moment the request
    /// was due to be sent, so that a slow answer is seen in those behind it too.
    ///
    /// # Panics
    /// If there are no sessions.
    pub async fn run(self, load: &Load, ids: &Rc<SessionIds>) {
        let total = (self.rate * self.duration.as_secs_f64()) as u64;
        let _progress = Progress::show("steady rate", total, &load.recorder);
        let pool = Rc::new(Pool::new(self.connections, &load.target, &load.recorder));
        let mut places = Places(1);
        let mut running = tokio::task::JoinSet::new();
        let start = Instant::now();
        for number in 0..total {
            let due = start + Duration::from_secs_f64(number as f64 / self.rate);
            // A timer rounds up to the millisecond: what is due within the next one goes now.
            if due > Instant::now() + Duration::from_millis(1) {
                tokio::time::sleep_until(due.into()).await;
            }
            let sent = send(
                Rc::clone(&pool),
                Rc::clone(ids),
                places.next(),
                due.max(Instant::now()),
            );
            running.spawn_local(sent);
            while running.try_join_next().is_some() {
                load.recorder.one_more();
            }
        }
        while running.join_next().await.is_some() {
            load.recorder.one_more();
        }
    }
}

async fn send(pool: Rc<Pool>, ids: Rc<SessionIds>, place: usize, due: Instant) {
    let mut worker = pool.worker().await;
    // `due` may lie up to a millisecond ahead; then the request was early, and its latency is its own.
    let start = due.min(Instant::now());
    worker.send_since(start, Kind::ToolsCall, ids.get(place)).await;
}
