//! `envoy/rate-limit/envoy.yaml`: Envoy's own local rate limit bounds how fast a caller opens sessions.

use gateway::message::{self, notification, tools_call};
use gateway::setup::{connection_manager, wasm, yaml};
use gateway::{Answer, Call, Client, Gateway, Http, OddServer, Setup};
use serde_json::{Value, json};

/// Sessions that a caller may open at once, by the file.
const AT_ONCE: usize = 10;

/// Puts the file that ships in the place of a configuration, with its ports, its server and its module. No bucket is
/// filled again while a test runs.
fn as_shipped(config: &mut Value) {
    let mut file = yaml("rate-limit/envoy.yaml");
    file["admin"] = config["admin"].take();
    let (ours, theirs) = (&mut file["static_resources"], &mut config["static_resources"]);
    ours["listeners"][0]["address"] = theirs["listeners"][0]["address"].take();
    ours["clusters"] = theirs["clusters"].take();
    wasm(&mut file)["vm_config"]["code"] = wasm(config)["vm_config"]["code"].take();
    let limit = &mut connection_manager(&mut file)["http_filters"][1]["typed_config"];
    for descriptor in limit["descriptors"].as_array_mut().expect("descriptors") {
        descriptor["token_bucket"]["fill_interval"] = json!("36000s");
    }
    *config = file;
}

async fn start(server: &OddServer) -> Gateway {
    let setup = Setup::new(server.address()).workers(2);
    setup.patch(as_shipped).start().await
}

/// A caller, as the proxy in front names it.
fn by(call: Call, caller: Option<&str>) -> Call {
    match caller {
        Some(caller) => call.header("x-user-id", caller),
        None => call,
    }
}

async fn open(client: &Client, caller: Option<&str>) -> Answer {
    client.send(by(Call::initialize(), caller)).await
}

/// Opens as many sessions as a caller may open at once; returns the last.
async fn open_all(client: &Client, caller: Option<&str>) -> String {
    let mut last = String::new();
    for _ in 0..AT_ONCE {
        let answer = open(client, caller).await;
        assert_eq!(answer.status, 200, "{caller:?}: {answer:?}");
        last = answer.session().expect("an id").to_owned();
    }
    last
}

#[track_caller]
fn is_limited(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (429, "local_rate_limited")
    );
    assert_eq!(
        (answer.header("retry-after"), answer.session()),
        (Some("6"), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_opens_too_fast_waits_and_nobody_else_does() {
    for http in gateway::client::BOTH {
        let server = OddServer::polite().await;
        let gateway = start(&server).await;
        let client = gateway.client(http);
        let mut opened = 0;
        for caller in [Some("alice"), Some("bob"), None] {
            open_all(&client, caller).await;
            opened += AT_ONCE as u64;
            is_limited(&open(&client, caller).await);
            gateway.expect("vm.active", opened).await;
            gateway.expect("vm.reserved", 0).await;
        }
        assert_eq!(server.count("/mcp") as u64, opened, "Envoy refused the others");
        assert_eq!(gateway.stat("endpoint.mcp.created"), opened);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_is_never_limited_and_its_end_opens_no_other() {
    let server = OddServer::polite().await;
    let gateway = start(&server).await;
    let client = gateway.client(Http::Two);
    let alice = |call: Call| by(call, Some("alice"));
    let session = open_all(&client, Some("alice")).await;
    for number in 0..5 * AT_ONCE {
        let call = Call::post(&tools_call(number, "echo", json!({}))).session(&session);
        assert_eq!(client.send(alice(call)).await.status, 200);
    }
    let initialized = Call::post(&notification("notifications/initialized"));
    assert_eq!(
        client.send(alice(initialized.session(&session))).await.status,
        202
    );
    assert_eq!(
        client.open(alice(Call::get().session(&session))).await.status,
        200
    );
    assert_eq!(
        client.send(alice(Call::delete().session(&session))).await.status,
        200
    );
    gateway.expect("vm.active", AT_ONCE as u64 - 1).await;
    is_limited(&open(&client, Some("alice")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_of_a_client_decides_what_counts() {
    let server = OddServer::polite().await;
    let gateway = start(&server).await;
    let client = gateway.client(Http::One);
    let session = open_all(&client, Some("alice")).await;
    let initialize = || by(Call::initialize(), Some("alice"));
    for call in [
        initialize().header("mcp-method", "ping"),
        initialize()
            .header("mcp-method", "ping")
            .header("mcp-method", "tools/list"),
        initialize().session(&session),
        initialize().session("unknown"),
        initialize().revision("2026-07-28"),
        by(Call::post(&notification("initialize")), Some("alice")),
    ] {
        is_limited(&client.send(call).await);
    }
    let batch = by(Call::post(&json!([message::initialize(1)])), Some("alice"));
    assert_eq!(client.send(batch.revision("2025-03-26")).await.status, 400);
    let list = by(Call::tools_list().session(&session), Some("alice"));
    assert_eq!(
        client.send(list.header("mcp-method", "initialize")).await.status,
        200
    );
}

/// More callers than Envoy keeps buckets for unless it is told to keep more.
#[tokio::test(flavor = "multi_thread")]
async fn many_callers_do_not_make_envoy_forget_one() {
    let server = OddServer::polite().await;
    let gateway = start(&server).await;
    let client = gateway.client(Http::Two);
    open_all(&client, Some("first")).await;
    for caller in 0..40 {
        assert_eq!(open(&client, Some(&format!("caller-{caller}"))).await.status, 200);
    }
    is_limited(&open(&client, Some("first")).await);
}
