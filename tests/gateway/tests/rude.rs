//! Servers that give ids where no good server would, and clients that put any id, or none, on any message.
//!
//! In every case the ids that clients were given and that work are at most the cap, the gauge agrees, and the server
//! is told to end its other sessions.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway::rude_server::{BY_FILTER, PUT};
use gateway::{Answer, Call, Client, Gateway, Http, Ids, Manners, RudeServer, Setup, message, poll};
use serde_json::{Value, json};

/// A request of a play: its description, and how to build it from the id of a live session.
pub type Sent = (&'static str, fn(&str) -> Call);

/// One endpoint for each way to let newcomers in, each way to treat unknown ids, and each cap.
#[derive(Clone)]
struct Place {
    name: String,
    cap: u64,
    adopts: bool,
}

/// A client at one place, and what it was given.
struct Play {
    place: Place,
    gateway: Arc<Gateway>,
    server: Arc<RudeServer>,
    client: Client,
    /// Ids on 2xx answers that were not the request's own.
    given: BTreeSet<String>,
    /// Answers whose id the filter took off.
    taken_off: u64,
    /// Good answers to POSTs and GETs with an id that no server gave, if the answer names no other id.
    taken_up: u64,
    /// How often there was no session to ask in.
    asked: u64,
}

fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for admission in ["body", "headers"] {
        for unknown in ["adopt", "reject"] {
            for cap in 1..=3 {
                places.push(Place {
                    name: format!("{admission}_{unknown}_{cap}"),
                    cap,
                    adopts: unknown == "adopt",
                });
            }
        }
    }
    places
}

fn endpoint(place: &Place) -> Value {
    json!({
        "name": place.name, "path": format!("/{}", place.name), "max_sessions": place.cap,
        "admission": place.name.split('_').next(),
        "unknown_session": if place.adopts { "adopt" } else { "reject" },
        "terminate_upstream": {
            "cluster": "mcp", "authority": "rude.internal", "timeout": "1s", "headers": {BY_FILTER: "yes"},
        },
    })
}

/// Sends these requests at every place at once.
pub async fn play(manners: Manners, sent: &'static [Sent]) {
    let server = Arc::new(RudeServer::start(manners).await);
    let endpoints: Vec<Value> = places().iter().map(endpoint).collect();
    let setup = Setup::new(server.address())
        .workers(2)
        .plugin(json!({"sweep_interval": "100ms", "endpoints": endpoints}));
    let gateway = Arc::new(setup.start().await);
    let plays = places().into_iter().enumerate().map(|(number, place)| {
        let http = if number % 2 == 0 { Http::One } else { Http::Two };
        let client = gateway.client(http).at(&format!("/{}", place.name));
        let mut play = Play {
            place,
            gateway: gateway.clone(),
            server: server.clone(),
            client,
            given: BTreeSet::new(),
            taken_off: 0,
            taken_up: 0,
            asked: 0,
        };
        tokio::spawn(async move { play.run(manners, sent).await })
    });
    let mut failed = Vec::new();
    for play in plays.collect::<Vec<_>>() {
        failed.extend(play.await.expect("a play that ends").err());
    }
    assert!(failed.is_empty(), "{manners:?}:\n{}", failed.join("\n"));
}

/// What went wrong, or nothing.
type Played = Result<(), String>;

impl Play {
    async fn run(&mut self, manners: Manners, sent: &[Sent]) -> Played {
        for (what, call) in sent {
            let live = self.live().await;
            self.send(call(&live)).await;
            self.judge(what).await?;
        }
        let usable = self.usable().await;
        // If a server gives a new id with each answer, each look opens another session.
        if !self.place.adopts && manners.ids != Ids::Rotated {
            self.expect("active", usable).await?;
        }
        self.expect("reserved", 0).await?;
        self.expect_counted().await?;
        // If an answer has several ids, the filter reads none of them, so the server gets no DELETE.
        match manners.ids {
            Ids::Two => Ok(()),
            _ => self.expect_told().await,
        }
    }

    fn stat(&self, name: &str) -> u64 {
        self.gateway.stat(&format!("endpoint.{}.{name}", self.place.name))
    }

    fn failed(&self, what: &str) -> String {
        format!("{}: {what}; given {:?}", self.place.name, self.given)
    }

    async fn expect(&self, name: &str, value: u64) -> Played {
        let came = poll::until(poll::SOON, || (self.stat(name) == value).then_some(())).await;
        came.ok_or_else(|| self.failed(&format!("{name} is {}, not {value}", self.stat(name))))
    }

    /// An id that works, if there is one; otherwise one that never worked.
    async fn live(&mut self) -> String {
        for id in self.given.clone() {
            if self.ping(&id).await {
                return id;
            }
        }
        self.asked += 1;
        format!("made-up-before-{}", self.asked)
    }

    async fn send(&mut self, call: Call) {
        let own = call.session_sent().map(str::to_owned);
        let method = call.method_sent().to_owned();
        let answer = self.client.send(call).await;
        self.note(&method, own.as_deref(), &answer);
    }

    async fn ping(&mut self, id: &str) -> bool {
        let answer = self.client.ping(id).await;
        self.note("POST", Some(id), &answer);
        answer.status == 200
    }

    fn note(&mut self, method: &str, own: Option<&str>, answer: &Answer) {
        let is_good = (200..300).contains(&answer.status);
        let put = answer.header(PUT).map(|ids| ids.split(',').collect::<Vec<_>>());
        let foreign = put.is_some_and(|ids| ids.iter().any(|id| Some(*id) != own));
        let got: Vec<_> = answer.headers.get_all("mcp-session-id").into_iter().collect();
        let others = got
            .iter()
            .filter_map(|id| id.to_str().ok())
            .filter(|id| Some(*id) != own);
        self.given.extend(others.filter(|_| is_good).map(str::to_owned));
        if foreign && got.is_empty() {
            self.taken_off += 1;
        }
        let made_up = own.is_some_and(|id| id.starts_with("made-up"));
        if made_up && is_good && !foreign && ["POST", "GET"].contains(&method) {
            self.taken_up += 1;
        }
    }

    /// How many of the given ids work.
    async fn usable(&mut self) -> u64 {
        let mut usable = 0;
        for id in self.given.clone() {
            usable += u64::from(self.ping(&id).await);
        }
        usable
    }

    async fn judge(&mut self, what: &str) -> Played {
        let (active, reserved) = (self.stat("active"), self.stat("reserved"));
        if active + reserved > self.place.cap {
            return Err(self.failed(&format!("{active} active and {reserved} reserved after: {what}")));
        }
        if self.given.contains("") {
            return Err(self.failed(&format!("an empty id after: {what}")));
        }
        let usable = self.usable().await;
        match usable > self.place.cap {
            true => Err(self.failed(&format!("{usable} work after: {what}"))),
            false => Ok(()),
        }
    }

    /// Each answer whose id was taken off is counted once, and so is each id that was adopted.
    async fn expect_counted(&self) -> Played {
        let expected = match self.place.adopts {
            true => self.taken_off + self.taken_up,
            false => self.taken_off,
        };
        let counted = || self.stat("untracked") + self.stat("adopted");
        let came = poll::until(poll::SOON, || (counted() == expected).then_some(())).await;
        came.ok_or_else(|| {
            let what = format!(
                "{} untracked and {} adopted",
                self.stat("untracked"),
                self.stat("adopted")
            );
            self.failed(&format!(
                "{what}, with {} taken off and {} taken up",
                self.taken_off, self.taken_up
            ))
        })
    }

    /// A session whose id no client was given ends at the server.
    async fn expect_told(&self) -> Played {
        let path = format!("/{}", self.place.name);
        let left = || {
            let held = self.server.held(&path);
            held.into_iter()
                .filter(|id| !self.given.contains(id))
                .collect::<Vec<_>>()
        };
        let came = poll::until(poll::SOON, || left().is_empty().then_some(())).await;
        came.ok_or_else(|| self.failed(&format!("the server still holds {:?}", left())))
    }
}

fn empty() -> Call {
    Call::method("POST").header("accept", "application/json, text/event-stream")
}

/// Any id, or none, on any message by any method.
const ANYTHING: &[Sent] = &[
    ("initialize", |_| Call::initialize()),
    ("initialize with a made-up id", |_| {
        Call::initialize().session("made-up-1")
    }),
    ("initialize with a live id", |live| {
        Call::initialize().session(live)
    }),
    ("a second initialize", |_| Call::initialize()),
    ("an initialize that is a notification", |_| {
        Call::post(&json!({"jsonrpc": "2.0", "method": "initialize", "params": {}}))
    }),
    ("an initialize with the id null", |_| {
        Call::post(&message::initialize(Value::Null))
    }),
    ("tools/list", |_| Call::tools_list()),
    ("tools/list with a live id", |live| {
        Call::tools_list().session(live)
    }),
    ("tools/list with a made-up id", |_| {
        Call::tools_list().session("made-up-2")
    }),
    ("a notification", |live| {
        Call::post(&message::initialized()).session(live)
    }),
    ("an initialize that takes no event stream", |_| {
        Call::initialize()
            .without("accept")
            .header("accept", "application/json")
    }),
    ("GET", |_| Call::get()),
    ("GET with a live id", |live| Call::get().session(live)),
    ("GET with a made-up id", |_| Call::get().session("made-up-3")),
    ("HEAD", |_| Call::method("HEAD")),
    ("OPTIONS with a live id", |live| {
        Call::method("OPTIONS").session(live)
    }),
    ("PUT", |_| Call::method("PUT")),
    ("DELETE with a made-up id", |_| {
        Call::delete().session("made-up-4")
    }),
    ("DELETE", |_| Call::delete()),
    ("a POST of nothing", |_| empty()),
    ("DELETE with a live id", |live| Call::delete().session(live)),
    ("initialize once more", |_| Call::initialize()),
    ("initialize with another made-up id", |_| {
        Call::initialize().session("made-up-5")
    }),
    ("initialize to the end", |_| Call::initialize()),
];

async fn gives(ids: Ids) {
    for takes_any_id in [false, true] {
        let manners = Manners {
            ids,
            takes_any_id,
            ..Manners::default()
        };
        play(manners, ANYTHING).await;
    }
}

macro_rules! servers_that_give {
    ($($name:ident: $ids:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            gives(Ids::$ids).await;
        }
    )*};
}

servers_that_give! {
    a_server_as_most_are: Politely,
    a_fresh_id_on_any_answer: OnAnything,
    a_fresh_id_to_an_initialize_whatever_id_it_carries: ToAnyInitialize,
    one_id_for_all: Shared,
    a_fresh_id_in_place_of_the_request_s: Rotated,
    the_request_s_id_on_every_answer: Echoed,
    two_ids_on_an_answer: Two,
    an_empty_id: Empty,
    a_fresh_id_on_refusals: OnRefusals,
}
