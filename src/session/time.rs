use core::time::Duration;

/// A time on the host's monotonic clock, in milliseconds since that clock's own start.
///
/// It is stored in 40 bits, which last for 34 years of uptime. All arithmetic saturates, so a clock that misbehaves
/// can delay an expiry but never wrap into one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's start.
    pub const START: Self = Self(0);

    /// The latest time that can be stored; stands for "never".
    pub const NEVER: Self = Self((1 << 40) - 1);

    /// The time `millis` milliseconds after the clock's start, at most [`Timestamp::NEVER`].
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(Self::NEVER.0))
    }

    /// Milliseconds since the clock's start.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// The time `delay` later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// The time since `earlier`; zero if `earlier` lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The beginning of the `step` in which this time lies.
    pub(super) fn rounded_down(self, step: Duration) -> Self {
        let step = u64::try_from(step.as_millis()).unwrap_or(u64::MAX).max(1);
        Self::from_millis(self.0 / step * step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturates_at_never() {
        assert_eq!(Timestamp::from_millis(u64::MAX), Timestamp::NEVER);
        assert_eq!(Timestamp::NEVER.after(Duration::from_secs(1)), Timestamp::NEVER);
        assert_eq!(Timestamp::default().since(Timestamp::NEVER), Duration::ZERO);
    }

    #[test]
    fn rounds_down_to_the_beginning_of_the_step() {
        let step = Duration::from_millis(250);
        assert_eq!(
            Timestamp::from_millis(499).rounded_down(step),
            Timestamp::from_millis(250)
        );
        assert_eq!(
            Timestamp::from_millis(500).rounded_down(step),
            Timestamp::from_millis(500)
        );
    }
}
