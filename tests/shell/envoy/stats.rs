//! Envoy's custom stats.

use std::collections::HashMap;

use proxy_wasm::types::{MetricType, Status};

/// Every stat by name. Every definition gives out new ids.
#[derive(Default)]
pub(crate) struct Stats {
    ids: Vec<(MetricType, String)>,
    values: HashMap<String, u64>,
}

impl Stats {
    pub(crate) fn define(&mut self, kind: MetricType, name: &str) -> u32 {
        self.ids.push((kind, name.to_owned()));
        u32::try_from(self.ids.len()).unwrap()
    }

    pub(crate) fn get(&self, id: u32) -> Result<u64, Status> {
        match self.find(id)? {
            (MetricType::Counter | MetricType::Gauge, name) => Ok(self.value(name)),
            _ => Err(Status::BadArgument),
        }
    }

    /// Sets a gauge, adds to a counter, counts a sample of a histogram.
    pub(crate) fn record(&mut self, id: u32, value: u64) -> Result<(), Status> {
        let (kind, name) = self.find(id)?.clone();
        let stored = self.values.entry(name).or_default();
        match kind {
            MetricType::Gauge => *stored = value,
            MetricType::Counter => *stored += value,
            _ => *stored += 1,
        }
        Ok(())
    }

    pub(crate) fn increment(&mut self, id: u32, by: i64) -> Result<(), Status> {
        let (kind, name) = self.find(id)?.clone();
        let stored = self.values.entry(name).or_default();
        match kind {
            MetricType::Counter if by > 0 => *stored += by.unsigned_abs(),
            MetricType::Gauge => *stored = stored.wrapping_add_signed(by),
            _ => return Err(Status::BadArgument),
        }
        Ok(())
    }

    pub(crate) fn value(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or(0)
    }

    fn find(&self, id: u32) -> Result<&(MetricType, String), Status> {
        let index = usize::try_from(id).unwrap().checked_sub(1);
        index
            .and_then(|index| self.ids.get(index))
            .ok_or(Status::NotFound)
    }
}
