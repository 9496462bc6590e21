//! Servers that lose their sessions, and say so with another status than 404, under official clients.

use std::path::Path;
use std::time::Duration;

use conformance::Fallible;
use conformance::outcome::Outcome;
use conformance::parties::{CLIENTS, Client, SERVERS, forgetful};
use conformance::process::Program;
use gateway::setup::yaml;
use gateway::{Setup, poll};
use serde_json::json;

use crate::report::{Part, table};
use crate::victim::{Library, OLD, Place};

/// The clients, by their names in the conformance matrix.
const PLAYED: [&str; 6] = [
    "TypeScript 1.32.2",
    "TypeScript 2.4.0",
    "Python 1.30.0",
    "Python 2.3.0",
    "Rust 3.8.0",
    "mcp-remote 0.15.1",
];

/// An SDK for Python that answers 400.
const PYTHON: Library = Library {
    version: OLD,
    mode: "v1",
};

/// The words of hand-made servers, all of `envoy/lost-sessions.yaml` that no library here says by itself.
const WORDS: [(u16, &str); 6] = [
    (400, "Invalid session"),
    (400, "Session not found"),
    (400, "Unknown session"),
    (401, "Session not found"),
    (401, "invalid session"),
    (200, "Session not found"),
];

/// Longer than any client here needs to come to the point where it asks for another server.
const SOON: Duration = Duration::from_secs(60);

struct Forgetful {
    name: String,
    program: Program,
}

fn servers() -> Vec<Forgetful> {
    let everything = Forgetful {
        name: format!("{}: 400 `No valid session ID`", SERVERS[0].name),
        program: SERVERS[0].program(),
    };
    let old = Forgetful {
        name: format!("{}: 400 `No valid session ID`, as text", PYTHON.name()),
        program: PYTHON.program(),
    };
    let by_hand = WORDS.map(|(status, text)| Forgetful {
        name: format!("TypeScript 1.32.2, by hand: {status} `{text}`"),
        program: forgetful(status, text),
    });
    [everything, old].into_iter().chain(by_hand).collect()
}

/// Every server under every client.
pub async fn play() -> Fallible<Part> {
    let mut part = Part::new("lost");
    let mut rows = Vec::new();
    for server in servers() {
        let mut row = vec![server.name.clone()];
        for name in PLAYED {
            let client = CLIENTS
                .iter()
                .find(|client| client.name == name)
                .ok_or_else(|| format!("no client is called {name}"))?;
            let direct = session(client, &server, false).await;
            let through = session(client, &server, true).await;
            let cell = format!("{} → {}", verdict(&direct), verdict(&through));
            println!(
                "  {}, {name}: {cell}\n    direct {direct:?}\n    through {through:?}",
                server.name
            );
            if !is_served(&through) {
                part.faults.push(format!("{}, {name}: {cell}", server.name));
            }
            row.push(cell);
        }
        rows.push(row);
    }
    let heads: Vec<&str> = ["server and its words"].into_iter().chain(PLAYED).collect();
    part.text = table(&heads, rows);
    Ok(part)
}

/// A client's session, in the middle of which the server is replaced.
async fn session(client: &Client, server: &Forgetful, through: bool) -> Result<Outcome, String> {
    let mut place = Place::start(server.program.clone()).await?;
    let gateway = match through {
        false => None,
        true => {
            let texts = yaml("lost-sessions.yaml")["lost_session"].take();
            let setup = Setup::new(place.address()).endpoint(json!({"lost_session": texts}));
            Some(setup.routes_as_shipped().try_start().await?)
        }
    };
    let address = gateway
        .as_ref()
        .map_or(place.address(), |gateway| gateway.address());
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = client
        .program(&format!("http://{address}/mcp"))
        .env("PLAY", "lost")
        .env("RESTART", folder.path().display().to_string());
    let (outcome, replaced) = tokio::join!(Outcome::of(&program), replace(&mut place, folder.path()));
    replaced.map(|()| outcome)
}

/// Replaces the server when the client asks for it.
async fn replace(place: &mut Place, folder: &Path) -> Fallible<()> {
    let wanted = || folder.join("wanted").exists().then_some(());
    poll::until(SOON, wanted)
        .await
        .ok_or("the client never came so far")?;
    place.replace().await?;
    std::fs::write(folder.join("done"), "").map_err(|error| error.to_string())
}

fn is_served(outcome: &Result<Outcome, String>) -> bool {
    passed(outcome, "served")
}

fn passed(outcome: &Result<Outcome, String>, step: &str) -> bool {
    let step = outcome.as_ref().ok().and_then(|outcome| outcome.step(step));
    step.is_some_and(|step| step.ok)
}

fn verdict(outcome: &Result<Outcome, String>) -> String {
    match outcome {
        Err(error) => error.clone(),
        Ok(_) if passed(outcome, "again") => "goes on".to_owned(),
        Ok(_) if passed(outcome, "served") => "told, begins anew".to_owned(),
        Ok(_) => "**dead**".to_owned(),
    }
}
