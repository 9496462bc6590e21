//! The filter in a real Envoy.
//!
//! Most tests play one scenario `everywhere`: with one worker and with two, over HTTP/1.1 and over HTTP/2. Unless a
//! test says otherwise, the configuration is the one that ships.

mod admission;
mod answers;
mod bodies;
mod caps;
mod configurations;
mod cors;
mod departures;
mod ends;
mod envoy_gateway;
mod eras;
mod evictions;
mod fleet;
mod from_0_1_0;
mod harness;
mod header_mismatch;
mod hostile;
mod http_sse;
mod istio;
mod lifecycles;
mod lost_session;
mod lost_session_ends;
mod method_headers;
mod module;
mod observability;
mod opening_rate;
mod principals;
mod real_client;
mod refused_kinds;
mod releases;
mod replicas;
mod revisions;
mod rude;
mod rude_ends;
mod rude_messages;
mod rude_sse;
mod scope;
mod spellings;
mod status;
mod streams;
mod strict_json_rpc;
mod terminate;
mod timers;
mod tracing;
mod traps;
mod unknown_ids;
mod updates;
mod yaml;
