//! How a session is named where people read.

use crate::config::LogSessionId;
use crate::session::IdDigest;

/// A session's name in logs, access logs and the status view, as `log_session_id` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionName(Option<String>);

impl SessionName {
    /// The name of the session with this id. `digest` saves computing it where a record has it.
    pub fn new(mode: LogSessionId, id: &str, digest: Option<IdDigest>) -> Self {
        Self(match mode {
            LogSessionId::Off => None,
            LogSessionId::Plain => Some(id.to_owned()),
            LogSessionId::Hash => Some(digest.unwrap_or_else(|| IdDigest::of(id.as_bytes())).to_hex()),
        })
    }

    /// The name, or `None` where none is to be shown.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_beginning_of_the_sha_256_so_that_an_operator_can_find_an_id() {
        let name = SessionName::new(LogSessionId::Hash, "abc", None);
        // `printf abc | sha256sum | cut -c1-16`
        assert_eq!(name.as_str(), Some("ba7816bf8f01cfea"));
        assert_eq!(
            SessionName::new(LogSessionId::Hash, "abc", Some(IdDigest::of(b"abc"))),
            name
        );
    }

    #[test]
    fn plain_shows_the_id_and_off_shows_nothing() {
        assert_eq!(
            SessionName::new(LogSessionId::Plain, "abc", None).as_str(),
            Some("abc")
        );
        assert_eq!(SessionName::new(LogSessionId::Off, "abc", None).as_str(), None);
    }
}
