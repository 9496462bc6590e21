//! etcd's leader dies.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Fallible;
use crate::bed::Bed;
use crate::clients::{Tally, open, open_at_once};
use crate::report::Findings;

const CAP: usize = 300;
const BEFORE: usize = 30;
const TIME: Duration = Duration::from_secs(12);

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    // The default: an election takes one to two seconds, and a lease of three is half used up when it begins.
    let fleet = json!({"max_sessions": CAP, "lease": "10s"});
    let mut bed = Bed::start_as(3, 3, fleet, |setup| setup).await?;
    let before = Tally::of(open_at_once(&bed.clients, &[BEFORE; 3]).await);
    findings.equals("sessions before", before.opened(), 3 * BEFORE);
    bed.at_rest().await?;
    let leader = bed.etcd.leader().await?;
    bed.etcd.kill(leader);
    println!("  the leader, member {leader}, was killed; one newcomer comes every 300 ms");
    let begun = Instant::now();
    let (mut tally, mut lost, mut number) = (Tally::default(), 0, 0);
    while begun.elapsed() < TIME {
        number += 1;
        let next = begun + Duration::from_millis(300) * number;
        let gateway = number as usize % bed.clients.len();
        tally.add(open(&bed.clients[gateway], gateway).await);
        lost = lost.max(bed.sum("fleet.lost"));
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
    }
    findings.equals("newcomers refused in the 12 s after", tally.refused, 0);
    findings.nothing_else("other answers", &tally);
    findings.equals("gateways lost at any time, lease 10 s", lost, 0);
    findings.figure("time to the answer", &tally.waits);
    bed.etcd.start_again().await?;
    let full = Tally::of(open_at_once(&bed.clients, &[200, 100, 100]).await);
    let wanted = CAP - before.opened() - tally.opened();
    findings.equals(
        "newcomers let in after it has come back, of 400",
        full.opened(),
        wanted,
    );
    Ok(findings)
}
