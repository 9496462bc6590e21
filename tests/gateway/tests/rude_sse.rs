//! HTTP+SSE as no client expects it: ids in several spellings, in the path, under another name or absent; streams
//! opened by HEAD or POST.

use gateway::stage::expect_refused;
use gateway::{Call, Gateway, Http, OddServer, Reply, Request, Setup, poll};
use serde_json::{Value, json};

const PING: &str = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
const ID: &str = "0af3b1c2d4e5f60718293a4b5c6d7e8f";

/// A gateway with one endpoint at `/sse`, of one session unless these fields say otherwise.
async fn start(server: &OddServer, fields: Value) -> Gateway {
    let mut endpoint = json!({
        "name": "sse", "path": "/sse", "transport": "http_sse", "message_path": "/message", "max_sessions": 1,
    });
    gateway::setup::merge(&mut endpoint, fields);
    let plugin = json!({"sweep_interval": "100ms", "endpoints": [endpoint]});
    let setup = Setup::new(server.address()).plugin(plugin).workers(2);
    setup.start().await
}

/// A stream whose first event is this one. A POST is always accepted.
fn serving(event: &'static str) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    move |request| match request.method.as_str() {
        "GET" | "HEAD" => Reply::sse().chunk(event).left_open(),
        _ => Reply::status(202),
    }
}

/// Spellings that the Python SDK takes for one id.
fn spellings() -> [String; 5] {
    let dashed = |id: &str| format!("{}-{}", &id[..8], &id[8..]);
    [
        ID.to_uppercase(),
        dashed(ID),
        format!("{{{ID}}}"),
        format!("urn:uuid:{ID}"),
        format!("%30{}", &ID[1..].to_uppercase()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_answers_to_its_owner_however_its_id_is_spelt() {
    let event = "event: endpoint\ndata: /message?session_id=0af3b1c2d4e5f60718293a4b5c6d7e8f\n\n";
    let server = OddServer::start(serving(event)).await;
    let gateway = start(&server, json!({"principal": [{"header": "x-user"}]})).await;
    let client = gateway.client(Http::Two);
    let get = Call::get().path("/sse").header("x-user", "alice");
    let stream = client.open(get).await;
    gateway.expect("endpoint.sse.active", 1).await;
    let post = |id: &str, user: &str| {
        let path = format!(
            "/message?session_id={}",
            id.replace('{', "%7B").replace('}', "%7D")
        );
        client.send(Call::post_bytes(PING).path(&path).header("x-user", user))
    };
    assert_eq!(post(ID, "alice").await.status, 202);
    for id in spellings().iter().map(String::as_str).chain([ID]) {
        let answer = post(id, "mallory").await;
        expect_refused(&answer, 404, -32001, "Session not found", None);
    }
    assert_eq!(server.count("/message"), 1);
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_never_reaches_the_server() {
    let event = "event: endpoint\ndata: /message?sessionId=a\n\n";
    let server = OddServer::start(serving(event)).await;
    let gateway = start(&server, json!({})).await;
    for http in gateway::client::BOTH {
        let client = gateway.client(http);
        for path in ["/sse", "/SSE/"] {
            let answer = client.send(Call::method("HEAD").path(path)).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
        }
    }
    assert_eq!(server.count("/sse") + server.count("/SSE/"), 0);
    gateway
        .expect("endpoint.sse.rejected.reason.method_not_allowed", 4)
        .await;
    assert_eq!((gateway.stat("vm.active"), gateway.stat("vm.reserved")), (0, 0));
}

/// Events that name no session known to the filter.
const NAMELESS: [&str; 4] = [
    "event: endpoint\ndata: /message/0af3b1c2\n\n",
    "event: endpoint\ndata: /message?token=0af3b1c2\n\n",
    "event: endpoint\ndata: /message\n\n",
    "event: message\ndata: {}\n\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_names_no_session_is_one() {
    for event in NAMELESS {
        for unknown in ["adopt", "reject"] {
            let server = OddServer::start(serving(event)).await;
            let fields = json!({"unknown_session": unknown, "initialize_timeout": "1s"});
            let gateway = start(&server, fields).await;
            let client = gateway.client(Http::One);
            let mut stream = client.open(Call::get().path("/sse")).await;
            assert_eq!(stream.status, 200);
            assert!(stream.next().await.is_some(), "{event}");
            gateway.expect("endpoint.sse.active", 1).await;
            for path in ["/message", "/message?token=0af3b1c2"] {
                assert_eq!(
                    client.send(Call::post_bytes(PING).path(path)).await.status,
                    202,
                    "{event}"
                );
            }
            let answer = client.send(Call::get().path("/sse")).await;
            expect_refused(&answer, 429, -32603, "Too many open sessions", None);
            // The stream counts even if the event did not come in time.
            let refused = || gateway.stat("endpoint.sse.active") == 1;
            poll::throughout(std::time::Duration::from_millis(1500), "it is counted", refused).await;
            drop(stream);
            gateway.expect("endpoint.sse.active", 0).await;
            gateway.expect("endpoint.sse.streams", 0).await;
            gateway.expect("endpoint.sse.reserved", 0).await;
        }
    }
}

/// A server that opens its stream for a POST.
fn opened_by_post(request: &Request) -> Reply {
    match request.rpc_method().as_str() {
        "initialize" => Reply::sse()
            .chunk(format!(
                "event: endpoint\ndata: /sse?sessionId=s{}\n\n",
                request.number
            ))
            .left_open(),
        _ => Reply::status(202),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_answered_with_an_endpoint_event_is_a_stream() {
    let server = OddServer::start(opened_by_post).await;
    let gateway = start(&server, json!({"message_path": "/sse"})).await;
    let client = gateway.client(Http::Two).at("/sse");
    let mut stream = client.open(Call::initialize()).await;
    assert!(stream.next().await.is_some());
    gateway.expect("endpoint.sse.active", 1).await;
    // There is no room for a second stream: it is refused, or closed as soon as the filter knows that it is one.
    let second = client.open(Call::initialize()).await;
    if second.status == 200 {
        let cut = tokio::time::timeout(poll::SOON, second.ended()).await;
        assert!(cut.is_ok(), "the second stream stays open");
    }
    assert_eq!(gateway.stat("endpoint.sse.active"), 1);
    assert_eq!(client.send(Call::post_bytes(PING)).await.status, 202);
    drop(stream);
    gateway.expect("endpoint.sse.active", 0).await;
    gateway.expect("endpoint.sse.streams", 0).await;
}
