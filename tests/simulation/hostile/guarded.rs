//! What must not reach servers that keep a session for it, though they refuse it.

use super::Hostile;
use super::clients::Request;

impl Hostile {
    /// Checks a request that reaches the server, with its ids or without.
    pub(super) fn check_guarded(&self, request: &Request, with_id: bool) {
        let endpoint = &self.setting.endpoints[request.site];
        let states_modern = request.versions.iter().any(|version| is_modern(version));
        assert!(
            !(endpoint.is_legacy && states_modern),
            "a revision that the endpoint refuses was let in: {request:?}"
        );
        let has_id = with_id && request.ids > 0;
        let is_known = request.is_held_by(endpoint.holds) && request.is_initialize(endpoint.holds);
        let is_modern_post = request.is_modern() && request.verb == "POST" && !is_known;
        if !endpoint.needs_ids || has_id || is_modern_post {
            return;
        }
        let says_so = match endpoint.holds {
            true => is_plain(request.body()),
            false => matches!(request.method, None | Some("initialize")),
        };
        assert!(
            request.verb == "POST" && has_good_head(request) && says_so,
            "let in without an id: {request:?}"
        );
    }
}

fn is_modern(version: &str) -> bool {
    version.len() == 10 && version >= "2026-07-28"
}

fn has_good_head(request: &Request) -> bool {
    let [accept] = request.accept else { return false };
    request.types == ["application/json"]
        && accept.contains("application/json")
        && accept.contains("text/event-stream")
}

/// As a server reads it: by another parser.
fn is_plain(body: &[u8]) -> bool {
    let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    message["method"] == "initialize"
        && (message["id"].is_string() || message["id"].is_i64())
        && message["params"]["protocolVersion"].is_string()
}
