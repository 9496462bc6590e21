//! A gateway dies with a share, and the others have it after its lease.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::Fallible;
use crate::bed::Bed;
use crate::clients::{Tally, open, open_at_once};
use crate::report::Findings;

const CAP: usize = 300;
const SHARE: usize = 200;
const LEASE: Duration = Duration::from_secs(5);
/// etcd looks for leases that have ended twice a second, and the others look once a second.
const AFTER: Duration = Duration::from_secs(3);

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let bed = Bed::start(3, json!({"max_sessions": CAP, "lease": "5s"})).await?;
    let of_the_first = Tally::of(open_at_once(&bed.clients, &[SHARE, 0, 0]).await);
    findings.equals(
        "sessions of the gateway that will die",
        of_the_first.opened(),
        SHARE,
    );
    let others = Tally::of(open_at_once(&bed.clients, &[0, 100, 100]).await);
    findings.equals(
        "sessions of the other two, of 200 newcomers",
        others.opened(),
        CAP - SHARE,
    );

    bed.signal(0, Signal::KILL)?;
    let killed = Instant::now();
    println!("  killed; a newcomer comes to another gateway, again and again");
    let mut early = 0;
    let mut first = None;
    while killed.elapsed() < LEASE + AFTER && first.is_none() {
        let tally = Tally::of(vec![open(&bed.clients[1], 1).await]);
        match tally.opened() {
            0 => early += 1,
            _ => first = Some(killed.elapsed()),
        }
    }
    let Some(first) = first else {
        findings.check(
            "time until its places are usable elsewhere, lease 5 s",
            format!("not within {:?}", LEASE + AFTER),
            false,
        );
        return Ok(findings);
    };
    // The gateway renews its lease after a third of it, so that at least two thirds were left.
    findings.check(
        "time until its places are usable elsewhere, lease 5 s",
        format!("{} ms, after {early} refusals", first.as_millis()),
        first > LEASE / 2 && first < LEASE + AFTER,
    );
    let after = Tally::of(open_at_once(&bed.clients[..], &[0, 150, 150]).await);
    findings.equals(
        "newcomers let in then, of 300 more at once",
        after.opened(),
        SHARE - 1,
    );
    findings.nothing_else("other answers", &after);
    Ok(findings)
}
