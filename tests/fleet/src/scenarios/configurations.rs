//! Two configurations under one `vm_id`, and gateways with different caps.

use std::time::Duration;

use gateway::setup::wasm;
use gateway::{Client, Http};
use serde_json::{Value, json};

use crate::Fallible;
use crate::bed::{Bed, FLEET, member};
use crate::clients::{Tally, close, open, open_at_once};
use crate::report::Findings;

/// Of the first listener and of the second, which is loaded later.
const CAPS: [u64; 2] = [50, 80];
/// Of another gateway.
const LOWER: u64 = 20;
const SOON: Duration = Duration::from_secs(5);

pub async fn play(mut findings: Findings) -> Fallible<Findings> {
    let change = |setup: gateway::Setup| setup.patch(second_listener);
    let mut bed = Bed::start_as(1, 1, json!({"max_sessions": CAPS[0]}), change).await?;
    let second = bed.gateways[0]
        .envoy()
        .listener("other")
        .ok_or("no listener `other`")?;
    let second = Client::new(second, Http::One);
    let first = bed.clients[0].clone();
    served(&bed, &first, "only the first has served", CAPS[0], &mut findings).await;
    served(&bed, &second, "the second has served", CAPS[1], &mut findings).await;
    served(&bed, &first, "the first serves again", CAPS[1], &mut findings).await;
    let warned = crate::bed::until(SOON, || bed.logged(0, "configurations_differ") == 1).await;
    findings.check(
        "warnings that configurations differ",
        bed.logged(0, "configurations_differ"),
        warned,
    );
    let entries = bed.etcd.entries(FLEET).await?;
    findings.equals(
        "keys in etcd of one gateway with two configurations",
        entries.len(),
        1,
    );

    let clients = [first, second];
    let both = Tally::of(open_at_once(&clients, &[60, 60]).await);
    findings.equals(
        "let in through both listeners, of 120",
        both.opened() as u64,
        CAPS[1],
    );
    close(&clients, both.sessions).await;

    let setup = member(&bed.server, &bed.etcd.addresses(), json!({"max_sessions": LOWER}));
    bed.add(setup).await?;
    bed.joined(2).await?;
    let lowered = bed.all_say("fleet.limit", LOWER, SOON).await;
    let seen = lowered.as_ref().map_or_else(Clone::clone, |took| {
        format!("{LOWER} after {} ms", took.as_millis())
    });
    findings.check(
        "the cap in force once another gateway has a lower one",
        seen,
        lowered.is_ok(),
    );
    let warned = |gateway: usize| bed.logged(gateway, "fleet_caps_differ");
    let told = crate::bed::until(SOON, || (0..2).all(|gateway| warned(gateway) == 1)).await;
    findings.check(
        "warnings that the gateways' caps differ",
        format!("{:?}", [warned(0), warned(1)]),
        told,
    );
    let all = Tally::of(open_at_once(&bed.clients, &[30, 30]).await);
    findings.equals("let in by both gateways, of 60", all.opened() as u64, LOWER);
    Ok(findings)
}

/// One session through the client's listener, and the cap that is in force then.
async fn served(bed: &Bed, client: &Client, what: &str, cap: u64, findings: &mut Findings) {
    let clients = [client.clone()];
    let session = open(client, 0).await;
    let is_open = session.status == 200;
    close(&clients, session.session().into_iter().collect()).await;
    let said = bed.all_say("fleet.limit", cap, SOON).await;
    let seen = said.as_ref().map_or_else(Clone::clone, |_| cap.to_string());
    findings.check(format!("{what}: the cap in force"), seen, said.is_ok() && is_open);
}

/// The same listener again, under another name and with another cap.
fn second_listener(config: &mut Value) {
    let mut copy = config.clone();
    wasm(&mut copy)["configuration"]["value"]["fleet"]["max_sessions"] = json!(CAPS[1]);
    wasm(&mut copy)["name"] = json!("other");
    let mut listener = copy["static_resources"]["listeners"][0].take();
    listener["name"] = json!("other");
    let listeners = config["static_resources"]["listeners"].as_array_mut();
    listeners.expect("listeners").push(listener);
}
