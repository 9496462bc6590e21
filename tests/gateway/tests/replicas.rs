//! Several servers behind one gateway, several gateways behind one edge, with the files that ship.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::envoy::Envoy;
use gateway::setup::{set_module, wasm, yaml};
use gateway::{Client, Gateway, Http, OddServer, Reply, Setup, poll};
use serde_json::{Value, json};

/// A server that knows only its own sessions.
struct Replica {
    server: OddServer,
    live: Arc<Mutex<BTreeSet<String>>>,
}

impl Replica {
    /// Its ids begin with its name, as no two servers mint the same ones.
    async fn start(name: &'static str) -> Self {
        let live = Arc::new(Mutex::new(BTreeSet::new()));
        let sessions = live.clone();
        let server = OddServer::start(move |request| {
            let mut live = sessions.lock().expect("no panic");
            match (request.method.as_str(), request.session()) {
                ("POST", None) => {
                    let id = format!("{name}-{}", request.number);
                    live.insert(id.clone());
                    return Reply::initialized(request).session(&id);
                }
                ("DELETE", Some(id)) if live.remove(id) => {}
                (_, Some(id)) if live.contains(id) => {}
                _ => return Reply::status(404),
            }
            Reply::polite(request)
        })
        .await;
        Self { server, live }
    }

    fn sessions(&self) -> usize {
        self.live.lock().expect("no panic").len()
    }

    fn deletes(&self) -> usize {
        let seen = self.server.seen("/mcp");
        seen.iter().filter(|request| request.method == "DELETE").count()
    }
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// Replaces a cluster's hosts with these.
fn set_hosts(cluster: &mut Value, hosts: &[SocketAddr]) {
    let hosts: Vec<_> = hosts
        .iter()
        .map(|host| json!({"endpoint": {"address": socket(*host)}}))
        .collect();
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = json!(hosts);
}

/// Lets the system choose the ports.
fn anywhere(mut config: Value) -> Value {
    let chosen = socket(([127, 0, 0, 1], 0).into());
    config["admin"]["address"] = chosen.clone();
    config["static_resources"]["listeners"][0]["address"] = chosen;
    config
}

async fn start(config: Value) -> Envoy {
    tokio::task::spawn_blocking(move || Envoy::start(&config, 2, 1))
        .await
        .expect("starting does not panic")
        .unwrap_or_else(|log| panic!("{log}"))
}

fn stat(envoy: &Envoy, name: &str) -> u64 {
    let stats = gateway::stats::read(&envoy.admin("/stats?format=json"));
    let name = format!("wasmcustom.mcp_sessions.{name}");
    stats.get(&name).copied().unwrap_or(0)
}

async fn open(client: &Client, number: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.push(client.open_session().await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delete_reaches_the_replica_that_has_the_session() {
    let replicas = [
        Replica::start("one").await,
        Replica::start("two").await,
        Replica::start("three").await,
    ];
    let mut config = anywhere(yaml("replicas/envoy.yaml"));
    set_module(wasm(&mut config), &gateway::setup::module());
    let plugin = &mut wasm(&mut config)["configuration"]["value"];
    plugin["sweep_interval"] = json!("100ms");
    plugin["endpoints"][0]["idle_timeout"] = json!("3s");
    let hosts = replicas.each_ref().map(|replica| replica.server.address());
    set_hosts(&mut config["static_resources"]["clusters"][0], &hosts);
    let name = format!("@mcp_by_session-{}", hosts[0].port());
    config["static_resources"]["listeners"][1]["address"]["pipe"]["path"] = json!(name);
    config["static_resources"]["clusters"][1]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        ["address"]["pipe"]["path"] = json!(name);
    let envoy = start(config).await;
    let client = Client::new(envoy.listener("mcp").expect("a listener"), Http::Two);

    let ids = open(&client, 30).await;
    assert!(replicas.iter().all(|replica| replica.sessions() > 0));
    for id in &ids {
        assert_eq!(client.ping(id).await.status, 200);
    }
    poll::eventually(Duration::from_secs(30), "all have ended", || {
        stat(&envoy, "upstream_delete.ok") == 30
    })
    .await;
    assert_eq!(replicas.each_ref().map(Replica::sessions), [0; 3]);
    assert_eq!(replicas.iter().map(Replica::deletes).sum::<usize>(), 30);
}

async fn gateway_before(server: &OddServer) -> Gateway {
    let upstream = json!({"cluster": "mcp", "authority": "mcp"});
    let idle = json!({"idle_timeout": "3s", "terminate_upstream": upstream});
    Setup::new(server.address()).endpoint(idle).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_keeps_a_session_on_one_gateway_as_long_as_that_is_there() {
    let replica = Replica::start("one").await;
    let first = gateway_before(&replica.server).await;
    let second = gateway_before(&replica.server).await;
    let mut config = anywhere(yaml("gateways/edge.yaml"));
    let hosts = [first.address(), second.address()];
    set_hosts(&mut config["static_resources"]["clusters"][0], &hosts);
    let edge = start(config).await;
    let client = Client::new(edge.listener("edge").expect("a listener"), Http::Two);
    let of = |name: &str| [first.stat(name), second.stat(name)];

    let ids = open(&client, 20).await;
    assert_eq!(of("endpoint.mcp.created").iter().sum::<u64>(), 20);
    assert!(of("endpoint.mcp.created").iter().all(|created| *created > 0));
    // Twice the idle timeout: a gateway that had not seen the pings would have ended the sessions.
    let end = std::time::Instant::now() + Duration::from_secs(6);
    while std::time::Instant::now() < end {
        for id in &ids {
            assert_eq!(client.ping(id).await.status, 200);
        }
    }
    assert_eq!((of("endpoint.mcp.adopted"), replica.deletes()), ([0; 2], 0));

    let on_second = second.stat("vm.active");
    drop(first);
    let mut answers = BTreeMap::<u16, u32>::new();
    for id in &ids {
        let last = poll_until_answered(&client, id).await;
        *answers.entry(last).or_default() += 1;
    }
    assert_eq!(answers, BTreeMap::from([(200, 20)]));
    assert_eq!(second.stat("endpoint.mcp.adopted"), 20 - on_second);
    poll::eventually(Duration::from_secs(30), "all have ended", || {
        second.stat("upstream_delete.ok") == 20
    })
    .await;
    assert_eq!((replica.sessions(), replica.deletes()), (0, 20));
}

/// The first answer that is not the edge's own 503, while the edge finds out that a gateway is gone.
async fn poll_until_answered(client: &Client, id: &str) -> u16 {
    let end = std::time::Instant::now() + poll::SOON;
    loop {
        let status = client.ping(id).await.status;
        if status != 503 || std::time::Instant::now() > end {
            return status;
        }
    }
}

#[test]
fn the_files_are_valid_as_they_are() {
    for file in ["replicas/envoy.yaml", "gateways/edge.yaml"] {
        let said = gateway::envoy::validate(&gateway::envoy::root().join("envoy").join(file));
        assert_eq!(said, Ok(()), "{file}");
    }
}
