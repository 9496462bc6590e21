//! The shell around the core: the only place that knows proxy-wasm.
//!
//! Everything here turns callbacks into events of the core and its results into host calls. On the path of
//! every request they go through [`abi`], which cannot panic; elsewhere through the SDK's `hostcalls`, with
//! their errors handled. The SDK's convenience methods panic, and a panic takes the worker's VM down.

mod abi;
mod caller;
mod callouts;
mod clock;
mod failure_log;
mod metrics;
mod reporter;
mod root;
mod shared;
mod shared_data;
mod stream;
#[cfg(feature = "trap")]
mod trap;

use proxy_wasm::types::LogLevel;

/// The entry point that Envoy calls in every new VM.
#[allow(unsafe_code, missing_docs, reason = "the SDK's macro exports `_initialize`")]
mod entry {
    use super::{LogLevel, root};

    proxy_wasm::main! {{
        // Installs the SDK's panic hook and logger; what Envoy does not want logged it says at configuration.
        proxy_wasm::set_log_level(LogLevel::Info);
        proxy_wasm::set_root_context(|id| Box::new(root::Root::new(id)));
    }}
}
