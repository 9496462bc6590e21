//! The instructions that each filter adds to a request, as callgrind counts them in a real Envoy.
//!
//! Unlike time they hardly differ between two runs, whatever else the machine does. Each variant has an Envoy of its
//! own, beside a listener without a filter: under callgrind there is no room for the address space of many VMs.
//! Counting begins when everything is loaded, compiled and warm.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use super::bed::Bed;
use super::variants::{self, Variant};
use crate::wire::Connection;
use crate::{Fallible, Kind, SessionId, Target};

/// What is compared, in the order of the table.
const COMPARED: [&str; 8] = [
    variants::NATIVE,
    variants::EMPTY,
    variants::LEAN_QUIET,
    variants::QUIET,
    variants::RELEASE_0_1_0,
    variants::LEAN_DEFAULTS,
    variants::DEFAULTS,
    variants::BODY,
];

/// A request that no endpoint governs: another path, without any header of MCP's. The server knows it.
const UNGOVERNED: &[u8] =
    b"GET /counts HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: node\r\naccept: */*\r\n\r\n";

/// Requests of each kind before counting begins.
const WARM_UP: u64 = 50;

/// Batches of requests that are counted.
const BATCHES: usize = 15;

/// An Envoy under callgrind (`tests/gateway/load/under-callgrind`).
struct Callgrind {
    process: u32,
    directory: PathBuf,
    dumps: u32,
}

/// The instructions of one request.
struct Counted {
    call: f64,
    ungoverned: f64,
}

/// A variant, and what a request through it and through no filter took.
struct Row {
    label: &'static str,
    none: Counted,
    variant: Counted,
}

/// Counts the instructions of requests of each kind through each variant, in batches of `requests`; with
/// `only` (names with commas between them) through these. Returns the table.
///
/// # Errors
/// If Envoy does not run under callgrind, if it answers a request otherwise than 200, or if callgrind cannot be
/// controlled.
pub async fn run(requests: u64, only: &str) -> Fallible<String> {
    let mut rows = Vec::new();
    let chosen = |name: &&str| only.is_empty() || only.split(',').any(|chosen| chosen == *name);
    for name in COMPARED.into_iter().filter(chosen) {
        let row = row(name, requests).await?;
        eprintln!("  {}", row.label);
        rows.push(row);
    }
    table(&rows, requests)
}

async fn row(name: &str, requests: u64) -> Fallible<Row> {
    let chosen: Vec<Variant> = variants::all()?
        .into_iter()
        .filter(|variant| [variants::NONE, name].contains(&variant.name))
        .collect();
    let bed = Bed::start(|setup| variants::listeners(setup, &chosen)).await?;
    let mut callgrind = Callgrind::of(&bed)?;
    let [none, variant] = chosen.as_slice() else {
        return Err(format!("no such variant: {name}").into());
    };
    Ok(Row {
        label: variant.label,
        none: count(&bed, &mut callgrind, none, requests).await?,
        variant: count(&bed, &mut callgrind, variant, requests).await?,
    })
}

async fn count(bed: &Bed, callgrind: &mut Callgrind, variant: &Variant, requests: u64) -> Fallible<Counted> {
    let listener = bed.gateway.envoy().listener(&variants::listener(variant));
    let target = Target::new(listener.ok_or("a listener is missing")?, "/mcp");
    let mut connection = connect(&target).await?;
    let session = open_session(&target, &mut connection).await?;
    let mut call = Vec::new();
    target.write(Kind::ToolsCall, session.as_bytes(), &mut call);
    Ok(Counted {
        call: callgrind.count(&mut connection, &call, requests).await?,
        ungoverned: callgrind.count(&mut connection, UNGOVERNED, requests).await?,
    })
}

async fn connect(target: &Target) -> Fallible<Connection> {
    let connection = Connection::open(target.address()).await;
    connection.map_err(|failure| failure.as_str().into())
}

async fn open_session(target: &Target, connection: &mut Connection) -> Fallible<SessionId> {
    let mut request = Vec::new();
    target.write(Kind::Initialize, b"", &mut request);
    let answer = connection
        .exchange(&request)
        .await
        .map_err(|failure| failure.as_str())?;
    Ok(answer.session.ok_or("the answer to initialize has no session")?)
}

async fn send(connection: &mut Connection, request: &[u8], times: u64) -> Fallible<()> {
    for _ in 0..times {
        match connection.exchange(request).await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => return Err(format!("an answer of status {}", answer.status).into()),
            Err(failure) => return Err(failure.as_str().into()),
        }
    }
    Ok(())
}

impl Callgrind {
    /// Begins to count.
    fn of(bed: &Bed) -> Fallible<Self> {
        let directory = std::env::var_os("CALLGRIND_DIRECTORY").ok_or("run `make instructions`")?;
        let callgrind = Self {
            process: bed.gateway.envoy().process_id(),
            directory: directory.into(),
            dumps: 0,
        };
        callgrind.control("--instr=on")?;
        Ok(callgrind)
    }

    /// The instructions of one of `times` equal requests, in the batch that took the fewest: the others had ticks and
    /// sweeps in them, which come by the clock.
    async fn count(&mut self, connection: &mut Connection, request: &[u8], times: u64) -> Fallible<f64> {
        send(connection, request, WARM_UP).await?;
        let mut least = u64::MAX;
        for _ in 0..BATCHES {
            self.control("--zero")?;
            send(connection, request, times).await?;
            self.control("--dump")?;
            self.dumps += 1;
            least = least.min(self.most_of_a_thread()?);
        }
        Ok(least as f64 / times as f64)
    }

    /// The instructions of the busiest thread in the last dump, which is the worker. The other threads have their own
    /// timers.
    fn most_of_a_thread(&self) -> Fallible<u64> {
        let beginning = format!("counts.{}.{}-", self.process, self.dumps);
        let mut most = 0;
        for file in std::fs::read_dir(&self.directory)? {
            let file = file?;
            if file.file_name().to_string_lossy().starts_with(&beginning) {
                let text = std::fs::read_to_string(file.path())?;
                let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
                most = most.max(total.ok_or("callgrind has written no total")?.trim().parse()?);
            }
        }
        Ok(most)
    }

    fn control(&self, option: &str) -> Fallible<()> {
        let output = Command::new("callgrind_control")
            .arg(option)
            .arg(self.process.to_string())
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("callgrind_control {option}: {said}").into())
    }
}

/// The table in Markdown. Instructions are those added to a request without a filter.
fn table(rows: &[Row], requests: u64) -> Fallible<String> {
    let native = rows.first().ok_or("nothing was counted")?;
    let (native_call, native_ungoverned) = native.added();
    let mut text = format!(
        "The least of {BATCHES} batches of {requests} requests, one after the other. Without a filter all of Envoy takes {:.0} instructions \
         for a tools/call of a live session, and {:.0} for a request that no endpoint governs.\n\n\
         | filter | added to a tools/call | ÷ native | added to an ungoverned request | ÷ native |\n\
         |---|---|---|---|---|\n",
        native.none.call, native.none.ungoverned
    );
    for row in rows {
        let (call, ungoverned) = row.added();
        writeln!(
            text,
            "| {} | {call:.0} | {:.2} | {ungoverned:.0} | {:.2} |",
            row.label,
            call / native_call,
            ungoverned / native_ungoverned
        )?;
    }
    Ok(text)
}

impl Row {
    fn added(&self) -> (f64, f64) {
        (
            self.variant.call - self.none.call,
            self.variant.ungoverned - self.none.ungoverned,
        )
    }
}
