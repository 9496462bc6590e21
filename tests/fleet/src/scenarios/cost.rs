//! What a request of a live session costs, with and without a fleet.

use std::time::Instant;

use gateway::{Client, Gateway, Http, Setup};
use serde_json::json;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::Bed;
use crate::report::Findings;

/// Requests of each part, and how many parts each gateway has, in turns.
const REQUESTS: usize = 4_000;
const PARTS: usize = 8;
const CLIENTS: usize = 4;

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let bed = Bed::start(1, json!({})).await?;
    let alone = Setup::new(bed.server.address()).workers(2).try_start().await?;
    let gateways = [&alone, &bed.gateways[0]];
    let mut costs = [Vec::new(), Vec::new()];
    for part in 0..PARTS {
        for (which, gateway) in gateways.iter().enumerate() {
            let cost = part_of(gateway).await?;
            println!(
                "  part {}, {}: {cost:.1} µs",
                part + 1,
                ["without", "with"][which]
            );
            costs[which].push(cost);
        }
    }
    let [without, with] = costs.map(Cost::of);
    findings.figure(
        "CPU of Envoy for a request of a live session, without `fleet`",
        &without,
    );
    findings.figure("the same with `fleet`", &with);
    findings.check(
        "difference of the medians",
        format!("{:+.1} µs", with.median - without.median),
        with.median - without.median < without.spread().max(with.spread()),
    );
    Ok(findings)
}

/// Microseconds of CPU for each request.
struct Cost {
    least: f64,
    median: f64,
    most: f64,
}

impl Cost {
    fn of(mut parts: Vec<f64>) -> Self {
        parts.sort_by(f64::total_cmp);
        let at = |place: usize| parts[place];
        Self {
            least: at(0),
            median: (at((parts.len() - 1) / 2) + at(parts.len() / 2)) / 2.0,
            most: at(parts.len() - 1),
        }
    }

    fn spread(&self) -> f64 {
        self.most - self.least
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { least, median, most } = self;
        write!(
            f,
            "{median:.1} µs ({least:.1} to {most:.1} in {PARTS} parts of {REQUESTS})"
        )
    }
}

async fn part_of(gateway: &Gateway) -> Fallible<f64> {
    let client = gateway.client(Http::One);
    let session = client.open_session().await;
    ping(&client, &session, REQUESTS / 10).await?;
    let before = cpu(gateway)?;
    let begun = Instant::now();
    ping(&client, &session, REQUESTS).await?;
    let used = cpu(gateway)? - before;
    client.delete(&session).await;
    debug_assert!(begun.elapsed().as_secs() < 60);
    Ok(used / REQUESTS as f64)
}

async fn ping(client: &Client, session: &str, requests: usize) -> Fallible<()> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, session) = (client.clone(), session.to_owned());
        clients.spawn(async move {
            for _ in 0..requests / CLIENTS {
                let answer = client.ping(&session).await;
                if answer.status != 200 {
                    return Err(format!("a ping got {}", answer.status));
                }
            }
            Ok(())
        });
    }
    clients.join_all().await.into_iter().collect()
}

/// The CPU that Envoy has used, in microseconds, by `/proc/<pid>/schedstat` of all its threads.
fn cpu(gateway: &Gateway) -> Fallible<f64> {
    let tasks = format!("/proc/{}/task", gateway.envoy().process_id());
    let threads = std::fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))?;
    let mut nanoseconds = 0.0;
    for thread in threads.flatten() {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text
            .split(' ')
            .next()
            .and_then(|word| word.parse::<f64>().ok())
            .unwrap_or(0.0);
    }
    Ok(nanoseconds / 1_000.0)
}
