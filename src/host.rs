//! The shell around the core: the only place that knows proxy-wasm.
//!
//! Everything here turns callbacks into events of the core and its results into host calls. They go through [`abi`],
//! whose failures are values: the SDK's functions panic at a failure they do not expect, and a panic takes the
//! worker's VM down. Only callouts go through the SDK, which has to know of them to hand their answers on.

mod abi;
mod caller;
mod callouts;
mod clock;
mod failure_log;
mod logger;
mod metrics;
mod reporter;
mod root;
mod shared;
mod shared_data;
mod stream;
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
