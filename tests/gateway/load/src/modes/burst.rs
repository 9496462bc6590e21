//! Many clients at the same moment.

use super::{Load, beside};
use crate::requests::Kind;
use crate::worker::Worker;

/// `count` clients, each with a connection of its own, send `initialize` at once. What they got is recorded.
pub async fn burst(load: &Load, count: usize) {
    beside(count, || {
        let load = load.clone();
        async move {
            let mut worker = Worker::new(&load.target, &load.recorder);
            worker.send(Kind::Initialize, b"").await;
        }
    })
    .await;
}
