//! Reading Envoy's stats.

use std::collections::BTreeMap;

use serde_json::Value;

/// The counters and gauges of `/stats?format=json` by name.
pub fn read(json: &str) -> BTreeMap<String, u64> {
    let stats: Value = serde_json::from_str(json).expect("Envoy's stats are JSON");
    let values = stats["stats"].as_array().into_iter().flatten();
    values
        .filter_map(|stat| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?)))
        .collect()
}

/// One sample of `/stats/prometheus`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// The samples of `/stats/prometheus`.
pub fn read_prometheus(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(sample)
        .collect()
}

/// `name{a="b",c="d"} 1`. Label values of ours hold neither quotes nor commas.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.strip_suffix('}')?.split_once('{')?;
    let label = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    };
    let labels = labels.split(',').filter_map(label).collect();
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}
