use core::time::Duration;

use super::abi::{self, Headers};
use super::clock;
use super::shared::Shared;
use super::shared_data::SharedData;
use crate::config::FilterState;
use crate::exchange::{Effects, Gate};
use crate::session::{EndedSession, SessionKey, StoreError};
use crate::telemetry::{Delete, Event, Fact};

/// Turns the reports of exchanges into metrics, filter state and logs.
pub(super) struct Reporter<'a> {
    shared: &'a Shared,
    /// The site whose counts changed.
    moved: Option<usize>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, moved: None }
    }
}

impl Shared {
    /// Runs an event of the core, then brings the gauges up to date if it moved any count.
    pub(super) fn run<T>(&self, event: impl FnOnce(&mut Gate<'_, SharedData>, &mut Reporter<'_>) -> T) -> T {
        let mut reporter = Reporter::new(self);
        let result = {
            let mut in_use = self.in_use.borrow_mut();
            let mut gate = Gate {
                config: &self.config,
                sites: &self.sites,
                table: &self.table,
                in_use: &mut in_use,
                now: clock::now(),
            };
            event(&mut gate, &mut reporter)
        };
        if let Some(site) = reporter.moved.and_then(|index| self.sites.get(index)) {
            self.show(Some(site.rules.name.as_str()));
        }
        result
    }
}

impl Effects for Reporter<'_> {
    fn count(&mut self, site: usize, event: Event) {
        self.shared.metrics.count(site, event);
    }

    fn ended(&mut self, ended: &EndedSession) {
        self.shared.report_end(ended);
    }

    fn delete_pending(&mut self, site: usize, key: SessionKey) {
        self.shared.delete_queue.borrow_mut().add(site, key);
    }

    fn delete_failed(&mut self, _: usize) {
        self.shared.metrics.delete(Delete::Failed, 1);
    }

    fn counts_moved(&mut self, site: usize) {
        self.moved = Some(site);
    }

    fn stream_closed(&mut self, site: usize, lived: Duration) {
        self.shared.metrics.stream_closed(site, lived);
    }

    fn note(&mut self, fact: Fact<'_>) {
        if wants(&self.shared.config.filter_state, &fact) {
            // If the host refuses the value, the access log lacks it. A log line for each request would not help.
            let _ = abi::set_property(fact.key(), fact.value().as_bytes());
        }
    }

    fn write_field(&mut self, name: &'static str, value: Option<&str>) {
        let written = match value {
            Some(value) => abi::replace_field(Headers::Request, name, value),
            None => abi::remove_field(Headers::Request, name),
        };
        if let Err(error) = written {
            log::warn!("event=header_not_written status={error}");
        }
    }

    fn ungoverned(&mut self) {
        self.shared.metrics.ungoverned();
    }

    fn failed(&mut self, operation: &'static str, error: StoreError) {
        self.shared.failed(operation, error);
    }
}

fn wants(keys: &FilterState, fact: &Fact<'_>) -> bool {
    match fact {
        Fact::SessionId(_) => keys.session_id,
        Fact::Method(_) => keys.method_name,
        Fact::Tool(_) => keys.tool_name,
        Fact::Version(_) => keys.protocol_version,
        Fact::Endpoint(_) => keys.endpoint,
        Fact::Outcome(_) => keys.outcome,
    }
}
