//! How long Envoy takes to start, and the memory that it takes at rest: loaded, and without a request so far.

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Lab;
use super::bed::Bed;
use super::spread::Spread;
use super::variants::{self, Variant};
use crate::results::{Bar, Chart, Claim, Outcome, Shape};
use crate::server::Server;
use crate::{Fallible, grouped};

/// As in the files that ship.
const WORKERS: u32 = 2;

/// What is compared, all with their defaults: no filter, one that does nothing, the first release, and ours.
const COMPARED: [&str; 4] = [
    variants::FOREIGN,
    variants::EMPTY,
    variants::RELEASE_0_1_0,
    variants::DEFAULTS,
];

/// V8 compiles in threads of its own, which are done before.
const SETTLED: Duration = Duration::from_secs(3);

/// Most that the filter may take beside one that does nothing, in MiB.
const MOST: f64 = 8.0;

/// The longest that Envoy may take to start, in seconds.
const LONGEST: f64 = 0.2;

/// Envoy with one variant.
#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    label: &'static str,
    ours: bool,
    /// Seconds from its start to LIVE.
    start_up: Spread,
    /// MiB.
    resident: Spread,
}

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let server = Rc::new(Server::start(0, true)?);
    let rounds = lab.count(5, 1);
    let all = variants::all()?;
    let called = |name: &str| all.iter().find(|variant| variant.name == name);
    let none = called(variants::NONE).ok_or("no listener without a filter")?;
    let chosen: Vec<&Variant> = COMPARED.into_iter().filter_map(called).collect();
    let mut looks = vec![Vec::new(); chosen.len()];
    for _ in 0..rounds {
        for (variant, looks) in chosen.iter().zip(&mut looks) {
            looks.push(start(&server, [none, variant]).await?);
        }
    }
    let measured = |(variant, looks): (&&Variant, Vec<(f64, f64)>)| Measured {
        name: variant.name,
        label: variant.label,
        ours: variant.ours,
        start_up: Spread::of(looks.iter().map(|(start_up, _)| *start_up)),
        resident: Spread::of(looks.iter().map(|(_, resident)| *resident)),
    };
    let measured: Vec<Measured> = chosen.iter().zip(looks).map(measured).collect();
    Ok(outcome(&measured, rounds))
}

/// The seconds that a start has taken, and the MiB that Envoy has then.
async fn start(server: &Rc<Server>, listeners: [&Variant; 2]) -> Fallible<(f64, f64)> {
    let bed = Bed::before(Rc::clone(server), |setup| {
        variants::listeners(setup.workers(WORKERS), listeners)
    })
    .await?;
    tokio::time::sleep(SETTLED).await;
    let resident = bed.memory().await?.resident_mib();
    Ok((bed.start_up.as_secs_f64(), resident))
}

fn outcome(measured: &[Measured], rounds: u64) -> Outcome {
    let of = |name: &str, what: fn(&Measured) -> Spread| {
        let found = measured.iter().find(|measured| measured.name == name);
        found.map_or(f64::NAN, |measured| what(measured).median)
    };
    let resident = |name| of(name, |measured| measured.resident);
    let start_up = |name| of(name, |measured| measured.start_up);
    let (empty, ours) = (resident(variants::EMPTY), resident(variants::DEFAULTS));
    let (above, first) = (ours - empty, resident(variants::RELEASE_0_1_0) - empty);
    let started = start_up(variants::DEFAULTS);
    let bar = |measured: &Measured| Bar {
        label: measured.label.to_owned(),
        value: measured.resident.median,
        low: measured.resident.low,
        high: measured.resident.high,
        note: String::new(),
        ours: measured.ours,
    };
    Outcome {
        title: "Start-up, and memory at rest".to_owned(),
        claims: vec![
            Claim::new(
                "resident memory above that of a Wasm filter that does nothing, in MiB",
                &format!("≤ {MOST:.0}"),
                format!("{above:.1} (release 0.1.0: {first:.1})"),
                above <= MOST,
            ),
            Claim::new(
                "start-up of Envoy to LIVE, in seconds",
                &format!("≤ {LONGEST}"),
                format!(
                    "{started:.2} (release 0.1.0: {:.2}, a Wasm filter that does nothing: {:.2}, none: {:.2})",
                    start_up(variants::RELEASE_0_1_0),
                    start_up(variants::EMPTY),
                    start_up(variants::FOREIGN)
                ),
                started <= LONGEST,
            ),
        ],
        charts: vec![Chart {
            title: format!("At rest the filter takes {above:.1} MiB more than one that does nothing"),
            note: format!(
                "{WORKERS} workers, the default cap, no request so far; medians and quartiles of {} starts",
                grouped(rounds)
            ),
            x: "MiB of resident memory, all of Envoy".to_owned(),
            y: String::new(),
            shape: Shape::Bars(measured.iter().map(bar).collect()),
        }],
        figures: json!({"rounds": rounds, "variants": measured}),
    }
}
