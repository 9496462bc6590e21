//! Tells an `initialize` that every server takes from one that some server refuses after it has opened a session.

use super::members::Members;
use super::reader;
use super::text::text_of;
use crate::mcp::method::Method;

/// The byte order mark in UTF-8.
const MARK: &[u8] = "\u{FEFF}".as_bytes();

/// Longest run of digits that Python's `int` and the parser of Pydantic read (`sys.get_int_max_str_digits`).
const MAX_DIGITS: usize = 4300;

/// Whether a body begins with a byte order mark. The parser of the official Python SDK 2 refuses it.
pub fn starts_with_mark(body: &[u8]) -> bool {
    body.starts_with(MARK)
}

/// Whether a body that was read as an `initialize` is also one for the strictest official server. Its id is a string
/// or a whole number: a number with a point or an exponent is no id to the official Python SDK, and its message a
/// notification. Its `params` have a `protocolVersion` that is a string. Nowhere is there half of a surrogate pair or
/// a number of more than 4,300 digits, at which that SDK's parsers stop. Time is linear in the length.
pub fn is_plain_initialize(body: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(body) else {
        return false;
    };
    let mut members = Members::default();
    reader::read_message(text, &mut members).is_ok()
        && members.id.is_some_and(is_plain_id)
        && members.protocol_version_of(Method::Initialize).is_some()
        && !has_long_number(text)
        && !has_lone_surrogate(text)
}

/// Whether a token is a string or a whole number without an exponent.
fn is_plain_id(token: &str) -> bool {
    let digits = token.strip_prefix('-').unwrap_or(token);
    text_of(token).is_some() || digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether there are too many digits in a row. A string of so many digits counts, too: no client sends one.
fn has_long_number(json: &str) -> bool {
    let mut runs = json.as_bytes().split(|byte| !byte.is_ascii_digit());
    runs.any(|run| run.len() > MAX_DIGITS)
}

/// Whether a string of a valid JSON text has an escape of one half of a surrogate pair without the other (RFC 8259,
/// section 8.2).
fn has_lone_surrogate(json: &str) -> bool {
    let mut rest = json.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (_, escape) = rest.split_at(at);
        rest = match escape {
            [
                _,
                b'u',
                b'd' | b'D',
                b'8'..=b'9' | b'a'..=b'b' | b'A'..=b'B',
                _,
                _,
                after @ ..,
            ] => match after {
                [
                    b'\\',
                    b'u',
                    b'd' | b'D',
                    b'c'..=b'f' | b'C'..=b'F',
                    _,
                    _,
                    after @ ..,
                ] => after,
                _ => return true,
            },
            [_, b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] => return true,
            [_, _, after @ ..] => after,
            _ => return false,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn initialize(id: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{params}}}"#)
    }

    fn is_plain(id: &str, params: &str) -> bool {
        is_plain_initialize(initialize(id, params).as_bytes())
    }

    const VERSION: &str = r#"{"protocolVersion":"2025-11-25"}"#;

    #[test]
    fn the_id_is_a_string_or_a_whole_number() {
        let (long, longer) = ("1".repeat(4300), "1".repeat(4301));
        for id in [
            "1",
            "-1",
            "0",
            "-0",
            "123456789012345678901234567890",
            &long,
            "\"a\"",
            "\"\"",
            r#""\u00e4""#,
        ] {
            assert!(is_plain(id, VERSION), "{id}");
        }
        for id in [
            "1.5",
            "1.0",
            "1e3",
            "1E3",
            "null",
            "true",
            "[]",
            "{}",
            &longer,
            r#""\ud800""#,
        ] {
            assert!(!is_plain(id, VERSION), "{id}");
        }
    }

    #[test]
    fn the_version_is_a_string() {
        assert!(is_plain("1", r#"{"protocolVersion":"","x":[{}]}"#));
        for params in [
            "{}",
            "null",
            r#"{"protocolVersion":1}"#,
            r#"{"protocolVersion":null}"#,
            r#"{"protocolVersion":{}}"#,
            r#"{"protocolVersion":"\ud800"}"#,
            r#"{"ProtocolVersion":"2025-11-25"}"#,
        ] {
            assert!(!is_plain("1", params), "{params}");
        }
    }

    #[test]
    fn what_stops_a_parser_anywhere_in_the_message_is_not_plain() {
        let with = |value: &str| is_plain("1", &format!(r#"{{"protocolVersion":"a","x":{value}}}"#));
        let digits = "9".repeat(4301);
        for value in [
            &digits,
            &format!("-{digits}"),
            r#""\ud800""#,
            r#""\uDBFFx""#,
            r#""\uDBFF\n""#,
            r#""\uDBFF\u0041""#,
            r#""\uDFFF""#,
            r#""\ude00\ud83d""#,
            r#"{"\ud800":1}"#,
            r#""\\\ud800""#,
            r#""\ud83d\ude00\ude00""#,
        ] {
            assert!(!with(value), "{value}");
        }
        for value in [
            r#""\ud83d\ude00""#,
            r#""\uD83D\uDE00""#,
            r#""\\ud800""#,
            r#""\ud7ff\ue000""#,
            r#""\"""#,
            &"9".repeat(4300),
        ] {
            assert!(with(value), "{value}");
        }
    }

    #[test]
    fn a_body_with_more_than_a_message_is_not_plain() {
        let message = initialize("1", VERSION);
        assert!(is_plain_initialize(format!(" {message}\n").as_bytes()));
        for body in [
            format!("\u{FEFF}{message}"),
            format!("{message}x"),
            format!("[{message}]"),
        ] {
            assert!(!is_plain_initialize(body.as_bytes()), "{body}");
        }
        assert!(!is_plain_initialize(b"\xff"));
    }

    proptest! {
        #[test]
        fn a_surrogate_is_alone_where_serde_json_says_so(text in r#"(\\ud8[0-9]0|\\uD[C-Fc-f]00|\\u0041|\\\\|\\"|a|u|d8){0,8}"#) {
            let token = format!("\"{text}\"");
            let is_read = serde_json::from_str::<String>(&token).is_ok();
            prop_assert_eq!(has_lone_surrogate(&token), !is_read, "{}", token);
        }
    }
}
