//! Newcomers of other kinds: judged by their head, at an endpoint that evicts, with an id that nobody knows.

use std::time::{Duration, Instant};

use gateway::{Call, Setup};
use serde_json::json;

use crate::Fallible;
use crate::bed::Bed;
use crate::clients::{Tally, close, open, open_at_once};
use crate::report::Findings;

const CAP: usize = 50;

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    by_head(&mut findings).await?;
    evicting(&mut findings).await?;
    unknown(&mut findings).await?;
    Ok(findings)
}

/// Without `allow_on_headers_stop_iteration`, as on an older Envoy.
async fn by_head(findings: &mut Findings) -> Fallible<()> {
    let bed = Bed::start_as(2, 1, json!({"max_sessions": CAP}), Setup::admission_by_headers).await?;
    let begun = Instant::now();
    let mut opened = 0;
    let mut refused = 0;
    for round in 0..3 {
        let attempts = open_at_once(&bed.clients, &[if round == 1 { 20 } else { 150 }, 60]).await;
        // A refusal by the head echoes no id, which `Tally` asks for.
        let sessions: Vec<_> = attempts.iter().filter_map(|attempt| attempt.session()).collect();
        refused += attempts.iter().filter(|attempt| attempt.status == 429).count();
        opened += sessions.len();
        findings.equals(
            format!("`admission: headers`, round {}: let in", round + 1),
            sessions.len(),
            CAP,
        );
        close(&bed.clients, sessions).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    println!(
        "  by head: {opened} let in, {refused} refused in {:?}",
        begun.elapsed()
    );
    findings.equals(
        "`admission: headers`: refused in three rounds",
        refused,
        210 + 80 + 210 - 3 * CAP,
    );
    Ok(())
}

/// At the fleet's cap a session of this gateway gives way, and only there.
async fn evicting(findings: &mut Findings) -> Fallible<()> {
    let change = |setup: Setup| setup.endpoint(json!({"on_full": "evict_idle"}));
    let bed = Bed::start_as(2, 1, json!({"max_sessions": CAP}), change).await?;
    let before = Tally::of(open_at_once(&bed.clients, &[20, 30]).await);
    findings.equals("`evict_idle`: sessions that fill the fleet", before.opened(), CAP);
    let evicted = || bed.each("endpoint.mcp.ended.reason.evicted");
    findings.check(
        "`evict_idle`: evicted while there was room",
        format!("{:?}", evicted()),
        evicted() == [0, 0],
    );
    let more = Tally::of(open_at_once(&bed.clients, &[10, 0]).await);
    findings.equals("`evict_idle`: let in at the cap, of 10", more.opened(), 10);
    findings.figure("`evict_idle`: time to the answer at the cap", &more.waits);
    let is_right = crate::bed::until(Duration::from_secs(3), || evicted() == [10, 0]).await;
    findings.check(
        "`evict_idle`: evicted, each gateway",
        format!("{:?}", evicted()),
        is_right,
    );
    findings.equals("`evict_idle`: used in the end", bed.sum("fleet.used"), CAP as u64);
    Ok(())
}

/// An unknown id never waits: without a place it passes untracked.
async fn unknown(findings: &mut Findings) -> Fallible<()> {
    let bed = Bed::start(2, json!({"max_sessions": CAP})).await?;
    let full = Tally::of(open_at_once(&bed.clients, &[60, 0]).await);
    findings.equals("unknown ids: sessions that fill the fleet", full.opened(), CAP);
    let known = open(&bed.clients[1], 1).await;
    findings.equals("unknown ids: a newcomer at the other gateway", known.status, 429);
    // A session of the first gateway, at the second.
    let id = &full.sessions[0].id;
    let mut longest = Duration::ZERO;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let answer = bed.clients[1].try_send(Call::tools_list().session(id)).await?;
        longest = longest.max(begun.elapsed());
        statuses.push(answer.status);
    }
    findings.check(
        "unknown ids: answers at the other gateway, full",
        format!("{statuses:?}"),
        statuses == [200; 5],
    );
    findings.check(
        "unknown ids: longest time to the answer",
        format!("{} ms", longest.as_millis()),
        longest < Duration::from_millis(250),
    );
    let untracked = crate::bed::until(Duration::from_secs(3), || {
        bed.gateways[1].stat("endpoint.mcp.untracked") == 5
    })
    .await;
    findings.check(
        "unknown ids: counted untracked",
        bed.gateways[1].stat("endpoint.mcp.untracked"),
        untracked,
    );
    Ok(())
}
