//! The load generator on a thread of its own: it is made for one.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use load::Target;
use load::modes::{Ending, Lifecycles, Load};

/// Clients that come and go, until this value is dropped.
pub struct LoadThread {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LoadThread {
    /// Begins: `workers` clients beside each other at `/mcp` of the gateway. Each opens a session, calls tools, waits
    /// for `idle` and ends it; one session of five is left behind.
    pub fn start(gateway: SocketAddr, workers: usize, idle: Duration) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            tokio::task::LocalSet::new().block_on(&runtime, rounds(gateway, workers, idle, stop));
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }
}

async fn rounds(gateway: SocketAddr, workers: usize, idle: Duration, stop: Arc<AtomicBool>) {
    let target = Rc::new(Target::new(gateway, "/mcp"));
    let mut round = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let lifecycles = Lifecycles {
            count: workers as u64,
            workers,
            ending: if round.is_multiple_of(5) {
                Ending::Abandon
            } else {
                Ending::Delete
            },
            calls: 3,
            idle,
        };
        let load = Load::on(&target);
        // What came of a round is no matter: the gateway's numbers are looked at.
        // Clients that are refused come again no sooner than the others.
        let round = async { tokio::join!(lifecycles.run(&load), tokio::time::sleep(idle)) };
        tokio::select! {
            _ = round => {}
            () = told(&stop) => {}
        }
    }
}

async fn told(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Drop for LoadThread {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
