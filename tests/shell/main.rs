//! The whole filter, natively, against a host that a test scripts.
//!
//! This binary defines the host functions that the SDK imports, and calls the callbacks that it exports. The SDK's
//! dispatcher is thread-local, so a thread is a worker: [`envoy::Worker`] runs callbacks on a thread of its own. All
//! workers of an [`envoy::Envoy`] share one store, one set of stats and one clock, which stands still until a test
//! moves it. A panic in a callback ends the process, as it would end the VM.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    reason = "tests may panic, and the SDK's enums have no end"
)]

mod configuration;
mod configurations;
mod costs;
mod envoy;
mod faults;
mod fleet;
mod http_sse;
mod life_cycle;
mod lost_session;
mod method_headers;
mod refused_kinds;
mod requests;
mod sequences;
mod status;
mod streams;
mod terminate;
mod workers;
