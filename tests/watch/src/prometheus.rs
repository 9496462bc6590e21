//! A Prometheus of our own, and questions to it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::{Call, Client, Http, envoy, poll};
use serde_json::Value;

use crate::Fallible;

/// The time that an interrupted Prometheus has to write down what it has.
const END: Duration = Duration::from_secs(5);

/// A running Prometheus with the rules that ship. It ends with this value.
pub struct Prometheus {
    process: Child,
    client: Client,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it on loopback: it scrapes these Envoys' admin ports each second, by the names of their jobs.
    ///
    /// # Errors
    /// If there is no `prometheus` on the `PATH`, or it does not start.
    pub async fn start(listen: SocketAddr, envoys: &[(&str, SocketAddr)]) -> Fallible<Self> {
        let directory = tempfile::Builder::new().prefix("prometheus-").tempdir()?;
        let file = |name: &str| directory.path().join(name);
        fs::write(file("prometheus.yml"), configuration(envoys))?;
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", file("data").display()))
            .arg(format!("--web.listen-address={listen}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(file("log"))?)
            .spawn()
            .map_err(|error| {
                format!("prometheus does not run: {error}. Install it (Debian: apt install prometheus)")
            })?;
        let mut this = Self {
            process,
            client: Client::new(listen, Http::One),
            address: listen,
            directory,
        };
        this.wait_until_ready().await?;
        Ok(this)
    }

    /// It tells its port in its log, and is ready some time after that.
    async fn wait_until_ready(&mut self) -> Fallible<()> {
        let log = self.directory.path().join("log");
        let text = || fs::read_to_string(&log).unwrap_or_default();
        let process = &mut self.process;
        let told = || {
            let has_ended = !matches!(process.try_wait(), Ok(None));
            listening(&text()).map(Some).or(has_ended.then_some(None))
        };
        let Some(address) = poll::until(poll::SOON, told).await.flatten() else {
            return Err(format!("prometheus does not start:\n{}", text()).into());
        };
        (self.address, self.client) = (address, Client::new(address, Http::One));
        let end = Instant::now() + poll::SOON;
        while self.get("/-/ready").await.is_err() {
            if Instant::now() > end {
                return Err(format!("prometheus is not ready:\n{}", text()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The first of these pages that it has. Debian's package keeps them elsewhere than others do.
    pub async fn page(&self, paths: &[&str]) -> String {
        for path in paths {
            if self.get(path).await.is_ok() {
                return format!("http://{}{path}", self.address);
            }
        }
        format!("http://{}/", self.address)
    }

    async fn get(&self, path: &str) -> Fallible<gateway::Answer> {
        let answer = self.client.try_send(Call::get().path(path)).await?;
        match answer.status {
            200 => Ok(answer),
            status => Err(format!("{status}: {}", answer.text()).into()),
        }
    }

    /// The samples that a query gives now: labels, and the value.
    ///
    /// # Errors
    /// If Prometheus refuses the query.
    pub async fn query(&self, query: &str) -> Fallible<Vec<(Value, f64)>> {
        let answer = self
            .get(&format!("/api/v1/query?query={}", encoded(query)))
            .await?
            .json();
        let samples = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let sample = |sample: &Value| {
            let value = sample["value"][1].as_str()?.parse().ok()?;
            Some((sample["metric"].clone(), value))
        };
        Ok(samples.iter().filter_map(sample).collect())
    }

    /// Every rule of every group, as `/api/v1/rules` has them.
    ///
    /// # Errors
    /// If Prometheus does not answer.
    pub async fn rules(&self) -> Fallible<Vec<Value>> {
        let answer = self.get("/api/v1/rules").await?.json();
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        Ok(rules.flatten().cloned().collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Some(process) = rustix::process::Pid::from_raw(self.process.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + END;
        while Instant::now() < end {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(envoys: &[(&str, SocketAddr)]) -> String {
    let rules = |name: &str| quoted(&envoy::root().join("envoy/prometheus").join(name));
    let mut text = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\nrule_files: [{}, {}]\nscrape_configs:\n",
        rules("rules.yaml"),
        rules("alerts.yaml"),
    );
    for (job, admin) in envoys {
        text.push_str(&format!(
            "  - job_name: {job}\n    metrics_path: /stats/prometheus\n    static_configs: [{{ targets: [\"{admin}\"] }}]\n"
        ));
    }
    text
}

fn quoted(path: &Path) -> String {
    Value::from(path.display().to_string()).to_string()
}

/// The address in `msg="Listening on" address=127.0.0.1:9090`.
fn listening(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
    line.split_once("address=")?.1.trim().parse().ok()
}

/// A query as part of a URI (RFC 3986, section 2.1).
fn encoded(query: &str) -> String {
    let mut text = String::with_capacity(query.len() * 2);
    for byte in query.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_where_prometheus_listens() {
        let log = "ts=1 msg=\"Start listening for connections\" address=127.0.0.1:0\nts=2 msg=\"Listening on\" address=127.0.0.1:45731\n";
        assert_eq!(listening(log), Some(SocketAddr::from(([127, 0, 0, 1], 45731))));
        assert_eq!(
            listening("ts=1 msg=\"Start listening\" address=127.0.0.1:0"),
            None
        );
    }

    #[test]
    fn a_query_stays_one_word() {
        assert_eq!(encoded("a{b=\"c d\"}[5m]"), "a%7Bb%3D%22c%20d%22%7D%5B5m%5D");
    }
}
