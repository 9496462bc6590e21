//! How requests went: counts by status and failure, rate, latency.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::grouped;
use crate::requests::Kind;
use crate::wire::{Answer, Failure};

/// The longest latency told apart, in microseconds.
const LONGEST: u64 = 60_000_000;

/// Records the result of each request of a run.
pub struct Recorder {
    started: Instant,
    inner: RefCell<Inner>,
    /// Sessions, lifecycles, or whatever a mode counts, for the progress line.
    done: Cell<u64>,
}

struct Inner {
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<&'static str, u64>,
    latency: [Histogram<u64>; 6],
    /// Tool calls since the last read.
    recent: Histogram<u64>,
}

/// The results of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    pub seconds: f64,
    pub requests: u64,
    /// Requests with no 2xx for an answer.
    pub failed: u64,
    /// Requests a second.
    pub rate: f64,
    pub statuses: BTreeMap<String, u64>,
    /// What failed without an answer, by reason.
    pub broken: BTreeMap<String, u64>,
    /// In milliseconds, by kind of request.
    pub latency_ms: BTreeMap<String, Latency>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            inner: RefCell::new(Inner {
                statuses: BTreeMap::new(),
                failures: BTreeMap::new(),
                latency: Kind::ALL.map(|_| histogram()),
                recent: histogram(),
            }),
            done: Cell::new(0),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that hdrhistogram accepts")
}

impl Recorder {
    /// Records one request.
    pub fn record(&self, kind: Kind, latency: Duration, outcome: &Result<Answer, Failure>) {
        let mut inner = self.inner.borrow_mut();
        match outcome {
            Ok(answer) => *inner.statuses.entry(answer.status).or_default() += 1,
            Err(failure) => *inner.failures.entry(failure.as_str()).or_default() += 1,
        }
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
        inner.latency[kind as usize].saturating_record(micros);
        if kind == Kind::ToolsCall {
            inner.recent.saturating_record(micros);
        }
    }

    /// Records a failure that belongs to no request: a stream that ended early, an answer without an id.
    pub fn fail(&self, reason: &'static str) {
        *self.inner.borrow_mut().failures.entry(reason).or_default() += 1;
    }

    /// Counts one more of whatever the mode counts.
    pub fn one_more(&self) {
        self.done.set(self.done.get() + 1);
    }

    /// How many of them there are.
    pub fn done(&self) -> u64 {
        self.done.get()
    }

    /// Answers with this status.
    pub fn answered(&self, status: u16) -> u64 {
        self.inner.borrow().statuses.get(&status).copied().unwrap_or(0)
    }

    /// Answers of any status.
    pub fn all_answered(&self) -> u64 {
        self.inner.borrow().statuses.values().sum()
    }

    /// What failed so far.
    pub fn failed(&self) -> u64 {
        let inner = self.inner.borrow();
        let refused = inner
            .statuses
            .iter()
            .filter(|(status, _)| !(200..300).contains(*status));
        refused.map(|(_, count)| count).sum::<u64>() + inner.failures.values().sum::<u64>()
    }

    /// The latency of tool calls since the last read.
    pub fn take_recent(&self) -> Latency {
        let mut inner = self.inner.borrow_mut();
        let latency = Latency::of(&inner.recent);
        inner.recent.reset();
        latency
    }

    /// The final figures.
    pub fn figures(&self) -> Figures {
        let (seconds, failed) = (self.started.elapsed().as_secs_f64(), self.failed());
        let inner = self.inner.borrow();
        let answered: u64 = inner.statuses.values().sum();
        let kinds = Kind::ALL.into_iter().zip(&inner.latency);
        let latency = kinds.filter(|(_, histogram)| !histogram.is_empty());
        Figures {
            seconds,
            requests: latency.clone().map(|(_, histogram)| histogram.len()).sum(),
            failed,
            rate: answered as f64 / seconds,
            statuses: inner.statuses.iter().map(|(s, n)| (s.to_string(), *n)).collect(),
            broken: inner
                .failures
                .iter()
                .map(|(s, n)| ((*s).to_owned(), *n))
                .collect(),
            latency_ms: latency
                .map(|(kind, histogram)| (kind.as_str().to_owned(), Latency::of(histogram)))
                .collect(),
        }
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests in {:.1} s, {:.0}/s, {} failed",
            grouped(self.requests),
            self.seconds,
            self.rate,
            grouped(self.failed)
        )?;
        for (what, count) in self.statuses.iter().chain(&self.broken) {
            write!(f, " · {what}: {}", grouped(*count))?;
        }
        for (kind, latency) in &self.latency_ms {
            write!(
                f,
                "\n  {kind:<26} p50 {:.2} ms  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
                latency.p50, latency.p90, latency.p99, latency.p999, latency.max
            )?;
        }
        Ok(())
    }
}
