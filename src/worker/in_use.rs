//! The sessions that one root has requests or streams of right now.
//!
//! A list of what this worker is busy with, never the only copy of a fact: it says which leases to renew,
//! which streams to close when a lifetime ends, and when a session's idle clock starts.

use core::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::longest_idle::LongestIdle;
use super::unnamed_streams::{UnnamedStream, UnnamedStreams};
use crate::session::{EndpointTag, Lifespans, Opened, SessionKey, Store, StoreError, Table, Timestamp};

/// A reservation is turned into a session this long before it runs out: two ticks, which come once a second.
const TICKS_AHEAD: Duration = Duration::from_secs(2);

/// Sessions in use on this root, each with the streams that use it.
#[derive(Debug, Default)]
pub struct InUse {
    /// Those at rest that this root would evict next.
    pub longest_idle: LongestIdle,
    /// Streams of HTTP+SSE that have not named their session yet.
    pub unnamed_streams: UnnamedStreams,
    sessions: HashMap<SessionKey, Use>,
    /// Endpoints of GET streams that are closed and that the table could not be told of, each as often.
    unclosed: Vec<EndpointTag>,
    /// Streams for which there is no place, by context id.
    placeless: Vec<u32>,
    /// How many ticks there have been.
    ticks: u32,
}

#[derive(Debug)]
struct Use {
    endpoint: EndpointTag,
    lifespans: Lifespans,
    opened: Timestamp,
    /// The stamp this root has seen or written last; past `now` while a lease is held.
    stamp: Timestamp,
    /// This root has a lease, which is to be given back.
    leased: bool,
    /// The tick before which the stamp was fresh.
    tick: u32,
    /// The stream that came first, and any that came while it was open.
    first: u32,
    others: Vec<u32>,
}

impl InUse {
    /// Notes that the stream `context` uses the session, opened and stamped when its record says.
    pub fn enter(
        &mut self,
        key: SessionKey,
        endpoint: EndpointTag,
        opened: Timestamp,
        stamp: Timestamp,
        lifespans: Lifespans,
        context: u32,
    ) {
        let tick = self.ticks;
        match self.sessions.entry(key) {
            Entry::Occupied(entry) => {
                let used = entry.into_mut();
                // A server may have minted the id of a live session anew.
                used.opened = used.opened.max(opened);
                used.stamp = used.stamp.max(stamp);
                used.tick = tick;
                used.others.push(context);
            }
            Entry::Vacant(entry) => {
                entry.insert(Use {
                    endpoint,
                    lifespans,
                    opened,
                    stamp,
                    leased: lifespans.leases_every_use(),
                    tick,
                    first: context,
                    others: Vec::new(),
                });
            }
        }
    }

    /// Other lifespans are in force at the endpoint from now on: the next tick takes the leases that they ask for.
    pub fn follow(&mut self, endpoint: EndpointTag, lifespans: Lifespans) {
        for used in self.sessions.values_mut() {
            if used.endpoint == endpoint {
                used.lifespans = lifespans;
            }
        }
    }

    /// Notes that a stream has become a session by itself, and uses that session.
    pub fn enter_stream(&mut self, stream: &UnnamedStream) {
        if let Some((key, opened)) = stream.session() {
            self.enter(
                key,
                stream.endpoint,
                opened,
                opened,
                stream.lifespans,
                stream.context,
            );
        }
    }

    /// Notes that the stream is over if the table need not hear of it: others of the session go on, or its
    /// stamp was fresh when the last tick was over, about a second ago. False if [`InUse::leave`] is to be called.
    pub fn leave_quietly(&mut self, key: SessionKey, context: u32) -> bool {
        let Entry::Occupied(mut entry) = self.sessions.entry(key) else {
            return true;
        };
        let used = entry.get_mut();
        if used.goes_on_without(context) {
            return true;
        }
        let is_quiet = !used.leased && used.tick == self.ticks;
        if is_quiet {
            entry.remove();
        }
        is_quiet
    }

    /// Notes that the stream is over. True if it was the last of the session and the table has to hear of
    /// it: a lease is to be given back, or the stored stamp has aged.
    pub fn leave(&mut self, key: SessionKey, context: u32, now: Timestamp) -> bool {
        let Entry::Occupied(mut entry) = self.sessions.entry(key) else {
            return false;
        };
        if entry.get_mut().goes_on_without(context) {
            return false;
        }
        let used = entry.remove();
        used.leased || now.since(used.stamp) >= used.lifespans.grain()
    }

    /// Notes that a GET stream is closed and the table could not be told.
    pub fn note_unclosed(&mut self, endpoint: EndpointTag) {
        self.unclosed.push(endpoint);
    }

    /// What this root has to do for its sessions at every tick: it renews leases, and makes sessions of the streams whose
    /// `endpoint` event has not come in time. What the table refuses is tried again at the next tick.
    ///
    /// Returns the endpoints at which a stream has become a session, each as often.
    pub fn keep<S: Store>(
        &mut self,
        table: &Table<S>,
        now: Timestamp,
        mut failed: impl FnMut(&'static str, StoreError),
    ) -> Vec<EndpointTag> {
        self.ticks = self.ticks.wrapping_add(1);
        if let Err(error) = table.keep_leases(now) {
            failed("keep_leases", error);
        }
        self.close_streams(table, now, &mut failed);
        self.renew_leases(table, now, &mut failed);
        self.name_streams(table, now, &mut failed)
    }

    /// Streams that are to be closed, by context id: those of sessions that have reached their lifetime, and those for
    /// which there is no place. At most `most` of them; the others come with the next call.
    pub fn to_close(&mut self, most: usize, now: Timestamp) -> Vec<u32> {
        let placeless = self.placeless.len().min(most);
        let mut streams: Vec<u32> = self.placeless.drain(..placeless).collect();
        let over = self
            .sessions
            .values()
            .filter(|used| used.lifespans.are_over(used.opened, now));
        let contexts = over.flat_map(|used| core::iter::once(&used.first).chain(&used.others));
        streams.extend(contexts.take(most - placeless));
        streams
    }

    /// Tells the table of closed streams that it has not heard of yet.
    fn close_streams<S: Store>(
        &mut self,
        table: &Table<S>,
        now: Timestamp,
        failed: &mut impl FnMut(&'static str, StoreError),
    ) {
        self.unclosed
            .retain(|endpoint| match table.close_stream(*endpoint, now) {
                Ok(()) => false,
                Err(error) => {
                    failed("close_stream", error);
                    true
                }
            });
    }

    fn renew_leases<S: Store>(
        &mut self,
        table: &Table<S>,
        now: Timestamp,
        failed: &mut impl FnMut(&'static str, StoreError),
    ) {
        for (key, used) in &mut self.sessions {
            if !used.lifespans.are_over(used.opened, now) && used.needs_lease(now) {
                match table.renew(*key, used.lifespans, now) {
                    Ok(()) => used.lease_from(now),
                    Err(error) => failed("renew", error),
                }
            }
        }
    }

    /// Makes sessions of the streams whose reservation would run out before the next ticks.
    fn name_streams<S: Store>(
        &mut self,
        table: &Table<S>,
        now: Timestamp,
        failed: &mut impl FnMut(&'static str, StoreError),
    ) -> Vec<EndpointTag> {
        let mut created = Vec::new();
        for stream in self.unnamed_streams.due_by(now.after(TICKS_AHEAD)) {
            match stream.become_session(table, now) {
                Ok(Opened::Created) => {
                    self.enter_stream(&stream);
                    created.push(stream.endpoint);
                }
                Ok(Opened::Alive { .. } | Opened::Renewed) => {}
                Ok(Opened::Full | Opened::Foreign | Opened::Ended) => self.placeless.push(stream.context),
                Err(error) => failed("open", error),
            }
        }
        created
    }

    /// How many sessions are in use on this root.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is in use on this root.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

impl Use {
    /// Takes a stream off; false if it was the last.
    fn goes_on_without(&mut self, context: u32) -> bool {
        if self.first != context {
            self.others.retain(|other| *other != context);
            return true;
        }
        match self.others.pop() {
            Some(next) => {
                self.first = next;
                true
            }
            None => false,
        }
    }

    /// A lease is taken when a quarter of the idle timeout is gone, or at once where sessions may be evicted,
    /// and renewed when half of it is gone.
    fn needs_lease(&self, now: Timestamp) -> bool {
        if self.stamp > now {
            return self.stamp.since(now) < self.lifespans.lease() / 2;
        }
        let late = |idle: Duration| now.since(self.stamp) >= (idle / 4).min(Duration::from_secs(60));
        self.lifespans.evictable || self.lifespans.idle.is_some_and(late)
    }

    fn lease_from(&mut self, now: Timestamp) {
        self.stamp = now.after(self.lifespans.lease());
        self.leased = true;
    }
}
