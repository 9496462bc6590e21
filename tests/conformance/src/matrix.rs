//! Every client against every server, direct and through the filter.

use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Fallible;
use crate::bed::{Bed, Sessions};
use crate::outcome::Outcome;
use crate::parties::{CLIENTS, Client, SERVERS, Server, Transport};
use crate::process;

/// A client's session with a server, direct and through the filter.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    pub client: &'static str,
    pub server: &'static str,
    pub direct: Outcome,
    pub through: Outcome,
    /// The filter's counts, if they agree with what Envoy saw.
    pub sessions: Option<Sessions>,
    /// What is worse through the filter, or was counted wrong.
    pub faults: Vec<String>,
}

/// All pairs, and those that could not be played.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Matrix {
    pub pairs: Vec<Pair>,
    /// Servers left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// What the filter refuses in a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// As it ships.
    Shipped,
    /// All without an id but `initialize`, and 2026-07-28 for servers that do not know it. HTTP+SSE has no such setting.
    Rejecting,
}

impl Setting {
    /// The fields of a server's endpoint; `None` if it is not played.
    fn fields(self, server: &Server) -> Option<Value> {
        match (self, server.transport) {
            (Self::Shipped, _) => Some(json!({})),
            (Self::Rejecting, Transport::HttpSse) => None,
            (Self::Rejecting, Transport::StreamableHttp) => {
                let modern = if server.legacy_only { "reject" } else { "pass" };
                Some(json!({"sessionless": "reject", "modern": modern}))
            }
        }
    }
}

/// Plays every pair; two servers at a time, because a session mostly waits.
pub async fn play(setting: Setting) -> Fallible<Matrix> {
    let mut matrix = Matrix::default();
    let played = |server: &&'static Server| Some((*server, setting.fields(server)?));
    let played: Vec<_> = SERVERS.iter().filter_map(|server| played(&server)).collect();
    for servers in played.chunks(2) {
        let mut lanes = JoinSet::new();
        for (server, fields) in servers {
            lanes.spawn(lane(server, fields.clone()));
        }
        while let Some(lane) = lanes.join_next().await {
            let (pairs, left_out) = lane.map_err(|error| error.to_string())??;
            matrix.pairs.extend(pairs);
            matrix.left_out.extend(left_out);
        }
    }
    let order = |pair: &Pair| {
        let server = SERVERS.iter().position(|server| server.name == pair.server);
        let client = CLIENTS.iter().position(|client| client.name == pair.client);
        (server, client)
    };
    matrix.pairs.sort_by_key(order);
    Ok(matrix)
}

type Lane = (Vec<Pair>, Option<(String, String)>);

/// Every client against one server.
async fn lane(server: &'static Server, fields: Value) -> Fallible<Lane> {
    let running = server.program().serve().await?;
    let bed = match Bed::start(server, running.address(), fields).await {
        Ok(bed) => bed,
        Err(log) => return Ok((Vec::new(), Some((server.name.to_owned(), refusal(&log)?)))),
    };
    let mut pairs = Vec::new();
    for client in CLIENTS.iter().filter(|client| server.suits(client)) {
        let pair = play_pair(client, server, &running, &bed).await;
        println!("  {}", line(&pair));
        pairs.push(pair);
    }
    Ok((pairs, None))
}

/// The module's words about a configuration that it does not accept. Any other error is a fault.
pub fn refusal(log: &str) -> Fallible<String> {
    let line = log
        .lines()
        .find(|line| line.contains("not supported in this version"));
    line.map(|line| line.split("] ").last().unwrap_or(line).trim().to_owned())
        .ok_or_else(|| log.to_owned())
}

async fn play_pair(
    client: &'static Client,
    server: &'static Server,
    running: &process::Server,
    bed: &Bed,
) -> Pair {
    let url = |address| format!("http://{address}{}", server.path);
    let direct = Outcome::of(&client.program(&url(running.address()))).await;
    let mark = bed.mark();
    let through = Outcome::of(&client.program(&url(bed.address()))).await;
    let counted = bed.since(&mark).await;
    let mut faults = through.worse_than(&direct);
    faults.extend(counted.as_ref().err().cloned());
    Pair {
        client: client.name,
        server: server.name,
        direct,
        through,
        sessions: counted.ok(),
        faults,
    }
}

fn line(pair: &Pair) -> String {
    let faults = match pair.faults.is_empty() {
        true => String::new(),
        false => format!("  WORSE: {}", pair.faults.join("; ")),
    };
    format!(
        "{:<22} {:<24} {}{faults}",
        pair.server,
        pair.client,
        pair.result()
    )
}

impl Pair {
    /// The pair in a few words: steps that went well direct and through, sessions created and deleted.
    pub fn result(&self) -> String {
        let steps = self.direct.steps.len().max(self.through.steps.len());
        let (direct, through) = (self.direct.passed(), self.through.passed());
        let sessions = self.sessions.map_or_else(
            || "counts differ".to_owned(),
            |sessions| {
                let ended = sessions.deleted + sessions.gone;
                format!("{} opened, {ended} ended", sessions.created)
            },
        );
        format!("{through}/{steps} ({direct} direct), {sessions}")
    }
}

impl Matrix {
    /// Whether nothing is worse through the filter.
    pub fn is_good(&self) -> bool {
        self.pairs.iter().all(|pair| pair.faults.is_empty())
    }
}
