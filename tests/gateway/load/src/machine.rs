//! What the experiments run on.

use std::fs;

use gateway::envoy::Envoy;
use gateway::setup;
use serde_json::{Value, json};

use crate::results::Machine;
use crate::{Fallible, grouped, limits};

impl Machine {
    /// This machine, the Envoy there is and the module as it is built.
    pub fn this() -> Fallible<Self> {
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores,
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            envoy: envoy_version()?,
            module: module()?,
            open_files: limits::raise_open_files(),
        })
    }
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

/// The version of the Envoy that answers; one without listeners starts in no time.
fn envoy_version() -> Fallible<String> {
    let admin = json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}});
    let envoy = Envoy::start(&json!({"admin": admin}), 1, 1)?;
    let info: Value = serde_json::from_str(&envoy.admin("/server_info"))?;
    // `<commit>/1.40.0/Clean/RELEASE/BoringSSL`
    let version = info["version"].as_str().unwrap_or_default();
    Ok(version.split('/').nth(1).unwrap_or(version).to_owned())
}

fn module() -> Fallible<String> {
    let path = setup::module();
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!(
        "{} bytes, FNV {:016x}",
        grouped(bytes.len() as u64),
        fnv(&bytes)
    ))
}

/// FNV-1a: enough to tell one build from another.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
