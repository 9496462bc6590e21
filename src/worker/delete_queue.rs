//! The DELETEs that one root sends to servers, and their pace.
//!
//! These are hints, never the only copy of a fact: the table holds the pending DELETEs, and a sweep by any root finds
//! those that a dead root has left.

use core::time::Duration;

use crate::session::{DeleteOutcome, SessionKey, Timestamp};

/// Pending DELETEs that wait here for their turn, for each endpoint. Further ones stay in the table; the sweep brings
/// them when there is room.
const MOST_WAITING: usize = 512;

/// DELETEs without an answer yet, for each endpoint of one root.
const MOST_IN_FLIGHT: u32 = 16;

/// DELETEs that one root sends within [`WINDOW`], for each endpoint.
const MOST_IN_WINDOW: u32 = 100;

/// The time over which [`MOST_IN_WINDOW`] is counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Pause after the first failure in a row; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// No pause is longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The answer to a DELETE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteReply {
    /// Any 2xx: the server has ended the session.
    Ended,
    /// 404: the server does not know the session, or has no such route.
    Gone,
    /// 405: the server lets no client end a session (MCP 2025-11-25, `basic/transports` § Session Management).
    Unsupported,
    /// 401 or 403: the server wants a credential.
    Denied,
    /// Any other answer that another attempt would not change.
    Refused,
    /// A reset, a time-out, or an answer that says to try later: 408, 429, any 5xx.
    Failed,
    /// Envoy did not send it.
    Unsent,
}

/// A DELETE that was sent and has no answer yet.
#[derive(Clone, Copy, Debug)]
pub struct DeleteInFlight {
    /// The number under which the host tells of its answer.
    pub token: u32,
    /// The index of its site.
    pub site: usize,
    /// The session.
    pub key: SessionKey,
}

impl DeleteReply {
    /// The meaning of an answer; status 0 stands for no answer.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..300 => Self::Ended,
            404 => Self::Gone,
            405 => Self::Unsupported,
            401 | 403 => Self::Denied,
            0 | 408 | 429 | 500.. => Self::Failed,
            _ => Self::Refused,
        }
    }

    /// The meaning for the pending DELETE.
    pub fn outcome(self) -> DeleteOutcome {
        match self {
            Self::Ended | Self::Gone | Self::Unsupported | Self::Denied | Self::Refused => {
                DeleteOutcome::Answered
            }
            Self::Failed => DeleteOutcome::Failed,
            Self::Unsent => DeleteOutcome::Unsent,
        }
    }

    /// Whether the root should pause before it sends more to this server.
    fn is_failure(self) -> bool {
        match self {
            Self::Ended | Self::Gone | Self::Unsupported | Self::Denied | Self::Refused => false,
            Self::Failed | Self::Unsent => true,
        }
    }
}

/// The DELETEs that one root has to send, for each endpoint of its configuration.
#[derive(Debug)]
pub struct DeleteQueue(Vec<Line>);

#[derive(Debug, Default)]
struct Line {
    waiting: Vec<SessionKey>,
    in_flight: u32,
    /// Failures in a row.
    failures: u32,
    paused_until: Timestamp,
    window: Timestamp,
    in_window: u32,
}

impl DeleteQueue {
    /// An empty queue for this number of endpoints.
    pub fn new(endpoints: usize) -> Self {
        Self((0..endpoints).map(|_| Line::default()).collect())
    }

    /// Adds a pending DELETE that can be sent, if there is room.
    pub fn add(&mut self, endpoint: usize, key: SessionKey) {
        if let Some(line) = self.0.get_mut(endpoint)
            && line.waiting.len() < MOST_WAITING
            && !line.waiting.contains(&key)
        {
            line.waiting.push(key);
        }
    }

    /// A pending DELETE to send at `now`, if the pace allows one. It counts as in flight until
    /// [`DeleteQueue::returned`] or [`DeleteQueue::skipped`].
    pub fn next(&mut self, endpoint: usize, now: Timestamp) -> Option<SessionKey> {
        let line = self.0.get_mut(endpoint)?;
        if !line.may_send(now) {
            return None;
        }
        let key = line.waiting.pop()?;
        line.in_flight += 1;
        line.in_window += 1;
        Some(key)
    }

    /// Takes back a DELETE that was not sent after all: another root has sent it.
    pub fn skipped(&mut self, endpoint: usize) {
        if let Some(line) = self.0.get_mut(endpoint) {
            line.in_flight = line.in_flight.saturating_sub(1);
            line.in_window = line.in_window.saturating_sub(1);
        }
    }

    /// Notes the answer to a DELETE.
    pub fn returned(&mut self, endpoint: usize, reply: DeleteReply, now: Timestamp) {
        let Some(line) = self.0.get_mut(endpoint) else {
            return;
        };
        line.in_flight = line.in_flight.saturating_sub(1);
        if reply.is_failure() {
            // DELETEs that were in flight at the first failure tell nothing new by failing too.
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
    /// After a failure, one DELETE at a time tests whether the server is back.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Memory;
    use crate::session::{EndpointTag, RootTag, Table};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn delete_queue(waiting: u32) -> DeleteQueue {
        let table = Table::attach(Memory::ready(), RootTag::from_random(1), [0; 16]).unwrap();
        let mut delete_queue = DeleteQueue::new(1);
        for number in 0..waiting {
            delete_queue.add(0, table.key(EndpointTag::of("mcp"), &number.to_le_bytes()));
        }
        delete_queue
    }

    /// How many DELETEs can be sent at `now` if no answer comes.
    fn sent(delete_queue: &mut DeleteQueue, now: Timestamp) -> usize {
        core::iter::from_fn(|| delete_queue.next(0, now)).count()
    }

    #[test]
    fn no_more_than_sixteen_are_in_flight() {
        let mut delete_queue = delete_queue(100);
        assert_eq!(sent(&mut delete_queue, at(0)), 16);
        assert_eq!(sent(&mut delete_queue, at(10_000)), 0);
        delete_queue.returned(0, DeleteReply::Gone, at(10_000));
        delete_queue.skipped(0);
        assert_eq!(sent(&mut delete_queue, at(10_000)), 2);
    }

    #[test]
    fn no_more_than_a_hundred_go_out_in_a_second() {
        let mut delete_queue = delete_queue(512);
        let mut all_at = |now| {
            let mut all = 0;
            while delete_queue.next(0, now).is_some() {
                delete_queue.returned(0, DeleteReply::Gone, now);
                all += 1;
            }
            all
        };
        assert_eq!(all_at(at(5_000)), 100);
        assert_eq!(all_at(at(5_999)), 0);
        assert_eq!(all_at(at(6_000)), 100);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for_and_none_twice() {
        let mut delete_queue = delete_queue(2_000);
        assert_eq!(delete_queue.0[0].waiting.len(), MOST_WAITING);
        let key = delete_queue.next(0, at(0)).unwrap();
        delete_queue.add(0, key);
        delete_queue.add(0, key);
        assert_eq!(delete_queue.0[0].waiting.len(), MOST_WAITING);
        delete_queue.add(7, key);
    }

    #[test]
    fn a_server_that_fails_is_tried_once_after_ever_longer_pauses() {
        let mut delete_queue = delete_queue(100);
        assert_eq!(sent(&mut delete_queue, at(0)), 16);
        for _ in 0..16 {
            delete_queue.returned(0, DeleteReply::Failed, at(0));
        }
        let mut now = 0;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            now += pause * 1000;
            assert_eq!(sent(&mut delete_queue, at(now - 1)), 0);
            assert_eq!(sent(&mut delete_queue, at(now)), 1);
            delete_queue.returned(0, DeleteReply::Unsent, at(now));
        }
        assert_eq!(sent(&mut delete_queue, at(now + 60_000)), 1);
        delete_queue.returned(0, DeleteReply::Denied, at(now + 60_000));
        assert_eq!(sent(&mut delete_queue, at(now + 60_000)), 16);
    }

    #[test]
    fn answers_are_final_but_for_those_that_say_later() {
        let cases = [
            (
                DeleteReply::Ended,
                DeleteOutcome::Answered,
                &[200, 202, 204, 299][..],
            ),
            (DeleteReply::Gone, DeleteOutcome::Answered, &[404]),
            (DeleteReply::Unsupported, DeleteOutcome::Answered, &[405]),
            (DeleteReply::Denied, DeleteOutcome::Answered, &[401, 403]),
            (
                DeleteReply::Refused,
                DeleteOutcome::Answered,
                &[100, 301, 400, 406, 409, 421],
            ),
            (
                DeleteReply::Failed,
                DeleteOutcome::Failed,
                &[0, 408, 429, 500, 502, 503, 504],
            ),
        ];
        for (reply, outcome, statuses) in cases {
            for status in statuses {
                assert_eq!(DeleteReply::of_status(*status), reply, "{status}");
                assert_eq!(DeleteReply::of_status(*status).outcome(), outcome);
            }
        }
        assert_eq!(DeleteReply::Unsent.outcome(), DeleteOutcome::Unsent);
    }
}
