//! A way to take a worker's VM down on purpose, for the tests that show what survives it. Never in what ships:
//! only the feature `trap` compiles it.

use crate::header_map::HeaderMap;

/// A request with this header takes the VM down.
const HEADER: &[u8] = b"x-trap-vm";

/// Takes the VM down if the request asks for it.
#[allow(clippy::panic, reason = "that is what it is for")]
pub(super) fn if_asked(fields: &HeaderMap) {
    if fields.iter().any(|(name, _)| name == HEADER) {
        panic!("trapped on purpose");
    }
}
