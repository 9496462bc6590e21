//! `envoy/tracing.yaml`: spans say what the filter knows of a request.

use std::collections::BTreeMap;

use gateway::setup::{connection_manager, yaml};
use gateway::{Call, Http, OddServer, Reply, Setup, message, poll};
use serde_json::{Value, json};

/// The attributes of a span that are text.
type Span = BTreeMap<String, String>;

/// The fields of a protobuf message that have a length, with their numbers (protobuf's encoding, "Length-Delimited
/// Records"); those of other kinds are passed over.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)).expect("a length"),
            5 => 4,
            kind => panic!("no kind of field: {kind}"),
        };
        let (value, rest) = bytes.split_at(length);
        if key & 7 == 2 {
            found.push((key >> 3, value));
        }
        bytes = rest;
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a byte");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn of_number(bytes: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(bytes)
        .into_iter()
        .filter_map(move |(found, value)| (found == number).then_some(value))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The spans of an `ExportTraceServiceRequest` (opentelemetry-proto, trace.proto): resource_spans 1, scope_spans 2,
/// spans 2, attributes 9; of each attribute key 1 and value 2, in which a text is 1.
fn spans(export: &[u8]) -> Vec<Span> {
    let of_scopes = of_number(export, 1).flat_map(|resource| of_number(resource, 2).collect::<Vec<_>>());
    let spans = of_scopes.flat_map(|scope| of_number(scope, 2).collect::<Vec<_>>());
    let attribute = |bytes: &[u8]| {
        let key = of_number(bytes, 1).next()?;
        let value = of_number(bytes, 2).next()?;
        Some((text(key), text(of_number(value, 1).next()?)))
    };
    spans
        .map(|span| of_number(span, 9).filter_map(attribute).collect())
        .collect()
}

/// The gateway with `tracing.yaml`, which traces every request and tells it at once to this collector.
fn traced(server: &OddServer, collector: &OddServer) -> Setup {
    let (mut file, port) = (yaml("tracing.yaml"), collector.address().port());
    let endpoint = &mut file["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    endpoint["address"]["socket_address"]["port_value"] = json!(port);
    file["tracing"]["random_sampling"]["value"] = json!(100);
    let patch = move |config: &mut Value| {
        connection_manager(config)["tracing"] = file["tracing"].clone();
        let clusters = config["static_resources"]["clusters"].as_array_mut();
        clusters.expect("clusters").push(file["clusters"][0].clone());
        let at_once = json!({"tracing.opentelemetry.min_flush_spans": 1});
        config["layered_runtime"] = json!({"layers": [{"name": "at_once", "static_layer": at_once}]});
    };
    Setup::new(server.address())
        .workers(2)
        .top(json!({"max_sessions": 1, "log_session_id": "plain"}))
        .patch(patch)
}

/// Waits for the span of the request with this `User-Agent`.
async fn span(collector: &OddServer, agent: &str) -> Span {
    let find = || {
        let exports = collector.seen("/v1/traces");
        let all = exports
            .iter()
            .filter(|export| export.complete)
            .flat_map(|export| spans(&export.body));
        all.into_iter()
            .find(|span| span.get("user_agent").is_some_and(|found| found == agent))
    };
    poll::until(poll::SOON, find)
        .await
        .unwrap_or_else(|| panic!("no span of {agent}"))
}

fn ours(span: &Span) -> Vec<(&str, &str)> {
    let ours = span
        .iter()
        .filter(|(key, _)| key.starts_with("mcp.") || key.starts_with("gen_ai."));
    ours.map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_name_session_method_tool_and_outcome() {
    let server = OddServer::start(Reply::as_told).await;
    let collector = OddServer::start(|_| Reply::status(200)).await;
    let setup = traced(&server, &collector);
    if gateway::envoy::version() < (1, 37) {
        let refusal = setup
            .try_start()
            .await
            .err()
            .expect("Envoy refuses it, as the file says");
        // Protobuf's messages have one blank or two, by chance, so that nobody relies on their text.
        let words: Vec<&str> = refusal.split_whitespace().collect();
        return assert!(words.join(" ").contains("no such field: 'value'"), "{refusal}");
    }
    let gateway = setup.start().await;
    let client = gateway.client(Http::One);

    let initialize = Call::initialize().reply("200").mint("the-session");
    client.send(initialize.header("user-agent", "opens")).await;
    let opened = span(&collector, "opens").await;
    assert_eq!(
        ours(&opened),
        [
            ("mcp.endpoint", "mcp"),
            ("mcp.method.name", "initialize"),
            ("mcp.outcome", "forwarded"),
            ("mcp.protocol.version", message::REVISION),
            ("mcp.session.id", "the-session"),
        ]
    );

    let call = Call::post(&message::tools_call(1, "echo", json!({}))).session("the-session");
    client
        .send(call.revision(message::REVISION).header("user-agent", "calls"))
        .await;
    let forwarded = span(&collector, "calls").await;
    assert_eq!(
        ours(&forwarded),
        [
            ("gen_ai.tool.name", "echo"),
            ("mcp.endpoint", "mcp"),
            ("mcp.method.name", "tools/call"),
            ("mcp.outcome", "forwarded"),
            ("mcp.protocol.version", message::REVISION),
            ("mcp.session.id", "the-session"),
        ]
    );

    client
        .send(Call::initialize().header("user-agent", "refused"))
        .await;
    let refused = span(&collector, "refused").await;
    assert_eq!(refused.get("http.status_code").map(String::as_str), Some("429"));
    assert_eq!(
        ours(&refused),
        [
            ("mcp.endpoint", "mcp"),
            ("mcp.method.name", "initialize"),
            ("mcp.outcome", "capacity"),
            ("mcp.protocol.version", message::REVISION),
        ]
    );
}
