//! Reads `terminate_upstream`: how the filter tells the server that it ended a session.

use core::time::Duration;

use crate::config::bounds::DURATION;
use crate::config::located::Located;
use crate::config::object::Object;
use crate::endpoint::TerminateUpstream;

use super::own_request::{authority, cluster, headers};

/// Headers that the filter or Envoy sets on the DELETE.
const RESERVED_HEADERS: [&str; 5] = [
    "host",
    "content-length",
    "transfer-encoding",
    "mcp-session-id",
    "mcp-protocol-version",
];

/// Reads the fields. The result counts only if no mistake was noted.
pub(super) fn terminate_upstream(at: &Located<'_>) -> Option<TerminateUpstream> {
    let object = Object::of(at)?;
    object.require(&["cluster", "authority"]);
    let mut read = TerminateUpstream {
        cluster: String::new(),
        authority: String::new(),
        path: None,
        timeout: Duration::from_secs(5),
        headers: Vec::new(),
    };
    object.set("cluster", &mut read.cluster, |at| at.parsed(cluster));
    object.set("authority", &mut read.authority, |at| at.parsed(authority));
    object.set("path", &mut read.path, |at| at.parsed(path).map(Some));
    object.set("timeout", &mut read.timeout, |at| at.duration(DURATION));
    object.set("headers", &mut read.headers, |at| headers(at, &RESERVED_HEADERS));
    object.finish();
    Some(read)
}

/// Origin form (RFC 9112, section 3.2.1); a query is allowed.
fn path(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if text.starts_with('/') && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("must begin with \"/\" and hold visible ASCII characters only, without a fragment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{endpoint_with, mistakes_with};

    const WHOLE: &str = r#""terminate_upstream": {"cluster": "mcp", "authority": "mcp.internal:8080", "timeout": "1m",
                                                  "headers": {"Authorization": "Bearer s3cret"}}"#;

    #[test]
    fn reads_where_and_how_the_delete_goes() {
        let expected = TerminateUpstream {
            cluster: "mcp".to_owned(),
            authority: "mcp.internal:8080".to_owned(),
            path: None,
            timeout: Duration::from_mins(1),
            headers: vec![("authorization".to_owned(), "Bearer s3cret".to_owned())],
        };
        assert_eq!(endpoint_with(WHOLE).terminate_upstream, Some(expected));
    }

    #[test]
    fn says_what_is_wrong() {
        let mistakes = mistakes_with(
            r#""terminate_upstream": {"authority": "http://a", "path": "mcp", "timeout": "0s", "header": {},
                                      "headers": {"Host": "a", "a b": "c", "mcp-session-id": "x"}}"#,
        );
        let expected = [
            ".cluster: required",
            ".authority: must be a host or host:port, got \"http://a\"",
            ".path: must begin with \"/\" and hold visible ASCII characters only, without a fragment, got \"mcp\"",
            ".timeout: must be at least 1s, got \"0s\"",
            ".headers.Host: set by the filter itself",
            ".headers[\"a b\"]: must be the name of a header",
            ".headers.mcp-session-id: set by the filter itself",
            ".header: unknown field, did you mean \"headers\"?",
        ];
        assert_eq!(
            mistakes,
            expected.map(|mistake| format!("endpoints[0].terminate_upstream{mistake}"))
        );
    }

    #[test]
    fn no_credential_is_shown() {
        for headers in [
            r#"{"authorization": "s3cret\n"}"#,
            r#"{"authorization": ["s3cret"]}"#,
            r#""s3cret""#,
        ] {
            let fields = format!(
                r#""terminate_upstream": {{"cluster": "a", "authority": "a", "headers": {headers}}}"#
            );
            let mistakes = mistakes_with(&fields);
            assert!(
                mistakes.len() == 1 && !mistakes.concat().contains("s3cret"),
                "{mistakes:?}"
            );
        }
        let shown = format!("{:?}", endpoint_with(WHOLE).terminate_upstream);
        assert!(
            shown.contains("authorization") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn http_sse_has_no_delete() {
        let fields = format!(r#"{WHOLE}, "transport": "http_sse", "message_path": "/m""#);
        assert_eq!(
            mistakes_with(&fields),
            ["endpoints[0].terminate_upstream: not with transport \"http_sse\""]
        );
    }
}
