//! Thousands of whole sessions against the real MCP server: no request fails, and nothing stays behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gateway::{Client, Gateway, Http, McpServer, Setup, message};
use serde_json::json;

/// How many sessions run at the same time.
const AT_ONCE: u64 = 32;
/// Sessions before the first look, so that pools, buffers and the table have their size.
const WARM_UP: u64 = 2_000;
const LIVES: u64 = 20_000;
/// A shared-data key per session would leave 3 MB in 20,000 sessions, and a leak of a kilobyte each 20 MB.
const ALLOWED_GROWTH: u64 = 2 << 20;

/// One session: initialize, initialized, tools/list, tools/call twice, DELETE.
async fn live(client: &Client) -> Result<(), String> {
    let answer = client.initialize().await;
    let session = answer
        .session()
        .ok_or_else(|| format!("no id: {answer:?}"))?
        .to_owned();
    let call = |id, text: &str| message::tools_call(id, "echo", json!({"message": text}));
    let steps = [
        (message::initialized(), 202, ""),
        (message::tools_list(2), 200, "echo"),
        (call(3, "first"), 200, "first"),
        (call(4, "second"), 200, "second"),
    ];
    for (message, status, contains) in steps {
        let answer = client.post(&session, &message).await;
        if answer.status != status || !answer.text().contains(contains) {
            return Err(format!("{message}: {answer:?}"));
        }
    }
    let deleted = client.delete(&session).await;
    if deleted.status != 202 {
        Err(format!("DELETE: {deleted:?}"))
    } else {
        Ok(())
    }
}

async fn live_many(gateway: &Gateway, http: Http, lives: u64) {
    let (started, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let each = (0..AT_ONCE).map(|_| {
        let (client, done) = (gateway.client(http), done.clone());
        tokio::spawn(async move {
            while done.fetch_add(1, Ordering::Relaxed) < lives {
                live(&client).await?;
            }
            Ok::<(), String>(())
        })
    });
    let each: Vec<_> = each.collect();
    for task in each {
        task.await
            .expect("no panic")
            .unwrap_or_else(|error| panic!("{error}"));
    }
    println!("{lives} lives over HTTP/{http:?} in {:.1?}", started.elapsed());
}

/// Memory that must not grow: what Envoy itself has allocated, shared data included, and the whole process, VMs
/// included.
#[derive(Debug)]
struct Footprint {
    table_bytes: u64,
    allocated: u64,
    resident: u64,
}

fn footprint(gateway: &Gateway) -> Footprint {
    let memory: serde_json::Value = serde_json::from_str(&gateway.envoy().admin("/memory")).expect("JSON");
    let allocated = memory["allocated"].as_str().and_then(|bytes| bytes.parse().ok());
    Footprint {
        table_bytes: gateway.stat("table_bytes"),
        allocated: allocated.expect("a number of bytes"),
        resident: gateway.envoy().resident_bytes(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_lives_leave_nothing_behind() {
    let server = McpServer::start(0).await.expect("a server");
    let gateway = Setup::new(server.address()).workers(2).start().await;
    live_many(&gateway, Http::One, WARM_UP / 2).await;
    live_many(&gateway, Http::Two, WARM_UP / 2).await;
    let before = footprint(&gateway);
    live_many(&gateway, Http::One, LIVES / 2).await;
    live_many(&gateway, Http::Two, LIVES / 2).await;
    gateway.expect("vm.active", 0).await;
    gateway.expect("vm.reserved", 0).await;
    let after = footprint(&gateway);
    println!("before {before:?}\nafter  {after:?}");

    assert_eq!(server.sessions().await, 0);
    assert_eq!(gateway.stat("endpoint.mcp.created"), WARM_UP + LIVES);
    assert_eq!(
        gateway.stat("endpoint.mcp.ended.reason.client_delete"),
        WARM_UP + LIVES
    );
    assert_eq!(after.table_bytes, before.table_bytes);
    assert!(
        after.allocated < before.allocated + ALLOWED_GROWTH,
        "{before:?} {after:?}"
    );
    assert!(
        after.resident < before.resident + 4 * ALLOWED_GROWTH,
        "{before:?} {after:?}"
    );
}
