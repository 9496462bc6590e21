//! What one look at the status view takes.

use std::time::Instant;

use gateway::{Call, Http};
use serde_json::{Value, json};

use super::bed::Bed;
use super::spread::Spread;
use crate::results::Claim;
use crate::{Fallible, grouped};

/// How often the view is looked at, one time after the other.
const LOOKS: usize = 50;

/// Most milliseconds of a worker, and most bytes, that a look may take.
const MOST_MS: f64 = 20.0;
const MOST_BYTES: usize = 256 * 1024;

/// Looks at the view of a gateway with this many sessions. What a client waits is more than a worker takes.
pub(super) async fn measure(bed: &Bed, sessions: u64) -> Fallible<(Vec<Claim>, Value)> {
    let view = bed.gateway.status_view(Http::One);
    let (mut waits, mut bytes, mut listed, mut partial) = (Vec::new(), 0, 0, false);
    for _ in 0..LOOKS {
        let start = Instant::now();
        let answer = view.send(Call::method("GET")).await;
        waits.push(start.elapsed().as_secs_f64() * 1e3);
        let document = answer.json();
        if answer.status != 200 || document["vm"]["active"] != sessions {
            return Err(format!("the view shows {} {}", answer.status, document["vm"]).into());
        }
        bytes = bytes.max(answer.body.len());
        listed = document["oldest"].as_array().map_or(0, Vec::len);
        partial |= document["partial"] == true;
    }
    let worst = waits.iter().copied().fold(0.0, f64::max);
    let wait = Spread::of(waits);
    let sessions = grouped(sessions);
    let claims = vec![
        Claim::new(
            &format!("one look at the status view at {sessions} sessions, as its client waits"),
            "< 20 ms",
            format!(
                "{:.1} ms, three of four under {:.1}, the longest {worst:.1}",
                wait.median, wait.high
            ),
            wait.high < MOST_MS,
        ),
        Claim::new(
            "its document",
            "< 256 KiB",
            format!("{} bytes", grouped(bytes as u64)),
            bytes < MOST_BYTES,
        ),
    ];
    let figures =
        json!({"wait_ms": wait, "worst_ms": worst, "bytes": bytes, "listed": listed, "partial": partial});
    Ok((claims, figures))
}
