//! Many sessions, as fast as they open, and their end.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Load, Work, beside};
use crate::progress::Progress;
use crate::requests::Kind;
use crate::session_id::SessionIds;
use crate::worker::Worker;

/// Opens `count` more sessions over `connections` connections and puts their ids to those in `ids`.
pub async fn fill(load: &Load, count: u64, connections: usize, ids: SessionIds) -> SessionIds {
    let _progress = Progress::show("fill", count, &load.recorder);
    let work = Work::new(count);
    let ids = Rc::new(RefCell::new(ids));
    beside(connections, || open(load.clone(), work.clone(), Rc::clone(&ids))).await;
    ids.take()
}

async fn open(load: Load, work: Work, ids: Rc<RefCell<SessionIds>>) {
    let mut worker = Worker::new(&load.target, &load.recorder);
    while work.take() {
        let Some(answer) = worker.send(Kind::Initialize, b"").await else {
            continue;
        };
        let pushed = match &answer.session {
            Some(id) => ids.borrow_mut().push(id),
            None => Err("initialize without an id"),
        };
        match pushed {
            Ok(()) => load.recorder.one_more(),
            Err(reason) => load.recorder.fail(reason),
        }
    }
}

/// Ends `count` of the sessions by DELETE.
pub async fn close(load: &Load, count: u64, connections: usize, ids: SessionIds) -> SessionIds {
    let work = Work::new(count);
    let ids = Rc::new(RefCell::new(ids));
    beside(connections, || {
        let (load, work, ids) = (load.clone(), work.clone(), Rc::clone(&ids));
        async move {
            let mut worker = Worker::new(&load.target, &load.recorder);
            while work.take() {
                let id = ids.borrow_mut().pop();
                if let Some(id) = id {
                    worker.send(Kind::Delete, id.as_bytes()).await;
                }
            }
        }
    })
    .await;
    ids.take()
}
