//! The cost of a million tracked sessions: start-up, memory, and CPU per request.

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
use crate::server::Server;
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
    cpu: Spread,
    added: Spread,
    failed: u64,
}

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let (with, without) = start_ups(lab).await?;
    let full = lab.count(1_000_000, 2000);
    let bed = Bed::start(|setup| {
        setup
            .top(json!({"max_sessions": 1_000_000}))
            .status_view(json!({}))
    })
    .await?;
    let (ids, stages, steady) = fill(lab, &bed, full).await?;
    let looks = looks::measure(&bed, ids.len() as u64).await?;
    let ids = Rc::new(ids);
    let sized = cpu(lab, &bed, &ids).await?;
    let mut outcome = Outcome {
        title: format!("{} tracked sessions", grouped(full)),
        ..Outcome::default()
    };
    memory(&mut outcome, &stages);
    start_up(&mut outcome, with, without);
    requests(&mut outcome, &sized);
    outcome.claims.push(steady.1);
    outcome.claims.extend(looks.0);
    outcome.figures = json!({
        "start_up_seconds": {"with": with, "without": without},
        "stages": stages,
        "cpu": sized,
        "steady": steady.0,
        "looks": looks.1,
    });
    Ok(outcome)
}

/// Seconds from the start of Envoy to LIVE, with the filter and without.
async fn start_ups(lab: &Lab) -> Fallible<(Spread, Spread)> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let server = Rc::new(Server::start(0, true)?);
    for _ in 0..lab.count(7, 2) {
        let bed = Bed::before(Rc::clone(&server), |setup| setup).await?;
        with.push(bed.start_up.as_secs_f64());
        drop(bed);
        let bed = Bed::before(Rc::clone(&server), Setup::without_the_filter).await?;
        without.push(bed.start_up.as_secs_f64());
    }
    Ok((Spread::of(with), Spread::of(without)))
}

/// Fills the table, with a look at memory on the way, and at a tenth of it a steady load.
async fn fill(lab: &Lab, bed: &Bed, full: u64) -> Fallible<(SessionIds, Vec<Stage>, (Value, Claim))> {
    warm(bed, lab).await;
    let mut ids = SessionIds::default();
    let mut stages = vec![stage(bed, 0).await?];
    let mut steady = None;
    for sessions in marks(full) {
        let load = Load::on(&bed.target);
        ids = modes::fill(&load, sessions - ids.len() as u64, CONNECTIONS, ids).await;
        if load.recorder.failed() > 0 || ids.len() as u64 != sessions {
            return Err(format!("the table was not filled: {}", load.figures()).into());
        }
        stages.push(stage(bed, sessions).await?);
        if sessions == full / 10 {
            let shared = Rc::new(ids);
            steady = Some(hold(lab, bed, &shared).await?);
            ids = Rc::into_inner(shared).ok_or("the load has ended")?;
        }
    }
    Ok((ids, stages, steady.ok_or("a tenth of the sessions is a mark")?))
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

/// The numbers of sessions at which memory is measured: 1%, 10%, and each 5%.
fn marks(full: u64) -> Vec<u64> {
    let mut marks: Vec<u64> = (1..=20).map(|part| full * part / 20).collect();
    marks.push(full / 100);
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

/// CPU per request with few, some and all sessions in the table, and with no filter. Each has an Envoy of its own, so
/// that only the large table pays for its sweep. They are loaded in turns.
async fn cpu(lab: &Lab, full: &Bed, ids: &Rc<SessionIds>) -> Fallible<Vec<Sized>> {
    let mut beds = Vec::new();
    for sessions in [None, Some(100), Some(10_000)] {
        let (bed, ids) = small(lab, sessions).await?;
        beds.push((sessions, Some(bed), ids));
    }
    beds.push((Some(ids.len() as u64), None, Rc::clone(ids)));
    let (rounds, requests) = (lab.count(15, 3), lab.count(20_000, 1000));
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); beds.len()];
    for round in 0..=rounds {
        for (place, (_, bed, ids)) in beds.iter().enumerate() {
            let bed = bed.as_ref().unwrap_or(full);
            let turn = turn(bed.process(), &bed.target, ids, requests).await?;
            if round > 0 {
                turns[place].push(turn);
            }
        }
    }
    let sized = |(turns_of_it, sessions): (&Vec<Turn>, Option<u64>)| Sized {
        sessions,
        cpu: Spread::of(turns_of_it.iter().map(|turn| turn.cpu)),
        added: Spread::of(
            turns_of_it
                .iter()
                .zip(&turns[0])
                .map(|(turn, none)| turn.cpu - none.cpu),
        ),
        failed: turns_of_it.iter().map(|turn| turn.failed).sum(),
    };
    let sessions = beds.iter().map(|(sessions, ..)| *sessions);
    Ok(turns.iter().zip(sessions).map(sized).collect())
}

/// An Envoy with few sessions, or with no filter.
async fn small(lab: &Lab, sessions: Option<u64>) -> Fallible<(Bed, Rc<SessionIds>)> {
    let bed = Bed::start(|setup| match sessions {
        None => setup.without_the_filter(),
        Some(_) => setup.top(json!({"max_sessions": 1_000_000})),
    })
    .await?;
    let sessions = lab.count(sessions.unwrap_or(100), 10);
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

fn start_up(outcome: &mut Outcome, with: Spread, without: Spread) {
    outcome.claims.push(Claim::new(
        "start-up of Envoy to LIVE",
        "< 1 s",
        format!(
            "{:.2} s ({:.2} s without the filter)",
            with.median, without.median
        ),
        with.median < 1.0,
    ));
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
