//! HTTP/3, by a client that speaks it.

use crate::report::Row;

/// The rows.
pub async fn rows() -> Vec<Row> {
    Vec::new()
}
