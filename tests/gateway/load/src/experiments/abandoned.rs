//! 10,000 sessions that clients abandon, at servers on the official SDKs, with and without `terminate_upstream`.

mod sdk;

use std::rc::Rc;
use std::time::{Duration, Instant};

use gateway::Gateway;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::sdk::{Sdk, SdkServer};
use super::Lab;
use super::bed::setup;
use crate::modes::{Ending, Lifecycles, Load};
use crate::results::{Chart, Claim, Line, Outcome, Shape, Style};
use crate::{Fallible, Target, grouped};

/// How many are abandoned.
const SESSIONS: u64 = 10_000;

/// How long the filter lets a session be idle.
const IDLE: &str = "5s";

/// How long a server has to end its sessions after the last was opened. If it has some left, it keeps them.
const PATIENCE: Duration = Duration::from_secs(240);

const ORIGINAL: &str =
    "python-sdk#2455: 224 created, 0 removed in 18 h; executor#1684: 157/h, no DELETE, 709 KiB each";

/// A server's own count of sessions, and its memory by the kernel.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Look {
    seconds: f64,
    sessions: u64,
    resident_mib: f64,
}

/// What became of a server's sessions.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Course {
    opened: u64,
    before: Look,
    looks: Vec<Look>,
    /// `sent`, `ok`, `failed`.
    deletes: [u64; 3],
}

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let sessions = lab.count(SESSIONS, 100);
    let mut outcome = Outcome {
        title: format!(
            "{} abandoned sessions at servers on the official SDKs",
            grouped(sessions)
        ),
        ..Outcome::default()
    };
    let mut figures = serde_json::Map::new();
    for sdk in Sdk::ALL {
        let with = course(sdk, sessions, true).await?;
        let without = course(sdk, sessions, false).await?;
        claim(&mut outcome, sdk, &with, &without);
        outcome.charts.extend(charts(sdk, &with, &without));
        figures.insert(sdk.name().to_owned(), json!({"with": with, "without": without}));
    }
    outcome.figures = figures.into();
    Ok(outcome)
}

async fn course(sdk: Sdk, sessions: u64, tells: bool) -> Fallible<Course> {
    let server = Rc::new(SdkServer::start(sdk)?);
    let gateway = gateway_before(&server, tells).await?;
    let load = Load::on(&Rc::new(Target::new(gateway.address(), "/mcp")));
    let start = Instant::now();
    let before = look(&server, start).await?;
    let opening = Lifecycles {
        count: sessions,
        workers: 8,
        ending: Ending::Abandon,
        calls: 0,
        idle: Duration::ZERO,
    };
    let mut looks = Vec::new();
    let opened = opening.run(&load);
    tokio::pin!(opened);
    loop {
        tokio::select! {
            () = &mut opened => break,
            () = tokio::time::sleep(Duration::from_secs(1)) => looks.push(look(&server, start).await?),
        }
    }
    // Without DELETEs nothing more will happen, once the filter has ended all sessions.
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let seen = look(&server, start).await?;
        looks.push(seen);
        let all_ended = gateway.stat("vm.active") == 0;
        if all_ended && (!tells || seen.sessions == 0) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        looks.push(look(&server, start).await?);
    }
    let deletes = ["sent", "ok", "failed"].map(|name| gateway.stat(&format!("upstream_delete.{name}")));
    Ok(Course {
        opened: gateway.stat("endpoint.mcp.created"),
        before,
        looks,
        deletes,
    })
}

async fn gateway_before(server: &SdkServer, tells: bool) -> Fallible<Gateway> {
    let address = server.address();
    let upstream = match tells {
        true => json!({"cluster": "mcp", "authority": address.to_string()}),
        false => json!(null),
    };
    let setup = setup(address)
        .top(json!({"max_sessions": 20_000}))
        .endpoint(json!({"idle_timeout": IDLE, "terminate_upstream": upstream}));
    let started = setup.try_start().await;
    started.map_err(|log| format!("Envoy does not start:\n{log}").into())
}

async fn look(server: &Rc<SdkServer>, start: Instant) -> Fallible<Look> {
    let (address, process) = (server.address(), server.process());
    let sessions = tokio::task::spawn_blocking(move || sdk::sessions_at(address)).await?;
    Ok(Look {
        seconds: start.elapsed().as_secs_f64(),
        sessions: sessions?,
        resident_mib: process.resident()? as f64 / 1_048_576.0,
    })
}

impl Course {
    fn last(&self) -> Look {
        self.looks.last().copied().unwrap_or(self.before)
    }

    /// The growth of the server's memory at the end.
    fn grown(&self) -> f64 {
        self.last().resident_mib - self.before.resident_mib
    }

    fn line(&self, label: &str, style: Style, of: fn(&Look) -> f64) -> Line {
        let points = self.looks.iter().map(|look| (look.seconds, of(look)));
        Line::new(label, style, points.collect())
    }
}

fn claim(outcome: &mut Outcome, sdk: Sdk, with: &Course, without: &Course) {
    let name = sdk.name();
    let [sent, ok, failed] = with.deletes;
    let (left, kept) = (with.last().sessions, without.last().sessions);
    outcome.claims.extend([
        Claim::new(
            &format!(
                "{name}: sessions left at the server, of {} abandoned",
                grouped(with.opened)
            ),
            "0",
            format!("{} ({} without)", grouped(left), grouped(kept)),
            left == 0,
        )
        .against(ORIGINAL),
        Claim::new(
            &format!("{name}: DELETEs sent, answered well, failed"),
            "one a session",
            format!("{}, {}, {}", grouped(sent), grouped(ok), grouped(failed)),
            sent == with.opened && ok == sent,
        ),
        Claim::new(
            &format!("{name}: what its memory has grown by in the end"),
            "less than half of that without",
            format!("{:.0} MiB ({:.0} without)", with.grown(), without.grown()),
            with.grown() < without.grown() / 2.0,
        ),
    ]);
}

fn charts(sdk: Sdk, with: &Course, without: &Course) -> [Chart; 2] {
    let chart = |title: String, y: &str, of: fn(&Look) -> f64| Chart {
        title,
        note: format!(
            "{} sessions opened and abandoned, idle_timeout {IDLE}; at rest the server has {:.0} MiB",
            grouped(with.opened),
            with.before.resident_mib
        ),
        x: "seconds since the first session".to_owned(),
        y: y.to_owned(),
        shape: Shape::Lines(vec![
            with.line("with terminate_upstream", Style::Ours, of),
            without.line("without", Style::Other, of),
        ]),
    };
    let name = sdk.name();
    let (left, kept) = (with.last(), without.last());
    [
        chart(
            format!(
                "Of {} sessions the {name} server still holds {} with terminate_upstream, {} without",
                grouped(with.opened),
                grouped(left.sessions),
                grouped(kept.sessions)
            ),
            "sessions, as the server counts them",
            |look| look.sessions as f64,
        ),
        chart(
            format!(
                "The {name} server ends at {:.0} MiB with terminate_upstream, {:.0} without",
                left.resident_mib, kept.resident_mib
            ),
            "MiB resident, the server's process",
            |look| look.resident_mib,
        ),
    ]
}
