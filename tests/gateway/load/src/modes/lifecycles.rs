//! Whole sessions, one after the other.

use std::time::Duration;

use super::{Load, Work, beside};
use crate::progress::Progress;
use crate::requests::Kind;
use crate::worker::Worker;

/// How a client leaves its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It sends DELETE.
    Delete,
    /// It does not.
    Abandon,
}

/// Sessions from `initialize` to their end.
#[derive(Debug, Clone, Copy)]
pub struct Lifecycles {
    pub count: u64,
    pub workers: usize,
    pub ending: Ending,
    /// With `notifications/initialized` and `tools/list` before this many tool calls; 0 leaves all of it out.
    pub calls: u32,
    /// Between the last call and the end.
    pub idle: Duration,
}

impl Lifecycles {
    /// Plays them.
    pub async fn run(self, load: &Load) {
        let _progress = Progress::show("lifecycles", self.count, &load.recorder);
        let work = Work::new(self.count);
        beside(self.workers, || self.work(load.clone(), work.clone())).await;
    }

    async fn work(self, load: Load, work: Work) {
        let mut worker = Worker::new(&load.target, &load.recorder);
        while work.take() {
            self.play(&load, &mut worker).await;
            load.recorder.one_more();
        }
    }

    /// A client that was refused a session gives up.
    async fn play(self, load: &Load, worker: &mut Worker) {
        let Some(answer) = worker.send(Kind::Initialize, b"").await else {
            return;
        };
        let Some(session) = answer.session else {
            return load.recorder.fail("initialize without an id");
        };
        let session = session.as_bytes();
        if self.calls > 0 {
            worker.send(Kind::Initialized, session).await;
            worker.send(Kind::ToolsList, session).await;
        }
        for _ in 0..self.calls {
            worker.send(Kind::ToolsCall, session).await;
        }
        if !self.idle.is_zero() {
            tokio::time::sleep(self.idle).await;
        }
        match self.ending {
            Ending::Delete => drop(worker.send(Kind::Delete, session).await),
            Ending::Abandon => {}
        }
    }
}
