//! An Envoy HTTP filter that tracks, caps and ends MCP sessions.
//!
//! # The way of a request
//!
//! `host` turns Envoy's callbacks into events of an [`exchange::Exchange`]. The exchange finds the request's
//! [`endpoint`] in the [`config`] and its [`principal`], and reads its message ([`mcp`]). It asks the [`session`]
//! table, which all workers share. Then it decides: the request goes on, is held, or gets an [`answer`]. Its reports
//! go to metrics, filter state and logs under the names in [`telemetry`]. A request for the [`status`] view is answered
//! before an exchange begins.
//!
//! Everything but `host` is plain Rust without a host, so that tests, benches and fuzzers run it natively.

pub mod answer;
mod base64;
pub mod config;
pub mod endpoint;
pub mod exchange;
pub mod fleet;
pub mod header_map;
#[cfg(feature = "host")]
mod host;
pub mod mcp;
pub mod principal;
pub mod session;
pub mod status;
pub mod telemetry;
pub mod worker;
