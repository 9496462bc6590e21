//! Clients that leave while they wait for a place.

use std::time::{Duration, Instant};

use gateway::{Call, Http};
use serde_json::json;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::{Bed, FLEET};
use crate::clients::{Tally, close, open, open_at_once};
use crate::random::Random;
use crate::report::Findings;

const CAP: usize = 50;
const WAVES: u64 = 10;
/// Newcomers of one wave, each with a connection of its own.
const WAVE: u64 = 400;

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let bed = Bed::start(2, json!({"max_sessions": CAP})).await?;
    let mut full = Tally::default();
    while full.opened() < CAP {
        // The other gateway has some to spare, and gives them back when it hears that this one is short.
        for attempt in open_at_once(&bed.clients, &[CAP - full.opened(), 0]).await {
            full.add(attempt);
        }
    }
    findings.equals("sessions that fill the fleet", bed.server.held(), CAP);
    let before = bed.gateways[1].envoy().resident_bytes() >> 20;
    let mut random = Random::new(1);
    for wave in 1..=WAVES {
        let mut leaving = JoinSet::new();
        for number in 0..WAVE {
            let http = if number % 2 == 0 { Http::One } else { Http::Two };
            let client = bed.gateways[1].client(http);
            let patience = Duration::from_millis(1 + random.below(400));
            leaving.spawn(async move {
                // Dropping the request is the client leaving.
                tokio::time::timeout(patience, client.try_send(Call::initialize()))
                    .await
                    .is_err()
            });
        }
        let left = leaving.join_all().await.iter().filter(|left| **left).count();
        println!("  wave {wave}: {left} of {WAVE} have left without an answer");
    }
    let after = bed.gateways[1].envoy().resident_bytes() >> 20;
    findings.figure(
        "memory of Envoy before and after 4,000 of them",
        format!("{before} MiB, {after} MiB"),
    );
    let gone = crate::bed::until(Duration::from_secs(5), || bed.sum("vm.reserved") == 0).await;
    findings.check("reservations left", bed.sum("vm.reserved"), gone);
    findings.equals("sessions at the server", bed.server.held(), CAP);
    nobody_waits(&bed, &mut findings).await?;
    let ended = full.sessions.split_off(CAP - 10);
    close(&bed.clients, ended).await;
    let begun = Instant::now();
    let mut again = Tally::default();
    while again.opened() < 10 && begun.elapsed() < Duration::from_secs(5) {
        again.add(open(&bed.clients[1], 1).await);
    }
    findings.check(
        "time until ten places that were given back are taken where the rude clients were",
        format!("{} ms, {} taken", begun.elapsed().as_millis(), again.opened()),
        again.opened() == 10 && begun.elapsed() < Duration::from_secs(3),
    );
    Ok(findings)
}

/// The gateway tells the others no longer that it is short.
async fn nobody_waits(bed: &Bed, findings: &mut Findings) -> Fallible<()> {
    let begun = Instant::now();
    loop {
        let entries = bed.etcd.entries(FLEET).await?;
        let waits = entries.iter().any(|entry| entry.waiting);
        if !waits || begun.elapsed() > Duration::from_secs(10) {
            let seen = format!("{} ms", begun.elapsed().as_millis());
            findings.check(
                "time until no gateway says in etcd that it is short",
                seen,
                !waits,
            );
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
