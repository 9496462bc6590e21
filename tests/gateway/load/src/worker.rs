//! One client with a connection of its own, kept for as long as it lasts.

use std::rc::Rc;
use std::time::Instant;

use crate::figures::Recorder;
use crate::requests::{Kind, Target};
use crate::session_id::SessionId;
use crate::wire::{Answer, Connection, Failure};

/// Sends requests one after the other and records each result.
pub struct Worker {
    target: Rc<Target>,
    recorder: Rc<Recorder>,
    connection: Option<Connection>,
    request: Vec<u8>,
}

impl Worker {
    /// A worker without a connection yet.
    pub fn new(target: &Rc<Target>, recorder: &Rc<Recorder>) -> Self {
        Self {
            target: Rc::clone(target),
            recorder: Rc::clone(recorder),
            connection: None,
            request: Vec::new(),
        }
    }

    /// Sends a request and waits for its whole answer: `None` unless that is 2xx. Nothing is sent twice.
    pub async fn send(&mut self, kind: Kind, id: &[u8]) -> Option<Answer> {
        self.send_since(Instant::now(), kind, id).await
    }

    /// As [`Worker::send`], with a latency that counts from `start`, when the request was due.
    pub async fn send_since(&mut self, start: Instant, kind: Kind, id: &[u8]) -> Option<Answer> {
        let outcome = self.try_send(kind, id).await;
        self.recorder.record(kind, start.elapsed(), &outcome);
        succeeded(outcome)
    }

    /// Opens a session: its id, `None` if there was no 2xx with one.
    pub async fn initialize(&mut self) -> Option<SessionId> {
        self.send(Kind::Initialize, b"").await?.session
    }

    /// Opens the event stream of a session on a connection of its own.
    pub async fn open_stream(&mut self, id: &[u8]) -> Option<Connection> {
        let start = Instant::now();
        self.target.write(Kind::Stream, id, &mut self.request);
        let mut connection = Connection::open(self.target.address()).await;
        let outcome = match &mut connection {
            Ok(connection) => connection.open_stream(&self.request).await,
            Err(failure) => Err(*failure),
        };
        self.recorder.record(Kind::Stream, start.elapsed(), &outcome);
        succeeded(outcome)?;
        connection.ok()
    }

    /// Sends `initialize` on a connection of its own, and reads nothing.
    pub async fn begin(&mut self) -> Result<Connection, Failure> {
        self.target.write(Kind::Initialize, b"", &mut self.request);
        let mut connection = Connection::open(self.target.address()).await?;
        connection.send_only(&self.request).await?;
        Ok(connection)
    }

    async fn try_send(&mut self, kind: Kind, id: &[u8]) -> Result<Answer, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.target.address()).await?,
        };
        self.target.write(kind, id, &mut self.request);
        let answer = connection.exchange(&self.request).await;
        self.connection = connection.is_reusable().then_some(connection);
        answer
    }
}

fn succeeded(outcome: Result<Answer, Failure>) -> Option<Answer> {
    outcome.ok().filter(|answer| (200..300).contains(&answer.status))
}
