//! One cap over several gateways: this gateway's share of it.
//!
//! Each gateway owns a *share* of the fleet's cap, and shares move in the background. So a newcomer that finds a place
//! in the share of its gateway asks nobody else. The shares lie in an etcd, one key for each gateway, under a lease.
//!
//! ```text
//!   demand, time          call             bytes
//! shell ------> Gateway -------> etcd.rs ---------> etcd
//!   ^   limit      ^     answer             bytes     |
//!   +--------------+------------- etcd.rs <-----------+
//! ```
//!
//! [`Gateway`] is the protocol of one gateway as a state machine. It knows no host, no table and no etcd: it takes the
//! time, the demand and the [`Answer`]s to its [`Call`]s, and says what to send next and how many sessions this
//! gateway may have. [`Etcd`] turns calls into requests to etcd's JSON gateway, and bytes into answers.
//!
//! # Why the cap holds
//!
//! 1. A share grows by one transaction, which etcd carries out only if no other share has grown since this gateway last
//!    saw them all. Shares that shrink, and keys that vanish, only free places.
//! 2. A share grows first in etcd and then here. It shrinks first here and then in etcd. So a gateway never allows
//!    more than any value that its key may have, whichever of its transactions etcd carries out, and when.
//! 3. A lease ends here before it ends in etcd. It counts from the moment at which the request for it was sent.
//!
//! A gateway that was cut off for longer than its lease comes back with the sessions that it has, even over the cap.
//! Nobody grows until the sum is below the cap again.

mod call;
mod etcd;
mod gateway;
mod lease;
mod pace;
mod settings;
mod view;

use core::time::Duration;

pub use call::{Answer, Ask, Call, Next};
pub use etcd::{Etcd, MAX_ANSWER_BYTES, Request};
pub use gateway::{Gateway, Tally};
pub use lease::{Kept, Lease};
pub use settings::Settings;
pub use view::{Entry, GatewayId, View};

pub use crate::session::Limit;
use crate::session::Timestamp;

/// The longest wait of a newcomer for a place in the share. A gateway without a share is lost after as long without an
/// answer.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The same while the gateway asks for a share. It asks because newcomers come: one of them must not give up just before
/// the gateway is lost and lets it in.
pub const PATIENCE_WITHOUT_LEASE: Duration = Duration::from_secs(2);

/// The shell counts the demand anew after this time at the latest, so that a place that a session has left is free
/// everywhere before a newcomer loses its patience.
pub const COUNT_EVERY: Duration = Duration::from_millis(250);

/// What the operator decides about the fleet, as far as the protocol needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The cap over all gateways, as this gateway's configuration has it.
    pub cap: u32,
    /// How long a gateway that says nothing keeps its share: 3s to 5m.
    pub lease: Duration,
    /// What becomes of newcomers while the gateway is lost.
    pub when_lost: WhenLost,
}

/// What becomes of newcomers while etcd gives no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenLost {
    /// The gateway's own cap decides alone.
    Local,
    /// Nobody is let in.
    Refuse,
}

/// What this gateway has and wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Sessions alive and reservations.
    pub used: u32,
    /// Newcomers that wait for a place.
    pub waiting: u32,
}

/// What a newcomer without a place must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Wait: the share may grow.
    Wait,
    /// The fleet is full, or the newcomer has waited for long enough.
    Full,
    /// The gateway is lost, and lets nobody in.
    Lost,
}

impl Outlook {
    /// The outlook of a newcomer that came at `came`, if a look that was sent at `full_at` has shown a full fleet.
    /// `refuses` says that the gateway is lost, and lets nobody in; `has_lease`, that it is not asking for a share.
    pub fn of(
        came: Timestamp,
        full_at: Option<Timestamp>,
        refuses: bool,
        has_lease: bool,
        now: Timestamp,
    ) -> Self {
        let seen_full = full_at.is_some_and(|full_at| full_at >= came);
        let patience = if has_lease {
            PATIENCE
        } else {
            PATIENCE_WITHOUT_LEASE
        };
        if refuses {
            Self::Lost
        } else if seen_full || now >= came.after(patience) {
            Self::Full
        } else {
            Self::Wait
        }
    }
}
