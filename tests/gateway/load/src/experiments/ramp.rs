//! Kuadrant #630: thousands of sessions at the same time, each with an open stream.

use std::time::Duration;

use gateway::Setup;
use serde_json::{Value, json};

use super::Lab;
use super::bed::Bed;
use crate::figures::{Figures, Latency};
use crate::limits;
use crate::modes::{Load, Ramp, Step};
use crate::results::{Chart, Claim, Line, Outcome, Shape, Style};
use crate::{Fallible, grouped};

/// The number of sessions in the issue.
const SESSIONS: u64 = 8192;

const ORIGINAL: &str =
    "mcp-gateway#630: 8 sessions/s towards 8,192; crash at 3,600 to 4,000, 4% of requests failed";

/// The results of one gateway.
struct Climbed {
    figures: Figures,
    steps: Vec<Step>,
    /// Streams that the filter counted at the top; `None` without the filter.
    streams: Option<u64>,
}

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let fits = limits::streams_within(lab.open_files);
    let ramp = Ramp {
        sessions: lab.count(SESSIONS, 64).min(fits),
        pace: 400.0,
        call_every: Duration::from_secs(5).mul_f64(lab.scale.clamp(0.05, 1.0)),
        hold: lab.lasting(if lab.soak { 600.0 } else { 20.0 }),
        connections: 64,
        steps: 8,
    };
    let with = climb(ramp, true).await?;
    let without = climb(
        Ramp {
            hold: lab.lasting(20.0),
            ..ramp
        },
        false,
    )
    .await?;
    let mut outcome = outcome(ramp, &with, &without);
    if ramp.sessions < lab.count(SESSIONS, 64) {
        let fewer = format!(
            "as many as {} open files allow: `ulimit -Hn`",
            grouped(lab.open_files)
        );
        outcome
            .claims
            .push(Claim::new("sessions tried", "8,192", fewer, false));
    }
    Ok(outcome)
}

async fn climb(ramp: Ramp, filter: bool) -> Fallible<Climbed> {
    let bed = Bed::start(|setup| match filter {
        true => setup,
        false => Setup::without_the_filter(setup),
    })
    .await?;
    let load = Load::on(&bed.target);
    let top = async {
        // A moment before the hold is over.
        let until = ramp.sessions as f64 / ramp.pace + ramp.hold.as_secs_f64() * 0.9;
        tokio::time::sleep(Duration::from_secs_f64(until)).await;
        bed.stat("endpoint.mcp.streams").await
    };
    let (steps, streams) = tokio::join!(ramp.run(&load), top);
    Ok(Climbed {
        figures: load.figures(),
        steps,
        streams: filter.then_some(streams?),
    })
}

impl Climbed {
    /// Latency at the top.
    fn top(&self) -> Latency {
        self.steps.last().map(|step| step.latency).unwrap_or_default()
    }

    fn line(&self, label: &str, style: Style, of: fn(Latency) -> f64) -> Line {
        // On the way up, then the hold in place of the last step, which has as many sessions.
        let (way, hold) = self.steps.split_at(self.steps.len().saturating_sub(1));
        let way = &way[..way.len().saturating_sub(1)];
        let points = way.iter().chain(hold);
        Line::new(
            label,
            style,
            points
                .map(|step| (step.sessions as f64, of(step.latency)))
                .collect(),
        )
    }
}

fn outcome(ramp: Ramp, with: &Climbed, without: &Climbed) -> Outcome {
    let sessions = grouped(ramp.sessions);
    let failed = format!(
        "{} of {}",
        grouped(with.figures.failed),
        grouped(with.figures.requests)
    );
    let what = format!(
        "{sessions} concurrent sessions with a stream each, {:.0}/s: failed requests",
        ramp.pace
    );
    let streams = with.streams.unwrap_or(0);
    let counted = "streams open at the top, as the filter counts them";
    Outcome {
        title: "Kuadrant #630: sessions at the same time".to_owned(),
        claims: vec![
            Claim::new(&what, "0", failed, with.figures.failed == 0).against(ORIGINAL),
            Claim::new(counted, &sessions, grouped(streams), streams == ramp.sessions),
        ],
        charts: vec![chart(ramp, with, without)],
        figures: json!({"with": value(with), "without": value(without)}),
    }
}

fn chart(ramp: Ramp, with: &Climbed, without: &Climbed) -> Chart {
    let (top, bare) = (with.top(), without.top());
    Chart {
        title: format!(
            "With {} sessions open, half the calls take under {:.2} ms and 99% under {:.1} ms",
            grouped(ramp.sessions),
            top.p50,
            top.p99
        ),
        note: format!(
            "without the filter {:.2} and {:.1} ms; each session holds a GET stream and calls a tool every {:.1} s; last point: {:.0} s at the top",
            bare.p50,
            bare.p99,
            ramp.call_every.as_secs_f64(),
            ramp.hold.as_secs_f64()
        ),
        x: "sessions open at the same time".to_owned(),
        y: "ms from the call to its whole answer".to_owned(),
        shape: Shape::Lines(vec![
            with.line("p99, with the filter", Style::Ours, |latency| latency.p99),
            with.line("p50, with the filter", Style::OursToo, |latency| latency.p50),
            without.line("p99, without", Style::Other, |latency| latency.p99),
            without.line("p50, without", Style::OtherToo, |latency| latency.p50),
        ]),
    }
}

fn value(climbed: &Climbed) -> Value {
    json!({"load": climbed.figures, "steps": climbed.steps, "streams": climbed.streams})
}
