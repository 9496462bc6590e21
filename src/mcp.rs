//! The Model Context Protocol as far as the filter has to know it: which message a body holds, which revision
//! a request speaks, and what may serve as a session id.
//!
//! Nothing here knows a host, a clock or a table. Everything reads `&[u8]` from the network and hands back
//! checked values that borrow from it.

mod envelope;
pub mod json_rpc;
pub mod mcp_name;
pub mod method;
pub mod occurs;
pub mod query;
pub mod revision;
pub mod session_id;
pub mod sse;
