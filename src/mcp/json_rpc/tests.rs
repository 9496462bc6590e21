use super::*;
use proptest::prelude::*;

/// A valid request with every member that the reader looks at.
const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;

/// Reads a body as `strict_json_rpc` does. A body that passes there passes everywhere.
fn read(bytes: &[u8]) -> Result<Body<'_>, BodyError> {
    super::read(bytes, Strictness::Strict)
}

fn read_leniently(body: &str) -> Result<Body<'_>, BodyError> {
    super::read(body.as_bytes(), Strictness::Lenient)
}

/// The one message in a body; `None` for a batch or an error.
fn single(body: &str) -> Option<Message<'_>> {
    match read(body.as_bytes()) {
        Ok(Body::Single(message)) => Some(message),
        Ok(Body::Batch(_)) | Err(_) => None,
    }
}

fn kind(body: &str) -> Option<Kind> {
    single(body).map(|message| message.kind)
}

/// The token that an answer echoes for a request with this id.
fn echoed(id: &str) -> Option<String> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    single(&body)?.id.map(|id| id.as_str().to_owned())
}

/// A message with these members after `jsonrpc`.
fn with(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0",{members}}}"#)
}

fn error(body: &str) -> Option<BodyError> {
    read(body.as_bytes()).err()
}

#[track_caller]
fn assert_invalid(bodies: &[&str]) {
    for body in bodies {
        assert_eq!(error(body), Some(BodyError::Invalid), "{body}");
    }
}

#[test]
fn tells_requests_notifications_and_responses_apart() {
    let cases = [
        (r#""id":1,"method":"ping""#, Kind::Request(Method::Ping)),
        (
            r#""method":"notifications/initialized""#,
            Kind::Notification(Method::NotificationsInitialized),
        ),
        (r#""id":1,"method":"x/y""#, Kind::Request(Method::Other)),
        (r#""id":1,"result":{}"#, Kind::Response),
        (r#""id":"a","error":{"code":-1,"message":"m"}"#, Kind::Response),
    ];
    for (members, expected) in cases {
        assert_eq!(kind(&with(members)), Some(expected), "{members}");
    }
}

#[test]
fn tolerates_error_responses_without_a_usable_id() {
    for members in [r#""error":{}"#, r#""id":null,"error":{}"#] {
        let body = with(members);
        assert_eq!(
            single(&body).map(|m| (m.kind, m.id)),
            Some((Kind::Response, None)),
            "{members}"
        );
    }
}

#[test]
fn keeps_the_method_as_the_client_spelt_it() {
    let body = with(r#""id":1,"method":"acme/Custom""#);
    assert_eq!(
        single(&body).and_then(|message| message.method),
        Some(Cow::Borrowed("acme/Custom"))
    );
}

#[test]
fn finds_what_a_request_is_about() {
    let cases = [
        ("tools/call", r#"{"uri":"u","name":"n"}"#, Some("n")),
        (
            "prompts/get",
            r#"{"name":"n","arguments":{"name":"x"}}"#,
            Some("n"),
        ),
        ("resources/read", r#"{"name":"n","uri":"u"}"#, Some("u")),
        ("resources/subscribe", r#"{"uri":"u"}"#, None),
        ("tools/list", r#"{"name":"n"}"#, None),
        ("tools/call", "{}", None),
        ("tools/call", r#"{"name":1}"#, None),
        ("tools/call", r#"{"name":"a\u00e9\"b"}"#, Some("aé\"b")),
    ];
    for (method, params, expected) in cases {
        let body = with(&format!(r#""id":1,"method":"{method}","params":{params}"#));
        assert_eq!(
            single(&body).and_then(|m| m.target).as_deref(),
            expected,
            "{body}"
        );
    }
}

#[test]
fn finds_the_version_that_initialize_asks_for() {
    let params = r#""params":{"protocolVersion":"2025-11-25"}"#;
    let version = |method: &str| {
        let body = with(&format!(r#""id":1,"method":"{method}",{params}"#));
        single(&body).and_then(|message| message.protocol_version.map(Cow::into_owned))
    };
    assert_eq!(version("initialize").as_deref(), Some("2025-11-25"));
    assert_eq!(version("ping"), None);
}

#[test]
fn finds_the_version_that_a_message_states_in_its_meta() {
    let stated = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let cases = [
        (
            format!(r#"{{"_meta":{{"progressToken":1,{stated}}}}}"#),
            Some("2026-07-28"),
        ),
        (format!(r#"{{"arguments":{{"_meta":{{{stated}}}}}}}"#), None),
        (format!("{{{stated}}}"), None),
        (r#"{"_meta":null}"#.to_owned(), None),
        (
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":7}}"#.to_owned(),
            None,
        ),
    ];
    for (params, expected) in cases {
        let body = with(&format!(r#""id":1,"method":"tools/list","params":{params}"#));
        assert_eq!(
            single(&body).and_then(|m| m.meta_version).as_deref(),
            expected,
            "{body}"
        );
    }
}

#[test]
fn reads_members_in_any_order_and_through_escapes() {
    let reordered =
        r#" {"params":{"name":"echo"},"m\u0065thod":"tools\/c\u0061ll","id":1,"json\u0072pc":"2.0"} "#;
    let message = single(reordered);
    assert_eq!(
        message.as_ref().map(|m| m.kind),
        Some(Kind::Request(Method::ToolsCall))
    );
    assert_eq!(message.and_then(|m| m.target).as_deref(), Some("echo"));
}

#[test]
fn borrows_what_has_no_escapes() {
    let message = single(CALL);
    assert!(matches!(
        message.as_ref().map(|m| &m.method),
        Some(Some(Cow::Borrowed("tools/call")))
    ));
    assert!(matches!(
        message.as_ref().map(|m| &m.target),
        Some(Some(Cow::Borrowed("echo")))
    ));
}

#[test]
fn passes_over_members_it_does_not_know() {
    let body = with(r#""id":1,"method":"ping","x":[1e999],"x":{"id":null},"params":{"y":1,"y":2}"#);
    assert_eq!(kind(&body), Some(Kind::Request(Method::Ping)));
}

#[test]
fn keeps_the_id_as_the_bytes_that_came() {
    let digits = "9".repeat(400);
    for id in [
        "0",
        "-0",
        "1.0",
        "-1.50E+3",
        "1e999",
        &digits,
        r#""""#,
        r#""a\u0041\"""#,
        "\"é\"",
        r#""\ud800""#,
    ] {
        assert_eq!(echoed(id).as_deref(), Some(id));
    }
}

#[test]
fn does_not_echo_an_id_over_1024_bytes_but_sees_the_request() {
    let string = |len: usize| format!("\"{}\"", "a".repeat(len));
    assert_eq!(echoed(&string(1024)), Some(string(1024)));
    assert_eq!(echoed(&"1".repeat(1024)), Some("1".repeat(1024)));
    for id in [string(1025), "1".repeat(1025)] {
        assert_eq!(echoed(&id), None);
        let body = with(&format!(r#""id":{id},"method":"ping""#));
        assert_eq!(kind(&body), Some(Kind::Request(Method::Ping)));
    }
}

#[test]
fn refuses_ids_that_are_neither_string_nor_number() {
    for id in ["null", "true", "false", "{}", "[1]"] {
        assert_invalid(&[&with(&format!(r#""id":{id},"method":"ping""#))]);
    }
    assert_invalid(&[&with(r#""id":{},"result":{}"#), &with(r#""id":true,"error":{}"#)]);
}

#[test]
fn refuses_what_is_not_json() {
    let bodies: [&[u8]; 14] = [
        b"",
        b" \r\n\t",
        b"{",
        b"[",
        b"{}}",
        b"[]]",
        b"nope",
        b"\xEF\xBB\xBF{}",
        b"\xFF",
        b"{\"a\":\"\xC3\"}",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"ping\"} x",
        b"{\"a\":01}",
        b"{\"a\":\"\n\"}",
        b"{'a':1}",
    ];
    for body in bodies {
        assert_eq!(read(body), Err(BodyError::Parse), "{}", body.escape_ascii());
    }
}

#[test]
fn a_text_that_is_not_json_is_found_behind_a_mistake_of_meaning() {
    for members in [r#""id":1,"id":2"#, r#""params":[]"#, r#""method":1"#] {
        let body = format!(r#"{{"jsonrpc":"2.0",{members},"x":nope}}"#);
        assert_eq!(error(&body), Some(BodyError::Parse), "{body}");
    }
    assert_eq!(error(r#"[{"a":1},2,nope]"#), Some(BodyError::Parse));
}

#[test]
fn refuses_json_that_is_no_message() {
    assert_invalid(&[
        "null",
        "true",
        "1",
        "\"{}\"",
        "{}",
        &with(r#""id":1"#),
        &with(r#""params":{}"#),
    ]);
}

#[test]
fn refuses_every_jsonrpc_but_2_0() {
    for version in [r#""1.0""#, r#""2.00""#, "2.0", "2", "null", r#"["2.0"]"#] {
        assert_invalid(&[&format!(r#"{{"jsonrpc":{version},"id":1,"method":"ping"}}"#)]);
    }
    assert_invalid(&[
        r#"{"id":1,"method":"ping"}"#,
        r#"{"JSONRPC":"2.0","id":1,"method":"ping"}"#,
    ]);
}

#[test]
fn refuses_methods_that_are_no_strings() {
    for method in ["null", "1", "[]", "{}", r#"["ping"]"#] {
        assert_invalid(&[&with(&format!(r#""id":1,"method":{method}"#))]);
    }
}

#[test]
fn refuses_params_that_are_no_object() {
    for params in [
        "null",
        "true",
        "-1",
        "1",
        "1.5",
        r#""{}""#,
        "[]",
        r#"[{"name":"x"}]"#,
    ] {
        let members = format!(r#""method":"tools/call","params":{params}"#);
        assert_invalid(&[&with(&members), &with(&format!(r#""id":1,{members}"#))]);
    }
}

#[test]
fn refuses_a_call_that_is_an_answer_too() {
    assert_invalid(&[
        &with(r#""id":1,"method":"ping","result":{}"#),
        &with(r#""error":{},"id":1,"method":"ping""#),
        &with(r#""method":"ping","result":null"#),
    ]);
}

#[test]
fn refuses_members_that_come_twice() {
    let members = [
        r#""id":1"#,
        r#""method":"ping""#,
        r#""params":{}"#,
        r#""jsonrpc":"2.0""#,
    ];
    for twice in members {
        assert_invalid(&[&format!("{{{},{twice}}}", members.join(","))]);
    }
    assert_invalid(&[
        &with(r#""id":1,"result":1,"result":1"#),
        &with(r#""id":1,"error":1,"error":1"#),
        &with(r#""id":1,"method":"ping","m\u0065thod":"initialize""#),
        &with(r#""id":1,"method":"ping","params":{},"params":[]"#),
        &with(r#""id":1,"method":"ping","params":null,"params":{}"#),
    ]);
}

#[test]
fn refuses_params_that_come_twice_where_they_matter() {
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let meta_twice = format!(r#""_meta":{{{version},{version}}}"#);
    let doubled = [
        r#""name":"a","name":"a""#,
        r#""uri":"a","ur\u0069":"b""#,
        r#""protocolVersion":"a","protocolVersion":1"#,
        r#""_meta":{},"_meta":{}"#,
        r#""_meta":null,"_meta":{}"#,
        &meta_twice,
    ];
    for params in doubled {
        assert_invalid(&[&with(&format!(r#""id":1,"method":"ping","params":{{{params}}}"#))]);
    }
}

#[test]
fn takes_128_levels_and_no_more() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        with(&format!(r#""method":"ping","x":{open}{close}"#))
    };
    assert_eq!(kind(&nested(MAX_DEPTH)), Some(Kind::Notification(Method::Ping)));
    assert_eq!(error(&nested(MAX_DEPTH + 1)), Some(BodyError::Invalid));
    assert_eq!(error(&"[".repeat(1_000_000)), Some(BodyError::Invalid));
    assert_eq!(error(&r#"{"a":"#.repeat(1_000_000)), Some(BodyError::Invalid));
}

#[test]
fn brackets_in_strings_and_side_by_side_are_no_levels() {
    let text = r#"[\"{\\"#.repeat(MAX_DEPTH);
    let row = "[{}],".repeat(MAX_DEPTH);
    let body = with(&format!(r#""method":"ping","x":"{text}","y":[{row}0]"#));
    assert_eq!(kind(&body), Some(Kind::Notification(Method::Ping)));
}

#[test]
fn tells_what_a_batch_holds() {
    let request = with(r#""id":1,"method":"ping""#);
    let notification = with(r#""method":"notifications/initialized""#);
    let initialize = with(r#""id":2,"method":"initialize""#);
    let response = with(r#""id":1,"result":{}"#);
    let cases = [
        (vec![&notification, &response], false, false),
        (vec![&response, &request], false, true),
        (vec![&notification, &initialize, &request], true, true),
    ];
    for (members, holds_initialize, holds_request) in cases {
        let texts: Vec<_> = members.iter().map(|member| member.as_str()).collect();
        let body = format!(" [ {} ] ", texts.join(" , "));
        let batch = Batch {
            len: members.len(),
            holds_initialize,
            holds_request,
        };
        assert_eq!(read(body.as_bytes()), Ok(Body::Batch(batch)), "{body}");
    }
}

#[test]
fn refuses_a_batch_that_is_empty_or_holds_anything_but_messages() {
    let good = with(r#""id":1,"method":"ping""#);
    assert_invalid(&["[]", "[1]", "[[]]", "[{}]", "[null]"]);
    assert_invalid(&[
        &format!("[[{good}]]"),
        &format!("[{good},1]"),
        &format!("[{{}},{good}]"),
    ]);
}

#[test]
fn sees_an_initialize_in_a_batch_even_without_an_id() {
    let body = format!("[{}]", with(r#""method":"initialize""#));
    let batch = Batch {
        len: 1,
        holds_initialize: true,
        holds_request: false,
    };
    assert_eq!(read(body.as_bytes()), Ok(Body::Batch(batch)));
}

fn seen(prefix: &str) -> (Option<Method>, Option<String>, bool) {
    let Glimpse {
        method,
        name,
        complete,
        ..
    } = glimpse(prefix.as_bytes());
    (method, name, complete)
}

#[test]
fn a_glimpse_is_complete_as_soon_as_method_and_target_are_known() {
    let method = Some(Method::ToolsCall);
    assert_eq!(seen(r#"{"id":1,"method":"tools/ca"#), (None, None, false));
    assert_eq!(seen(r#"{"id":1,"method":"tools/call""#), (method, None, false));
    assert_eq!(
        seen(r#"{"method":"tools/call","params":{"name":"ec"#),
        (method, None, false)
    );
    assert_eq!(
        seen(r#"{"method":"tools/call","params":{"name":"echo""#),
        (method, Some("echo".to_owned()), true)
    );
    assert_eq!(
        seen(r#"{"method":"tools/call","params":{}"#),
        (method, None, true)
    );
    assert_eq!(
        seen(r#"{"method":"tools/call","params":[]"#),
        (method, None, true)
    );
    assert_eq!(
        seen(r#"{"method":"tools/list""#),
        (Some(Method::ToolsList), None, true)
    );
}

#[test]
fn a_glimpse_keeps_a_target_that_came_before_the_method() {
    let early = r#"{"params":{"uri":"file:///x","name":"n"},"method":"resources/re"#;
    assert_eq!(seen(early), (None, None, false));
    let known = (Some(Method::ResourcesRead), Some("file:///x".to_owned()), true);
    assert_eq!(seen(&format!(r#"{early}ad""#)), known);
}

#[test]
fn a_glimpse_at_nothing_yet_waits_for_more() {
    for prefix in [
        "",
        " \n",
        "{",
        r#"{"a":-"#,
        r#"{"a":1."#,
        r#"{"a":1e"#,
        r#"{"a":1e+"#,
        r#"{"a":tr"#,
        r#"{"a":"\u00"#,
        r#"{"\ud83d"#,
        r#"{"\ud83d\"#,
        r#"{"\ud83d\u"#,
    ] {
        assert_eq!(seen(prefix), (None, None, false), "{prefix}");
    }
}

#[test]
fn a_glimpse_expects_nothing_of_batches_mistakes_and_ended_texts() {
    for prefix in [
        "[",
        " [{",
        "nope",
        "{]",
        r#"{"a" 1"#,
        "{}",
        r#"{"id":1,"result":{}}"#,
        r#"{"method":1,"#,
    ] {
        assert_eq!(seen(prefix), (None, None, true), "{prefix}");
    }
}

#[test]
fn a_glimpse_waits_for_a_cut_character_but_not_for_a_wrong_one() {
    assert!(!glimpse(b"{\"a\":\"\xC3").complete);
    assert!(glimpse(b"{\"a\":\"\xC3(").complete);
    assert!(!glimpse(b"\xEF\xBB").complete);
}

#[test]
fn a_glimpse_takes_the_first_of_two() {
    let body = r#"{"id":1,"id":2,"method":"tools/call","method":"ping","params":{"name":"a","name":"b"}}"#;
    assert_eq!(seen(body), (Some(Method::ToolsCall), Some("a".to_owned()), true));
}

#[test]
fn a_glimpse_bears_any_depth() {
    assert_eq!(seen(&r#"{"a":"#.repeat(1_000_000)), (None, None, false));
}

/// JSON that does not matter, and is awkward to skip on purpose.
fn filler() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just(r#""\u00e9\\\"}]{[""#.to_owned()),
        Just("-1.5e+300".to_owned()),
        "\\PC{0,6}".prop_map(|text| serde_json::Value::from(text).to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[ {} ]", items.join(","))),
            prop::collection::vec(inner, 0..3).prop_map(|items| {
                let members: Vec<_> = items.iter().map(|item| format!(r#""name" :{item}"#)).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

/// `"key": value` members in any order.
fn object(members: Vec<(&'static str, String)>) -> impl Strategy<Value = String> {
    Just(members).prop_shuffle().prop_map(|members| {
        let members: Vec<_> = members
            .iter()
            .map(|(key, value)| format!("\"{key}\": {value}"))
            .collect();
        format!("{{{}}}", members.join(" ,\n"))
    })
}

fn quoted_text() -> impl Strategy<Value = String> {
    "\\PC{0,8}|[a-z\"\\\\\n]{0,8}".prop_map(|text| serde_json::Value::from(text).to_string())
}

fn params() -> impl Strategy<Value = String> {
    let members = (
        quoted_text(),
        quoted_text(),
        filler(),
        prop::sample::subsequence(vec![0, 1, 2], 0..=3),
    );
    members.prop_flat_map(|(name, uri, rest, chosen)| {
        let all = [("n\\u0061me", name), ("uri", uri), ("arguments", rest)];
        object(
            all.into_iter()
                .enumerate()
                .filter(|(i, _)| chosen.contains(i))
                .map(|(_, member)| member)
                .collect(),
        )
    })
}

/// A valid request or notification.
fn message() -> impl Strategy<Value = String> {
    let method = prop_oneof![
        prop::sample::select(Method::ALL).prop_map(|method| format!("\"{}\"", method.as_str())),
        Just(r#""tools\/c\u0061ll""#.to_owned()),
        quoted_text(),
    ];
    let id = prop::option::of(prop_oneof![
        quoted_text(),
        any::<u64>().prop_map(|id| id.to_string())
    ]);
    (method, id, prop::option::of(params()), filler()).prop_flat_map(|(method, id, params, rest)| {
        let mut members = vec![("jsonrpc", "\"2.0\"".to_owned()), ("method", method), ("x", rest)];
        members.extend(id.map(|id| ("id", id)));
        members.extend(params.map(|params| ("params", params)));
        object(members)
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = glimpse(&bytes);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(body in message(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..=at, [byte]);
        let _ = read(&bytes);
        let _ = glimpse(&bytes);
    }

    #[test]
    fn what_is_read_is_json(text in "[\\[\\]{}:,\"0-9a-z.\\\\ -]{0,24}") {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(read(text.as_bytes()) == Err(BodyError::Parse), !is_json);
    }

    #[test]
    fn a_valid_message_and_a_batch_of_it_are_read(body in message(), copies in 1_usize..4) {
        let kind = kind(&body);
        prop_assert!(kind.is_some(), "{body}");
        let mut batch = Batch::default();
        (0..copies).for_each(|_| kind.iter().for_each(|kind| batch.add(*kind)));
        let joined = format!("[{}]", vec![body; copies].join(","));
        prop_assert_eq!(read(joined.as_bytes()), Ok(Body::Batch(batch)));
    }

    #[test]
    fn no_glimpse_contradicts_the_whole_message(body in message()) {
        let whole = single(&body);
        let method = whole.as_ref().and_then(|message| message.kind.method());
        let name = whole.and_then(|message| message.target).map(Cow::into_owned);
        let is_response = method.is_none() && glimpse(body.as_bytes()).is_response;
        for end in 0..=body.len() {
            let seen = glimpse(body.as_bytes().get(..end).unwrap_or_default());
            if seen.complete || end == body.len() {
                prop_assert_eq!(&seen, &Glimpse { method, name: name.clone(), is_response, complete: true }, "cut at {}", end);
            }
            prop_assert!(seen.method.is_none() || seen.method == method, "cut at {end}");
            prop_assert!(seen.name.is_none() || seen.name == name, "cut at {end}");
        }
    }
}

#[test]
fn a_glimpse_knows_an_answer_from_a_request_before_its_result_is_complete() {
    assert!(glimpse(br#"{"jsonrpc":"2.0","id":1,"result":{"content":"#).is_response);
    assert!(glimpse(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":""}}"#).is_response);
    assert!(!glimpse(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).is_response);
}

/// Spellings of a member that some server reads as the specification's.
const FOLDED: [&str; 16] = [
    r#""Jsonrpc":"2.0""#,
    r#""ID":1"#,
    r#""Method":"ping""#,
    r#""METHOD":"ping""#,
    r#""\u004dethod":"ping""#,
    r#""Params":{}"#,
    "\"param\u{17F}\":{}",
    r#""param\u017f":{}"#,
    r#""Result":{}"#,
    "\"re\u{17F}ult\":{}",
    r#""Error":{}"#,
    r#""params":{"Name":"danger"}"#,
    r#""params":{"URI":"file:///x"}"#,
    r#""params":{"ProtocolVersion":"2025-06-18"}"#,
    "\"params\":{\"protocolVer\u{17F}ion\":\"2025-06-18\"}",
    r#""params":{"_Meta":{}}"#,
];

#[test]
fn refuses_names_that_some_servers_fold_to_one_that_matters() {
    for member in FOLDED {
        let body = with(&format!(r#""id":1,"method":"ping",{member}"#));
        assert_eq!(read_leniently(&body), Err(BodyError::Invalid), "{body}");
        let batch = format!("[{body}]");
        assert_eq!(read_leniently(&batch), Err(BodyError::Invalid), "{batch}");
    }
    for name in ["Method", "method"] {
        let body = with(&format!(r#""id":1,"{name}":"initialize","result":{{}}"#));
        assert_eq!(read_leniently(&body), Err(BodyError::Invalid), "{body}");
    }
}

#[test]
fn passes_names_that_only_look_like_one_that_matters() {
    for member in [
        r#""methods":1"#,
        r#""method ":1"#,
        "\"m\u{E9}thod\":1",
        r#""\ud83dmethod":1"#,
        r#""Name":1"#,
        r#""params":{"Method":"initialize","arguments":{"Name":"x"},"_meta":{"Name":1}}"#,
    ] {
        let body = with(&format!(r#""id":1,"method":"ping",{member}"#));
        assert_eq!(kind(&body), Some(Kind::Request(Method::Ping)), "{body}");
    }
}

#[test]
fn the_sign_for_kelvin_folds_to_a_letter() {
    use super::spelling::folds_to_any;
    assert!(folds_to_any("to\u{212A}en", &["token"]));
    assert!(!folds_to_any("to\u{212B}en", &["token"]));
}

#[test]
fn passes_a_byte_order_mark_and_nulls_unless_strict() {
    let bodies = [
        format!("\u{FEFF}{}", with(r#""id":1,"method":"ping""#)),
        with(r#""id":1,"method":"ping","params":null"#),
        with(r#""id":null,"method":"ping""#),
    ];
    for body in &bodies {
        let Ok(Body::Single(message)) = read_leniently(body) else {
            panic!("{body}")
        };
        assert_eq!(message.kind, Kind::Request(Method::Ping), "{body}");
        assert!(read(body.as_bytes()).is_err(), "{body}");
    }
    let [.., null] = &bodies;
    assert!(matches!(read_leniently(null), Ok(Body::Single(message)) if message.id.is_none()));
    let batch = format!("\u{FEFF}[{null}]");
    assert!(matches!(read_leniently(&batch), Ok(Body::Batch(batch)) if batch.holds_request));
    assert_eq!(read_leniently("\u{FEFF}\u{FEFF}{}"), Err(BodyError::Parse));
}

#[test]
fn an_initialize_without_an_id_or_with_null_may_open_a_session() {
    for members in [
        r#""method":"initialize""#,
        r#""id":null,"method":"initialize","params":null"#,
        r#""id":1,"method":"initialize""#,
    ] {
        let body = with(members);
        assert!(
            matches!(read_leniently(&body), Ok(Body::Single(message)) if message.kind.may_initialize()),
            "{body}"
        );
    }
    assert!(!Kind::Request(Method::Ping).may_initialize());
    assert!(!Kind::Response.may_initialize());
}

#[test]
fn what_any_server_may_read_as_an_initialize_is_taken_for_nothing_else() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"x":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"initialize"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"initialize"}"#,
        r#"{"jsonrpc":"2.0","id":1,"METHOD":"initialize"}"#,
        r#"{"jsonrpc":"2.0","m\u0065thod":"initi\u0061lize","id":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"method":"initialize"}"#,
        "\u{FEFF}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"initialize"}]"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"Method":"initialize"}]"#,
    ] {
        let initializes = match read_leniently(body) {
            Ok(Body::Single(message)) => message.kind.may_initialize(),
            Ok(Body::Batch(batch)) => batch.holds_initialize,
            Err(_) => true,
        };
        assert!(initializes, "{body}");
    }
    let body = with(r#""id":1,"method":"tools/call","params":{"name":"initialize","method":"initialize"}"#);
    assert_eq!(kind(&body), Some(Kind::Request(Method::ToolsCall)));
}

#[test]
fn a_glimpse_reads_behind_a_byte_order_mark() {
    let method = Some(Method::Ping);
    assert_eq!(seen("\u{FEFF}"), (None, None, false));
    assert_eq!(seen("\u{FEFF}{\"method\":\"ping\""), (method, None, true));
}

#[test]
fn tells_the_message_of_an_error() {
    let cases = [
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"Session not found"}}"#,
            Some("Session not found"),
        ),
        (
            "\u{FEFF} {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"message\":\"a\\u0062\\nc\"}}\n",
            Some("ab\nc"),
        ),
        (
            r#"{"error":{"data":{"message":"no"},"message":""},"jsonrpc":"2.0"}"#,
            Some(""),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"error":{"message":"no"}}}"#,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"message":"no"}}"#,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","error":{"message":"no"}}"#,
            None,
        ),
        (r#"{"jsonrpc":"1.0","error":{"message":"no"}}"#, None),
        (r#"{"error":{"message":"no"}}"#, None),
        (r#"[{"jsonrpc":"2.0","error":{"message":"no"}}]"#, None),
        (
            r#"{"jsonrpc":"2.0","error":{"message":"no"},"error":{"message":"no"}}"#,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","error":{"message":"no","message":"no"}}"#,
            None,
        ),
        (r#"{"jsonrpc":"2.0","Error":{},"error":{"message":"no"}}"#, None),
        (r#"{"jsonrpc":"2.0","error":{"message":1}}"#, None),
        (r#"{"jsonrpc":"2.0","error":"no"}"#, None),
        (r#"{"jsonrpc":"2.0","error":{"message":"no"}} x"#, None),
        (r#"{"jsonrpc":"2.0","error":{"message":"no"}"#, None),
        ("no", None),
        ("", None),
    ];
    for (body, message) in cases {
        assert_eq!(error_message(body.as_bytes()).as_deref(), message, "{body}");
    }
    let deep = format!(
        r#"{{"jsonrpc":"2.0","error":{{"message":"no","data":{}{}}}}}"#,
        "[".repeat(MAX_DEPTH),
        "]".repeat(MAX_DEPTH)
    );
    assert_eq!(error_message(deep.as_bytes()), None);
    assert_eq!(
        error_message(b"{\"jsonrpc\":\"2.0\",\"error\":{\"message\":\"\xff\"}}"),
        None
    );
}
