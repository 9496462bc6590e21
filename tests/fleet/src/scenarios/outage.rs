//! All of etcd is away for longer than a lease.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::Fallible;
use crate::bed::{Bed, FLEET, LEASE_S};
use crate::clients::{Tally, close, open, open_at_once};
use crate::report::Findings;

const CAP: usize = 100;
/// Each gateway's own cap.
const OWN: usize = 60;
/// Sessions of the two gateways before.
const BEFORE: [usize; 2] = [30, 20];

/// How etcd goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its processes end: connections are refused.
    Stopped,
    /// Its processes hang: nothing is answered.
    Frozen,
}

/// `when_lost: local`.
pub async fn local(mut findings: Findings) -> Fallible<Findings> {
    for way in [Way::Stopped, Way::Frozen] {
        outage("local", way, &mut findings).await?;
    }
    Ok(findings)
}

/// `when_lost: refuse`.
pub async fn refuse(mut findings: Findings) -> Fallible<Findings> {
    for way in [Way::Stopped, Way::Frozen] {
        outage("refuse", way, &mut findings).await?;
    }
    Ok(findings)
}

async fn outage(when_lost: &str, way: Way, findings: &mut Findings) -> Fallible<()> {
    println!("  etcd of three members, {way:?}");
    let fleet = json!({"max_sessions": CAP, "when_lost": when_lost});
    let own = json!({"max_sessions": OWN});
    let mut bed = Bed::start_as(2, 3, fleet, |setup| setup.top(own.clone())).await?;
    let mut all = Tally::of(open_at_once(&bed.clients, &BEFORE).await).sessions;
    findings.equals(
        format!("{way:?}: sessions before"),
        all.len(),
        BEFORE.iter().sum(),
    );
    bed.at_rest().await?;

    away(&mut bed, way);
    let begun = Instant::now();
    within_the_lease(&bed, way, &mut all, findings).await;
    let lost = bed
        .all_say("fleet.lost", 1, Duration::from_secs(LEASE_S + 4))
        .await;
    let shown = lost.as_ref().map_or_else(Clone::clone, |_| {
        format!("{} ms after", begun.elapsed().as_millis())
    });
    findings.check(format!("{way:?}: both gateways are lost"), shown, lost.is_ok());
    while_lost(&bed, way, when_lost, &mut all, findings).await;
    findings.check(
        format!("{way:?}: warnings in the log of each gateway"),
        format!("{:?}", [bed.logged(0, "fleet_lost"), bed.logged(1, "fleet_lost")]),
        (0..2).all(|gateway| bed.logged(gateway, "fleet_lost") == 1),
    );

    back(&mut bed, way).await?;
    let begun = Instant::now();
    let found = bed.all_say("fleet.lost", 0, Duration::from_secs(10)).await;
    let shown = found.map(|_| format!("{} ms after", begun.elapsed().as_millis()));
    let is_found = shown.is_ok();
    findings.check(
        format!("{way:?}: both gateways are found again"),
        shown.unwrap_or_else(|reason| reason),
        is_found,
    );
    when_back(&bed, way, all, findings).await
}

fn away(bed: &mut Bed, way: Way) {
    match way {
        Way::Stopped => bed.etcd.stop(),
        Way::Frozen => bed.etcd.signal(Signal::STOP),
    }
}

async fn back(bed: &mut Bed, way: Way) -> Fallible<()> {
    match way {
        Way::Stopped => bed.etcd.start_again().await,
        Way::Frozen => {
            bed.etcd.signal(Signal::CONT);
            bed.etcd.wait_until_led().await
        }
    }
}

/// Within the lease nothing changes: each gateway has its slack, which is more than one place.
async fn within_the_lease(
    bed: &Bed,
    way: Way,
    all: &mut Vec<crate::clients::Session>,
    findings: &mut Findings,
) {
    let tally = Tally::of(vec![
        open(&bed.clients[0], 0).await,
        open(&bed.clients[1], 1).await,
    ]);
    findings.equals(
        format!("{way:?}: newcomers let in at once, within the lease, of 2"),
        tally.opened(),
        2,
    );
    all.extend(tally.sessions);
}

async fn while_lost(
    bed: &Bed,
    way: Way,
    when_lost: &str,
    all: &mut Vec<crate::clients::Session>,
    findings: &mut Findings,
) {
    let tally = Tally::of(open_at_once(&bed.clients, &[80, 80]).await);
    let (wanted, reason) = match when_lost {
        "local" => (2 * OWN - all.len(), "capacity"),
        _ => (0, "fleet_capacity"),
    };
    findings.equals(
        format!("{way:?}: newcomers let in while lost, of 160"),
        tally.opened(),
        wanted,
    );
    findings.nothing_else(format!("{way:?}: other answers"), &tally);
    let stat = format!("endpoint.mcp.rejected.reason.{reason}");
    let told = crate::bed::until(Duration::from_secs(3), || bed.sum(&stat) == tally.refused as u64).await;
    findings.check(
        format!("{way:?}: refusals counted as `{reason}`"),
        format!("{} of {}", bed.sum(&stat), tally.refused),
        told,
    );
    findings.figure(
        format!("{way:?}: longest time to a refusal while lost"),
        format!("{} ms", tally.refusals.longest().as_millis()),
    );
    all.extend(tally.sessions);
    let mut alive = 0;
    for session in all.iter() {
        let answer = bed.clients[session.gateway].ping(&session.id).await;
        alive += usize::from(answer.status == 200);
    }
    findings.equals(format!("{way:?}: live sessions that go on"), alive, all.len());
}

/// What each gateway has is written, even over the cap. Nobody grows until the sum is below.
async fn when_back(
    bed: &Bed,
    way: Way,
    all: Vec<crate::clients::Session>,
    findings: &mut Findings,
) -> Fallible<()> {
    let has = all.len();
    let enough = |shares: u64| shares >= has as u64;
    let begun = Instant::now();
    while !enough(bed.etcd.shares(FLEET).await?) && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let shares = bed.etcd.shares(FLEET).await?;
    findings.check(
        format!("{way:?}: sum of the shares, with {has} sessions"),
        shares,
        enough(shares),
    );
    let tally = Tally::of(open_at_once(&bed.clients, &[CAP, CAP]).await);
    let wanted = CAP.saturating_sub(has);
    findings.equals(
        format!("{way:?}: newcomers let in then, of 200, cap {CAP}"),
        tally.opened(),
        wanted,
    );
    let all: Vec<_> = all.into_iter().chain(tally.sessions).collect();
    let failed = close(&bed.clients, all).await;
    findings.equals(format!("{way:?}: DELETEs that failed"), failed, 0);
    Ok(())
}
