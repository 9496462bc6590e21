//! The bytes of etcd's JSON gateway (etcd 3.4 to 3.7, `api/etcdserverpb/rpc.proto`): requests written, answers read.
//!
//! Keys and values are Base64, 64-bit numbers are strings, and what is absent is zero or false. An entry is the key
//! `<name>/share/<gateway>`, its value `{"share":10,"cap":100,"waiting":false}`. Every transaction that takes places also
//! writes the key `<name>/growth`, and every one that would take some compares its revision. So two of them cannot pass
//! each other, and places that come back are in nobody's way.
//!
//! The bytes may be anyone's. What is not an answer to the call counts as none, and so does what is too large.

mod json;
#[cfg(test)]
mod tests;

use core::time::Duration;

use serde_json::value::RawValue;

use self::json::{Object, items, number, text};
use super::call::{Answer, Ask};
use super::view::{Entry, GatewayId, View};
use crate::base64;

/// Longest answer that is read, in bytes. 1,024 entries in Base64, with their numbers, have some 300,000.
pub const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// Most entries. With more there is no look, and so no growth: each look would be too large.
const MAX_ENTRIES: usize = 1_024;

/// What etcd says of a lease that has ended (`ErrGRPCLeaseNotFound` in `api/v3rpc/rpctypes/error.go`).
const NO_LEASE: &str = "requested lease not found";

/// The keys of one fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// `<name>/share/`, with which every key begins.
    prefix: String,
    /// The same and the first key after all of them, in Base64.
    range: [String; 2],
    /// `<name>/growth`, in Base64.
    growth: String,
}

/// A POST to etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its path.
    pub path: &'static str,
    /// Its body, JSON.
    pub body: String,
}

impl Etcd {
    /// The keys of the fleet with this name, which has no slash.
    pub fn new(name: &str) -> Self {
        let prefix = format!("{name}/share/");
        // The character after the slash.
        let end = format!("{name}/share0");
        let range = [&prefix, &end].map(|key| base64::encode(key.as_bytes()));
        let growth = base64::encode(format!("{name}/growth").as_bytes());
        Self {
            prefix,
            range,
            growth,
        }
    }

    /// The request for a call.
    pub fn request(&self, ask: &Ask) -> Request {
        let [from, to] = &self.range;
        let range = format!(r#""key":"{from}","range_end":"{to}""#);
        let (path, body) = match ask {
            Ask::Grant(lasts) => {
                let seconds = lasts.as_millis().div_ceil(1_000);
                ("/v3/lease/grant", format!(r#"{{"TTL":"{seconds}"}}"#))
            }
            Ask::Renew(lease) => ("/v3/lease/keepalive", format!(r#"{{"ID":"{lease}"}}"#)),
            Ask::Look => ("/v3/kv/range", format!(r#"{{{range},"limit":"{MAX_ENTRIES}"}}"#)),
            Ask::Swap {
                entry,
                lease,
                own,
                growth,
            } => {
                let [compare, put] = self.swap(entry, *lease, *own, *growth);
                let look = format!(r#"{{"request_range":{{{range},"limit":"{MAX_ENTRIES}"}}}}"#);
                let body = format!(r#"{{"compare":[{compare}],"success":[{put}],"failure":[{look}]}}"#);
                ("/v3/kv/txn", body)
            }
        };
        Request { path, body }
    }

    /// The conditions of a transaction, and what it writes.
    fn swap(&self, entry: &Entry, lease: i64, own: i64, growth: Option<i64>) -> [String; 2] {
        let key = base64::encode(format!("{}{:016x}", self.prefix, entry.gateway.0).as_bytes());
        let value = value(entry);
        let compare = unwritten(&key, own);
        let put = format!(r#"{{"request_put":{{"key":"{key}","value":"{value}","lease":"{lease}"}}}}"#);
        match growth {
            Some(revision) => {
                let unwritten = unwritten(&self.growth, revision);
                let grow = format!(r#"{{"request_put":{{"key":"{}"}}}}"#, self.growth);
                [format!("{compare},{unwritten}"), format!("{put},{grow}")]
            }
            None => [format!("{compare},{}", is_there(&key)), put],
        }
    }

    /// The answer to a call in the body of a response, whatever its status: a refusal is JSON, too.
    pub fn answer(&self, ask: &Ask, body: &[u8]) -> Answer {
        let body = Some(body).filter(|body| body.len() <= MAX_ANSWER_BYTES);
        let text = body.and_then(|body| str::from_utf8(body).ok());
        text.and_then(|text| self.read(ask, text))
            .unwrap_or(Answer::Nothing)
    }

    fn read(&self, ask: &Ask, body: &str) -> Option<Answer> {
        let answer = Object::read(body)?;
        if is_refusal(&answer) {
            let about_lease = text(answer.get("message")?)?.contains(NO_LEASE);
            return about_lease.then_some(Answer::NoLease);
        }
        match ask {
            Ask::Grant(_) => granted(&answer),
            Ask::Renew(lease) => renewed(&answer, *lease),
            Ask::Look => self.view(&answer, revision(&answer)?).map(Answer::Seen),
            Ask::Swap { .. } => self.swapped(&answer),
        }
    }

    fn swapped(&self, answer: &Object<'_>) -> Option<Answer> {
        let revision = revision(answer)?;
        let responses = items(answer.get("responses")?)?;
        let response = Object::read(responses.first()?.get())?;
        match answer.get("succeeded").map(RawValue::get) {
            Some("true") => response.get("response_put").map(|_| Answer::Written(revision)),
            None | Some("false") => {
                let range = Object::read(response.get("response_range")?.get())?;
                self.view(&range, revision).map(Answer::Seen)
            }
            Some(_) => None,
        }
    }

    /// The entries of a range, if they are all. One that cannot be read may be a share: so without it there is no view.
    fn view(&self, range: &Object<'_>, revision: i64) -> Option<View> {
        let found = match range.get("kvs") {
            Some(found) => items(found)?,
            None => Vec::new(),
        };
        let count = range.get("count").map_or(Some(0), number)?;
        if found.len() > MAX_ENTRIES || usize::try_from(count) != Ok(found.len()) {
            return None;
        }
        let entries: Option<_> = found.iter().map(|found| self.entry(found)).collect();
        Some(View {
            revision,
            entries: entries?,
        })
    }

    fn entry(&self, found: &RawValue) -> Option<Entry> {
        let found = Object::read(found.get())?;
        let key = base64::decode(text(found.get("key")?)?.as_bytes())?;
        let gateway = str::from_utf8(&key).ok()?.strip_prefix(&self.prefix)?;
        let value = base64::decode(text(found.get("value")?)?.as_bytes())?;
        let value = Object::read(str::from_utf8(&value).ok()?)?;
        let places = |name| value.get(name).map_or(Some(0), number);
        let cap = u32::try_from(places("cap")?).ok().filter(|cap| *cap > 0)?;
        Some(Entry {
            gateway: gateway_id(gateway)?,
            share: u32::try_from(places("share")?).ok()?,
            cap,
            waiting: value
                .get("waiting")
                .is_some_and(|waiting| waiting.get() == "true"),
        })
    }
}

/// The condition that a key was not written after this revision. One that is not there fulfils it.
fn unwritten(key: &str, revision: i64) -> String {
    let next = revision.saturating_add(1);
    format!(r#"{{"key":"{key}","target":"MOD","result":"LESS","mod_revision":"{next}"}}"#)
}

/// The condition that a key exists.
fn is_there(key: &str) -> String {
    format!(r#"{{"key":"{key}","target":"MOD","result":"GREATER","mod_revision":"0"}}"#)
}

fn value(entry: &Entry) -> String {
    let Entry {
        share, cap, waiting, ..
    } = entry;
    base64::encode(format!(r#"{{"share":{share},"cap":{cap},"waiting":{waiting}}}"#).as_bytes())
}

fn gateway_id(text: &str) -> Option<GatewayId> {
    let is_plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_plain.then(|| u64::from_str_radix(text, 16).ok())?;
    number.map(GatewayId)
}

/// A refusal has a `code`, which no answer has.
fn is_refusal(answer: &Object<'_>) -> bool {
    answer.get("code").is_some() || answer.get("error").is_some()
}

fn granted(answer: &Object<'_>) -> Option<Answer> {
    let lease = number(answer.get("ID")?).filter(|lease| *lease > 0)?;
    let lasts = seconds(answer.get("TTL")?)?;
    Some(Answer::Granted { lease, lasts })
}

/// The answer to a renewal is the first of a stream. Of a lease that has ended, it has no `TTL`.
fn renewed(answer: &Object<'_>, lease: i64) -> Option<Answer> {
    let result = Object::read(answer.get("result")?.get())?;
    if number(result.get("ID")?)? != lease {
        return None;
    }
    match result.get("TTL") {
        Some(lasts) => match seconds(lasts)? {
            Duration::ZERO => Some(Answer::NoLease),
            lasts => Some(Answer::Renewed {
                lasts,
                revision: revision(&result),
            }),
        },
        None => Some(Answer::NoLease),
    }
}

/// The revision of etcd at an answer. The first is 1.
fn revision(answer: &Object<'_>) -> Option<i64> {
    let header = Object::read(answer.get("header")?.get())?;
    number(header.get("revision")?).filter(|revision| *revision > 0)
}

fn seconds(value: &RawValue) -> Option<Duration> {
    u64::try_from(number(value)?).ok().map(Duration::from_secs)
}
