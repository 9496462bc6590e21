//! The document of the status view.

use super::json::Json;
use crate::answer::Reason;
use crate::config::LogSessionId;
use crate::session::{EndReason, EndpointCounts, Fleet, KnownEndpoint, Limit, Listed, Look, Timestamp};
use crate::telemetry::{RevisionLabel, SessionName};

/// No document is longer, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Where the lists end at the latest, if the table has very many endpoints, or ids of very many bytes. What follows
/// the last list has less than a KiB.
const ENDPOINTS_UNTIL: usize = MAX_BYTES / 16 * 9;
const OLDEST_UNTIL: usize = MAX_BYTES / 16 * 11;
const MOST_IDLE_UNTIL: usize = MAX_BYTES / 16 * 13;
const GATEWAYS_UNTIL: usize = MAX_BYTES - 1024;

/// The values of an endpoint's counters, in the order of their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounters {
    /// Sessions opened.
    pub created: u64,
    /// Sessions adopted.
    pub adopted: u64,
    /// Requests with an id that the table does not hold, and ids taken off answers.
    pub untracked: u64,
    /// Sessions ended, for each of [`EndReason::ALL`].
    pub ended: Vec<u64>,
    /// Requests that the filter has answered itself, for each of [`Reason::ALL`].
    pub rejected: Vec<u64>,
    /// POSTs, for each of [`RevisionLabel::ALL`].
    pub revisions: Vec<u64>,
}

/// What the document shows.
#[derive(Debug)]
pub struct Document<'a> {
    /// A look over the table.
    pub look: &'a Look,
    /// The counters of each endpoint of the look.
    pub counters: Vec<EndpointCounters>,
    /// How a session is named.
    pub names: LogSessionId,
    /// When the look began.
    pub now: Timestamp,
}

impl Document<'_> {
    /// The document as JSON, of at most 256 KiB. It is harmless in HTML, too.
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.object("", |json| self.write(json));
        json.into_text()
    }

    fn write(&self, json: &mut Json) {
        let counts = &self.look.counts;
        json.text("version", Some(env!("CARGO_PKG_VERSION")));
        json.object("vm", |json| {
            json.number("active", u64::from(counts.active));
            json.number("reserved", u64::from(counts.reserved));
            json.number("limit", u64::from(counts.limit));
            json.number("table_bytes", counts.table_bytes);
        });
        let endpoints = counts.endpoints.iter().zip(&self.look.endpoints);
        let mut whole = json.list(
            "endpoints",
            ENDPOINTS_UNTIL,
            endpoints.zip(&self.counters),
            |json, ((counts, known), counters)| {
                json.object("", |json| write_endpoint(json, counts, known, counters));
            },
        );
        for (name, until, list) in [
            ("oldest", OLDEST_UNTIL, &self.look.oldest),
            ("most_idle", MOST_IDLE_UNTIL, &self.look.most_idle),
        ] {
            whole &= json.list(name, until, list, |json, listed| {
                json.object("", |json| self.write_session(json, listed));
            });
        }
        match &self.look.fleet {
            Some(fleet) => json.object("fleet", |json| whole &= self.write_fleet(json, fleet)),
            None => json.text("fleet", None),
        }
        json.flag("partial", self.look.is_partial || !whole);
    }

    /// Returns false if gateways were left out.
    fn write_fleet(&self, json: &mut Json, fleet: &Fleet) -> bool {
        let counts = &self.look.counts;
        let gateways = &fleet.gateways;
        let share = match fleet.limit {
            Limit::Places { most, until } if self.now < until => most,
            Limit::Places { .. } | Limit::Own => 0,
        };
        json.number("limit", u64::from(gateways.cap));
        json.number("share", u64::from(share));
        json.number("used", u64::from(counts.active.saturating_add(counts.reserved)));
        json.flag("lost", fleet.is_lost);
        json.list("gateways", GATEWAYS_UNTIL, &gateways.all, |json, gateway| {
            json.object("", |json| {
                json.text("gateway", Some(&format!("{:016x}", gateway.id)));
                json.number("share", u64::from(gateway.share));
                json.flag("waiting", gateway.waits);
                json.flag("self", gateway.id == gateways.own);
            });
        })
    }

    fn write_session(&self, json: &mut Json, listed: &Listed) {
        let row = self
            .look
            .endpoints
            .iter()
            .position(|known| known.tag == listed.endpoint);
        let row = row.and_then(|index| self.look.counts.endpoints.get(index));
        // A stream without an id has a name in the table that no client can write.
        let id = str::from_utf8(&listed.id).unwrap_or_default();
        let id = if id.bytes().all(|byte| byte.is_ascii_graphic()) {
            id
        } else {
            ""
        };
        let name = SessionName::new(self.names, id, Some(listed.digest));
        json.text("session", name.as_str());
        json.text("endpoint", row.map(|row| row.settings.name.as_str()));
        json.number("age_s", self.now.since(listed.opened).as_secs());
        json.number("idle_s", self.now.since(listed.idle_since).as_secs());
        json.flag("in_use", listed.is_in_use);
    }
}

fn write_endpoint(
    json: &mut Json,
    counts: &EndpointCounts,
    known: &KnownEndpoint,
    counters: &EndpointCounters,
) {
    json.text("name", Some(&counts.settings.name));
    let path = known.path.as_ref();
    json.text("path", path.map(|path| path.path.as_str()));
    json.text(
        "transport",
        path.map(|path| {
            if path.is_http_sse {
                "http_sse"
            } else {
                "streamable_http"
            }
        }),
    );
    json.flag("configured", known.is_named);
    json.number("active", u64::from(counts.active));
    json.number("reserved", u64::from(counts.reserved));
    json.number("limit", u64::from(counts.settings.max_sessions));
    json.number("streams", u64::from(counts.streams));
    json.number(
        "streams_limit",
        u64::from(counts.settings.max_streams.unwrap_or(0)),
    );
    json.number("created", counters.created);
    json.number("adopted", counters.adopted);
    json.number("untracked", counters.untracked);
    write_labelled(
        json,
        "ended",
        EndReason::ALL.map(EndReason::as_str),
        &counters.ended,
    );
    write_labelled(
        json,
        "rejected",
        Reason::ALL.map(Reason::as_str),
        &counters.rejected,
    );
    write_labelled(
        json,
        "requests",
        RevisionLabel::ALL.map(RevisionLabel::as_str),
        &counters.revisions,
    );
}

/// Adds an object with a number for each label.
fn write_labelled<const N: usize>(json: &mut Json, name: &str, labels: [&str; N], values: &[u64]) {
    json.object(name, |json| {
        for (index, label) in labels.iter().enumerate() {
            json.number(label, values.get(index).copied().unwrap_or(0));
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::session::{
        Counts, EndpointPath, EndpointSettings, EndpointTag, Gateways, IdDigest, KnownGateway, Lifespans,
    };

    const NOW: Timestamp = Timestamp::NEVER;
    const MARKUP: &str = "</script><img/src=x/onerror=alert(1)>&'\"\\";

    fn row(name: &str) -> EndpointCounts {
        EndpointCounts::none_of(EndpointSettings {
            name: name.to_owned(),
            max_sessions: 1_000_000,
            quota: None,
            max_streams: None,
            max_streams_per_principal: None,
            lifespans: Lifespans::default(),
            evict_after: core::time::Duration::ZERO,
        })
    }

    fn known(name: &str, path: &str) -> KnownEndpoint {
        let tag = EndpointTag::of(name);
        KnownEndpoint {
            tag,
            path: Some(EndpointPath {
                tag,
                is_http_sse: name == "sse",
                path: path.to_owned(),
            }),
            is_named: true,
        }
    }

    fn listed(endpoint: &str, id: &[u8], age_ms: u64, idle_ms: u64) -> Listed {
        let before = |ms| Timestamp::from_millis(NOW.as_millis() - ms);
        Listed {
            endpoint: EndpointTag::of(endpoint),
            digest: IdDigest::of(id),
            id: id.to_vec(),
            opened: before(age_ms),
            idle_since: before(idle_ms),
            is_in_use: idle_ms == 0,
        }
    }

    /// A look at endpoints with these names and this path, and these sessions in both lists.
    fn look(names: &[&str], path: &str, sessions: Vec<Listed>) -> Look {
        Look {
            counts: Counts {
                active: 2,
                reserved: 1,
                limit: 9,
                table_bytes: 5_000_000_000,
                endpoints: names.iter().map(|name| row(name)).collect(),
            },
            endpoints: names.iter().map(|name| known(name, path)).collect(),
            fleet: None,
            oldest: sessions.clone(),
            most_idle: sessions,
            is_partial: false,
        }
    }

    fn text(look: &Look, names: LogSessionId) -> String {
        let counters = EndpointCounters {
            created: u64::MAX,
            ended: vec![1, 2, 3, 4, 5, 6],
            rejected: vec![u64::MAX; 15],
            ..EndpointCounters::default()
        };
        let document = Document {
            counters: vec![counters; look.endpoints.len()],
            look,
            names,
            now: NOW,
        };
        document.to_json()
    }

    fn value(look: &Look, names: LogSessionId) -> Value {
        serde_json::from_str(&text(look, names)).unwrap()
    }

    #[test]
    fn it_has_the_members_that_tools_read() {
        let mut look = look(&["mcp", "sse"], "/mcp", vec![listed("sse", b"abc", 61_999, 0)]);
        look.endpoints[0].is_named = false;
        let document = value(&look, LogSessionId::Hash);
        assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(
            document["vm"],
            json!({"active": 2, "reserved": 1, "limit": 9, "table_bytes": 5_000_000_000_u64})
        );
        let [mcp, sse] = document["endpoints"].as_array().unwrap().as_slice() else {
            panic!("{document}")
        };
        for (field, expected) in [
            ("name", json!("mcp")),
            ("path", json!("/mcp")),
            ("transport", json!("streamable_http")),
            ("configured", json!(false)),
            ("limit", json!(1_000_000)),
            ("streams_limit", json!(0)),
            ("created", json!(u64::MAX)),
            ("untracked", json!(0)),
        ] {
            assert_eq!(mcp[field], expected, "{field}");
        }
        assert_eq!(
            (&sse["transport"], &sse["configured"]),
            (&json!("http_sse"), &json!(true))
        );
        assert_eq!(mcp["ended"]["client_delete"], 1);
        assert_eq!(mcp["ended"]["evicted"], 6);
        assert_eq!(mcp["rejected"].as_object().unwrap().len(), Reason::ALL.len());
        assert_eq!(
            mcp["requests"],
            json!({
                "2024-11-05": 0, "2025-03-26": 0, "2025-06-18": 0, "2025-11-25": 0, "2026-07-28": 0, "none": 0, "other": 0
            })
        );
        // `printf abc | sha256sum | cut -c1-16`
        let session = json!({"session": "ba7816bf8f01cfea", "endpoint": "sse", "age_s": 61, "idle_s": 0, "in_use": true});
        assert_eq!(document["oldest"], json!([session]));
        assert_eq!(document["most_idle"], document["oldest"]);
        assert_eq!(
            (&document["partial"], &document["fleet"]),
            (&json!(false), &Value::Null)
        );
    }

    #[test]
    fn it_shows_the_fleet() {
        let gateway = |id, share, waits| KnownGateway { id, share, waits };
        let fleet = |until| Fleet {
            limit: Limit::Places { most: 30, until },
            is_lost: false,
            gateways: Gateways {
                own: 0xa1,
                cap: 100,
                all: vec![gateway(0xa1, 30, false), gateway(u64::MAX, 50, true)],
            },
        };
        let mut look = look(&[], "/mcp", Vec::new());
        // The look is of the last moment that there is.
        for (until, share) in [(Timestamp::START, 0), (NOW, 0)] {
            look.fleet = Some(fleet(until));
            assert_eq!(value(&look, LogSessionId::Off)["fleet"]["share"], share);
        }
        look.fleet = Some(Fleet {
            limit: Limit::Own,
            is_lost: true,
            ..fleet(NOW)
        });
        let expected = json!({"limit": 100, "share": 0, "used": 3, "lost": true, "gateways": [
            {"gateway": "00000000000000a1", "share": 30, "waiting": false, "self": true},
            {"gateway": "ffffffffffffffff", "share": 50, "waiting": true, "self": false},
        ]});
        assert_eq!(value(&look, LogSessionId::Off)["fleet"], expected);
    }

    #[test]
    fn sessions_are_named_as_configured() {
        let hex = |id: &[u8]| String::from_utf8(IdDigest::of(id).to_hex().to_vec()).unwrap();
        for (names, id, expected) in [
            (LogSessionId::Off, &b"abc"[..], Value::Null),
            (LogSessionId::Plain, b"abc", json!("abc")),
            (LogSessionId::Plain, b"", json!(hex(b""))),
            (LogSessionId::Plain, b"\0a", json!(hex(b"\0a"))),
            (LogSessionId::Plain, b"\xff", json!(hex(b"\xff"))),
        ] {
            let look = look(&["mcp"], "/mcp", vec![listed("mcp", id, 0, 0)]);
            assert_eq!(value(&look, names)["oldest"][0]["session"], expected);
        }
    }

    #[test]
    fn markup_is_nowhere_unescaped() {
        let look = look(&[MARKUP], MARKUP, vec![listed(MARKUP, MARKUP.as_bytes(), 0, 0)]);
        let written = text(&look, LogSessionId::Plain);
        assert!(!written.contains(['<', '>', '&', '\'']), "{written}");
        let document = value(&look, LogSessionId::Plain);
        for shown in [
            &document["endpoints"][0]["name"],
            &document["endpoints"][0]["path"],
            &document["oldest"][0]["session"],
            &document["oldest"][0]["endpoint"],
        ] {
            assert_eq!(shown, MARKUP);
        }
    }

    #[test]
    fn it_never_is_longer_than_it_may_be_and_says_that_it_left_something_out() {
        let names: Vec<String> = (0..255).map(|number| format!("{number:032}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let sessions = |len: usize| vec![listed(names[0], &vec![b'<'; len], NOW.as_millis(), 0); 50];
        for (path, len, partial) in [("/mcp", 36, true), (&"<".repeat(1024), 1024, true)] {
            let mut look = look(&names, path, sessions(len));
            let gateway = |id| KnownGateway {
                id,
                share: u32::MAX,
                waits: false,
            };
            look.fleet = Some(Fleet {
                limit: Limit::Own,
                is_lost: true,
                gateways: Gateways {
                    all: (0..1_024).map(gateway).collect(),
                    ..Gateways::default()
                },
            });
            let written = text(&look, LogSessionId::Plain);
            assert!(written.len() < MAX_BYTES, "{}", written.len());
            let document = value(&look, LogSessionId::Plain);
            assert_eq!(document["partial"], json!(partial));
            assert!(document["fleet"]["gateways"].as_array().unwrap().len() > 300);
            for list in ["endpoints", "oldest", "most_idle"] {
                assert!(document[list].as_array().unwrap().len() > 3, "{list}");
            }
        }
        let usual = look(&names[..64], &"/p".repeat(32), sessions(36));
        assert_eq!(value(&usual, LogSessionId::Plain)["partial"], json!(false));
    }
}
