//! The session id that a server gives out and a client sends back in `Mcp-Session-Id`.

use core::fmt;
use std::borrow::Cow;

use super::envelope;
use super::field_value::trimmed;
use super::occurs::Occurs;

/// Longest id that the filter tracks, in bytes. The specification sets no limit. SDKs make ids of 32 to 36 bytes;
/// some servers use a signed token, and some gateways put the state of a session there. By default Envoy allows 60
/// KiB for all headers of a request together.
pub const MAX_BYTES: usize = 8192;

/// Longest id that the table keeps, in bytes, so that a record fits into shared data. The DELETE to the server needs
/// the kept id.
pub const MAX_KEPT_BYTES: usize = 1024;

/// A well-formed session id: 1 to [`MAX_BYTES`] bytes of visible ASCII, 0x21 to 0x7E.
///
/// MCP 2025-11-25, `basic/transports` § Session Management. The value is opaque and case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId<'a>(&'a str);

impl<'a> SessionId<'a> {
    /// Takes the bytes as they are. [`Self::presented`] removes optional whitespace.
    ///
    /// # Errors
    /// [`InvalidSessionId`] if they are empty, longer than [`MAX_BYTES`] or outside visible ASCII.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, InvalidSessionId> {
        let fits = (1..=MAX_BYTES).contains(&bytes.len());
        if !fits || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(InvalidSessionId);
        }
        str::from_utf8(bytes).map(Self).map_err(|_| InvalidSessionId)
    }

    /// The id that all values of `Mcp-Session-Id` in one message state together; `None` if the header is absent.
    ///
    /// Two values are refused even if they are equal: some servers take the first and others join them, so the server
    /// could act on an id that the filter did not check. A comma needs no rule of its own: it is visible ASCII, and
    /// values joined as `a, b` contain a space.
    ///
    /// # Errors
    /// [`InvalidSessionId`] if there is more than one value, or one that is no session id.
    pub fn presented(values: Occurs<&'a [u8]>) -> Result<Option<Self>, InvalidSessionId> {
        match values {
            Occurs::Absent => Ok(None),
            Occurs::One(value) => Self::parse(trimmed(value)).map(Some),
            Occurs::Several => Err(InvalidSessionId),
        }
    }

    /// The id as it goes over the wire.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// The id as text, for logs that may show it.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// The bytes by which the table knows the session of `id`: the id itself or, in an envelope of Envoy's
/// `stateful_session`, the id inside. So a session stays the same if its host is replaced, or if a client writes the
/// envelope differently.
pub fn tracked_bytes(id: &[u8]) -> Cow<'_, [u8]> {
    envelope::open(id).map_or(Cow::Borrowed(id), Cow::Owned)
}

/// Why [`SessionId::parse`] refused the bytes: empty, too long, or a byte outside 0x21 to 0x7E.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSessionId;

impl fmt::Display for InvalidSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session id: must be 1 to {MAX_BYTES} bytes of visible ASCII")
    }
}

impl core::error::Error for InvalidSessionId {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn presented<'a>(values: &[&'a str]) -> Result<Option<SessionId<'a>>, InvalidSessionId> {
        let values = values.iter().map(|value| value.as_bytes());
        SessionId::presented(values.fold(Occurs::Absent, Occurs::and))
    }

    #[test]
    fn keeps_the_bytes_of_a_valid_id() {
        let id = SessionId::parse(b"1868a90c-Ab~!");
        assert_eq!(id.map(|id| id.as_bytes()), Ok(&b"1868a90c-Ab~!"[..]));
        assert_eq!(id.map(|id| id.as_str()), Ok("1868a90c-Ab~!"));
    }

    #[test]
    fn takes_exactly_the_visible_ascii_bytes() {
        for byte in 0..=u8::MAX {
            let valid = (0x21..=0x7E).contains(&byte);
            assert_eq!(SessionId::parse(&[byte]).is_ok(), valid, "{byte:#04x}");
        }
    }

    #[test]
    fn takes_one_to_8192_bytes() {
        assert_eq!(SessionId::parse(b""), Err(InvalidSessionId));
        assert!(SessionId::parse(&[b'a'; MAX_BYTES]).is_ok());
        assert_eq!(SessionId::parse(&[b'a'; MAX_BYTES + 1]), Err(InvalidSessionId));
    }

    #[test]
    fn a_session_in_an_envelope_is_known_by_its_id_alone() {
        let tracked = |id: &'static str| tracked_bytes(id.as_bytes());
        assert_eq!(tracked("MTAuMC4wLjE6ODA=;UV:Zm9v"), &b"foo"[..]);
        assert_eq!(tracked("MTAuMC4wLjI6ODA=;UV:Zm9v"), tracked("foo"));
        assert!(matches!(tracked("foo"), Cow::Borrowed(b"foo")));
    }

    #[test]
    fn a_message_without_the_header_presents_none() {
        assert_eq!(presented(&[]), Ok(None));
    }

    #[test]
    fn a_comma_belongs_to_the_id() {
        assert_eq!(presented(&["a,b"]), Ok(Some(SessionId("a,b"))));
    }

    #[test]
    fn whitespace_around_the_value_is_not_part_of_the_id() {
        assert_eq!(presented(&[" \tabc\t "]), Ok(Some(SessionId("abc"))));
    }

    #[test]
    fn empty_and_blank_values_are_invalid_not_absent() {
        for value in ["", " ", "\t \t"] {
            assert_eq!(presented(&[value]), Err(InvalidSessionId), "{value:?}");
        }
    }

    #[test]
    fn values_that_a_proxy_joined_are_invalid() {
        assert_eq!(presented(&["a, b"]), Err(InvalidSessionId));
    }

    #[test]
    fn two_values_are_invalid_even_when_equal_or_blank() {
        for values in [["a", "a"], ["a", "b"], ["a", ""], ["", "a"]] {
            assert_eq!(presented(&values), Err(InvalidSessionId), "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_comes_back_unchanged(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(id) = SessionId::parse(&bytes) {
                prop_assert_eq!(id.as_bytes(), bytes.as_slice());
                prop_assert_eq!(id.as_str().as_bytes(), bytes.as_slice());
            }
        }
    }
}
