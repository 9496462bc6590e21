//! A fixed amount of work, for measuring what it costs.

use std::rc::Rc;

use super::{Load, Places, Work, beside};
use crate::progress::Progress;
use crate::requests::Kind;
use crate::session_id::SessionIds;
use crate::worker::Worker;

/// Makes `requests` tool calls in these sessions, each in any of them, over `connections` connections that send
/// the next when the last is answered.
///
/// # Panics
/// If there are no sessions.
pub async fn fixed(load: &Load, requests: u64, connections: usize, ids: &Rc<SessionIds>) {
    let _progress = Progress::show("requests", requests, &load.recorder);
    let work = Work::new(requests);
    let mut seeds = Places(requests);
    let seeds = std::cell::RefCell::new(&mut seeds);
    beside(connections, || {
        let places = Places(seeds.borrow_mut().next() as u64);
        call(load.clone(), work.clone(), Rc::clone(ids), places)
    })
    .await;
}

async fn call(load: Load, work: Work, ids: Rc<SessionIds>, mut places: Places) {
    let mut worker = Worker::new(&load.target, &load.recorder);
    while work.take() {
        worker.send(Kind::ToolsCall, ids.get(places.next())).await;
        load.recorder.one_more();
    }
}
