//! Clients that leave before they are answered.

use std::time::Duration;

use super::{Load, beside};
use crate::worker::Worker;

/// `count` clients, each with a connection of its own, send `initialize` and leave `after` that without an answer.
pub async fn abort(load: &Load, count: usize, after: Duration) {
    beside(count, || {
        let load = load.clone();
        async move {
            match Worker::new(&load.target, &load.recorder).begin().await {
                Ok(connection) => {
                    tokio::time::sleep(after).await;
                    drop(connection);
                    load.recorder.one_more();
                }
                Err(failure) => load.recorder.fail(failure.as_str()),
            }
        }
    })
    .await;
}
