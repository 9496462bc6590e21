//! A digest in a policy that is not that of the image, or of the module.

use std::time::Instant;

use gateway::Call;
use serde_json::Value;

use crate::Fallible;
use crate::envoy_gateway::bed::Bed;
use crate::envoy_gateway::resources;
use crate::play::{Target, is, until};
use crate::show::Show;

/// A digest that nothing has.
const NOBODY_S: &str = "badbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadb";

/// How many sessions there are when an edit is wrong.
const SESSIONS: u64 = 1_000;

/// What a client then gets to every request. Envoy Gateway itself says so, and the server hears nothing.
const STATUS: u16 = 500;

/// From the start, by image and by `http://`; and as an edit while there are sessions, which is taken back.
pub async fn play(bed: &Bed, show: &Show) -> Fallible<String> {
    let by_image = bed.resources("headers", &bed.image().with_digest(NOBODY_S))?;
    show.done(&format!("of the image: {}", refused(bed, &by_image).await?));
    let mut by_http = bed.resources("headers", bed.image())?;
    let policy = resources::of_kind(&mut by_http, "EnvoyExtensionPolicy")?;
    policy["spec"]["wasm"][0]["code"] = bed.code_by_http(NOBODY_S);
    show.done(&format!(
        "of the module by http://: {}",
        refused(bed, &by_http).await?
    ));
    edited(bed, &by_image).await
}

async fn refused(bed: &Bed, resources: &[Value]) -> Fallible<String> {
    let plane = bed.control_plane(resources).await?;
    let told = told(&plane.target(bed)).await?;
    let log = plane.log();
    let errors = log.lines().filter_map(|line| line.split_once("\"error\": "));
    let mut why = errors.filter(|(_, error)| error.contains(NOBODY_S));
    let (_, error) = why.next().ok_or("the log does not say why")?;
    Ok(format!(
        "{told}; Envoy Gateway logs {}",
        error.trim_end_matches('}')
    ))
}

/// What a client is told.
async fn told(target: &Target<'_>) -> Fallible<String> {
    let reached = target.server.total();
    let answer = target.client.try_send(Call::initialize()).await?;
    is(STATUS, &answer)?;
    target.unreached(reached)?;
    Ok(format!("a client gets {STATUS} {:?}", answer.text()))
}

/// Until the edit is taken back every request is refused. The sessions live on.
async fn edited(bed: &Bed, wrong: &[Value]) -> Fallible<String> {
    let right = bed.resources("headers", bed.image())?;
    let plane = bed.control_plane(&right).await?;
    let target = plane.target(bed);
    target.is_up().await?;
    let ids = target.fill(SESSIONS).await?;
    plane.apply(wrong)?;
    until_alive(&target, &ids, 0).await?;
    let told = told(&target).await?;
    plane.apply(&right)?;
    until_alive(&target, &ids, SESSIONS).await?;
    Ok(format!(
        "as an edit: {told}; {SESSIONS} sessions before, and {SESSIONS} after it was taken back"
    ))
}

async fn until_alive(target: &Target<'_>, ids: &[String], wanted: u64) -> Fallible<()> {
    until(Instant::now() + gateway::poll::SOON, async || {
        match target.alive(ids).await? as u64 {
            found if found == wanted => Ok(()),
            found => Err(format!("{found} sessions live, not {wanted}")),
        }
    })
    .await
}
