//! The shapes of load.

mod aborts;
mod burst;
mod fill;
mod fixed;
mod lifecycles;
mod ramp;
mod steady;

pub use aborts::abort;
pub use burst::burst;
pub use fill::{close, fill};
pub use fixed::fixed;
pub use lifecycles::{Ending, Lifecycles};
pub use ramp::{Ramp, Step};
pub use steady::Steady;

use std::cell::Cell;
use std::rc::Rc;

use crate::figures::Recorder;
use crate::requests::Target;

/// Where the load goes, and where its results are recorded.
#[derive(Clone)]
pub struct Load {
    pub target: Rc<Target>,
    pub recorder: Rc<Recorder>,
}

impl Load {
    /// Load on a gateway, recorded from here on.
    pub fn on(target: &Rc<Target>) -> Self {
        Self {
            target: Rc::clone(target),
            recorder: Rc::default(),
        }
    }

    /// What it came to.
    pub fn figures(&self) -> crate::Figures {
        self.recorder.figures()
    }
}

/// Work that several workers share until it is done.
#[derive(Clone)]
struct Work(Rc<Cell<u64>>);

impl Work {
    fn new(count: u64) -> Self {
        Self(Rc::new(Cell::new(count)))
    }

    /// Takes one piece; false if none is left.
    fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

/// Runs `count` of these beside each other to the end.
async fn beside<F: Future<Output = ()> + 'static>(count: usize, make: impl Fn() -> F) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..count {
        running.spawn_local(make());
    }
    while let Some(ended) = running.join_next().await {
        if let Err(panicked) = ended {
            std::panic::resume_unwind(panicked.into_panic());
        }
    }
}

/// A cheap random generator of positions: SplitMix64, always the same sequence.
struct Places(u64);

impl Places {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as usize
    }
}
