//! What answers in etcd's place is no etcd.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Fallible;
use crate::bed::{Bed, FLEET, LEASE_S, member};
use crate::clients::{Tally, open, open_at_once};
use crate::etcd::Etcd;
use crate::proxy::{Mode, Proxy};
use crate::report::Findings;
use crate::server::Server;

const CAP: usize = 100;
const OWN: usize = 60;

const MODES: [Mode; 5] = [
    Mode::Refuse,
    Mode::Rubbish,
    Mode::Half,
    Mode::Nothing,
    Mode::Endless,
];

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let etcd = Etcd::start(1, None).await?;
    let proxy = Proxy::start(etcd.addresses()[0]).await?;
    let mut bed = Bed {
        gateways: Vec::new(),
        clients: Vec::new(),
        server: Server::start().await,
        etcd,
    };
    for _ in 0..2 {
        let setup = member(&bed.server, &[proxy.address()], json!({"max_sessions": CAP}));
        bed.add(setup.top(json!({"max_sessions": OWN}))).await?;
    }
    bed.joined(2).await?;
    let mut all = Tally::of(open_at_once(&bed.clients, &[20, 10]).await);
    findings.equals("sessions before", all.opened(), 30);
    for mode in MODES {
        one(&bed, &proxy, mode, &mut all, &mut findings).await?;
    }
    let peak = bed.server.take_peak();
    findings.check(
        format!("most at the server at once, cap {CAP}, each gateway's {OWN}"),
        peak,
        peak <= 2 * OWN,
    );
    let memory: Vec<u64> = bed
        .gateways
        .iter()
        .map(|gateway| gateway.envoy().resident_bytes() >> 20)
        .collect();
    findings.figure("memory of each Envoy in the end", format!("{memory:?} MiB"));
    Ok(findings)
}

async fn one(bed: &Bed, proxy: &Proxy, mode: Mode, all: &mut Tally, findings: &mut Findings) -> Fallible<()> {
    bed.at_rest().await?;
    let refused = all.refused;
    let told = (0..2)
        .map(|gateway| bed.logged(gateway, "fleet_lost"))
        .collect::<Vec<_>>();
    proxy.set(mode);
    let (begun, asked) = (Instant::now(), proxy.requests());
    all.add(open(&bed.clients[0], 0).await);
    findings.equals(
        format!("{mode:?}: refused so far, within the lease"),
        all.refused - refused,
        0,
    );
    let lost = bed
        .all_say("fleet.lost", 1, Duration::from_secs(LEASE_S + 4))
        .await;
    let seen = lost.as_ref().map_or_else(Clone::clone, |_| {
        format!("{} ms after", begun.elapsed().as_millis())
    });
    findings.check(format!("{mode:?}: both gateways are lost"), seen, lost.is_ok());
    all.add(open(&bed.clients[1], 1).await);
    findings.equals(
        format!("{mode:?}: refused so far, while lost, `when_lost: local`"),
        all.refused - refused,
        0,
    );
    let more: Vec<usize> = (0..2)
        .map(|gateway| bed.logged(gateway, "fleet_lost") - told[gateway])
        .collect();
    findings.check(
        format!("{mode:?}: warnings of each gateway"),
        format!("{more:?}"),
        more == [1, 1],
    );
    let (seconds, requests) = (begun.elapsed().as_secs_f64(), proxy.requests() - asked);
    findings.figure(
        format!("{mode:?}: requests to etcd of each gateway in a second meanwhile"),
        format!("{:.1}", requests as f64 / seconds / 2.0),
    );
    proxy.set(Mode::Pass);
    let found = bed.all_say("fleet.lost", 0, Duration::from_secs(10)).await;
    let seen = found
        .as_ref()
        .map_or_else(Clone::clone, |took| format!("{} ms after", took.as_millis()));
    findings.check(
        format!("{mode:?}: both gateways are found again"),
        seen,
        found.is_ok(),
    );
    let entries = bed.etcd.entries(FLEET).await?;
    // A lease that etcd has given, and whose answer was lost, may have left a key, until it ends.
    println!("  {mode:?}: etcd has {entries:?}");
    findings.nothing_else(format!("{mode:?}: other answers"), all);
    Ok(())
}
