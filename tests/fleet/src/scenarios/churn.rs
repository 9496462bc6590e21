//! Nearly full, and sessions come and go at gateways chosen at random.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gateway::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::{Bed, LEASE_S};
use crate::clients::{Tally, close, open};
use crate::random::Random;
use crate::report::Findings;

const CAP: usize = 300;
/// Nine tenths of the cap.
const CLIENTS: u64 = 270;
const TIME: Duration = Duration::from_secs(60);
/// How long a session lives, in milliseconds.
const LIFE: (u64, u64) = (2_000, 15_000);

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let bed = Bed::start(3, json!({"max_sessions": CAP})).await?;
    let before = bed.each("fleet.conflicts");
    let tally = Arc::new(Mutex::new(Tally::default()));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        let visitor = Visitor {
            gateways: bed.clients.clone(),
            random: Random::new(seed),
            tally: tally.clone(),
            is_over: is_over.clone(),
        };
        clients.spawn(visitor.come_and_go());
    }
    watch(&bed, &tally, &mut findings).await;
    is_over.store(true, Ordering::Relaxed);
    let failed: usize = clients.join_all().await.iter().sum();
    let tally = std::mem::take(&mut *tally.lock().expect("no client has panicked"));
    findings.figure("sessions opened", tally.opened());
    findings.equals("newcomers refused", tally.refused, 0);
    findings.nothing_else("other answers", &tally);
    findings.equals("DELETEs that failed", failed, 0);
    findings.figure("time to the answer", &tally.waits);
    findings.figure("answers after more than 250 ms", tally.waits.over(250));
    let peak = bed.server.take_peak();
    findings.check("most sessions at the server at once", peak, peak <= CAP);
    findings.figure(
        "lost races, each gateway",
        format!("{before:?} before, {:?} after", bed.each("fleet.conflicts")),
    );
    Ok(findings)
}

/// Tells every five seconds how it goes. The gateways' own count may never be over the cap.
async fn watch(bed: &Bed, tally: &Mutex<Tally>, findings: &mut Findings) {
    let begun = Instant::now();
    let mut most = 0;
    let mut told = Duration::ZERO;
    while begun.elapsed() < TIME {
        most = most.max(bed.sum("fleet.used"));
        if begun.elapsed() >= told {
            told += Duration::from_secs(5);
            let tally = tally.lock().expect("no client has panicked");
            println!(
                "  {:>2} s: {} opened, {} refused, used {:?}, shares {:?}; {}",
                begun.elapsed().as_secs(),
                tally.opened(),
                tally.refused,
                bed.each("fleet.used"),
                bed.each("fleet.share"),
                tally.waits
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    findings.check(
        "most sessions by the gateways' own count",
        most,
        most <= CAP as u64,
    );
    findings.equals("gateways that were lost, lease of 3 s", bed.sum("fleet.lost"), 0);
    debug_assert_eq!(LEASE_S, 3);
}

/// A client that has one session after the other.
struct Visitor {
    gateways: Vec<Client>,
    random: Random,
    tally: Arc<Mutex<Tally>>,
    is_over: Arc<AtomicBool>,
}

impl Visitor {
    /// Returns how many of its DELETEs failed.
    async fn come_and_go(mut self) -> usize {
        let mut failed = 0;
        // They do not all come at once.
        self.stay((0, LIFE.1 / 2)).await;
        while !self.is_over.load(Ordering::Relaxed) {
            let gateway = self.random.below(self.gateways.len() as u64) as usize;
            let attempt = open(&self.gateways[gateway], gateway).await;
            let session = attempt.session();
            self.tally.lock().expect("no client has panicked").add(attempt);
            self.stay(LIFE).await;
            failed += close(&self.gateways, session.into_iter().collect()).await;
        }
        failed
    }

    async fn stay(&mut self, (least, most): (u64, u64)) {
        let time = Duration::from_millis(least + self.random.below(most - least));
        let end = Instant::now() + time;
        while Instant::now() < end && !self.is_over.load(Ordering::Relaxed) {
            let rest = end.saturating_duration_since(Instant::now());
            tokio::time::sleep(rest.min(Duration::from_millis(500))).await;
        }
    }
}
