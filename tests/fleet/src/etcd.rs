//! A real etcd of one member or of three, and what lies in it.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::{Call, Client, Http, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::Fallible;

/// What members have to end by themselves. The last of three waits for the others, which have ended.
const END: Duration = Duration::from_secs(1);

/// How often other ports are tried, should another process take one between its choice and its use.
const TRIES: u32 = 3;

/// An etcd. Ends with this value.
pub struct Etcd {
    members: Vec<Member>,
    directory: tempfile::TempDir,
}

/// One process of it.
struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    process: Option<Child>,
}

/// What one gateway has written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub gateway: String,
    pub share: u64,
    pub cap: u64,
    pub waiting: bool,
}

impl Etcd {
    /// Starts an etcd with this many members, and waits until it has a leader. If one is named, its only member
    /// listens there.
    pub async fn start(members: usize, client: Option<SocketAddr>) -> Fallible<Self> {
        let mut said = String::new();
        for _ in 0..TRIES {
            let mut etcd = Self::new(members, client)?;
            for number in 0..members {
                etcd.begin(number)?;
            }
            match etcd.wait_until_led().await {
                Ok(()) => return Ok(etcd),
                Err(reason) => said = reason,
            }
        }
        Err(said)
    }

    fn new(members: usize, client: Option<SocketAddr>) -> Fallible<Self> {
        let directory = tempfile::Builder::new().prefix("etcd-").tempdir();
        let ports = free_ports(members * 2)?;
        let member = |(number, ports): (usize, &[SocketAddr])| Member {
            name: format!("member-{number}"),
            client: client.unwrap_or(ports[0]),
            peer: ports[1],
            process: None,
        };
        Ok(Self {
            members: ports.chunks(2).enumerate().map(member).collect(),
            directory: directory.map_err(|error| format!("no directory for etcd: {error}"))?,
        })
    }

    /// Starts a member, with what it has kept if it ran before.
    pub fn begin(&mut self, number: usize) -> Fallible<()> {
        let peers: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}=http://{}", member.name, member.peer))
            .collect();
        let log = self.log_of(number);
        let data = self.directory.path().join(&self.members[number].name);
        let member = &mut self.members[number];
        let (client, peer) = (
            format!("http://{}", member.client),
            format!("http://{}", member.peer),
        );
        let log = File::options().create(true).append(true).open(log);
        let log = log.map_err(|error| format!("no log for etcd: {error}"))?;
        let process = Command::new("etcd")
            .args(["--name", &member.name, "--logger", "zap"])
            .arg("--data-dir")
            .arg(data)
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &peers.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let process = process.map_err(|error| {
            format!("etcd does not run: {error}. Install it (Debian: apt install etcd-server)")
        })?;
        member.process = Some(process);
        Ok(())
    }

    /// Waits until a member that runs leads all that run.
    pub async fn wait_until_led(&mut self) -> Fallible<()> {
        let end = Instant::now() + poll::SOON;
        while !self.is_led().await {
            for number in 0..self.members.len() {
                if self.members[number].has_died() {
                    return Err(format!("etcd has ended:\n{}", self.log(number)));
                }
            }
            if Instant::now() > end {
                return Err(format!("etcd has no leader:\n{}", self.log(0)));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn is_led(&self) -> bool {
        let (mut leaders, mut ids) = (Vec::new(), Vec::new());
        for number in 0..self.members.len() {
            if self.members[number].process.is_some() {
                let Some(status) = self.status(number).await else {
                    return false;
                };
                leaders.push(status["leader"].clone());
                ids.push(status["header"]["member_id"].clone());
            }
        }
        leaders.dedup();
        leaders.len() == 1 && ids.contains(&leaders[0])
    }

    /// Where its members listen for clients.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// The member that leads.
    pub async fn leader(&self) -> Fallible<usize> {
        for number in 0..self.members.len() {
            if let Some(status) = self.status(number).await
                && status["leader"] == status["header"]["member_id"]
            {
                return Ok(number);
            }
        }
        Err("no member of etcd leads".to_owned())
    }

    async fn status(&self, number: usize) -> Option<Value> {
        let member = &self.members[number];
        member.process.as_ref()?;
        ask(member.client, "/v3/maintenance/status", &json!({}))
            .await
            .ok()
    }

    /// Sends a signal to every member that runs.
    pub fn signal(&self, signal: Signal) {
        for process in self.members.iter().filter_map(|member| member.process.as_ref()) {
            send(process, signal);
        }
    }

    /// Ends a member at once, as a crash does.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends every member. What they have kept stays.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let end = Instant::now() + END;
        for member in &mut self.members {
            member.end_until(end);
        }
    }

    /// Starts every member that does not run.
    pub async fn start_again(&mut self) -> Fallible<()> {
        for number in 0..self.members.len() {
            if self.members[number].process.is_none() {
                self.begin(number)?;
            }
        }
        self.wait_until_led().await
    }

    /// What the gateways of a fleet have written, in the order of their names.
    pub async fn entries(&self, fleet: &str) -> Fallible<Vec<Entry>> {
        let prefix = format!("{fleet}/share/");
        let range = json!({
            "key": base64(prefix.as_bytes()),
            "range_end": base64(format!("{fleet}/share0").as_bytes()),
        });
        let running = self.members.iter().find(|member| member.process.is_some());
        let running = running.ok_or("no member of etcd runs")?;
        let answer = ask(running.client, "/v3/kv/range", &range).await?;
        let found = answer["kvs"].as_array().cloned().unwrap_or_default();
        let mut entries: Vec<Entry> = found.iter().filter_map(|found| entry(found, &prefix)).collect();
        if entries.len() != found.len() {
            return Err(format!("an entry that cannot be read: {answer}"));
        }
        entries.sort();
        Ok(entries)
    }

    /// The sum of all shares.
    pub async fn shares(&self, fleet: &str) -> Fallible<u64> {
        let entries = self.entries(fleet).await?;
        Ok(entries.iter().map(|entry| entry.share).sum())
    }

    fn log_of(&self, number: usize) -> PathBuf {
        let name = format!("{}.log", self.members[number].name);
        self.directory.path().join(name)
    }

    /// The end of a member's log.
    fn log(&self, number: usize) -> String {
        let text = std::fs::read_to_string(self.log_of(number)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // One that was stopped by SIGSTOP must go on to end.
        self.signal(Signal::CONT);
        self.stop();
    }
}

impl Member {
    /// Whether its process has ended by itself.
    fn has_died(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_some_and(|process| !matches!(process.try_wait(), Ok(None)))
    }

    fn end_until(&mut self, end: Instant) {
        while self.process.is_some() && !self.has_died() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn send(process: &Child, signal: Signal) {
    if let Some(process) = Pid::from_raw(process.id().cast_signed()) {
        let _ = kill_process(process, signal);
    }
}

/// Ports that were free a moment ago: etcd's members must know each other's before they start.
fn free_ports(count: usize) -> Fallible<Vec<SocketAddr>> {
    let listeners: Result<Vec<TcpListener>, _> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let listeners = listeners.map_err(|error| format!("no port for etcd: {error}"))?;
    let addresses: Result<Vec<SocketAddr>, _> = listeners.iter().map(TcpListener::local_addr).collect();
    addresses.map_err(|error| error.to_string())
}

/// Asks etcd's JSON gateway.
async fn ask(etcd: SocketAddr, path: &str, body: &Value) -> Fallible<Value> {
    let client = Client::new(etcd, Http::One).at(path);
    let answer = tokio::time::timeout(Duration::from_secs(2), client.try_send(Call::post(body)));
    let answer = answer
        .await
        .map_err(|_| format!("etcd does not answer {path}"))??;
    match answer.status {
        200 => Ok(answer.json()),
        status => Err(format!("etcd answers {status} to {path}: {}", answer.text())),
    }
}

fn entry(found: &Value, prefix: &str) -> Option<Entry> {
    let key = String::from_utf8(decoded(found["key"].as_str()?)?).ok()?;
    let value: Value = serde_json::from_slice(&decoded(found["value"].as_str()?)?).ok()?;
    Some(Entry {
        gateway: key.strip_prefix(prefix)?.to_owned(),
        share: value["share"].as_u64()?,
        cap: value["cap"].as_u64()?,
        waiting: value["waiting"].as_bool()?,
    })
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648, section 4), as etcd's keys and values are in JSON.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|other| *other == letter)?;
        (bits, count) = (bits << 6 | u32::try_from(value).ok()?, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_there_and_back() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(decoded(text).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn reads_an_entry() {
        let found = json!({
            "key": base64(b"mcp/share/0123456789abcdef"),
            "value": base64(br#"{"share":10,"cap":100,"waiting":false}"#),
        });
        let entry = entry(&found, "mcp/share/").expect("an entry");
        assert_eq!(
            (entry.gateway.as_str(), entry.share, entry.cap),
            ("0123456789abcdef", 10, 100)
        );
    }

    async fn put(etcd: &Etcd, key: &str, value: &str) {
        let put = json!({"key": base64(key.as_bytes()), "value": base64(value.as_bytes())});
        for (number, address) in etcd.addresses().into_iter().enumerate() {
            if etcd.members[number].process.is_some() {
                ask(address, "/v3/kv/put", &put).await.expect("etcd takes it");
                return;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_what_was_written_when_its_leader_dies_and_when_all_stop() {
        let mut etcd = Etcd::start(3, None).await.expect("etcd starts");
        put(&etcd, "mcp/growth", "").await;
        put(&etcd, "mcp/share/b", r#"{"share":7,"cap":9,"waiting":true}"#).await;
        put(&etcd, "mcp/share/a", r#"{"share":5,"cap":9,"waiting":false}"#).await;
        let leader = etcd.leader().await.expect("one leads");
        etcd.kill(leader);
        etcd.wait_until_led().await.expect("another leads");
        assert_ne!(etcd.leader().await.expect("one leads"), leader);
        etcd.start_again().await.expect("it comes back");
        etcd.stop();
        assert!(etcd.entries("mcp").await.is_err());
        etcd.start_again().await.expect("all come back");
        let entries = etcd.entries("mcp").await.expect("entries");
        assert_eq!(
            entries.iter().map(|entry| entry.share).collect::<Vec<_>>(),
            [5, 7]
        );
        assert_eq!(etcd.shares("other").await, Ok(0));
    }
}
