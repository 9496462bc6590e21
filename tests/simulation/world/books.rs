//! The world's own memory, against which the invariants are checked.

use std::collections::BTreeMap;

use mcp_session_filter::session::{Counts, Key};

use super::heard::Heard;
use super::worker::Place;
use super::{IDS, SSE};

/// The world's own memory.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Sessions opened less sessions ended, by the reports; `None` if a report may have been lost.
    pub(super) reported: Option<i64>,
    /// When each session was last in use, by endpoint and id.
    pub(super) last_used: BTreeMap<(usize, usize), u64>,
    /// By endpoint and id of ended sessions: until then requests with the id certainly get 404. An id that is not here
    /// is unknown.
    pub(super) remembered: BTreeMap<(usize, usize), u64>,
    /// Reservations whose streams are gone without giving them back.
    pub(super) orphans: Vec<Place>,
    /// Values that another version has written, and the values before.
    pub(super) foreign: Vec<(Key, Vec<u8>)>,
    /// The clock has gone back in this world. So marks of earlier recounts stay in the buckets, and a session that
    /// ends may stay counted until the next round.
    pub(super) clock_went_back: bool,
    /// A heavy fault has happened since the last round of sweeps.
    pub(super) disturbed: bool,
    /// Until then there may be reservations that the world does not know.
    pub(super) strange_places_until: u64,
    /// When a worker last dropped reservations that had run out.
    pub(super) last_reap: u64,
    /// After the loss of the ledger there may be more sessions than the caps allow. Until enough of them have ended,
    /// no newcomer is let in.
    pub(super) over_the_cap: bool,
    /// The same of open streams.
    pub(super) streams_over: bool,
}

/// The state before an event.
pub(super) struct Before {
    pub(super) counts: Option<Counts>,
    pub(super) is_there: bool,
    pub(super) calls: u64,
    /// Nothing disturbs the worker, so that every result must be exact.
    pub(super) is_calm: bool,
}

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Letting {
    In,
    Held,
    Refused(u16),
}

pub(super) struct Outcome {
    pub(super) heard: Heard,
    pub(super) letting: Letting,
    /// The whole message was read for it.
    pub(super) is_read: bool,
}

impl Books {
    pub(super) fn disturb(&mut self) {
        self.disturbed = true;
        self.reported = None;
        self.doubt_memory();
    }

    /// Notes that any session may have ended without a report.
    pub(super) fn doubt_memory(&mut self) {
        let all = (0..=SSE).flat_map(|site| (0..IDS).map(move |id| (site, id)));
        self.remembered = all.map(|session| (session, 0)).collect();
    }
}
