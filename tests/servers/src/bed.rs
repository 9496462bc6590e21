//! A gateway as it ships in front of one of the servers, and the findings of a play.

use std::collections::BTreeSet;

use conformance::Fallible;
use gateway::{Answer, Call, Client, Gateway, Http, Setup, message, poll};
use serde_json::{Value, json};

use crate::parties::{Party, Running};
use crate::report::Row;

/// Which paths reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routes {
    /// Only the governed path.
    Shipped,
    /// All paths, as in many an operator's own file.
    All,
}

/// The gateway, with a cap of one session. It tells the server of the sessions that the filter ends.
pub struct Bed {
    pub gateway: Gateway,
    pub running: Running,
    client: Client,
    server: &'static str,
    play: String,
    seen: Vec<String>,
    /// Ids on 2xx answers that were not the request's own.
    given: BTreeSet<String>,
    /// Sessions that the server keeps without having named them to a client.
    untold: u64,
}

impl Bed {
    /// Starts the server and the gateway, with these further `fields` of the endpoint.
    pub async fn start(party: &Party, play: &str, routes: Routes, fields: Value) -> Fallible<Self> {
        let running = party.start().await?;
        let upstream =
            json!({"cluster": "mcp", "authority": "127.0.0.1:8000", "path": party.path, "timeout": "2s"});
        let endpoint = json!({"max_sessions": 1, "terminate_upstream": upstream});
        let mut setup = Setup::new(running.server.address())
            .workers(2)
            .endpoint(endpoint)
            .endpoint(fields);
        if routes == Routes::Shipped {
            setup = setup.routes_as_shipped();
        }
        let gateway = setup.try_start().await?;
        Ok(Self {
            client: gateway.client(Http::One).at(party.path),
            gateway,
            running,
            server: party.name,
            play: play.to_owned(),
            seen: Vec::new(),
            given: BTreeSet::new(),
            untold: 0,
        })
    }

    /// Where a client finds the server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    /// Sends a request, and remembers what came.
    pub async fn send(&mut self, call: Call) -> Fallible<Answer> {
        let own = call.session_sent().map(str::to_owned);
        // A stream to the client stays open, and its head is enough for a play.
        let answer = match call.method_sent() {
            "GET" => head(self.client.try_open(call).await?),
            _ => self.client.try_send(call).await?,
        };
        self.note(own.as_deref(), &answer);
        Ok(answer)
    }

    fn note(&mut self, own: Option<&str>, answer: &Answer) {
        let new = answer
            .session()
            .filter(|id| (200..300).contains(&answer.status) && Some(*id) != own);
        let plus = if new.is_some() { "+id" } else { "" };
        self.seen.push(format!("{}{plus}", answer.status));
        self.given.extend(new.map(str::to_owned));
    }

    /// As [`Bed::send`], for a request that may open a session at the server without an id in the answer.
    pub async fn send_unanswered(&mut self, call: Call, party: &Party) -> Fallible<()> {
        let answer = self.send(call).await?;
        self.untold += u64::from(party.keeps_untold && answer.status == 202);
        Ok(())
    }

    /// Writes down what a client saw, if it is no answer to [`Bed::send`].
    pub fn saw(&mut self, what: String) {
        self.seen.push(what);
    }

    /// The ids that clients were given and that work.
    pub async fn usable(&self) -> Fallible<Vec<String>> {
        let mut usable = Vec::new();
        for id in &self.given {
            let ping = message::request(7, "ping", json!({}));
            let call = Call::post(&ping).session(id).revision(message::REVISION);
            if self.client.try_send(call).await?.status == 200 {
                usable.push(id.clone());
            }
        }
        Ok(usable)
    }

    /// Whether one session has begun, now or soon: counters come a tick late.
    pub async fn has_counted_one(&self) -> bool {
        let is_one = || (self.gateway.stat("endpoint.mcp.created") == 1).then_some(());
        poll::until(poll::SOON, is_one).await.is_some()
    }

    /// Waits until the server and the gauge agree with the client.
    pub async fn row(self, wrong: String) -> Row {
        match self.usable().await {
            Ok(usable) => self.agreed(usable.len() as u64, wrong).await,
            Err(error) => Row::failed(self.server, &self.play, error),
        }
    }

    /// A row for a separate client, which has left `usable` sessions.
    pub async fn agreed(self, usable: u64, wrong: String) -> Row {
        let end = std::time::Instant::now() + poll::SOON;
        loop {
            let (held, active) = (
                self.running.held().await,
                self.gateway.stat("endpoint.mcp.active"),
            );
            let agree = held
                .as_ref()
                .is_ok_and(|held| (*held, active) == (usable + self.untold, usable));
            if agree || std::time::Instant::now() >= end {
                return self.row_of(usable, held, active, wrong);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn row_of(self, usable: u64, held: Fallible<u64>, active: u64, mut wrong: String) -> Row {
        if usable > 1 {
            wrong.push_str(" above the cap");
        }
        let reserved = self.gateway.stat("endpoint.mcp.reserved");
        if reserved != 0 {
            wrong.push_str(&format!(" {reserved} reserved"));
        }
        let held = held.unwrap_or_else(|error| {
            wrong.push_str(&error);
            u64::MAX
        });
        println!(
            "{}: {}: {:?} {usable} {held} {active} {wrong}",
            self.server, self.play, self.seen
        );
        Row {
            server: self.server.to_owned(),
            play: self.play,
            seen: shortened(&self.seen),
            usable,
            held,
            untold: self.untold,
            active,
            wrong,
        }
    }
}

fn head(stream: gateway::Stream) -> Answer {
    Answer {
        status: stream.status,
        headers: stream.headers,
        body: Vec::new().into(),
        trailers: Default::default(),
    }
}

/// `429 429 429` is `429 ×3`.
fn shortened(seen: &[String]) -> String {
    let mut parts: Vec<(&str, usize)> = Vec::new();
    for what in seen {
        match parts.last_mut() {
            Some((last, count)) if *last == what => *count += 1,
            _ => parts.push((what, 1)),
        }
    }
    let part = |(what, count): &(&str, usize)| match count {
        1 => (*what).to_owned(),
        count => format!("{what} ×{count}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(" ")
}
