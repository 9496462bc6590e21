//! The open streams of one root: how many it has, by endpoint and by principal, and when each is old enough to be
//! closed.
//!
//! A stream lives on the worker that has it, and dies with it. So these numbers are the truth about the root's own
//! streams. The table holds what each root has said of its own, with a deadline, so that all roots can add it up.

use core::time::Duration;
use std::collections::{BinaryHeap, VecDeque};

use hashbrown::HashMap;

use crate::session::{EndpointTag, Owner, Quota, Store, StoreError, Table, Timestamp};

/// What the table holds of a principal's streams is said anew when it is this old.
const SAID_ANEW_AFTER: Duration = Duration::from_secs(15);

/// One tick says anew at least this many numbers that are due, and a sixteenth of all: even if all are due at once,
/// the last one is said before its deadline, and no tick does all the work.
const SAID_AT_ONCE: usize = 64;
const SHARE_SAID_AT_ONCE: usize = 16;

/// The cap that left no room for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRefusal {
    /// The endpoint's.
    Endpoint,
    /// The principal's.
    Principal,
}

/// The place of a stream, from the request or the answer on that takes it. The exchange gives it back exactly once.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamPlace {
    endpoint: EndpointTag,
    /// The principal whose book also counts the stream.
    owner: Option<Owner>,
}

/// How many streams of a principal the root has, and when it has told the table.
#[derive(Clone, Copy, Debug)]
struct Told {
    count: u32,
    /// [`Timestamp::START`] if the table has another number.
    at: Timestamp,
}

/// The open streams of one root.
#[derive(Debug, Default)]
pub struct OpenStreams {
    endpoints: Vec<(EndpointTag, u32)>,
    principals: HashMap<(EndpointTag, Owner), Told>,
    /// When streams reach their age, with the contexts of the streams, in this order. A new stream is mostly the last,
    /// and the next to be closed the first.
    ages: VecDeque<(Timestamp, u32)>,
}

impl OpenStreams {
    /// Takes a place for a stream, if the caps allow: first the principal's, if there is one, then the endpoint's if
    /// `is_capped`. Nothing is taken if one of them refuses.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written. Then no place is taken.
    pub fn take<S: Store>(
        &mut self,
        table: &Table<S>,
        endpoint: EndpointTag,
        quota: Option<Quota>,
        is_capped: bool,
        now: Timestamp,
    ) -> Result<Result<StreamPlace, StreamRefusal>, StoreError> {
        let owner = quota.map(|quota| quota.owner);
        if let Some(quota) = quota {
            let count = self.count_of(endpoint, quota.owner).saturating_add(1);
            if !table.set_streams_within_quota(endpoint, quota, count, now)? {
                return Ok(Err(StreamRefusal::Principal));
            }
            self.note(endpoint, quota.owner, count, now);
        }
        let count = self.count(endpoint).saturating_add(1);
        let taken = match is_capped {
            true => table.set_streams_within_cap(endpoint, count, now),
            false => table.set_streams(endpoint, count, now).map(|()| true),
        };
        if taken == Ok(true) {
            *self.count_mut(endpoint) = count;
            return Ok(Ok(StreamPlace { endpoint, owner }));
        }
        if let Some(owner) = owner {
            // If this fails, the next tick says it again.
            let _ = self.give_back_of(table, endpoint, owner, now);
        }
        taken.map(|_| Err(StreamRefusal::Endpoint))
    }

    /// Counts a stream that needs no room. If the table cannot be written, it learns of the stream at the next tick.
    pub fn open<S: Store>(
        &mut self,
        table: &Table<S>,
        endpoint: EndpointTag,
        now: Timestamp,
    ) -> (StreamPlace, Result<(), StoreError>) {
        let count = self.count_mut(endpoint);
        *count = count.saturating_add(1);
        let said = table.set_streams(endpoint, *count, now);
        let owner = None;
        (StreamPlace { endpoint, owner }, said)
    }

    /// Gives a place back.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written; it then learns of it at the next tick.
    pub fn give_back<S: Store>(
        &mut self,
        table: &Table<S>,
        place: StreamPlace,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let StreamPlace { endpoint, owner } = place;
        let count = self.count_mut(endpoint);
        *count = count.saturating_sub(1);
        let said = table.set_streams(endpoint, *count, now);
        let of_owner = owner.map_or(Ok(()), |owner| self.give_back_of(table, endpoint, owner, now));
        said.and(of_owner)
    }

    /// Notes that the stream `context` must be closed at `age`.
    pub fn close_at(&mut self, age: Timestamp, context: u32) {
        if let Err(place) = self.ages.binary_search(&(age, context)) {
            self.ages.insert(place, (age, context));
        }
    }

    /// Forgets the stream `context`, which is closed before its `age`.
    pub fn is_closed(&mut self, age: Timestamp, context: u32) {
        if let Ok(place) = self.ages.binary_search(&(age, context)) {
            self.ages.remove(place);
        }
    }

    /// Takes out the streams that have reached their age, by context id, at most `most` of them.
    pub(super) fn take_old(&mut self, most: usize, now: Timestamp) -> Vec<u32> {
        let mut old = Vec::new();
        while old.len() < most
            && let Some((_, context)) = self.ages.pop_front_if(|(age, _)| *age <= now)
        {
            old.push(context);
        }
        old
    }

    /// The work of every tick: says to the table what it may have lost, or what ends soon. What fails is said at the
    /// next tick.
    pub fn keep<S: Store>(
        &mut self,
        table: &Table<S>,
        now: Timestamp,
        failed: &mut impl FnMut(&'static str, StoreError),
    ) {
        if let Err(error) = table.keep_leases(&self.endpoints, now) {
            failed("keep_leases", error);
        }
        for (_, (endpoint, owner), count) in self.next_to_say(now) {
            match table.set_streams_of(endpoint, owner, count, now) {
                Ok(()) => self.note(endpoint, owner, count, now),
                Err(error) => failed("set_streams_of", error),
            }
        }
    }

    /// The principals whose numbers must be said anew, those that were said longest ago first.
    fn next_to_say(&self, now: Timestamp) -> Vec<(Timestamp, (EndpointTag, Owner), u32)> {
        let most = SAID_AT_ONCE.max(self.principals.len() / SHARE_SAID_AT_ONCE);
        let is_due = |told: &Told| now.since(told.at) >= SAID_ANEW_AFTER;
        let mut next = BinaryHeap::new();
        for (of, told) in self.principals.iter().filter(|(_, told)| is_due(told)) {
            next.push((told.at, *of, told.count));
            if next.len() > most {
                next.pop();
            }
        }
        next.into_vec()
    }

    fn give_back_of<S: Store>(
        &mut self,
        table: &Table<S>,
        endpoint: EndpointTag,
        owner: Owner,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let count = self.count_of(endpoint, owner).saturating_sub(1);
        let said = table.set_streams_of(endpoint, owner, count, now);
        match said {
            Ok(()) => self.note(endpoint, owner, count, now),
            Err(_) => {
                let at = Timestamp::START;
                self.principals.insert((endpoint, owner), Told { count, at });
            }
        }
        said
    }

    /// Notes what the table holds now.
    fn note(&mut self, endpoint: EndpointTag, owner: Owner, count: u32, at: Timestamp) {
        match count {
            0 => drop(self.principals.remove(&(endpoint, owner))),
            _ => drop(self.principals.insert((endpoint, owner), Told { count, at })),
        }
    }

    fn count_of(&self, endpoint: EndpointTag, owner: Owner) -> u32 {
        let told = self.principals.get(&(endpoint, owner));
        told.map_or(0, |told| told.count)
    }

    /// How many streams the root has at the endpoint.
    pub fn count(&self, endpoint: EndpointTag) -> u32 {
        let known = self.endpoints.iter().find(|(tag, _)| *tag == endpoint);
        known.map_or(0, |(_, count)| *count)
    }

    fn count_mut(&mut self, endpoint: EndpointTag) -> &mut u32 {
        let known = self.endpoints.iter().position(|(tag, _)| *tag == endpoint);
        let index = known.unwrap_or_else(|| {
            self.endpoints.push((endpoint, 0));
            self.endpoints.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the index was found or made just above")]
        &mut self.endpoints[index].1
    }
}
