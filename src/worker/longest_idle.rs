//! The sessions that one root would evict next (`on_full: evict_idle`).
//!
//! A newcomer is refused only if no session of its endpoint was idle for `evict_after`, whichever root it rested on. What
//! a root knows is the list of its last look at the table, and when a look could find more:
//!
//! * Without `evict_after`, when a session has come to rest since: the table tells ([`Table::listen_for_rests`]).
//! * With it, nothing that was in use at the look can have been idle for long enough before `evict_after` is over. Those
//!   that were at rest stand in the list, and wait there until they have been idle for long enough.
//! * In both cases when a lease has run out that the look has met, should its root have died.
//!
//! Before that, a newcomer is refused at the price of two or three reads, so that a flood of newcomers at a table whose
//! sessions are all in use costs no looks.

use core::time::Duration;

use crate::session::{
    Candidates, EndedSession, EndpointTag, LEASE_FLOOR, Lifespans, Resting, Round, SessionKey, Store,
    StoreError, Table, Timestamp, Version,
};

/// For this long after a look, sessions that have come to rest on this root since are taken for those idle longest: how
/// exact stamps are where no request writes them.
const LOOK_HOLDS: Duration = Duration::from_secs(1);

/// Looks for one newcomer at most: others may be quicker to take what each of them finds.
const MOST_LOOKS: usize = 4;

/// The sessions at rest that one root would evict next, for each endpoint the longest idle first.
///
/// Never the truth: a session that is no longer as the list says is passed over.
#[derive(Debug, Default)]
pub struct LongestIdle(Vec<AtEndpoint>);

#[derive(Debug)]
struct AtEndpoint {
    endpoint: EndpointTag,
    /// From the last looks at the table.
    seen: Candidates,
    /// Sessions that have come to rest on this root since.
    rested: Candidates,
    /// How far the looks have come.
    round: Round,
    /// When the round began.
    looked: Timestamp,
    /// What the table said of rests then.
    heard: Option<Version>,
}

impl LongestIdle {
    /// Notes that a session has come to rest on this root, and tells the others if they wait for that.
    ///
    /// # Errors
    /// [`StoreError`] if the others could not be told; they look again when a lease would have run out.
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

    /// Ends the session of `endpoint` that has been idle longest, and for at least `evict_after`; `None` if there is
    /// none, or if its end would let nobody in.
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
        for _ in 0..MOST_LOOKS {
            while let Some((stamp, key)) = known.take_next(evict_after, now) {
                if let Some(ended) = table.evict_resting(key, stamp, lifespans, now)? {
                    return Ok(Some(ended));
                }
            }
            if !known.look(table, evict_after, now)? {
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
                looked: Timestamp::default(),
                heard: None,
            });
            self.0.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the index was found or made just above")]
        &mut self.0[index]
    }
}

impl AtEndpoint {
    /// The next candidate; `None` if the table has to be looked at first.
    fn take_next(&mut self, evict_after: Duration, now: Timestamp) -> Option<Resting> {
        let next = self.seen.take_longest_idle(evict_after, now);
        if next.is_some() || now.since(self.looked) >= LOOK_HOLDS {
            return next;
        }
        self.rested.take_longest_idle(evict_after, now)
    }

    /// Looks at the table, if there may be more to find. Whether it has found a session that may be evicted.
    fn look<S: Store>(
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
        table.look_for_idle(self.endpoint, evict_after, &mut self.round, &mut self.seen, now)?;
        Ok(self.seen.has_idle(evict_after, now))
    }

    /// Whether another round could find what the last one did not.
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
        self.looked = now;
        self.seen.clear();
        self.rested.clear();
        self.round.begin(unseen_until);
        Ok(())
    }
}
