//! The Model Context Protocol as far as the filter must know it: the message in a body, the revision of a request,
//! and the form of a session id.
//!
//! Nothing here knows a host, a clock or a table. Every function reads `&[u8]` from the network and returns checked
//! values that borrow from it.

mod envelope;
pub mod field_value;
pub mod json_rpc;
pub mod mcp_name;
pub mod method;
pub mod occurs;
pub mod query;
pub mod revision;
pub mod session_id;
pub mod sse;
