//! Every spelling of the governed path, against a server that takes all of them for one. No spelling goes around the
//! filter, with the files that ship and with routes that let every path pass.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gateway::envoy::Envoy;
use gateway::setup::{connection_manager, set_module, wasm, yaml};
use gateway::{Call, Client, Gateway, Http, OddServer, RawConnection, Reply, Setup};
use serde_json::{Value, json};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

/// A host and a path.
const SPELLINGS: [(&str, &str); 16] = [
    ("gateway", "/mcp"),
    ("gateway", "/mcp/"),
    ("gateway", "/MCP"),
    ("gateway", "/Mcp/"),
    ("gateway", "//mcp"),
    ("gateway", "/mcp;a=b"),
    ("gateway", "/mcp;a=b/"),
    ("gateway", "/./mcp"),
    ("gateway", "/x/../mcp"),
    ("gateway", "/%6dcp"),
    ("gateway", "/%6Dcp/"),
    ("gateway", "/mcp%2f"),
    ("gateway", "/mcp?x=/y"),
    ("gateway.", "/mcp"),
    ("GATEWAY.:80", "/mcp/"),
    ("gateway:8080", "/mcp"),
];

/// A server with one endpoint, whatever the path. It opens a session for every POST without an id.
struct OneEndpoint {
    server: OddServer,
    live: Arc<Mutex<BTreeSet<String>>>,
}

impl OneEndpoint {
    async fn start() -> Self {
        let live = Arc::new(Mutex::new(BTreeSet::new()));
        let sessions = live.clone();
        let server = OddServer::start(move |request| {
            let mut live = sessions.lock().expect("no panic");
            match (request.method.as_str(), request.session()) {
                ("POST", None) => {
                    let id = format!("session-{}", request.number);
                    live.insert(id.clone());
                    Reply::initialized(request).session(&id)
                }
                ("DELETE", Some(id)) if live.remove(id) => Reply::status(200),
                _ => Reply::status(404),
            }
        })
        .await;
        Self { server, live }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn sessions(&self) -> BTreeSet<String> {
        self.live.lock().expect("no panic").clone()
    }
}

/// How a request names its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `POST /mcp HTTP/1.1`
    Origin,
    /// `POST http://gateway/mcp HTTP/1.1`
    Absolute,
    Http2,
}

/// Sends an `initialize`. Returns the status of the answer.
async fn initialize(gateway: SocketAddr, form: Form, host: &str, path: &str) -> u16 {
    if form == Form::Http2 {
        let call = Call::post_bytes(INITIALIZE)
            .header("content-type", "application/json")
            .authority(host)
            .path(path);
        return Client::new(gateway, Http::Two).send(call).await.status;
    }
    let target = match form {
        Form::Absolute => format!("http://{host}{path}"),
        Form::Origin | Form::Http2 => path.to_owned(),
    };
    let length = INITIALIZE.len();
    let mut connection = RawConnection::open(gateway).await;
    connection
        .send(format!(
            "POST {target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{INITIALIZE}"
        ))
        .await;
    connection.answer().await.expect("an answer").status
}

async fn delete(gateway: &Gateway, id: &str) {
    let call = Call::delete().session(id).authority("gateway");
    let answer = gateway.client(Http::One).send(call).await;
    assert_eq!(answer.status, 200, "{id}");
}

/// Opens a session by every spelling that reaches the server, alone and at the cap. Returns these spellings.
async fn walk(gateway: &Gateway, server: &OneEndpoint) -> Vec<(Form, &'static str, &'static str)> {
    let mut leads = Vec::new();
    for form in [Form::Origin, Form::Absolute, Form::Http2] {
        for (host, path) in SPELLINGS {
            let said = format!("{form:?} {host} {path}");
            let status = initialize(gateway.address(), form, host, path).await;
            let sessions = server.sessions();
            assert!(matches!(status, 200 | 400 | 404), "{said}: {status}");
            assert_eq!(sessions.len(), usize::from(status == 200), "{said}: {status}");
            gateway.expect("vm.active", sessions.len() as u64).await;
            for id in &sessions {
                delete(gateway, id).await;
                leads.push((form, host, path));
            }
            gateway.expect("vm.active", 0).await;
        }
    }
    assert_eq!(
        initialize(gateway.address(), Form::Origin, "gateway", "/mcp").await,
        200
    );
    for form in [Form::Origin, Form::Absolute, Form::Http2] {
        for (host, path) in SPELLINGS {
            let status = initialize(gateway.address(), form, host, path).await;
            let wanted: &[u16] = match leads.contains(&(form, host, path)) {
                true => &[429],
                // The filter judges some of them before Envoy finds that it has no route for them.
                false => &[400, 404, 429],
            };
            assert!(wanted.contains(&status), "{form:?} {host} {path}: {status}");
            assert_eq!(server.sessions().len(), 1, "{form:?} {host} {path}");
        }
    }
    gateway.expect("vm.active", 1).await;
    leads
}

fn paths(leads: &[(Form, &'static str, &'static str)], form: Form) -> BTreeSet<&'static str> {
    leads
        .iter()
        .filter(|lead| lead.0 == form)
        .map(|lead| lead.2)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_standalone_file_only_the_governed_path_reaches_the_server() {
    let server = OneEndpoint::start().await;
    let setup = Setup::new(server.address()).routes_as_shipped().workers(2);
    let gateway = setup.top(json!({"max_sessions": 1})).start().await;
    let leads = walk(&gateway, &server).await;
    let one_path = BTreeSet::from(["/mcp", "//mcp", "/./mcp", "/x/../mcp", "/%6dcp", "/mcp?x=/y"]);
    for form in [Form::Origin, Form::Absolute, Form::Http2] {
        assert_eq!(paths(&leads, form), one_path, "{form:?}");
    }
    let seen = server.server.seen("/mcp").len();
    assert!(seen > 0, "as the server saw them, all were one path");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_routes_that_let_every_path_pass_every_spelling_is_governed() {
    for endpoint in [
        json!({}),
        json!({"authority": "gateway"}),
        json!({"admission": "headers"}),
    ] {
        let server = OneEndpoint::start().await;
        let setup = Setup::new(server.address()).workers(2).endpoint(endpoint);
        let gateway = setup.top(json!({"max_sessions": 1})).start().await;
        let leads = walk(&gateway, &server).await;
        let all: BTreeSet<_> = SPELLINGS.iter().map(|(_, path)| *path).collect();
        let but_escaped_slashes: BTreeSet<_> = all.into_iter().filter(|path| *path != "/mcp%2f").collect();
        for form in [Form::Origin, Form::Absolute, Form::Http2] {
            assert_eq!(paths(&leads, form), but_escaped_slashes, "{form:?}");
        }
    }
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A file that ships, on ports that the system chooses, with its first cluster at these hosts.
fn shipped(file: &str, hosts: &[SocketAddr]) -> Value {
    let mut config = yaml(file);
    let chosen = socket(([127, 0, 0, 1], 0).into());
    config["admin"]["address"] = chosen.clone();
    config["static_resources"]["listeners"][0]["address"] = chosen;
    let hosts: Vec<_> = hosts
        .iter()
        .map(|host| json!({"endpoint": {"address": socket(*host)}}))
        .collect();
    config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"] =
        json!(hosts);
    config
}

async fn start(config: Value) -> Envoy {
    tokio::task::spawn_blocking(move || Envoy::start(&config, 2, 1))
        .await
        .expect("starting does not panic")
        .unwrap_or_else(|log| panic!("{log}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_file_with_replicas_only_the_governed_path_reaches_a_replica() {
    let server = OneEndpoint::start().await;
    let mut config = shipped("replicas/envoy.yaml", &[server.address()]);
    set_module(wasm(&mut config), &gateway::setup::module());
    wasm(&mut config)["configuration"]["value"]["max_sessions"] = json!(1);
    let name = format!("@spellings-{}", server.address().port());
    config["static_resources"]["listeners"][1]["address"]["pipe"]["path"] = json!(name);
    let hosts =
        &mut config["static_resources"]["clusters"][1]["load_assignment"]["endpoints"][0]["lb_endpoints"];
    hosts[0]["endpoint"]["address"]["pipe"]["path"] = json!(name);
    let envoy = start(config).await;
    opens_one_session(envoy.listener("mcp").expect("a listener"), &server).await;
    let stats = gateway::stats::read(&envoy.admin("/stats?format=json"));
    assert_eq!(stats.get("wasmcustom.mcp_sessions.vm.active"), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_file_with_a_rate_limit_only_the_governed_path_reaches_the_server() {
    let server = OneEndpoint::start().await;
    let mut config = shipped("rate-limit/envoy.yaml", &[server.address()]);
    set_module(wasm(&mut config), &gateway::setup::module());
    wasm(&mut config)["configuration"]["value"]["max_sessions"] = json!(1);
    wasm(&mut config)["configuration"]["value"]["endpoints"][0]["max_sessions_per_principal"] = json!(0);
    let envoy = start(config).await;
    opens_one_session(envoy.listener("mcp").expect("a listener"), &server).await;
    let stats = gateway::stats::read(&envoy.admin("/stats?format=json"));
    assert_eq!(stats.get("wasmcustom.mcp_sessions.vm.active"), Some(&1));
    assert_eq!(
        stats.get("mcp_opening.http_local_rate_limit.rate_limited"),
        Some(&0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_edge_only_the_governed_path_reaches_a_gateway() {
    let server = OneEndpoint::start().await;
    let setup = Setup::new(server.address()).workers(2);
    let behind = setup.top(json!({"max_sessions": 1})).start().await;
    let edge = start(shipped("gateways/edge.yaml", &[behind.address()])).await;
    opens_one_session(edge.listener("edge").expect("a listener"), &server).await;
    behind.expect("vm.active", 1).await;
}

/// Opens a session at a cap of one; then no spelling opens another.
async fn opens_one_session(gateway: SocketAddr, server: &OneEndpoint) {
    assert_eq!(initialize(gateway, Form::Origin, "gateway", "/mcp").await, 200);
    for form in [Form::Origin, Form::Absolute, Form::Http2] {
        for (host, path) in SPELLINGS {
            let status = initialize(gateway, form, host, path).await;
            assert!(
                matches!(status, 400 | 404 | 429),
                "{form:?} {host} {path}: {status}"
            );
            assert_eq!(server.sessions().len(), 1, "{form:?} {host} {path}");
        }
    }
}

/// A WSGI server reads `Mcp_Session_Id` as `Mcp-Session-Id`.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_with_an_underscore_never_reaches_the_server() {
    let server = OneEndpoint::start().await;
    let gateway = Setup::new(server.address()).routes_as_shipped().start().await;
    let mut connection = gateway.connect().await;
    connection
        .post("/mcp", &[b"mcp_session_id: a"], INITIALIZE.as_bytes())
        .await;
    assert_eq!(connection.answer().await.expect("an answer").status, 400);
    assert!(server.sessions().is_empty());
}

/// No file that ships routes a prefix to a server.
#[test]
fn every_route_that_ships_is_one_path() {
    for file in [
        "envoy.yaml",
        "replicas/envoy.yaml",
        "gateways/edge.yaml",
        "rate-limit/envoy.yaml",
        "fleet/one.yaml",
        "fleet/two.yaml",
    ] {
        let mut config = yaml(file);
        let hosts = connection_manager(&mut config)["route_config"]["virtual_hosts"].take();
        for host in hosts.as_array().expect("virtual hosts") {
            for route in host["routes"].as_array().expect("routes") {
                assert_eq!(route["match"], json!({"path": "/mcp"}), "{file}");
            }
        }
    }
}
