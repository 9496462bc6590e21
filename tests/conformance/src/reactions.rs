//! How each client takes each of the filter's own answers.

use gateway::{Call, Client as Http, McpServer};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::Bed;
use crate::bend::{Alteration, Bend, Place, Rule, Seen, Times};
use crate::outcome::Outcome;
use crate::parties::{CLIENTS, Client, SERVERS, Transport};

/// How long a client waits for one step. Long beside any answer here.
const PATIENCE_MS: &str = "5000";

/// An answer of the filter's and how a client is brought to meet it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Refusal {
    pub status: u16,
    pub place: Place,
    pub times: Times,
    /// What the answer says.
    pub text: &'static str,
    alteration: Alteration,
    /// All places are taken before the client comes.
    full: bool,
}

const UNKNOWN: Alteration = Alteration {
    id: Some(Some("a-session-that-never-was")),
    padding: 0,
};
const INVALID: Alteration = Alteration {
    id: Some(Some("not an id")),
    padding: 0,
};
/// Without an id a request is held, and asks for a place.
const NAMELESS: Alteration = Alteration {
    id: Some(None),
    padding: 0,
};
const LARGE: Alteration = Alteration {
    id: Some(None),
    padding: 4096,
};
const NONE: Alteration = Alteration { id: None, padding: 0 };

const fn refusal(status: u16, place: Place, times: Times, text: &'static str, alteration: Alteration) -> Refusal {
    Refusal {
        status,
        place,
        times,
        text,
        alteration,
        full: false,
    }
}

const fn full(status: u16) -> Refusal {
    Refusal {
        full: true,
        ..refusal(status, Place::Initialize, Times::Always, FULL, NONE)
    }
}

const FULL: &str = "Too many open sessions";
const NOT_FOUND: &str = "Session not found";
const INVALID_ID: &str = "Invalid session id";
const TOO_LARGE: &str = "Request too large";

use Place::{Call as ToolsCall, Initialize, Initialized, Stream};
use Times::{Always, Once};

/// Gateways that differ in one thing, each with the refusals that it gives.
fn gateways() -> [(serde_json::Value, Vec<Refusal>); 3] {
    let bounded = json!({"unknown_session": "reject", "max_request_bytes": 2048});
    let full_of = |status: u16| json!({"max_sessions": 1, "capacity_status": status});
    let rest = vec![
        refusal(404, Initialize, Always, NOT_FOUND, UNKNOWN),
        refusal(400, Initialize, Always, INVALID_ID, INVALID),
        refusal(413, Initialize, Always, TOO_LARGE, LARGE),
        refusal(404, Initialized, Once, NOT_FOUND, UNKNOWN),
        refusal(400, Initialized, Once, INVALID_ID, INVALID),
        refusal(413, Initialized, Once, TOO_LARGE, LARGE),
        refusal(404, ToolsCall, Once, NOT_FOUND, UNKNOWN),
        refusal(404, ToolsCall, Always, NOT_FOUND, UNKNOWN),
        refusal(400, ToolsCall, Once, INVALID_ID, INVALID),
        refusal(413, ToolsCall, Once, TOO_LARGE, LARGE),
        refusal(404, Stream, Once, NOT_FOUND, UNKNOWN),
        refusal(400, Stream, Once, INVALID_ID, INVALID),
    ];
    [
        (bounded, rest),
        (full_of(429), vec![full(429), refusal(429, ToolsCall, Once, FULL, NAMELESS)]),
        (full_of(503), vec![full(503), refusal(503, ToolsCall, Once, FULL, NAMELESS)]),
    ]
}

/// What a client made of a refusal.
#[derive(Debug, Clone, Serialize)]
pub struct Reaction {
    pub client: &'static str,
    pub refusal: Refusal,
    pub verdict: String,
    /// The filter gave the answer that was meant.
    pub met: bool,
    pub outcome: Outcome,
    pub seen: Vec<Seen>,
}

/// Plays every client against every refusal; the gateways side by side.
pub async fn play() -> Fallible<Vec<Reaction>> {
    let mut lanes = JoinSet::new();
    for (fields, refusals) in gateways() {
        lanes.spawn(lane(fields, refusals));
    }
    let mut reactions = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        reactions.extend(lane.map_err(|error| error.to_string())??);
    }
    let order = |reaction: &Reaction| {
        let client = CLIENTS.iter().position(|client| client.name == reaction.client);
        let refusal = reaction.refusal;
        (refusal.place as u8, refusal.status, refusal.times as u8, client)
    };
    reactions.sort_by_key(order);
    Ok(reactions)
}

async fn lane(fields: serde_json::Value, refusals: Vec<Refusal>) -> Fallible<Vec<Reaction>> {
    let server = McpServer::start(0).await.map_err(|error| error.to_string())?;
    let bed = Bed::start(&SERVERS[0], server.address(), fields).await?;
    let mut reactions = Vec::new();
    for client in CLIENTS.iter().filter(|client| client.transport == Transport::StreamableHttp) {
        for refusal in &refusals {
            let reaction = react(client, *refusal, &bed).await?;
            println!("  {}", reaction.line());
            reactions.push(reaction);
        }
    }
    Ok(reactions)
}

async fn react(client: &Client, refusal: Refusal, bed: &Bed) -> Fallible<Reaction> {
    let http = Http::new(bed.address(), gateway::client::Http::One);
    let occupant = match refusal.full {
        true => Some(http.open_session().await),
        false => None,
    };
    let altered = refusal.alteration != NONE;
    let rule = altered.then_some(Rule {
        place: refusal.place,
        times: refusal.times,
        alteration: refusal.alteration,
    });
    let bend = Bend::start(bed.address(), rule).await?;
    let program = client.program(&format!("http://{}/mcp", bend.address()));
    let program = program.env("PLAY", "refused").env("PATIENCE_MS", PATIENCE_MS);
    let outcome = Outcome::of(&program).await;
    for id in bend.sessions().into_iter().chain(occupant) {
        let _ = http.try_send(Call::delete().session(&id)).await;
    }
    let seen = bend.seen();
    Ok(Reaction {
        client: client.name,
        refusal,
        verdict: verdict(refusal, &outcome, &seen),
        met: seen.iter().any(|seen| is_met(refusal, seen)),
        outcome,
        seen,
    })
}

fn is_met(refusal: Refusal, seen: &Seen) -> bool {
    seen.status == refusal.status && (seen.altered || refusal.full)
}

/// A client's reaction in a few words.
fn verdict(refusal: Refusal, outcome: &Outcome, seen: &[Seen]) -> String {
    let failed = outcome.steps.iter().filter(|step| !step.ok);
    let failed: Vec<&str> = failed.map(|step| step.name.as_str()).collect();
    let details = || outcome.steps.iter().filter(|step| !step.ok).map(|step| step.detail.as_str());
    let told = match details().any(|detail| detail.contains(refusal.text)) {
        true => "told why",
        false if details().any(|detail| detail.contains(&refusal.status.to_string())) => "told the status",
        false => "not told why",
    };
    let opened = seen.iter().filter(|seen| seen.message == "initialize" && seen.status == 200).count();
    let hangs = details().any(|detail| detail.contains("HANGS"));
    let base = match failed.as_slice() {
        [] if opened > 1 && refusal.times == Always => format!("opens {opened} sessions"),
        [] => "goes on".to_owned(),
        _ if hangs => format!("**hangs** in {}", failed[0]),
        ["connect"] => format!("no session, {told}"),
        ["call"] | ["list"] => format!("call fails, {told}; goes on"),
        _ if refusal.times == Always => format!("calls fail, {told}"),
        _ => format!("**dies**, {told}"),
    };
    let falls_back = refusal.place == Initialize && seen.iter().any(|seen| seen.method == "GET");
    match falls_back {
        true => format!("{base}, tries a GET"),
        false => base,
    }
}

impl Refusal {
    /// How tables name it.
    pub fn name(&self) -> String {
        let times = match (self.place, self.times) {
            (ToolsCall, Always) => ", every one",
            _ => "",
        };
        format!("{} on {}{times}", self.status, self.place.name())
    }
}

impl Reaction {
    fn line(&self) -> String {
        format!("{:<36} {:<24} {}", self.refusal.name(), self.client, self.shown())
    }

    /// What a table shows.
    pub fn shown(&self) -> &str {
        if self.met { &self.verdict } else { "never asks" }
    }
}
