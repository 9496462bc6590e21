//! Open files: a stream takes two in Envoy and one at each end.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as it goes, for this process and those it starts. Returns the limit.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If it cannot be raised, what is in force counts.
    let _ = setrlimit(Resource::Nofile, highest);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many sessions with a stream each fit into `open_files`, given what else Envoy and this process open.
pub fn streams_within(open_files: u64) -> u64 {
    const ELSE: u64 = 600;
    open_files.saturating_sub(ELSE) / 2
}
