use super::time::Timestamp;

/// How many sessions and reservations there may be under this `vm_id`, by the fleet that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The fleet says nothing: the gateway is lost, and its own caps decide alone.
    Own,
    /// This many, until the lease ends. A newcomer is let in only before.
    Places {
        /// How many.
        most: u32,
        /// When the lease ends.
        until: Timestamp,
    },
}

impl Limit {
    /// Nobody is let in.
    pub const NOBODY: Self = Self::Places {
        most: 0,
        until: Timestamp::NEVER,
    };

    /// Whether one more session may come to the `used` ones at `now`.
    pub fn has_room(self, used: u32, now: Timestamp) -> bool {
        match self {
            Self::Own => true,
            Self::Places { most, until } => used < most && now < until,
        }
    }
}
