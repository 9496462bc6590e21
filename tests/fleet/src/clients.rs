//! Clients that open sessions, one after the other or many at once, and what they were told.

use std::fmt;
use std::time::{Duration, Instant};

use gateway::{Call, Client};
use tokio::task::JoinSet;

/// A session that was opened, and through which gateway.
#[derive(Debug, Clone)]
pub struct Session {
    pub gateway: usize,
    pub id: String,
}

/// What became of one `initialize`.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub gateway: usize,
    /// 0 if no answer came.
    pub status: u16,
    pub id: Option<String>,
    pub took: Duration,
    /// What was wrong with the answer, or why there was none.
    pub wrong: Option<String>,
}

impl Attempt {
    /// The session, if there is one.
    pub fn session(&self) -> Option<Session> {
        let id = self.id.clone()?;
        let gateway = self.gateway;
        (self.status == 200).then_some(Session { gateway, id })
    }
}

/// Sends one `initialize`.
pub async fn open(client: &Client, gateway: usize) -> Attempt {
    let begun = Instant::now();
    let answer = client.try_send(Call::initialize()).await;
    let took = begun.elapsed();
    match answer {
        Ok(answer) => Attempt {
            gateway,
            status: answer.status,
            id: answer.session().map(str::to_owned),
            took,
            wrong: wrong(&answer),
        },
        Err(reason) => Attempt {
            gateway,
            status: 0,
            id: None,
            took,
            wrong: Some(reason),
        },
    }
}

/// An answer is a session, or a refusal for load as the filter gives it.
fn wrong(answer: &gateway::Answer) -> Option<String> {
    let is_session = answer.status == 200 && answer.session().is_some();
    let message = &answer.json()["error"]["message"];
    let is_refusal = answer.status == 429
        && message == "Too many open sessions"
        && answer.header("retry-after").is_some()
        && answer.json()["id"] == 1;
    (!is_session && !is_refusal).then(|| format!("{}: {}", answer.status, answer.text()))
}

/// Sends `counts[n]` times `initialize` to the gateway `n`, all at once, and waits for all answers.
pub async fn open_at_once(clients: &[Client], counts: &[usize]) -> Vec<Attempt> {
    let mut attempts = JoinSet::new();
    for (gateway, (client, count)) in clients.iter().zip(counts).enumerate() {
        for _ in 0..*count {
            let client = client.clone();
            attempts.spawn(async move { open(&client, gateway).await });
        }
    }
    attempts.join_all().await
}

/// Ends sessions, each at its gateway, some at once. Returns how many DELETEs were not answered 200.
pub async fn close(clients: &[Client], sessions: Vec<Session>) -> usize {
    let mut wrong = 0;
    for some in sessions.chunks(50) {
        let mut deletes = JoinSet::new();
        for session in some {
            let (client, id) = (clients[session.gateway].clone(), session.id.clone());
            deletes.spawn(async move { client.try_send(Call::delete().session(&id)).await });
        }
        let answers = deletes.join_all().await;
        wrong += answers
            .iter()
            .filter(|answer| !answer.as_ref().is_ok_and(|answer| answer.status == 200))
            .count();
    }
    wrong
}

/// What became of many attempts.
#[derive(Debug, Default)]
pub struct Tally {
    pub sessions: Vec<Session>,
    pub refused: usize,
    pub wrong: Vec<String>,
    pub waits: Waits,
    pub refusals: Waits,
}

impl Tally {
    /// Of these attempts.
    pub fn of(attempts: Vec<Attempt>) -> Self {
        let mut tally = Self::default();
        attempts.into_iter().for_each(|attempt| tally.add(attempt));
        tally
    }

    /// One more.
    pub fn add(&mut self, attempt: Attempt) {
        match (attempt.session(), attempt.wrong) {
            (_, Some(wrong)) => self.wrong.push(wrong),
            (Some(session), None) => {
                self.waits.add(attempt.took);
                self.sessions.push(session);
            }
            (None, None) => {
                self.refusals.add(attempt.took);
                self.refused += 1;
            }
        }
    }

    /// How many were let in.
    pub fn opened(&self) -> usize {
        self.sessions.len()
    }
}

/// How long clients waited for their answers.
#[derive(Debug, Default, Clone)]
pub struct Waits {
    counts: [usize; BOUNDS.len() + 1],
    longest: Duration,
}

/// The upper bounds of the buckets, in milliseconds.
const BOUNDS: [u64; 7] = [10, 25, 50, 100, 250, 500, 1_000];

impl Waits {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let is_above = |bound: &&u64| took > Duration::from_millis(**bound);
        self.counts[BOUNDS.iter().filter(is_above).count()] += 1;
        self.longest = self.longest.max(took);
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// How many waited longer than this bound, which must be one of a bucket.
    pub fn over(&self, milliseconds: u64) -> usize {
        let first = BOUNDS.iter().position(|bound| *bound == milliseconds);
        let first = first.expect("the bound of a bucket");
        self.counts[first + 1..].iter().sum()
    }
}

/// `≤10 ms: 5, ≤25 ms: 1; longest 12 ms`.
impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |at: usize| match BOUNDS.get(at) {
            Some(bound) => format!("≤ {bound} ms"),
            None => format!("> {} ms", BOUNDS[BOUNDS.len() - 1]),
        };
        let shown = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let parts: Vec<String> = shown
            .map(|(at, count)| format!("{}: {count}", bound(at)))
            .collect();
        write!(f, "{}; longest {} ms", parts.join(", "), self.longest.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_in_buckets() {
        let mut waits = Waits::default();
        for milliseconds in [3, 10, 11, 250, 251, 2_000] {
            waits.add(Duration::from_millis(milliseconds));
        }
        assert_eq!(waits.over(250), 2);
        assert_eq!(
            waits.to_string(),
            "≤ 10 ms: 2, ≤ 25 ms: 1, ≤ 250 ms: 1, ≤ 500 ms: 1, > 1000 ms: 1; longest 2000 ms"
        );
    }
}
