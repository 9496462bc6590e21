//! The effects of an event besides its verdict.

use std::time::Duration;

use mcp_session_filter::answer::Reason;
use mcp_session_filter::exchange::Effects;
use mcp_session_filter::session::{EndedSession, SessionKey, StoreError};
use mcp_session_filter::telemetry::{Event, Fact};

/// All effects of one event.
#[derive(Debug, Default)]
pub struct Heard {
    pub created: u32,
    pub adopted: u32,
    pub untracked: u32,
    pub rejected: Option<Reason>,
    pub ended: Vec<EndedSession>,
    pub pending: Vec<(usize, SessionKey)>,
    pub failed: Vec<(&'static str, StoreError)>,
    pub counts_moved: bool,
    /// How often they moved.
    pub moves: u32,
    pub streams_closed: u32,
}

impl Effects for Heard {
    fn count(&mut self, _: usize, event: Event) {
        match event {
            Event::Created => self.created += 1,
            Event::Adopted => self.adopted += 1,
            Event::Untracked => self.untracked += 1,
            Event::Rejected(reason) => self.rejected = Some(reason),
            Event::Request(_) | Event::Revision(_) => {}
        }
    }

    fn ended(&mut self, ended: &EndedSession) {
        self.ended.push(ended.clone());
    }

    fn delete_pending(&mut self, site: usize, key: SessionKey) {
        self.pending.push((site, key));
    }

    fn delete_failed(&mut self, _: usize) {}

    fn counts_moved(&mut self, _: usize) {
        self.counts_moved = true;
        self.moves += 1;
    }

    fn stream_closed(&mut self, _: usize, _: Duration) {
        self.streams_closed += 1;
    }

    fn note(&mut self, fact: Fact<'_>) {
        assert!(
            fact.value().len() <= 1024,
            "a fact of {} bytes",
            fact.value().len()
        );
    }

    fn write_field(&mut self, _: &'static str, _: Option<&str>) {}

    fn ungoverned(&mut self) {}

    fn failed(&mut self, operation: &'static str, error: StoreError) {
        self.failed.push((operation, error));
    }
}
