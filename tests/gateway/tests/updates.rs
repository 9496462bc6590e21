//! Listener updates from a file while requests come: another configuration, another module. No request fails, and no
//! session is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gateway::listeners::{Listeners, from_file};
use gateway::{Call, Client, Http, OddServer, Reply, Setup, poll, setup};
use serde_json::json;

/// How the requests went that were sent while listeners came and went.
#[derive(Debug, Default)]
struct Traffic {
    answered: AtomicU64,
    /// Connections that Envoy closed on a request before any answer, as it does at the end of a listener. A client
    /// sends such a request again.
    closed: AtomicU64,
    is_over: AtomicBool,
}

impl Traffic {
    /// Sends requests of sessions, one after the other. Every answer must be 200.
    async fn run(&self, client: Client, sessions: Vec<String>) {
        for session in sessions.iter().cycle() {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            match client.try_send(Call::tools_list().session(session)).await {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => drop(self.closed.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
}

/// Eight clients with twenty sessions each send requests while `updates` come into force, one after the other.
async fn under_traffic(base: impl Fn() -> Setup, updates: Vec<(Setup, Option<u64>)>) {
    let listeners = Listeners::new();
    listeners.write(&base());
    let gateway = Arc::new(from_file(base(), &listeners.file()).start().await);
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(gateway.client(Http::One).open_session().await);
    }
    let traffic = Arc::new(Traffic::default());
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let client = gateway.client(gateway::client::BOTH[number % 2]);
            let (traffic, sessions) = (traffic.clone(), sessions.clone());
            tokio::spawn(async move { traffic.run(client, sessions).await })
        })
        .collect();
    for (number, (update, limit)) in (1..).zip(updates) {
        let answered = traffic.answered.load(Ordering::Relaxed);
        listeners.write(&update);
        poll::eventually(poll::SOON, "the update is in force", || {
            gateway.envoy_stat("listener_manager.listener_modified")
                + gateway.envoy_stat("listener_manager.listener_in_place_updated")
                >= number
        })
        .await;
        if let Some(limit) = limit {
            gateway.expect("vm.limit", limit).await;
            assert_eq!(gateway.stat("vm.active"), 20);
        }
        poll::eventually(poll::SOON, "clients go on", || {
            traffic.answered.load(Ordering::Relaxed) > answered + 500
        })
        .await;
    }
    // The last connections of the old listeners end when these have drained.
    poll::eventually(Duration::from_secs(30), "the old listeners have drained", || {
        gateway.envoy_stat("listener_manager.total_filter_chains_draining") == 0
            && gateway.envoy_stat("listener_manager.total_listeners_draining") == 0
    })
    .await;
    traffic.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
    println!("{traffic:?}");
    if gateway.stat("vm.limit") > 0 {
        assert_eq!((gateway.stat("vm.active"), gateway.stat("vm.reserved")), (20, 0));
        for session in &sessions {
            assert_eq!(gateway.client(Http::Two).delete(session).await.status, 200);
        }
        gateway.expect("vm.active", 0).await;
    }
}

/// The old listener has time to tell its clients to leave.
fn patient(server: &OddServer) -> Setup {
    Setup::new(server.address()).workers(2).drain_seconds(8)
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_and_code_change_under_traffic() {
    let server = OddServer::start(Reply::as_told).await;
    let code = json!({"vm_config": {"code": {"local": {"filename": setup::trap_module()}}}});
    let updates = [(50, false), (70, true), (90, false), (30, true)].map(|(limit, is_other_code)| {
        let setup = patient(&server).top(json!({"max_sessions": limit}));
        let setup = if is_other_code {
            setup.filter(code.clone())
        } else {
            setup
        };
        (setup, Some(limit))
    });
    under_traffic(|| patient(&server), updates.into()).await;
}

/// What Envoy does to connections at an update, without the filter.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for comparison with the test above"]
async fn updates_without_the_filter() {
    let server = OddServer::start(Reply::as_told).await;
    let update = |name: &str| {
        (
            patient(&server)
                .without_the_filter()
                .connection_manager(json!({"server_name": name})),
            None,
        )
    };
    let updates = ["a", "b", "c", "d"].map(update);
    under_traffic(|| patient(&server).without_the_filter(), updates.into()).await;
}
