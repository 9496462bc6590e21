//! A page in a browser can read the filter's own answers, if Envoy's CORS filter stands where `docs/operating.md`
//! puts it.

use gateway::stage::Stage;
use gateway::{Answer, Call, Reply, Setup, everywhere};
use serde_json::{Value, json};

const PAGE: &str = "https://inspector.example.com";

/// The policy in the table of `docs/operating.md`, for one origin.
fn policy() -> Value {
    let page = include_str!("../../../docs/operating.md");
    let rows = page.lines().filter_map(|line| {
        let (name, value) = line
            .strip_prefix("| `")?
            .strip_suffix("` |")?
            .split_once("` | `")?;
        let is_setting = name.starts_with("allow_") || name == "expose_headers";
        is_setting.then_some((name, value))
    });
    let mut policy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": PAGE}],
    });
    for (name, value) in rows {
        policy[name] = json!(value);
    }
    assert_eq!(policy.as_object().map(|policy| policy.len()), Some(5), "{policy}");
    policy
}

/// A cap of one session, and the CORS filter at this place in the chain, which began with ours.
fn with_cors_at(place: usize) -> impl Fn(Setup) -> Setup {
    let filter = json!({
        "name": "envoy.filters.http.cors",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"},
    });
    move |setup| {
        let filter = filter.clone();
        setup.endpoint(json!({"max_sessions": 1})).patch(move |config| {
            let listener = &mut config["static_resources"]["listeners"][0];
            let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
            let filters = manager["http_filters"].as_array_mut().expect("filters");
            filters.insert(place, filter.clone());
            let host = &mut manager["route_config"]["virtual_hosts"][0];
            host["typed_per_filter_config"]["envoy.filters.http.cors"] = policy();
        })
    }
}

fn from_page(call: Call) -> Call {
    call.header("origin", PAGE)
}

/// Whether the page that sent the request can read the answer, and these headers of it.
fn readable(answer: &Answer, headers: &[&str]) -> bool {
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    answer.header("access-control-allow-origin") == Some(PAGE)
        && headers
            .iter()
            .all(|header| exposed.split(", ").any(|name| name == *header))
}

/// The id of a session, then the answers 429 and 404.
async fn refusals(stage: &Stage) -> (Answer, Answer, Answer) {
    let opened = stage.client.send(from_page(Call::initialize())).await;
    let full = stage.client.send(from_page(Call::initialize())).await;
    assert_eq!(full.status, 429);
    let id = opened.session().expect("an id").to_owned();
    assert_eq!(stage.client.delete(&id).await.status, 200);
    let gone = stage
        .client
        .send(from_page(Call::tools_list().session(&id)))
        .await;
    assert_eq!(gone.status, 404);
    (opened, full, gone)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reads_the_refusals_behind_cors() {
    everywhere(with_cors_at(0), Reply::as_told, |stage| async move {
        let (opened, full, gone) = refusals(&stage).await;
        assert!(readable(&opened, &["mcp-session-id"]), "{opened:?}");
        assert!(readable(&full, &["retry-after"]), "{full:?}");
        assert!(readable(&gone, &[]), "{gone:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_asks_first_and_the_filter_counts_nothing() {
    everywhere(with_cors_at(0), Reply::as_told, |stage| async move {
        let asks = from_page(Call::method("OPTIONS"))
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "mcp-session-id");
        let answer = stage.client.send(asks).await;
        assert_eq!((answer.status, readable(&answer, &[])), (200, true), "{answer:?}");
        assert_eq!((stage.stat("active"), stage.stat("reserved")), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_behind_the_filter_hides_the_refusals() {
    everywhere(with_cors_at(1), Reply::as_told, |stage| async move {
        let (opened, full, gone) = refusals(&stage).await;
        assert!(readable(&opened, &["mcp-session-id"]), "{opened:?}");
        assert!(
            !readable(&full, &[]) && !readable(&gone, &[]),
            "{full:?} {gone:?}"
        );
    })
    .await;
}
