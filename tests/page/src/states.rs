//! The states of a gateway in which the page is looked at.

use std::path::Path;
use std::time::Duration;

use gateway::{Call, Client, Gateway, Http, OddServer, Reply, Setup, poll};
use load::modes::{self, Load};
use load::{Fallible, Server, SessionIds, Target};
use serde_json::{Value, json};

use crate::chromium;

/// All of them: without sessions, with a few, at every cap, with a million sessions, and with an endpoint that was
/// taken out of the configuration.
pub(crate) const STATES: [&str; 5] = ["empty", "few", "full", "million", "removed"];

/// Connections that fill the table.
const CONNECTIONS: usize = 64;

/// What a server could try to bring into the page: markup in every id that it gives out.
const MARKUP: &str = "</script><img/src=x/onerror=document.title=1>&lt;'\"`${1}";

/// Brings a gateway into this state, and looks at its page.
pub(crate) async fn show(state: &str) -> Fallible<bool> {
    match state {
        "empty" => empty().await,
        "few" => few().await,
        "full" => full().await,
        "million" => million().await,
        _ => removed().await,
    }
}

/// The address of the page.
fn page(gateway: &Gateway) -> Fallible<String> {
    let address = gateway.envoy().listener("status").ok_or("no listener `status`")?;
    Ok(format!("http://{address}/mcp-sessions"))
}

async fn empty() -> Fallible<bool> {
    let server = OddServer::polite().await;
    let gateway = start(Setup::new(server.address()).status_view(json!({}))).await?;
    chromium::look("empty", &page(&gateway)?).await
}

async fn start(setup: Setup) -> Fallible<Gateway> {
    let started = setup.try_start().await;
    started.map_err(|log| format!("Envoy does not start:\n{log}").into())
}

/// Sessions with ids as hostile as a server can make them, shown in clear; some have ended, and some come and go while
/// the page is open.
async fn few() -> Fallible<bool> {
    let server = OddServer::start(Reply::as_told).await;
    let shown = json!({"log_session_id": "plain"});
    let setup = Setup::new(server.address())
        .workers(2)
        .endpoints(&["mcp", "tools"])
        .top(shown.clone())
        .top(json!({"max_sessions": 100}))
        .endpoint(json!({"max_sessions": 20, "max_streams": 10}));
    let gateway = start(setup.status_view(shown)).await?;
    let client = gateway.client(Http::One);
    let mut sessions = Vec::new();
    for number in 0..6 {
        let opened = client
            .send(Call::initialize().reply("200").mint(&format!("{MARKUP}{number}")))
            .await;
        sessions.push(opened.session().ok_or("no id came back")?.to_owned());
    }
    gateway.client(Http::One).at("/tools").open_session().await;
    let stream = client.open_stream(&sessions[0]).await;
    client.delete(&sessions[1]).await;
    client.ping(&sessions[1]).await;
    client.ping("no id").await;
    let looked = beside(chromium::look("few", &page(&gateway)?), || come_and_go(&client)).await;
    drop(stream);
    looked
}

/// One session comes, is refused something, and goes.
async fn come_and_go(client: &Client) {
    let session = client.open_session().await;
    client.send(Call::post_bytes("no JSON")).await;
    client.delete(&session).await;
    client.ping(&session).await;
}

/// Every cap is reached, and newcomers are refused while the page is open.
async fn full() -> Fallible<bool> {
    let server = OddServer::polite().await;
    let setup = Setup::new(server.address())
        .top(json!({"max_sessions": 6}))
        // Where sessions may be evicted, the table knows at once which are in use. None is idle for long enough here.
        .endpoint(json!({"max_streams": 2, "on_full": "evict_idle", "evict_after": "1h"}));
    let gateway = start(setup.status_view(json!({}))).await?;
    let client = gateway.client(Http::One);
    let mut streams = Vec::new();
    for number in 0..6 {
        let session = client.open_session().await;
        if number < 2 {
            streams.push(client.open_stream(&session).await);
        }
    }
    let looked = beside(chromium::look("full", &page(&gateway)?), || async {
        client.initialize().await;
    })
    .await;
    drop(streams);
    looked
}

async fn million() -> Fallible<bool> {
    let count: u64 = std::env::var("SESSIONS").map_or(Ok(1_000_000), |said| said.parse())?;
    let server = Server::start(0, true)?;
    // A line of the log for each of a million sessions would only cost time.
    let setup = Setup::new(server.address())
        .connection_manager(json!({"access_log": null}))
        .top(json!({"max_sessions": 1_000_000}))
        .status_view(json!({}));
    let gateway = start(setup).await?;
    let load = Load::on(&Target::new(gateway.address(), "/mcp").into());
    let ids = modes::fill(&load, count, CONNECTIONS, SessionIds::default()).await;
    if ids.len() as u64 != count {
        return Err(format!("the table was not filled: {}", load.figures()).into());
    }
    chromium::look("million", &page(&gateway)?).await
}

/// The endpoint `tools` had sessions when it was taken out of the configuration.
async fn removed() -> Fallible<bool> {
    let server = OddServer::polite().await;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("lds.json");
    let setup = |names: &[&str]| {
        Setup::new(server.address())
            .endpoints(names)
            .endpoint(json!({"max_sessions": 50}))
            .status_view(json!({}))
    };
    write_listeners(&setup(&["mcp", "tools"]), &file)?;
    let gateway = start(from_file(setup(&[]), &file)).await?;
    for path in ["/mcp", "/tools", "/tools"] {
        gateway.client(Http::One).at(path).open_session().await;
    }
    write_listeners(&setup(&["mcp"]), &file)?;
    let view = gateway.status_view(Http::One);
    let end = std::time::Instant::now() + poll::SOON * 4;
    loop {
        // Any request brings the new configuration into force.
        gateway.client(Http::One).at("/mcp").ping("none").await;
        let shown = view.send(Call::get().without("accept")).await.json();
        let endpoints = shown["endpoints"].as_array().into_iter().flatten();
        if endpoints
            .into_iter()
            .any(|endpoint| endpoint["configured"] == false)
        {
            break;
        }
        if std::time::Instant::now() > end {
            return Err(format!("the endpoint was not taken out: {shown}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    chromium::look("removed", &page(&gateway)?).await
}

/// Has Envoy take its listeners from this file.
fn from_file(setup: Setup, file: &Path) -> Setup {
    let file = file.to_owned();
    setup.patch(move |config: &mut Value| {
        if let Some(resources) = config["static_resources"].as_object_mut() {
            resources.remove("listeners");
        }
        config["node"] = json!({"id": "test", "cluster": "test"});
        config["dynamic_resources"] =
            json!({"lds_config": {"resource_api_version": "V3", "path_config_source": {"path": file}}});
    })
}

/// Replaces the listeners by those of the setup, at once. Envoy leaves the listener of the view, which is the same.
fn write_listeners(setup: &Setup, file: &Path) -> Fallible<()> {
    let mut listeners = setup.config()["static_resources"]["listeners"].take();
    for listener in listeners.as_array_mut().into_iter().flatten() {
        listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    }
    let next = file.with_extension("next");
    std::fs::write(&next, json!({"resources": listeners}).to_string())?;
    std::fs::rename(next, file)?;
    Ok(())
}

/// Runs `work` to its end, and does `meanwhile` over and over beside it.
async fn beside<T, F: Future<Output = ()>>(work: impl Future<Output = T>, meanwhile: impl Fn() -> F) -> T {
    let over_and_over = async {
        loop {
            meanwhile().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        result = work => result,
        never = over_and_over => never,
    }
}
