//! A gateway starts in a fleet that has sessions.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Fallible;
use crate::bed::{Bed, member};
use crate::clients::{Tally, close, open, open_at_once};
use crate::report::Findings;

const CAP: usize = 300;

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let mut bed = Bed::start(2, json!({"max_sessions": CAP})).await?;
    let mut before = Tally::of(open_at_once(&bed.clients, &[120, 60]).await);
    findings.equals("sessions before", before.opened(), 180);
    let setup = member(&bed.server, &bed.etcd.addresses(), json!({"max_sessions": CAP}));
    bed.add(setup).await?;
    let first = open(&bed.clients[2], 2).await;
    findings.check(
        "the first newcomer of a gateway that has just started",
        format!("{} after {} ms", first.status, first.took.as_millis()),
        first.status == 200 && first.took < Duration::from_secs(1),
    );
    before.add(first);
    let rest = Tally::of(open_at_once(&bed.clients, &[0, 0, 200]).await);
    findings.equals("let in by it, of 200 more", rest.opened(), CAP - before.opened());
    let full = open(&bed.clients[2], 2).await;
    findings.check(
        "a newcomer at the cap",
        format!("{} after {} ms", full.status, full.took.as_millis()),
        full.status == 429 && full.took < Duration::from_millis(1_500),
    );
    let one = before.sessions.drain(..1).collect();
    close(&bed.clients, one).await;
    let ended = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        let attempt = open(&bed.clients[2], 2).await;
        let took = ended.elapsed();
        if attempt.status == 200 || took > Duration::from_secs(4) {
            findings.check(
                "time until a place that was given back elsewhere is taken here",
                format!("{} ms, {tries} tries", took.as_millis()),
                attempt.status == 200 && took < Duration::from_secs(2),
            );
            return Ok(findings);
        }
    }
}
