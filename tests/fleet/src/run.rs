//! `make run-fleet`: two gateways as `envoy/fleet` has them, an etcd and an MCP server, and a play that shows how places move
//! between the gateways. Then all of it stays up.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use gateway::envoy::Envoy;
use gateway::setup::{set_module, wasm, yaml};
use gateway::{Answer, Client, Http, McpServer, message, poll};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::Fallible;
use crate::etcd::Etcd;

/// The files, and in which one each gateway is.
const FILES: [&str; 2] = ["fleet/one.yaml", "fleet/two.yaml"];

/// etcd's own port for clients.
const ETCD: ([u8; 4], u16) = ([127, 0, 0, 1], 2379);

/// The cap over both gateways: small enough to fill it by hand.
const CAP: u64 = 6;

/// Two gateways of one fleet. They end with this value.
pub struct Pair {
    gateways: [Member; 2],
    server: McpServer,
    etcd: Etcd,
}

struct Member {
    envoy: Envoy,
    address: SocketAddr,
    client: Client,
}

/// Starts all, plays, and stays until Ctrl-C.
pub async fn run() -> Fallible<()> {
    println!("Starting an etcd, an MCP server and two gateways ...");
    let pair = Pair::start(true).await?;
    pair.tell();
    pair.play().await?;
    pair.leave_up().await
}

impl Pair {
    /// Starts them from the files that ship, with a small cap: on the ports of the files if they are free, for people, or
    /// on ports that the system chooses.
    pub async fn start(as_written: bool) -> Fallible<Self> {
        let fixed = as_written.then(|| SocketAddr::from(ETCD));
        let etcd = Etcd::start(1, fixed.filter(is_free)).await?;
        let server = McpServer::start(0).await.map_err(|error| error.to_string())?;
        let mut gateways = Vec::new();
        for file in FILES {
            let config = configuration(file, server.address(), etcd.addresses()[0], as_written);
            gateways.push(Member::start(config).await?);
        }
        let gateways = gateways.try_into().map_err(|_| "two gateways are started")?;
        Ok(Self {
            gateways,
            server,
            etcd,
        })
    }

    fn tell(&self) {
        println!("\nMCP server  http://{}/mcp", self.server.address());
        println!("etcd        http://{}", self.etcd.addresses()[0]);
        for (member, name) in self.gateways.iter().zip(["one", "two"]) {
            println!("Gateway {name} http://{}/mcp", member.address);
            println!("  sessions  {}", member.status_view());
            println!(
                "  numbers   http://{}/stats/prometheus",
                member.envoy.admin_address()
            );
        }
        println!("\nBoth as in envoy/fleet, but for a cap of {CAP} sessions over both.\n");
    }

    /// Fills the fleet through one gateway and the other, is refused, and moves a place.
    pub async fn play(&self) -> Fallible<()> {
        heading();
        self.line("before", "", [0, 0]).await?;
        let mut of_one = Vec::new();
        for used in 1..=4 {
            of_one.push(self.open(0, [used, 0]).await?);
        }
        let mut of_two = Vec::new();
        for used in 1..=2 {
            of_two.push(self.open(1, [4, used]).await?);
        }
        self.refused(1, [4, 2]).await?;
        let ended = of_one.pop().ok_or("gateway one has sessions")?;
        self.close(0, &ended, [3, 2]).await?;
        of_two.push(self.open(1, [3, 3]).await?);
        for (gateway, sessions) in [of_one, of_two].iter().enumerate() {
            for (number, id) in sessions.iter().enumerate() {
                let mut left = [3, 3];
                left[gateway] -= number as u64 + 1;
                left[..gateway].fill(0);
                self.close(gateway, id, left).await?;
            }
        }
        self.line("after", "", [0, 0]).await
    }

    async fn open(&self, gateway: usize, used: [u64; 2]) -> Fallible<String> {
        let begun = Instant::now();
        let answer = self.gateways[gateway].client.initialize().await;
        let id = answer.session().unwrap_or_default().to_owned();
        let said = format!("session {:.8}…, after {} ms", id, begun.elapsed().as_millis());
        self.step(gateway, "initialize", &answer, 200, &said, used)
            .await?;
        Ok(id)
    }

    async fn refused(&self, gateway: usize, used: [u64; 2]) -> Fallible<()> {
        let begun = Instant::now();
        let answer = self.gateways[gateway].client.initialize().await;
        let error = answer.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let said = format!("{error}, after {} ms", begun.elapsed().as_millis());
        self.step(gateway, "initialize", &answer, 429, &said, used).await
    }

    async fn close(&self, gateway: usize, id: &str, used: [u64; 2]) -> Fallible<()> {
        let answer = self.gateways[gateway].client.delete(id).await;
        let said = format!("session {id:.8}… has ended");
        self.step(gateway, "DELETE", &answer, 202, &said, used).await
    }

    async fn step(
        &self,
        gateway: usize,
        sent: &str,
        answer: &Answer,
        status: u16,
        said: &str,
        used: [u64; 2],
    ) -> Fallible<()> {
        let sent = format!("{} to {}", sent, ["one", "two"][gateway]);
        if answer.status != status {
            return Err(format!(
                "{sent}: got {}, expected {status}: {}",
                answer.status,
                answer.text()
            ));
        }
        self.line(&sent, &format!("{status} {said}"), used).await
    }

    /// Prints a line with what each gateway says, once it is right: the share of each is what it uses, since so small a cap
    /// leaves nothing to spare.
    async fn line(&self, sent: &str, said: &str, used: [u64; 2]) -> Fallible<()> {
        let says = |member: &Member| (member.stat("used"), member.stat("share"));
        let right = || (0..2).all(|at| says(&self.gateways[at]) == (used[at], used[at]));
        let came = poll::until(poll::SOON, || right().then_some(())).await;
        let [one, two] = &self.gateways;
        let shown = |member: &Member| format!("{} of {}", member.stat("used"), member.stat("share"));
        println!(
            "{sent:<18} {said:<46} {:>8} {:>8} {:>4} {:>12}",
            shown(one),
            shown(two),
            one.stat("limit"),
            self.server.sessions().await
        );
        came.ok_or_else(|| format!("the gateways should use {used:?}, and have as much for shares"))
    }

    async fn leave_up(&self) -> Fallible<()> {
        let [one, two] = &self.gateways;
        println!(
            r#"
All of it stays up. Open more sessions than {CAP}, at either gateway, and look at {}:

  curl -i http://{}/mcp -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
    -d '{}'
  curl -i http://{}/mcp -H 'mcp-session-id: <the id>' -X DELETE
  curl -s http://{}/stats/prometheus | grep ^mcp_sessions_fleet

Ctrl-C ends it."#,
            one.status_view(),
            two.address,
            message::initialize(1),
            two.address,
            two.envoy.admin_address(),
        );
        let mut told_to_end = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|error| error.to_string()),
            _ = told_to_end.recv() => Ok(()),
            log = self.gone() => Err(format!("an Envoy has ended:\n{log}")),
        }
    }

    /// Returns the log of an Envoy that answers no more.
    async fn gone(&self) -> String {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let dead = self
                .gateways
                .iter()
                .find(|member| member.envoy.try_admin("GET", "/ready").is_err());
            if let Some(member) = dead {
                // Ctrl-C reaches Envoy too, and this process must see it first.
                tokio::time::sleep(Duration::from_secs(1)).await;
                return member.envoy.log();
            }
        }
    }
}

fn heading() {
    println!(
        "{:<18} {:<46} {:>8} {:>8} {:>4} {:>12}",
        "sent", "answer", "one", "two", "cap", "server holds"
    );
}

impl Member {
    async fn start(config: Value) -> Fallible<Self> {
        let started = tokio::task::spawn_blocking(move || Envoy::start(&config, 2, 1)).await;
        let envoy = started
            .map_err(|error| error.to_string())?
            .map_err(|log| format!("Envoy does not start:\n{log}"))?;
        let address = envoy.listener("mcp").ok_or("no listener `mcp`")?;
        let client = Client::new(address, Http::One);
        Ok(Self {
            envoy,
            address,
            client,
        })
    }

    fn status_view(&self) -> String {
        let address = self.envoy.listener("status");
        address.map_or_else(String::new, |address| format!("http://{address}/mcp-sessions"))
    }

    /// A stat of the fleet's.
    fn stat(&self, name: &str) -> u64 {
        let name = format!("wasmcustom.mcp_sessions.fleet.{name}");
        let all = self
            .envoy
            .admin("/stats?format=json&filter=wasmcustom.mcp_sessions.fleet");
        gateway::stats::read(&all).get(&name).copied().unwrap_or(0)
    }
}

/// A file that ships, with this server, this etcd and a small cap.
fn configuration(file: &str, server: SocketAddr, etcd: SocketAddr, as_written: bool) -> Value {
    let mut config = yaml(file);
    set_module(wasm(&mut config), &gateway::setup::module());
    wasm(&mut config)["configuration"]["value"]["fleet"]["max_sessions"] = json!(CAP);
    let listeners = config["static_resources"]["listeners"]
        .as_array_mut()
        .expect("listeners");
    for listener in listeners {
        set_module(last_wasm(listener), &gateway::setup::module());
        listen(&mut listener["address"], as_written);
    }
    listen(&mut config["admin"]["address"], as_written);
    for (cluster, address) in [(0, server), (1, etcd)] {
        let hosts = &mut config["static_resources"]["clusters"][cluster]["load_assignment"]["endpoints"][0];
        hosts["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] =
            json!({"address": address.ip().to_string(), "port_value": address.port()});
    }
    config
}

/// The filter of any listener.
fn last_wasm(listener: &mut Value) -> &mut Value {
    let filters = &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    let mut filters = filters.as_array_mut().expect("filters").iter_mut();
    let filter = filters.find(|filter| filter["name"] == "mcp_session_filter");
    &mut filter.expect("the filter")["typed_config"]["config"]
}

/// Leaves a port as it is written if it is free and wanted so.
fn listen(address: &mut Value, as_written: bool) {
    let port = &mut address["socket_address"]["port_value"];
    let written = port
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(0);
    if !as_written || !is_free(&SocketAddr::from(([127, 0, 0, 1], written))) {
        *port = json!(0);
    }
}

fn is_free(address: &SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}
