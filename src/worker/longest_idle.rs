//! The sessions that one root would evict next (`on_full: evict_idle`).
//!
//! A newcomer is refused only if no session of its endpoint was idle for `evict_after`, on whichever root it became
//! idle. A root knows the list from its last scan of the table, and the time when another scan could find more:
//!
//! * Without `evict_after`: when a session has become idle since; the table tells this ([`Table::listen_for_rests`]).
//! * With it: when `evict_after` has passed. A session that was in use at the scan cannot have been idle for long
//!   enough before. The sessions that were idle are in the list, and wait there until they have been idle for long
//!   enough.
//! * In both cases: when a lease that the scan saw has run out, since its root may have died.
//!
//! Before that time, refusing a newcomer costs two or three reads. So a flood of newcomers causes no scans if all
//! sessions are in use.

use core::time::Duration;

use crate::session::{
    Candidates, EndedSession, EndpointTag, LEASE_FLOOR, Lifespans, Resting, Round, SessionKey, Store,
    StoreError, Table, Timestamp, Version,
};

/// For this long after a scan, sessions that became idle on this root since then count as those idle longest. Stamps
/// are no more exact than this where no request writes them.
const SCAN_HOLDS: Duration = Duration::from_secs(1);

/// Most scans for one newcomer. More than one is needed if other newcomers are quicker to take the sessions that a
/// scan finds.
const MOST_SCANS: usize = 4;

/// The idle sessions that one root would evict next, by endpoint, the longest idle first.
///
/// The list may be out of date: a session that has changed since is skipped.
#[derive(Debug, Default)]
pub struct LongestIdle(Vec<AtEndpoint>);

#[derive(Debug)]
struct AtEndpoint {
    endpoint: EndpointTag,
    /// From the last scans of the table.
    seen: Candidates,
    /// Sessions that have become idle on this root since.
    rested: Candidates,
    /// The progress of the scans.
    round: Round,
    /// When the round began.
    scanned: Timestamp,
    /// The table's version of the value for idle sessions at that time.
    heard: Option<Version>,
}

impl LongestIdle {
    /// Notes that a session has become idle on this root, and tells the other roots if they wait for one.
    ///
    /// # Errors
    /// [`StoreError`] if the other roots could not be told; they scan again when a lease would have run out.
    pub fn note_rest<S: Store>(
        &mut self,
        table: &Table<S>,
        endpoint: EndpointTag,
        key: SessionKey,
        evict_after: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !evict_after.is_zero() {
            return Ok(());
        }
        self.at(endpoint).rested.add((now, key));
        table.tell_of_rest()
    }

    /// Ends the session of `endpoint` that has been idle longest, and for at least `evict_after`. `None` if there is
    /// no such session, or if its end would make no room.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn evict<S: Store>(
        &mut self,
        table: &Table<S>,
        endpoint: EndpointTag,
        evict_after: Duration,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        if !table.would_let_in(endpoint, now)? {
            return Ok(None);
        }
        let known = self.at(endpoint);
        for _ in 0..MOST_SCANS {
            while let Some((stamp, key)) = known.take_next(evict_after, now) {
                if let Some(ended) = table.evict_resting(key, stamp, lifespans, now)? {
                    return Ok(Some(ended));
                }
            }
            if !known.scan(table, evict_after, now)? {
                break;
            }
        }
        Ok(None)
    }

    fn at(&mut self, endpoint: EndpointTag) -> &mut AtEndpoint {
        let known = self.0.iter().position(|known| known.endpoint == endpoint);
        let index = known.unwrap_or_else(|| {
            self.0.push(AtEndpoint {
                endpoint,
                seen: Candidates::default(),
                rested: Candidates::default(),
                round: Round::default(),
                scanned: Timestamp::default(),
                heard: None,
            });
            self.0.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the index was found or made just above")]
        &mut self.0[index]
    }
}

impl AtEndpoint {
    /// The next candidate; `None` if the table must be scanned first.
    fn take_next(&mut self, evict_after: Duration, now: Timestamp) -> Option<Resting> {
        let next = self.seen.take_longest_idle(evict_after, now);
        if next.is_some() || now.since(self.scanned) >= SCAN_HOLDS {
            return next;
        }
        self.rested.take_longest_idle(evict_after, now)
    }

    /// Scans the table, if there may be more to find. Returns whether a session was found that may be evicted.
    fn scan<S: Store>(
        &mut self,
        table: &Table<S>,
        evict_after: Duration,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.round.is_over() {
            if !self.may_find_more(table, evict_after, now)? {
                return Ok(false);
            }
            self.begin_round(table, evict_after, now)?;
        }
        table.scan_for_idle(self.endpoint, evict_after, &mut self.round, &mut self.seen, now)?;
        Ok(self.seen.has_idle(evict_after, now))
    }

    /// Whether another round could find a session that the last one did not.
    fn may_find_more<S: Store>(
        &self,
        table: &Table<S>,
        evict_after: Duration,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.seen.is_used_up() || self.round.busy_until() <= now {
            return Ok(true);
        }
        Ok(evict_after.is_zero() && self.heard != Some(table.rests()?))
    }

    fn begin_round<S: Store>(
        &mut self,
        table: &Table<S>,
        evict_after: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (heard, unseen_until) = if evict_after.is_zero() {
            (Some(table.listen_for_rests()?), now.after(LEASE_FLOOR))
        } else {
            (None, now.after(evict_after))
        };
        self.heard = heard;
        self.scanned = now;
        self.seen.clear();
        self.rested.clear();
        self.round.begin(unseen_until);
        Ok(())
    }
}
