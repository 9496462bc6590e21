//! What the gateways tell of the fleet is what lies in etcd.

use std::time::Duration;

use gateway::{Call, Http};
use serde_json::{Value, json};

use crate::Fallible;
use crate::bed::Bed;
use crate::clients::{Tally, close, open_at_once};
use crate::etcd::Entry;
use crate::report::Findings;

const CAP: usize = 300;
const SESSIONS: [usize; 3] = [70, 7, 23];

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

async fn compare(bed: &Bed, when: &str, sessions: [usize; 3], findings: &mut Findings) -> Fallible<()> {
    let wanted = sessions.map(|count| count as u64).to_vec();
    let used = crate::bed::until(Duration::from_secs(5), || bed.each("fleet.used") == wanted).await;
    findings.check(
        format!("{when}: `fleet.used` of each gateway"),
        format!("{:?}", bed.each("fleet.used")),
        used,
    );
    let agreed = bed.agrees_with_etcd(Duration::from_secs(8)).await;
    let entries = agreed.clone().unwrap_or_default();
    findings.check(
        format!("{when}: share, gateways and limit at each gateway and in etcd"),
        agreed
            .as_ref()
            .map_or_else(Clone::clone, |entries| shown(entries)),
        agreed.is_ok(),
    );
    for (number, gateway) in bed.gateways.iter().enumerate() {
        let call = Call::get().without("accept");
        let call = call.header("accept", "application/json");
        let view = gateway.status_view(Http::One).send(call).await.json();
        let problem = problem(
            &view["fleet"],
            &entries,
            gateway.stat("fleet.share"),
            sessions[number],
        );
        let seen = problem.clone().unwrap_or_else(|| "equal".to_owned());
        findings.check(
            format!("{when}: the status view of gateway {} and etcd", number + 1),
            seen,
            problem.is_none(),
        );
    }
    Ok(())
}

fn shown(entries: &[Entry]) -> String {
    let shares: Vec<u64> = entries.iter().map(|entry| entry.share).collect();
    format!("equal: shares {shares:?}")
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
