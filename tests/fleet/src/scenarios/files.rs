//! The files of `envoy/fleet` as they ship, but for ports and the cap, and the play of `make run-fleet` through them.

use gateway::envoy::{root, validate};

use crate::Fallible;
use crate::report::Findings;
use crate::run::Pair;

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    for file in ["one.yaml", "two.yaml"] {
        let said = validate(&root().join("envoy/fleet").join(file));
        let seen = said.as_ref().map_or_else(Clone::clone, |()| "valid".to_owned());
        findings.check(format!("envoy/fleet/{file}"), seen, said.is_ok());
    }
    let played = Pair::start(false).await?.play().await;
    let seen = played
        .as_ref()
        .map_or_else(Clone::clone, |()| "every step as it must be".to_owned());
    findings.check("the play of `make run-fleet`", seen, played.is_ok());
    Ok(findings)
}
