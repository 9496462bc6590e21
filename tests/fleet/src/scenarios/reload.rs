//! Listeners are updated while sessions come and go: the share goes on, and a new cap comes into force.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::listeners::{Listeners, from_file};
use gateway::{Client, Setup, poll};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::{Bed, FLEET, member};
use crate::clients::{Tally, close, open, open_at_once};
use crate::etcd::Etcd;
use crate::random::Random;
use crate::report::Findings;
use crate::server::Server;

const CAP: u64 = 100;
const RAISED: u64 = 200;
/// Clients that come and go, half of the cap.
const CLIENTS: u64 = 50;

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let files = [Listeners::new(), Listeners::new()];
    let mut bed = Bed {
        gateways: Vec::new(),
        clients: Vec::new(),
        server: Server::start().await,
        etcd: Etcd::start(1, None).await?,
    };
    for file in &files {
        file.write(&configured(&bed, CAP, json!({})));
        let setup = configured(&bed, CAP, json!({}));
        bed.add(from_file(setup, &file.file())).await?;
    }
    bed.joined(2).await?;
    let names = names(&bed).await?;
    let traffic = Traffic::start(&bed);
    // A configuration that is loaded again, byte for byte, while its listener drains, comes into force later: so each has
    // another `idle_timeout`.
    let updates = [
        ("the same cap at both", CAP, [true, true], "20m", CAP),
        ("a higher cap at the first", RAISED, [true, false], "21m", CAP),
        ("a higher cap at both", RAISED, [false, true], "21m", RAISED),
        ("a lower cap at the first", CAP, [true, false], "22m", CAP),
    ];
    for (what, cap, which, idle, in_force) in updates {
        traffic.goes_on().await?;
        update(&bed, &files, which, cap, &json!({"idle_timeout": idle})).await?;
        let took = bed.all_say("fleet.limit", in_force, Duration::from_secs(5)).await;
        let seen = took.as_ref().map_or_else(Clone::clone, |took| {
            format!("{in_force} after {} ms", took.as_millis())
        });
        findings.check(format!("{what}: the cap in force"), seen, took.is_ok());
        println!("  {what}: {}", traffic.told());
    }
    let tally = traffic.end().await;
    findings.figure("sessions opened meanwhile", tally.opened());
    findings.equals("newcomers refused", tally.refused, 0);
    findings.nothing_else("other answers", &tally);
    findings.figure("time to the answer", &tally.waits);
    findings.check(
        "the gateways in etcd are the same",
        format!("{names:?}"),
        names == self::names(&bed).await?,
    );
    let full = Tally::of(open_at_once(&bed.clients, &[150, 150]).await);
    findings.equals("let in at once in the end, cap 100", full.opened(), CAP as usize);
    close(&bed.clients, full.sessions).await;
    Ok(findings)
}

fn configured(bed: &Bed, cap: u64, endpoint: Value) -> Setup {
    let setup = member(&bed.server, &bed.etcd.addresses(), json!({"max_sessions": cap}));
    // A listener that is replaced has time to finish its requests.
    setup.drain_seconds(3).endpoint(endpoint)
}

/// Updates the listeners, and waits until the new ones serve.
async fn update(
    bed: &Bed,
    files: &[Listeners; 2],
    which: [bool; 2],
    cap: u64,
    endpoint: &Value,
) -> Fallible<()> {
    for (number, file) in files.iter().enumerate().filter(|(number, _)| which[*number]) {
        let modified = || {
            bed.gateways[number].envoy_stat("listener_manager.listener_modified")
                + bed.gateways[number].envoy_stat("listener_manager.listener_in_place_updated")
        };
        let before = modified();
        file.write(&configured(bed, cap, endpoint.clone()));
        let updated = poll::until(poll::SOON, || (modified() > before).then_some(())).await;
        updated.ok_or("the listener was not updated")?;
    }
    Ok(())
}

async fn names(bed: &Bed) -> Fallible<Vec<String>> {
    let entries = bed.etcd.entries(FLEET).await?;
    Ok(entries.into_iter().map(|entry| entry.gateway).collect())
}

/// Sessions that come and go.
struct Traffic {
    clients: JoinSet<()>,
    tally: Arc<Mutex<Tally>>,
    is_over: Arc<AtomicBool>,
}

impl Traffic {
    fn start(bed: &Bed) -> Self {
        let (tally, is_over) = (
            Arc::new(Mutex::new(Tally::default())),
            Arc::new(AtomicBool::new(false)),
        );
        let mut clients = JoinSet::new();
        for seed in 0..CLIENTS {
            clients.spawn(visitor(bed.clients.clone(), seed, tally.clone(), is_over.clone()));
        }
        Self {
            clients,
            tally,
            is_over,
        }
    }

    /// Waits until thirty more sessions were opened.
    async fn goes_on(&self) -> Fallible<()> {
        let opened = || self.tally.lock().expect("no client has panicked").opened();
        let before = opened();
        let went_on = crate::bed::until(poll::SOON, || opened() > before + 30).await;
        went_on
            .then_some(())
            .ok_or_else(|| "no more sessions are opened".to_owned())
    }

    fn told(&self) -> String {
        let tally = self.tally.lock().expect("no client has panicked");
        format!(
            "{} opened, {} refused; {}",
            tally.opened(),
            tally.refused,
            tally.waits
        )
    }

    async fn end(self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
        std::mem::take(&mut *self.tally.lock().expect("no client has panicked"))
    }
}

async fn visitor(gateways: Vec<Client>, seed: u64, tally: Arc<Mutex<Tally>>, is_over: Arc<AtomicBool>) {
    let mut random = Random::new(seed);
    while !is_over.load(Ordering::Relaxed) {
        let gateway = random.below(gateways.len() as u64) as usize;
        let attempt = open(&gateways[gateway], gateway).await;
        let session = attempt.session();
        tally.lock().expect("no client has panicked").add(attempt);
        tokio::time::sleep(Duration::from_millis(500 + random.below(1_500))).await;
        // At the end of a listener Envoy closes connections, a DELETE on the way with them.
        while close(&gateways, session.clone().into_iter().collect()).await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
