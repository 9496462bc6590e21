use super::{Metric, MetricKind};
use crate::fleet::Tally;
use crate::telemetry::{FleetEvent, FleetGauge, fleet_counter, fleet_gauge};
use crate::worker::speaker::Numbers;

/// The metrics of a fleet. Only the root that speaks writes them.
#[derive(Debug)]
pub(in crate::host) struct FleetMetrics {
    limit: Metric,
    share: Metric,
    used: Metric,
    gateways: Metric,
    lost: Metric,
    granted: Metric,
    returned: Metric,
    conflicts: Metric,
    failed: Metric,
}

impl FleetMetrics {
    /// Defines them.
    pub(in crate::host) fn define() -> Self {
        let gauge = |gauge| Metric::define(MetricKind::Gauge, &fleet_gauge(gauge));
        let counter = |event| Metric::define(MetricKind::Counter, &fleet_counter(event));
        Self {
            limit: gauge(FleetGauge::Limit),
            share: gauge(FleetGauge::Share),
            used: gauge(FleetGauge::Used),
            gateways: gauge(FleetGauge::Gateways),
            lost: gauge(FleetGauge::Lost),
            granted: counter(FleetEvent::Granted),
            returned: counter(FleetEvent::Returned),
            conflicts: counter(FleetEvent::Conflict),
            failed: counter(FleetEvent::Failed),
        }
    }

    /// Writes the gauges, all of them: another root may have written them last.
    pub(in crate::host) fn show(&self, numbers: &Numbers) {
        self.limit.record(u64::from(numbers.limit));
        self.share.record(u64::from(numbers.share));
        self.used.record(u64::from(numbers.used));
        self.gateways.record(u64::from(numbers.gateways));
        self.lost.record(u64::from(numbers.is_lost));
    }

    /// Counts what has happened.
    pub(in crate::host) fn count(&self, tally: Tally) {
        let counts = [
            (self.granted, tally.granted),
            (self.returned, tally.returned),
            (self.conflicts, tally.conflicts),
            (self.failed, tally.failed),
        ];
        for (counter, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            counter.increment(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
