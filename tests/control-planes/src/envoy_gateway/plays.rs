//! What is played through Envoy Gateway on each of the folders that ship.

use std::time::{Duration, Instant};

use gateway::message;
use gateway::{Answer, Call, Stream};
use serde_json::{Value, json};

use crate::Fallible;
use crate::envoy_gateway::bed::{Bed, CAP};
use crate::envoy_gateway::control_plane::ControlPlane;
use crate::envoy_gateway::{resources, xds};
use crate::play::{Target, is, until};

/// A page's origin that the SecurityPolicy that ships allows.
const PAGE: &str = "https://app.example.com";

/// Longer than Envoy Gateway lets an answer last where no policy says otherwise, which is 15 s.
const LONG: Duration = Duration::from_secs(17);

/// How many requests Envoy's default circuit breakers let pass at once.
const PLACES: usize = 1_024;

/// A request that has no answer for so long is taken for one that has none. Shorter than [`LONG`].
const WITHOUT_ANSWER: Duration = Duration::from_secs(3);

/// The host of a second route.
const SECOND: &str = "second.example.com";

/// One session: opened, used, ended, and gone.
pub async fn session(target: &Target<'_>) -> Fallible<String> {
    target.is_up().await?;
    target.session().await?;
    Ok("a session: initialize, requests, two streams, DELETE; then 404".to_owned())
}

/// What each policy has become in Envoy.
pub fn policies(plane: &ControlPlane, folder: &str) -> Fallible<String> {
    let dump = plane.config_dump()?;
    let limit = xds::listener(&dump).map(|listener| &listener["per_connection_buffer_limit_bytes"]);
    xds::expect("the listener's buffer", limit, json!(1 << 20))?;
    let route = xds::route(&dump).ok_or("no route")?;
    xds::expect("the route's timeout", route.get("timeout"), json!("0s"))?;
    xds::expect(
        "the route's idle timeout",
        route.get("idle_timeout"),
        json!("3600s"),
    )?;
    let breakers = xds::breakers(&dump).ok_or("no circuit breakers")?;
    for field in ["max_connections", "max_pending_requests", "max_requests"] {
        xds::expect(field, breakers.get(field), json!(65_536))?;
    }
    let filter = xds::plugin(&dump).ok_or("no filter")?;
    let (stops, failed) = match folder {
        "headers" => (Value::Null, Value::Null),
        _ => (json!(true), json!("FAIL_RELOAD")),
    };
    xds::expect(
        "allow_on_headers_stop_iteration",
        Some(&filter["allow_on_headers_stop_iteration"]),
        stops.clone(),
    )?;
    xds::expect("failure_policy", Some(&filter["failure_policy"]), failed.clone())?;
    let filters = xds::filters(&dump);
    let wanted = match folder {
        "tools" => "cors, wasm, rbac, router",
        _ => "cors, wasm, router",
    };
    if filters.join(", ") != wanted {
        return Err(format!("the filters are {filters:?}, not {wanted}"));
    }
    Ok(format!(
        "in Envoy: buffer 1 MiB, timeout 0s, idle_timeout 3600s, breakers 65536, stop_iteration {stops}, \
         failure_policy {failed}; filters {wanted}"
    ))
}

/// The cap, and what a page can read of the filter's own answers. The sessions stay, as many as the cap.
pub async fn cap(target: &Target<'_>) -> Fallible<Vec<String>> {
    let client = &target.client;
    let mut ids = target.fill(CAP).await?;
    target.is_full().await?;
    let full = client.try_send(Call::initialize().header("origin", PAGE)).await?;
    is(429, &full)?;
    readable(&full)?;
    let ended = ids.pop().ok_or("the cap is 0")?;
    is(200, &client.delete(&ended).await)?;
    let gone = client
        .try_send(Call::tools_list().session(&ended).header("origin", PAGE))
        .await?;
    is(404, &gone)?;
    readable(&gone)?;
    ids.push(target.opened().await?);
    target.is_full().await?;
    Ok(ids)
}

/// Whether a page can read an answer and its headers: what `cors` has written on it.
fn readable(answer: &Answer) -> Fallible<()> {
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    match answer.header("access-control-allow-origin") == Some(PAGE) && exposed.contains("retry-after") {
        true => Ok(()),
        false => Err(format!(
            "a page cannot read the {}: {:?}",
            answer.status, answer.headers
        )),
    }
}

/// An `initialize` of more than so many bytes, which the filter holds where it holds messages.
fn initialize_of(bytes: usize) -> Call {
    let mut initialize = message::initialize(1);
    initialize["params"]["clientInfo"]["title"] = json!("x".repeat(bytes));
    Call::post(&initialize)
}

/// A message that is larger than what Envoy Gateway's own limit lets the filter hold.
pub async fn big_message(target: &Target<'_>) -> Fallible<String> {
    let size = 200 << 10;
    let answer = target.client.try_send(initialize_of(size)).await?;
    is(200, &answer)?;
    let seen = target.server.seen("/mcp").pop().ok_or("the server saw nothing")?;
    if seen.body.len() < size {
        return Err(format!("of {size} bytes, {} came to the server", seen.body.len()));
    }
    is(200, &target.client.delete(answer.session().ok_or("no id")?).await)?;
    Ok("an initialize of 200 KiB comes to the server whole".to_owned())
}

/// The tool that the SecurityPolicy denies, and another one. The filter writes the headers that the rule reads.
pub async fn denied_tool(bed: &Bed, target: &Target<'_>) -> Fallible<String> {
    let mut resources = bed.resources("tools", bed.image())?;
    let policy = resources::of_kind(&mut resources, "SecurityPolicy")?;
    let rule = &policy["spec"]["authorization"]["rules"][0]["principal"]["headers"];
    let denied = rule[1]["values"][0].as_str().ok_or("the rule names no tool")?;
    target.denies(denied, "add").await?;
    Ok(format!(
        "{denied} 403, whatever a client writes into Mcp-Name; add 200"
    ))
}

/// An edit while all sessions that there may be are in use: no session is lost, and no request. The edit raises the cap, so
/// that it is seen when it is in force; the sessions that are then let in are added to the others.
pub async fn edited_under_load(
    plane: &ControlPlane,
    target: &Target<'_>,
    ids: &mut Vec<String>,
    (cap, edited): (u64, &[Value]),
) -> Fallible<String> {
    let before = ids.len();
    let load = target.load(ids);
    plane.apply(edited)?;
    let in_dump = |dump: &Value| xds::configuration(dump)?["max_sessions"].as_u64();
    plane
        .until("the new cap", |dump| (in_dump(dump)? == cap).then_some(()))
        .await?;
    let more = opened_in_time(target, cap - before as u64).await?;
    let sent = load.stop().await?;
    target.is_full().await?;
    let after = target.alive(ids).await?;
    ids.extend(more);
    match after == before {
        true => Ok(format!(
            "{before} sessions before, {after} after, {sent} requests 200; the cap is now {cap}"
        )),
        false => Err(format!("{before} sessions before an edit, {after} after it")),
    }
}

/// Opens so many sessions more. A new cap comes into force with the VM that the edit brings.
async fn opened_in_time(target: &Target<'_>, count: u64) -> Fallible<Vec<String>> {
    let end = Instant::now() + gateway::poll::SOON;
    let mut more = Vec::new();
    for _ in 0..count {
        let opened = until(end, async || target.opened().await).await;
        more.push(opened.map_err(|error| format!("the new cap is not in force: {error}"))?);
    }
    Ok(more)
}

/// A session's stream lasts longer than Envoy Gateway would let it.
pub async fn long_stream(target: &Target<'_>) -> Fallible<String> {
    let id = target.opened().await?;
    let cut = cut_after(target.client.open_stream(&id).await).await;
    is(200, &target.client.delete(&id).await)?;
    match cut {
        None => Ok(format!("a stream is open after {} s", LONG.as_secs())),
        Some(age) => Err(format!("a stream was cut after {:.1} s", age.as_secs_f64())),
    }
}

/// How old a stream became that was opened now, if it was cut.
async fn cut_after(mut stream: Stream) -> Option<Duration> {
    let opened = Instant::now();
    loop {
        let left = LONG.saturating_sub(opened.elapsed());
        match tokio::time::timeout(left, stream.next()).await {
            Err(_) => return None,
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) => return Some(opened.elapsed()),
        }
    }
}

/// The folder `body` without the resources whose kind ends so.
pub fn body_without(bed: &Bed, kind: &str) -> Fallible<Vec<Value>> {
    let mut left = bed.resources("body", bed.image())?;
    left.retain(|resource| {
        !resource["kind"]
            .as_str()
            .is_some_and(|found| found.ends_with(kind))
    });
    Ok(left)
}

/// What Envoy Gateway does where nobody tells it otherwise: this is what the policies for traffic are for.
pub async fn refused_and_cut(target: &Target<'_>) -> Fallible<String> {
    target.is_up().await?;
    is(413, &target.client.try_send(initialize_of(40 << 10)).await?)?;
    let id = target.opened().await?;
    let cut = cut_after(target.client.open_stream(&id).await).await;
    let cut = cut.ok_or("a stream was not cut")?.as_secs_f64();
    one_too_many(target, &id).await?;
    Ok(format!(
        "an initialize of 40 KiB 413; a stream is cut after {cut:.1} s; stream {} has no answer",
        PLACES + 1
    ))
}

/// Fails unless a stream that comes when there are as many as Envoy's default circuit breakers let pass gets no answer.
async fn one_too_many(target: &Target<'_>, id: &str) -> Fallible<()> {
    let mut streams = Vec::new();
    for _ in 0..PLACES {
        let stream = target.client.open_stream(id).await;
        match stream.status {
            200 => streams.push(stream),
            other => return Err(format!("stream {} got {other}", streams.len() + 1)),
        }
    }
    match tokio::time::timeout(WITHOUT_ANSWER, target.client.open_stream(id)).await {
        Err(_) => Ok(()),
        Ok(stream) => Err(format!("stream {} got {}", PLACES + 1, stream.status)),
    }
}

/// What becomes of a message that is held where the EnvoyPatchPolicy is missing.
pub async fn hangs(target: &Target<'_>) -> Fallible<String> {
    target.is_up().await?;
    let answer = tokio::time::timeout(WITHOUT_ANSWER, target.client.try_send(Call::initialize())).await;
    match answer {
        Err(_) => Ok(format!(
            "an initialize has no answer after {} s",
            WITHOUT_ANSWER.as_secs()
        )),
        Ok(answer) => Err(format!("an initialize got {:?}", answer?.status)),
    }
}

/// The folder `headers`, and a second route, by its host, with a policy of its own.
pub fn two_policies(bed: &Bed) -> Fallible<Vec<Value>> {
    let mut both = bed.resources("headers", bed.image())?;
    let mut route = resources::of_kind(&mut both, "HTTPRoute")?.clone();
    route["metadata"]["name"] = json!("mcp-2");
    route["spec"]["hostnames"] = json!([SECOND]);
    let mut policy = resources::of_kind(&mut both, "EnvoyExtensionPolicy")?.clone();
    policy["metadata"]["name"] = json!("mcp-session-filter-2");
    policy["spec"]["targetRefs"][0]["name"] = json!("mcp-2");
    policy["spec"]["wasm"][0]["config"]["endpoints"][0]["name"] = json!("second");
    both.extend([route, policy]);
    Ok(both)
}

/// Each policy lets in as many sessions as its cap says.
pub async fn caps_of_two(bed: &Bed, plane: &ControlPlane) -> Fallible<String> {
    let first = plane.target(bed);
    let second = Target {
        client: first.client.naming(SECOND),
        endpoint: "second",
        ..plane.target(bed)
    };
    for target in [&first, &second] {
        target.is_up().await?;
        target.fill(CAP).await?;
        target.is_full().await?;
    }
    for target in [&first, &second] {
        target.expect("active", CAP).await?;
    }
    Ok(format!(
        "each lets in {CAP} sessions, {} in all, and answers 429 to the next; each gauge says {CAP}",
        CAP * 2
    ))
}

/// The first policy under another name: the table is another, too, and empty, so that newcomers are let in again.
pub async fn renamed(bed: &Bed, plane: &ControlPlane) -> Fallible<String> {
    let mut both = two_policies(bed)?;
    let policy = resources::of_kind(&mut both, "EnvoyExtensionPolicy")?;
    policy["metadata"]["name"] = json!("mcp-session-filter-3");
    plane.apply(&both)?;
    let newcomers = opened_in_time(&plane.target(bed), 10).await?.len();
    Ok(format!(
        "under another name the policy lets in {newcomers} more: its table is empty"
    ))
}
