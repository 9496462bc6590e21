//! The session table: every fact about sessions that outlives one request, kept in a store that all
//! workers share.
//!
//! A fixed set of keys holds it all: 16,384 *buckets* with the sessions, found by a keyed hash of their
//! id; one *ledger* with the caps, the counts and the reservations; and the hash key itself. Every change
//! is read, changed and written back only if nobody else wrote in between.

mod bucket;
mod codec;
mod evict;
mod farewell;
mod farewells;
mod ledger;
mod open;
mod places;
mod principals;
mod record;
mod settings;
mod store;
mod sweep;
mod table;
mod time;
#[cfg(test)]
mod world;

pub use evict::Idlest;
pub use farewell::{Farewell, Owed};
pub use farewells::Settlement;
pub use ledger::{Counts, EndpointCounts, Refusal, Reservation};
pub use open::{NewSession, Opened, Origin};
pub use principals::Quota;
pub use record::{EndReason, EndedSession, IdDigest, Owner, RootTag, Session, SessionKey};
pub use settings::{EndpointSettings, EndpointTag, Lifespans, VmSettings};
pub use store::{BUCKETS, Key, SetError, Store, StoreError, Value, Version};
pub use sweep::SweepReport;
pub use table::{Standing, Table};
pub use time::Timestamp;
