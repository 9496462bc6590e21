//! A modelled etcd with its JSON gateway: leases by a clock of its own, revisions, and the transactions that gateways
//! send. It reads and writes bytes, as the real one does (etcd 3.4, `server/etcdserver/apply.go`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A key's value.
#[derive(Clone, Debug)]
struct Kept {
    /// The key in Base64.
    key: String,
    value: String,
    lease: i64,
    written: i64,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    lasts: u64,
    /// By etcd's clock.
    ends: u64,
    /// When etcd gets to it.
    revoked: u64,
}

/// A gateway's entry as etcd has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub gateway: u64,
    pub places: u64,
    pub cap: u64,
}

/// The etcd.
#[derive(Debug)]
pub struct Etcd {
    revision: i64,
    leases: BTreeMap<i64, Lease>,
    keys: BTreeMap<Vec<u8>, Kept>,
    last_lease: i64,
    /// Thousandths by which its clock is fast.
    fast: i64,
    /// The longest time for which it lets a lease be that has ended.
    late: u64,
}

impl Etcd {
    pub fn new(fast: i64, late: u64) -> Self {
        Self {
            revision: 1,
            leases: BTreeMap::new(),
            keys: BTreeMap::new(),
            last_lease: 7_000_000_000_000,
            fast,
            late,
        }
    }

    /// Ends the leases that are due, and drops their keys.
    pub fn pass(&mut self, now: u64) {
        let clock = self.clock(now);
        let over: Vec<i64> = (self.leases.iter())
            .filter(|(_, lease)| lease.revoked <= clock)
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            self.leases.remove(&number);
            let before = self.keys.len();
            self.keys.retain(|_, kept| kept.lease != number);
            if self.keys.len() < before {
                self.revision += 1;
            }
        }
    }

    /// The shares under leases.
    pub fn shares(&self) -> Vec<Share> {
        self.keys
            .iter()
            .filter(|(_, kept)| kept.lease > 0)
            .map(|(key, kept)| {
                let value: Value = serde_json::from_slice(&base64(&kept.value)).unwrap();
                let key = std::str::from_utf8(key).unwrap();
                Share {
                    gateway: u64::from_str_radix(key.rsplit('/').next().unwrap(), 16).unwrap(),
                    places: value["share"].as_u64().unwrap(),
                    cap: value["cap"].as_u64().unwrap(),
                }
            })
            .collect()
    }

    /// Answers a request.
    pub fn serve(&mut self, path: &str, body: &str, now: u64) -> Vec<u8> {
        self.pass(now);
        let ask: Value = serde_json::from_str(body).expect("a gateway writes JSON");
        let answer = match path {
            "/v3/lease/grant" => self.grant(&ask, now),
            "/v3/lease/keepalive" => self.renew(&ask, now),
            "/v3/kv/range" => self.range(&ask, true),
            "/v3/kv/txn" => self.transact(&ask),
            path => panic!("no such path: {path}"),
        };
        answer.to_string().into_bytes()
    }

    fn clock(&self, now: u64) -> u64 {
        now.wrapping_add_signed(i64::try_from(now).unwrap() * self.fast / 1_000)
    }

    fn header(&self) -> Value {
        json!({"cluster_id": "15118495548433857066", "revision": self.revision.to_string(), "raft_term": "2"})
    }

    fn grant(&mut self, ask: &Value, now: u64) -> Value {
        self.last_lease += 1;
        let seconds = number(&ask["TTL"]);
        let lasts = u64::try_from(seconds).unwrap() * 1_000;
        self.leases.insert(self.last_lease, self.lease(lasts, now));
        json!({"header": self.header(), "ID": self.last_lease.to_string(), "TTL": seconds.to_string()})
    }

    fn lease(&self, lasts: u64, now: u64) -> Lease {
        let ends = self.clock(now) + lasts;
        // Some leases are revoked at once, others late.
        let revoked = ends + (now * 7_919) % (self.late + 1);
        Lease { lasts, ends, revoked }
    }

    fn renew(&mut self, ask: &Value, now: u64) -> Value {
        let number = number(&ask["ID"]);
        let clock = self.clock(now);
        match self.leases.get(&number).copied() {
            Some(lease) if clock < lease.ends => {
                let lease = self.lease(lease.lasts, now);
                self.leases.insert(number, lease);
                let seconds = (lease.lasts / 1_000).to_string();
                json!({"result": {"header": self.header(), "ID": number.to_string(), "TTL": seconds}})
            }
            _ => json!({"result": {"header": self.header(), "ID": number.to_string()}}),
        }
    }

    fn in_range(&self, ask: &Value) -> impl Iterator<Item = &Kept> {
        let from = base64(ask["key"].as_str().unwrap());
        let to = match ask["range_end"].as_str() {
            Some(end) => base64(end),
            None => [&from[..], b"\0"].concat(),
        };
        self.keys.range(from..to).map(|(_, kept)| kept)
    }

    fn range(&self, ask: &Value, has_whole_header: bool) -> Value {
        let found: Vec<Value> = (self.in_range(ask))
            .map(|kept| {
                json!({"key": kept.key, "value": kept.value, "mod_revision": kept.written.to_string(),
                       "lease": kept.lease.to_string()})
            })
            .collect();
        let header = match has_whole_header {
            true => self.header(),
            false => json!({"revision": self.revision.to_string()}),
        };
        match found.len() {
            0 => json!({"header": header}),
            count => json!({"header": header, "kvs": found, "count": count.to_string()}),
        }
    }

    fn transact(&mut self, ask: &Value) -> Value {
        let holds = |compare: &Value| {
            assert_eq!(compare["target"], "MOD");
            let bound = number(&compare["mod_revision"]);
            // A range without keys is compared as if its key had never been written.
            let mut written = self.in_range(compare).map(|kept| kept.written).peekable();
            let none = written.peek().is_none().then_some(0);
            match compare["result"].as_str().unwrap() {
                "LESS" => written.chain(none).all(|written| written < bound),
                "GREATER" => written.chain(none).all(|written| written > bound),
                result => panic!("{result} is not modelled"),
            }
        };
        if !ask["compare"].as_array().unwrap().iter().all(holds) {
            let range = self.range(&ask["failure"][0]["request_range"], false);
            return json!({"header": self.header(), "responses": [{"response_range": range}]});
        }
        let puts: Vec<&Value> = ask["success"].as_array().unwrap().iter().collect();
        let leases = puts.iter().map(|put| &put["request_put"]["lease"]);
        let mut known = leases.map(|lease| lease.is_null() || self.leases.contains_key(&number(lease)));
        if !known.all(|known| known) {
            let text = "etcdserver: requested lease not found";
            return json!({"error": text, "message": text, "code": 5});
        }
        self.revision += 1;
        for put in &puts {
            self.put(&put["request_put"]);
        }
        let put = json!({"response_put": {"header": {"revision": self.revision.to_string()}}});
        json!({"header": self.header(), "succeeded": true, "responses": vec![put; puts.len()]})
    }

    fn put(&mut self, put: &Value) {
        let key = put["key"].as_str().unwrap();
        let kept = Kept {
            key: key.to_owned(),
            value: put["value"].as_str().unwrap_or_default().to_owned(),
            lease: put["lease"].as_str().map_or(0, |lease| lease.parse().unwrap()),
            written: self.revision,
        };
        self.keys.insert(base64(key), kept);
    }
}

fn number(value: &Value) -> i64 {
    value.as_str().unwrap().parse().unwrap()
}

/// The bytes of a text in Base64.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            .iter()
            .position(|digit| *digit == byte)
            .expect("a digit of Base64") as u32
    };
    let mut bytes = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | digit(*byte)) << (6 * (4 - group.len()));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
