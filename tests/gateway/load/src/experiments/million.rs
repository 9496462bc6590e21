//! A million whole sessions: memory must not depend on how many there were.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Lab;
use super::bed::{Bed, Memory};
use crate::modes::{Ending, Lifecycles, Load};
use crate::results::{Chart, Claim, Line, Outcome, Shape, Style};
use crate::{Fallible, grouped};

/// The numbers of sessions at which the issue wants memory measured; after the last, in steps of a fiftieth.
const MARKS: [u64; 5] = [5_000, 15_000, 25_000, 50_000, 100_000];

/// After this many lifecycles.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Mark {
    pub lifecycles: u64,
    pub memory: Memory,
    pub table_bytes: u64,
    pub active: u64,
}

/// Plays lifecycles up to each of `marks` and looks at memory there.
pub(super) async fn play(
    bed: &Bed,
    load: &Load,
    marks: &[u64],
    lifecycles: Lifecycles,
) -> Fallible<Vec<Mark>> {
    let mut seen = vec![look(bed, 0).await?];
    let mut played = 0;
    for mark in marks {
        let part = Lifecycles {
            count: mark - played,
            ..lifecycles
        };
        part.run(load).await;
        played = *mark;
        seen.push(look(bed, played).await?);
    }
    Ok(seen)
}

async fn look(bed: &Bed, lifecycles: u64) -> Fallible<Mark> {
    Ok(Mark {
        lifecycles,
        memory: bed.memory().await?,
        table_bytes: bed.stat("table_bytes").await?,
        active: bed.stat("vm.active").await?,
    })
}

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let full = lab.count(if lab.soak { 10_000_000 } else { 1_000_000 }, 5000);
    let marks: Vec<u64> = if full > 100_000 {
        let on = (1..=50)
            .map(|part| full * part / 50)
            .filter(|mark| *mark > 100_000);
        MARKS.into_iter().chain(on).collect()
    } else {
        (1..=20).map(|part| full * part / 20).collect()
    };
    let bed = Bed::start(|setup| setup).await?;
    let load = Load::on(&bed.target);
    let lifecycles = Lifecycles {
        count: 0,
        workers: 50,
        ending: Ending::Delete,
        calls: 0,
        idle: Duration::ZERO,
    };
    let seen = play(&bed, &load, &marks, lifecycles).await?;
    let back = bed.wait_for("vm.active", 0, Duration::from_secs(10)).await?;
    Ok(outcome(&load, &seen, back.is_some()))
}

fn outcome(load: &Load, seen: &[Mark], empty: bool) -> Outcome {
    let figures = load.figures();
    let ([_, first, ..], [.., last]) = (seen, seen) else {
        return Outcome::default();
    };
    let grown = |of: fn(Memory) -> f64| of(last.memory) - of(first.memory);
    let (resident, allocated) = (grown(Memory::resident_mib), grown(Memory::allocated_mib));
    let (all, begun) = (grouped(last.lifecycles), grouped(first.lifecycles));
    let failed = format!("{} of {}", grouped(figures.failed), grouped(figures.requests));
    let left = if empty { "0" } else { "some" };
    Outcome {
        title: format!("{all} lifecycles"),
        claims: vec![
            Claim::new(
                &format!("{all} lifecycles: memory after the first {begun} grows by"),
                "< 1 MiB",
                format!("{resident:+.2} MiB resident, {allocated:+.2} MiB allocated"),
                resident < 1.0,
            ),
            Claim::new("failed requests", "0", failed, figures.failed == 0),
            Claim::new("sessions left in the table", "0", left.to_owned(), empty),
        ],
        charts: vec![chart(
            format!("After {begun} lifecycles, memory grows by {resident:.2} MiB until {all}"),
            seen,
        )],
        figures: json!({"load": figures, "marks": seen}),
    }
}

fn chart(title: String, seen: &[Mark]) -> Chart {
    let points = |of: fn(Memory) -> f64| {
        let point = |mark: &Mark| (mark.lifecycles as f64, of(mark.memory));
        seen.iter().map(point).collect()
    };
    Chart {
        title,
        note: "50 clients, each initialize and DELETE; memory of the whole Envoy".to_owned(),
        x: "lifecycles".to_owned(),
        y: "MiB".to_owned(),
        shape: Shape::Lines(vec![
            Line::new("resident", Style::Ours, points(Memory::resident_mib)),
            Line::new("allocated", Style::OursToo, points(Memory::allocated_mib)),
        ]),
    }
}
