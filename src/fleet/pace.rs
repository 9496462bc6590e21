//! When a gateway may send its next call.

use core::time::Duration;

use crate::session::Timestamp;

/// Pause after the first call without an answer, at least; at most twice as long. Each further one in a row doubles it.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// No pause is longer than twice this.
const LONGEST: Duration = Duration::from_millis(500);

/// The most that a gateway pauses after the first lost race, if it is urgent. Each further one in a row doubles it. A
/// transaction takes some milliseconds.
const AFTER_RACE: Duration = Duration::from_millis(8);

/// How often this is doubled at most. With all gateways at it, one in some tens of milliseconds gets through.
const MOST_DOUBLED: u32 = 3;

/// How much longer a gateway pauses for whose share nobody waits, so that the others come first.
const NOT_URGENT: u32 = 8;

/// The pauses between calls. They are drawn at random, so that gateways that have lost a race do not meet again.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    random: u64,
    not_before: Timestamp,
    failures: u32,
    races: u32,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: seed,
            not_before: Timestamp::START,
            failures: 0,
            races: 0,
        }
    }

    /// When the next call may be sent.
    pub(super) fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// A call had no answer.
    pub(super) fn failed(&mut self, now: Timestamp) {
        let pause = doubled(AFTER_FAILURE, self.failures).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.after(pause + self.up_to(pause));
    }

    /// Another gateway has written first.
    pub(super) fn lost_race(&mut self, is_urgent: bool, now: Timestamp) {
        let factor = if is_urgent { 1 } else { NOT_URGENT };
        let most = doubled(AFTER_RACE * factor, self.races.min(MOST_DOUBLED));
        self.races = self.races.saturating_add(1);
        self.not_before = now.after(self.up_to(most));
    }

    /// A call was answered.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// A share was written.
    pub(super) fn written(&mut self) {
        self.failures = 0;
        self.races = 0;
    }

    /// A random time of up to `most`.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        // SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = self.random;
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        most * ((mixed >> 48) as u32) / (1 << 16)
    }
}

/// A time doubled this often, eight times at most.
fn doubled(time: Duration, times: u32) -> Duration {
    time * (1 << times.min(8))
}
