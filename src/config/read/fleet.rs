//! Reads `fleet`: one cap over several gateways, and the etcd between them.

use crate::config::bounds::{FLEET_LEASE, FLEET_NAME_LEN, FLEET_SESSIONS};
use crate::config::located::Located;
use crate::config::object::Object;
use crate::fleet::{Settings, WhenLost};

use super::own_request::{authority, cluster, headers};

const WHEN_LOST: [(&str, WhenLost); 2] = [("local", WhenLost::Local), ("refuse", WhenLost::Refuse)];

/// Headers that Envoy sets on a request to etcd.
const RESERVED_HEADERS: [&str; 3] = ["host", "content-length", "transfer-encoding"];

/// Reads the fields. The result counts only if no mistake was noted.
pub(super) fn fleet(at: &Located<'_>) -> Option<Settings> {
    let object = Object::of(at)?;
    object.require(&["cluster", "name", "max_sessions"]);
    let mut read = Settings::default();
    object.set("cluster", &mut read.cluster, |at| at.parsed(cluster));
    read_authority(&object, &mut read);
    object.set("name", &mut read.name, |at| at.parsed(name));
    object.set("max_sessions", &mut read.terms.cap, |at| {
        at.whole_number(FLEET_SESSIONS)
    });
    object.set("lease", &mut read.terms.lease, |at| at.duration(FLEET_LEASE));
    object.set("when_lost", &mut read.terms.when_lost, |at| at.choice(&WHEN_LOST));
    object.set("headers", &mut read.headers, |at| headers(at, &RESERVED_HEADERS));
    object.finish();
    Some(read)
}

/// The name of the cluster, unless another authority is written. Many a cluster's name is no host, such as Istio's
/// `outbound|2379||etcd.example`: etcd answers it with 400.
fn read_authority(object: &Object<'_, '_>, read: &mut Settings) {
    read.authority.clone_from(&read.cluster);
    object.set("authority", &mut read.authority, |at| at.parsed(authority));
    if !read.cluster.is_empty() && !read.cluster.bytes().all(is_host_byte) {
        object.require(&["authority"]);
    }
}

/// What Go's HTTP server takes in a `Host` (`validHostByte` in `golang.org/x/net/http/httpguts`).
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

fn name(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    if FLEET_NAME_LEN.contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 characters of a-z, 0-9, \"_\", \".\" and \"-\"")
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::config::{Config, ConfigError, Mistake};
    use crate::fleet::Terms;

    const LEAST: &str = r#""cluster": "etcd", "name": "mcp", "max_sessions": 2000"#;

    fn parse(fields: &str) -> Result<Config, ConfigError> {
        Config::parse(format!(r#"{{"fleet": {{{fields}}}}}"#).as_bytes())
    }

    fn settings(fields: &str) -> Settings {
        parse(fields).unwrap().fleet.unwrap()
    }

    fn mistakes(fields: &str) -> Vec<String> {
        let refused = parse(fields).unwrap_err();
        refused.mistakes().iter().map(Mistake::to_string).collect()
    }

    fn least() -> Settings {
        Settings {
            cluster: "etcd".to_owned(),
            authority: "etcd".to_owned(),
            name: "mcp".to_owned(),
            terms: Terms {
                cap: 2_000,
                lease: Duration::from_secs(10),
                when_lost: WhenLost::Local,
            },
            headers: Vec::new(),
        }
    }

    #[test]
    fn without_it_there_is_no_fleet() {
        assert_eq!(Config::parse(b"{}").unwrap().fleet, None);
    }

    #[test]
    fn reads_what_is_needed_and_has_defaults_for_the_rest() {
        assert_eq!(settings(LEAST), least());
    }

    #[test]
    fn reads_every_field() {
        let fields = r#""cluster": "outbound|2379||etcd", "authority": "etcd:2379", "name": "a.b_c-1",
                        "max_sessions": 100000000, "lease": "5m", "when_lost": "refuse",
                        "headers": {"Authorization": "s3cret"}"#;
        let expected = Settings {
            cluster: "outbound|2379||etcd".to_owned(),
            authority: "etcd:2379".to_owned(),
            name: "a.b_c-1".to_owned(),
            terms: Terms {
                cap: 100_000_000,
                lease: Duration::from_mins(5),
                when_lost: WhenLost::Refuse,
            },
            headers: vec![("authorization".to_owned(), "s3cret".to_owned())],
        };
        assert_eq!(settings(fields), expected);
        let shown = format!("{expected:?}");
        assert!(
            shown.contains("authorization") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn a_cluster_whose_name_is_no_host_needs_an_authority() {
        let fields = LEAST.replace("etcd", "outbound|2379||etcd");
        assert_eq!(mistakes(&fields), ["fleet.authority: required"]);
    }

    #[test]
    fn says_all_that_is_wrong() {
        let fields = r#""cluster": "", "authority": "http://a", "name": "Mcp", "max_sessions": 0, "lease": "2.5s",
                        "when_lost": "admit", "headers": {"Host": "a", "a b": "c"}, "max_session": 5"#;
        let expected = [
            "cluster: must be the name of a cluster, got \"\"",
            "authority: must be a host or host:port, got \"http://a\"",
            "name: must be 1 to 64 characters of a-z, 0-9, \"_\", \".\" and \"-\", got \"Mcp\"",
            "max_sessions: must be a whole number from 1 to 100000000, got 0",
            "lease: must be at least 3s, got \"2.5s\"",
            "when_lost: must be \"local\" or \"refuse\", got \"admit\"",
            "headers.Host: set by the filter itself",
            "headers[\"a b\"]: must be the name of a header",
            "max_session: unknown field, did you mean \"max_sessions\"?",
        ];
        assert_eq!(
            mistakes(fields),
            expected.map(|mistake| format!("fleet.{mistake}"))
        );
    }

    #[test]
    fn names_what_is_missing_and_what_is_out_of_range() {
        assert_eq!(
            mistakes(""),
            [
                "fleet.cluster: required",
                "fleet.name: required",
                "fleet.max_sessions: required"
            ]
        );
        let cases = [
            (
                r#""lease": "301s""#,
                "fleet.lease: must be at most 5m, got \"301s\"",
            ),
            (
                r#""lease": 10"#,
                "fleet.lease: must be a duration in ms, s, m or h, such as \"30s\", got 10",
            ),
            (
                r#""headers": ["s3cret"]"#,
                "fleet.headers: must be an object, got a list",
            ),
        ];
        for (field, mistake) in cases {
            assert_eq!(mistakes(&format!("{LEAST}, {field}")), [mistake]);
        }
        let long = LEAST.replace("\"mcp\"", &format!("{:?}", "x".repeat(65)));
        assert!(
            mistakes(&long)
                .concat()
                .starts_with("fleet.name: must be 1 to 64")
        );
    }
}
