//! ContextForge #1731: a thousand requests a second, held.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::Lab;
use super::bed::Bed;
use super::samples::{self, Sample};
use crate::figures::Figures;
use crate::modes::{self, Load, Steady};
use crate::results::{Chart, Claim, Line, Outcome, Shape, Style};
use crate::{Fallible, SessionIds, grouped};

const RATE: f64 = 1000.0;
const SESSIONS: u64 = 1000;

const ORIGINAL: &str = "mcp-context-forge#1731: 1,000 requests/s sought for 30 minutes";

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let bed = Bed::start(|setup| setup).await?;
    let ids = open(&bed, lab).await?;
    let steady = Steady {
        rate: RATE,
        duration: lab.lasting(if lab.soak { 1800.0 } else { 60.0 }),
        // Ten times as many as needed. With more, every hiccup of the machine would leave connections open.
        connections: 64,
    };
    // Connections and buffers come with the first requests.
    let warm = Steady {
        duration: lab.lasting(5.0),
        ..steady
    };
    warm.run(&Load::on(&bed.target), &ids).await;
    let load = Load::on(&bed.target);
    let every = steady.duration / 30;
    let ((), samples) = samples::during(&bed, &load.recorder, every, steady.run(&load, &ids)).await?;
    Ok(outcome(steady, &load.figures(), &samples))
}

async fn open(bed: &Bed, lab: &Lab) -> Fallible<Rc<SessionIds>> {
    let load = Load::on(&bed.target);
    let sessions = lab.count(SESSIONS, 20);
    let ids = modes::fill(&load, sessions, 16, SessionIds::default()).await;
    match load.recorder.failed() {
        0 => Ok(Rc::new(ids)),
        _ => Err(format!("sessions could not be opened: {}", load.figures()).into()),
    }
}

/// The mean over the first and over the last sixth.
fn ends(points: &[(f64, f64)]) -> (f64, f64) {
    let part = (points.len() / 6).max(1).min(points.len());
    let mean =
        |points: &[(f64, f64)]| points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64;
    (mean(&points[..part]), mean(&points[points.len() - part..]))
}

/// What was sampled, over time.
fn over_time(samples: &[Sample], of: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    let points = samples.iter().map(|sample| (sample.seconds, of(sample)));
    points
        .filter_map(|(seconds, value)| Some((seconds, value?)))
        .collect()
}

fn outcome(steady: Steady, figures: &Figures, samples: &[Sample]) -> Outcome {
    let held = Duration::from_secs_f64(steady.duration.as_secs_f64().round());
    let rate = over_time(samples, |sample| sample.rate);
    let memory = over_time(samples, |sample| Some(sample.memory.resident_mib()));
    let connections = over_time(samples, |sample| Some(sample.upstream_connections as f64));
    Outcome {
        title: "ContextForge #1731: a rate that is held".to_owned(),
        claims: claims(held, figures, ends(&rate), ends(&memory), ends(&connections)),
        charts: charts(held, rate, memory),
        figures: json!({"load": figures, "samples": samples}),
    }
}

fn claims(
    held: Duration,
    figures: &Figures,
    (early, late): (f64, f64),
    (small, large): (f64, f64),
    (few, many): (f64, f64),
) -> Vec<Claim> {
    let growth = (large / small - 1.0) * 100.0;
    let latency = figures.latency_ms.get("tools/call").copied().unwrap_or_default();
    let failed = format!("{} of {}", grouped(figures.failed), grouped(figures.requests));
    let rates = format!(
        "{early:.0}/s, {late:.0}/s; p50 {:.2} ms, p99 {:.2} ms",
        latency.p50, latency.p99
    );
    vec![
        Claim::new(
            &format!("1,000 requests/s for {held:?}: failed requests"),
            "0",
            failed,
            figures.failed == 0,
        )
        .against(ORIGINAL),
        Claim::new(
            "rate, the first sixth and the last",
            "no fall",
            rates,
            late >= RATE * 0.99,
        ),
        Claim::new(
            "memory, the first sixth and the last",
            "< 5% more",
            format!("{small:.1}, {large:.1} MiB ({growth:+.2}%)"),
            growth < 5.0,
        ),
        Claim::new(
            "connections to the server, the first sixth and the last",
            "flat",
            format!("{few:.1}, {many:.1}"),
            many <= few.mul_add(1.1, 1.0),
        ),
    ]
}

fn charts(held: Duration, rate: Vec<(f64, f64)>, memory: Vec<(f64, f64)>) -> Vec<Chart> {
    let ((_, late), (small, large)) = (ends(&rate), ends(&memory));
    vec![
        Chart {
            title: format!("1,000 requests/s are held for {held:?}; the rate ends at {late:.0}/s"),
            note: "open loop: requests are sent when they are due, whatever the answers do".to_owned(),
            x: "seconds".to_owned(),
            y: "requests answered a second".to_owned(),
            shape: Shape::Lines(vec![Line::new("answered", Style::Ours, rate)]),
        },
        Chart {
            title: format!("Memory goes from {small:.1} to {large:.1} MiB meanwhile"),
            note: "resident memory of the whole Envoy".to_owned(),
            x: "seconds".to_owned(),
            y: "MiB".to_owned(),
            shape: Shape::Lines(vec![Line::new("resident", Style::Ours, memory)]),
        },
    ]
}
