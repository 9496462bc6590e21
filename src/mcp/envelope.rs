//! Opens the envelope that Envoy's `stateful_session` puts around a session id, so that the session finds its host
//! again: `<host>;UV:<id>`, both in Base64 (Envoy, `source/extensions/http/stateful_session/envelope/envelope.cc`).
//!
//! If Envoy takes two values for the same id, the filter does too: the envelope may name another host, have more or
//! empty parts, or be absent.

use crate::base64;

/// The flag of the part that holds the id.
const ID_FLAG: &[u8] = b"UV:";

/// The id in an envelope, read as Envoy reads it. `None` for a value that Envoy passes on unchanged.
pub(super) fn open(value: &[u8]) -> Option<Vec<u8>> {
    // Almost no id has parts.
    if !value.contains(&b';') {
        return None;
    }
    let parts = value.split(|byte| *byte == b';').filter(|part| !part.is_empty());
    let encoded = parts.skip(1).find_map(|part| part.strip_prefix(ID_FLAG))?;
    base64::decode(encoded).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(value: &str) -> Option<String> {
        open(value.as_bytes()).map(|id| String::from_utf8(id).unwrap())
    }

    #[test]
    fn the_id_is_what_stands_behind_the_flag_whatever_the_host() {
        // RFC 4648, section 10.
        for (encoded, id) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            for envelope in [
                format!("MTI3LjAuMC4xOjgw;UV:{encoded}"),
                format!("x;UV:{encoded}"),
                format!(";;x;;y;UV:{encoded};UV:enp6"),
                format!("UV:enp6;UV:{encoded}"),
            ] {
                assert_eq!(opened(&envelope).as_deref(), Some(id), "{envelope}");
            }
        }
    }

    #[test]
    fn what_envoy_passes_on_as_it_is_is_no_envelope() {
        for value in [
            "",
            "plain",
            "UV:Zm9v",
            ";UV:Zm9v",
            "x;uv:Zm9v",
            "x;UV:",
            "x; UV:Zm9v",
            "x;UV:Zm9",
            "x;UV:Zm9v=",
            "x;UV:Zg",
            "x;UV:Zh==",
            "x;UV:Zm9=",
            "x;UV:Zg=a",
            "x;UV:====",
            "x;UV:Z===",
            "x;UV:Zm-v",
            "x;UV:Zm 9v",
            "x;Zm9v",
        ] {
            assert_eq!(opened(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn each_id_has_one_base64(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let encoded: Vec<u8> = bytes.iter().map(|byte| b"AZaz09+/=;"[usize::from(*byte) % 10]).collect();
            if let Some(id) = base64::decode(&encoded) {
                let padding = encoded.iter().filter(|byte| **byte == b'=').count();
                prop_assert_eq!(id.len(), encoded.len() / 4 * 3 - padding);
                for end in ["=", "A", "AAAA"] {
                    let longer = [&encoded, end.as_bytes()].concat();
                    prop_assert_ne!(base64::decode(&longer), Some(id.clone()));
                }
            }
        }
    }
}
