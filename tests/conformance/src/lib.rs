//! `make conformance`: official MCP clients and servers, and the official conformance suite, direct and through the
//! filter.
//!
//! Clients and servers are programs of their own ([`parties`]), each in its own language. The result of a client's
//! session is an [`outcome::Outcome`]. A [`bed::Bed`] is a gateway in front of one server, and compares the filter's
//! counts with what Envoy itself saw. Three experiments use these: the [`matrix`] of clients and servers, the
//! [`suite`], and the [`reactions`] of clients to the filter's own answers. [`report`] writes their tables.

pub mod bed;
pub mod bend;
pub mod matrix;
pub mod outcome;
pub mod parties;
pub mod process;
pub mod reactions;
pub mod report;
pub mod suite;

/// Errors of the machine, not of a client or the filter.
pub type Fallible<T> = Result<T, String>;
