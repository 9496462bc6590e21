//! The sessions that one root would evict next (`on_full: evict_idle`).

use core::time::Duration;

use crate::session::{
    Candidates, EndedSession, EndpointTag, Lifespans, Resting, SessionKey, Store, StoreError, Table,
    Timestamp,
};

/// A look that left nothing unseen is not repeated sooner: a look takes some 12 ms at most, so that looking in
/// vain costs a worker no more than a tenth of its time.
const LOOK_EVERY: Duration = Duration::from_millis(125);

/// The sessions at rest that one root would evict next, for each endpoint the longest idle first.
///
/// Never the truth: a session that is no longer as the list says is passed over.
#[derive(Debug, Default)]
pub struct LongestIdle(Vec<AtEndpoint>);

#[derive(Debug)]
struct AtEndpoint {
    endpoint: EndpointTag,
    /// From the last look at the table.
    seen: Candidates,
    /// Sessions that have come to rest on this root since.
    rested: Candidates,
    /// Until then another look would tell little that this root does not know.
    next_look: Timestamp,
}

impl LongestIdle {
    /// Notes that a session has come to rest on this root.
    pub fn note_rest(&mut self, endpoint: EndpointTag, key: SessionKey, at: Timestamp) {
        self.at(endpoint).rested.add((at, key));
    }

    /// Ends the session of `endpoint` that has been idle longest; `None` if all are in use.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn evict<S: Store>(
        &mut self,
        table: &Table<S>,
        endpoint: EndpointTag,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        let known = self.at(endpoint);
        loop {
            let Some((stamp, key)) = known.take_next(now) else {
                if known.next_look > now {
                    return Ok(None);
                }
                known.set_candidates(table.look_for_idle(endpoint, now)?, now);
                continue;
            };
            if let Some(ended) = table.evict_resting(key, stamp, lifespans, now)? {
                return Ok(Some(ended));
            }
        }
    }

    fn at(&mut self, endpoint: EndpointTag) -> &mut AtEndpoint {
        let known = self.0.iter().position(|known| known.endpoint == endpoint);
        let index = known.unwrap_or_else(|| {
            self.0.push(AtEndpoint {
                endpoint,
                seen: Candidates::default(),
                rested: Candidates::default(),
                next_look: Timestamp::default(),
            });
            self.0.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the index was found or made just above")]
        &mut self.0[index]
    }
}

impl AtEndpoint {
    /// The next candidate; `None` if the table has to be looked at first, or nobody is left. Sessions that came to
    /// rest on this root lately stand in where a look is not due yet.
    fn take_next(&mut self, now: Timestamp) -> Option<Resting> {
        let next = self.seen.take_longest_idle();
        if next.is_some() || self.next_look <= now {
            return next;
        }
        self.rested.take_longest_idle()
    }

    /// Takes over what a look at the table has found.
    fn set_candidates(&mut self, seen: Candidates, now: Timestamp) {
        self.next_look = if seen.is_partial && !seen.is_empty() {
            now
        } else {
            now.after(LOOK_EVERY)
        };
        self.rested.clear();
        self.seen = seen;
    }
}
