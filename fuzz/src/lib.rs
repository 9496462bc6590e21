//! The checks of the fuzz targets. `tests/corpus.rs` runs them on every file of `corpus`, with a stable Rust.

#[allow(dead_code, reason = "the simulation uses it, too")]
#[path = "../../tests/simulation/world/mod.rs"]
mod world;

use std::time::Duration;

use mcp_session_filter::config::Config;
use mcp_session_filter::exchange::{RequestHead, ResponseHead};
use mcp_session_filter::fleet::{Answer, Demand, Etcd, Gateway, GatewayId, Limit, Next, Terms, WhenLost};
use mcp_session_filter::mcp::json_rpc::{self, Body, MAX_ID_BYTES, Strictness};
use mcp_session_filter::mcp::occurs::Occurs;
use mcp_session_filter::mcp::query;
use mcp_session_filter::mcp::session_id::{MAX_BYTES, SessionId};
use mcp_session_filter::mcp::sse::{self, EndpointFinder, Search};
use mcp_session_filter::session::testing::Memory;
use mcp_session_filter::session::{
    BUCKETS, Configuration, ConfigurationId, EndReason, EndpointSettings, EndpointTag, IdDigest, Key,
    Lifespans, NewSession, Origin, Owner, RootTag, Table, Timestamp, VmSettings,
};
use world::World;
use world::choices::Choices;

/// Reads a body, and glimpses at it. Both must see the same message, however little of it the glimpse needs.
pub fn json_rpc(bytes: &[u8]) {
    let whole = json_rpc::glimpse(bytes);
    for end in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = json_rpc::glimpse(&bytes[..end]);
        if part.complete {
            assert_eq!(part.method, whole.method);
            assert_eq!(part.name, whole.name);
        }
    }
    if let Ok(Body::Single(message)) = json_rpc::read(bytes, Strictness::Lenient)
        && let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(bytes)
    {
        // Some servers fold the names of members.
        let says_so = members
            .iter()
            .any(|(name, value)| name.to_lowercase() == "method" && value == "initialize");
        assert_eq!(message.kind.may_initialize(), says_so);
    }
    if let (Some(message), Ok(error)) = (
        json_rpc::error_message(bytes),
        serde_json::from_slice::<serde_json::Value>(bytes),
    ) {
        assert_eq!(error["error"]["message"], *message);
    }
    let Ok(body) = json_rpc::read(bytes, Strictness::Strict) else {
        return;
    };
    assert_eq!(json_rpc::read(bytes, Strictness::Lenient).as_ref(), Ok(&body));
    // serde_json refuses texts that JSON's grammar allows: numbers that no double can hold, half a surrogate pair,
    // and nesting of 128 levels.
    let deep = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() >= 127;
    let parsed = serde_json::from_slice::<serde_json::Value>(bytes);
    let is_strict = parsed.as_ref().is_err_and(|error| {
        let text = error.to_string();
        ["out of range", "hex escape", "surrogate"]
            .iter()
            .any(|part| text.contains(part))
    });
    assert!(
        parsed.is_ok() || deep || is_strict,
        "accepted what is not JSON: {parsed:?}"
    );
    if let Body::Single(message) = body {
        assert_eq!(message.kind.method(), whole.method.filter(|_| !whole.is_response));
        assert!(
            message
                .id
                .is_none_or(|id| id.as_bytes().len() <= MAX_ID_BYTES + 2)
        );
    }
}

/// Each line is the answer to the next call of a gateway. Whatever etcd says, the gateway goes on, and allows itself no
/// more than it has asked for.
pub fn fleet(bytes: &[u8]) {
    let terms = Terms {
        cap: 100,
        lease: Duration::from_secs(10),
        when_lost: WhenLost::Refuse,
    };
    let etcd = Etcd::new("f");
    let demand = Demand { used: 3, waiting: 2 };
    let mut gateway = Gateway::new(GatewayId(1), terms, Timestamp::START);
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut now = Timestamp::START;
    // A gateway whose calls fail waits for a second at most.
    for _ in 0..1_000 {
        match gateway.advance(demand, now) {
            Next::Again => {}
            Next::Wait(until) => now = until.max(now.after(Duration::from_millis(1))),
            Next::Send(call) => {
                let Some(line) = lines.next() else { return };
                let answer = etcd.answer(&call.ask, line);
                if answer != Answer::Nothing {
                    assert!(
                        serde_json::from_slice::<serde_json::Value>(line).is_ok(),
                        "{answer:?}"
                    );
                }
                if let Answer::Seen(view) = &answer {
                    assert!(view.revision > 0 && view.entries.iter().all(|entry| entry.cap > 0));
                }
                gateway.answered(call.number, answer, now);
            }
        }
        match gateway.limit() {
            Limit::Own => panic!("the gateway should refuse"),
            Limit::Places { most, .. } => assert!(most <= 100, "{gateway:?}"),
        }
    }
}

/// A configuration is either valid, or refused in a message that is not much longer than the configuration.
pub fn config(bytes: &[u8]) {
    match Config::parse(bytes) {
        Ok(config) => {
            assert!((1..=64).contains(&config.endpoints.len()));
            assert!(config.endpoints.iter().all(|endpoint| endpoint.max_sessions >= 1));
            assert!(config.summary().len() < 8192);
            let _ = config.endpoint_for(b"gateway:80", bytes);
        }
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.len() <= 1024 + 512 * bytes.len(),
                "{} bytes: {text}",
                text.len()
            );
            assert!(!error.mistakes().is_empty());
        }
    }
}

/// Header fields, one a line, `name=value`. An accepted id can be sent back in a header.
pub fn heads(bytes: &[u8]) {
    let fields = || {
        bytes.split(|byte| *byte == b'\n').filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            Some((&line[..at], &line[at + 1..]))
        })
    };
    let request = RequestHead::new(fields(), true);
    let answer = ResponseHead::new(fields());
    for id in [request.session_id, answer.session_id] {
        if let Ok(Some(id)) = SessionId::presented(id) {
            assert!((1..=MAX_BYTES).contains(&id.as_bytes().len()));
            assert!(id.as_bytes().iter().all(u8::is_ascii_graphic));
            let times = fields().filter(|(name, _)| *name == b"mcp-session-id").count();
            assert_eq!(times, 1);
        }
    }
    if let Some(revision) = request.revision {
        assert_eq!(revision.as_bytes().len(), 10);
        let _ = (revision.era(), revision.allows_batches());
    }
    let config = Config::parse(
        br#"{"endpoints":[{"name":"a","path":"/mcp/*","authority":"x"},{"name":"b","path":"/mcp/y"}]}"#,
    );
    let found = config.map(|config| config.endpoint_for(request.authority, request.path));
    assert!(found.is_ok_and(|site| site.is_none_or(|site| site < 2)));
}

/// A stream of HTTP+SSE, cut where its first bytes say. The result must not depend on the cuts, and must come from
/// the stream. The rest of the bytes serves as a URI and as an `Mcp-Name` header, too.
pub fn sse(bytes: &[u8]) {
    let (cuts, stream) = bytes.split_at(bytes.len().min(4));
    let whole = search(&[stream]);
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(search(&single), whole);
    let mut cuts: Vec<usize> = cuts
        .iter()
        .map(|cut| usize::from(*cut) * stream.len() / 255)
        .collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let parts: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
    assert_eq!(search(&parts), whole);
    assert_eq!(
        whole == Search::GivenUp,
        stream.len() >= sse::MAX_BYTES && !was_found(&whole)
    );
    if let Search::Found(uri) = &whole {
        assert!(uri.len() < stream.len());
        let _ = query::session_id(uri);
    }
    if let Occurs::One(id) = query::session_id(stream) {
        assert!(id.len() <= stream.len());
    }
    let text = String::from_utf8_lossy(stream);
    assert_eq!(
        Occurs::One(stream).states(Some(&text)),
        stream == text.as_bytes() && !is_encoded(stream)
    );
}

fn is_encoded(value: &[u8]) -> bool {
    value.len() >= "=?base64??=".len() && value.starts_with(b"=?base64?") && value.ends_with(b"?=")
}

fn was_found(search: &Search) -> bool {
    matches!(search, Search::Found(_))
}

fn search(parts: &[&[u8]]) -> Search {
    let mut finder = EndpointFinder::new();
    let mut search = Search::GoesOn;
    for part in parts {
        search = finder.look_at(part);
        if search != Search::GoesOn {
            break;
        }
    }
    search
}

/// Any bytes as the value of a bucket or of the ledger: nothing panics, and no value grows without bound.
pub fn table(bytes: &[u8]) {
    let Some((choice, value)) = bytes.split_first() else {
        return;
    };
    let store = Memory::ready();
    let Ok(table) = Table::attach(store.clone(), RootTag::from_random(1), [7; 16]) else {
        return;
    };
    let lifespans = Lifespans {
        idle: Some(Duration::from_secs(if choice & 2 == 0 { 5 } else { 600 })),
        lifetime: Some(Duration::from_secs(3600)),
        evictable: choice & 4 != 0,
        ..Lifespans::default()
    };
    let endpoint = EndpointSettings {
        name: "mcp".to_owned(),
        max_sessions: 5,
        quota: None,
        max_streams: Some(2),
        max_streams_per_principal: None,
        lifespans,
        evict_after: Duration::ZERO,
    };
    let settings = VmSettings {
        max_sessions: Some(5),
        fleet: None,
        endpoints: vec![endpoint],
    };
    let mut configuration = Configuration::new(ConfigurationId::of(&[]), settings);
    let _ = table.serve(&mut configuration, Timestamp::from_millis(1_000_000));
    let tag = EndpointTag::of("mcp");
    let id = b"the-session";
    let key = table.key(tag, id);
    let [low, high, ..] = *key.as_bytes();
    let bucket = Key::Bucket(u16::from_le_bytes([low, high]) % BUCKETS);
    store.put(if choice & 1 == 0 { bucket } else { Key::Ledger }, value);
    let mut now = Timestamp::from_millis(1_000_000);
    let new = NewSession {
        endpoint: tag,
        lifespans,
        owner: Owner::NOBODY,
        bound: choice & 8 != 0,
        quota: (choice & 16 != 0).then_some(3),
        key,
        id,
        digest: IdDigest::of(id),
        keep_id: true,
        delete_request: None,
    };
    for step in value.iter().take(12) {
        now = now.after(Duration::from_millis(u64::from(*step) * 16));
        match step % 9 {
            0 => drop(table.use_session(key, Some(Owner::NOBODY), lifespans, now)),
            1 => drop(table.open(&new, Origin::Adopted(None), now)),
            2 => drop(table.open(&new, Origin::Minted(None), now)),
            3 => drop(table.end(key, EndReason::ClientDelete, false, lifespans, now)),
            4 => drop(table.renew(key, lifespans, now)),
            5 => drop(table.rest(key, lifespans, now)),
            6 => drop(table.reserve(tag, None, Duration::from_secs(60), now)),
            7 => drop(table.keep_leases(&[(tag, u32::from(*step))], now)),
            _ => drop(table.set_streams_within_cap(tag, u32::from(*step), now)),
        }
    }
    let _ = table.restore(&mut configuration, now);
    for _ in 0..2 {
        let _ = table.sweep(now);
    }
    let longest = store.look(|data| data.iter().map(|(_, value)| value.len()).max());
    assert!(
        longest <= Some(value.len().max(65_536) + 4096),
        "{longest:?} bytes"
    );
}

/// A world in which the fuzzer makes every decision.
pub fn worlds(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let mut world = World::new(Choices::of_bytes(rest), first % 2 == 1);
    while !world.is_over() && world.tally.steps < 200 {
        world.step();
    }
    // The end of a world takes two rounds through the whole table.
    if first % 16 < 2 {
        world.finish();
    }
}
