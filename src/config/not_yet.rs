//! What the configuration knows and the filter does not do yet. Shrinks to nothing.

use super::place::Place;

const TOP_LEVEL: [&str; 1] = ["status"];

const ENDPOINT: [&str; 3] = ["message_path", "strict_json_rpc", "verify_headers"];

const ENDPOINT_VALUES: [(&str, &str); 1] = [("transport", "http_sse")];

/// Notes a mistake wherever one of these is written.
pub(super) fn refuse(root: &Place<'_>) {
    for name in TOP_LEVEL {
        refuse_if(root.at(name), |_| true);
    }
    for endpoint in root
        .at("endpoints")
        .and_then(|list| list.as_items())
        .unwrap_or_default()
    {
        for name in ENDPOINT {
            refuse_if(endpoint.at(name), |_| true);
        }
        for (name, value) in ENDPOINT_VALUES {
            refuse_if(endpoint.at(name), |place| place.as_text() == Some(value));
        }
    }
}

fn refuse_if(written: Option<Place<'_>>, unsupported: impl Fn(&Place<'_>) -> bool) {
    if let Some(place) = written.filter(unsupported) {
        place.refuse("not supported yet");
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn refuses_what_is_written_and_only_that() {
        let text = r#"{"status": {"path": "/s"}, "endpoints": [
            {"name": "a", "path": "/a", "transport": "streamable_http", "on_full": "reject"},
            {"name": "b", "path": "/b", "transport": "http_sse", "message_path": "/m", "on_full": "evict_idle",
             "verify_headers": false}]}"#;
        let refused = Config::parse(text.as_bytes()).unwrap_err();
        let places: Vec<_> = refused
            .mistakes()
            .iter()
            .map(|mistake| mistake.path.as_str())
            .collect();
        let fields = ["message_path", "verify_headers", "transport"];
        let expected = fields.map(|field| format!("endpoints[1].{field}"));
        assert_eq!(
            places.split_first(),
            Some((&"status", &expected.each_ref().map(String::as_str)[..]))
        );
        assert!(
            refused
                .mistakes()
                .iter()
                .all(|mistake| mistake.problem == "not supported yet")
        );
        assert!(Config::parse_all(text.as_bytes()).is_ok());
    }
}
