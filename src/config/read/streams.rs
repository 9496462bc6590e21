//! Reads what bounds the open streams of an endpoint.

use super::endpoint::{has_no_principal, quota};
use crate::config::bounds::DURATION;
use crate::config::object::Object;
use crate::endpoint::{Endpoint, Transport};

const FIELDS: [&str; 3] = ["max_streams", "max_streams_per_principal", "max_stream_lifetime"];

pub(super) fn streams(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    caps(object, endpoint);
    object.set("max_stream_lifetime", &mut endpoint.max_stream_lifetime, |at| {
        at.timeout(DURATION)
    });
    if let Transport::HttpSse { .. } = &endpoint.transport {
        for at in FIELDS.iter().filter_map(|field| object.get(field)) {
            at.refuse("not with transport \"http_sse\"");
        }
    }
}

fn caps(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    object.set("max_streams", &mut endpoint.max_streams, quota);
    let field = "max_streams_per_principal";
    let of_principal = object.set(field, &mut endpoint.max_streams_per_principal, quota);
    let (Some(at), Some(most)) = (of_principal, endpoint.max_streams_per_principal) else {
        return;
    };
    if has_no_principal(object) {
        at.refuse("needs a principal");
    }
    if let Some(all) = endpoint.max_streams.filter(|all| most > *all) {
        at.refuse_value(format_args!(
            "must be at most the endpoint's max_streams of {all}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use crate::config::testing::{endpoint_with, mistakes_with};

    #[test]
    fn streams_have_no_bounds_unless_they_are_written() {
        for fields in [
            "",
            r#""max_streams": 0, "max_streams_per_principal": 0, "max_stream_lifetime": "0s""#,
        ] {
            let endpoint = endpoint_with(fields);
            assert_eq!(endpoint.max_streams, None);
            assert_eq!(endpoint.max_streams_per_principal, None);
            assert_eq!(endpoint.max_stream_lifetime, None);
        }
    }

    #[test]
    fn reads_all_bounds() {
        let endpoint = endpoint_with(
            r#""max_streams": 1000000, "max_streams_per_principal": 20, "max_stream_lifetime": "30m",
               "principal": [{"source_address": true}]"#,
        );
        assert_eq!(endpoint.max_streams, Some(1_000_000));
        assert_eq!(endpoint.max_streams_per_principal, Some(20));
        assert_eq!(endpoint.max_stream_lifetime, Some(Duration::from_mins(30)));
    }

    #[test]
    fn each_bound_has_its_range() {
        let cases = [
            (
                r#""max_streams": 1000001"#,
                "endpoints[0].max_streams: must be a whole number from 0 to 1000000, got 1000001",
            ),
            (
                r#""max_streams": -1"#,
                "endpoints[0].max_streams: must be a whole number from 0 to 1000000, got -1",
            ),
            (
                r#""max_stream_lifetime": "0.5s""#,
                "endpoints[0].max_stream_lifetime: must be at least 1s, got \"0.5s\"",
            ),
        ];
        for (fields, mistake) in cases {
            assert_eq!(mistakes_with(fields), [mistake]);
        }
    }

    #[test]
    fn the_cap_of_a_principal_needs_a_principal_and_room_in_the_endpoint() {
        let needs = ["endpoints[0].max_streams_per_principal: needs a principal"];
        assert_eq!(mistakes_with(r#""max_streams_per_principal": 3"#), needs);
        assert_eq!(
            mistakes_with(r#""max_streams_per_principal": 3, "principal": []"#),
            needs
        );
        assert_eq!(
            mistakes_with(
                r#""max_streams": 2, "max_streams_per_principal": 3, "principal": [{"source_address": true}]"#
            ),
            [
                "endpoints[0].max_streams_per_principal: must be at most the endpoint's max_streams of 2, got 3"
            ]
        );
        endpoint_with(
            r#""max_streams": 0, "max_streams_per_principal": 3, "principal": [{"source_address": true}]"#,
        );
    }

    #[test]
    fn the_bounds_are_not_for_http_sse() {
        let sse =
            r#""transport": "http_sse", "message_path": "/m", "principal": [{"source_address": true}], "#;
        for field in [
            r#""max_streams": 3"#,
            r#""max_streams_per_principal": 3"#,
            r#""max_stream_lifetime": "30m""#,
        ] {
            let name = field.split('"').nth(1).unwrap();
            assert_eq!(
                mistakes_with(&format!("{sse}{field}")),
                [format!("endpoints[0].{name}: not with transport \"http_sse\"")]
            );
        }
    }
}
