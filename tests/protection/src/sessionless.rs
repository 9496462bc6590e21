//! Requests without an id, at servers that keep a session for each (CVE-2026-59951): direct, and through the filter.

use std::time::{Duration, Instant};

use conformance::Fallible;
use gateway::setup::{connection_manager, yaml};
use gateway::{Gateway, Setup};
use load::grouped;
use serde_json::{Value, json};

use crate::drive::{self, Tally};
use crate::kinds::{self, Kind, Reach, Way};
use crate::report::{Part, table};
use crate::victim::{Library, Victim};

/// Two that keep these sessions, and one that is cured.
const LIBRARIES: [Library; 3] = [
    Library {
        version: "1.29.0",
        mode: "v1",
    },
    Library {
        version: "2.1.0",
        mode: "v2",
    },
    Library {
        version: "1.30.0",
        mode: "v1",
    },
];

/// The first number of requests; the second is the run's.
const FEW: u64 = 100;
const MEGABYTE: u64 = 1_000_000;

/// A server that has grown by more is replaced by a new one before the next kind.
const WORN: u64 = 16 * MEGABYTE;

/// How requests reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Direct,
    Pass,
    Reject,
    RejectAndTell,
}

const PATHS: [Path; 4] = [Path::Direct, Path::Pass, Path::Reject, Path::RejectAndTell];

impl Path {
    /// As `$WAYS` has it.
    fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Pass => "pass",
            Self::Reject => "reject",
            Self::RejectAndTell => "tell",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Pass => "`pass`",
            Self::Reject => "`reject`",
            Self::RejectAndTell => "`reject`, `terminate_upstream`",
        }
    }

    /// The endpoint's fields; none where there is no gateway.
    fn fields(self) -> Option<Value> {
        let reject = json!({"sessionless": "reject", "modern": "reject"});
        match self {
            Self::Direct => None,
            Self::Pass => Some(json!({})),
            Self::Reject => Some(reject),
            Self::RejectAndTell => {
                let mut fields = reject;
                fields["terminate_upstream"] = json!({"cluster": "mcp", "authority": "127.0.0.1:8000"});
                Some(fields)
            }
        }
    }

    /// How long the server's number of sessions must stay the same before it is believed: a server may still read
    /// what was sent by a client that has left, and be told by the filter of what it keeps.
    fn quiet(self, kind: &Kind) -> Duration {
        match (self, kind.way) {
            (_, Way::Leave) | (Self::RejectAndTell, Way::Delete) => Duration::from_secs(2),
            (Self::Direct | Self::Pass | Self::Reject | Self::RejectAndTell, _) => Duration::from_millis(100),
        }
    }

    fn rejects(self) -> bool {
        matches!(self, Self::Reject | Self::RejectAndTell)
    }
}

/// What one kind has left at a server.
#[derive(Debug, Clone, Copy)]
struct Left {
    few: u64,
    /// `None` if it was not sent many times.
    many: Option<u64>,
    /// Those of them that the filter counts: the server has let them in, and the cap bounds them.
    counted: u64,
    /// How much more memory the server has, in bytes.
    grown: u64,
}

impl Left {
    fn cell(self) -> String {
        let many = self
            .many
            .map_or_else(String::new, |many| format!(" / {}", grouped(many)));
        let grown = (self.grown + MEGABYTE / 2) / MEGABYTE;
        let counted = if self.counted > 0 { ", counted" } else { "" };
        format!("{}{many}{counted}, {} MB", grouped(self.few), grouped(grown))
    }

    /// Those that nothing bounds.
    fn unbounded(self) -> u64 {
        self.many.unwrap_or(self.few).saturating_sub(self.counted)
    }
}

/// A part for each server, each kind with `many` requests.
pub async fn play(many: u64) -> Fallible<Vec<Part>> {
    let mut parts = Vec::new();
    for library in LIBRARIES
        .into_iter()
        .filter(|library| is_wanted("VERSIONS", library.version))
    {
        parts.push(table_of(library, many).await?);
    }
    Ok(parts)
}

async fn table_of(library: Library, many: u64) -> Fallible<Part> {
    let mut part = Part::new(format!("sessionless {}", library.version));
    let paths: Vec<Path> = PATHS
        .into_iter()
        .filter(|path| is_wanted("WAYS", path.word()))
        .collect();
    let mut columns = Vec::new();
    for path in &paths {
        columns.push(column(library, *path, many, &mut part).await?);
    }
    let rows = kinds::all().into_iter().enumerate().map(|(at, kind)| {
        let cells = columns
            .iter()
            .map(|column| column[at].map_or_else(String::new, Left::cell));
        [kind.name.to_owned()].into_iter().chain(cells).collect()
    });
    let heads: Vec<&str> = ["a request"]
        .into_iter()
        .chain(paths.iter().map(|path| path.name()))
        .collect();
    let title = format!(
        "**{}**: sessions that it keeps after {FEW} / {} requests of a kind, and how much its memory has grown.",
        library.name(),
        grouped(many)
    );
    part.text = format!("{title}\n\n{}\n", table(&heads, rows.collect()));
    Ok(part)
}

/// Whether this word is in the list that the variable has, or there is no list.
fn is_wanted(variable: &str, word: &str) -> bool {
    std::env::var(variable).map_or(true, |list| list.split(',').any(|wanted| wanted == word))
}

/// Every kind on one path. `None` where it is not tried there.
async fn column(library: Library, path: Path, many: u64, part: &mut Part) -> Fallible<Vec<Option<Left>>> {
    let mut victim = Victim::start(library).await?;
    let gateways = match path.fields() {
        None => None,
        Some(fields) => match Gateways::start(&victim, &fields).await {
            Ok(gateways) => Some(gateways),
            Err(log) => {
                let last = log.lines().last().unwrap_or_default();
                part.faults
                    .push(format!("{}: the gateway does not start: {last}", path.name()));
                return Ok(vec![None; kinds::all().len()]);
            }
        },
    };
    let mut column = Vec::new();
    for kind in kinds::all() {
        let tried = kind.reach != Reach::Envoy || path.rejects();
        let left = match tried {
            true => Some(one(&mut victim, gateways.as_ref(), path, &kind, many).await?),
            false => None,
        };
        let is_wrong = |left: &Left| path.rejects() && kind.reach != Reach::Neither && left.unbounded() > 0;
        if let Some(left) = left.filter(is_wrong) {
            let place = format!("{}, {}, {}", library.name(), path.name(), kind.name);
            part.faults.push(format!("{place}: {}", left.cell()));
        }
        column.push(left);
    }
    Ok(column)
}

/// One kind on one path, at a server that holds nothing before.
async fn one(
    victim: &mut Victim,
    gateways: Option<&Gateways>,
    path: Path,
    kind: &Kind,
    many: u64,
) -> Fallible<Left> {
    let begun = Instant::now();
    let address = gateways.map_or(victim.address(), |gateways| gateways.of(kind).address());
    let active = || gateways.map_or(0, |gateways| gateways.of(kind).stat("endpoint.mcp.active"));
    let (before, active_before) = (victim.settled(path.quiet(kind)).await?, active());
    let mut tally = drive::send(address, kind, FEW).await;
    let mut held = victim.settled(path.quiet(kind)).await?;
    let few = held.sessions.saturating_sub(before.sessions);
    let goes_on = kind.many || path.rejects() && active() == active_before;
    if goes_on {
        add(&mut tally, drive::send(address, kind, many - FEW).await);
        held = victim.settled(path.quiet(kind)).await?;
    }
    let left = Left {
        few,
        many: goes_on.then(|| held.sessions.saturating_sub(before.sessions)),
        counted: active().saturating_sub(active_before),
        grown: held.resident.saturating_sub(before.resident),
    };
    let (path, cell, took) = (path.name(), left.cell(), begun.elapsed().as_secs_f64());
    println!(
        "  {} {path} {}: {cell} ({tally:?}, {took:.1} s)",
        victim.name(),
        kind.name
    );
    if held.sessions > 0 || left.grown > WORN {
        victim.restart().await?;
    }
    Ok(left)
}

fn add(all: &mut Tally, more: Tally) {
    for (what, count) in more {
        *all.entry(what).or_default() += count;
    }
}

/// The gateway, and one that checks origins and hosts before the filter.
struct Gateways {
    plain: Gateway,
    checked: Gateway,
}

impl Gateways {
    async fn start(victim: &Victim, fields: &Value) -> Fallible<Self> {
        let setup = || {
            Setup::new(victim.address())
                .workers(2)
                .top(json!({"max_sessions": 1_000_000}))
                // None may end while another kind is counted.
                .endpoint(json!({"idle_timeout": "24h"}))
                .endpoint(fields.clone())
                .routes_as_shipped()
        };
        Ok(Self {
            plain: setup().try_start().await?,
            checked: setup().patch(check_addresses).try_start().await?,
        })
    }

    fn of(&self, kind: &Kind) -> &Gateway {
        match kind.reach {
            Reach::Envoy => &self.checked,
            Reach::Filter | Reach::Neither => &self.plain,
        }
    }
}

/// What docs/protection.md says helps: Envoy answers 403 to any `Origin`, and 404 to another host.
fn check_addresses(config: &mut Value) {
    let manager = connection_manager(config);
    let rbac = yaml("foreign-origins.yaml")[0].take();
    if let Some(filters) = manager["http_filters"].as_array_mut() {
        filters.insert(0, rbac);
    }
    manager["strip_any_host_port"] = json!(true);
    manager["route_config"]["virtual_hosts"][0]["domains"] = json!(["127.0.0.1", "localhost"]);
}
