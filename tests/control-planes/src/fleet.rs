//! What a gateway with the files of `envoy/fleet` does, behind either control plane, with a real etcd.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use gateway::poll;

use crate::Fallible;
use crate::play::{Target, is};
use crate::process::Process;

/// The fleet's cap, in place of the one that ships: below the gateway's own, so that each can be told from the other.
pub const CAP: u64 = 50;

/// All addresses of this machine: the files that ship name several members, which are one etcd here.
const CLIENTS: &str = "http://0.0.0.0:2379";

/// Starts an etcd in `folder`. It ends with this value.
pub async fn etcd(folder: &Path) -> Fallible<Process> {
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args([
        "--listen-client-urls",
        CLIENTS,
        "--advertise-client-urls",
        CLIENTS,
    ]);
    let mut etcd = Process::start("etcd", command, folder)?;
    let listens = |_: &Process| TcpStream::connect(("127.0.0.1", 2379)).ok();
    etcd.until("its port", listens).await?;
    Ok(etcd)
}

/// The gateway joins, lets in as many as the fleet may have, refuses the next one, and takes a place that is given back.
pub async fn play(target: &Target<'_>) -> Fallible<String> {
    target.is_up().await?;
    says(target, "fleet.gateways", 1).await?;
    says(target, "fleet.limit", CAP).await?;
    let ids = target.fill(CAP).await?;
    says(target, "fleet.used", CAP).await?;
    target.is_full().await?;
    says(target, "endpoint.mcp.rejected.reason.fleet_capacity", 1).await?;
    let ended = ids.first().ok_or("the cap is 0")?;
    is(200, &target.client.delete(ended).await)?;
    target.opened().await?;
    says(target, "fleet.share", CAP).await?;
    says(target, "fleet.lost", 0).await?;
    Ok(format!(
        "a share in etcd; {CAP} sessions for a cap of {CAP} over the fleet, the next 429 (fleet_capacity); one ended, \
         and another let in"
    ))
}

/// Waits until a stat of the filter has this value.
async fn says(target: &Target<'_>, name: &str, value: u64) -> Fallible<()> {
    let came = poll::until(poll::SOON, || (target.number(name) == value).then_some(())).await;
    came.ok_or_else(|| format!("{name} is {}, not {value}", target.number(name)))
}
