//! The DELETEs that one root is to send to servers, and how fast.
//!
//! Hints, never the only copy of a fact: what is owed stands in the table, and whoever sweeps finds what a dead
//! root has left.

use core::time::Duration;

use hashbrown::HashSet;

use crate::session::{SessionKey, Settlement, Timestamp};

/// Farewells that wait here for their turn, for each endpoint. The others stay where they are; the sweep
/// brings them when there is room.
const MOST_WAITING: usize = 1024;

/// DELETEs without an answer yet, for each endpoint of one root.
const MOST_IN_FLIGHT: u32 = 16;

/// DELETEs that one root sends within [`WINDOW`], for each endpoint.
const MOST_IN_WINDOW: u32 = 100;

/// What [`MOST_IN_WINDOW`] is counted over.
const WINDOW: Duration = Duration::from_secs(1);

/// Pause after the first failure in a row; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// No pause is longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What came back of a DELETE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The session is gone: any 2xx, 404, or 405 from a server that lets none be ended.
    Gone,
    /// 401 or 403: it wants a credential.
    Denied,
    /// Any other answer that another attempt would not change.
    Refused,
    /// A reset, a time-out, or an answer that says to try later: 408, 429, any 5xx.
    Failed,
    /// Envoy did not send it.
    Unsent,
}

impl Reply {
    /// What an answer means; status 0 is none.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..300 | 404 | 405 => Self::Gone,
            401 | 403 => Self::Denied,
            0 | 408 | 429 | 500.. => Self::Failed,
            _ => Self::Refused,
        }
    }

    /// What it means for the farewell.
    pub fn settlement(self) -> Settlement {
        match self {
            Self::Gone | Self::Denied | Self::Refused => Settlement::Answered,
            Self::Failed => Settlement::Failed,
            Self::Unsent => Settlement::Unsent,
        }
    }

    /// Whether the server should be left in peace for a while.
    fn is_failure(self) -> bool {
        match self {
            Self::Gone | Self::Denied | Self::Refused => false,
            Self::Failed | Self::Unsent => true,
        }
    }
}

/// What one root has to send, for each endpoint of its configuration.
#[derive(Debug)]
pub struct Outbox(Vec<Line>);

#[derive(Debug, Default)]
struct Line {
    waiting: HashSet<SessionKey>,
    in_flight: u32,
    /// Failures in a row.
    failures: u32,
    paused_until: Timestamp,
    window: Timestamp,
    in_window: u32,
}

impl Outbox {
    /// An empty one for so many endpoints.
    pub fn new(endpoints: usize) -> Self {
        Self((0..endpoints).map(|_| Line::default()).collect())
    }

    /// Notes a farewell that can be sent, if there is room.
    pub fn add(&mut self, endpoint: usize, key: SessionKey) {
        if let Some(line) = self.0.get_mut(endpoint)
            && line.waiting.len() < MOST_WAITING
        {
            line.waiting.insert(key);
        }
    }

    /// A farewell to be sent at `now`, if the pace allows one. It counts as in flight until
    /// [`Outbox::returned`] or [`Outbox::skipped`].
    pub fn next(&mut self, endpoint: usize, now: Timestamp) -> Option<SessionKey> {
        let line = self.0.get_mut(endpoint)?;
        if !line.may_send(now) {
            return None;
        }
        let key = *line.waiting.iter().next()?;
        line.waiting.remove(&key);
        line.in_flight += 1;
        line.in_window += 1;
        Some(key)
    }

    /// Nothing was sent after all: another root has done it.
    pub fn skipped(&mut self, endpoint: usize) {
        if let Some(line) = self.0.get_mut(endpoint) {
            line.in_flight = line.in_flight.saturating_sub(1);
            line.in_window = line.in_window.saturating_sub(1);
        }
    }

    /// A DELETE has come back.
    pub fn returned(&mut self, endpoint: usize, reply: Reply, now: Timestamp) {
        let Some(line) = self.0.get_mut(endpoint) else {
            return;
        };
        line.in_flight = line.in_flight.saturating_sub(1);
        if reply.is_failure() {
            // What was in flight beside the first that failed says nothing new.
            if now >= line.paused_until {
                line.failures = line.failures.saturating_add(1);
                line.paused_until = now.after(pause(line.failures));
            }
        } else {
            line.failures = 0;
        }
    }
}

impl Line {
    /// After a failure one DELETE at a time tries whether the server is back.
    fn may_send(&mut self, now: Timestamp) -> bool {
        if now.since(self.window) >= WINDOW {
            self.window = now;
            self.in_window = 0;
        }
        let most = if self.failures > 0 { 1 } else { MOST_IN_FLIGHT };
        now >= self.paused_until && self.in_flight < most && self.in_window < MOST_IN_WINDOW
    }
}

fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
}
