//! What is shown. Each scenario starts what it needs, and ends it.

mod burst;
mod calls;
mod churn;
mod configurations;
mod content;
mod cost;
mod files;
mod garbage;
mod killed;
mod kinds;
mod leader;
mod outage;
mod paused;
mod reload;
mod rude;
mod starts;
mod trap;

use std::pin::Pin;

use crate::Fallible;
use crate::report::Findings;

type Played = Pin<Box<dyn Future<Output = Fallible<Findings>> + Send>>;

/// One scenario.
pub struct Scenario {
    pub name: &'static str,
    /// What is shown, in one line.
    pub about: &'static str,
    start: fn(Findings) -> Played,
}

/// A scenario as a value.
macro_rules! scenario {
    ($name:literal, $about:literal, $play:path) => {
        Scenario {
            name: $name,
            about: $about,
            start: |findings| Box::pin($play(findings)),
        }
    };
}

impl Scenario {
    /// All of them, in the order in which they are played.
    pub const ALL: &[Self] = &[
        scenario!("files", "the files of envoy/fleet as they ship", files::play),
        scenario!(
            "burst",
            "3 gateways, a cap of 300, 1,000 initialize at once, spread unevenly, ten times",
            burst::play
        ),
        scenario!(
            "churn",
            "nine tenths of the cap, sessions come and go at random gateways for a minute",
            churn::play
        ),
        scenario!(
            "starts",
            "a gateway starts in a fleet with sessions",
            starts::play
        ),
        scenario!("killed", "a gateway with a share of 200 is killed", killed::play),
        scenario!("leader", "the leader of three etcds is killed", leader::play),
        scenario!(
            "away_local",
            "all of etcd is away for longer than a lease, `when_lost: local`",
            outage::local
        ),
        scenario!(
            "away_refuse",
            "all of etcd is away for longer than a lease, `when_lost: refuse`",
            outage::refuse
        ),
        scenario!(
            "paused",
            "a gateway stands still for longer than its lease, and goes on under load",
            paused::play
        ),
        scenario!(
            "reload",
            "listeners are updated while sessions come and go",
            reload::play
        ),
        scenario!(
            "configurations",
            "two configurations of one gateway, and two gateways with different caps",
            configurations::play
        ),
        scenario!(
            "kinds",
            "newcomers judged by their head, at an endpoint that evicts, with unknown ids",
            kinds::play
        ),
        scenario!("trap", "the worker that speaks to etcd traps", trap::play),
        scenario!(
            "garbage",
            "etcd answers 503, rubbish, half an answer, nothing, without end",
            garbage::play
        ),
        scenario!("rude", "4,000 newcomers leave while they are held", rude::play),
        scenario!(
            "content",
            "what the gateways tell is what lies in etcd",
            content::play
        ),
        scenario!(
            "calls",
            "requests to etcd, at caps of 100 and 100,000",
            calls::play
        ),
        scenario!(
            "cost",
            "CPU of a live session's request, with and without a fleet",
            cost::play
        ),
    ];

    /// Plays it. What cannot be played is a finding, too.
    pub async fn play(&self) -> Findings {
        let played = tokio::spawn((self.start)(Findings::of(self.name))).await;
        let wrong = match played {
            Ok(Ok(findings)) => return findings,
            Ok(Err(reason)) => reason,
            Err(panicked) => panicked.to_string(),
        };
        let mut findings = Findings::of(self.name);
        findings.check("can be played to its end", wrong, false);
        findings
    }
}
