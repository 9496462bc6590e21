//! `Mcp-Method` and `Mcp-Name`, in which a request of 2026-07-28 repeats its method and its target (MCP 2026-07-28,
//! `basic/transports/streamable-http` § Standard Request Headers).

use super::occurs::Occurs;
use crate::base64;
use std::borrow::Cow;

/// What stands around the Base64 of a value that is not plain.
const MARKS: (&str, &str) = ("=?base64?", "?=");

impl<T: AsRef<[u8]>> Occurs<T> {
    /// Whether the header states `text`, byte for byte. A value between `=?base64?` and `?=` is compared with the
    /// Base64 of `text`. If `text` is `None`, the header must be absent.
    pub fn states(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (Self::Absent, None) => true,
            (Self::One(value), Some(text)) => stands_for(value.as_ref(), text.as_bytes()),
            (Self::Absent, Some(_)) | (Self::One(_), None) | (Self::Several, _) => false,
        }
    }
}

fn stands_for(value: &[u8], text: &[u8]) -> bool {
    encoded_part(value).map_or(value == text, |encoded| is_base64_of(encoded, text))
}

/// What stands between the marks; `None` if the value stands for itself.
fn encoded_part(value: &[u8]) -> Option<&[u8]> {
    value
        .strip_prefix(MARKS.0.as_bytes())?
        .strip_suffix(MARKS.1.as_bytes())
}

/// The header's value for a text: the text itself, or its Base64 between the marks (§ Value Encoding). Encoded are
/// texts with bytes that are not printable ASCII, with a blank at an end, or with the marks of an encoded value. So
/// Envoy takes every value, each text has one value, and each value has one meaning.
pub fn header_value(text: &str) -> Cow<'_, str> {
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let has_blank_end = text.starts_with(' ') || text.ends_with(' ');
    if is_printable && !has_blank_end && encoded_part(text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned([MARKS.0, &base64::encode(text.as_bytes()), MARKS.1].concat())
}

/// Whether `encoded` is the Base64 of `text` (RFC 4648, section 4), with or without padding. The function encodes the
/// text, rather than decoding the header: each text has one encoding, so there is nothing to refuse or to copy.
fn is_base64_of(encoded: &[u8], text: &[u8]) -> bool {
    let digits = encoded.strip_suffix(b"=").unwrap_or(encoded);
    let digits = digits.strip_suffix(b"=").unwrap_or(digits);
    let is_padded = digits.len() == encoded.len() || encoded.len().is_multiple_of(4);
    let mut groups = text.chunks(3).zip(digits.chunks(4));
    is_padded
        && digits.len() == (4 * text.len()).div_ceil(3)
        && groups.all(|(bytes, digits)| base64::digits_of(bytes).get(..digits.len()) == Some(digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states(value: &str, text: &str) -> bool {
        Occurs::One(value).states(Some(text))
    }

    #[test]
    fn plain_text_states_itself() {
        assert!(states("echo", "echo") && states("", "") && states("file:///a?b", "file:///a?b"));
        for value in ["Echo", "echo ", "ech", "", "=?base64?ZWNobw==", "ZWNobw==?="] {
            assert!(!states(value, "echo"), "{value}");
        }
    }

    #[test]
    fn base64_states_what_it_encodes() {
        // RFC 4648, section 10.
        for (encoded, text) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("SGVsbG8sIOS4lueVjA==", "Hello, 世界"),
            ("Pz8/Pj4+", "???>>>"),
        ] {
            let with = |encoded: &str| states(&format!("=?base64?{encoded}?="), text);
            assert!(with(encoded), "{encoded}");
            assert!(with(encoded.trim_end_matches('=')), "{encoded} without padding");
            assert!(
                !with(&format!("{encoded}A")) && !with(&format!("{encoded}=")),
                "{encoded} and more"
            );
        }
    }

    #[test]
    fn other_encodings_state_nothing() {
        for value in [
            "=?BASE64?Zm9v?=",
            "=?base64?zm9v?=",
            "=?base64?Zm9v ?=",
            "=?base64?Zm9v?= ",
            "=?base64?Zm9w?=",
            "=?base64?",
            "=?base64?=",
        ] {
            assert!(!states(value, "foo"), "{value}");
        }
        assert!(!states("=?base64?Zh==?=", "f"), "bits that nothing needs are set");
        assert!(!states("=?base64?Pz8_Pj4-?=", "???>>>"), "the alphabet for URLs");
    }

    #[test]
    fn what_is_missing_is_stated_by_no_header() {
        assert!(Occurs::<&str>::Absent.states(None));
        assert!(!Occurs::<&str>::Absent.states(Some("")));
        assert!(!Occurs::One("").states(None));
    }

    #[test]
    fn a_header_that_comes_twice_states_nothing() {
        let twice = Occurs::Absent.and("a").and("a");
        assert!(!twice.states(Some("a")) && !twice.states(None) && twice.one().is_none());
    }

    #[test]
    fn plain_text_is_its_own_value() {
        for text in [
            "echo",
            "",
            "two words",
            "file:///a?b=c",
            "=?base64?",
            "=?base64?x",
            "x?=",
            "=?utf-8?q?x?=",
            "~",
        ] {
            assert_eq!(header_value(text), text);
        }
    }

    #[test]
    fn what_is_not_plain_is_encoded() {
        // The specification's own examples, and what Envoy refuses in a header or passes with blanks.
        for (text, value) in [
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            (" ", "=?base64?IA==?="),
            ("a ", "=?base64?YSA=?="),
            ("a\tb", "=?base64?YQli?="),
            ("\0", "=?base64?AA==?="),
            ("\u{7f}", "=?base64?fw==?="),
            ("=?base64??=", "=?base64?PT9iYXNlNjQ/Pz0=?="),
        ] {
            assert_eq!(header_value(text), value);
        }
    }

    proptest! {
        #[test]
        fn one_text_is_stated_by_its_own_base64_alone(text in ".{0,12}", other in ".{0,12}") {
            let value = format!("=?base64?{}?=", base64::encode(text.as_bytes()));
            prop_assert!(Occurs::One(&value).states(Some(&text)));
            prop_assert_eq!(Occurs::One(&value).states(Some(&other)), text == other);
        }

        #[test]
        fn every_text_has_a_value_that_envoy_takes_and_that_states_it_alone(text in any::<String>(), other in ".{0,12}") {
            let value = header_value(&text);
            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", value);
            prop_assert_eq!(value.trim(), value.as_ref());
            prop_assert!(states(&value, &text));
            prop_assert_eq!(states(&value, &other), text == other);
        }

        #[test]
        fn any_bytes_can_be_compared(value in prop::collection::vec(any::<u8>(), 0..40), text in ".{0,12}") {
            let _ = Occurs::One(value).states(Some(&text));
        }
    }
}
