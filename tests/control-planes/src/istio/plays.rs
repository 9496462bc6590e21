//! What is played with each form.

use std::path::PathBuf;

use gateway::stats::Sample;

use super::bed::Bed;
use super::files::{self, FLEET, Form};
use super::{Module, Modules};
use crate::play::is;
use crate::process::sha256;
use crate::resources::Replaced;
use crate::show::Show;
use crate::{Fallible, fleet};

/// The cap that ships.
pub const CAP: u64 = 10_000;

/// How many sessions there are at the update from 0.1.0, and how many of them are used meanwhile.
const OLD: u64 = 500;
const USED: usize = 10;

/// How many requests there are at least before an edit, and again once it is in force.
const LOAD: u64 = 500;

/// Spellings of the path that servers take for it, and other paths at which some servers answer.
const PATHS: [&str; 12] = [
    "/mcp",
    "/mcp/",
    "/MCP",
    "/mcp;a=b",
    "//mcp",
    "/./mcp",
    "/%6dcp",
    "/mcp%2f",
    "/x/../mcp",
    "/mcp?a=b",
    "/sse",
    "/",
];

/// The folder of the discovery server and the agent.
fn folder() -> PathBuf {
    std::env::temp_dir().join("istio")
}

/// Everything that is played with one form.
pub async fn form(form: Form, modules: &Modules, show: &Show) -> Fallible<()> {
    show.heading(&form.to_string());
    let mut bed = Bed::start(form, modules, &modules.shipped, &folder()).await?;
    show.replaced(&bed.names_of(&modules.shipped)?);
    bed.is_up().await?;
    show.done(&format!("the gateway takes requests, through {}", place(&bed)?));
    clients(&bed, show).await?;
    let ids = full(&bed, show).await?;
    let ids = edited(&mut bed, modules, ids, show).await?;
    let ids = upgraded(&mut bed, modules, ids, show).await?;
    if form.is_by_image() {
        wrong_digest(&mut bed, modules, &ids, show).await?;
    }
    Ok(())
}

/// The filters, whose order the files and their README tell.
fn place(bed: &Bed) -> Fallible<String> {
    let filters = bed.filters()?;
    let at = |name: &str| filters.iter().position(|filter| filter.contains(name));
    let ours = at("mcp");
    let (rbac, cors, router) = (
        at("filters.http.rbac"),
        at("filters.http.cors"),
        at("filters.http.router"),
    );
    let is_right = match bed.form().file {
        "envoyfilter" => cors < ours && ours < router,
        "policy-by-tool" => ours < rbac && rbac < cors,
        _ => ours < cors && rbac.is_none_or(|rbac| ours < Some(rbac)),
    };
    let told = filters.join(", ");
    match ours.is_some() && cors.is_some() && is_right {
        true => Ok(told),
        false => Err(format!("the filter is not where its file says: {told}")),
    }
}

/// What a client sees while there is room.
async fn clients(bed: &Bed, show: &Show) -> Fallible<()> {
    let target = bed.target();
    target.session().await?;
    show.done("a session opened, used, ended by DELETE, then 404");
    labelled(bed)?;
    show.done("Prometheus sees labels in place of parts of names, and buckets up to a day");
    let seen = target.spelled(&PATHS).await?;
    show.done(&format!("nothing goes around the filter: {seen}"));
    if bed.form().has_policy() {
        target.denies("delete_everything", "list_everything").await?;
        show.done("delete_everything got 403, whatever header the client wrote; list_everything got 200");
    }
    Ok(())
}

/// What the proxy reads when it starts is in force.
fn labelled(bed: &Bed) -> Fallible<()> {
    let samples = bed.prometheus()?;
    let has = |name: &str, label: &str, value: &str| {
        let is = |sample: &Sample| {
            sample.name.contains(name) && sample.labels.get(label).is_some_and(|is| is == value)
        };
        samples.iter().any(is)
    };
    let labels = has("mcp_sessions_ended", "mcp_reason", "client_delete")
        && has("mcp_sessions_ended", "mcp_endpoint", "mcp");
    match labels && has("mcp_sessions", "le", "86400000") {
        true => Ok(()),
        false => Err("no labels, or no buckets, in what Prometheus sees".to_owned()),
    }
}

/// As many sessions as the file that ships lets in.
async fn full(bed: &Bed, show: &Show) -> Fallible<Vec<String>> {
    let target = bed.target();
    let ids = target.fill(CAP).await?;
    target.is_full().await?;
    show.done(&format!("{CAP} sessions opened, the next got 429"));
    Ok(ids)
}

/// The cap in place of the one that ships.
fn cap(cap: u64) -> Replaced {
    Replaced::new(format!("max_sessions: {CAP}"), format!("max_sessions: {cap}"))
}

/// Applies an edit while the sessions are used, waits until its cap is in force, and tells of the sessions before and
/// after. Then the room that the edit made is filled.
async fn changed(
    bed: &mut Bed,
    module: &Module,
    new: u64,
    mut ids: Vec<String>,
) -> Fallible<(String, Vec<String>)> {
    let mut list = bed.names_of(module)?;
    list.push(cap(new));
    let load = bed.target().load(&ids);
    load.more(LOAD).await?;
    bed.apply(&list).await?;
    let target = bed.target();
    target.expect("limit", new).await?;
    load.more(LOAD).await?;
    let requests = load.stop().await?;
    let (active, alive) = (target.stat("active"), target.alive(&ids).await?);
    let told = format!(
        "{} sessions before, {active} after, {alive} of them answered 200; {requests} requests meanwhile, all 200",
        ids.len()
    );
    if (active, alive) != (ids.len() as u64, ids.len()) {
        return Err(told);
    }
    ids.extend(target.fill(new - active).await?);
    target.is_full().await?;
    Ok((told, ids))
}

async fn edited(bed: &mut Bed, modules: &Modules, ids: Vec<String>, show: &Show) -> Fallible<Vec<String>> {
    let (told, ids) = changed(bed, &modules.shipped, CAP + 50, ids).await?;
    show.done(&format!(
        "edit of the cap: {told}; {} sessions fit, the next got 429",
        ids.len()
    ));
    Ok(ids)
}

async fn upgraded(bed: &mut Bed, modules: &Modules, ids: Vec<String>, show: &Show) -> Fallible<Vec<String>> {
    let (told, ids) = changed(bed, &modules.upgrade, CAP + 100, ids).await?;
    show.done(&format!("another module of the same layout: {told}"));
    Ok(ids)
}

/// The digest of the module itself, which is another than that of its image, and then the right one again.
async fn wrong_digest(bed: &mut Bed, modules: &Modules, ids: &[String], show: &Show) -> Fallible<()> {
    let module = &modules.upgrade;
    let right = bed.names_of(module)?;
    let own = sha256(&module.file)?;
    let mut wrong = right.clone();
    for replaced in &mut wrong {
        replaced.new = replaced.new.replace(&module.digest, &own);
    }
    bed.apply(&wrong).await?;
    let target = bed.target();
    target.answers(403).await?;
    let answer = target.client.initialize().await;
    is(403, &answer)?;
    show.done(&format!(
        "the module's digest in place of the image's: every request gets 403 {}",
        answer.text()
    ));
    bed.apply(&right).await?;
    let target = bed.target();
    target.answers(200).await?;
    let alive = target.alive(ids).await?;
    show.done(&format!(
        "the right digest again: 200; {alive} of {} sessions answered 200",
        ids.len()
    ));
    Ok(())
}

/// A gateway of a fleet.
pub async fn fleet(modules: &Modules, show: &Show) -> Fallible<()> {
    show.heading(&FLEET.to_string());
    let mut bed = Bed::start(FLEET, modules, &modules.shipped, &folder()).await?;
    let _etcd = fleet::etcd(&folder()).await?;
    let list = files::in_fleet(fleet::CAP);
    show.replaced(&list);
    bed.apply(&list).await?;
    bed.is_up().await?;
    show.done(&fleet::play(&bed.target()).await?);
    Ok(())
}

/// The update from release 0.1.0, whose table has another layout.
pub async fn from_0_1_0(form: Form, modules: &Modules, show: &Show) -> Fallible<()> {
    show.heading(&format!("{form}, from release 0.1.0"));
    let mut bed = Bed::start(form, modules, &modules.old, &folder()).await?;
    bed.is_up().await?;
    let ids = bed.target().fill(OLD).await?;
    bed.target().expect("active", OLD).await?;
    let mut list = bed.names_of(&modules.shipped)?;
    list.push(cap(CAP + 50));
    let load = bed.target().load(&ids[..USED]);
    load.more(LOAD).await?;
    bed.apply(&list).await?;
    let target = bed.target();
    target.expect("limit", CAP + 50).await?;
    load.more(LOAD).await?;
    let requests = load.stop().await?;
    // While the old listener drains, both modules write the gauge `active`, each its own count.
    target.expect("adopted", USED as u64).await?;
    let alive = target.alive(&ids).await?;
    target.expect("adopted", OLD).await?;
    show.done(&format!(
        "{OLD} sessions before; the table took in {USED} as they were used meanwhile, and all once each was used \
         ({alive} got 200); {requests} requests meanwhile, all 200"
    ));
    match alive == ids.len() {
        true => Ok(()),
        false => Err(format!("{alive} of {OLD} sessions got 200")),
    }
}
