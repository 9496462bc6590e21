//! The configuration as operators meet it: what the filter accepts, its words for what it refuses, and the schema for
//! editors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::time::Duration;

use mcp_session_filter::config::{Config, ConfigError, FilterState, LogSessionId, Mistake};
use mcp_session_filter::endpoint::Endpoint;
use proptest::prelude::*;
use prost::Message;
use prost_types::value::Kind;
use serde_json::{Value, json};

fn parse(config: &Value) -> Result<Config, ConfigError> {
    Config::parse(config.to_string().as_bytes())
}

fn mistakes(text: &str) -> Vec<String> {
    let refused = Config::parse(text.as_bytes()).expect_err(text);
    refused.mistakes().iter().map(Mistake::to_string).collect()
}

/// A configuration whose only endpoint has these further fields.
fn endpoint_with(fields: &str) -> String {
    format!(r#"{{"endpoints": [{{"name": "mcp", "path": "/mcp", {fields}}}]}}"#)
}

/// The bytes that Envoy makes of a configuration written as a Struct.
fn struct_bytes(config: &Value) -> Vec<u8> {
    match to_proto(config).kind {
        Some(Kind::StructValue(value)) => value.encode_to_vec(),
        other => panic!("not an object: {other:?}"),
    }
}

fn to_proto(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(prost_types::ListValue {
            values: list.iter().map(to_proto).collect(),
        }),
        Value::Object(object) => Kind::StructValue(prost_types::Struct {
            fields: object
                .iter()
                .map(|(name, value)| (name.clone(), to_proto(value)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

fn busy_config() -> Value {
    json!({
        "max_sessions": 500,
        "sweep_interval": "100ms",
        "log_session_id": "plain",
        "filter_state": ["mcp.session.id", "wasm.mcp.outcome"],
        "endpoints": [
            {"name": "files", "path": "/files/*", "max_sessions": 500, "idle_timeout": "0s", "max_lifetime": "0s"},
            {"name": "tools_2", "path": "/mcp", "authority": "Tools.Example", "idle_timeout": "1.5h",
             "max_lifetime": "720h", "initialize_timeout": "1s", "unknown_session": "reject", "on_full": "reject",
             "capacity_status": 503, "retry_after": "1h", "admission": "body", "max_request_bytes": 16777216,
             "transport": "streamable_http"},
        ],
    })
}

#[test]
fn an_empty_configuration_is_all_defaults() {
    for bytes in [&b""[..], b" \n", b"{}"] {
        let config = Config::parse(bytes).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.endpoint_for(b"any.host:8080", b"/mcp?x=1"), Some(0));
        assert_eq!(config.endpoint_for(b"any.host:8080", b"/other"), None);
    }
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = Config::default();
    assert_eq!(
        (config.max_sessions, config.sweep_interval),
        (None, Duration::from_secs(1))
    );
    let Endpoint {
        name,
        path,
        max_sessions,
        idle_timeout,
        max_lifetime,
        initialize_timeout,
        ..
    } = &*config.endpoints[0];
    assert_eq!(
        (name.as_str(), path.as_str(), *max_sessions),
        ("mcp", "/mcp", 10_000)
    );
    assert_eq!(
        (*idle_timeout, *max_lifetime),
        (
            Some(Duration::from_secs(1_800)),
            Some(Duration::from_secs(86_400))
        )
    );
    assert_eq!(*initialize_timeout, Duration::from_secs(60));
}

#[test]
fn an_endpoint_has_the_top_levels_cap_unless_it_says_less() {
    for text in [
        r#"{"max_sessions": 7}"#,
        r#"{"max_sessions": 7, "endpoints": [{"name": "a", "path": "/a"}]}"#,
    ] {
        assert_eq!(
            Config::parse(text.as_bytes()).unwrap().endpoints[0].max_sessions,
            7
        );
    }
}

#[test]
fn limits_are_compared_only_where_both_were_written() {
    for fields in [
        r#""max_sessions": 20000"#,
        r#""idle_timeout": "48h""#,
        r#""max_lifetime": "1m""#,
    ] {
        assert!(
            Config::parse(endpoint_with(fields).as_bytes()).is_ok(),
            "{fields}"
        );
    }
}

#[test]
fn reads_what_was_written() {
    let config = parse(&busy_config()).unwrap();
    assert_eq!(config.log_session_id, LogSessionId::Plain);
    let FilterState {
        session_id,
        method_name,
        tool_name,
        protocol_version,
        endpoint,
        outcome,
    } = config.filter_state;
    assert!(session_id && outcome && !(method_name || tool_name || protocol_version || endpoint));
    assert_eq!(config.endpoints[0].idle_timeout, None);
    assert_eq!(config.endpoints[1].idle_timeout, Some(Duration::from_secs(5_400)));
    assert_eq!(config.endpoint_for(b"tools.example:80", b"/mcp"), Some(1));
    assert_eq!(config.endpoint_for(b"tools.example:80", b"/files/a"), Some(0));
    assert_eq!(config.endpoint_for(b"other.example", b"/mcp"), None);
}

#[test]
fn a_struct_reads_as_its_json_does() {
    let config = busy_config();
    assert_eq!(Config::parse(&struct_bytes(&config)), parse(&config));
    let wrong = json!({"max_sessions": 1.5, "endpoints": [{"name": null, "paht": "/mcp"}]});
    let words = |refused: Result<Config, ConfigError>| {
        let mut words: Vec<_> = refused
            .unwrap_err()
            .mistakes()
            .iter()
            .map(Mistake::to_string)
            .collect();
        words.sort();
        words
    };
    assert_eq!(words(Config::parse(&struct_bytes(&wrong))), words(parse(&wrong)));
}

#[test]
fn all_mistakes_come_in_one_message() {
    let text = r#"{
        "max_session": 5,
        "sweep_interval": "2m",
        "endpoints": [
            {"name": "a", "path": "/mcp"},
            {"name": "a", "path": "/mcp", "idle_timeout": "0.5s"}
        ]
    }"#;
    assert_eq!(
        Config::parse(text.as_bytes()).unwrap_err().to_string(),
        r#"invalid configuration: 5 mistakes
  - endpoints[1].name: must differ from endpoints[0].name, got "a"
  - endpoints[1].path: overlaps endpoints[0].path
  - endpoints[1].idle_timeout: must be at least 1s, got "0.5s"
  - sweep_interval: must be at most 1m, got "2m"
  - max_session: unknown field, did you mean "max_sessions"?"#
    );
}

#[test]
fn says_what_is_wrong_with_the_whole() {
    let cases = [
        ("[]", "must be an object, got a list"),
        ("null", "must be an object, got null"),
        (
            "max_sessions: 5",
            "must be JSON or a Struct: expected value at line 1 column 1",
        ),
        (
            "{\n \"max_sessions\": 5",
            "must be JSON or a Struct: EOF while parsing an object at line 2 column 18",
        ),
        (
            "{} {}",
            "must be JSON or a Struct: trailing characters at line 1 column 4",
        ),
        (
            r#"{"endpoints": []}"#,
            "endpoints: must have 1 to 64 entries, got 0",
        ),
        (r#"{"endpoints": {}}"#, "endpoints: must be a list, got an object"),
        (
            r#"{"endpoints": ["/mcp"]}"#,
            "endpoints[0]: must be an object, got a string",
        ),
        (
            r#"{"endpoints": [{"path": "/mcp"}]}"#,
            "endpoints[0].name: required",
        ),
        (
            r#"{"endpoints": [{"name": "mcp"}]}"#,
            "endpoints[0].path: required",
        ),
    ];
    for (text, mistake) in cases {
        assert_eq!(mistakes(text), [mistake], "{text}");
    }
}

#[test]
fn says_what_is_wrong_with_a_top_level_field() {
    let sessions = "max_sessions: must be a whole number from 1 to 1000000, got";
    let cases = [
        (r#""max_sessions": "many""#, format!(r#"{sessions} "many""#)),
        (r#""max_sessions": 0"#, format!("{sessions} 0")),
        (r#""max_sessions": -1"#, format!("{sessions} -1")),
        (r#""max_sessions": 1.5"#, format!("{sessions} 1.5")),
        (r#""max_sessions": 1000001"#, format!("{sessions} 1000001")),
        (r#""max_sessions": 4294967297"#, format!("{sessions} 4294967297")),
        (r#""max_sessions": 1e300"#, format!("{sessions} a huge number")),
        (r#""max_sessions": true"#, format!("{sessions} true")),
        (r#""max_sessions": null"#, format!("{sessions} null")),
        (r#""max_sessions": [1]"#, format!("{sessions} a list")),
        (
            r#""max_sessions": 1, "max_sessions": 1"#,
            "max_sessions: written twice".to_owned(),
        ),
        (
            r#""sweep_interval": "99ms""#,
            r#"sweep_interval: must be at least 100ms, got "99ms""#.to_owned(),
        ),
        (
            r#""sweep_interval": "0s""#,
            r#"sweep_interval: must be at least 100ms, got "0s""#.to_owned(),
        ),
        (
            r#""sweep_interval": 1"#,
            r#"sweep_interval: must be a duration in ms, s, m or h, such as "30s", got 1"#.to_owned(),
        ),
        (
            r#""log_session_id": "sha""#,
            r#"log_session_id: must be "hash", "plain" or "off", got "sha""#.to_owned(),
        ),
        (
            r#""filter_state": ["mcp.endpoint", "endpoint"]"#,
            concat!(
                r#"filter_state[1]: must be "mcp.session.id", "mcp.method.name", "gen_ai.tool.name", "#,
                r#""mcp.protocol.version", "mcp.endpoint" or "mcp.outcome", got "endpoint""#
            )
            .to_owned(),
        ),
        (
            r#""colour": "red""#,
            concat!(
                r#"colour: unknown field, must be "max_sessions", "endpoints", "sweep_interval", "#,
                r#""log_session_id", "filter_state", "status" or "fleet""#
            )
            .to_owned(),
        ),
        (
            r#""status": {"path": "/s", "paths": 1}"#,
            r#"status.paths: unknown field, did you mean "path"?"#.to_owned(),
        ),
    ];
    for (field, mistake) in cases {
        assert_eq!(mistakes(&format!("{{{field}}}")), [mistake], "{field}");
    }
}

#[test]
fn says_what_is_wrong_with_an_endpoints_field() {
    let duration = r#"must be a duration in ms, s, m or h, such as "30s", got"#;
    let host = "must be an exact host without scheme, port and path (an IPv6 address in brackets), got";
    let cases = [
        (
            r#""authority": "a.example:80""#,
            format!(r#"authority: {host} "a.example:80""#),
        ),
        (
            r#""authority": "https://a.example""#,
            format!(r#"authority: {host} "https://a.example""#),
        ),
        (
            r#""authority": "*.example""#,
            format!(r#"authority: {host} "*.example""#),
        ),
        (
            r#""authority": 1"#,
            "authority: must be a string, got 1".to_owned(),
        ),
        (
            r#""idle_timeout": "30""#,
            format!(r#"idle_timeout: {duration} "30""#),
        ),
        (
            r#""idle_timeout": "1d""#,
            format!(r#"idle_timeout: {duration} "1d""#),
        ),
        (r#""idle_timeout": 30"#, format!("idle_timeout: {duration} 30")),
        (
            r#""max_lifetime": "721h""#,
            r#"max_lifetime: must be at most 720h, got "721h""#.to_owned(),
        ),
        (
            r#""initialize_timeout": "0s""#,
            r#"initialize_timeout: must be at least 1s, got "0s""#.to_owned(),
        ),
        (
            r#""retry_after": "61m""#,
            r#"retry_after: must be at most 1h, got "61m""#.to_owned(),
        ),
        (
            r#""idle_timeout": "2h", "max_lifetime": "1h""#,
            r#"idle_timeout: must be at most the max_lifetime of 1h, got "2h""#.to_owned(),
        ),
        (
            r#""unknown_session": "drop""#,
            r#"unknown_session: must be "adopt" or "reject", got "drop""#.to_owned(),
        ),
        (
            r#""admission": true"#,
            r#"admission: must be "headers" or "body", got true"#.to_owned(),
        ),
        (
            r#""capacity_status": 500"#,
            "capacity_status: must be 429 or 503, got 500".to_owned(),
        ),
        (
            r#""capacity_status": "429""#,
            r#"capacity_status: must be 429 or 503, got "429""#.to_owned(),
        ),
        (
            r#""max_request_bytes": 1023"#,
            "max_request_bytes: must be a whole number from 1024 to 16777216, got 1023".to_owned(),
        ),
        (
            r#""idleTimeout": "1h""#,
            r#"idleTimeout: unknown field, did you mean "idle_timeout"?"#.to_owned(),
        ),
    ];
    for (fields, mistake) in cases {
        assert_eq!(
            mistakes(&endpoint_with(fields)),
            [format!("endpoints[0].{mistake}")],
            "{fields}"
        );
    }
}

#[test]
fn says_what_is_wrong_with_a_name_or_a_path() {
    let cases = [
        (
            json!({"name": "My MCP", "path": "/"}),
            r#"name: must be 1 to 32 characters of a-z, 0-9 and _, got "My MCP""#,
        ),
        (
            json!({"name": "a", "path": "mcp"}),
            r#"path: must begin with "/", got "mcp""#,
        ),
        (
            json!({"name": "a", "path": "/m*"}),
            r#"path: must have "*" nowhere but in a trailing "/*", got "/m*""#,
        ),
        (
            json!({"name": "a", "path": "/m?x=1"}),
            r#"path: must be a path without query and fragment, got "/m?x=1""#,
        ),
        (
            json!({"name": "a", "path": "/m c"}),
            r#"path: must hold visible ASCII characters only, got "/m c""#,
        ),
    ];
    for (endpoint, mistake) in cases {
        let text = json!({"endpoints": [endpoint]}).to_string();
        assert_eq!(mistakes(&text), [format!("endpoints[0].{mistake}")], "{text}");
    }
}

#[test]
fn an_endpoints_cap_fits_under_the_written_top_levels() {
    let text = r#"{"max_sessions": 10, "endpoints": [{"name": "a", "path": "/a", "max_sessions": 11}]}"#;
    assert_eq!(
        mistakes(text),
        ["endpoints[0].max_sessions: must be at most the top level's max_sessions of 10, got 11"]
    );
}

#[test]
fn endpoints_overlap_only_within_one_authority() {
    let two = |a: Value, b: Value| json!({"endpoints": [a, b]}).to_string();
    let at =
        |name: &str, path: &str, authority: &str| json!({"name": name, "path": path, "authority": authority});
    let any = |name: &str, path: &str| json!({"name": name, "path": path});
    let overlap = ["endpoints[1].path: overlaps endpoints[0].path"];
    for (a, b) in [("/mcp/*", "/mcp/b/*"), ("/mcp", "/MCP/"), ("/mcp", "/mcp;v=1")] {
        assert_eq!(mistakes(&two(any("a", a), any("b", b))), overlap, "{a} {b}");
    }
    assert_eq!(
        mistakes(&two(at("a", "/mcp", "x.example"), at("b", "/mcp", "X.EXAMPLE"))),
        overlap
    );
    for apart in [
        two(at("a", "/mcp", "x.example"), at("b", "/mcp", "y.example")),
        two(at("a", "/mcp", "x.example"), any("b", "/mcp")),
        two(any("a", "/mcp"), any("b", "/mcp/*")),
        two(any("a", "/mcp/*"), any("b", "/mcp/b")),
    ] {
        assert!(Config::parse(apart.as_bytes()).is_ok(), "{apart}");
    }
}

#[test]
fn the_paths_of_http_sse_overlap_unless_they_are_the_same() {
    let with = |path: &str, message_path: &str| json!({"endpoints": [{"name": "a", "path": path, "transport": "http_sse", "message_path": message_path}]});
    assert_eq!(
        mistakes(&with("/s/*", "/s/m/*").to_string()),
        ["endpoints[0].message_path: overlaps endpoints[0].path"]
    );
    for (path, message_path) in [("/s", "/S/"), ("/s/*", "/s/*"), ("/s/*", "/s/m")] {
        assert!(parse(&with(path, message_path)).is_ok(), "{path} {message_path}");
    }
}

#[test]
fn says_what_is_old_or_has_no_effect() {
    let text = json!({
        "filter_state": ["mcp.endpoint", "wasm.mcp.tool.name"],
        "endpoints": [{"name": "a", "path": "/a", "evict_after": "10s"}],
    });
    let config = parse(&text).unwrap();
    assert!(config.filter_state.tool_name);
    assert_eq!(
        config.warnings,
        [
            "endpoints[0].evict_after: has no effect without on_full \"evict_idle\"",
            "filter_state[1]: \"mcp.tool.name\" is the old name of \"gen_ai.tool.name\"; the filter leaves the new one only",
        ]
    );
}

#[test]
fn says_once_where_one_of_two_lines_is_missing() {
    let warnings = |fields: &str| {
        let config = Config::parse(endpoint_with(fields).as_bytes()).unwrap();
        config.warnings
    };
    assert_eq!(
        warnings(r#""sessionless": "reject""#),
        [
            "endpoints[0].sessionless: servers that keep sessions need both lines, and modern \"reject\" is missing"
        ]
    );
    assert_eq!(
        warnings(r#""sessionless": "pass", "modern": "reject""#),
        [
            "endpoints[0].modern: servers that keep sessions need both lines, and sessionless \"reject\" is missing"
        ]
    );
    for fields in [
        r#""sessionless": "reject", "modern": "reject""#,
        r#""sessionless": "pass", "modern": "pass""#,
        r#""modern": "reject", "transport": "http_sse", "message_path": "/m""#,
    ] {
        assert!(warnings(fields).is_empty(), "{fields}");
    }
}

#[test]
fn up_to_64_endpoints() {
    let endpoints = |count: usize| {
        let list: Vec<_> = (0..count)
            .map(|i| json!({"name": format!("e{i}"), "path": format!("/{i}")}))
            .collect();
        json!({"endpoints": list})
    };
    assert_eq!(
        parse(&endpoints(64)).unwrap().endpoint_for(b"a", b"/63"),
        Some(63)
    );
    assert_eq!(
        mistakes(&endpoints(65).to_string()),
        ["endpoints: must have 1 to 64 entries, got 65"]
    );
}

#[test]
fn what_a_message_repeats_is_short_and_on_one_line() {
    let long = "x\n".repeat(10_000);
    let text = json!({"log_session_id": long, (long.clone()): 1}).to_string();
    let message = Config::parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 3);
    assert!(message.len() < 600, "{message}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_fail_otherwise_than_with_words(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        if let Err(refused) = Config::parse(&bytes) {
            prop_assert!(!refused.mistakes().is_empty());
        }
    }

    #[test]
    fn a_damaged_struct_is_refused_or_read(at in 0_usize..200, byte: u8) {
        let mut bytes = struct_bytes(&busy_config());
        if let Some(hit) = bytes.get_mut(at) {
            *hit = byte;
        }
        let _ = Config::parse(&bytes);
    }
}

mod schema {
    use super::*;

    fn schema() -> Value {
        serde_json::from_str(include_str!("../envoy/config.schema.json")).unwrap()
    }

    fn endpoint_properties() -> Vec<String> {
        schema()["$defs"]["endpoint"]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    /// The names in quotation marks that the error at an unknown field lists.
    fn fields_the_parser_knows(text: &str) -> Vec<String> {
        let answer = mistakes(text)
            .into_iter()
            .find(|mistake| mistake.contains("unknown field, must be"))
            .unwrap();
        answer.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn accepts_and_refuses_what_the_parser_does() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let endpoint = |field: &str, value: Value| {
            let mut endpoint = json!({"name": "mcp", "path": "/mcp"});
            endpoint[field] = value;
            json!({"endpoints": [endpoint]})
        };
        let mut cases = vec![
            json!({}),
            json!([]),
            busy_config(),
            json!({"endpoints": [{"name": "a"}]}),
            json!({"a": 1}),
        ];
        for value in [
            json!(0),
            json!(1),
            json!(1.5),
            json!(100.0),
            json!(1_000_000),
            json!(1_000_001),
            json!("1"),
        ] {
            cases.extend([
                json!({"max_sessions": value}),
                endpoint("max_sessions", value.clone()),
                endpoint("max_streams", value.clone()),
            ]);
            cases.push(endpoint("max_request_bytes", value));
        }
        for text in [
            "/", "/*", "/a", "/a/*", "/a*", "/a/*/b", "/**", "a", "*", "", "/a?b", "/a#b", "/a b", "/é",
            "/~\"!",
        ] {
            cases.push(endpoint("path", json!(text)));
        }
        for text in [
            "a",
            "A-b.example",
            "[::1]",
            "::1",
            "a:1",
            "",
            "a.",
            ".",
            "..",
            "a..",
            "a/b",
            "*.a",
            "[]",
            "[a",
            "é",
        ] {
            cases.push(endpoint("authority", json!(text)));
        }
        for text in [
            "1s", "1.5s", "1.0001s", "1d", "1", "s", "", "1 s", "-1s", "+1s", "0s", "1m30s",
        ] {
            cases.push(endpoint("idle_timeout", json!(text)));
            cases.push(endpoint("evict_after", json!(text)));
            cases.push(endpoint("max_stream_lifetime", json!(text)));
        }
        for text in ["/", "/a?b", "/a;b", "", "a", "/a#b", "/a b", "/é", "http://a/"] {
            let upstream = json!({"cluster": "a", "authority": "a", "path": text});
            cases.push(endpoint("terminate_upstream", upstream));
        }
        for list in [
            json!([]),
            json!({}),
            json!([{"status": 400, "contains": "a"}]),
            json!([{"status": 200.0, "contains": "\"é\""}]),
            json!([{"status": 199, "contains": "a"}]),
            json!([{"status": 599, "contains": "x".repeat(256)}]),
            json!([{"status": 600, "contains": "a"}]),
            json!([{"status": 400, "contains": "x".repeat(257)}]),
            json!([{"status": 400, "contains": ""}]),
            json!([{"status": 400}]),
            json!([{"contains": "a"}]),
            json!([{"status": 400, "contains": "a", "body": "b"}]),
            Value::Array(vec![json!({"status": 400, "contains": "a"}); 8]),
            Value::Array(vec![json!({"status": 400, "contains": "a"}); 9]),
        ] {
            for fields in [
                json!({"admission": "body"}),
                json!({}),
                json!({"admission": "body", "transport": "http_sse", "message_path": "/m"}),
            ] {
                let mut case = endpoint("lost_session", list.clone());
                let endpoint = case["endpoints"][0].as_object_mut().unwrap();
                endpoint.extend(fields.as_object().unwrap().clone());
                cases.push(case);
            }
        }
        for text in ["mcp", "Mcp", "", "a_1", "a.b", &"x".repeat(32), &"x".repeat(33)] {
            cases.push(endpoint("name", json!(text)));
        }
        for field in [
            "transport",
            "sessionless",
            "modern",
            "on_full",
            "unknown_session",
            "admission",
            "capacity_status",
            "principal",
            "status",
        ] {
            for value in [
                "streamable_http",
                "http_sse",
                "pass",
                "reject",
                "evict_idle",
                "adopt",
                "headers",
                "body",
                "429",
            ] {
                cases.push(endpoint(field, json!(value)));
            }
        }
        for field in [
            json!({"max_streams": 1}),
            json!({"max_stream_lifetime": "1m"}),
            json!({}),
        ] {
            let mut sse = endpoint("message_path", json!("/m"));
            sse["endpoints"][0]["transport"] = json!("http_sse");
            sse["endpoints"][0]
                .as_object_mut()
                .unwrap()
                .extend(field.as_object().unwrap().clone());
            cases.push(sse);
        }
        cases.extend([429, 503, 500].map(|status| endpoint("capacity_status", json!(status))));
        cases.extend(
            [
                "mcp.endpoint",
                "wasm.mcp.outcome",
                "outcome",
                "mcp.tool.name",
                "wasm.gen_ai.tool.name",
            ]
            .map(|name| json!({"filter_state": [name]})),
        );
        cases.extend(["hash", "off", "none"].map(|how| json!({"log_session_id": how})));
        for text in [
            "/", "/s", "/S;a/", "/s/*", "/*", "", "s", "/s?a", "/s#a", "/s t", "/é",
        ] {
            cases.push(json!({"status": {"path": text}}));
        }
        for status in [
            json!({}),
            json!({"path": 1}),
            json!("/s"),
            json!({"path": "/s", "port": 1}),
        ] {
            cases.push(json!({"status": status}));
        }
        for (field, value) in [
            ("max_sessions", json!(0)),
            ("max_sessions", json!(100_000_000)),
            ("max_sessions", json!(100_000_001)),
            ("name", json!("a.b_c-1")),
            ("name", json!("A")),
            ("name", json!("")),
            ("name", json!("x".repeat(64))),
            ("name", json!("x".repeat(65))),
            ("cluster", json!("")),
            ("cluster", json!("a b")),
            ("cluster", json!("[::1]:2379")),
            ("cluster", json!("outbound|2379||etcd")),
            ("authority", json!("etcd:2379")),
            ("authority", json!("a/b")),
            ("lease", json!("10s")),
            ("lease", json!(10)),
            ("when_lost", json!("refuse")),
            ("when_lost", json!("adopt")),
            ("headers", json!({"authorization": "a"})),
            ("headers", json!([])),
            ("colour", json!(1)),
        ] {
            for authority in [json!({}), json!({"authority": "etcd"})] {
                let mut fleet = json!({"cluster": "etcd", "name": "mcp", "max_sessions": 5});
                let object = fleet.as_object_mut().unwrap();
                object.extend(authority.as_object().unwrap().clone());
                fleet[field] = value.clone();
                cases.push(json!({"fleet": fleet}));
            }
        }
        cases.extend(["cluster", "name", "max_sessions"].map(|missing| {
            let mut fleet = json!({"cluster": "etcd", "name": "mcp", "max_sessions": 5});
            fleet.as_object_mut().unwrap().remove(missing);
            json!({"fleet": fleet})
        }));
        for fields in [
            json!({"transport": "http_sse", "message_path": "/messages/*"}),
            json!({"transport": "http_sse", "message_path": "messages"}),
            json!({"transport": "http_sse"}),
            json!({"transport": "streamable_http", "message_path": "/messages"}),
            json!({"message_path": "/messages"}),
            json!({"transport": "http_sse", "message_path": "/messages", "sessionless": "pass"}),
            json!({"transport": "http_sse", "message_path": "/messages", "sessionless": "reject"}),
            json!({"transport": "http_sse", "message_path": "/messages", "modern": "reject"}),
            json!({"transport": "streamable_http", "sessionless": "reject", "modern": "reject"}),
            json!({"strict_json_rpc": true}),
            json!({"strict_json_rpc": false}),
            json!({"strict_json_rpc": true, "admission": "headers"}),
            json!({"strict_json_rpc": true, "admission": "body"}),
            json!({"method_headers": true}),
            json!({"method_headers": false}),
            json!({"method_headers": "on"}),
            json!({"method_headers": true, "admission": "body"}),
            json!({"method_headers": true, "admission": "body", "strict_json_rpc": false}),
            json!({"method_headers": true, "admission": "body", "strict_json_rpc": true}),
            json!({"method_headers": true, "strict_json_rpc": true}),
            json!({"verify_headers": false}),
            json!({"verify_headers": "off"}),
        ] {
            let mut case = json!({"endpoints": [{"name": "mcp", "path": "/mcp"}]});
            let endpoint = case["endpoints"][0].as_object_mut().unwrap();
            endpoint.extend(fields.as_object().unwrap().clone());
            cases.push(case);
        }
        for case in cases {
            assert_eq!(
                validator.is_valid(&case),
                parse(&case).is_ok(),
                "{case}: {:?}",
                parse(&case)
            );
        }
    }

    #[test]
    fn its_defaults_are_the_parsers() {
        let defaults = |properties: &Value| -> Value {
            let properties = properties.as_object().unwrap().iter();
            properties
                .filter_map(|(name, field)| Some((name.clone(), field.get("default")?.clone())))
                .collect()
        };
        let schema = schema();
        let mut endpoint = defaults(&schema["$defs"]["endpoint"]["properties"]);
        endpoint["name"] = json!("mcp");
        endpoint["path"] = json!("/mcp");
        let mut config = defaults(&schema["properties"]);
        let written = Config {
            max_sessions: Some(Config::default().vm_cap()),
            ..Config::default()
        };
        assert_eq!(parse(&config), Ok(written.clone()));
        config["endpoints"] = json!([endpoint]);
        assert_eq!(parse(&config), Ok(written));
    }

    #[test]
    fn describes_every_field() {
        let schema = schema();
        for properties in [&schema["properties"], &schema["$defs"]["endpoint"]["properties"]] {
            for (name, field) in properties.as_object().unwrap() {
                assert!(field["description"].is_string(), "{name}");
            }
        }
    }

    #[test]
    fn holds_every_field_that_is_supported_and_no_other() {
        let known = fields_the_parser_knows(&endpoint_with(r#""colour": 1"#));
        for field in endpoint_properties() {
            assert!(known.contains(&field), "{field}");
        }
        for field in known
            .iter()
            .filter(|field| !endpoint_properties().contains(field))
        {
            let refused = mistakes(&endpoint_with(&format!(r#""{field}": null"#)));
            assert!(
                refused.contains(&format!("endpoints[0].{field}: not supported in this version")),
                "{field}"
            );
        }
    }
}
