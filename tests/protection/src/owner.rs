//! An id of another's session, at a server that asks for no more than that (CVE-2026-52869, CVE-2026-67431).

use conformance::Fallible;
use gateway::message::REVISION;
use gateway::{Call, Client, Http, Setup, message};
use serde_json::json;

use crate::report::{Part, table};
use crate::victim::{Library, OLD, Victim};

const LIBRARY: Library = Library {
    version: OLD,
    mode: "guarded",
};

const OWNER: &str = "Bearer alice";
const STRANGER: &str = "Bearer mallory";

fn requests() -> [(&'static str, Call); 4] {
    [
        ("`ping`", Call::post(&message::request(7, "ping", json!({})))),
        (
            "`tools/call`",
            Call::post(&message::tools_call(8, "echo", json!({"message": "hello"}))),
        ),
        ("GET, the stream of what the server has to say", Call::get()),
        ("DELETE", Call::delete()),
    ]
}

/// Each request of a stranger with the owner's id, and the owner's `ping` after them.
pub async fn play() -> Fallible<Part> {
    let mut part = Part::new("owner");
    let victim = Victim::start(LIBRARY).await?;
    let principal = json!({"principal": [{"header": "authorization"}]});
    let setup = Setup::new(victim.address()).endpoint(principal);
    let gateway = setup.routes_as_shipped().try_start().await?;
    let direct = statuses(&Client::new(victim.address(), Http::One)).await?;
    let through = statuses(&gateway.client(Http::One)).await?;
    let expected = [404, 404, 404, 404, 200];
    let names = requests().map(|(name, _)| format!("a stranger's {name}"));
    let names = names.into_iter().chain(["then the owner's `ping`".to_owned()]);
    let mut rows = Vec::new();
    for (at, name) in names.enumerate() {
        println!("  {name}: {} {}", direct[at], through[at]);
        if through[at] != expected[at] {
            part.faults.push(format!("{name}: {}", through[at]));
        }
        rows.push(vec![name, direct[at].to_string(), through[at].to_string()]);
    }
    let title = format!(
        "**{}** with bearer tokens, direct and with `principal: [{{header: authorization}}]`:",
        LIBRARY.name()
    );
    part.text = format!(
        "{title}\n\n{}",
        table(
            &["a request with the owner's id", "direct", "through the filter"],
            rows
        )
    );
    Ok(part)
}

async fn statuses(client: &Client) -> Fallible<Vec<u16>> {
    let opened = client
        .try_send(Call::initialize().header("authorization", OWNER))
        .await?;
    let id = opened
        .session()
        .ok_or_else(|| format!("no session: {opened:?}"))?;
    let as_user = |call: Call, user: &str| call.session(id).revision(REVISION).header("authorization", user);
    let initialized = Call::post(&message::initialized());
    client.try_send(as_user(initialized, OWNER)).await?;
    let mut statuses = Vec::new();
    for (_, call) in requests() {
        // The head is enough: a stream has no end.
        statuses.push(client.try_open(as_user(call, STRANGER)).await?.status);
    }
    let [(_, ping), ..] = requests();
    statuses.push(client.try_open(as_user(ping, OWNER)).await?.status);
    Ok(statuses)
}
