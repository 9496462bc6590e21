//! Asks Prometheus everything that ships.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gateway::{Gateway, Setup, poll};
use serde_json::Value;

use crate::Fallible;
use crate::busy::Busy;
use crate::dashboard::{Dashboard, Query};
use crate::fleet::Fleet;
use crate::load_thread::LoadThread;
use crate::prometheus::Prometheus;
use crate::queries::{labels, selectors, substituted};

/// Until then every query must have an answer.
const DEADLINE: Duration = Duration::from_secs(90);

/// Alerts that this traffic does not bring about: a VM that never comes back, counts that a VM has left wrong, which a
/// crash does only between two writes, no stats at all, and a fleet of three gateways. Promtool's cases are all that tries
/// them.
const QUIET: [&str; 4] = [
    "McpFilterDown",
    "McpCountsRepaired",
    "McpStatsAbsent",
    "McpFleetUneven",
];

/// Starts three gateways, one where everything happens, one as shipped under load and one of a fleet, and a Prometheus that
/// scrapes them. Then asks it every query of every panel, variable and rule.
///
/// # Errors
/// With all that stayed empty or was refused.
pub async fn check() -> Fallible<()> {
    let dashboard = Dashboard::read()?;
    let mistakes = dashboard.mistakes();
    if !mistakes.is_empty() {
        return Err(mistakes.join("\n").into());
    }
    let mut busy = Busy::start().await?;
    let server = load::Server::start(0, true)?;
    let shipped = Setup::new(server.address())
        .workers(2)
        .routes_as_shipped()
        .status_view(serde_json::json!({}));
    let shipped = shipped.try_start().await?;
    let admin = |gateway: &Gateway| gateway.envoy().admin_address();
    let fleet = Fleet::start().await?;
    let envoys = [
        ("busy", admin(&busy.gateway)),
        ("shipped", admin(&shipped)),
        ("fleet", admin(&fleet.gateway)),
    ];
    let prometheus = Prometheus::start(SocketAddr::from(([127, 0, 0, 1], 0)), &envoys).await?;
    // A counter rises only from what a scrape has seen before.
    seen(&prometheus, "mcp_sessions_vm_limit", envoys.len()).await?;
    let load = LoadThread::start(shipped.address(), 10, Duration::from_millis(200));
    busy.trap().await;

    let begun = Instant::now();
    let mut missing;
    loop {
        busy.round().await;
        missing = missing_answers(&prometheus, &dashboard).await?;
        if missing.is_empty() || begun.elapsed() > DEADLINE {
            break;
        }
    }
    drop(load);
    told(&prometheus, &dashboard, begun.elapsed()).await?;
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "without an answer after {DEADLINE:?}:\n  {}",
            missing.join("\n  ")
        )
        .into()),
    }
}

async fn seen(prometheus: &Prometheus, series: &str, count: usize) -> Fallible<()> {
    let end = Instant::now() + poll::SOON;
    while prometheus.query(series).await?.len() < count {
        if Instant::now() > end {
            return Err(format!("Prometheus has scraped no {series}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// What has no answer yet, or was refused.
async fn missing_answers(prometheus: &Prometheus, dashboard: &Dashboard) -> Fallible<Vec<String>> {
    let mut missing = Vec::new();
    for query in dashboard.queries() {
        if let Err(reason) = answered(prometheus, &query).await {
            missing.push(format!("{}: {reason}: {}", query.place, query.expr));
        }
    }
    for rule in prometheus.rules().await? {
        missing.extend(rule_problems(prometheus, &rule).await?);
    }
    Ok(missing)
}

/// Whether a query has a number, with the labels that its legend names.
async fn answered(prometheus: &Prometheus, query: &Query) -> Result<(), String> {
    let samples = prometheus.query(&substituted(&query.expr)).await;
    let samples = samples.map_err(|refused| refused.to_string())?;
    let named = |sample: &Value| {
        labels(&query.legend)
            .iter()
            .all(|label| sample[label].is_string())
    };
    let mut numbers = samples.iter().filter(|(_, value)| value.is_finite());
    match numbers.next() {
        None => Err("no number".to_owned()),
        Some((labels, _)) if !named(labels) => Err(format!("no label for the legend in {labels}")),
        Some(_) => Ok(()),
    }
}

async fn rule_problems(prometheus: &Prometheus, rule: &Value) -> Fallible<Vec<String>> {
    let text = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let (name, expr) = (text("name"), text("query"));
    let mut problems = Vec::new();
    if rule["health"] != "ok" {
        problems.push(format!("{name}: {} {}", text("health"), text("lastError")));
    }
    let is_alert = rule["type"] == "alerting";
    if is_alert && !QUIET.contains(&name.as_str()) && text("state") == "inactive" {
        problems.push(format!("{name}: inactive"));
    }
    let reads = selectors(&expr);
    let written = [name.as_str()];
    for series in reads.into_iter().chain(written.into_iter().filter(|_| !is_alert)) {
        if prometheus.query(series).await?.is_empty() {
            problems.push(format!("{name}: no {series}"));
        }
    }
    Ok(problems)
}

/// Says what was asked.
async fn told(prometheus: &Prometheus, dashboard: &Dashboard, took: Duration) -> Fallible<()> {
    let rules = prometheus.rules().await?;
    let alerts: Vec<&Value> = rules.iter().filter(|rule| rule["type"] == "alerting").collect();
    let moved = alerts.iter().filter(|alert| alert["state"] != "inactive").count();
    println!(
        "asked: {} queries of the dashboard, {} recording rules, {} alerts, of which the traffic has moved {moved}, in {:.0} s",
        dashboard.queries().len(),
        rules.len() - alerts.len(),
        alerts.len(),
        took.as_secs_f64(),
    );
    Ok(())
}
