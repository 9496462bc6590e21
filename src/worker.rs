//! What one worker remembers, and could lose: hints about the table, never the only copy of a fact.

pub mod delete_queue;
pub mod in_use;
pub mod longest_idle;
pub mod unnamed_streams;
