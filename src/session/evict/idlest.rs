use core::time::Duration;

use super::super::record::{Session, SessionKey};
use super::super::settings::EndpointTag;
use super::super::time::Timestamp;

/// How many candidates one look at the table yields at most.
const MOST: usize = 256;

/// A look that left nothing unseen is not repeated sooner: a look takes some 12 ms at most, so that looking in
/// vain costs a worker no more than a tenth of its time.
const LOOK_EVERY: Duration = Duration::from_millis(125);

/// A session, at rest since its stamp.
pub(super) type Resting = (Timestamp, SessionKey);

/// The sessions at rest that one root would evict next, for each endpoint the longest idle first.
///
/// Never the truth: who is no longer as it says is passed over.
#[derive(Debug, Default)]
pub struct Idlest(Vec<Candidates>);

#[derive(Debug)]
struct Candidates {
    endpoint: EndpointTag,
    /// From the last look at the table.
    seen: Crowd,
    /// What has come to rest on this root since.
    rested: Crowd,
    /// Until then another look would tell little that this root does not know.
    next_look: Timestamp,
}

/// What a look at the table has met.
#[derive(Debug, Default)]
pub(super) struct Look {
    found: Crowd,
    /// There is more than was looked at, or than is kept.
    pub(super) is_partial: bool,
}

/// The longest idle of all that were added. Short enough to be looked through each time.
#[derive(Debug, Default)]
struct Crowd(Vec<Resting>);

impl Crowd {
    /// Adds a session; where the crowd is full, the one that came to rest last goes, and that is told.
    fn add(&mut self, resting: Resting) -> bool {
        if self.0.len() < MOST {
            self.0.push(resting);
            return true;
        }
        if let Some(last) = self.0.iter_mut().max_by_key(|(stamp, _)| *stamp)
            && resting.0 < last.0
        {
            *last = resting;
        }
        false
    }

    /// Takes out the one that has been idle longest.
    fn next(&mut self) -> Option<Resting> {
        let (index, _) = (0..).zip(&self.0).min_by_key(|(_, (stamp, _))| *stamp)?;
        Some(self.0.swap_remove(index))
    }
}

impl Look {
    /// Notes a session, unless it is in use.
    pub(super) fn add_resting(&mut self, session: &Session, now: Timestamp) {
        if !session.in_use(now) {
            self.is_partial |= !self.found.add((session.stamp(), session.key));
        }
    }

    /// Takes out the one that has been idle longest.
    pub(super) fn next(&mut self) -> Option<Resting> {
        self.found.next()
    }
}

impl Idlest {
    /// Notes that a session has come to rest on this root.
    pub fn rested(&mut self, endpoint: EndpointTag, key: SessionKey, at: Timestamp) {
        self.at(endpoint).rested.add((at, key));
    }

    /// The next candidate; `None` if the table has to be looked at first, or nobody is left. What came to rest
    /// on this root lately stands in where a look is not due yet.
    pub(super) fn next(&mut self, endpoint: EndpointTag, now: Timestamp) -> Option<Resting> {
        let candidates = self.at(endpoint);
        let next = candidates.seen.next();
        if next.is_some() || candidates.next_look <= now {
            return next;
        }
        candidates.rested.next()
    }

    /// Whether a look at the table is due.
    pub(super) fn look_is_due(&mut self, endpoint: EndpointTag, now: Timestamp) -> bool {
        self.at(endpoint).next_look <= now
    }

    /// Takes over what a look at the table has found.
    pub(super) fn saw(&mut self, endpoint: EndpointTag, look: Look, now: Timestamp) {
        let candidates = self.at(endpoint);
        let found_none = look.found.0.is_empty();
        candidates.next_look = if look.is_partial && !found_none {
            now
        } else {
            now.after(LOOK_EVERY)
        };
        candidates.rested.0.clear();
        candidates.seen = look.found;
    }

    fn at(&mut self, endpoint: EndpointTag) -> &mut Candidates {
        let known = self
            .0
            .iter()
            .position(|candidates| candidates.endpoint == endpoint);
        let index = known.unwrap_or_else(|| {
            self.0.push(Candidates {
                endpoint,
                seen: Crowd::default(),
                rested: Crowd::default(),
                next_look: Timestamp::default(),
            });
            self.0.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the index was found or made just above")]
        &mut self.0[index]
    }
}
