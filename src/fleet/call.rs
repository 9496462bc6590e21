//! What a gateway asks of etcd, and what etcd answers, apart from their bytes.

use core::time::Duration;

use super::view::{Entry, View};
use crate::session::Timestamp;

/// A request to etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Under this number its answer must come back. Answers to earlier calls are ignored.
    pub number: u32,
    /// What is asked.
    pub ask: Ask,
    /// When it was sent.
    pub sent: Timestamp,
    /// An answer that comes later than this is ignored.
    pub until: Timestamp,
}

/// What a gateway asks of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A lease that lasts for this long.
    Grant(Duration),
    /// That the lease with this number lasts anew.
    Renew(i64),
    /// All entries.
    Look,
    /// Writes the entry, if nothing has happened in between that matters; or else reads all entries.
    Swap {
        /// The gateway's own entry.
        entry: Entry,
        /// The lease under which the entry lies.
        lease: i64,
        /// The own entry was not written after this revision.
        own: i64,
        /// The entry takes places, or lowers the cap. So nobody may have done so after this revision, and this call is
        /// one that does. `None` if it gives places back: then the own entry must be there, and nothing else matters.
        growth: Option<i64>,
    },
}

/// What etcd answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is a new lease.
    Granted {
        /// Its number.
        lease: i64,
        /// How long it lasts.
        lasts: Duration,
    },
    /// The lease lasts anew.
    Renewed {
        /// For how long.
        lasts: Duration,
        /// The revision of etcd, if it said so.
        revision: Option<i64>,
    },
    /// All entries.
    Seen(View),
    /// The entry was written, at this revision.
    Written(i64),
    /// The lease does not exist any more.
    NoLease,
    /// Nothing that etcd would say: no answer, a cut one, an error, rubbish.
    Nothing,
}

/// What the shell does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Puts [`Gateway::limit`](super::Gateway::limit) in force, which is lower now; then counts the demand anew and comes back.
    Again,
    /// Sends this.
    Send(Call),
    /// Comes back at this time, or when the demand has changed.
    Wait(Timestamp),
}
