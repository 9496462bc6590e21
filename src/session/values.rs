//! What the table keeps, as bytes and as values. These files know no store: the operations of [`super::table`] read
//! and write what they describe.

pub(super) mod book;
pub(super) mod bucket;
mod codec;
pub(super) mod delete_request;
pub(super) mod depth;
pub(super) mod gateways;
#[cfg(test)]
mod golden;
pub(super) mod ledger;
pub(super) mod paths;
pub(super) mod record;
pub(super) mod speech;
pub(super) mod tombstone;
pub(super) mod upstream_delete;
