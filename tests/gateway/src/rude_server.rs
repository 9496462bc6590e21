//! A server that is rude in one way: it gives ids, reads messages or takes paths as no good server would. It knows
//! its own sessions, and so what the filter must know of.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::odd_server::{OddServer, Request};
use crate::reply::Reply;

/// On an answer: the ids that the server put on it, joined by commas. They stay here even if the filter takes them
/// off.
pub const PUT: &str = "x-put";
/// On a request: the filter itself sent it, by `terminate_upstream.headers`.
pub const BY_FILTER: &str = "x-by-filter";

/// Which answers carry an `Mcp-Session-Id`, and which id that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// A fresh id to an `initialize` without one, as most servers do.
    Politely,
    /// A fresh id on every answer to any request.
    OnAnything,
    /// A fresh id to every `initialize`, even one with an id: the Java SDK and mcp-go.
    ToAnyInitialize,
    /// The same id to every request for a session.
    Shared,
    /// A fresh id on each answer, in place of the request's, which ends.
    Rotated,
    /// The request's own id on each answer, and a fresh one if it has none.
    Echoed,
    /// Two fresh ones on the answer to an `initialize`.
    Two,
    /// An empty one on the answer to an `initialize`.
    Empty,
    /// A fresh id on refusals too, and the id works. The Python SDK does this, but its id does not work.
    OnRefusals,
}

/// How the server reads the message of a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// `application/json` with names as the specification spells them, and an `initialize` is a request.
    Strict,
    /// Any content type, and the same of a message.
    AnyContentType,
    /// As Go's `encoding/json`: names in any spelling that folds to the specification's; of two the last counts; an
    /// `initialize` opens a session with or without an `id`, and with a `result` beside it.
    Folded,
}

/// The manners of the server.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    pub ids: Ids,
    pub reading: Reading,
    /// The server takes an id that it never gave for a session: mcp-go.
    pub takes_any_id: bool,
    /// All spellings of a path are one: `/a`, `/A/`, `//a`, `/a;b=c`, `/%61`.
    pub takes_any_path: bool,
}

/// Polite, except in what is set.
impl Default for Manners {
    fn default() -> Self {
        Self {
            ids: Ids::Politely,
            reading: Reading::Strict,
            takes_any_id: false,
            takes_any_path: false,
        }
    }
}

/// The server. Ends with this value.
pub struct RudeServer {
    server: OddServer,
    held: Arc<Mutex<Held>>,
}

/// The sessions that work at the server: each id with the path it was opened at.
#[derive(Default)]
struct Held {
    paths: BTreeMap<String, String>,
    minted: usize,
}

impl RudeServer {
    /// Starts it.
    pub async fn start(manners: Manners) -> Self {
        let held = Arc::new(Mutex::new(Held::default()));
        let shared = held.clone();
        let behaviour = move |request: &Request| answer(manners, &mut lock(&shared), request);
        Self {
            server: OddServer::start(behaviour).await,
            held,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The requests that came for `path`.
    pub fn seen(&self, path: &str) -> Vec<Request> {
        self.server.seen(path)
    }

    /// The ids that work at `path`.
    pub fn held(&self, path: &str) -> Vec<String> {
        let held = lock(&self.held);
        let here = held.paths.iter().filter(|(_, at)| *at == path);
        here.map(|(id, _)| id.clone()).collect()
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().expect("no test panics with the lock held")
}

impl Held {
    fn mint(&mut self, path: &str) -> String {
        self.minted += 1;
        let id = format!("minted-{}", self.minted);
        self.paths.insert(id.clone(), path.to_owned());
        id
    }

    fn share(&mut self, path: &str) -> String {
        let id = format!("shared{path}");
        self.paths.insert(id.clone(), path.to_owned());
        id
    }
}

fn answer(manners: Manners, held: &mut Held, request: &Request) -> Reply {
    let path = match manners.takes_any_path {
        true => plain(&request.path),
        false => request.path.clone(),
    };
    let known = request
        .session()
        .is_some_and(|id| manners.takes_any_id || held.paths.contains_key(id));
    if request.header(BY_FILTER).is_some() {
        return delete(held, request, known);
    }
    let opens = opens(manners.reading, request);
    let is_taken = opens && manners.ids == Ids::ToAnyInitialize;
    let reply = match (request.session(), request.method.as_str()) {
        (Some(_), _) if !(known || is_taken) => Reply::status(404),
        (Some(_), "DELETE") => delete(held, request, known),
        (None, _) if !opens && manners.ids != Ids::OnAnything => Reply::status(400),
        (None, _) if !accepts(request) && manners.ids == Ids::OnRefusals => Reply::status(406),
        (_, "GET") => Reply::sse(),
        _ => Reply::json(
            200,
            &json!({"jsonrpc": "2.0", "id": request.json()["id"], "result": {"protocolVersion": crate::message::REVISION}}),
        ),
    };
    let is_good = reply.is_good();
    put(reply, ids(manners.ids, held, request, (opens, is_good), &path))
}

fn delete(held: &mut Held, request: &Request, known: bool) -> Reply {
    held.paths.remove(request.session().unwrap_or_default());
    Reply::status(if known { 200 } else { 404 })
}

/// The ids for an answer. `asked` says whether a session was asked for, and whether the answer is a good one.
fn ids(how: Ids, held: &mut Held, request: &Request, asked: (bool, bool), path: &str) -> Vec<String> {
    let own = request.session();
    match (how, asked) {
        (Ids::OnAnything, _) | (Ids::ToAnyInitialize, (true, true)) => vec![held.mint(path)],
        (Ids::OnRefusals, (_, false)) if own.is_none() => vec![held.mint(path)],
        (Ids::Shared, (true, true)) => vec![held.share(path)],
        (Ids::Rotated, (_, true)) if own.is_some() && request.method != "DELETE" => {
            held.paths.remove(own.unwrap_or_default());
            vec![held.mint(path)]
        }
        (Ids::Echoed, _) if own.is_some() => own.map(str::to_owned).into_iter().collect(),
        (_, (true, true)) if own.is_none() => match how {
            Ids::Two => vec![held.mint(path), held.mint(path)],
            Ids::Empty => vec![String::new()],
            _ => vec![held.mint(path)],
        },
        _ => Vec::new(),
    }
}

fn put(reply: Reply, ids: Vec<String>) -> Reply {
    let told = if ids.is_empty() {
        reply
    } else {
        reply.header(PUT, ids.join(","))
    };
    ids.iter().fold(told, |reply, id| reply.session(id))
}

fn accepts(request: &Request) -> bool {
    let accept = request.header("accept").unwrap_or_default();
    accept.contains("application/json") && accept.contains("text/event-stream")
}

/// Whether the server takes the request for one that opens a session.
fn opens(reading: Reading, request: &Request) -> bool {
    let message = request.json();
    let kind = request.header("content-type").unwrap_or_default();
    match reading {
        _ if request.method != "POST" => false,
        Reading::Strict => kind == "application/json" && asks(&message),
        Reading::AnyContentType => asks(&message),
        Reading::Folded => member(&message, "method") == Some(&json!("initialize")),
    }
}

fn asks(message: &Value) -> bool {
    message["method"] == "initialize" && message.get("id").is_some()
}

/// The last member whose name folds to this one, as Go reads it.
pub fn member<'a>(message: &'a Value, name: &str) -> Option<&'a Value> {
    let members = message.as_object()?.iter();
    members
        .rev()
        .find(|(member, _)| fold(member) == name)
        .map(|(_, value)| value)
}

/// The long s is an `S` and the Kelvin sign a `k`.
fn fold(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

/// The one path that stands for all of its spellings.
fn plain(path: &str) -> String {
    let path = decoded(path);
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_ascii_lowercase()),
        }
    }
    format!("/{}", segments.join("/"))
}

fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => text.extend([char::from(byte)].into_iter().chain(part.chars().skip(2))),
            None => text.extend(["%", part]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_path_are_one() {
        for path in ["/a", "/A/", "//a", "/a;b=c", "/./a", "/%61", "/b/../a", "/a%2F"] {
            assert_eq!(plain(path), "/a", "{path}");
        }
    }

    #[test]
    fn the_last_of_the_names_that_fold_wins() {
        let message = json!({"Method": "ping", "METHOD": "initialize", "param\u{17f}": 1});
        assert_eq!(member(&message, "method"), Some(&json!("initialize")));
        assert_eq!(member(&message, "params"), Some(&json!(1)));
    }
}
