//! Support for the tests against a real Envoy, for `make run` and for the load generator.
//!
//! A [`Setup`] states the differences from `envoy/envoy.yaml` and starts a [`Gateway`], a real Envoy in front of a
//! server: [`McpServer`], which is the official Rust SDK, [`OddServer`], which answers as a test says, or
//! [`RudeServer`], which gives ids where no good server would. A [`Client`] or a [`RawConnection`] sends the test's
//! requests. The [`Gateway`] tells what the filter counted.

pub mod answer;
pub mod call;
pub mod client;
pub mod envoy;
pub mod gateway;
pub mod listeners;
pub mod mcp_server;
pub mod message;
pub mod odd_server;
pub mod poll;
pub mod raw;
pub mod raw_server;
pub mod reply;
pub mod rude_server;
pub mod setup;
pub mod stage;
pub mod stats;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tls")]
pub mod token;
pub mod yaml;

pub use answer::{Answer, Stream};
pub use call::{Call, Upload};
pub use client::{Client, Http};
pub use gateway::Gateway;
pub use mcp_server::McpServer;
pub use odd_server::{OddServer, Request};
pub use raw::RawConnection;
pub use raw_server::{RawServer, Step};
pub use reply::{Gate, Reply};
pub use rude_server::{Ids, Manners, Reading, RudeServer};
pub use setup::{Encoding, Setup};
pub use stage::{Stage, everywhere};
