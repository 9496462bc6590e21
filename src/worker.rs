//! What one worker remembers. These are hints about the table, never the only copy of a fact, so a worker may lose
//! them.

pub mod delete_queue;
pub mod in_use;
pub mod longest_idle;
pub mod open_streams;
pub mod speaker;
pub mod unnamed_streams;
