//! Finds the session id in the query of a URI, where HTTP+SSE puts it.
//!
//! Each SDK has its own name for the parameter: `sessionId`, `session_id`, `sessionid`. Names are compared without
//! regard to case, as some servers do. Names and values may be percent-encoded (RFC 3986, section 2.1).

use super::occurs::Occurs;
use std::borrow::Cow;

/// The session id in the query of a URI or of a `:path`, decoded. The caller must check that it is a valid id.
pub fn session_id(uri: &[u8]) -> Occurs<Cow<'_, [u8]>> {
    let mut found = Occurs::Absent;
    for (name, value) in parameters(uri) {
        if is_session_id(&decoded(name)) {
            found = found.and(decoded(value));
        }
    }
    found
}

/// Names and values of the query, as written.
fn parameters(uri: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let without_fragment = uri.split(|byte| *byte == b'#').next().unwrap_or_default();
    let query = without_fragment.splitn(2, |byte| *byte == b'?').nth(1);
    let pairs = query.unwrap_or_default().split(|byte| *byte == b'&');
    pairs.map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default();
        (name, halves.next().unwrap_or_default())
    })
}

fn is_session_id(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"sessionid") || name.eq_ignore_ascii_case(b"session_id")
}

/// Decodes percent-encoding. A `%` without two hex digits stands for itself.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let encoded = match rest {
            [b'%', high, low, after @ ..] => encoded_byte(*high, *low).map(|byte| (byte, after)),
            _ => None,
        };
        let (byte, left) = encoded.unwrap_or((*first, after));
        bytes.push(byte);
        rest = left;
    }
    Cow::Owned(bytes)
}

fn encoded_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |letter: u8| char::from(letter).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(uri: &str) -> Option<String> {
        match session_id(uri.as_bytes()) {
            Occurs::One(id) => Some(String::from_utf8_lossy(&id).into_owned()),
            Occurs::Absent | Occurs::Several => None,
        }
    }

    #[test]
    fn finds_the_id_under_every_name() {
        for uri in [
            "/message?sessionId=a-1",
            "/messages/?session_id=a-1",
            "?sessionid=a-1",
            "https://host:80/x/y?SessionID=a-1",
            "/m?x=1&sessionId=a-1&y=2",
            "/m?session%49d=a-1",
            "/m?sessionId=a%2d1",
            "/m?sessionId=a%2D1#sessionId=b",
            "/m?&&sessionId=a-1&",
        ] {
            assert_eq!(one(uri).as_deref(), Some("a-1"), "{uri}");
        }
    }

    #[test]
    fn other_parameters_are_no_id() {
        for uri in [
            "",
            "/m",
            "/m?",
            "/sessionId=a",
            "/m?session=a",
            "/m?xsessionId=a",
            "/m?sessionId2=a",
            "/m?x=sessionId=a",
            "/m#?sessionId=a",
        ] {
            assert_eq!(session_id(uri.as_bytes()), Occurs::Absent, "{uri}");
        }
    }

    #[test]
    fn two_are_several_even_when_they_are_equal() {
        for uri in [
            "?sessionId=a&sessionId=a",
            "?sessionId=a&session_id=b",
            "?sessionid=&SESSIONID",
        ] {
            assert_eq!(session_id(uri.as_bytes()), Occurs::Several, "{uri}");
        }
    }

    #[test]
    fn values_are_taken_as_they_are_but_for_percent_encoding() {
        for (written, read) in [
            ("a+b/c==", "a+b/c=="),
            ("a=b", "a=b"),
            ("", ""),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%+1", "%+1"),
            ("%2541", "%41"),
            ("?", "?"),
        ] {
            assert_eq!(
                one(&format!("/m?sessionId={written}")).as_deref(),
                Some(read),
                "{written}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            let uri = format!("/m?sessionId={encoded}");
            prop_assert_eq!(session_id(uri.as_bytes()), Occurs::One(Cow::from(&bytes)));
        }

        #[test]
        fn no_bytes_are_read_as_more_than_there_are(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Occurs::One(id) = session_id(&bytes) {
                prop_assert!(id.len() <= bytes.len());
            }
        }
    }
}
