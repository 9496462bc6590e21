//! How each client reacts to each of the filter's own answers.

use gateway::{Call, Client as Http, McpServer};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::Bed;
use crate::bend::{self, Alteration, Bend, Form, Place, Rule, Seen, Times};
use crate::matrix;
use crate::outcome::Outcome;
use crate::parties::{CLIENTS, Client, SERVERS, Transport};

/// How long a client waits for one step. Long beside any answer here.
const PATIENCE_MS: &str = "5000";

/// An answer of the filter, and how a client is brought to get it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Refusal {
    pub status: u16,
    pub place: Place,
    pub times: Times,
    /// The form into which the proxy changes it, to find the form that serves best.
    pub form: Form,
    /// The answer's text.
    pub text: &'static str,
    alteration: Alteration,
    /// All places are taken.
    full: bool,
    /// Whether clients with sessions get it, and those without.
    legacy: bool,
    modern: bool,
}

const NONE: Alteration = Alteration {
    id: None,
    padding: 0,
    header: None,
};
const UNKNOWN: Alteration = Alteration {
    id: Some(Some("a-session-that-never-was")),
    ..NONE
};
const INVALID: Alteration = Alteration {
    id: Some(Some("not an id")),
    ..NONE
};
/// A request without an id is held, and needs a place under the cap.
const NAMELESS: Alteration = Alteration {
    id: Some(None),
    ..NONE
};
const LARGE: Alteration = Alteration {
    padding: 4096,
    ..NAMELESS
};
const ANOTHER_NAME: Alteration = Alteration {
    header: Some(("mcp-name", "another")),
    ..NONE
};

const FULL: &str = "Too many open sessions";
const NOT_FOUND: &str = "Session not found";
const INVALID_ID: &str = "Invalid session id";
const TOO_LARGE: &str = "Request too large";
const MISMATCH: &str = "Header mismatch";

use Place::{Call as ToolsCall, Initialize, Initialized, Stream};
use Times::{Always, Once};

const fn refusal(
    status: u16,
    place: Place,
    times: Times,
    text: &'static str,
    alteration: Alteration,
) -> Refusal {
    Refusal {
        status,
        place,
        times,
        form: Form::AsItIs,
        text,
        alteration,
        full: false,
        legacy: true,
        modern: false,
    }
}

const fn full(status: u16, place: Place, times: Times, alteration: Alteration) -> Refusal {
    Refusal {
        full: true,
        ..refusal(status, place, times, FULL, alteration)
    }
}

/// An answer that clients without sessions get as well.
const fn by_all(refusal: Refusal) -> Refusal {
    Refusal {
        modern: true,
        ..refusal
    }
}

const fn by_modern(refusal: Refusal) -> Refusal {
    Refusal {
        legacy: false,
        modern: true,
        ..refusal
    }
}

/// A refusal in every form that an answer could have.
fn forms(refusal: Refusal) -> impl Iterator<Item = Refusal> {
    let forms = [Form::AsItIs, Form::Echoed, Form::Text, Form::Ok];
    forms.into_iter().map(move |form| Refusal { form, ..refusal })
}

/// Gateways that differ in one thing, each with the refusals that it gives.
fn gateways() -> [(serde_json::Value, Vec<Refusal>); 4] {
    let bounded = json!({"unknown_session": "reject", "max_request_bytes": 2048});
    let full_of = |status: u16| json!({"max_sessions": 4, "capacity_status": status});
    let mut rest = vec![
        refusal(404, Initialize, Always, NOT_FOUND, UNKNOWN),
        refusal(400, Initialize, Always, INVALID_ID, INVALID),
        refusal(413, Initialize, Always, TOO_LARGE, LARGE),
        refusal(404, Initialized, Once, NOT_FOUND, UNKNOWN),
        refusal(400, Initialized, Once, INVALID_ID, INVALID),
        refusal(413, Initialized, Once, TOO_LARGE, LARGE),
        refusal(404, ToolsCall, Once, NOT_FOUND, UNKNOWN),
        refusal(404, ToolsCall, Always, NOT_FOUND, UNKNOWN),
        refusal(404, Stream, Once, NOT_FOUND, UNKNOWN),
        refusal(400, Stream, Once, INVALID_ID, INVALID),
    ];
    rest.extend(forms(refusal(400, ToolsCall, Once, INVALID_ID, INVALID)));
    rest.extend(forms(by_all(refusal(413, ToolsCall, Once, TOO_LARGE, LARGE))));
    let full = |status: u16| {
        let initialize = full(status, Initialize, Always, NONE);
        vec![initialize, full(status, ToolsCall, Once, NAMELESS)]
    };
    let mismatch = by_modern(refusal(400, ToolsCall, Once, MISMATCH, ANOTHER_NAME));
    [
        (bounded, rest),
        (full_of(429), full(429)),
        (full_of(503), full(503)),
        (json!({"verify_headers": true}), vec![mismatch]),
    ]
}

/// A client's reaction to a refusal.
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

/// All reactions, and the gateways left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reactions {
    pub all: Vec<Reaction>,
    pub left_out: Vec<(String, String)>,
}

/// Plays every client against every refusal; the gateways side by side.
pub async fn play() -> Fallible<Reactions> {
    let mut lanes = JoinSet::new();
    for (fields, refusals) in gateways() {
        lanes.spawn(lane(fields, refusals));
    }
    let mut reactions = Reactions::default();
    while let Some(lane) = lanes.join_next().await {
        match lane.map_err(|error| error.to_string())?? {
            Ok(played) => reactions.all.extend(played),
            Err(left_out) => reactions.left_out.push(left_out),
        }
    }
    let order = |reaction: &Reaction| {
        let client = CLIENTS.iter().position(|client| client.name == reaction.client);
        let refusal = reaction.refusal;
        (
            (refusal.place as u8, refusal.status, refusal.times as u8),
            (refusal.form as u8, refusal.text, client),
        )
    };
    reactions.all.sort_by_key(order);
    Ok(reactions)
}

type Lane = Result<Vec<Reaction>, (String, String)>;

async fn lane(fields: serde_json::Value, refusals: Vec<Refusal>) -> Fallible<Lane> {
    let server = McpServer::start(0).await.map_err(|error| error.to_string())?;
    let bed = match Bed::start(&SERVERS[0], server.address(), fields.clone()).await {
        Ok(bed) => bed,
        Err(log) => return Ok(Err((fields.to_string(), matrix::refusal(&log)?))),
    };
    let mut reactions = Vec::new();
    for client in CLIENTS
        .iter()
        .filter(|client| client.transport == Transport::StreamableHttp)
    {
        for refusal in refusals.iter().filter(|refusal| refusal.is_for(client)) {
            let reaction = react(client, *refusal, &bed).await?;
            println!("  {}", reaction.line());
            reactions.push(reaction);
        }
    }
    Ok(Ok(reactions))
}

async fn react(client: &Client, refusal: Refusal, bed: &Bed) -> Fallible<Reaction> {
    let http = Http::new(bed.address(), gateway::client::Http::One);
    let is_full_before = refusal.full && refusal.place == Initialize;
    let occupants = match is_full_before {
        true => bend::fill(&http).await,
        false => Vec::new(),
    };
    let rule = (refusal.alteration != NONE).then_some(Rule {
        place: refusal.place,
        times: refusal.times,
        alteration: refusal.alteration,
        full: refusal.full,
        form: refusal.form,
    });
    let bend = Bend::start(bed.address(), rule).await?;
    let program = client.program(&format!("http://{}/mcp", bend.address()));
    let program = program.env("PLAY", "refused").env("PATIENCE_MS", PATIENCE_MS);
    let outcome = Outcome::of(&program).await;
    for id in bend.sessions().into_iter().chain(occupants) {
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
    seen.status == refusal.status && (seen.altered || refusal.alteration == NONE)
}

/// A client's reaction in a few words.
fn verdict(refusal: Refusal, outcome: &Outcome, seen: &[Seen]) -> String {
    let failed = outcome.steps.iter().filter(|step| !step.ok);
    let failed: Vec<&str> = failed.map(|step| step.name.as_str()).collect();
    let details = || {
        outcome
            .steps
            .iter()
            .filter(|step| !step.ok)
            .map(|step| step.detail.as_str())
    };
    let told = match details().any(|detail| detail.contains(refusal.text)) {
        true => "told why",
        false if details().any(|detail| detail.contains(&refusal.status.to_string())) => "told the status",
        false => "not told why",
    };
    let opened = seen
        .iter()
        .filter(|seen| seen.message == "initialize" && seen.status == 200)
        .count();
    let hangs = details().any(|detail| detail.contains("HANGS"));
    let base = match failed.as_slice() {
        [] if opened > 1 && refusal.times == Always => format!("opens {opened} sessions"),
        [] => "goes on".to_owned(),
        _ if hangs => format!("**hangs** in {}", failed[0]),
        ["connect"] => format!("no session, {told}"),
        ["call"] | ["list"] => format!("fails, {told}; goes on"),
        _ if refusal.times == Always => format!("fails, {told}"),
        _ => format!("**dies**, {told}"),
    };
    let after = seen.iter().skip_while(|seen| !is_met(refusal, seen));
    let falls_back = refusal.place == Initialize && after.into_iter().any(|seen| seen.method == "GET");
    match falls_back {
        true => format!("{base}, tries a GET"),
        false => base,
    }
}

impl Refusal {
    fn is_for(&self, client: &Client) -> bool {
        if client.modern { self.modern } else { self.legacy }
    }

    /// How tables name it.
    pub fn name(&self) -> String {
        let times = match (self.place, self.times) {
            (ToolsCall, Always) => ", every one",
            _ => "",
        };
        let form = match self.form {
            Form::AsItIs => "",
            Form::Echoed => ", id echoed",
            Form::Text => ", as text",
            Form::Ok => ", as 200, id echoed",
        };
        let what = if self.text == MISMATCH { " mismatch" } else { "" };
        format!("{}{what} on {}{times}{form}", self.status, self.place.name())
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
