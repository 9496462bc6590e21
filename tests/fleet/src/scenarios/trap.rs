//! The worker that speaks to etcd dies.

use std::time::{Duration, Instant};

use gateway::{Call, Http, setup};
use serde_json::json;

use crate::Fallible;
use crate::bed::{Bed, FLEET};
use crate::clients::{Tally, open, open_at_once};
use crate::report::Findings;

const CAP: usize = 100;
/// Each reaches a worker by chance. Two workers, and one of them speaks, or the main thread does.
const TRAPS: usize = 8;
/// Another worker takes over within this time.
const TAKEN_OVER: Duration = Duration::from_secs(2);

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let code = json!({"vm_config": {"code": {"local": {"filename": setup::trap_module()}}}});
    let change = |setup: gateway::Setup| setup.filter(code.clone()).faults_expected();
    let bed = Bed::start_as(2, 1, json!({"max_sessions": CAP}), change).await?;
    let before = Tally::of(open_at_once(&bed.clients, &[10, 10]).await);
    findings.equals("sessions before", before.opened(), 20);
    let names: Vec<String> = names(&bed).await?;
    for number in 0..TRAPS {
        let client = bed.gateways[0].client(Http::One);
        let answer = client.try_send(Call::get().header("x-trap-vm", "1")).await;
        println!("  trap {}: {:?}", number + 1, answer.map(|answer| answer.status));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let trapped = Instant::now();
    let first = first_that_needs_a_place(&bed, trapped).await;
    findings.check(
        "time until a gateway whose workers have died gets more places",
        format!("{} ms", first.as_millis()),
        first < TAKEN_OVER + Duration::from_secs(1),
    );
    findings.check(
        "the gateways in etcd are the same",
        format!("{names:?}"),
        names == self::names(&bed).await?,
    );
    findings.equals("gateways that are lost", bed.sum("fleet.lost"), 0);
    every_worker_serves(&bed).await?;
    let held = bed.server.held();
    let rest = Tally::of(open_at_once(&bed.clients, &[CAP, CAP]).await);
    findings.check(
        format!("sessions in the end, cap {CAP}"),
        format!("{held} and {}", rest.opened()),
        held + rest.opened() == CAP,
    );
    findings.nothing_else("other answers", &rest);
    Ok(findings)
}

/// Opens sessions through the gateway until it has had to ask for more: twice as many as its slack.
async fn first_that_needs_a_place(bed: &Bed, trapped: Instant) -> Duration {
    let mut tally = Tally::default();
    let end = trapped + Duration::from_secs(10);
    while tally.opened() < 20 && Instant::now() < end {
        tally.add(open(&bed.clients[0], 0).await);
    }
    trapped.elapsed()
}

/// Waits until no request gets a 503 of Envoy's, which a worker gives until its VM is loaded anew.
async fn every_worker_serves(bed: &Bed) -> Fallible<()> {
    let end = Instant::now() + Duration::from_secs(15);
    let mut served = 0;
    while served < 20 {
        let client = bed.gateways[0].client(Http::One);
        let answer = client.try_send(Call::delete().session("none")).await;
        served = if answer.is_ok_and(|answer| answer.status != 503) {
            served + 1
        } else {
            0
        };
        if Instant::now() > end {
            return Err("a worker does not serve again".to_owned());
        }
    }
    Ok(())
}

async fn names(bed: &Bed) -> Fallible<Vec<String>> {
    let entries = bed.etcd.entries(FLEET).await?;
    Ok(entries.into_iter().map(|entry| entry.gateway).collect())
}
