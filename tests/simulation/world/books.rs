//! What the world remembers, to tell whether what must hold does.

use std::collections::BTreeMap;

use mcp_session_filter::session::{Counts, Key};

use super::heard::Heard;
use super::worker::Place;

/// What the world remembers.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Sessions opened less sessions ended, by what was reported; `None` where a report may have been lost.
    pub(super) reported: Option<i64>,
    /// When each session was last in use, by endpoint and id.
    pub(super) last_used: BTreeMap<(usize, usize), u64>,
    /// Places whose streams are gone and that nobody has given back.
    pub(super) orphans: Vec<Place>,
    /// Values that another version has written, and what was there before.
    pub(super) foreign: Vec<(Key, Vec<u8>)>,
    /// The clock has gone back in this world: marks of recounts from before stay in the buckets, and a session that
    /// ends may stay counted until the next round.
    pub(super) clock_went_back: bool,
    /// A heavy fault has happened since the last round of sweeps.
    pub(super) disturbed: bool,
    /// Until then places may be kept that the world does not know.
    pub(super) strange_places_until: u64,
    /// When a worker last dropped places that had run out.
    pub(super) last_reap: u64,
    /// After the ledger was lost more may have been let in than the caps allow; until enough have ended,
    /// nobody is.
    pub(super) over_the_cap: bool,
}

/// How things were before an event.
pub(super) struct Before {
    pub(super) counts: Option<Counts>,
    pub(super) is_there: bool,
    pub(super) calls: u64,
    /// Nothing disturbs the worker, so that everything must be exact.
    pub(super) is_calm: bool,
}

/// What a request came to.
#[derive(Debug)]
pub(super) enum Letting {
    In,
    Held,
    Refused(u16),
}

pub(super) struct Outcome {
    pub(super) heard: Heard,
    pub(super) letting: Letting,
}

impl Books {
    pub(super) fn disturb(&mut self) {
        self.disturbed = true;
        self.reported = None;
    }
}
