//! Requests without an id, as bytes: each is one that some server makes a session for, and then refuses.

use gateway::message::{REVISION, STATELESS_REVISION};

const JSON: &str = "content-type: application/json";
const BOTH: &str = "accept: application/json, text/event-stream";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// What the client does beside sending the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It reads the answer.
    Read,
    /// It reads the head of an answer that has no body.
    ReadHead,
    /// It ends the session that it is given.
    Delete,
    /// It leaves as soon as it has sent the request.
    Leave,
}

/// What of it the filter can stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All.
    Filter,
    /// Envoy stops it, told to, before the filter.
    Envoy,
    /// Nothing here does: the table says what is left.
    Neither,
}

/// One kind of request.
#[derive(Debug, Clone)]
pub struct Kind {
    pub name: &'static str,
    /// It is sent many times also to a server that keeps a session for each, which takes long.
    pub many: bool,
    pub way: Way,
    pub reach: Reach,
    method: &'static str,
    /// Header lines, without the host and the length.
    lines: Vec<String>,
    body: Vec<u8>,
}

impl Kind {
    /// The request, for a server or gateway that calls itself `authority`.
    pub fn request(&self, authority: &str) -> Vec<u8> {
        let has_host = self.lines.iter().any(|line| line.starts_with("host:"));
        let host = if has_host {
            String::new()
        } else {
            format!("host: {authority}\r\n")
        };
        let lines: String = self.lines.iter().map(|line| format!("{line}\r\n")).collect();
        let length = match (self.method, self.body.len()) {
            ("GET" | "HEAD" | "OPTIONS" | "DELETE", 0) => String::new(),
            (_, length) => format!("content-length: {length}\r\n"),
        };
        let head = format!("{} /mcp HTTP/1.1\r\n{host}{lines}{length}\r\n", self.method);
        [head.as_bytes(), &self.body].concat()
    }

    fn way(self, way: Way) -> Self {
        Self { way, ..self }
    }

    fn many(self) -> Self {
        Self { many: true, ..self }
    }

    fn reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }
}

fn bare(name: &'static str, method: &'static str, lines: &[&str]) -> Kind {
    Kind {
        name,
        many: false,
        way: Way::Read,
        reach: Reach::Filter,
        method,
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        body: Vec::new(),
    }
}

fn post(name: &'static str, lines: &[&str], body: impl Into<Vec<u8>>) -> Kind {
    Kind {
        body: body.into(),
        ..bare(name, "POST", lines)
    }
}

/// A POST with the headers that a client sends.
fn said(name: &'static str, body: impl Into<Vec<u8>>) -> Kind {
    post(name, &[JSON, BOTH], body)
}

/// An `initialize` with these header lines.
fn initialize(name: &'static str, lines: &[&str]) -> Kind {
    post(name, lines, INITIALIZE)
}

/// `initialize` with one part of its message written otherwise.
fn altered(name: &'static str, part: &str, other: &str) -> Kind {
    said(name, INITIALIZE.replace(part, other))
}

fn methods() -> Vec<Kind> {
    let stream = "accept: text/event-stream";
    vec![
        bare("GET", "GET", &[stream]).many(),
        bare("HEAD", "HEAD", &[stream]).way(Way::ReadHead).many(),
        bare("OPTIONS", "OPTIONS", &[]).many(),
        bare("DELETE", "DELETE", &[]).many(),
        bare("PUT", "PUT", &[]).many(),
        bare("PATCH", "PATCH", &[]),
    ]
}

fn heads() -> Vec<Kind> {
    vec![
        initialize("`initialize`, no `Accept`", &[JSON]).many(),
        initialize("`initialize`, `Accept: */*`", &[JSON, "accept: */*"]).many(),
        initialize(
            "`initialize`, `Accept` in upper case",
            &[JSON, "accept: APPLICATION/JSON, TEXT/EVENT-STREAM"],
        ),
        initialize(
            "`initialize`, two `Accept` lines",
            &[JSON, "accept: application/json", "accept: text/event-stream"],
        ),
        initialize(
            "`initialize`, `Accept` without the stream",
            &[JSON, "accept: application/json"],
        ),
        initialize("`initialize`, no `Content-Type`", &[BOTH]),
        initialize("`initialize`, `text/plain`", &["content-type: text/plain", BOTH]),
        initialize(
            "`initialize`, `Content-Type` in upper case",
            &["content-type: APPLICATION/JSON", BOTH],
        ),
        initialize(
            "`initialize`, two `Content-Type` lines",
            &["content-type: text/plain", JSON, BOTH],
        ),
    ]
}

/// What only its address makes wrong.
fn foreign() -> Vec<Kind> {
    let origin = [JSON, BOTH, "origin: http://elsewhere.example"];
    let host = [JSON, BOTH, "host: elsewhere.example"];
    vec![
        initialize("`initialize`, foreign `Origin`", &origin).reach(Reach::Neither),
        initialize("the same, origins checked by RBAC", &origin).reach(Reach::Envoy),
        initialize("`initialize`, foreign `Host`", &host).reach(Reach::Neither),
        initialize("the same, `domains` set in the route", &host).reach(Reach::Envoy),
    ]
}

fn messages() -> Vec<Kind> {
    vec![
        said("`ping`", PING).many(),
        said("an unknown method", PING.replace("ping", "no/such")),
        said(
            "a notification",
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        ),
        said("a response", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        said("a batch that holds `initialize`", format!("[{INITIALIZE}]")),
        said("an empty body", ""),
        altered("`initialize` without an id", r#""id":1,"#, ""),
        altered("`initialize`, another `jsonrpc`", r#""2.0""#, r#""1.0""#),
        altered(
            "`initialize` without `protocolVersion`",
            r#""protocolVersion":"2025-11-25","#,
            "",
        ),
        altered(
            "`initialize`, a number for `protocolVersion`",
            r#""2025-11-25""#,
            "20251125",
        ),
        said(
            "`initialize` without `params`",
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#,
        ),
        said(
            "`initialize`, a list for `params`",
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":["2025-11-25"]}"#,
        ),
    ]
}

/// `initialize` with ids of other types, and with numbers that not every server takes.
fn ids() -> Vec<Kind> {
    let with = |name, id: &str| altered(name, r#""id":1"#, &format!(r#""id":{id}"#));
    vec![
        with("`initialize`, `id: null`", "null"),
        with("`initialize`, `id: true`", "true"),
        with("`initialize`, `id: 1.5`", "1.5"),
        with("`initialize`, `id: 1.0`", "1.0"),
        with("`initialize`, `id: 1e2`", "1e2"),
        with("`initialize`, `id: 1e400`", "1e400"),
        with("`initialize`, an id of 5,000 digits", &"1".repeat(5000)),
        with("`initialize`, `id: {}`", "{}"),
        with("`initialize`, half a surrogate pair for an id", r#""\ud800""#),
    ]
}

/// Bodies that not every parser takes for JSON.
fn bodies() -> Vec<Kind> {
    let named = |name, written: Vec<u8>| {
        let (before, after) = INITIALIZE.split_once(r#""a""#).unwrap_or_default();
        said(name, [before.as_bytes(), &written, after.as_bytes()].concat())
    };
    let utf_16 = INITIALIZE.encode_utf16().flat_map(u16::to_le_bytes);
    vec![
        said("no JSON", "{"),
        said(
            "`initialize` after a byte order mark",
            format!("\u{feff}{INITIALIZE}"),
        ),
        said("`initialize` in UTF-16", utf_16.collect::<Vec<u8>>()),
        said(
            "`initialize`, and more behind it",
            format!("{INITIALIZE}{INITIALIZE}"),
        ),
        named("`initialize`, a byte that is no UTF-8", b"\"\xff\"".to_vec()),
        named("`initialize`, a tab in a string", b"\"\t\"".to_vec()),
        named(
            "`initialize`, half a surrogate pair in a string",
            br#""\ud800""#.to_vec(),
        ),
        named("`initialize`, a number of 5,000 digits", "1".repeat(5000).into()),
        named("`initialize`, `NaN`", b"NaN".to_vec()),
        named(
            "`initialize`, 20,000 lists in each other",
            ["[".repeat(20_000), "]".repeat(20_000)].concat().into(),
        ),
    ]
}

fn modern() -> Vec<Kind> {
    let revision = format!("mcp-protocol-version: {STATELESS_REVISION}");
    let unknown = "mcp-protocol-version: 1999-01-01";
    let no_date = "mcp-protocol-version: latest";
    let lines = |method: &'static str| {
        [
            JSON.to_owned(),
            BOTH.to_owned(),
            revision.clone(),
            format!("mcp-method: {method}"),
        ]
    };
    let with = |name, method: &'static str, body: String| {
        let lines = lines(method);
        post(name, &lines.each_ref().map(String::as_str), body)
    };
    let meta = format!(
        r#","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{STATELESS_REVISION}"}}}}}}"#
    );
    let claimed = |method: &str| PING.replace("ping", method).replace('}', &meta);
    vec![
        with(
            "`server/discover` of 2026-07-28",
            "server/discover",
            claimed("server/discover"),
        ),
        with("`ping` of 2026-07-28", "ping", claimed("ping")),
        with(
            "`initialize` of 2026-07-28",
            "initialize",
            INITIALIZE.replace(REVISION, STATELESS_REVISION),
        ),
        bare(
            "GET of 2026-07-28",
            "GET",
            &["accept: text/event-stream", &revision],
        ),
        post(
            "`ping` of a revision that never was",
            &[JSON, BOTH, unknown],
            PING,
        ),
        initialize(
            "`initialize` of a revision that never was",
            &[JSON, BOTH, unknown],
        ),
        initialize("`initialize`, no date for a revision", &[JSON, BOTH, no_date]),
    ]
}

/// A whole session, the control: it is kept until its DELETE.
fn session() -> Kind {
    said("`initialize`, then DELETE", INITIALIZE)
        .way(Way::Delete)
        .many()
}

/// A session that nobody ends.
pub fn opened() -> Kind {
    said("`initialize`", INITIALIZE)
}

/// Every kind.
pub fn all() -> Vec<Kind> {
    let left = initialize("`initialize`, the client leaves", &[JSON, BOTH])
        .way(Way::Leave)
        .reach(Reach::Neither);
    let last = vec![left, session()];
    [
        methods(),
        heads(),
        messages(),
        ids(),
        bodies(),
        modern(),
        foreign(),
        last,
    ]
    .concat()
}
