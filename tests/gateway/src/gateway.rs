//! A real Envoy with the filter, in front of a server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, Http};
use crate::envoy::Envoy;
use crate::poll;
use crate::raw::RawConnection;
use crate::stats::{self, Sample};

/// What a trap leaves in Envoy's log. No test may leave it, whatever the test sends.
const TRAP: [&str; 4] = [
    "panicked at",
    "Function: proxy_on",
    "wasm trap",
    "Uncaught RuntimeError",
];

/// The gateway. Dropped after a test that passed, it checks that the filter's VM never trapped and that no count
/// needed repair.
pub struct Gateway {
    envoy: Envoy,
    address: SocketAddr,
    faults_expected: bool,
}

impl Gateway {
    pub(crate) fn over(envoy: Envoy, faults_expected: bool) -> Self {
        let address = envoy.listener("mcp").expect("the listener `mcp`");
        Self {
            envoy,
            address,
            faults_expected,
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Envoy itself.
    pub fn envoy(&self) -> &Envoy {
        &self.envoy
    }

    /// A client with connections of its own.
    pub fn client(&self, http: Http) -> Client {
        Client::new(self.address, http)
    }

    /// A client of the status view, with connections of its own.
    ///
    /// # Panics
    /// If the gateway has no listener for it.
    pub fn status_view(&self, http: Http) -> Client {
        let address = self.envoy.listener("status").expect("the listener `status`");
        Client::new(address, http).at("/mcp-sessions")
    }

    /// A bare connection, for bytes that no HTTP library would send.
    pub async fn connect(&self) -> RawConnection {
        RawConnection::open(self.address).await
    }

    /// Every stat of the filter, without the prefix `wasmcustom.mcp_sessions.`.
    pub fn stats(&self) -> BTreeMap<String, u64> {
        // An encoded dot would match as well: the filter is a regex.
        let all = stats::read(
            &self
                .envoy
                .admin("/stats?format=json&filter=wasmcustom.mcp_sessions"),
        );
        let ours = |(name, value): (String, u64)| {
            Some((name.strip_prefix("wasmcustom.mcp_sessions.")?.to_owned(), value))
        };
        all.into_iter().filter_map(ours).collect()
    }

    /// One stat of the filter, 0 if Envoy has no such stat: `vm.active`, `endpoint.mcp.created`.
    pub fn stat(&self, name: &str) -> u64 {
        self.stats().get(name).copied().unwrap_or(0)
    }

    /// One stat of Envoy's own, by its full name.
    pub fn envoy_stat(&self, name: &str) -> u64 {
        let all = stats::read(&self.envoy.admin("/stats?format=json"));
        all.get(name).copied().unwrap_or(0)
    }

    /// The filter's samples as Prometheus sees them.
    pub fn prometheus(&self) -> Vec<Sample> {
        let all = stats::read_prometheus(&self.envoy.admin("/stats/prometheus"));
        all.into_iter()
            .filter(|sample| sample.name.starts_with("mcp_sessions_"))
            .collect()
    }

    /// Waits until a stat of the filter has this value.
    ///
    /// # Panics
    /// With all stats and the caller's line, if the stat does not get this value soon.
    #[track_caller]
    pub fn expect<'a>(&'a self, name: &str, value: u64) -> impl Future<Output = ()> + use<'a> {
        self.expect_within(poll::SOON, name, value)
    }

    /// As [`Gateway::expect`], for slower changes.
    #[track_caller]
    pub fn expect_within<'a>(
        &'a self,
        deadline: Duration,
        name: &str,
        value: u64,
    ) -> impl Future<Output = ()> + use<'a> {
        let caller = std::panic::Location::caller();
        let name = name.to_owned();
        async move {
            let came = poll::until(deadline, || (self.stat(&name) == value).then_some(())).await;
            assert!(
                came.is_some(),
                "{caller}: {name} is {}, not {value}; all stats: {:#?}",
                self.stat(&name),
                self.stats()
            );
        }
    }

    /// Waits for an entry of the access log.
    pub async fn access_log_entry(&self, matches: impl Fn(&Value) -> bool) -> Value {
        let find = || self.envoy.access_log().into_iter().find(|entry| matches(entry));
        let entry = poll::until(poll::SOON, find).await;
        entry.unwrap_or_else(|| panic!("no such entry in the access log: {:#?}", self.envoy.access_log()))
    }

    /// The traces of a trap in the log.
    fn trap(&self) -> Option<String> {
        let log = self.envoy.log();
        let line = log
            .lines()
            .find(|line| TRAP.iter().any(|mark| line.contains(mark)))?;
        Some(line.to_owned())
    }

    fn repaired(&self) -> u64 {
        let answer = self.envoy.try_admin(
            "GET",
            "/stats?format=json&filter=wasmcustom.mcp_sessions.repaired",
        );
        answer.map_or(0, |json| stats::read(&json).values().sum())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.envoy.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- the last of Envoy's log\n{}\n---", last.join("\n"));
        } else if !self.faults_expected {
            let (trap, repaired) = (self.trap(), self.repaired());
            assert!(
                trap.is_none(),
                "the filter's VM trapped: {}",
                trap.unwrap_or_default()
            );
            assert_eq!(repaired, 0, "counts had to be put right");
        }
    }
}
