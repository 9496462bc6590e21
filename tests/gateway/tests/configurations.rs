//! Several configurations under one `vm_id` in a real Envoy: an update that Envoy refuses, one whose old listener drains while a
//! worker's VM fails, two listeners side by side.

use std::time::Duration;

use gateway::listeners::{Listeners, from_file};
use gateway::{Call, Client, Gateway, Http, OddServer, RawConnection, Reply, Setup, poll, setup};
use serde_json::{Value, json};

/// A gateway whose VM can be taken down, with this cap of the VM.
fn with_cap(server: &OddServer, cap: u32) -> Setup {
    Setup::new(server.address())
        .workers(2)
        .drain_seconds(30)
        .top(json!({"max_sessions": cap}))
        .filter(json!({"vm_config": {"code": {"local": {"filename": setup::trap_module()}}}}))
        .faults_expected()
}

/// A filter that Envoy refuses, after it has configured the one before.
fn with_a_broken_filter(config: &mut Value) {
    let lua = json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": "function ("}
        }
    });
    let filters = &mut setup::connection_manager(config)["http_filters"];
    let filters = filters.as_array_mut().expect("filters");
    filters.insert(filters.len() - 1, lua);
}

async fn takes_the_vm_down(client: &Client) {
    let answer = client.send(Call::get().header("x-trap-vm", "1")).await;
    assert_eq!(answer.status, 503);
}

/// How many of so many newcomers are let in.
async fn admitted(client: &Client, newcomers: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..newcomers {
        let status = client.initialize().await.status;
        assert!(status == 200 || status == 429, "{status}");
        admitted += usize::from(status == 200);
    }
    admitted
}

/// The status of a ping on this connection; `None` if Envoy has closed it.
async fn ping(connection: &mut RawConnection, session: &str) -> Option<u16> {
    let header = format!("mcp-session-id: {session}");
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    connection.post("/mcp", &[header.as_bytes()], body).await;
    connection.answer().await.map(|answer| answer.status)
}

/// How many of these connections get 200 in the end. A failed VM refuses until it is reloaded, and a draining listener
/// closes connections as it likes.
async fn served(connections: &mut [RawConnection], session: &str) -> usize {
    let mut served = 0;
    for connection in connections {
        let end = std::time::Instant::now() + poll::SOON;
        while let Some(status) = ping(connection, session).await {
            if status == 200 {
                served += 1;
                break;
            }
            assert_eq!(status, 503, "only a dead VM refuses");
            assert!(std::time::Instant::now() < end, "no VM comes back");
            // Each answer of a draining listener may be the last on its connection.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_envoy_refuses_leaves_the_cap() {
    let server = OddServer::start(Reply::as_told).await;
    let listeners = Listeners::new();
    listeners.write(&with_cap(&server, 5));
    let gateway = from_file(with_cap(&server, 5), &listeners.file()).start().await;
    gateway.client(Http::One).open_session().await;
    gateway.expect("vm.limit", 5).await;
    listeners.write(&with_cap(&server, 1000).patch(with_a_broken_filter));
    poll::eventually(poll::SOON, "Envoy refuses the update", || {
        gateway.envoy_stat("listener_manager.lds.update_rejected") > 0
    })
    .await;
    poll::throughout(Duration::from_secs(3), "the cap stays", || {
        gateway.stat("vm.limit") == 5
    })
    .await;
    assert_eq!(admitted(&gateway.client(Http::One), 9).await, 4);
}

/// Replaces the cap of 1000 by 5, and keeps connections of the old listener.
async fn lowered(server: &OddServer) -> (Gateway, Listeners, Vec<RawConnection>, String) {
    let listeners = Listeners::new();
    listeners.write(&with_cap(server, 1000));
    let gateway = from_file(with_cap(server, 1000), &listeners.file()).start().await;
    let session = gateway.client(Http::One).open_session().await;
    gateway.expect("vm.limit", 1000).await;
    let mut old = Vec::new();
    for _ in 0..24 {
        let mut connection = gateway.connect().await;
        assert_eq!(ping(&mut connection, &session).await, Some(200));
        old.push(connection);
    }
    listeners.write(&with_cap(server, 5));
    poll::eventually(poll::SOON, "the update is there", || {
        gateway.envoy_stat("listener_manager.listener_modified")
            + gateway.envoy_stat("listener_manager.listener_in_place_updated")
            > 0
    })
    .await;
    gateway.client(Http::One).open_session().await;
    gateway.expect("vm.limit", 5).await;
    (gateway, listeners, old, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_listener_that_reloads_a_failed_vm_leaves_the_cap_of_the_new_one() {
    let server = OddServer::start(Reply::as_told).await;
    let (gateway, _listeners, mut old, session) = lowered(&server).await;
    for _ in 0..4 {
        takes_the_vm_down(&gateway.client(Http::One)).await;
    }
    assert!(served(&mut old, &session).await > 0, "the old listener is gone");
    poll::throughout(Duration::from_secs(3), "the cap stays", || {
        gateway.stat("vm.limit") == 5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_loaded_again_is_in_force_again() {
    let server = OddServer::start(Reply::as_told).await;
    let quick = |cap| with_cap(&server, cap).drain_seconds(1);
    let listeners = Listeners::new();
    listeners.write(&quick(1000));
    let gateway = from_file(quick(1000), &listeners.file()).start().await;
    for cap in [1000, 5, 1000, 5] {
        listeners.write(&quick(cap));
        let end = std::time::Instant::now() + poll::SOON;
        while gateway.stat("vm.limit") != u64::from(cap) {
            assert!(std::time::Instant::now() < end, "the cap is not {cap}");
            // Any request brings the configuration into force.
            gateway.client(Http::One).send(Call::delete().reply("405")).await;
        }
    }
}

/// Adds a listener `second` like the first, whose filter governs `/outer`.
fn with_a_second_listener(config: &mut Value) {
    let listeners = &mut config["static_resources"]["listeners"];
    let mut second = listeners[0].clone();
    second["name"] = json!("second");
    let filter = &mut second["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]
        ["config"];
    let text =
        json!({"endpoints": [{"name": "outer", "path": "/outer", "admission": "body", "max_sessions": 500}]})
            .to_string();
    filter["configuration"] =
        json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text});
    listeners.as_array_mut().expect("listeners").push(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_listeners_under_one_vm_id_keep_the_rules_of_their_endpoints() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = with_cap(&server, 1000)
        .endpoint(json!({"max_sessions": 2, "idle_timeout": "3s"}))
        .patch(with_a_second_listener)
        .start()
        .await;
    let second = gateway.envoy().listener("second").expect("the second listener");
    let outer = Client::new(second, Http::One).at("/outer");
    assert_eq!(admitted(&outer, 3).await, 3);
    assert_eq!(admitted(&gateway.client(Http::One), 6).await, 2);
    assert_eq!(admitted(&outer, 3).await, 3);
    for (stat, value) in [
        ("mcp.limit", 2),
        ("mcp.active", 2),
        ("outer.limit", 500),
        ("outer.active", 6),
    ] {
        gateway.expect(&format!("endpoint.{stat}"), value).await;
    }
    takes_the_vm_down(&outer).await;
    gateway.expect("endpoint.mcp.active", 0).await;
    let end = std::time::Instant::now() + poll::SOON;
    while gateway.client(Http::One).initialize().await.status == 503 {
        assert!(std::time::Instant::now() < end, "no VM comes back");
    }
    assert_eq!(
        (
            gateway.stat("endpoint.mcp.limit"),
            gateway.stat("endpoint.outer.limit")
        ),
        (2, 500)
    );
    assert_eq!(
        (gateway.stat("vm.limit"), gateway.stat("endpoint.outer.active")),
        (1000, 6)
    );
}
