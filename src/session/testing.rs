//! One store in memory for every test, bench and fuzzer: as Envoy's, and with faults where a test wants them.
//!
//! The unit tests have it by `cfg(test)`. All that is built outside the library (the tests in `tests`, the benches,
//! the fuzzers) has it by the feature `testing`, which never is on in what ships.

mod handle;
mod memory;
mod shared_data;

pub use handle::Handle;
pub use memory::Memory;
pub use shared_data::{SharedData, Stale};
