//! What the gateways tell of the fleet is what lies in etcd.

use std::time::{Duration, Instant};

use gateway::{Call, Http};
use serde_json::{Value, json};

use crate::Fallible;
use crate::bed::Bed;
use crate::clients::{Tally, close, open_at_once};
use crate::etcd::Entry;
use crate::report::Findings;

const CAP: usize = 300;
const SESSIONS: [usize; 3] = [70, 7, 23];
/// Until then nothing moves any more.
const AT_REST: Duration = Duration::from_secs(8);

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let change = |setup: gateway::Setup| setup.status_view(json!({}));
    let bed = Bed::start_as(3, 1, json!({"max_sessions": CAP}), change).await?;
    compare(&bed, "empty", [0; 3], &mut findings).await?;
    let mut tally = Tally::of(open_at_once(&bed.clients, &SESSIONS).await);
    compare(&bed, "in use", SESSIONS, &mut findings).await?;
    let rest = tally.sessions.split_off(50);
    let mut left = [0; 3];
    rest.iter().for_each(|session| left[session.gateway] += 1);
    close(&bed.clients, tally.sessions).await;
    compare(&bed, "half of them ended", left, &mut findings).await?;
    Ok(findings)
}

/// Compares them until nothing moves any more, and all say the same.
async fn compare(bed: &Bed, when: &str, sessions: [usize; 3], findings: &mut Findings) -> Fallible<()> {
    let wanted = sessions.map(|count| count as u64).to_vec();
    let used = crate::bed::until(Duration::from_secs(5), || bed.each("fleet.used") == wanted).await;
    findings.check(
        format!("{when}: `fleet.used` of each gateway"),
        format!("{:?}", bed.each("fleet.used")),
        used,
    );
    let begun = Instant::now();
    loop {
        let seen = differences(bed, sessions).await?;
        let is_over = begun.elapsed() > AT_REST;
        if let Ok(shares) = &seen {
            let seen = format!(
                "equal after {} ms: shares {shares:?}",
                begun.elapsed().as_millis()
            );
            findings.check(
                format!("{when}: the stats and status view of each gateway, and etcd"),
                seen,
                true,
            );
            return Ok(());
        } else if let Err(reason) = seen
            && is_over
        {
            findings.check(
                format!("{when}: the stats and status view of each gateway, and etcd"),
                reason,
                false,
            );
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The shares, if all say the same; or else what differs.
async fn differences(bed: &Bed, sessions: [usize; 3]) -> Fallible<Result<Vec<u64>, String>> {
    let entries = match bed.agrees_with_etcd(Duration::ZERO).await {
        Ok(entries) => entries,
        Err(reason) => return Ok(Err(reason)),
    };
    for (number, gateway) in bed.gateways.iter().enumerate() {
        let call = Call::get().without("accept").header("accept", "application/json");
        let view = gateway.status_view(Http::One).try_send(call).await?.json();
        let share = gateway.stat("fleet.share");
        if let Some(problem) = problem(&view["fleet"], &entries, share, sessions[number]) {
            return Ok(Err(format!("gateway {}: {problem}", number + 1)));
        }
    }
    Ok(Ok(entries.iter().map(|entry| entry.share).collect()))
}

/// What differs between a status view and etcd.
fn problem(view: &Value, entries: &[Entry], share: u64, used: usize) -> Option<String> {
    let gateways = view["gateways"].as_array().cloned().unwrap_or_default();
    let entry = |gateway: &Value| {
        Some((
            gateway["gateway"].as_str()?.to_owned(),
            gateway["share"].as_u64()?,
        ))
    };
    let mut seen: Vec<_> = gateways.iter().filter_map(entry).collect();
    seen.sort();
    let written: Vec<_> = entries
        .iter()
        .map(|entry| (entry.gateway.clone(), entry.share))
        .collect();
    let selves = gateways.iter().filter(|gateway| gateway["self"] == true).count();
    let own = json!({"limit": CAP, "share": share, "used": used, "lost": false});
    let is_own = ["limit", "share", "used", "lost"]
        .iter()
        .all(|name| view[name] == own[name]);
    let is_right = seen == written && selves == 1 && is_own;
    (!is_right).then(|| format!("{view}, while etcd has {written:?} and {own} was expected"))
}
