//! Servers that take more messages, content types and paths for an `initialize` than the specification does.

use gateway::{Call, Http, Ids, Manners, Reading, RudeServer, Setup, message};
use serde_json::{Value, json};

use crate::rude::{Sent, play};

/// Each is an `initialize` to a server that folds names and takes the last of two.
const INITIALIZE: [&str; 9] = [
    r#"{"jsonrpc":"2.0","id":1,"Method":"initialize","params":{}}"#,
    r#"{"jsonrpc":"2.0","id":1,"METHOD":"initialize"}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"initialize"}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"initialize"}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{},"result":{}}"#,
    r#"{"jsonrpc":"2.0","method":"initialize","error":{},"params":{}}"#,
    r#"{"jsonrpc":"2.0","method":"initialize","params":{}}"#,
    r#"{"jsonrpc":"2.0","id":null,"method":"initialize"}"#,
    r#"{"jsonrpc":"2.0","Id":1,"result":{},"mEtHoD":"initialize"}"#,
];

fn message_of(number: usize) -> Call {
    Call::post_bytes(INITIALIZE[number])
}

/// Without an id, with a live one, with a made-up one.
macro_rules! any_id {
    ($($number:literal)*) => {
        &[
            ("an initialize as it should be", |_| Call::initialize()),
            $(
                (INITIALIZE[$number], |_| message_of($number)),
                (INITIALIZE[$number], |live| message_of($number).session(live)),
                (INITIALIZE[$number], |_| message_of($number).session(concat!("made-up-", $number))),
            )*
            ("DELETE", |live| Call::delete().session(live)),
            (INITIALIZE[0], |_| message_of(0)),
            (INITIALIZE[6], |_| message_of(6)),
        ]
    };
}

const FOLDED: &[Sent] = any_id![0 1 2 3 4 5 6 7 8];

#[tokio::test(flavor = "multi_thread")]
async fn names_that_fold_and_the_last_of_two() {
    for ids in [Ids::Politely, Ids::ToAnyInitialize] {
        let manners = Manners {
            ids,
            reading: Reading::Folded,
            takes_any_id: true,
            ..Manners::default()
        };
        play(manners, FOLDED).await;
    }
}

fn of_kind(kind: &str) -> Call {
    Call::initialize()
        .without("content-type")
        .header("content-type", kind)
}

const CONTENT_TYPES: &[Sent] = &[
    ("text/plain", |_| of_kind("text/plain")),
    ("a form", |_| of_kind("application/x-www-form-urlencoded")),
    ("no content type", |_| Call::initialize().without("content-type")),
    ("text/plain with a live id", |live| {
        of_kind("text/plain").session(live)
    }),
    ("text/plain with a made-up id", |_| {
        of_kind("text/plain").session("made-up-1")
    }),
    ("two lines, JSON last", |_| {
        of_kind("text/plain").header("content-type", "application/json")
    }),
    ("another spelling", |_| of_kind("Application/JSON; charset=utf-8")),
    ("JSON of another name", |_| of_kind("application/vnd.api+json")),
    ("DELETE", |live| Call::delete().session(live)),
    ("text/plain once more", |_| of_kind("text/plain")),
    ("as it should be", |_| Call::initialize()),
];

#[tokio::test(flavor = "multi_thread")]
async fn any_content_type() {
    for ids in [Ids::Politely, Ids::ToAnyInitialize] {
        let manners = Manners {
            ids,
            reading: Reading::AnyContentType,
            takes_any_id: true,
            ..Manners::default()
        };
        play(manners, CONTENT_TYPES).await;
    }
}

/// Spellings of `/mcp`; Envoy answers some of them itself.
const SPELLINGS: [&str; 12] = [
    "/mcp",
    "/mcp/",
    "/MCP",
    "/Mcp/",
    "//mcp",
    "/mcp;a=b",
    "/./mcp",
    "/%6dcp",
    "/mcp%2f",
    "/x/../mcp",
    "/MCP/;a",
    "/mcp?a=b",
];

#[tokio::test(flavor = "multi_thread")]
async fn any_spelling_of_the_path() {
    let manners = Manners {
        takes_any_path: true,
        ..Manners::default()
    };
    for unknown in ["adopt", "reject"] {
        let server = RudeServer::start(manners).await;
        let fields = json!({"max_sessions": 1, "unknown_session": unknown});
        let gateway = Setup::new(server.address()).endpoint(fields).start().await;
        for http in gateway::client::BOTH {
            let client = gateway.client(http);
            let mut given = Vec::new();
            for path in SPELLINGS {
                let answer = client.send(Call::initialize().path(path)).await;
                given.extend(answer.session().map(str::to_owned));
                assert!(given.len() <= 1, "{path} gave another session: {given:?}");
            }
            assert_eq!(server.held("/mcp"), given);
            gateway.expect("endpoint.mcp.active", 1).await;
            // The session is the same at all of them.
            let delete = Call::delete().session(&given[0]).path("/MCP/");
            assert_eq!(client.send(delete).await.status, 200);
            gateway.expect("endpoint.mcp.active", 0).await;
        }
    }
}

/// Each calls another tool than the specification's name says.
fn two_tools() -> [Value; 4] {
    let call = |params: Value| message::request(3, "tools/call", params);
    [
        call(json!({"name": "safe", "Name": "danger"})),
        call(json!({"NAME": "danger", "name": "safe"})),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "safe"}, "param\u{17f}": {"name": "danger"}}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "ping", "Method": "tools/call", "params": {"name": "danger"}}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tool_is_called_that_the_filter_did_not_read() {
    let server = RudeServer::start(Manners {
        reading: Reading::Folded,
        ..Manners::default()
    })
    .await;
    let gateway = Setup::new(server.address())
        .endpoint(json!({"strict_json_rpc": true}))
        .start()
        .await;
    let client = gateway.client(Http::Two);
    let session = client.open_session().await;
    for message in two_tools() {
        let answer = client.post(&session, &message).await;
        assert_eq!(answer.status, 400, "{message}");
    }
    assert_eq!(server.seen("/mcp").len(), 1);
    gateway
        .expect("endpoint.mcp.rejected.reason.invalid_message", 4)
        .await;
}
