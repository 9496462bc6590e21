//! A gateway under test, with the server behind it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::{Gateway, Setup};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::process::Process;
use crate::server::Server;
use crate::{Fallible, Target};

/// Envoy behind its load and before its server.
pub struct Bed {
    pub server: Rc<Server>,
    pub gateway: Arc<Gateway>,
    pub target: Rc<Target>,
    /// From the start of the process to LIVE.
    pub start_up: Duration,
}

/// Memory of Envoy, in bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Memory {
    /// What the kernel has given it.
    pub resident: u64,
    /// What its allocator has handed out.
    pub allocated: u64,
}

impl Memory {
    /// Mebibytes that the kernel has given it.
    pub fn resident_mib(self) -> f64 {
        self.resident as f64 / 1_048_576.0
    }

    /// Mebibytes that its allocator has handed out.
    pub fn allocated_mib(self) -> f64 {
        self.allocated as f64 / 1_048_576.0
    }
}

/// The configuration that ships, without the access log: a line per request costs the same for every variant, and
/// millions of lines fill a disk. Sweeps are as frequent as in what ships.
pub fn setup(upstream: SocketAddr) -> Setup {
    Setup::new(upstream)
        .top(json!({"sweep_interval": "1s"}))
        .connection_manager(json!({"access_log": null}))
}

impl Bed {
    /// A server, and a gateway in front of it that `change` has made of what ships.
    pub async fn start(change: impl FnOnce(Setup) -> Setup) -> Fallible<Self> {
        Self::before(Rc::new(Server::start(0, true)?), change).await
    }

    /// The same, in front of a server that is there already.
    pub async fn before(server: Rc<Server>, change: impl FnOnce(Setup) -> Setup) -> Fallible<Self> {
        let setup = change(setup(server.address()));
        let start = Instant::now();
        let gateway = setup
            .try_start()
            .await
            .map_err(|log| format!("Envoy does not start:\n{log}"))?;
        let start_up = start.elapsed();
        Ok(Self {
            target: Rc::new(Target::new(gateway.address(), "/mcp")),
            server,
            gateway: Arc::new(gateway),
            start_up,
        })
    }

    /// Envoy's process.
    pub fn process(&self) -> Process {
        Process::envoy(self.gateway.envoy().process_id())
    }

    /// A value from Envoy's admin interface, read on another thread so that the load goes on.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Gateway) -> T + Send + 'static,
    ) -> Fallible<T> {
        let gateway = Arc::clone(&self.gateway);
        Ok(tokio::task::spawn_blocking(move || question(&gateway)).await?)
    }

    /// Its memory now.
    pub async fn memory(&self) -> Fallible<Memory> {
        let text = self.ask(|gateway| gateway.envoy().admin("/memory")).await?;
        let memory: Value = serde_json::from_str(&text)?;
        let allocated = memory["allocated"].as_str().and_then(|bytes| bytes.parse().ok());
        Ok(Memory {
            resident: self.process().resident()?,
            allocated: allocated.ok_or("/memory says nothing of `allocated`")?,
        })
    }

    /// A stat of the filter's: `vm.active`.
    pub async fn stat(&self, name: &'static str) -> Fallible<u64> {
        self.ask(move |gateway| gateway.stat(name)).await
    }

    /// A stat of Envoy's.
    pub async fn envoy_stat(&self, name: &'static str) -> Fallible<u64> {
        self.ask(move |gateway| gateway.envoy_stat(name)).await
    }

    /// Waits until a stat of the filter has this value. Returns the seconds it took, `None` if the stat never got
    /// there.
    pub async fn wait_for(&self, name: &'static str, value: u64, at_most: Duration) -> Fallible<Option<f64>> {
        let start = Instant::now();
        while start.elapsed() < at_most {
            if self.stat(name).await? == value {
                return Ok(Some(start.elapsed().as_secs_f64()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(None)
    }
}
