//! `make conformance`: official MCP clients and servers, and the official conformance suite, direct and through the
//! filter.
//!
//! Clients and servers are programs of their own ([`parties`]), each in its own language; what a client's session came to
//! is an [`outcome::Outcome`]. A [`bed::Bed`] is a gateway in front of one server that tells what the filter counted
//! and what Envoy itself saw. Three experiments stand on that: the [`matrix`] of clients and servers, the [`suite`], and
//! the [`reactions`] of clients to the filter's own answers. Their tables are written by [`report`].

pub mod bed;
pub mod bend;
pub mod matrix;
pub mod outcome;
pub mod parties;
pub mod process;
pub mod reactions;
pub mod report;
pub mod suite;

/// What goes wrong with the machine, not with a client or the filter.
pub type Fallible<T> = Result<T, String>;
