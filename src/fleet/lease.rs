//! The lease under which a gateway's share lies.

use core::time::Duration;

use super::view::GatewayId;
use crate::session::Timestamp;

/// A lease, as this gateway's clock knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number in etcd.
    pub number: i64,
    /// When the request was sent that it lasts from.
    pub renewed: Timestamp,
    /// When it ends here; in etcd it ends later.
    pub until: Timestamp,
}

/// What a gateway that speaks for the same process must know: it outlives the worker that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The gateway.
    pub gateway: GatewayId,
    /// Its lease, if it has joined under it.
    pub lease: Option<Lease>,
    /// It is lost.
    pub is_lost: bool,
}

impl Lease {
    /// A lease that etcd has given, or renewed, on a request that was sent at `sent`. It counts for no longer than the
    /// configuration says, and ends here an eighth earlier than there: the two clocks may differ in speed, and a
    /// process may be late.
    pub(super) fn counted(number: i64, sent: Timestamp, lasts: Duration, configured: Duration) -> Self {
        let lasts = lasts.min(configured);
        Self {
            number,
            renewed: sent,
            until: sent.after(lasts - lasts / 8),
        }
    }

    /// From when it should be renewed: after a third of its time.
    pub(super) fn renew_from(&self) -> Timestamp {
        self.renewed.after(self.time() / 3)
    }

    /// From when its renewal comes before a share for newcomers that wait: after half of its time.
    pub(super) fn renew_soon_from(&self) -> Timestamp {
        self.renewed.after(self.time() / 2)
    }

    fn time(&self) -> Duration {
        self.until.since(self.renewed)
    }
}
