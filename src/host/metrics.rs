mod fleet;

use core::time::Duration;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub(super) use self::fleet::FleetMetrics;
use super::abi::{self, MetricId, MetricKind};
use crate::answer::Reason;
use crate::exchange::Site;
use crate::mcp::method::Method;
use crate::session::{Counts, EndReason, EndpointCounts};
use crate::status::EndpointCounters;
use crate::telemetry::{self, Delete, Event, Gauge, RevisionLabel};

/// The filter's metrics. A second definition gives the same process-wide stat, so every worker and every
/// configuration writes the same numbers.
#[derive(Debug)]
pub(super) struct Metrics {
    /// The endpoints of this configuration, in order; then further endpoints from the table.
    endpoints: RefCell<Vec<(String, Rc<EndpointMetrics>)>>,
    vm: Gauges,
    table_bytes: Metric,
    repaired: Metric,
    ungoverned: Tally,
    deletes: Vec<Metric>,
}

#[derive(Debug)]
struct EndpointMetrics {
    gauges: Gauges,
    streams: Metric,
    streams_limit: Limit,
    stream_duration: Metric,
    created: Metric,
    adopted: Metric,
    untracked: Metric,
    duration: Metric,
    requests: Vec<Tally>,
    revisions: Vec<Tally>,
    rejected: Vec<Metric>,
    ended: Vec<Metric>,
}

/// The two gauges whose sum stays under the cap.
#[derive(Debug)]
struct Gauges {
    active: Metric,
    reserved: Metric,
    limit: Metric,
}

/// A gauge of a cap that hardly ever changes, with the value that this root has written last.
#[derive(Debug)]
struct Limit {
    metric: Metric,
    shown: Cell<Option<u32>>,
}

/// A metric; `None` if the host refused to define it.
#[derive(Clone, Copy, Debug)]
struct Metric(Option<MetricId>);

impl Metrics {
    /// Defines the metrics of the VM and of these endpoints.
    pub(super) fn define(sites: &[Rc<Site>]) -> Self {
        let endpoint = |site: &Rc<Site>| {
            let name = site.rules.name.as_str().to_owned();
            let metrics = Rc::new(EndpointMetrics::define(&name));
            (name, metrics)
        };
        Self {
            endpoints: RefCell::new(sites.iter().map(endpoint).collect()),
            vm: Gauges::define(None),
            table_bytes: Metric::define(MetricKind::Gauge, telemetry::TABLE_BYTES),
            repaired: Metric::define(MetricKind::Counter, telemetry::REPAIRED),
            ungoverned: Tally::new(Metric::define(MetricKind::Counter, telemetry::UNGOVERNED)),
            deletes: Delete::ALL
                .iter()
                .map(|delete| Metric::define(MetricKind::Counter, &telemetry::upstream_delete(*delete)))
                .collect(),
        }
    }

    /// Counts an event at the endpoint with this index.
    pub(super) fn count(&self, endpoint: usize, event: Event) {
        let endpoints = self.endpoints.borrow();
        let Some((_, metrics)) = endpoints.get(endpoint) else {
            return;
        };
        let metric = match event {
            Event::Request(method) => return Tally::add_to(&metrics.requests, method.index()),
            Event::Revision(revision) => return Tally::add_to(&metrics.revisions, revision.index()),
            Event::Created => Some(&metrics.created),
            Event::Adopted => Some(&metrics.adopted),
            Event::Untracked => Some(&metrics.untracked),
            Event::Rejected(reason) => metrics.rejected.get(reason.index()),
        };
        if let Some(metric) = metric {
            metric.increment(1);
        }
    }

    /// Counts a session of the endpoint `name` that ended after living for this long.
    pub(super) fn ended(&self, name: &str, reason: EndReason, lived_ms: u64) {
        let metrics = self.of(name);
        if let Some(metric) = metrics.ended.get(reason.index()) {
            metric.increment(1);
        }
        metrics.duration.record(lived_ms);
    }

    /// The values of the counters of the endpoint `name`, over all workers.
    pub(super) fn counters(&self, name: &str) -> EndpointCounters {
        let metrics = self.of(name);
        let values = |counters: &[Metric]| counters.iter().map(|counter| counter.value()).collect();
        EndpointCounters {
            created: metrics.created.value(),
            adopted: metrics.adopted.value(),
            untracked: metrics.untracked.value(),
            ended: values(&metrics.ended),
            rejected: values(&metrics.rejected),
            revisions: metrics
                .revisions
                .iter()
                .map(|tally| tally.counter.value())
                .collect(),
        }
    }

    /// Tells Envoy what was added up since the last time. Each tick calls this.
    pub(super) fn tell(&self) {
        for (_, metrics) in self.endpoints.borrow().iter() {
            let tallies = metrics.requests.iter().chain(&metrics.revisions);
            tallies.for_each(Tally::tell);
        }
        self.ungoverned.tell();
    }

    /// Counts a stream of the endpoint with this index that was open for so long.
    pub(super) fn stream_closed(&self, endpoint: usize, lived: Duration) {
        if let Some((_, metrics)) = self.endpoints.borrow().get(endpoint) {
            let lived_ms = u64::try_from(lived.as_millis()).unwrap_or(u64::MAX);
            metrics.stream_duration.record(lived_ms);
        }
    }

    /// Counts repaired counts of the table.
    pub(super) fn repaired(&self, count: u32) {
        self.repaired.increment(i64::from(count));
    }

    /// Counts a request that looks like MCP, while no endpoint governs it.
    pub(super) fn ungoverned(&self) {
        self.ungoverned.add();
    }

    /// Counts DELETEs to servers.
    pub(super) fn delete(&self, delete: Delete, count: u32) {
        if let (Some(metric), 1..) = (self.deletes.get(delete as usize), count) {
            metric.increment(i64::from(count));
        }
    }

    /// Writes the ledger's counts of the VM and of one endpoint, or of all. With `only`, the cost of one change does
    /// not grow with the number of endpoints.
    pub(super) fn show(&self, counts: &Counts, only: Option<&str>) {
        self.vm.show(counts.active, counts.reserved, counts.limit);
        self.table_bytes.record(counts.table_bytes);
        let is_shown = |endpoint: &&EndpointCounts| only.is_none_or(|name| endpoint.settings.name == name);
        for endpoint in counts.endpoints.iter().filter(is_shown) {
            self.of(&endpoint.settings.name).show(endpoint);
        }
        if only.is_none() {
            self.show_none_of_the_rest(counts);
        }
    }

    /// Sets the gauges of endpoints that the ledger has dropped to zero: such an endpoint has no sessions.
    fn show_none_of_the_rest(&self, counts: &Counts) {
        let is_there = |name: &String| counts.endpoints.iter().any(|row| row.settings.name == *name);
        let endpoints = self.endpoints.borrow();
        for (_, metrics) in endpoints.iter().filter(|(name, _)| !is_there(name)) {
            metrics.gauges.show(0, 0, 0);
            metrics.streams.record(0);
            metrics.streams_limit.show(None);
        }
    }

    fn of(&self, name: &str) -> Rc<EndpointMetrics> {
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some((_, metrics)) = endpoints.iter().find(|(known, _)| known == name) {
            return Rc::clone(metrics);
        }
        let metrics = Rc::new(EndpointMetrics::define(name));
        endpoints.push((name.to_owned(), Rc::clone(&metrics)));
        metrics
    }
}

impl EndpointMetrics {
    fn define(name: &str) -> Self {
        let counter = |event| Metric::define(MetricKind::Counter, &telemetry::counter(name, event));
        let ended = |reason| Metric::define(MetricKind::Counter, &telemetry::ended(name, reason));
        Self {
            gauges: Gauges::define(Some(name)),
            streams: Metric::define(MetricKind::Gauge, &telemetry::gauge(Some(name), Gauge::Streams)),
            streams_limit: Limit::define(&telemetry::gauge(Some(name), Gauge::StreamsLimit)),
            stream_duration: Metric::define(MetricKind::Histogram, &telemetry::stream_duration(name)),
            created: counter(Event::Created),
            adopted: counter(Event::Adopted),
            untracked: counter(Event::Untracked),
            duration: Metric::define(MetricKind::Histogram, &telemetry::duration(name)),
            requests: Method::ALL
                .iter()
                .map(|method| Tally::new(counter(Event::Request(*method))))
                .collect(),
            revisions: RevisionLabel::ALL
                .iter()
                .map(|revision| Tally::new(counter(Event::Revision(*revision))))
                .collect(),
            rejected: Reason::ALL
                .iter()
                .map(|reason| counter(Event::Rejected(*reason)))
                .collect(),
            ended: EndReason::ALL.iter().map(|reason| ended(*reason)).collect(),
        }
    }

    fn show(&self, counts: &EndpointCounts) {
        self.gauges
            .show(counts.active, counts.reserved, counts.settings.max_sessions);
        self.streams.record(u64::from(counts.streams));
        self.streams_limit.show(counts.settings.max_streams);
    }
}

/// Nothing that was added up is lost with a root.
impl Drop for Metrics {
    fn drop(&mut self) {
        self.tell();
    }
}

/// A counter that the worker adds up, so that a request makes no host call for it. Envoy hears of it on the next tick,
/// or when the root goes. A trap loses what its worker has not told.
#[derive(Debug)]
struct Tally {
    counter: Metric,
    untold: Cell<u32>,
}

impl Tally {
    fn new(counter: Metric) -> Self {
        let untold = Cell::default();
        Self { counter, untold }
    }

    fn add_to(tallies: &[Self], index: usize) {
        if let Some(tally) = tallies.get(index) {
            tally.add();
        }
    }

    fn add(&self) {
        self.untold.set(self.untold.get().saturating_add(1));
    }

    fn tell(&self) {
        let untold = self.untold.take();
        if untold > 0 {
            self.counter.increment(i64::from(untold));
        }
    }
}

impl Gauges {
    fn define(endpoint: Option<&str>) -> Self {
        let define = |gauge| Metric::define(MetricKind::Gauge, &telemetry::gauge(endpoint, gauge));
        Self {
            active: define(Gauge::Active),
            reserved: define(Gauge::Reserved),
            limit: define(Gauge::Limit),
        }
    }

    /// Writes the falling gauge before the rising one, so that no reader sees a sum above the cap.
    fn show(&self, active: u32, reserved: u32, limit: u32) {
        self.limit.record(u64::from(limit));
        if self.active.value() > u64::from(active) {
            self.active.record(u64::from(active));
            self.reserved.record(u64::from(reserved));
        } else {
            self.reserved.record(u64::from(reserved));
            self.active.record(u64::from(active));
        }
    }
}

impl Limit {
    fn define(name: &str) -> Self {
        Self {
            metric: Metric::define(MetricKind::Gauge, name),
            shown: Cell::new(None),
        }
    }

    /// Writes the cap if it is another one than before; no cap is 0.
    fn show(&self, cap: Option<u32>) {
        let cap = cap.unwrap_or(0);
        if self.shown.replace(Some(cap)) != Some(cap) {
            self.metric.record(u64::from(cap));
        }
    }
}

/// The filter ignores failures to write a metric: it has no other place to report them.
impl Metric {
    fn define(kind: MetricKind, name: &str) -> Self {
        Self(abi::define_metric(kind, name).ok())
    }

    fn increment(self, by: i64) {
        if let Some(id) = self.0 {
            let _ = abi::increment_metric(id, by);
        }
    }

    fn record(self, value: u64) {
        if let Some(id) = self.0 {
            let _ = abi::record_metric(id, value);
        }
    }

    fn value(self) -> u64 {
        self.0.and_then(|id| abi::get_metric(id).ok()).unwrap_or(0)
    }
}
