//! The session table: every fact about sessions that outlives one request, in a store that all workers share.
//!
//! A set of keys that only caps make larger holds all of it: *buckets* with the sessions, found by a keyed hash of their id; one
//! *ledger* with the caps, the counts and the reservations; and the hash key itself. Every change reads a value,
//! changes it, and writes it back only if no other worker wrote it in between.

mod limit;
mod settings;
#[cfg(test)]
mod simulated;
mod store;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod tracked_id;
mod values;

pub use limit::Limit;
pub use settings::{
    Configuration, ConfigurationId, EndpointSettings, EndpointTag, FleetSettings, FleetTag, LEASE_FLOOR,
    Lifespans, VmSettings,
};
pub use store::{BUCKETS, Key, SetError, Store, StoreError, Value, Version};
pub use table::evict::{Candidates, Resting, Round};
pub use table::look::{Fleet, KnownEndpoint, Listed, Look, MOST_LISTED};
pub use table::open::{NewSession, Opened, Origin};
pub use table::quota::Quota;
pub use table::share::{Attendant, Attended};
pub use table::sweep::{Sweep, SweepProgress, SweepReport};
pub use table::upstream_delete::{DeleteEntry, DeleteOutcome};
pub use table::{Standing, Table};
pub use time::Timestamp;
pub use tracked_id::TrackedId;
pub use values::delete_request::DeleteRequest;
pub use values::gateways::{Gateways, KnownGateway};
pub use values::ledger::{Counts, DEFAULT_VM_LIMIT, EndpointCounts, Kept, Refusal, Reservation};
pub use values::paths::EndpointPath;
pub use values::record::{EndReason, EndedSession, IdDigest, Owner, RootTag, Session, SessionKey};
pub use values::speech::Findings;
pub use values::upstream_delete::PendingDelete;
