//! Measures Envoy again and again while another task runs.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::bed::{Bed, Memory};
use crate::{Fallible, Recorder};

/// One look.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    pub seconds: f64,
    pub memory: Memory,
    /// Connections to the server.
    pub upstream_connections: u64,
    /// Sessions in the table.
    pub active: u64,
    /// Requests answered since the last look, a second.
    pub rate: Option<f64>,
}

/// Measures Envoy every `every` until `work` is done, and once then. The last sample has no rate, since it comes too
/// soon.
pub async fn during<T>(
    bed: &Bed,
    recorder: &Recorder,
    every: Duration,
    work: impl Future<Output = T>,
) -> Fallible<(T, Vec<Sample>)> {
    let start = Instant::now();
    let (mut samples, mut answered, mut since) = (Vec::new(), recorder.all_answered(), start);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {}
        }
        let rate = (recorder.all_answered() - answered) as f64 / since.elapsed().as_secs_f64();
        (answered, since) = (recorder.all_answered(), Instant::now());
        let look = look(bed, start.elapsed().as_secs_f64(), Some(rate));
        // The load goes on while Envoy is asked.
        tokio::pin!(look);
        let sample = tokio::select! {
            sample = &mut look => sample?,
            done = &mut work => break done,
        };
        samples.push(sample);
    };
    samples.push(look(bed, start.elapsed().as_secs_f64(), None).await?);
    Ok((done, samples))
}

async fn look(bed: &Bed, seconds: f64, rate: Option<f64>) -> Fallible<Sample> {
    Ok(Sample {
        seconds,
        memory: bed.memory().await?,
        upstream_connections: bed.envoy_stat("cluster.mcp.upstream_cx_active").await?,
        active: bed.stat("vm.active").await?,
        rate,
    })
}
