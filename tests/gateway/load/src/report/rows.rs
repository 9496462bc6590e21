//! The rows of the tables of figures that stand in the documents: what each says, and where its figure comes from.

use serde_json::Value;

use crate::experiments::variants::{
    DEFAULTS, EMPTY, LEAN_DEFAULTS, LEAN_QUIET, LEAN_UNGOVERNED, NATIVE, NONE, QUIET, RELEASE_0_1_0,
    UNGOVERNED,
};
use crate::grouped;
use crate::results::Run;

/// A row: one figure of one experiment.
pub struct Row {
    pub what: &'static str,
    pub experiment: &'static str,
    figure: fn(&Value) -> Option<f64>,
    unit: Unit,
    /// Whether it is one of the few that the README has.
    pub is_brief: bool,
}

/// How a figure is written.
enum Unit {
    Ratio,
    Microseconds,
    Milliseconds,
    Seconds,
    Bytes,
    Mebibytes,
    Percent,
    Count,
}

use Unit::{Bytes, Count, Mebibytes, Microseconds, Milliseconds, Percent, Ratio, Seconds};

/// What `make bench` measures.
#[rustfmt::skip]
pub const BENCH: &[Row] = &[
    cpu("CPU added to a request of a live session ÷ by Envoy's native MCP filter, `filter_state: []`", Ratio,
        |figures| over_native(figures, QUIET)).brief(),
    cpu("CPU added to a request of a live session ÷ by Envoy's native MCP filter, all keys", Ratio,
        |figures| over_native(figures, DEFAULTS)).brief(),
    cpu("the same with `envoy/lean/capabilities.yaml`, `filter_state: []`", Ratio, |figures| over_native(figures, LEAN_QUIET)),
    cpu("the same with `envoy/lean/capabilities.yaml`, all keys", Ratio, |figures| over_native(figures, LEAN_DEFAULTS)),
    cpu("CPU added to a request of a live session ÷ by release 0.1.0, `filter_state: []`", Ratio,
        |figures| ratio(added(figures, QUIET), added(figures, RELEASE_0_1_0))).brief(),
    cpu("CPU added by a Wasm filter that does nothing ÷ by the native filter", Ratio,
        |figures| over_native(figures, EMPTY)).brief(),
    cpu("CPU added by the native filter", Microseconds, |figures| added(figures, NATIVE)),
    cpu("CPU added to a request that no endpoint governs ÷ by a Wasm filter that does nothing", Ratio,
        |figures| ratio(added(figures, UNGOVERNED), added(figures, EMPTY))).brief(),
    cpu("CPU added to a request that no endpoint governs", Microseconds, |figures| added(figures, UNGOVERNED)),
    cpu("the same with `envoy/lean/capabilities.yaml`", Microseconds, |figures| added(figures, LEAN_UNGOVERNED)),
    cpu("throughput of one worker ÷ without a filter, all keys", Ratio, |figures| kept(figures, DEFAULTS)).brief(),
    cpu("the same with `envoy/lean/capabilities.yaml`", Ratio, |figures| kept(figures, LEAN_DEFAULTS)),
    cpu("throughput of one worker with the native filter ÷ without a filter", Ratio,
        |figures| kept(figures, NATIVE)).brief(),
    cpu("throughput of one worker with a Wasm filter that does nothing ÷ without a filter", Ratio,
        |figures| kept(figures, EMPTY)),
    row("sessions", "CPU of a request at 1,000,000 sessions ÷ at 100, all of Envoy", Ratio,
        |figures| million_over_hundred(figures, "cpu")).brief(),
    row("sessions", "CPU that the filter adds at 1,000,000 sessions ÷ at 100", Ratio,
        |figures| million_over_hundred(figures, "added")).brief(),
    row("sessions", "resident memory of a session, at 1,000,000", Bytes,
        |figures| per_session(figures, "resident")).brief(),
    row("sessions", "allocated memory of a session, at 1,000,000", Bytes,
        |figures| per_session(figures, "allocated")),
    row("rest", "resident memory at rest above a Wasm filter that does nothing, 2 workers, cap of 10,000", Mebibytes,
        |figures| above_empty(figures, DEFAULTS)).brief(),
    row("rest", "the same of release 0.1.0", Mebibytes, |figures| above_empty(figures, RELEASE_0_1_0)),
    row("rest", "start-up of Envoy with the filter, 2 workers", Seconds, |figures| start_up(figures, DEFAULTS)).brief(),
    row("rest", "the same of release 0.1.0", Seconds, |figures| start_up(figures, RELEASE_0_1_0)),
    row("rest", "the same of a Wasm filter that does nothing", Seconds, |figures| start_up(figures, EMPTY)),
    row("million", "resident memory that 1,000,000 lifecycles add, after the first 5,000", Mebibytes, grown).brief(),
    row("million", "1,000,000 lifecycles: requests that failed", Count, failed),
    row("toolhive", "100,000 lifecycles with two tool calls each: requests that failed", Count,
        |figures| number(figures, "/deleted/load/failed")),
    row("kuadrant", "8,192 sessions with an open stream each: requests that failed", Count,
        |figures| number(figures, "/with/load/failed")).brief(),
    row("contextforge", "1,000 requests/s for a minute: requests that failed", Count, failed),
    row("apisix", "1,000 clients take every place and leave: until all places are back", Milliseconds,
        |figures| Some(number(figures, "/left/back_seconds")? * 1000.0)).brief(),
    row("abandoned", "10,000 abandoned sessions with `terminate_upstream`: left at a server on the Python SDK", Count,
        |figures| left(figures, "Python", "with")).brief(),
    row("abandoned", "the same without `terminate_upstream`", Count,
        |figures| left(figures, "Python", "without")).brief(),
    row("abandoned", "10,000 abandoned sessions with `terminate_upstream`: left at a server on the TypeScript SDK", Count,
        |figures| left(figures, "TypeScript", "with")),
    row("abandoned", "the same without `terminate_upstream`", Count,
        |figures| left(figures, "TypeScript", "without")),
];

/// What `make soak` measures.
#[rustfmt::skip]
pub const SOAK: &[Row] = &[
    row("contextforge", "1,000 requests/s for 30 minutes: requests that failed", Count, failed),
    row("contextforge", "growth of Envoy's memory meanwhile, from the first sample to the last", Percent, |figures| {
        let first = number(figures, "/samples/0/memory/resident");
        Some((ratio(last(figures, "/samples", "/memory/resident"), first)? - 1.0) * 100.0)
    }),
    row("kuadrant", "8,192 sessions with an open stream each, for 10 minutes: requests that failed", Count,
        |figures| number(figures, "/with/load/failed")),
    row("million", "resident memory that 10,000,000 lifecycles add, after the first 5,000", Mebibytes, grown),
];

const fn row(
    experiment: &'static str,
    what: &'static str,
    unit: Unit,
    figure: fn(&Value) -> Option<f64>,
) -> Row {
    Row {
        what,
        experiment,
        figure,
        unit,
        is_brief: false,
    }
}

const fn cpu(what: &'static str, unit: Unit, figure: fn(&Value) -> Option<f64>) -> Row {
    row("cpu", what, unit, figure)
}

impl Row {
    const fn brief(self) -> Self {
        Self {
            is_brief: true,
            ..self
        }
    }

    /// Its figure in each run of full size, the smallest first.
    pub fn figures(&self, runs: &[Run]) -> Vec<f64> {
        let counting = runs.iter().filter(|run| run.is_full_size());
        let mut figures: Vec<f64> = counting
            .filter_map(|run| (self.figure)(&run.outcome.figures))
            .filter(|figure| figure.is_finite())
            .collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    /// A figure as the table has it.
    pub fn show(&self, figure: f64) -> String {
        match self.unit {
            Ratio => format!("{figure:.2}"),
            Microseconds => format!("{figure:.1} µs"),
            Milliseconds => format!("{figure:.0} ms"),
            Seconds => format!("{figure:.2} s"),
            Bytes => format!("{figure:.0} bytes"),
            Mebibytes => format!("{figure:+.2} MiB"),
            Percent => format!("{figure:+.2} %"),
            Count => grouped(figure as u64),
        }
    }
}

fn number(figures: &Value, pointer: &str) -> Option<f64> {
    figures.pointer(pointer)?.as_f64()
}

/// A number of the last item of a list.
fn last(figures: &Value, list: &str, pointer: &str) -> Option<f64> {
    number(figures.pointer(list)?.as_array()?.last()?, pointer)
}

fn ratio(of: Option<f64>, over: Option<f64>) -> Option<f64> {
    Some(of? / over?)
}

/// Requests that failed, where an experiment has one load.
fn failed(figures: &Value) -> Option<f64> {
    number(figures, "/load/failed")
}

/// The growth of resident memory in MiB from the first 5,000 lifecycles to the last.
fn grown(figures: &Value) -> Option<f64> {
    let first = number(figures, "/marks/1/memory/resident")?;
    Some((last(figures, "/marks", "/memory/resident")? - first) / 1_048_576.0)
}

/// The median of one measurement of one variant.
fn median(figures: &Value, variant: &str, of: &str) -> Option<f64> {
    let variants = figures["variants"].as_array()?;
    let found = variants.iter().find(|found| found["name"] == variant)?;
    found[of]["median"].as_f64()
}

/// Microseconds of CPU that a filter adds to a request.
fn added(figures: &Value, variant: &str) -> Option<f64> {
    median(figures, variant, "added")
}

fn over_native(figures: &Value, variant: &str) -> Option<f64> {
    ratio(added(figures, variant), added(figures, NATIVE))
}

fn kept(figures: &Value, variant: &str) -> Option<f64> {
    ratio(median(figures, variant, "rate"), median(figures, NONE, "rate"))
}

/// Mebibytes that a filter takes beside an empty one.
fn above_empty(figures: &Value, variant: &str) -> Option<f64> {
    let of = |variant| median(figures, variant, "resident");
    Some(of(variant)? - of(EMPTY)?)
}

/// Seconds from the start of Envoy with this variant to LIVE.
fn start_up(figures: &Value, variant: &str) -> Option<f64> {
    median(figures, variant, "start_up")
}

/// The last of the tables' sizes over the smallest: no filter, 100, 10,000, all.
fn million_over_hundred(figures: &Value, of: &str) -> Option<f64> {
    let median = format!("/{of}/median");
    let few = number(figures.pointer("/cpu/1")?, &median);
    ratio(last(figures, "/cpu", &median), few)
}

/// Bytes that Envoy's memory has grown by with each session.
fn per_session(figures: &Value, of: &str) -> Option<f64> {
    let memory = format!("/memory/{of}");
    let empty = number(figures, &format!("/stages/0{memory}"))?;
    let sessions = last(figures, "/stages", "/sessions")?;
    Some((last(figures, "/stages", &memory)? - empty) / sessions)
}

/// Sessions that a server on this SDK holds in the end.
fn left(figures: &Value, sdk: &str, course: &str) -> Option<f64> {
    last(figures, &format!("/{sdk}/{course}/looks"), "/sessions")
}
