//! The shell around the core: only this module names proxy-wasm.
//!
//! The shell turns callbacks into events of the core, and the core's results into host calls. Host calls go through
//! [`abi`], whose failures are values: the SDK's functions panic at an unexpected failure, and a panic ends the
//! worker's VM. Only callouts go through the SDK, since the SDK passes on only answers to callouts that it knows.

mod abi;
mod caller;
mod callouts;
mod clock;
mod failure_log;
mod fleet;
mod held_answers;
mod lent;
mod logger;
mod metrics;
mod newcomers;
mod reporter;
mod root;
mod shared;
mod shared_data;
mod status;
mod stream;
mod timer;
#[cfg(feature = "trap")]
mod trap;

/// The entry point that Envoy calls in every new VM.
#[allow(unsafe_code, missing_docs, reason = "the SDK's macro exports `_initialize`")]
mod entry {
    use super::{logger, root};

    proxy_wasm::main! {{
        logger::install();
        proxy_wasm::set_root_context(|id| Box::new(root::Root::new(id)));
    }}
}
