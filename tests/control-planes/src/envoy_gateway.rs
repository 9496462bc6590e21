//! `make test-envoy-gateway`: Envoy Gateway itself, standalone, with each of the folders that ship for it.

mod bed;
mod control_plane;
mod plays;
mod resources;
mod wrong_digest;
mod xds;

use bed::{Bed, CAP};

use serde_json::json;

use crate::show::Show;
use crate::{Fallible, fleet};

/// Plays what has `only` in its name: that of a folder that ships, or of what is done with it.
pub async fn play(only: &str) -> Fallible<()> {
    let show = Show::start();
    show.heading("Envoy Gateway, standalone");
    let bed = Bed::start().await?;
    show.done("a server, and a registry with the images");
    show.replaced(&bed.image().list());
    for folder in ["headers", "body", "tools"] {
        if folder.contains(only) {
            show.heading(&format!("envoy/envoy-gateway/{folder}, the module by its image"));
            let played = play_folder(&bed, folder, &show).await;
            played.map_err(|error| format!("{folder}: {error}"))?;
        }
    }
    for (name, part) in PARTS {
        if name.contains(only) {
            show.heading(name);
            let played = match part {
                Part::Unmended => unmended(&bed).await,
                Part::Unpatched => unpatched(&bed).await,
                Part::ByHttp => by_http(&bed).await,
                Part::TwoPolicies => two_policies(&bed).await,
                Part::WrongDigest => wrong_digest::play(&bed, &show).await,
                Part::Fleet => in_fleet(&bed).await,
            };
            show.done(&played.map_err(|error| format!("{name}: {error}"))?);
        }
    }
    Ok(())
}

/// What is played besides the folders as they ship.
enum Part {
    Unmended,
    Unpatched,
    ByHttp,
    WrongDigest,
    TwoPolicies,
    Fleet,
}

const PARTS: [(&str, Part); 6] = [
    ("the folder body without its policies for traffic", Part::Unmended),
    ("the folder body without its EnvoyPatchPolicy", Part::Unpatched),
    ("the module by http://", Part::ByHttp),
    ("two policies, each with a route of its own", Part::TwoPolicies),
    ("a digest that nothing has", Part::WrongDigest),
    ("envoy/fleet/envoy-gateway, with an etcd", Part::Fleet),
];

async fn play_folder(bed: &Bed, folder: &str, show: &Show) -> Fallible<()> {
    let plane = bed.control_plane(&bed.resources(folder, bed.image())?).await?;
    let target = plane.target(bed);
    show.done(&plays::session(&target).await?);
    show.done(&plays::policies(&plane, folder)?);
    show.done(&plays::big_message(&target).await?);
    match folder {
        "body" => show.done(&plays::long_stream(&target).await?),
        "tools" => show.done(&plays::denied_tool(bed, &target).await?),
        _ => {}
    }
    let mut ids = plays::cap(&target).await?;
    show.done(&format!(
        "{CAP} sessions 200, the next 429; a page can read the 429 and a 404"
    ));
    let edits = [
        ("an edit of the cap", bed.image(), CAP + 5),
        ("an upgrade of the module", bed.upgrade(), CAP + 10),
    ];
    for (what, image, cap) in edits {
        let edited = bed.with_cap(folder, image, cap)?;
        let done = plays::edited_under_load(&plane, &target, &mut ids, (cap, &edited)).await?;
        show.done(&format!("{what} under load: {done}"));
    }
    Ok(())
}

async fn unmended(bed: &Bed) -> Fallible<String> {
    let left = plays::body_without(bed, "TrafficPolicy")?;
    let plane = bed.control_plane(&left).await?;
    plays::refused_and_cut(&plane.target(bed)).await
}

async fn unpatched(bed: &Bed) -> Fallible<String> {
    let left = plays::body_without(bed, "EnvoyPatchPolicy")?;
    let plane = bed.control_plane(&left).await?;
    plays::hangs(&plane.target(bed)).await
}

/// The same module from a server of files, pinned by its own digest.
async fn by_http(bed: &Bed) -> Fallible<String> {
    let mut resources = bed.resources("headers", bed.image())?;
    let policy = resources::of_kind(&mut resources, "EnvoyExtensionPolicy")?;
    let code = bed.code_by_http(&bed.module_digest()?);
    println!("  replaced     code  by  {code}");
    policy["spec"]["wasm"][0]["code"] = code;
    let plane = bed.control_plane(&resources).await?;
    plays::session(&plane.target(bed)).await
}

/// The files of a fleet. The cluster that they add finds etcd by its name.
async fn in_fleet(bed: &Bed) -> Fallible<String> {
    let mut resources = bed.resources("../fleet/envoy-gateway", bed.image())?;
    let policy = resources::of_kind(&mut resources, "EnvoyExtensionPolicy")?;
    policy["spec"]["wasm"][0]["config"]["fleet"]["max_sessions"] = json!(fleet::CAP);
    println!("  replaced     fleet.max_sessions  by  {}", fleet::CAP);
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let _etcd = fleet::etcd(folder.path()).await?;
    control_plane::name_here("etcd.mcp.svc.cluster.local")?;
    let plane = bed.control_plane(&resources).await?;
    fleet::play(&plane.target(bed)).await
}

async fn two_policies(bed: &Bed) -> Fallible<String> {
    let plane = bed.control_plane(&plays::two_policies(bed)?).await?;
    let caps = plays::caps_of_two(bed, &plane).await?;
    Ok(format!("{caps}; {}", plays::renamed(bed, &plane).await?))
}
