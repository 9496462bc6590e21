//! Reads one entry of `endpoints`.

use crate::config::bounds::{CAP_OR_NONE, DURATION, REQUEST_BYTES, RETRY_AFTER, SESSIONS};
use crate::config::duration::Words;
use crate::config::located::Located;
use crate::config::object::Object;
use crate::config::overlaps::{Overlaps, Requests};
use crate::endpoint::{
    Admission, Authority, CapacityStatus, Endpoint, EndpointName, OnFull, PassOrReject, PathPattern,
    Transport, UnknownSession,
};

use super::{VmCap, lost_session, principal, streams, terminate_upstream};

const UNKNOWN_SESSION: [(&str, UnknownSession); 2] = [
    ("adopt", UnknownSession::Adopt),
    ("reject", UnknownSession::Reject),
];
const PASS_OR_REJECT: [(&str, PassOrReject); 2] =
    [("pass", PassOrReject::Pass), ("reject", PassOrReject::Reject)];
const ON_FULL: [(&str, OnFull); 2] = [("reject", OnFull::Reject), ("evict_idle", OnFull::EvictIdle)];
const ADMISSION: [(&str, Admission); 2] = [("headers", Admission::Headers), ("body", Admission::Body)];
/// The word for the transport, and whether the transport has a second path for messages.
const TRANSPORT: [(&str, bool); 2] = [("streamable_http", false), ("http_sse", true)];

/// Reads the fields, with defaults for missing and wrong ones. The result counts only if no mistake was noted.
pub(super) fn endpoint(at: &Located<'_>, vm: VmCap, overlaps: &mut Overlaps) -> Endpoint {
    let mut endpoint = Endpoint {
        max_sessions: vm.or_default(),
        ..Endpoint::default()
    };
    if let Some(object) = Object::of(at) {
        identity(&object, &mut endpoint, overlaps);
        refused_kinds(&object, &mut endpoint);
        caps(&object, &mut endpoint, vm);
        principals(&object, &mut endpoint);
        timeouts(&object, &mut endpoint);
        refusals(&object, &mut endpoint);
        bodies(&object, &mut endpoint);
        termination(&object, &mut endpoint);
        lost_session::lost_session(&object, &mut endpoint);
        streams::streams(&object, &mut endpoint);
        object.finish();
    }
    endpoint
}

fn identity(object: &Object<'_, '_>, endpoint: &mut Endpoint, overlaps: &mut Overlaps) {
    object.require(&["name", "path"]);
    if let Some(at) = object.set("name", &mut endpoint.name, |at| at.parsed(EndpointName::parse)) {
        overlaps.name(at, &endpoint.name);
    }
    let path = object.set("path", &mut endpoint.path, |at| at.parsed(PathPattern::parse));
    let written = object.get("authority").is_some();
    object.set("authority", &mut endpoint.authority, |at| {
        at.parsed(Authority::parse).map(Some)
    });
    if let Some(transport) = transport(object) {
        endpoint.transport = transport;
    }
    // An endpoint with a wrong authority must not match every host.
    if !written || endpoint.authority.is_some() {
        add_requests(path, object.get("message_path"), endpoint, overlaps);
    }
}

fn transport(object: &Object<'_, '_>) -> Option<Transport> {
    let (written, message_path) = (object.get("transport"), object.get("message_path"));
    let has_message_path = written.map_or(Some(false), |at| at.choice(&TRANSPORT))?;
    if has_message_path {
        object.require(&["message_path"]);
        message_path?
            .parsed(PathPattern::parse)
            .map(|message_path| Transport::HttpSse { message_path })
    } else {
        message_path.inspect(|at| at.refuse("only with transport \"http_sse\""));
        Some(Transport::StreamableHttp)
    }
}

fn add_requests(
    path: Option<&Located<'_>>,
    message_path: Option<&Located<'_>>,
    endpoint: &Endpoint,
    overlaps: &mut Overlaps,
) {
    let requests = |path: &PathPattern| Requests {
        authority: endpoint.authority.clone(),
        path: path.clone(),
    };
    if let Some(at) = path {
        overlaps.requests(at, requests(&endpoint.path));
    }
    if let (Some(at), Transport::HttpSse { message_path }) = (message_path, &endpoint.transport)
        && !message_path.is_same(&endpoint.path)
    {
        overlaps.requests(at, requests(message_path));
    }
}

/// What the filter refuses for servers that keep a session for every request without an id, and for every request of
/// a revision that they do not know.
fn refused_kinds(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    let read = |at: &Located<'_>| at.choice(&PASS_OR_REJECT);
    let sessionless = object.set("sessionless", &mut endpoint.sessionless, read);
    let modern = object.set("modern", &mut endpoint.modern, read);
    match (&endpoint.transport, endpoint.sessionless, endpoint.modern) {
        (Transport::HttpSse { .. }, PassOrReject::Reject, _) => sessionless
            .into_iter()
            .for_each(|at| at.refuse_value("must be \"pass\" with transport \"http_sse\"")),
        (Transport::StreamableHttp, PassOrReject::Reject, PassOrReject::Pass) => {
            sessionless.into_iter().for_each(|at| {
                at.warn("servers that keep sessions need both lines, and modern \"reject\" is missing")
            })
        }
        (Transport::StreamableHttp, PassOrReject::Pass, PassOrReject::Reject) => {
            modern.into_iter().for_each(|at| {
                at.warn("servers that keep sessions need both lines, and sessionless \"reject\" is missing")
            })
        }
        (Transport::HttpSse { .. } | Transport::StreamableHttp, _, _) => {}
    }
}

fn caps(object: &Object<'_, '_>, endpoint: &mut Endpoint, vm: VmCap) {
    let cap = object.set("max_sessions", &mut endpoint.max_sessions, |at| {
        at.whole_number(SESSIONS)
    });
    if let (Some(at), Some(most)) = (cap, vm.0)
        && endpoint.max_sessions > most
    {
        at.refuse_value(format_args!(
            "must be at most the top level's max_sessions of {most}"
        ));
    }
    let quota = object.set(
        "max_sessions_per_principal",
        &mut endpoint.max_sessions_per_principal,
        quota,
    );
    if let Some(at) =
        quota.filter(|_| cap.is_some() && endpoint.max_sessions_per_principal > Some(endpoint.max_sessions))
    {
        at.refuse_value(format_args!(
            "must be at most the endpoint's max_sessions of {}",
            endpoint.max_sessions
        ));
    }
}

/// Zero means no cap.
pub(super) fn quota(at: &Located<'_>) -> Option<Option<u32>> {
    let most = at.whole_number(CAP_OR_NONE)?;
    Some((most > 0).then_some(most))
}

/// Whether the endpoint names no source of the caller's identity, not even a wrong one.
pub(super) fn has_no_principal(object: &Object<'_, '_>) -> bool {
    object
        .get("principal")
        .is_none_or(|at| at.as_items().is_some_and(|sources| sources.is_empty()))
}

fn principals(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    let nobody = has_no_principal(object);
    object.set("principal", &mut endpoint.principal, principal::sources);
    endpoint.bind_sessions = !endpoint.principal.is_empty();
    object.set("bind_sessions", &mut endpoint.bind_sessions, Located::flag);
    if let Some(at) = object.get("max_sessions_per_principal")
        && endpoint.max_sessions_per_principal.is_some()
        && nobody
    {
        at.refuse("needs a principal");
    }
}

fn timeouts(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    let idle = object.set("idle_timeout", &mut endpoint.idle_timeout, |at| {
        at.timeout(DURATION)
    });
    let lifetime = object.set("max_lifetime", &mut endpoint.max_lifetime, |at| {
        at.timeout(DURATION)
    });
    if let (Some(at), Some(_)) = (idle, lifetime)
        && let (Some(idle), Some(lifetime)) = (endpoint.idle_timeout, endpoint.max_lifetime)
        && idle > lifetime
    {
        at.refuse_value(format_args!(
            "must be at most the max_lifetime of {}",
            Words(lifetime)
        ));
    }
    object.set("initialize_timeout", &mut endpoint.initialize_timeout, |at| {
        at.duration(DURATION)
    });
}

fn refusals(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    object.set("unknown_session", &mut endpoint.unknown_session, |at| {
        at.choice(&UNKNOWN_SESSION)
    });
    object.set("on_full", &mut endpoint.on_full, |at| at.choice(&ON_FULL));
    let evict_after = object.set("evict_after", &mut endpoint.evict_after, |at| {
        at.timeout(DURATION)
    });
    if let Some(at) = evict_after
        && endpoint.evict_after.is_some()
        && endpoint.on_full == OnFull::Reject
    {
        at.warn("has no effect without on_full \"evict_idle\"");
    }
    object.set("capacity_status", &mut endpoint.capacity_status, capacity_status);
    object.set("retry_after", &mut endpoint.retry_after, |at| {
        at.duration(RETRY_AFTER)
    });
}

fn capacity_status(at: &Located<'_>) -> Option<CapacityStatus> {
    match at.as_whole_number() {
        Some(429) => Some(CapacityStatus::TooManyRequests),
        Some(503) => Some(CapacityStatus::ServiceUnavailable),
        Some(_) | None => {
            at.refuse_value("must be 429 or 503");
            None
        }
    }
}

fn bodies(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    object.set("admission", &mut endpoint.admission, |at| at.choice(&ADMISSION));
    let strict = object.set("strict_json_rpc", &mut endpoint.strict_json_rpc, Located::flag);
    if let Some(at) = strict.filter(|_| endpoint.strict_json_rpc && endpoint.admission == Admission::Headers)
    {
        at.refuse("needs admission \"body\"");
    }
    let method_headers = object.set("method_headers", &mut endpoint.method_headers, Located::flag);
    if let Some(at) = method_headers.filter(|_| endpoint.method_headers && !endpoint.strict_json_rpc) {
        at.refuse("needs strict_json_rpc true");
    }
    object.set("max_request_bytes", &mut endpoint.max_request_bytes, |at| {
        at.whole_number(REQUEST_BYTES)
            .and_then(|bytes| usize::try_from(bytes).ok())
    });
    object.set("verify_headers", &mut endpoint.verify_headers, Located::flag);
}

fn termination(object: &Object<'_, '_>, endpoint: &mut Endpoint) {
    let slot = &mut endpoint.terminate_upstream;
    object.set("terminate_upstream", slot, |at| {
        terminate_upstream::terminate_upstream(at).map(Some)
    });
    if let (Some(at), Transport::HttpSse { .. }) = (object.get("terminate_upstream"), &endpoint.transport) {
        at.refuse("not with transport \"http_sse\"");
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::config::testing::{endpoint_with, mistakes_with};
    use crate::endpoint::{PrincipalSource, TerminateUpstream};

    #[test]
    fn reads_http_sse_with_its_message_path() {
        let endpoint = endpoint_with(r#""transport": "http_sse", "message_path": "/messages/*""#);
        let message_path = PathPattern::parse("/messages/*").unwrap();
        assert_eq!(endpoint.transport, Transport::HttpSse { message_path });
    }

    #[test]
    fn message_path_belongs_to_http_sse_and_http_sse_to_it() {
        let cases = [
            (
                r#""transport": "http_sse""#,
                "endpoints[0].message_path: required",
            ),
            (
                r#""message_path": "/m""#,
                "endpoints[0].message_path: only with transport \"http_sse\"",
            ),
            (
                r#""transport": "sse", "message_path": "/m""#,
                "endpoints[0].transport: must be \"streamable_http\" or \"http_sse\", got \"sse\"",
            ),
            (
                r#""transport": "http_sse", "message_path": "m""#,
                "endpoints[0].message_path: must begin with \"/\", got \"m\"",
            ),
        ];
        for (fields, mistake) in cases {
            assert_eq!(mistakes_with(fields), [mistake]);
        }
    }

    #[test]
    fn one_path_may_be_both_of_http_sse() {
        let endpoint = endpoint_with(r#""transport": "http_sse", "message_path": "/MCP/""#);
        let Transport::HttpSse { message_path } = &endpoint.transport else {
            panic!("{endpoint:?}")
        };
        assert!(message_path.is_same(&endpoint.path));
    }

    #[test]
    fn evict_after_is_a_duration_or_off() {
        assert_eq!(endpoint_with("").evict_after, None);
        assert_eq!(endpoint_with(r#""evict_after": "0s""#).evict_after, None);
        assert_eq!(
            endpoint_with(r#""on_full": "evict_idle", "evict_after": "30s""#).evict_after,
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            mistakes_with(r#""evict_after": "0.5s""#),
            ["endpoints[0].evict_after: must be at least 1s, got \"0.5s\""]
        );
    }

    #[test]
    fn sessions_are_bound_where_callers_have_an_identity() {
        assert!(!endpoint_with("").bind_sessions);
        assert!(!endpoint_with(r#""principal": []"#).bind_sessions);
        assert!(endpoint_with(r#""principal": [{"mtls_peer": true}]"#).bind_sessions);
        assert!(
            !endpoint_with(r#""principal": [{"mtls_peer": true}], "bind_sessions": false"#).bind_sessions
        );
    }

    #[test]
    fn a_quota_of_zero_is_none() {
        assert_eq!(
            endpoint_with(r#""max_sessions_per_principal": 0"#).max_sessions_per_principal,
            None
        );
        let quota = r#""max_sessions_per_principal": 3, "principal": [{"header": "X-User"}]"#;
        assert_eq!(endpoint_with(quota).max_sessions_per_principal, Some(3));
    }

    #[test]
    fn a_quota_needs_a_principal_and_room_in_the_endpoint() {
        let needs = ["endpoints[0].max_sessions_per_principal: needs a principal"];
        assert_eq!(mistakes_with(r#""max_sessions_per_principal": 3"#), needs);
        assert_eq!(
            mistakes_with(r#""max_sessions_per_principal": 3, "principal": []"#),
            needs
        );
        assert_eq!(
            mistakes_with(
                r#""max_sessions": 2, "max_sessions_per_principal": 3, "principal": [{"source_address": true}]"#
            ),
            ["endpoints[0].max_sessions_per_principal: \
                 must be at most the endpoint's max_sessions of 2, got 3"]
        );
    }

    #[test]
    fn strictness_needs_the_body() {
        assert!(endpoint_with(r#""strict_json_rpc": true, "admission": "body""#).strict_json_rpc);
        assert_eq!(
            mistakes_with(r#""strict_json_rpc": true"#),
            ["endpoints[0].strict_json_rpc: needs admission \"body\""]
        );
    }

    #[test]
    fn sessionless_requests_pass_over_http_sse() {
        let http_sse = |field: &str| format!(r#""transport": "http_sse", "message_path": "/m", {field}"#);
        assert_eq!(
            mistakes_with(&http_sse(r#""sessionless": "reject""#)),
            ["endpoints[0].sessionless: must be \"pass\" with transport \"http_sse\", got \"reject\""]
        );
        assert_eq!(
            endpoint_with(&http_sse(r#""sessionless": "pass""#)).sessionless,
            PassOrReject::Pass
        );
        assert_eq!(
            endpoint_with(&http_sse(r#""modern": "reject""#)).modern,
            PassOrReject::Reject
        );
    }

    #[test]
    fn the_filters_own_headers_need_every_message() {
        let strict = r#""strict_json_rpc": true, "admission": "body""#;
        assert!(!endpoint_with(strict).method_headers);
        assert!(endpoint_with(&format!(r#"{strict}, "method_headers": true"#)).method_headers);
        assert!(!endpoint_with(r#""method_headers": false"#).method_headers);
        assert_eq!(
            mistakes_with(r#""admission": "body", "method_headers": true"#),
            ["endpoints[0].method_headers: needs strict_json_rpc true"]
        );
    }

    #[test]
    fn reads_every_field() {
        let endpoint = endpoint_with(
            r#""authority": "Mcp.Example", "sessionless": "reject", "modern": "reject", "max_sessions": 5, "max_sessions_per_principal": 2,
               "principal": [{"header": "x-user"}], "bind_sessions": false, "idle_timeout": "0s",
               "max_lifetime": "0ms", "initialize_timeout": "2s", "unknown_session": "reject",
               "on_full": "evict_idle", "evict_after": "10s", "capacity_status": 503, "retry_after": "7s", "admission": "body",
               "strict_json_rpc": true, "method_headers": true, "max_request_bytes": 1024, "verify_headers": false,
               "terminate_upstream": {"cluster": "mcp", "authority": "mcp:80", "path": "/a/mcp"}"#,
        );
        let expected = Endpoint {
            authority: Some(Authority::parse("mcp.example").unwrap()),
            sessionless: PassOrReject::Reject,
            modern: PassOrReject::Reject,
            max_sessions: 5,
            max_sessions_per_principal: Some(2),
            principal: vec![PrincipalSource::Header("x-user".to_owned())],
            bind_sessions: false,
            idle_timeout: None,
            max_lifetime: None,
            initialize_timeout: Duration::from_secs(2),
            unknown_session: UnknownSession::Reject,
            on_full: OnFull::EvictIdle,
            evict_after: Some(Duration::from_secs(10)),
            capacity_status: CapacityStatus::ServiceUnavailable,
            retry_after: Duration::from_secs(7),
            admission: Admission::Body,
            strict_json_rpc: true,
            method_headers: true,
            max_request_bytes: 1024,
            verify_headers: false,
            terminate_upstream: Some(TerminateUpstream {
                cluster: "mcp".to_owned(),
                authority: "mcp:80".to_owned(),
                path: Some("/a/mcp".to_owned()),
                timeout: Duration::from_secs(5),
                headers: Vec::new(),
            }),
            ..Endpoint::default()
        };
        assert_eq!(*endpoint, expected);
    }
}
