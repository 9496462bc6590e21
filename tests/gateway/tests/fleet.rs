//! A gateway of a fleet whose etcd is not there, and the files that ship. What needs an etcd is in `make test-fleet`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gateway::envoy::{root, validate};
use gateway::setup::{connection_manager, set_module, wasm, yaml};
use gateway::{Encoding, Gateway, Http, OddServer, Setup, poll};
use serde_json::{Value, json};

use crate::yaml::drive;

use gateway::stage::expect_refused;

/// A gateway of a fleet, whose etcd is at `etcd`.
fn member(server: &OddServer, etcd: SocketAddr, fields: Value) -> Setup {
    let mut fleet = json!({"cluster": "etcd", "name": "test", "max_sessions": 5, "lease": "3s"});
    gateway::setup::merge(&mut fleet, fields);
    let address = json!({"address": etcd.ip().to_string(), "port_value": etcd.port()});
    let hosts = json!([{"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}]);
    let cluster = json!({
        "name": "etcd", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "etcd", "endpoints": hosts},
    });
    Setup::new(server.address())
        .workers(2)
        .top(json!({"fleet": fleet}))
        .patch(move |config| add(config, &cluster))
}

fn add(config: &mut Value, cluster: &Value) {
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    clusters.expect("clusters").push(cluster.clone());
}

/// Nothing listens on the first port.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

#[test]
fn the_files_are_valid_as_they_are() {
    for file in ["fleet/one.yaml", "fleet/two.yaml"] {
        assert_eq!(validate(&root().join("envoy").join(file)), Ok(()), "{file}");
    }
}

async fn is_lost(gateway: &Gateway) {
    gateway.expect("fleet.lost", 1).await;
    let told = || gateway.envoy().log().matches("event=fleet_lost").count();
    poll::eventually(poll::SOON, "it is told", || told() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_etcd_the_gateway_s_own_cap_decides() {
    let server = OddServer::polite().await;
    let setup = member(&server, nowhere(), json!({})).top(json!({"max_sessions": 8}));
    let gateway = setup.start().await;
    let client = gateway.client(Http::One);
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(client.open_session().await);
    }
    is_lost(&gateway).await;
    let full = client.initialize().await;
    expect_refused(&full, 429, -32603, "Too many open sessions", Some(json!(1)));
    gateway.expect("endpoint.mcp.rejected.reason.capacity", 1).await;
    gateway.expect("fleet.used", 8).await;
    for session in &sessions {
        assert_eq!(client.delete(session).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_etcd_nobody_new_is_let_in_under_refuse() {
    let server = OddServer::polite().await;
    let gateway = member(&server, nowhere(), json!({"when_lost": "refuse"}))
        .start()
        .await;
    let begun = Instant::now();
    let refused = gateway.client(Http::One).initialize().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    expect_refused(&refused, 429, -32603, "Too many open sessions", Some(json!(1)));
    is_lost(&gateway).await;
    assert_eq!(server.count("/mcp"), 0);
    gateway
        .expect("endpoint.mcp.rejected.reason.fleet_capacity", 1)
        .await;
}

/// A server in etcd's place that is none: a good MCP server answers 202 or 404 to what the gateway asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_etcd_counts_as_none() {
    let server = OddServer::polite().await;
    let gateway = member(&server, server.address(), json!({"when_lost": "refuse"}))
        .start()
        .await;
    is_lost(&gateway).await;
    assert_eq!(gateway.client(Http::Two).initialize().await.status, 429);
}

/// A cluster of a file that ships, under its own name and with its health checks, at an address where nothing listens.
fn away(mut cluster: Value) -> Value {
    let hosts = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"];
    hosts[0]["endpoint"]["address"]["socket_address"] = json!({"address": "127.0.0.1", "port_value": 1});
    cluster
}

/// As Istio has it, with the cluster that it makes of the ServiceEntry.
#[tokio::test(flavor = "multi_thread")]
async fn the_envoyfilter_of_a_fleet_works() {
    let server = OddServer::polite().await;
    let filter = yaml("fleet/istio/envoyfilter.yaml")["spec"]["configPatches"][0]["patch"]["value"].take();
    let name = filter["typed_config"]["config"]["configuration"]["value"]["fleet"]["cluster"].clone();
    assert_eq!(name, "outbound|2379||etcd.example.internal");
    let mut cluster = yaml("fleet/one.yaml")["static_resources"]["clusters"][1].take();
    cluster["name"] = name.clone();
    cluster["load_assignment"]["cluster_name"] = name;
    let cluster = away(cluster);
    let setup = Setup::new(server.address()).workers(2).patch(move |config| {
        connection_manager(config)["http_filters"][0] = filter.clone();
        set_module(wasm(config), &gateway::setup::module());
        add(config, &cluster);
    });
    let gateway = setup.start().await;
    drive(&gateway).await;
    is_lost(&gateway).await;
}

/// As Envoy Gateway has it: the policy's configuration is text, and the patch adds a cluster.
#[tokio::test(flavor = "multi_thread")]
async fn the_policies_of_a_fleet_work() {
    let server = OddServer::polite().await;
    let plugin = yaml("fleet/envoy-gateway/envoyextensionpolicy.yaml")["spec"]["wasm"][0]["config"].take();
    let patch = yaml("fleet/envoy-gateway/envoypatchpolicy.yaml")["spec"]["jsonPatches"][0].take();
    let cluster = away(patch["operation"]["value"].clone());
    let setup = Setup::new(server.address())
        .workers(2)
        .plugin(plugin)
        .encoding(Encoding::String)
        .patch(move |config| add(config, &cluster));
    let gateway = setup.start().await;
    drive(&gateway).await;
    is_lost(&gateway).await;
}
