//! The plays against each server.

use conformance::Fallible;
use conformance::outcome::Outcome;
use conformance::process::Program;
use gateway::{Call, message};
use serde_json::{Value, json};

use crate::bed::{Bed, Routes};
use crate::parties::{self, Party};
use crate::report::Row;

/// Spellings of one path that some servers take for the same.
const SPELLINGS: [&str; 9] = [
    "/mcp/", "/MCP", "/Mcp/", "/mcp;a=b", "/mcp%2f", "//mcp", "/./mcp", "/%6dcp", "/mcp",
];

/// Other paths at which servers of Go and Java answer when they are mounted everywhere.
const ELSEWHERE: [&str; 5] = ["/x/mcp", "/;a/mcp", "/anything", "/MCP", "/mcp"];

/// Each is an `initialize` to a server that folds names, takes the last of two, or takes a notification for a request.
const FOLDED: [&str; 6] = [
    r#"{"jsonrpc":"2.0","id":1,"Method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"initialize","param\u017f":{"protocolVersion":"2025-11-25"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"},"result":{}}"#,
    r#"{"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
    r#"{"jsonrpc":"2.0","id":null,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#,
];

const MADE_UP: &str = "mcp-session-00000000-0000-4000-8000-000000000000";

/// If a play fails because of the machine, its row says so.
async fn row(party: &Party, play: &str, played: impl Future<Output = Fallible<Row>>) -> Row {
    match played.await {
        Ok(row) => row,
        Err(error) => Row::failed(party.name, play, error),
    }
}

/// An `initialize` to each of these paths, with one place for all.
async fn paths(party: &Party, play: &str, routes: Routes, paths: &[&str]) -> Row {
    let played = async {
        let mut bed = Bed::start(party, play, routes, json!({})).await?;
        for path in paths {
            bed.send(Call::initialize().path(path)).await?;
        }
        Ok(bed.row(String::new()).await)
    };
    row(party, play, played).await
}

/// Ids that are alive, that have ended, and that no server gave, on an `initialize`.
async fn ids(party: &Party, unknown: &str) -> Row {
    let play = format!("ids on initialize, {unknown}");
    let played = async {
        let mut bed = Bed::start(party, &play, Routes::Shipped, json!({"unknown_session": unknown})).await?;
        bed.send(Call::initialize()).await?;
        let live = bed.usable().await?.pop().ok_or("no session")?;
        bed.send(Call::initialize().session(&live)).await?;
        bed.send(Call::initialize().session(MADE_UP)).await?;
        bed.send(Call::delete().session(&live).revision(message::REVISION))
            .await?;
        for id in [&live, MADE_UP] {
            bed.send(Call::initialize().session(id)).await?;
        }
        bed.send(Call::initialize()).await?;
        if let Some(live) = bed.usable().await?.pop() {
            bed.send(Call::initialize().session(&live)).await?;
        }
        Ok(bed.row(String::new()).await)
    };
    row(party, &play, played).await
}

/// Messages that only some servers take for an `initialize`: without an id, with a live one, with one that no server
/// gave.
async fn folded(party: &Party) -> Row {
    let play = "names that fold";
    let played = async {
        let mut bed = Bed::start(party, play, Routes::Shipped, json!({})).await?;
        for body in FOLDED {
            bed.send_unanswered(Call::post_bytes(body), party).await?;
        }
        bed.send(Call::initialize()).await?;
        for body in FOLDED {
            let live = bed.usable().await?.pop().unwrap_or_else(|| MADE_UP.to_owned());
            for call in [
                Call::post_bytes(body),
                Call::post_bytes(body).session(&live),
                Call::post_bytes(body).session(MADE_UP),
            ] {
                bed.send_unanswered(call, party).await?;
            }
        }
        Ok(bed.row(String::new()).await)
    };
    row(party, play, played).await
}

/// A whole session of a client of this server, which leaves `left` sessions. Nothing may be worse than without the
/// filter.
async fn session(
    party: &Party,
    client: (&str, u64),
    routes: Routes,
    program: impl Fn(&str) -> Fallible<Program>,
) -> Row {
    let (name, left) = client;
    let play = format!("a session of {name}");
    let played = async {
        let direct = party.start().await?;
        let url = format!("http://{}/mcp", direct.server.address());
        let without = Outcome::of(&program(&url)?).await;
        drop(direct);
        let mut bed = Bed::start(party, &play, routes, json!({})).await?;
        let with = Outcome::of(&program(&bed.url("/mcp"))?).await;
        bed.saw(format!(
            "{} of {} steps (direct {})",
            with.passed(),
            with.steps.len(),
            without.passed()
        ));
        let mut worse = with.worse_than(&without).join("; ");
        if without.passed() == 0 {
            worse = format!("nothing works without the filter: {without:?}");
        }
        if !bed.has_counted_one().await {
            worse.push_str(" and not one session was counted");
        }
        Ok(bed.agreed(left, worse).await)
    };
    row(party, &play, played).await
}

/// server-everything, on Express.
pub async fn everything() -> Vec<Row> {
    let party = parties::everything();
    vec![
        paths(&party, "spellings, shipped routes", Routes::Shipped, &SPELLINGS).await,
        paths(&party, "spellings, every path routed", Routes::All, &SPELLINGS).await,
        ids(&party, "adopt").await,
        folded(&party).await,
    ]
}

/// The official SDK for Python, and what it is asked without an id.
pub async fn python() -> Vec<Row> {
    let mounted = parties::python_server("Python 1.30.0, 307 to /mcp/", "1.30.0", "mounted");
    let without_get = parties::python_server("Python 1.30.0, no GET", "1.30.0", "without-get");
    let old = parties::python_server("Python 1.29.0", "1.29.0", "plain");
    let mut rows = vec![paths(&mounted, "spellings, every path routed", Routes::All, &SPELLINGS).await];
    for (party, routes) in [(&mounted, Routes::All), (&without_get, Routes::Shipped)] {
        // The TypeScript SDK sends no DELETE when it is closed.
        for client in [("TypeScript 1.32.2", 1), ("Python 1.30.0", 0)] {
            let program = |url: &str| parties::client(client.0, url);
            rows.push(session(party, client, routes, program).await);
        }
    }
    rows.push(without_ids(&old).await);
    rows
}

/// Requests for a server that makes a session for each request without an id.
fn nameless() -> [(&'static str, Call); 7] {
    let ping: Value = message::request(7, "ping", json!({}));
    [
        ("GET", Call::get()),
        ("HEAD", Call::method("HEAD")),
        ("OPTIONS", Call::method("OPTIONS")),
        ("DELETE", Call::delete()),
        ("PUT", Call::method("PUT")),
        ("ping", Call::post(&ping)),
        ("initialize without Accept", Call::initialize().without("accept")),
    ]
}

/// A session, then many requests without an id. The server is told to end what it keeps for them.
async fn without_ids(party: &Party) -> Row {
    let play = "requests without ids";
    let played = async {
        let mut bed = Bed::start(party, play, Routes::Shipped, json!({"max_sessions": 2})).await?;
        bed.send(Call::initialize()).await?;
        for (what, call) in nameless() {
            bed.saw(what.to_owned());
            for _ in 0..10 {
                bed.send(call.clone()).await?;
            }
        }
        Ok(bed.row(String::new()).await)
    };
    row(party, play, played).await
}

/// The official SDK for Go, and mcp-go.
pub async fn go() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, which) in [("Go SDK 1.8.0", "sdk"), ("mcp-go 1.2.1", "mcp-go")] {
        let party = parties::go_server(name, which);
        rows.extend(everywhere_mounted(&party).await);
        let program = |url: &str| Ok(parties::go_client(which, url));
        rows.push(session(&party, (name, 0), Routes::Shipped, program).await);
    }
    rows
}

/// The official SDK for Java.
pub async fn java() -> Vec<Row> {
    let party = parties::java_server();
    let mut rows = everywhere_mounted(&party).await;
    let program = |url: &str| Ok(parties::java_client(url));
    rows.push(session(&party, (party.name, 0), Routes::Shipped, program).await);
    rows
}

async fn everywhere_mounted(party: &Party) -> Vec<Row> {
    vec![
        ids(party, "adopt").await,
        ids(party, "reject").await,
        folded(party).await,
        paths(party, "other paths, shipped routes", Routes::Shipped, &ELSEWHERE).await,
        paths(party, "spellings, every path routed", Routes::All, &SPELLINGS).await,
    ]
}
