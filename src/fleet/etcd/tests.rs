use proptest::prelude::*;

use super::*;

const ENTRY: Entry = Entry {
    gateway: GatewayId(1),
    share: 10,
    cap: 100,
    waiting: true,
};

const RENEW: Ask = Ask::Renew(4_111_120_255_895_141_127);

const SWAP: Ask = Ask::Swap {
    entry: ENTRY,
    lease: 7,
    own: 2,
    growth: Some(5),
};

/// Answers of etcd 3.4.23.
const GRANTED: &str = r#"{"header":{"cluster_id":"15118495548433857066","member_id":"13668033151171901709","revision":"1","raft_term":"2"},"ID":"4111120255895141125","TTL":"10"}"#;
const RENEWED: &str = r#"{"result":{"header":{"cluster_id":"15118495548433857066","member_id":"13668033151171901709","revision":"1","raft_term":"2"},"ID":"4111120255895141127","TTL":"10"}}
"#;
const NOT_RENEWED: &str = r#"{"result":{"header":{"cluster_id":"15118495548433857066","member_id":"13668033151171901709","revision":"1","raft_term":"2"},"ID":"4111120255895141127"}}"#;
const EMPTY: &str = r#"{"header":{"cluster_id":"15118495548433857066","member_id":"13668033151171901709","revision":"1","raft_term":"2"}}"#;
const SEEN: &str = r#"{"header":{"cluster_id":"15118495548433857066","member_id":"13668033151171901709","revision":"2","raft_term":"2"},"kvs":[{"key":"Zi9zaGFyZS8wMDAwMDAwMDAwMDAwMDAx","create_revision":"2","mod_revision":"2","version":"1","value":"eyJzaGFyZSI6MTAsImNhcCI6MTAwLCJ3YWl0aW5nIjp0cnVlfQ==","lease":"4111120255895141127"}],"count":"1"}"#;
const WRITTEN: &str = r#"{"header":{"cluster_id":"15118495548433857066","member_id":"13668033151171901709","revision":"2","raft_term":"2"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"2"}}}]}"#;
const LOST_RACE: &str = r#"{"header":{"cluster_id":"15118495548433857066","member_id":"13668033151171901709","revision":"2","raft_term":"2"},"responses":[{"response_range":{"header":{"revision":"2"},"kvs":[{"key":"Zi9zaGFyZS8wMDAwMDAwMDAwMDAwMDAx","create_revision":"2","mod_revision":"2","version":"1","value":"eyJzaGFyZSI6MTAsImNhcCI6MTAwLCJ3YWl0aW5nIjp0cnVlfQ==","lease":"4111120255895141127"}],"count":"1"}}]}"#;
const NO_LEASE_ANSWER: &str = r#"{"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5}"#;
const UNREADABLE: &str = r#"{"error":"invalid character 'b' looking for beginning of object key string","message":"invalid character 'b' looking for beginning of object key string","code":3}"#;

fn etcd() -> Etcd {
    Etcd::new("f")
}

fn answer(ask: &Ask, body: &str) -> Answer {
    etcd().answer(ask, body.as_bytes())
}

fn view() -> View {
    View {
        revision: 2,
        entries: vec![ENTRY],
    }
}

#[test]
fn asks_for_leases_in_whole_seconds() {
    for (lease, seconds) in [(10_000, 10), (3_001, 4)] {
        let request = etcd().request(&Ask::Grant(Duration::from_millis(lease)));
        let body = format!(r#"{{"TTL":"{seconds}"}}"#);
        assert_eq!((request.path, request.body), ("/v3/lease/grant", body));
    }
    assert_eq!(etcd().request(&RENEW).body, r#"{"ID":"4111120255895141127"}"#);
}

/// The keys of a request, decoded.
fn plain(request: &Request) -> String {
    let mut text = request.body.clone();
    for key in ["f/share/", "f/share0", "f/share/0000000000000001", "f/growth"] {
        text = text.replace(
            &format!(r#""{}""#, base64::encode(key.as_bytes())),
            &format!("<{key}>"),
        );
    }
    text.replace(
        &base64::encode(br#"{"share":10,"cap":100,"waiting":true}"#),
        "<value>",
    )
}

#[test]
fn a_share_grows_only_if_no_other_has_grown() {
    let request = etcd().request(&SWAP);
    assert_eq!(request.path, "/v3/kv/txn");
    assert_eq!(
        plain(&request),
        concat!(
            r#"{"compare":[{"key":<f/share/0000000000000001>,"target":"MOD","result":"LESS","mod_revision":"3"},"#,
            r#"{"key":<f/growth>,"target":"MOD","result":"LESS","mod_revision":"6"}],"#,
            r#""success":[{"request_put":{"key":<f/share/0000000000000001>,"value":"<value>","lease":"7"}},"#,
            r#"{"request_put":{"key":<f/growth>}}],"#,
            r#""failure":[{"request_range":{"key":<f/share/>,"range_end":<f/share0>,"limit":"1024"}}]}"#
        )
    );
}

#[test]
fn a_share_that_does_not_grow_needs_its_own_key_alone() {
    let swap = Ask::Swap {
        entry: ENTRY,
        lease: 7,
        own: 2,
        growth: None,
    };
    let request = plain(&etcd().request(&swap));
    let (compare, _) = request.split_once(r#","success""#).unwrap();
    assert_eq!(
        compare,
        concat!(
            r#"{"compare":[{"key":<f/share/0000000000000001>,"target":"MOD","result":"LESS","mod_revision":"3"},"#,
            r#"{"key":<f/share/0000000000000001>,"target":"MOD","result":"GREATER","mod_revision":"0"}]"#
        )
    );
}

#[test]
fn reads_what_etcd_answers() {
    let granted = Answer::Granted {
        lease: 4_111_120_255_895_141_125,
        lasts: Duration::from_secs(10),
    };
    let renewed = Answer::Renewed {
        lasts: Duration::from_secs(10),
        revision: Some(1),
    };
    let empty = View {
        revision: 1,
        entries: vec![],
    };
    let cases = [
        (Ask::Grant(Duration::ZERO), GRANTED, granted),
        (RENEW, RENEWED, renewed),
        (RENEW, NOT_RENEWED, Answer::NoLease),
        (Ask::Look, EMPTY, Answer::Seen(empty)),
        (Ask::Look, SEEN, Answer::Seen(view())),
        (SWAP, WRITTEN, Answer::Written(2)),
        (SWAP, LOST_RACE, Answer::Seen(view())),
        (SWAP, NO_LEASE_ANSWER, Answer::NoLease),
        (SWAP, UNREADABLE, Answer::Nothing),
    ];
    for (ask, body, expected) in cases {
        assert_eq!(answer(&ask, body), expected, "{body}");
    }
}

#[test]
fn numbers_may_be_plain() {
    let plain = GRANTED.replace(r#""10""#, "10");
    assert_eq!(
        answer(&Ask::Grant(Duration::ZERO), &plain),
        answer(&Ask::Grant(Duration::ZERO), GRANTED)
    );
}

#[test]
fn what_etcd_does_not_answer_is_nothing() {
    for ask in [Ask::Grant(Duration::ZERO), RENEW, Ask::Look, SWAP] {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "upstream connect error or disconnect/reset before headers",
            r#"{"header":{}}"#,
            r#"{"header":{"revision":"0"},"result":{}}"#,
            r#"{"header":{"revision":"-1"},"ID":"-1","TTL":"10"}"#,
            r#"{"header":{"revision":"99999999999999999999"},"ID":"1","TTL":"99999999999999999999"}"#,
            r#"{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}"#,
            r#"{"header":{"revision":"2"},"succeeded":true,"responses":[],"kvs":{}}"#,
            r#"{"header":{"revision":"2"},"succeeded":1,"responses":[{}],"count":"1"}"#,
        ] {
            assert_eq!(answer(&ask, body), Answer::Nothing, "{ask:?} {body}");
        }
    }
}

#[test]
fn a_cut_answer_is_nothing() {
    let cases = [
        (Ask::Grant(Duration::ZERO), GRANTED),
        (RENEW, RENEWED.trim_end()),
        (Ask::Look, SEEN),
        (SWAP, WRITTEN),
        (SWAP, LOST_RACE),
        (SWAP, NO_LEASE_ANSWER),
    ];
    for (ask, body) in cases {
        for cut in 0..body.len() {
            let cut = body.get(..cut).unwrap();
            assert_eq!(answer(&ask, cut), Answer::Nothing, "{cut}");
        }
    }
}

#[test]
fn an_answer_that_is_too_large_is_nothing() {
    let padded = |len| format!("{SEEN}{}", " ".repeat(len - SEEN.len()));
    assert_eq!(
        answer(&Ask::Look, &padded(MAX_ANSWER_BYTES)),
        Answer::Seen(view())
    );
    assert_eq!(answer(&Ask::Look, &padded(MAX_ANSWER_BYTES + 1)), Answer::Nothing);
}

#[test]
fn a_look_that_shows_not_all_is_nothing() {
    assert_eq!(
        answer(&Ask::Look, &SEEN.replace(r#""count":"1""#, r#""count":"2""#)),
        Answer::Nothing
    );
}

#[test]
fn the_renewal_of_another_lease_is_nothing() {
    assert_eq!(answer(&Ask::Renew(1), RENEWED), Answer::Nothing);
}

#[test]
fn a_look_that_shows_what_is_no_entry_is_nothing() {
    let with = |key: &str, value: &str| {
        let kv = format!(
            r#"{{"key":"{}","value":"{}"}}"#,
            base64::encode(key.as_bytes()),
            base64::encode(value.as_bytes())
        );
        format!(r#"{{"header":{{"revision":"2"}},"kvs":[{kv}],"count":"1"}}"#)
    };
    let look = |key, value| answer(&Ask::Look, &with(key, value));
    let key = "f/share/0000000000000001";
    let more = r#"{"share":10,"cap":100,"waiting":true,"new":[]}"#;
    assert_eq!(look(key, more), Answer::Seen(view()));
    for value in [
        "",
        "{}",
        "10",
        r#"{"share":10}"#,
        r#"{"share":10,"cap":0}"#,
        r#"{"share":-1,"cap":1}"#,
        r#"{"share":4294967296,"cap":1}"#,
        r#"{"share":10,"cap":1"#,
    ] {
        assert_eq!(look(key, value), Answer::Nothing, "{value}");
    }
    for key in [
        "",
        "f/share/",
        "f/share/1",
        "f/share/000000000000000g",
        "f/share/+000000000000001",
        "g/share/0000000000000001",
    ] {
        assert_eq!(look(key, r#"{"share":10,"cap":100}"#), Answer::Nothing, "{key}");
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0..400_usize) {
        for (ask, body) in [(RENEW, RENEWED), (Ask::Look, SEEN), (SWAP, LOST_RACE), (SWAP, WRITTEN)] {
            let _ = etcd().answer(&ask, &bytes);
            let mut body = body.as_bytes().to_vec();
            let end = (at + bytes.len()).min(body.len());
            body.splice(at.min(end)..end, bytes.iter().copied());
            let _ = etcd().answer(&ask, &body);
        }
    }
}
