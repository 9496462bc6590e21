//! The CPU cost of a request of an established session in Envoy, with each filter.
//!
//! All variants are listeners of one Envoy with one worker, loaded in turns of a second. So they share the process,
//! its memory layout and the machine's state, and differ only by the filter. With an Envoy each, the position of its
//! memory would make a difference as large as an empty filter costs. Within one Envoy the filters' code and memory still
//! lie better or worse, for as long as it runs. So several Envoys are started, one after the other.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::Lab;
use super::bed::Bed;
use super::spread::Spread;
use super::variants::{self, Variant};
use crate::modes::{self, Load};
use crate::process::Process;
use crate::results::{Bar, Chart, Claim, Outcome, Shape};
use crate::{Fallible, SessionIds, Target, grouped};

/// Enough to keep one worker busy.
pub(super) const CONNECTIONS: usize = 16;

/// How many Envoys are started.
const STARTS: u64 = 5;

/// One turn of one variant.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Turn {
    /// Microseconds of user and system time a request.
    pub cpu: f64,
    /// Requests a second.
    pub rate: f64,
    /// How busy Envoy was, of one core.
    pub busy: f64,
    pub failed: u64,
}

/// Makes `requests` tool calls and sees what they cost the process.
pub(super) async fn turn(
    process: Process,
    target: &Rc<Target>,
    ids: &Rc<SessionIds>,
    requests: u64,
) -> Fallible<Turn> {
    let load = Load::on(target);
    let (before, start) = (process.cpu()?, Instant::now());
    modes::fixed(&load, requests, CONNECTIONS, ids).await;
    let (used, took) = (process.cpu()?.saturating_sub(before), start.elapsed());
    Ok(Turn {
        cpu: used.as_secs_f64() * 1e6 / requests as f64,
        rate: requests as f64 / took.as_secs_f64(),
        busy: used.as_secs_f64() / took.as_secs_f64(),
        failed: load.recorder.failed(),
    })
}

/// The result of one variant's turns.
#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    label: &'static str,
    ours: bool,
    baseline: &'static str,
    cpu: Spread,
    /// Over the same requests without a filter, turn by turn.
    added: Spread,
    rate: Spread,
    busy: Spread,
    failed: u64,
}

/// The turns of each variant, by its name.
type Turns = BTreeMap<&'static str, Vec<Turn>>;

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let variants = variants::all()?;
    let (rounds, requests) = (lab.count(3, 1), lab.count(10_000, 1000));
    let mut turns = Turns::new();
    let starts = lab.count(STARTS, 1);
    for _ in 0..starts {
        take_turns(lab, &variants, rounds, requests, &mut turns).await?;
    }
    let measured: Vec<Measured> = variants.iter().map(|variant| measured(variant, &turns)).collect();
    Ok(outcome(&measured, starts, starts * rounds, requests))
}

/// Starts an Envoy, and loads its listeners in turns.
async fn take_turns(
    lab: &Lab,
    variants: &[Variant],
    rounds: u64,
    requests: u64,
    turns: &mut Turns,
) -> Fallible<()> {
    let bed = Bed::start(|setup| variants::listeners(setup, variants)).await?;
    let sessions = lab.count(100, 10);
    let mut listeners = Vec::new();
    for variant in variants {
        listeners.push(open(&bed, variant, sessions).await?);
    }
    for round in 0..=rounds {
        for place in 0..variants.len() {
            // Each round begins with another, so that none always follows the same.
            let place = (place + round as usize) % variants.len();
            let (target, ids) = &listeners[place];
            let turn = turn(bed.process(), target, ids, requests).await?;
            // The first round warms up.
            if round > 0 {
                turns.entry(variants[place].name).or_default().push(turn);
            }
        }
    }
    Ok(())
}

/// A target for the listener of a variant, and sessions opened through it.
async fn open(bed: &Bed, variant: &Variant, sessions: u64) -> Fallible<(Rc<Target>, Rc<SessionIds>)> {
    let name = variants::listener(variant);
    let address = bed
        .gateway
        .envoy()
        .listener(&name)
        .ok_or("a listener is missing")?;
    let target = Rc::new(variant.target(address));
    let load = Load::on(&target);
    let ids = modes::fill(&load, sessions, CONNECTIONS, SessionIds::default()).await;
    match load.recorder.failed() {
        0 => Ok((target, Rc::new(ids))),
        _ => Err(format!("{name}: sessions could not be opened: {}", load.figures()).into()),
    }
}

fn measured(variant: &Variant, turns: &Turns) -> Measured {
    let of = |name: &str| turns.get(name).map_or(&[][..], Vec::as_slice);
    let (mine, none) = (of(variant.name), of(variant.baseline));
    Measured {
        name: variant.name,
        label: variant.label,
        ours: variant.ours,
        baseline: variant.baseline,
        cpu: Spread::of(mine.iter().map(|turn| turn.cpu)),
        added: Spread::of(mine.iter().zip(none).map(|(mine, none)| mine.cpu - none.cpu)),
        rate: Spread::of(mine.iter().map(|turn| turn.rate)),
        busy: Spread::of(mine.iter().map(|turn| turn.busy)),
        failed: mine.iter().map(|turn| turn.failed).sum(),
    }
}

/// All variants, to be looked up by name.
struct Comparison<'a> {
    measured: &'a [Measured],
    /// How it was measured.
    method: String,
}

fn outcome(measured: &[Measured], starts: u64, rounds: u64, requests: u64) -> Outcome {
    let method = format!(
        "tools/call, of an established session where it is governed; one worker; medians and quartiles of {rounds} rounds of {} requests, in {starts} Envoys",
        grouped(requests)
    );
    let compared = Comparison { measured, method };
    Outcome {
        title: "CPU per request".to_owned(),
        claims: compared.claims(),
        charts: vec![compared.cpu(), compared.throughput()],
        figures: json!({"starts": starts, "rounds": rounds, "requests": requests, "variants": measured}),
    }
}

impl Comparison<'_> {
    fn of(&self, name: &str, value: fn(&Measured) -> Spread) -> f64 {
        let found = self.measured.iter().find(|variant| variant.name == name);
        found.map_or(f64::NAN, |variant| value(variant).median)
    }

    fn added(&self, name: &str) -> f64 {
        self.of(name, |variant| variant.added)
    }

    /// What a filter adds, as a share of what Envoy's own adds.
    fn share(&self, name: &str) -> f64 {
        self.added(name) / self.added(variants::NATIVE)
    }

    /// Throughput with a filter, as a share of that without.
    fn kept(&self, name: &str) -> f64 {
        let found = self.measured.iter().find(|variant| variant.name == name);
        found.map_or(f64::NAN, |variant| self.kept_of(variant))
    }

    fn kept_of(&self, variant: &Measured) -> f64 {
        variant.rate.median / self.of(variant.baseline, |variant| variant.rate)
    }

    fn claims(&self) -> Vec<Claim> {
        let busy = self.of(variants::NONE, |variant| variant.busy);
        let failed: u64 = self.measured.iter().map(|variant| variant.failed).sum();
        let kept = self.kept(variants::DEFAULTS);
        let beside = format!(
            "{kept:.2} (native {:.2}, empty {:.2})",
            self.kept(variants::NATIVE),
            self.kept(variants::EMPTY)
        );
        vec![
            self.claim(
                "CPU added, as a share of what Envoy's native MCP filter adds: filter_state: []",
                variants::QUIET,
                0.62,
            ),
            self.claim("the same with all keys of filter state", variants::DEFAULTS, 0.7),
            self.claim(
                "not called for bodies (envoy/lean/capabilities.yaml): filter_state: []",
                variants::LEAN_QUIET,
                0.62,
            ),
            self.claim(
                "not called for bodies, all keys of filter state",
                variants::LEAN_DEFAULTS,
                0.7,
            ),
            self.ungoverned(),
            Claim::new(
                "throughput of one worker, as a share of no filter",
                "≥ 0.75",
                beside,
                kept >= 0.75,
            ),
            Claim::new(
                "the same, not called for bodies",
                "≥ 0.75",
                format!("{:.2}", self.kept(variants::LEAN_DEFAULTS)),
                self.kept(variants::LEAN_DEFAULTS) >= 0.75,
            ),
            Claim::new(
                "how busy Envoy was without a filter; below 0.9 the load set the throughput",
                "≥ 0.9",
                format!("{busy:.2}"),
                busy >= 0.9,
            ),
            Claim::new("failed requests", "0", grouped(failed), failed == 0),
        ]
    }

    fn claim(&self, what: &str, name: &str, most: f64) -> Claim {
        let (share, added, native) = (self.share(name), self.added(name), self.added(variants::NATIVE));
        let figure = format!("{share:.2} ({added:.1} µs of {native:.1})");
        Claim::new(what, &format!("≤ {most:.2}"), figure, share <= most)
    }

    /// What a request costs that is none of the filter's business, beside the least that Wasm allows.
    fn ungoverned(&self) -> Claim {
        let (added, lean) = (
            self.added(variants::UNGOVERNED),
            self.added(variants::LEAN_UNGOVERNED),
        );
        let empty = self.added(variants::EMPTY);
        let figure = format!(
            "{:.2} ({added:.1} µs of {empty:.1}), {:.2} not called for bodies",
            added / empty,
            lean / empty
        );
        Claim::new(
            "CPU added to an ungoverned request, as a share of what an empty Wasm filter adds",
            "none set",
            figure,
            true,
        )
    }

    fn cpu(&self) -> Chart {
        Chart {
            title: format!(
                "The filter adds {:.1} to {:.1} µs of CPU a request; Envoy's native MCP filter adds {:.1}",
                self.added(variants::QUIET),
                self.added(variants::DEFAULTS),
                self.added(variants::NATIVE)
            ),
            note: format!("{}; user + system time of the Envoy process", self.method),
            x: "µs of CPU a request, all of Envoy".to_owned(),
            y: String::new(),
            shape: self.bars(
                |variant| variant.cpu,
                |variant| match variant.name {
                    variants::NONE | variants::FOREIGN => String::new(),
                    name => format!(
                        "+{:.1} µs, {:.0}% of native",
                        self.added(name),
                        self.share(name) * 100.0
                    ),
                },
            ),
        }
    }

    fn throughput(&self) -> Chart {
        Chart {
            title: format!(
                "One worker keeps {:.0}% of its throughput",
                self.kept(variants::DEFAULTS) * 100.0
            ),
            note: format!(
                "{}; {CONNECTIONS} connections, each sends the next request when the last is answered",
                self.method
            ),
            x: "requests a second".to_owned(),
            y: String::new(),
            shape: self.bars(
                |variant| variant.rate,
                |variant| {
                    let (kept, busy) = (self.kept_of(variant), variant.busy.median * 100.0);
                    format!("{kept:.2}; Envoy {busy:.0}% busy")
                },
            ),
        }
    }

    fn bars(&self, value: fn(&Measured) -> Spread, note: impl Fn(&Measured) -> String) -> Shape {
        let bar = |variant: &Measured| Bar {
            label: variant.label.to_owned(),
            value: value(variant).median,
            low: value(variant).low,
            high: value(variant).high,
            note: note(variant),
            ours: variant.ours,
        };
        Shape::Bars(self.measured.iter().map(bar).collect())
    }
}
