//! The bytes of every value, checked by hand against the layouts in the other files here. A release writes into the
//! table of another release with the same layout number, so bytes may change only together with [`LAYOUT`].

use core::time::Duration;

use super::book::{BookOwner, Books};
use super::bucket::Bucket;
use super::delete_request::DeleteRequest;
use super::gateways::{Gateways, KnownGateway};
use super::ledger::Ledger;
use super::paths::{EndpointPath, Paths};
use super::record::{IdDigest, Leaseholders, Owner, RootTag, Session, SessionKey, ShortKey};
use super::speech::{Findings, Speech};
use super::tombstone::{Remembered, Tombstone};
use super::upstream_delete::PendingDelete;
use crate::mcp::revision::Revision;
use crate::session::settings::{ConfigurationId, EndpointTag, FleetTag};
use crate::session::store::{LAYOUT, Version};
use crate::session::time::Timestamp;

/// The layout number of these bytes. A change of the bytes below must change this and [`LAYOUT`].
const NUMBER: u8 = 3;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes without padding, given as fields, and only zeros after them.
#[track_caller]
fn assert_bytes(value: &[u8], fields: &[&str]) {
    let expected = fields.concat();
    let (used, padding) = value.split_at(expected.len() / 2);
    assert_eq!(hex(used), expected);
    assert!(padding.iter().all(|byte| *byte == 0), "more than that");
}

fn key(byte: u8) -> SessionKey {
    SessionKey::from_bytes([byte; 16])
}

fn session() -> Session {
    Session {
        key: key(0xaa),
        endpoint: EndpointTag::from_bytes([1, 2, 3, 4]),
        owner: Owner(0x8877_6655_4433_2211),
        digest: IdDigest([0xd1; 8]),
        opened: at(0x01_0203_0405),
        stamp: at(0x02_0304_0506),
        leaseholders: Leaseholders::default().joined_by(RootTag::from_bits(0x0a0b_0c0d)),
        id: b"id".to_vec(),
        delete_request: Some(DeleteRequest::new(Some(Revision::V2025_06_18), b"/p")),
    }
}

const KEY_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const KEY_B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const OWNER: &str = "1122334455667788";
const ENDPOINT: &str = "01020304";
const ID: &str = "02006964";
/// Twelve bytes: "2025-06-18" and "/p".
const DELETE: &str = "0c00323032352d30362d31382f70";

#[test]
fn the_number_is_that_of_these_bytes() {
    assert_eq!(LAYOUT, NUMBER);
    assert_eq!(Version::Absent.cas(), u32::MAX);
}

#[test]
fn a_bucket_with_a_session_that_has_all_parts() {
    let mut bucket = Bucket::empty().at_least(3);
    bucket.leave_mark(at(9));
    bucket.insert(&session()).unwrap();
    let record = [
        "01",
        KEY_A,
        ENDPOINT,
        "d1d1d1d1d1d1d1d1",
        "0504030201",
        "0605040302",
        "0f",
        OWNER,
        "010d0c0b0a",
        ID,
        DELETE,
    ];
    let used = format!("{:02x}00", 9 + record.concat().len() / 2);
    let fields = [&["03", &used, "0900000000", "03"], &record[..]].concat();
    assert_bytes(&bucket.into_value(), &fields);
}

#[test]
fn a_session_that_has_no_parts() {
    let bare = Session {
        owner: Owner::UNKNOWN,
        leaseholders: Leaseholders::default(),
        id: Vec::new(),
        delete_request: None,
        ..session()
    };
    let mut bytes = Vec::new();
    bare.write(&mut bytes);
    assert_bytes(
        &bytes,
        &[
            KEY_A,
            ENDPOINT,
            "d1d1d1d1d1d1d1d1",
            "0504030201",
            "0605040302",
            "00",
        ],
    );
}

#[test]
fn what_is_left_of_sessions() {
    let mut bucket = Bucket::empty();
    for (byte, remembered) in [
        (0xaa, Remembered::Ended),
        (0xbb, Remembered::OwnedBy(session().owner)),
    ] {
        let tombstone = Tombstone {
            key: key(byte),
            until: at(7),
            remembered,
        };
        bucket.bury(&key(byte), Some(tombstone));
    }
    let fields = [
        "03",
        "3d00",
        "0000000000",
        "00",
        "02",
        KEY_A,
        "0700000000",
        "04",
        KEY_B,
        "0700000000",
        OWNER,
    ];
    assert_bytes(&bucket.into_value(), &fields);
}

#[test]
fn pending_deletes_by_what_is_remembered_and_whether_they_are_sent() {
    let request = session().delete_request.unwrap();
    let endpoint = session().endpoint;
    let pending = PendingDelete::new(key(0xaa), endpoint, b"id", request, at(7), at(6));
    let nobody = "0000000000000000";
    let cases = [
        (Some(Remembered::Ended), "40", "c1", nobody),
        (Some(Remembered::OwnedBy(session().owner)), "20", "a1", OWNER),
        (None, "00", "81", nobody),
    ];
    for (remembered, waiting, sent, owner) in cases {
        let mut pending = pending.clone();
        pending.remembered = remembered;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        pending.write(&mut first);
        pending.sent(Duration::ZERO, at(1)).write(&mut second);
        let fields = |flags, due| [KEY_A, "0700000000", ENDPOINT, flags, due, owner, ID, DELETE];
        assert_bytes(&first, &fields(waiting, "0600000000"));
        // 30,001 ms.
        assert_bytes(&second, &fields(sent, "3175000000"));
    }
}

#[test]
fn a_book() {
    let endpoint = session().endpoint;
    let owner = session().owner;
    let mut books = Books::empty();
    let mut book = books.find(BookOwner { owner, endpoint });
    book.checked = at(3);
    book.add_reservation(at(9));
    book.add_reservation(at(9));
    book.set_streams(RootTag::from_bits(0x0a0b_0c0d), 4, at(8));
    book.sessions = vec![ShortKey([0xaa; 8]), ShortKey([0xbb; 8])];
    books.put(&book);
    let book = [
        OWNER,
        ENDPOINT,
        "0300000000",
        "0100",
        "0100",
        "02000000",
        "0900000000",
        "02000000",
        "0d0c0b0a",
        "0800000000",
        "04000000",
        "aaaaaaaaaaaaaaaa",
        "bbbbbbbbbbbbbbbb",
    ];
    let used = format!("{:02x}000000", 5 + book.concat().len() / 2);
    assert_bytes(&books.into_value(), &[&["03", used.as_str()], &book[..]].concat());
}

#[test]
fn a_ledger() {
    let endpoint = session().endpoint;
    let mut ledger = Ledger::empty();
    let groups = "00".repeat(22 * 64);
    // No worker has spoken for the gateway: nobody is let in, for ever.
    let nobody = "0000000000000000ffffffffff";
    assert_bytes(
        &ledger.to_value(),
        &["03", "00", "00", nobody, "00", &groups, "00", "0000"],
    );
    ledger.add_session(endpoint, 0, at(5));
    ledger.deepen(4);
    let root = RootTag::from_bits(0x0a0b_0c0d);
    ledger.set_streams(root, endpoint, 1, at(0x01_0203_0405));
    let (mut group, row) = ("00".repeat(22 * 64), "00000000".repeat(63));
    // The first group: its change is counted, and it is due already.
    group.replace_range(22..26, "0100");
    let idle = "40771b0000000000";
    let lifetime = "005c260500000000";
    let name = &hex(b"unknown_01020304");
    let fields = [
        &["03", "00", "04", nobody, "00", &group, "01"][..],
        &[
            ENDPOINT,
            "00",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            idle,
            lifetime,
            "0000000000000000",
        ],
        &[
            "0000000000",
            "0000000000",
            "0000000000",
            "10",
            name,
            "01000000",
            &row,
        ],
        &["0100", "0d0c0b0a", ENDPOINT, "01", "0504030201", "01000000"],
    ];
    assert_bytes(&ledger.to_value(), &fields.concat());
}

#[test]
fn what_the_root_that_speaks_has_found_out() {
    let root = RootTag::from_bits(0x0a0b_0c0d);
    let mut speech = Speech::none();
    (speech.term, speech.speaker, speech.until) = (3, root, at(6));
    (speech.configuration, speech.fleet) = (ConfigurationId::from_number(4), FleetTag::from_number(5));
    speech.gateway = 7;
    speech.findings = Findings {
        lease: Some((8, at(9), at(10))),
        is_lost: true,
        caps_differ: true,
        full_at: Some(at(11)),
    };
    speech.set_waiting(root, 2, [at(0), at(0), at(12)]);
    let fields = [
        "03",
        "0f",
        "03000000",
        "0d0c0b0a",
        "0400000000000000",
        "0600000000",
        "0500000000000000",
        "0700000000000000",
        "0800000000000000",
        "0900000000",
        "0a00000000",
        "0b00000000",
        "0100",
        "0d0c0b0a",
        "02000000",
        "0c00000000",
    ];
    assert_bytes(&speech.to_value(), &fields);
}

#[test]
fn the_gateways_of_a_fleet() {
    let gateways = Gateways {
        own: 1,
        cap: 2,
        all: vec![KnownGateway {
            id: 1,
            share: 3,
            waits: true,
        }],
    };
    let fields = [
        "03",
        "0100000000000000",
        "02000000",
        "0100",
        "0100000000000000",
        "03000000",
        "01",
    ];
    assert_bytes(&gateways.to_value(), &fields);
}

#[test]
fn the_paths_of_two_endpoints() {
    let path = |tag, is_http_sse, path: &str| EndpointPath {
        tag: EndpointTag::from_bytes(tag),
        is_http_sse,
        path: path.to_owned(),
    };
    let mut paths = Paths::default();
    paths.enter(&path([1, 2, 3, 4], false, "/p"), at(5), true);
    paths.enter(&path([5, 6, 7, 8], true, "/s"), at(6), false);
    assert_bytes(
        &paths.to_value(),
        &[
            "0302",
            ENDPOINT,
            "0500000000",
            "00",
            "02002f70",
            "05060708",
            "0600000000",
            "01",
            "02002f73",
        ],
    );
}
