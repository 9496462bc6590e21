//! Many newcomers at once, and all gateways together let in exactly as many as the cap says.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Fallible;
use crate::bed::{Bed, FLEET};
use crate::clients::{Tally, close, open_at_once};
use crate::report::Findings;

const CAP: usize = 300;
const ROUNDS: usize = 10;

/// How many newcomers each gateway has: in each round another one has most of them.
const SPREAD: [usize; 3] = [700, 220, 80];

/// A place that was given back is usable everywhere within this time.
const GIVEN_BACK: Duration = Duration::from_secs(2);

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let bed = Bed::start(SPREAD.len(), json!({"max_sessions": CAP})).await?;
    let (mut opened, mut peaks, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut longest = Duration::ZERO;
    let mut slowest_return = Duration::ZERO;
    for round in 0..ROUNDS {
        let mut counts = SPREAD;
        counts.rotate_right(round % SPREAD.len());
        let tally = Tally::of(open_at_once(&bed.clients, &counts).await);
        println!(
            "  round {}: {counts:?} newcomers, {} let in, {} refused, {} at the server; {}",
            round + 1,
            tally.opened(),
            tally.refused,
            bed.server.held(),
            tally.waits
        );
        opened.push(tally.opened());
        peaks.push(bed.server.take_peak());
        longest = longest.max(tally.waits.longest()).max(tally.refusals.longest());
        wrong.extend(tally.wrong);
        let failed = close(&bed.clients, tally.sessions).await;
        if failed > 0 {
            wrong.push(format!("{failed} DELETEs failed"));
        }
        slowest_return = slowest_return.max(given_back(&bed).await?);
    }
    findings.check(
        format!("sessions let in, of 1,000 at once, {ROUNDS} times"),
        format!("{opened:?}"),
        opened.iter().all(|opened| *opened == CAP),
    );
    findings.check(
        "most sessions at the server at once",
        format!("{peaks:?}"),
        peaks.iter().all(|peak| *peak == CAP),
    );
    findings.check(
        "answers that are neither a session nor a refusal",
        format!("{wrong:?}"),
        wrong.is_empty(),
    );
    let refused = bed.sum("endpoint.mcp.rejected.reason.fleet_capacity");
    findings.equals(
        "refusals counted as `fleet_capacity`",
        refused,
        (ROUNDS * (1_000 - CAP)) as u64,
    );
    findings.figure("longest time to an answer", format!("{} ms", longest.as_millis()));
    findings.figure(
        "time from the last DELETE until etcd has the places back, at most",
        format!("{} ms", slowest_return.as_millis()),
    );
    Ok(findings)
}

/// Waits until no share has more than its slack. Returns how long that took.
async fn given_back(bed: &Bed) -> Fallible<Duration> {
    let begun = Instant::now();
    loop {
        let shares = bed.etcd.shares(FLEET).await?;
        if shares <= (CAP / 8) as u64 {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > GIVEN_BACK {
            return Err(format!(
                "{shares} places are in shares {GIVEN_BACK:?} after all sessions have ended"
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
