//! Bodies without bound, at a server that reads all of one into memory (CVE-2026-108395, CVE-2026-111768).

use conformance::Fallible;
use gateway::{Call, Client, Gateway, Http, Setup};
use load::grouped;
use serde_json::{Value, json};

use crate::drive;
use crate::report::{Part, table};
use crate::victim::{Library, OLD, Victim};

const LIBRARY: Library = Library {
    version: OLD,
    mode: "v1",
};

/// Far above every bound here, and what a small server can bear.
const SIZE: usize = 64 << 20;

/// A server that has read such a body has grown by more.
const READ: u64 = 16 << 20;

/// What the filter is told.
const SETTINGS: [&str; 4] = [
    "direct",
    "as it ships",
    "`strict_json_rpc`",
    "`sessionless: reject`",
];

fn fields(setting: &str) -> Value {
    match setting {
        "`strict_json_rpc`" => json!({"strict_json_rpc": true}),
        "`sessionless: reject`" => json!({"sessionless": "reject", "modern": "reject"}),
        _ => json!({}),
    }
}

/// A request, and under which settings it is stopped.
struct Large {
    name: &'static str,
    method: &'static str,
    content_type: &'static str,
    in_session: bool,
    stopped: &'static [&'static str],
}

const JSON: &str = "application/json";

const BODIES: [Large; 4] = [
    Large {
        name: "POST of JSON without an id",
        method: "POST",
        content_type: JSON,
        in_session: false,
        stopped: &["as it ships", "`strict_json_rpc`", "`sessionless: reject`"],
    },
    Large {
        name: "POST of JSON in a session",
        method: "POST",
        content_type: JSON,
        in_session: true,
        stopped: &["`strict_json_rpc`"],
    },
    Large {
        name: "POST of `text/plain` without an id",
        method: "POST",
        content_type: "text/plain",
        in_session: false,
        stopped: &["`strict_json_rpc`", "`sessionless: reject`"],
    },
    Large {
        name: "PUT without an id",
        method: "PUT",
        content_type: JSON,
        in_session: false,
        stopped: &["`sessionless: reject`"],
    },
];

/// Each request under each setting, at a new server, since the most that its memory was stays.
pub async fn play() -> Fallible<Part> {
    let mut part = Part::new("bodies");
    let mut rows = Vec::new();
    for large in BODIES {
        let mut row = vec![large.name.to_owned()];
        for setting in SETTINGS {
            let (status, grown) = one(&large, setting).await?;
            let status = status.map_or_else(|| "broken off".to_owned(), |status| status.to_string());
            let cell = format!("{status}, {} MB", grouped(grown / 1_000_000));
            println!("  {}, {setting}: {cell}", large.name);
            if large.stopped.contains(&setting) && grown > READ {
                part.faults.push(format!("{}, {setting}: {cell}", large.name));
            }
            row.push(cell);
        }
        rows.push(row);
    }
    let heads: Vec<&str> = ["64 MiB"].into_iter().chain(SETTINGS).collect();
    let title = format!(
        "**{}**: the answer, and how much more memory the server had at most.",
        LIBRARY.name()
    );
    part.text = format!("{title}\n\n{}", table(&heads, rows));
    Ok(part)
}

async fn one(large: &Large, setting: &str) -> Fallible<(Option<u16>, u64)> {
    let victim = Victim::start(LIBRARY).await?;
    let gateway: Option<Gateway> = match setting {
        "direct" => None,
        setting => {
            let setup = Setup::new(victim.address()).endpoint(fields(setting));
            Some(setup.routes_as_shipped().try_start().await?)
        }
    };
    let address = gateway
        .as_ref()
        .map_or(victim.address(), |gateway| gateway.address());
    let mut id = String::new();
    if large.in_session {
        let opened = Client::new(address, Http::One)
            .try_send(Call::initialize())
            .await?;
        let session = opened
            .session()
            .ok_or_else(|| format!("no session: {opened:?}"))?;
        id = format!("mcp-session-id: {session}\r\n");
    }
    let before = victim.held().await?.peak;
    let head = format!(
        "{} /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: {}\r\naccept: application/json, text/event-stream\r\n{id}\
         content-length: {SIZE}\r\n\r\n",
        large.method, large.content_type
    );
    let status = drive::send_large(address, &head, SIZE).await?;
    Ok((status, victim.held().await?.peak - before))
}
