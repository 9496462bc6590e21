//! Crashes a worker's VM on purpose, for the tests of what survives a crash. Only the feature `trap` compiles this,
//! and no release has it.

use crate::header_map::HeaderMap;

/// A request with this header crashes the VM.
const HEADER: &[u8] = b"x-trap-vm";

/// Crashes the VM if the request asks for it.
#[allow(clippy::panic, reason = "that is what it is for")]
pub(super) fn if_asked(fields: &HeaderMap) {
    if fields.iter().any(|(name, _)| name == HEADER) {
        panic!("trapped on purpose");
    }
}
