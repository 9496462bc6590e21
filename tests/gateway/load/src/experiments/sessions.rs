//! The cost of a million tracked sessions: memory, and CPU per request.

use std::rc::Rc;
use std::time::Duration;

use gateway::Setup;
use serde::Serialize;
use serde_json::{Value, json};

use super::Lab;
use super::bed::{Bed, Memory};
use super::cpu::{Turn, turn};
use super::looks;
use super::spread::Spread;
use crate::modes::{self, Ending, Lifecycles, Load, Steady};
use crate::results::{Bar, Chart, Claim, Line, Outcome, Shape, Style};
use crate::{Fallible, SessionIds, grouped};

/// Connections that fill the table.
const CONNECTIONS: usize = 64;

/// Memory with this many sessions in the table.
#[derive(Debug, Clone, Copy, Serialize)]
struct Stage {
    sessions: u64,
    memory: Memory,
}

/// CPU per request with this many sessions in the table.
#[derive(Debug, Serialize)]
struct Sized {
    /// `None` is no filter.
    sessions: Option<u64>,
    /// What it costs without the filter, in all rounds, and `added`.
    cpu: Spread,
    /// Over the same requests without the filter, round by round.
    added: Spread,
    failed: u64,
}

/// What is known once the table is full.
#[derive(Default)]
struct Filled {
    ids: SessionIds,
    stages: Vec<Stage>,
    steady: Option<(Value, Claim)>,
    compared: Vec<Compared>,
}

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let full = lab.count(1_000_000, 2000);
    let bed = Bed::start(|setup| {
        setup
            .top(json!({"max_sessions": 1_000_000}))
            .status_view(json!({}))
    })
    .await?;
    let filled = fill(lab, &bed, full).await?;
    let looks = looks::measure(&bed, filled.ids.len() as u64).await?;
    let sized = sized(&filled.compared);
    let mut outcome = Outcome {
        title: format!("{} tracked sessions", grouped(full)),
        ..Outcome::default()
    };
    memory(&mut outcome, &filled.stages);
    requests(&mut outcome, &sized);
    let (steady, claim) = filled.steady.ok_or("a tenth of the sessions is a mark")?;
    outcome.claims.push(claim);
    outcome.claims.extend(looks.0);
    outcome.figures = json!({
        "stages": filled.stages,
        "cpu": sized,
        "steady": steady,
        "looks": looks.1,
    });
    Ok(outcome)
}

/// Fills the table, with a look at memory on the way, at a tenth of it a steady load, and at the sizes to compare what a
/// request costs. All that in one Envoy: two of them differ by a tenth, by where their code lies in memory.
async fn fill(lab: &Lab, bed: &Bed, full: u64) -> Fallible<Filled> {
    let few = lab.count(100, 10);
    let (bare, bare_ids) = without_the_filter(few).await?;
    warm(bed, lab).await;
    let mut filled = Filled {
        stages: vec![stage(bed, 0).await?],
        ..Filled::default()
    };
    for sessions in marks(full, few) {
        let load = Load::on(&bed.target);
        let missing = sessions - filled.ids.len() as u64;
        let ids = modes::fill(&load, missing, CONNECTIONS, filled.ids).await;
        if load.recorder.failed() > 0 || ids.len() as u64 != sessions {
            return Err(format!("the table was not filled: {}", load.figures()).into());
        }
        filled.stages.push(stage(bed, sessions).await?);
        let ids = Rc::new(ids);
        if sessions == full / 10 {
            filled.steady = Some(hold(lab, bed, &ids).await?);
        }
        if [few, full / 100, full].contains(&sessions) {
            let compared = compare(lab, (&bare, &bare_ids), (bed, &ids)).await?;
            filled.compared.push(compared);
        }
        filled.ids = Rc::into_inner(ids).ok_or("the load has ended")?;
    }
    Ok(filled)
}

/// Puts load on the gateway first: the buffers and connections of any load are no cost of a session.
async fn warm(bed: &Bed, lab: &Lab) {
    let warm = Lifecycles {
        count: lab.count(5000, 500),
        workers: CONNECTIONS,
        ending: Ending::Delete,
        calls: 1,
        idle: Duration::ZERO,
    };
    warm.run(&Load::on(&bed.target)).await;
}

/// The numbers of sessions at which something is measured: a few, 1%, 10%, and each 5%.
fn marks(full: u64, few: u64) -> Vec<u64> {
    let mut marks: Vec<u64> = (1..=20).map(|part| full * part / 20).collect();
    marks.extend([few, full / 100]);
    marks.sort_unstable();
    marks
}

async fn stage(bed: &Bed, sessions: u64) -> Fallible<Stage> {
    // By then late frees have happened.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let memory = bed.memory().await?;
    Ok(Stage { sessions, memory })
}

/// A steady load on the sessions there are.
async fn hold(lab: &Lab, bed: &Bed, ids: &Rc<SessionIds>) -> Fallible<(Value, Claim)> {
    let load = Load::on(&bed.target);
    let steady = Steady {
        rate: 5000.0,
        duration: lab.lasting(30.0),
        connections: 256,
    };
    steady.run(&load, ids).await;
    let figures = load.figures();
    let claim = Claim::new(
        &format!(
            "{} tracked sessions under 5,000 requests/s: failed",
            grouped(ids.len() as u64)
        ),
        "0",
        format!("{} of {}", grouped(figures.failed), grouped(figures.requests)),
        figures.failed == 0,
    );
    Ok((serde_json::to_value(figures)?, claim))
}

/// The turns of an Envoy without the filter and of one with it and so many sessions, one after the other.
#[derive(Debug)]
struct Compared {
    sessions: u64,
    rounds: Vec<(Turn, Turn)>,
}

/// What requests cost in an Envoy without the filter and in one with it, in turns. The first round warms both.
async fn compare(
    lab: &Lab,
    (bare, bare_ids): (&Bed, &Rc<SessionIds>),
    (bed, ids): (&Bed, &Rc<SessionIds>),
) -> Fallible<Compared> {
    let (count, requests) = (lab.count(15, 3), lab.count(20_000, 1000));
    let mut rounds = Vec::new();
    for round in 0..=count {
        let without = turn(bare.process(), &bare.target, bare_ids, requests).await?;
        let with = turn(bed.process(), &bed.target, ids, requests).await?;
        if round > 0 {
            rounds.push((without, with));
        }
    }
    let sessions = ids.len() as u64;
    Ok(Compared { sessions, rounds })
}

/// What a request costs without the filter, and at each size.
fn sized(compared: &[Compared]) -> Vec<Sized> {
    let all = || compared.iter().flat_map(|compared| &compared.rounds);
    let without = Spread::of(all().map(|(without, _)| without.cpu));
    let bare = Sized {
        sessions: None,
        cpu: without,
        added: Spread::default(),
        failed: all().map(|(without, _)| without.failed).sum(),
    };
    let sized = compared.iter().map(|Compared { sessions, rounds }| {
        let added = || rounds.iter().map(|(without, with)| with.cpu - without.cpu);
        Sized {
            sessions: Some(*sessions),
            cpu: Spread::of(added().map(|added| without.median + added)),
            added: Spread::of(added()),
            failed: rounds.iter().map(|(_, with)| with.failed).sum(),
        }
    });
    core::iter::once(bare).chain(sized).collect()
}

/// An Envoy without the filter, before a server with this many sessions.
async fn without_the_filter(sessions: u64) -> Fallible<(Bed, Rc<SessionIds>)> {
    let bed = Bed::start(Setup::without_the_filter).await?;
    let load = Load::on(&bed.target);
    let ids = modes::fill(&load, sessions, CONNECTIONS, SessionIds::default()).await;
    match ids.is_empty() {
        true => Err(format!("no sessions: {}", load.figures()).into()),
        false => Ok((bed, Rc::new(ids))),
    }
}

fn per_session(first: Stage, last: Stage, of: fn(Memory) -> u64) -> f64 {
    (of(last.memory) as f64 - of(first.memory) as f64) / last.sessions.max(1) as f64
}

fn memory(outcome: &mut Outcome, stages: &[Stage]) {
    let ([first, ..], [.., last]) = (stages, stages) else {
        return;
    };
    let resident = per_session(*first, *last, |memory| memory.resident);
    let allocated = per_session(*first, *last, |memory| memory.allocated);
    let sessions = grouped(last.sessions);
    outcome.claims.push(Claim::new(
        &format!("bytes of host memory per session at {sessions}"),
        "≤ 100",
        format!("{resident:.0} resident, {allocated:.0} allocated"),
        resident <= 100.0,
    ));
    let points = |of: fn(Memory) -> f64| {
        let point = |stage: &Stage| (stage.sessions as f64, of(stage.memory) - of(first.memory));
        stages.iter().map(point).collect()
    };
    let limit = (last.sessions as f64, last.sessions as f64 * 100.0 / 1_048_576.0);
    outcome.charts.push(Chart {
        title: format!("{sessions} sessions take {resident:.0} bytes of host memory each"),
        note: "what Envoy's memory grew by while the table was filled at one go, after 5,000 lifecycles"
            .to_owned(),
        x: "sessions in the table".to_owned(),
        y: "MiB more than with none".to_owned(),
        shape: Shape::Lines(vec![
            Line::new("resident", Style::Ours, points(Memory::resident_mib)),
            Line::new("allocated", Style::OursToo, points(Memory::allocated_mib)),
            Line::new("100 bytes a session", Style::Limit, vec![(0.0, 0.0), limit]),
        ]),
    });
}

fn requests(outcome: &mut Outcome, sized: &[Sized]) {
    let [_, few, _, full] = sized else { return };
    let (whole, added) = (
        full.cpu.median / few.cpu.median,
        full.added.median / few.added.median,
    );
    let (most, least) = (full.name(), few.name());
    let failed: u64 = sized.iter().map(|sized| sized.failed).sum();
    let over = |of: fn(&Sized) -> Spread| format!("({:.1} µs over {:.1})", of(full).median, of(few).median);
    outcome.claims.extend([
        Claim::new(
            &format!("CPU per request at {most} over that at {least}: all of Envoy"),
            "≤ 1.05",
            format!("{whole:.2} {}", over(|sized| sized.cpu)),
            whole <= 1.05,
        ),
        Claim::new(
            "the same, of what the filter adds",
            "≤ 1.1",
            format!("{added:.2} {}", over(|sized| sized.added)),
            added <= 1.1,
        ),
        Claim::new("failed requests meanwhile", "0", grouped(failed), failed == 0),
    ]);
    outcome.charts.push(Chart {
        title: format!("A request costs {whole:.2} times as much with {most} as with {least}"),
        note: "tools/call in any of the sessions; configuration as it ships (admission: body, all keys)"
            .to_owned(),
        x: "µs of CPU a request, all of Envoy".to_owned(),
        y: String::new(),
        shape: Shape::Bars(sized.iter().map(Sized::bar).collect()),
    });
}

impl Sized {
    fn name(&self) -> String {
        let sessions = |count| format!("{} sessions", grouped(count));
        self.sessions.map_or("no filter".to_owned(), sessions)
    }

    fn bar(&self) -> Bar {
        let added = |_| format!("+{:.1} µs", self.added.median);
        Bar {
            label: self.name(),
            value: self.cpu.median,
            low: self.cpu.low,
            high: self.cpu.high,
            note: self.sessions.map_or(String::new(), added),
            ours: self.sessions.is_some(),
        }
    }
}
