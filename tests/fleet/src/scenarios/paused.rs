//! A gateway stands still for longer than its lease, and others take its share.

use std::time::{Duration, Instant};

use gateway::Http;
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::{Bed, LEASE_S};
use crate::clients::{Session, Tally, close, open, open_at_once};
use crate::report::Findings;

const CAP: usize = 300;
const OF_THE_PAUSED: usize = 100;
const ROUNDS: usize = 3;
/// Newcomers that lie in the gateway's sockets when it goes on.
const WAITING: usize = 60;

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    for round in 1..=ROUNDS {
        paused(round, &mut findings).await?;
    }
    Ok(findings)
}

async fn paused(round: usize, findings: &mut Findings) -> Fallible<()> {
    let bed = Bed::start(2, json!({"max_sessions": CAP})).await?;
    let mut first = Tally::of(open_at_once(&bed.clients, &[OF_THE_PAUSED, 0]).await);
    // A gateway with places to spare is the harder case.
    let spare = first.sessions.split_off(OF_THE_PAUSED / 2);
    let connected = connected(&bed).await;
    let failed = close(&bed.clients, spare).await;
    bed.stop(0).await?;
    let stopped = Instant::now();
    let waiting = send_to_the_paused(connected);
    tokio::time::sleep(Duration::from_secs(LEASE_S + 2)).await;
    let second = Tally::of(open_at_once(&bed.clients, &[0, CAP + 50]).await);
    bed.signal(0, Signal::CONT)?;
    println!(
        "  round {round}: stood still for {} ms",
        stopped.elapsed().as_millis()
    );
    let woken = Tally::of(waiting.join_all().await);
    findings.equals(
        format!("{round}: sessions of the gateway that stood still"),
        first.opened() - failed,
        OF_THE_PAUSED / 2,
    );
    findings.equals(
        format!("{round}: let in by the other meanwhile, of {}", CAP + 50),
        second.opened(),
        CAP,
    );
    findings.equals(
        format!("{round}: let in by the one that goes on, of {WAITING} in its sockets"),
        woken.opened(),
        0,
    );
    let over = OF_THE_PAUSED / 2;
    let peak = bed.server.take_peak();
    findings.check(
        format!("{round}: most at the server at once, cap {CAP}"),
        peak,
        peak <= CAP + over,
    );
    let more = Tally::of(open_at_once(&bed.clients, &[50, 50]).await);
    findings.equals(
        format!("{round}: let in while the fleet is over its cap, of 100"),
        more.opened(),
        0,
    );
    room_again(&bed, first.sessions, second.sessions, round, findings).await
}

/// Clients with a connection each, since a gateway that stands still takes none.
async fn connected(bed: &Bed) -> Vec<gateway::Client> {
    let mut clients = Vec::new();
    for _ in 0..WAITING {
        let client = bed.gateways[0].client(Http::One);
        // No MCP: it opens no session, and needs no place.
        let _ = client.try_send(gateway::Call::delete().session("none")).await;
        clients.push(client);
    }
    clients
}

fn send_to_the_paused(clients: Vec<gateway::Client>) -> JoinSet<crate::clients::Attempt> {
    let mut waiting = JoinSet::new();
    for client in clients {
        waiting.spawn(async move { open(&client, 0).await });
    }
    waiting
}

/// Once sessions end, the gateway that stood still has its part again.
async fn room_again(
    bed: &Bed,
    first: Vec<Session>,
    second: Vec<Session>,
    round: usize,
    findings: &mut Findings,
) -> Fallible<()> {
    let rest = second.len() - 100;
    let failed = close(&bed.clients, second.into_iter().skip(rest).collect()).await;
    findings.equals(format!("{round}: DELETEs that failed"), failed, 0);
    let wanted = CAP - first.len() - rest;
    // Places are usable everywhere within two seconds, and a newcomer waits for one.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let again = Tally::of(open_at_once(&bed.clients, &[CAP, 0]).await);
    findings.equals(
        format!("{round}: let in by it once 100 sessions have ended"),
        again.opened(),
        wanted,
    );
    Ok(())
}
