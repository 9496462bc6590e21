//! A flood of `initialize`, at a server whose sessions never end by themselves (CVE-2026-67430).

use std::time::{Duration, Instant};

use conformance::Fallible;
use gateway::{Gateway, Setup};
use load::grouped;
use serde_json::json;

use crate::drive::{self, Tally};
use crate::kinds::opened;
use crate::report::{Part, table};
use crate::victim::{Held, Library, Victim};

const LIBRARY: Library = Library {
    version: "1.29.0",
    mode: "v1",
};

/// The endpoint's cap.
const CAP: u64 = 100;

/// Its idle time; a sweep comes a little later, and then a DELETE.
const IDLE: &str = "5s";
const SOON: Duration = Duration::from_secs(30);

/// Direct, and through a gateway with a cap.
pub async fn play(many: u64) -> Fallible<Part> {
    let mut part = Part::new("flood");
    let victim = Victim::start(LIBRARY).await?;
    let (direct, _) = flood(&victim, victim.address(), many).await?;
    drop(victim);
    let victim = Victim::start(LIBRARY).await?;
    let gateway = gateway(&victim).await?;
    let (through, tally) = flood(&victim, gateway.address(), many).await?;
    let after = ended(&victim).await?;
    if through.sessions > CAP || after.sessions > 0 {
        part.faults.push(format!(
            "{} sessions at a cap of {CAP}, {} after {IDLE}",
            through.sessions, after.sessions
        ));
    }
    println!("  {} {}: {tally:?}", victim.name(), grouped(through.sessions));
    let row = |way: &str, held: Held, answers: String| {
        let grown = format!("{} MB", grouped(held.resident / 1_000_000));
        vec![way.to_owned(), grouped(held.sessions), grown, answers]
    };
    let answers: Vec<String> = tally
        .iter()
        .map(|(status, count)| format!("{} × {status}", grouped(*count)))
        .collect();
    let rows = vec![
        row("direct", direct, format!("{} × 200", grouped(many))),
        row(&format!("`max_sessions: {CAP}`"), through, answers.join(", ")),
        row(
            &format!("the same, after `idle_timeout: {IDLE}`, with `terminate_upstream`"),
            after,
            String::new(),
        ),
    ];
    let title = format!(
        "**{}**, {} `initialize`, and no DELETE:",
        LIBRARY.name(),
        grouped(many)
    );
    let heads = ["", "sessions that the server keeps", "its memory", "answers"];
    part.text = format!("{title}\n\n{}", table(&heads, rows));
    Ok(part)
}

async fn gateway(victim: &Victim) -> Fallible<Gateway> {
    let upstream = json!({"cluster": "mcp", "authority": "127.0.0.1:8000"});
    let fields = json!({"max_sessions": CAP, "idle_timeout": IDLE, "terminate_upstream": upstream});
    let setup = Setup::new(victim.address()).workers(2).endpoint(fields);
    setup.routes_as_shipped().try_start().await
}

async fn flood(victim: &Victim, address: std::net::SocketAddr, many: u64) -> Fallible<(Held, Tally)> {
    let tally = drive::send(address, &opened(), many).await;
    Ok((victim.held().await?, tally))
}

/// What the server holds once its last session has ended, or at the latest when it should have.
async fn ended(victim: &Victim) -> Fallible<Held> {
    let end = Instant::now() + SOON;
    loop {
        let held = victim.held().await?;
        if held.sessions == 0 || Instant::now() > end {
            return Ok(held);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
