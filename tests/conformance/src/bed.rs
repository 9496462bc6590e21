//! A gateway in front of one server. It compares what the filter counted with what Envoy itself saw.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use gateway::setup::connection_manager;
use gateway::{Gateway, Setup, poll};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Fallible;
use crate::parties::{Server, Transport};

/// A client that has left may leave streams for Envoy to notice.
const SETTLE: Duration = Duration::from_secs(10);

/// Further fields of the access log here: Envoy's own view of what the filter counts.
const SEEN: [(&str, &str); 3] = [
    ("sent_id", "%REQ(mcp-session-id)%"),
    ("given_id", "%RESP(mcp-session-id)%"),
    ("body_bytes", "%BYTES_RECEIVED%"),
];

/// Ids that the filter took off answers.
const UNTRACKED: &str = "endpoint.mcp.untracked";

/// The gateway.
pub struct Bed {
    gateway: Gateway,
    transport: Transport,
    /// It refuses 2026-07-28, for which clients of both eras ask first.
    refuses_modern: bool,
}

/// Sessions that began and ended in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sessions {
    pub created: u64,
    pub deleted: u64,
    /// Ended because the server answered 404, or its stream closed.
    pub gone: u64,
    pub alive: i64,
}

/// A point in time: the stats and the length of the access log.
pub struct Mark {
    stats: BTreeMap<String, u64>,
    entries: usize,
}

/// A server's endpoint in the filter's configuration.
fn endpoint(server: &Server) -> Value {
    match server.transport {
        Transport::StreamableHttp => json!({"path": server.path}),
        Transport::HttpSse => json!({
            "path": server.path, "transport": "http_sse", "message_path": server.message_path,
        }),
    }
}

impl Bed {
    /// A gateway as it ships, with these further `fields` of its endpoint. If the module refuses them, `Err` has
    /// Envoy's log.
    pub async fn start(server: &Server, upstream: SocketAddr, fields: Value) -> Fallible<Self> {
        let refuses_modern = fields["modern"] == "reject";
        let setup = Setup::new(upstream)
            .endpoint(endpoint(server))
            .endpoint(fields)
            .patch(log_what_is_seen);
        Ok(Self {
            gateway: setup.try_start().await?,
            transport: server.transport,
            refuses_modern,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Now.
    pub fn mark(&self) -> Mark {
        Mark {
            stats: self.gateway.stats(),
            entries: self.gateway.envoy().access_log().len(),
        }
    }

    /// What the filter has counted since `mark`, once that agrees with what Envoy saw. If they never agree, `Err` has
    /// both.
    pub async fn since(&self, mark: &Mark) -> Result<Sessions, String> {
        let look = || {
            let counted = self.counted(mark);
            self.disagreement(mark, counted).is_none().then_some(counted)
        };
        match poll::until(SETTLE, look).await {
            Some(counted) => Ok(counted),
            None => {
                let counted = self.counted(mark);
                Err(self.disagreement(mark, counted).unwrap_or_default())
            }
        }
    }

    fn counted(&self, mark: &Mark) -> Sessions {
        let now = self.gateway.stats();
        let value = |stats: &BTreeMap<String, u64>, name: &str| {
            let stat = stats.get(&format!("endpoint.mcp.{name}"));
            stat.copied().unwrap_or(0).cast_signed()
        };
        let change = |name: &str| value(&now, name) - value(&mark.stats, name);
        Sessions {
            created: change("created").unsigned_abs(),
            deleted: change("ended.reason.client_delete").unsigned_abs(),
            gone: (change("ended.reason.upstream_gone") + change("ended.reason.stream_closed"))
                .unsigned_abs(),
            alive: change("active"),
        }
    }

    /// The difference between the filter's counts and what Envoy saw.
    fn disagreement(&self, mark: &Mark, counted: Sessions) -> Option<String> {
        let entries = self.gateway.envoy().access_log();
        let entries = entries.get(mark.entries..).unwrap_or_default();
        let (seen, refused) = (self.seen(entries), refused_by_the_server(entries));
        let now = self.gateway.stats();
        let unwanted = now
            .iter()
            .filter(|(name, value)| self.is_unwanted(name) && **value != 0);
        let mut unwanted: Vec<String> = unwanted.map(|(name, value)| format!("{name} {value}")).collect();
        let taken_off =
            now.get(UNTRACKED).copied().unwrap_or(0) - mark.stats.get(UNTRACKED).copied().unwrap_or(0);
        // The log shows refusals as clients saw them, without the ids that the filter took off.
        if taken_off > refused {
            unwanted.push(format!(
                "{UNTRACKED} {taken_off}, at {refused} refusals of the server"
            ));
        }
        if counted != seen {
            Some(format!("the filter counted {counted:?}, Envoy saw {seen:?}"))
        } else if unwanted.is_empty() {
            None
        } else {
            Some(unwanted.join(", "))
        }
    }

    /// Whether an undisturbed session leaves this stat at 0.
    fn is_unwanted(&self, stat: &str) -> bool {
        let parts = [".adopted", ".rejected.", ".reserved", ".streams", "repaired"];
        let is_meant = self.refuses_modern && stat.ends_with(".reason.unsupported_version")
            || stat.ends_with(".reason.session_required") && self.only_looks_were_refused();
        parts.iter().any(|part| stat.contains(part)) && !is_meant
    }

    /// mcp-remote looks at a server with a GET before it opens a session. Every server here refuses that as the filter
    /// does, with 400.
    fn only_looks_were_refused(&self) -> bool {
        let entries = self.gateway.envoy().access_log();
        let refused = |entry: &&Value| entry["mcp.outcome"] == "session_required";
        entries
            .iter()
            .filter(refused)
            .all(|entry| entry["method"] == "GET")
    }

    fn seen(&self, entries: &[Value]) -> Sessions {
        match self.transport {
            Transport::StreamableHttp => seen_by_headers(entries),
            Transport::HttpSse => seen_by_streams(entries),
        }
    }
}

/// Refusals of the server. Some servers give an id even on these.
fn refused_by_the_server(entries: &[Value]) -> u64 {
    let is_good = |entry: &Value| (200..300).contains(&entry["status"].as_u64().unwrap_or(0));
    let refused = entries
        .iter()
        .filter(|entry| !is_good(entry) && entry["details"] == "via_upstream");
    refused.count() as u64
}

fn log_what_is_seen(config: &mut Value) {
    let format =
        &mut connection_manager(config)["access_log"][0]["typed_config"]["log_format"]["json_format"];
    for (name, value) in SEEN {
        format[name] = json!(value);
    }
}

/// Sessions by the headers of requests and answers.
fn seen_by_headers(entries: &[Value]) -> Sessions {
    let field = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let status = |entry: &Value| entry["status"].as_u64().unwrap_or(0);
    let is_good = |entry: &&Value| (200..300).contains(&status(entry));
    let ids = |entries: Vec<&Value>, name: &str| -> BTreeSet<String> {
        let ids = entries.into_iter().map(|entry| field(entry, name));
        ids.filter(|id| !id.is_empty()).collect()
    };
    let opening = |entry: &&Value| field(entry, "method") == "POST" && field(entry, "sent_id").is_empty();
    let deleting = |entry: &&Value| field(entry, "method") == "DELETE";
    let gone = |entry: &&Value| status(entry) == 404 && field(entry, "details") == "via_upstream";
    let created = ids(
        entries.iter().filter(is_good).filter(opening).collect(),
        "given_id",
    );
    let deleted = ids(
        entries.iter().filter(is_good).filter(deleting).collect(),
        "sent_id",
    );
    let mut lost = ids(entries.iter().filter(gone).collect(), "sent_id");
    lost.retain(|id| created.contains(id) && !deleted.contains(id));
    sessions(created.len(), deleted.len(), lost.len())
}

/// Sessions by their streams: a log entry is written when a stream ends.
fn seen_by_streams(entries: &[Value]) -> Sessions {
    let is_stream = |entry: &&Value| entry["method"] == "GET" && entry["status"] == 200;
    let streams = entries.iter().filter(is_stream).count();
    sessions(streams, 0, streams)
}

fn sessions(created: usize, deleted: usize, gone: usize) -> Sessions {
    Sessions {
        created: created as u64,
        deleted: deleted as u64,
        gone: gone as u64,
        alive: created as i64 - (deleted + gone) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_begins_with_an_id_on_a_good_answer_and_ends_with_a_good_delete() {
        let entries = [
            json!({"method": "POST", "status": 200, "given_id": "a"}),
            json!({"method": "POST", "status": 400, "given_id": "b"}),
            json!({"method": "POST", "status": 200, "sent_id": "a", "given_id": "a"}),
            json!({"method": "POST", "status": 200, "given_id": "c"}),
            json!({"method": "DELETE", "status": 200, "sent_id": "a"}),
            json!({"method": "DELETE", "status": 405, "sent_id": "c"}),
        ];
        assert_eq!(seen_by_headers(&entries), sessions(2, 1, 0));
    }

    #[test]
    fn a_404_of_the_servers_ends_a_session_and_one_of_the_gateways_does_not() {
        let opened = |id: &str| json!({"method": "POST", "status": 200, "given_id": id});
        let lost = |id: &str, details: &str| json!({"method": "POST", "status": 404, "sent_id": id, "details": details});
        let entries = [
            opened("a"),
            opened("b"),
            lost("a", "via_upstream"),
            lost("b", "wasm"),
        ];
        assert_eq!(seen_by_headers(&entries), sessions(2, 0, 1));
        assert_eq!(refused_by_the_server(&entries), 1);
    }
}
