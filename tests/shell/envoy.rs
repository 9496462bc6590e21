//! Envoy, as far as the filter can tell.

mod clock;
mod hostcalls;
mod stats;
mod stream;
mod uncalled;
mod vm;
mod worker;

pub(crate) use stream::Stream;
pub(crate) use vm::{Fault, Headers};
pub(crate) use worker::Worker;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_session_filter::session::testing::SharedData;
use proxy_wasm::types::Action;
use stats::Stats;

/// A process: the state that all its workers share.
#[derive(Clone)]
pub(crate) struct Envoy(Arc<Process>);

pub(crate) struct Process {
    pub(crate) shared_data: Mutex<SharedData<String>>,
    pub(crate) stats: Mutex<Stats>,
    pub(crate) callouts: AtomicU32,
    /// Nanoseconds since the monotonic clock's start.
    now: AtomicU64,
}

impl Envoy {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Process {
            shared_data: Mutex::default(),
            stats: Mutex::default(),
            callouts: AtomicU32::new(1),
            now: AtomicU64::new(1_000_000_000_000),
        }))
    }

    /// A worker with the filter loaded with this configuration.
    pub(crate) fn worker(&self, configuration: &str) -> Worker {
        let worker = Worker::start(Arc::clone(&self.0));
        assert!(worker.configure(configuration), "{:?}", worker.log());
        worker
    }

    /// A worker without a configuration yet.
    pub(crate) fn bare_worker(&self) -> Worker {
        Worker::start(Arc::clone(&self.0))
    }

    pub(crate) fn wait(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        self.0.now.fetch_add(nanos, Ordering::SeqCst);
    }

    /// The value of a stat by its name without `mcp_sessions.`; zero if it is not defined.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.0
            .stats
            .lock()
            .unwrap()
            .value(&format!("mcp_sessions.{name}"))
    }

    /// Active and reserved sessions and open streams of the endpoint `mcp`.
    pub(crate) fn gauges(&self) -> [u64; 3] {
        ["active", "reserved", "streams"].map(|gauge| self.stat(&format!("endpoint.mcp.{gauge}")))
    }

    /// Changes the store without the filter's knowledge.
    pub(crate) fn shared_data<T>(&self, change: impl FnOnce(&mut SharedData<String>) -> T) -> T {
        change(&mut self.0.shared_data.lock().unwrap())
    }
}

/// Whether a callback let its stream go on.
pub(crate) fn goes_on(action: Action) -> bool {
    action == Action::Continue
}
