//! HTTP/3, by a client that speaks it. Every place comes back, whichever side leaves, and at whatever stage.

use conformance::Fallible;
use conformance::outcome::Outcome;
use conformance::process::Program;
use gateway::envoy::root;
use gateway::tls::{Authority, Identity};
use gateway::{Gateway, OddServer, Reply, Request, Setup};
use serde_json::{Value, json};

use crate::report::Row;

/// How many steps `python/http3.py` has.
const STEPS: usize = 11;
const LISTENER: &str = "mcp_http3";

/// The play under both admissions.
pub async fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for admission in ["body", "headers"] {
        let play = format!("HTTP/3, admission by {admission}");
        let played = play_all(admission).await;
        let (seen, wrong) = played.unwrap_or_else(|error| (String::new(), error));
        let mut row = Row::failed("aioquic 1.7.2 (client)", &play, wrong);
        println!("{play}: {seen} {}", row.wrong);
        row.seen = seen;
        rows.push(row);
    }
    rows
}

/// What the client saw, and what was wrong.
async fn play_all(admission: &str) -> Fallible<(String, String)> {
    let server = OddServer::start(reply).await;
    let authority = Authority::new();
    let identity = authority.issue("gateway", &["localhost"]);
    let setup = Setup::new(server.address()).workers(2);
    let setup = setup.endpoint(json!({"max_sessions": 3, "admission": admission}));
    let gateway = setup
        .patch(move |config| listen(config, &identity))
        .try_start()
        .await?;
    let directory = root().join("target/servers");
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let trusted = directory.join("authority.pem");
    std::fs::write(&trusted, authority.pem()).map_err(|error| error.to_string())?;
    let outcome = Outcome::of(&client(&gateway, &trusted.display().to_string())?).await;
    let failed = outcome.steps.iter().filter(|step| !step.ok);
    let wrong: Vec<String> = failed
        .map(|step| format!("{}: {}", step.name, step.detail))
        .collect();
    let seen = format!("{} of {STEPS} steps", outcome.passed());
    let missing = if outcome.passed() == STEPS {
        ""
    } else {
        "not all steps "
    };
    Ok((seen, format!("{missing}{}", wrong.join("; "))))
}

/// As [`Reply::as_told`], but the first answer of a session stays open.
fn reply(request: &Request) -> Reply {
    match request.header("x-reply") {
        Some("open") => Reply::initialized_by_sse(request)
            .session(&format!("session-{}", request.number))
            .left_open(),
        _ => Reply::as_told(request),
    }
}

/// Adds a listener that speaks QUIC to the one that ships.
fn listen(config: &mut Value, identity: &Identity) {
    let mut listener = config["static_resources"]["listeners"][0].clone();
    listener["name"] = json!(LISTENER);
    listener["address"]["socket_address"]["protocol"] = json!("UDP");
    listener["udp_listener_config"] = json!({"quic_options": {}});
    let chain = &mut listener["filter_chains"][0];
    chain["transport_socket"] = json!({
        "name": "envoy.transport_sockets.quic",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
            "downstream_tls_context": {"common_tls_context": {"tls_certificates": [{
                "certificate_chain": {"inline_string": identity.certificate},
                "private_key": {"inline_string": identity.key},
            }]}},
        },
    });
    let manager = &mut chain["filters"][0]["typed_config"];
    manager["codec_type"] = json!("HTTP3");
    manager["http3_protocol_options"] = json!({});
    if let Some(listeners) = config["static_resources"]["listeners"].as_array_mut() {
        listeners.push(listener);
    }
}

fn client(gateway: &Gateway, trusted: &str) -> Fallible<Program> {
    let python = root()
        .join(".cache/servers/aioquic/bin/python")
        .display()
        .to_string();
    let file = root().join("tests/servers/python/http3.py").display().to_string();
    let address = gateway
        .envoy()
        .listener(LISTENER)
        .ok_or("no listener for HTTP/3")?;
    let admin = format!("http://{}", gateway.envoy().admin_address());
    Ok(Program::new([python, "-B".to_owned(), file])
        .arg(address.port().to_string())
        .arg(admin)
        .arg(trusted))
}
