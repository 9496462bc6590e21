//! How much is asked of etcd.

use std::time::{Duration, Instant};

use gateway::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::Bed;
use crate::clients::{Tally, close, open};
use crate::random::Random;
use crate::report::Findings;

const GATEWAYS: usize = 3;
const TIME: Duration = Duration::from_secs(20);
const REST: Duration = Duration::from_secs(10);

/// Of each cap, how many clients come and go: six tenths of the small one, and as many as the machine bears of the
/// large one.
const CAPS: [(u64, u64); 2] = [(100, 60), (100_000, 600)];

/// What Envoy has sent to etcd for the filter. Its health checks are not among them.
const SENT: &str = "cluster.etcd.upstream_rq_total";

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    for (cap, clients) in CAPS {
        let own = json!({"max_sessions": 100_000});
        let bed = Bed::start_as(
            GATEWAYS,
            1,
            json!({"max_sessions": cap, "lease": "10s"}),
            |setup| setup.top(own.clone()),
        )
        .await?;
        bed.at_rest().await?;
        let (at_rest, seconds) = calls_in(&bed, tokio::time::sleep(REST)).await;
        // One a second: in 10 s and a little there may be 11.
        findings.check(
            format!("cap {cap}: requests of {GATEWAYS} gateways in {seconds:.1} s, at rest"),
            at_rest,
            at_rest <= GATEWAYS as f64 * (seconds.floor() + 1.0),
        );
        let mut tally = Tally::default();
        let (calls, seconds) = calls_in(&bed, async { tally = come_and_go(&bed, clients).await }).await;
        findings.equals(format!("cap {cap}: newcomers refused"), tally.refused, 0);
        findings.figure(
            format!("cap {cap}: sessions opened and ended in a second, {clients} clients"),
            format!("{:.0}", tally.opened() as f64 / seconds),
        );
        findings.figure(
            format!("cap {cap}: requests to etcd per session opened"),
            format!("{:.3}", calls / tally.opened() as f64),
        );
        findings.figure(
            format!("cap {cap}: requests of each gateway in a second"),
            format!("{:.2}", calls / seconds / GATEWAYS as f64),
        );
        findings.figure(format!("cap {cap}: time to the answer"), &tally.waits);
    }
    Ok(findings)
}

/// How many requests the gateways send to etcd during something, and how many seconds that took.
async fn calls_in(bed: &Bed, during: impl Future<Output = ()>) -> (f64, f64) {
    let sent = || -> u64 { bed.gateways.iter().map(|gateway| gateway.envoy_stat(SENT)).sum() };
    let (begun, before) = (Instant::now(), sent());
    during.await;
    (
        sent().saturating_sub(before) as f64,
        begun.elapsed().as_secs_f64(),
    )
}

/// Clients that have one session of a second after the other, at gateways chosen at random.
async fn come_and_go(bed: &Bed, clients: u64) -> Tally {
    let mut visitors = JoinSet::new();
    for seed in 0..clients {
        visitors.spawn(visitor(bed.clients.clone(), seed));
    }
    let mut whole = Tally::default();
    for attempts in visitors.join_all().await {
        attempts.into_iter().for_each(|attempt| whole.add(attempt));
    }
    whole
}

async fn visitor(gateways: Vec<Client>, seed: u64) -> Vec<crate::clients::Attempt> {
    let mut random = Random::new(seed);
    let mut attempts = Vec::new();
    let end = Instant::now() + TIME;
    tokio::time::sleep(Duration::from_millis(random.below(1_000))).await;
    while Instant::now() < end {
        let gateway = random.below(gateways.len() as u64) as usize;
        let attempt = open(&gateways[gateway], gateway).await;
        let session = attempt.session();
        attempts.push(attempt);
        tokio::time::sleep(Duration::from_millis(500 + random.below(1_000))).await;
        close(&gateways, session.into_iter().collect()).await;
    }
    attempts
}
