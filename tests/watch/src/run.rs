//! `make watch`: the gateway of `make run` under load, with Prometheus, to look at.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use gateway::{Call, Client, Gateway, Http, McpServer, Setup, message};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::Fallible;
use crate::load_thread::LoadThread;
use crate::prometheus::Prometheus;

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 10000);
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9901);
const STATUS: ([u8; 4], u16) = ([127, 0, 0, 1], 10001);
const PROMETHEUS: ([u8; 4], u16) = ([127, 0, 0, 1], 9090);

/// How many clients come and go, and how long each stays idle before it leaves.
const CLIENTS: usize = 20;
const IDLE: Duration = Duration::from_secs(2);

/// How many clients with a stream there are before they leave, some of them refused.
const STREAMS: usize = 24;

/// Longer than this nobody watches: `WATCH_SECONDS` says otherwise.
const LONGEST: u64 = 3_600;

/// Starts all of it, says where to look, and stays until Ctrl-C. All that it has started ends with it.
///
/// # Errors
/// If the gateway's port is not free, something does not start, or ends by itself.
pub async fn run() -> Fallible<()> {
    let address = SocketAddr::from(ADDRESS);
    TcpListener::bind(address).map_err(|error| format!("{address} is not free for the gateway: {error}"))?;
    let server = McpServer::start(0).await?;
    let gateway = started(&server, address).await?;
    let admin = gateway.envoy().admin_address();
    let prometheus = Prometheus::start(free_or_chosen(PROMETHEUS.into()), &[("gateway", admin)]).await?;
    let seconds = seconds();
    tell(&gateway, &prometheus, seconds).await;
    let _load = LoadThread::start(gateway.address(), CLIENTS, IDLE);
    let mut told_to_end = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = told_to_end.recv() => {}
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        () = streams(gateway.client(Http::One)) => {}
        () = gone(&gateway, &prometheus) => return Err(format!("Envoy or Prometheus has ended:\n{}", gateway.envoy().log()).into()),
    }
    Ok(())
}

/// The gateway as shipped, with caps and times that show something within minutes.
async fn started(server: &McpServer, address: SocketAddr) -> Result<Gateway, String> {
    Setup::new(server.address())
        .routes_as_shipped()
        .listen(address, free_or_chosen(ADMIN.into()))
        .status_view_at(free_or_chosen(STATUS.into()))
        .endpoint(json!({"max_sessions": 80, "max_streams": 20, "idle_timeout": "20s", "max_lifetime": "5m"}))
        .faults_expected()
        .try_start()
        .await
}

/// This address if it is free, else one that the system chooses.
fn free_or_chosen(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

fn seconds() -> u64 {
    let written = std::env::var("WATCH_SECONDS").ok();
    written.and_then(|text| text.parse().ok()).unwrap_or(LONGEST)
}

async fn tell(gateway: &Gateway, prometheus: &Prometheus, seconds: u64) {
    let admin = gateway.envoy().admin_address();
    let graph = prometheus.page(&["/classic/graph", "/graph", "/query"]).await;
    let alerts = prometheus.page(&["/classic/alerts", "/alerts"]).await;
    println!(
        "\nGateway     http://{}/mcp, as shipped but for max_sessions 80, max_streams 20, idle_timeout 20s",
        gateway.address()
    );
    println!("Numbers     http://{admin}/stats/prometheus");
    if let Some(status) = gateway.envoy().listener("status") {
        println!("Status      http://{status}/mcp-sessions");
    }
    println!("Prometheus  {graph}?g0.expr=mcp_sessions_active&g0.tab=0&g0.range_input=5m");
    println!("Alerts      {alerts}");
    println!(
        "\n{CLIENTS} clients come and go; one of five leaves its session behind. Ctrl-C ends all, and {seconds} seconds do."
    );
}

/// More and more sessions with an open stream, until the cap of streams refuses some; then all of them leave. Never ends.
async fn streams(client: Client) {
    let mut held = Vec::new();
    loop {
        let opened = client.try_send(Call::initialize()).await.ok();
        if let Some(id) = opened.and_then(|answer| answer.session().map(str::to_owned)) {
            let stream = Call::get().session(&id).revision(message::REVISION);
            held.extend(client.try_open(stream).await.ok());
        }
        if held.len() > STREAMS {
            held.clear();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Returns when Envoy or Prometheus answers no more.
async fn gone(gateway: &Gateway, prometheus: &Prometheus) {
    while gateway.envoy().try_admin("GET", "/ready").is_ok() && prometheus.query("up").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Ctrl-C reaches both, too, and this process must see it first.
    tokio::time::sleep(Duration::from_secs(1)).await;
}
