//! ToolHive #4062: 100,000 lifecycles, ended by DELETE and abandoned.

use std::time::Duration;

use gateway::Setup;
use serde_json::json;

use super::Lab;
use super::bed::{Bed, Memory};
use super::million::{Mark, play};
use super::samples::{self, Sample};
use crate::figures::Figures;
use crate::modes::{Ending, Lifecycles, Load};
use crate::results::{Chart, Claim, Line, Outcome, Shape, Style};
use crate::{Fallible, grouped};

/// The memory of the container that was killed, in MiB.
const BUDGET_MIB: f64 = 128.0;

/// The numbers of sessions at which the reporters looked.
const MARKS: [u64; 5] = [5_000, 15_000, 25_000, 50_000, 100_000];

const ORIGINAL: &str = "toolhive#4062: 40 MiB, 103 after 30,000 sessions, killed over 128 by 60,000";
const ORIGINAL_HEAP: &str =
    "toolhive#4079: heap 9.3, 14.4, 17.5 MB at 5, 15, 25 k sessions; fixed: 6.1, 6.2, 6.2";

/// The sessions of the issue: initialize, initialized, tools/list, two tool calls, the end.
const LIFECYCLES: Lifecycles = Lifecycles {
    count: 0,
    workers: 50,
    ending: Ending::Delete,
    calls: 2,
    idle: Duration::ZERO,
};

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let marks: Vec<u64> = MARKS.iter().map(|mark| lab.count(*mark, mark / 100)).collect();
    let without = without_the_filter(marks[0]).await?;
    let mut outcome = Outcome {
        title: "ToolHive #4062: sessions that leaked".to_owned(),
        ..Outcome::default()
    };
    let deleted = deleted(&mut outcome, &marks, without).await?;
    let abandoned = abandoned(&mut outcome, lab).await?;
    outcome.figures = json!({"without_the_filter": without, "deleted": deleted, "abandoned": abandoned});
    Ok(outcome)
}

/// Memory of an Envoy without the filter that has had some load.
async fn without_the_filter(count: u64) -> Fallible<Memory> {
    let bed = Bed::start(Setup::without_the_filter).await?;
    Lifecycles { count, ..LIFECYCLES }
        .run(&Load::on(&bed.target))
        .await;
    bed.memory().await
}

async fn deleted(outcome: &mut Outcome, marks: &[u64], without: Memory) -> Fallible<serde_json::Value> {
    let bed = Bed::start(|setup| setup).await?;
    let load = Load::on(&bed.target);
    let seen = play(&bed, &load, marks, LIFECYCLES).await?;
    let back = bed.wait_for("vm.active", 0, Duration::from_secs(10)).await?;
    let figures = load.figures();
    claim_deleted(outcome, &figures, &seen, without, back.is_some());
    Ok(json!({"load": figures, "marks": seen}))
}

fn claim_deleted(outcome: &mut Outcome, figures: &Figures, seen: &[Mark], without: Memory, empty: bool) {
    let (Some(first), Some(last)) = (seen.get(1), seen.last()) else {
        return;
    };
    let all = grouped(last.lifecycles);
    let most = seen
        .iter()
        .map(|mark| mark.memory.resident_mib())
        .fold(0.0, f64::max);
    let added = most - without.resident_mib();
    let grown = last.memory.resident_mib() - first.memory.resident_mib();
    let at: Vec<String> = seen[1..]
        .iter()
        .map(|mark| format!("{:.1}", mark.memory.resident_mib()))
        .collect();
    let after: Vec<String> = seen[1..].iter().map(|mark| grouped(mark.lifecycles)).collect();
    let what = format!("{all} lifecycles with 50 workers");
    outcome.claims.extend([
        failures(&what, figures).against(ORIGINAL),
        Claim::new(
            "memory that the filter adds to Envoy, at most",
            "< 128 MiB",
            format!(
                "{added:.1} MiB ({most:.1} with, {:.1} without)",
                without.resident_mib()
            ),
            added < BUDGET_MIB,
        )
        .against(ORIGINAL),
        Claim::new(
            &format!("resident MiB after {} lifecycles", after.join(", ")),
            "flat: < 1 MiB more",
            format!("{} ({grown:+.2})", at.join(", ")),
            grown < 1.0,
        )
        .against(ORIGINAL_HEAP),
        Claim::new(
            "sessions left in the table",
            "0",
            if empty { "0" } else { "some" }.to_owned(),
            empty,
        ),
    ]);
}

async fn abandoned(outcome: &mut Outcome, lab: &Lab) -> Fallible<serde_json::Value> {
    let bed = Bed::start(|setup| {
        setup
            .top(json!({"max_sessions": 100_000}))
            .endpoint(json!({"idle_timeout": "3s"}))
    })
    .await?;
    let load = Load::on(&bed.target);
    let lifecycles = Lifecycles {
        count: lab.count(100_000, 1000),
        ending: Ending::Abandon,
        ..LIFECYCLES
    };
    let work = async {
        lifecycles.run(&load).await;
        bed.wait_for("vm.active", 0, Duration::from_secs(60)).await
    };
    let (back, samples) = samples::during(&bed, &load.recorder, Duration::from_millis(500), work).await?;
    let figures = load.figures();
    claim_abandoned(outcome, &figures, &samples, back?, lifecycles.count);
    Ok(json!({"load": figures, "samples": samples}))
}

fn claim_abandoned(
    outcome: &mut Outcome,
    figures: &Figures,
    samples: &[Sample],
    back: Option<f64>,
    count: u64,
) {
    let most = samples.iter().map(|sample| sample.active).max().unwrap_or(0);
    let all = grouped(count);
    let what = format!("{all} lifecycles without a DELETE, idle_timeout 3s");
    let figure = back.map_or("not within 60 s".to_owned(), |seconds| {
        format!("after {seconds:.1} s")
    });
    outcome.claims.extend([
        failures(&what, figures),
        Claim::new(
            "the table is back to 0 after the last",
            "within 10 s",
            format!("{figure}; at most {} at once", grouped(most)),
            back.is_some_and(|seconds| seconds <= 10.0),
        ),
    ]);
    let points = samples
        .iter()
        .map(|sample| (sample.seconds, sample.active as f64))
        .collect();
    outcome.charts.push(Chart {
        title: format!("{all} abandoned sessions: never more than {} in the table, and then none", grouped(most)),
        note: "50 clients that never send DELETE; idle_timeout 3s; sessions in the table, by the filter's own gauge".to_owned(),
        x: "seconds".to_owned(),
        y: "sessions".to_owned(),
        shape: Shape::Lines(vec![Line::new("in the table", Style::Ours, points)]),
    });
}

fn failures(what: &str, figures: &Figures) -> Claim {
    let figure = format!("{} of {}", grouped(figures.failed), grouped(figures.requests));
    Claim::new(
        &format!("{what}: failed requests"),
        "0",
        figure,
        figures.failed == 0,
    )
}
