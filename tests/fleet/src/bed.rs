//! Gateways of one fleet, in front of one server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gateway::{Client, Gateway, Http, Setup, setup};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::Fallible;
use crate::etcd::{Entry, Etcd};
use crate::server::Server;

/// The fleet's name in every scenario.
pub const FLEET: &str = "test";

/// The lease where nothing else is said, in seconds: as short as it may be, so that scenarios are.
pub const LEASE_S: u64 = 3;

/// How often something is asked again that should change soon.
const AGAIN: Duration = Duration::from_millis(50);

/// Gateways, their etcd and their server.
pub struct Bed {
    pub gateways: Vec<Gateway>,
    /// A client of each gateway, over HTTP/1.1, so that its requests are spread over the workers.
    pub clients: Vec<Client>,
    pub etcd: Etcd,
    pub server: Server,
}

impl Bed {
    /// Starts this many gateways with these fields of `fleet`, and an etcd of one member.
    pub async fn start(gateways: usize, fleet: Value) -> Fallible<Self> {
        Self::start_as(gateways, 1, fleet, |setup| setup).await
    }

    /// As [`Bed::start`], with as many members of etcd, and what `change` changes of each gateway.
    pub async fn start_as(
        gateways: usize,
        members: usize,
        fleet: Value,
        change: impl Fn(Setup) -> Setup,
    ) -> Fallible<Self> {
        let etcd = Etcd::start(members, None).await?;
        let mut bed = Self {
            gateways: Vec::new(),
            clients: Vec::new(),
            server: Server::start().await,
            etcd,
        };
        for _ in 0..gateways {
            let setup = member(&bed.server, &bed.etcd.addresses(), fleet.clone());
            bed.add(change(setup)).await?;
        }
        bed.joined(gateways).await?;
        Ok(bed)
    }

    /// One more gateway. It need not have joined yet.
    pub async fn add(&mut self, setup: Setup) -> Fallible<()> {
        let gateway = setup.try_start().await?;
        self.clients.push(gateway.client(Http::One));
        self.gateways.push(gateway);
        Ok(())
    }

    /// Waits until as many gateways have written their shares.
    pub async fn joined(&self, gateways: usize) -> Fallible<()> {
        let begun = Instant::now();
        loop {
            let entries = self.etcd.entries(FLEET).await?;
            if entries.len() == gateways {
                return Ok(());
            }
            if begun.elapsed() > gateway::poll::SOON {
                return Err(format!(
                    "{} of {gateways} gateways have joined: {entries:?}",
                    entries.len()
                ));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The sum of a stat over all gateways.
    pub fn sum(&self, stat: &str) -> u64 {
        self.gateways.iter().map(|gateway| gateway.stat(stat)).sum()
    }

    /// A stat of each gateway.
    pub fn each(&self, stat: &str) -> Vec<u64> {
        self.gateways.iter().map(|gateway| gateway.stat(stat)).collect()
    }

    /// What etcd has, and that soon each gateway says the same: its share, how many gateways there are, and the cap.
    /// `Err` with both if they go on to differ.
    pub async fn agrees_with_etcd(&self, within: Duration) -> Fallible<Vec<Entry>> {
        let end = Instant::now() + within;
        loop {
            let entries = self.etcd.entries(FLEET).await?;
            let mut written: Vec<u64> = entries.iter().map(|entry| entry.share).collect();
            let mut told = self.each("fleet.share");
            written.sort_unstable();
            told.sort_unstable();
            let count = entries.len() as u64;
            let cap = entries.iter().map(|entry| entry.cap).min().unwrap_or(0);
            let is_same = |stat: &str, value: u64| self.each(stat).iter().all(|told| *told == value);
            if written == told && is_same("fleet.gateways", count) && is_same("fleet.limit", cap) {
                return Ok(entries);
            }
            if Instant::now() > end {
                let (gateways, limits) = (self.each("fleet.gateways"), self.each("fleet.limit"));
                return Err(format!(
                    "etcd has {entries:?}, the gateways say share {told:?}, gateways {gateways:?}, limit {limits:?}"
                ));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Waits until no share moves any more: each gateway has places to spare, as far as the cap has some for all, and says
    /// what etcd says.
    pub async fn at_rest(&self) -> Fallible<()> {
        let has_spare = || {
            let (shares, used) = (self.each("fleet.share"), self.each("vm.active"));
            let slack = self.gateways[0].stat("fleet.limit") / (8 * (shares.len() as u64 + 1));
            shares
                .iter()
                .zip(used)
                .all(|(share, used)| *share >= used + slack / 2)
        };
        if !until(gateway::poll::SOON, has_spare).await {
            let (shares, used) = (self.each("fleet.share"), self.each("vm.active"));
            return Err(format!("nothing to spare: shares {shares:?}, used {used:?}"));
        }
        self.agrees_with_etcd(gateway::poll::SOON).await.map(drop)
    }

    /// Waits until the stat has this value at every gateway. Returns how long that took.
    pub async fn all_say(&self, stat: &str, value: u64, within: Duration) -> Fallible<Duration> {
        let begun = Instant::now();
        while !self.each(stat).iter().all(|told| *told == value) {
            if begun.elapsed() > within {
                return Err(format!(
                    "{stat} is {:?}, not {value}, after {within:?}",
                    self.each(stat)
                ));
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(begun.elapsed())
    }

    /// Sends a signal to the gateway's Envoy.
    pub fn signal(&self, gateway: usize, signal: Signal) -> Fallible<()> {
        let process = self.gateways[gateway].envoy().process_id();
        let process = Pid::from_raw(process.cast_signed()).ok_or("Envoy has no process")?;
        kill_process(process, signal).map_err(|error| format!("no signal for Envoy: {error}"))
    }

    /// Stops the gateway's Envoy, and waits until all its threads stand still.
    pub async fn stop(&self, gateway: usize) -> Fallible<()> {
        self.signal(gateway, Signal::STOP)?;
        let process = self.gateways[gateway].envoy().process_id();
        let stands = until(Duration::from_secs(5), || {
            threads(process).all(|state| state == "T")
        })
        .await;
        stands
            .then_some(())
            .ok_or_else(|| "Envoy does not stand still".to_owned())
    }

    /// How many lines of the gateway's log have this event.
    pub fn logged(&self, gateway: usize, event: &str) -> usize {
        let log = self.gateways[gateway].envoy().log();
        let event = format!("event={event}");
        log.lines().filter(|line| line.contains(&event)).count()
    }
}

/// The state of each thread of a process (`proc_pid_stat(5)`).
fn threads(process: u32) -> impl Iterator<Item = String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    threads.into_iter().flatten().flatten().filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        // Behind the name, which may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        Some(rest.split(' ').next()?.to_owned())
    })
}

/// A gateway of the fleet: as it ships, with two workers and these fields of `fleet`.
pub fn member(server: &Server, etcd: &[SocketAddr], fields: Value) -> Setup {
    let mut fleet = json!({
        "cluster": "etcd", "name": FLEET, "max_sessions": 300, "lease": format!("{LEASE_S}s"),
    });
    setup::merge(&mut fleet, fields);
    let cluster = cluster_of_etcd(etcd);
    Setup::new(server.address())
        .workers(2)
        .top(json!({"fleet": fleet}))
        .patch(move |config| {
            let clusters = config["static_resources"]["clusters"].as_array_mut();
            clusters.expect("clusters").push(cluster.clone());
        })
}

/// The cluster of etcd as `envoy/fleet` has it, with these members.
fn cluster_of_etcd(members: &[SocketAddr]) -> Value {
    let mut file = setup::yaml("fleet/one.yaml");
    let clusters = file["static_resources"]["clusters"]
        .as_array_mut()
        .expect("clusters");
    let cluster = clusters.iter_mut().find(|cluster| cluster["name"] == "etcd");
    let mut cluster = cluster.expect("the cluster of etcd").take();
    let host = |address: &SocketAddr| {
        let socket = json!({"address": address.ip().to_string(), "port_value": address.port()});
        json!({"endpoint": {"address": {"socket_address": socket}}})
    };
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = members.iter().map(host).collect();
    cluster
}

/// Whether something holds soon.
pub async fn until(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    gateway::poll::until(within, || holds().then_some(()))
        .await
        .is_some()
}
