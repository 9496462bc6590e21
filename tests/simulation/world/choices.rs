//! The source of a world's decisions.

/// Decisions, one after the other: endless from a seed, or from bytes until they are used up.
#[derive(Debug)]
pub enum Choices {
    Seeded(u64),
    Given { bytes: Vec<u8>, next: usize },
}

impl Choices {
    /// Decisions of a seed; the same seed gives the same decisions.
    pub fn of_seed(seed: u64) -> Self {
        Self::Seeded(seed)
    }

    /// Decisions of a fuzzer.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::Given {
            bytes: bytes.to_vec(),
            next: 0,
        }
    }

    /// Whether all decisions are used up.
    pub fn are_over(&self) -> bool {
        match self {
            Self::Seeded(_) => false,
            Self::Given { bytes, next } => *next >= bytes.len(),
        }
    }

    /// A number under `bound`, which is 256 at most.
    pub fn below(&mut self, bound: usize) -> usize {
        match self {
            Self::Seeded(state) => usize::try_from(split_mix(state) >> 33).unwrap() % bound,
            Self::Given { bytes, next } => {
                let byte = bytes.get(*next).copied().unwrap_or(0);
                *next += 1;
                usize::from(byte) % bound
            }
        }
    }

    /// True once in `times` calls, on average.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 1
    }

    /// One of these values.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
