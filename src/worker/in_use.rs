//! The sessions that have requests or streams on one root right now.
//!
//! This list is never the only copy of a fact. It tells which leases to renew, which streams to close when a lifetime
//! ends, and when a session's idle time starts.

use core::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::longest_idle::LongestIdle;
use super::open_streams::OpenStreams;
use super::unnamed_streams::{UnnamedStream, UnnamedStreams};
use crate::session::{EndpointTag, Lifespans, Opened, SessionKey, Store, StoreError, Table, Timestamp};

/// A reservation becomes a session this long before it runs out: two ticks, which come once a second.
const TICKS_AHEAD: Duration = Duration::from_secs(2);

/// Sessions in use on this root, each with the streams that use it.
#[derive(Debug, Default)]
pub struct InUse {
    /// The idle sessions that this root would evict next.
    pub longest_idle: LongestIdle,
    /// Streams of HTTP+SSE that have not named their session yet.
    pub unnamed_streams: UnnamedStreams,
    /// Its open streams.
    pub open_streams: OpenStreams,
    sessions: HashMap<SessionKey, Use>,
    /// Streams without a place under the cap, by context id.
    without_place: Vec<u32>,
    /// The number of ticks so far.
    ticks: u32,
}

#[derive(Debug)]
struct Use {
    endpoint: EndpointTag,
    lifespans: Lifespans,
    opened: Timestamp,
    /// The stamp that this root has last seen or written. It is later than `now` while the root has a lease.
    stamp: Timestamp,
    /// This root has a lease, and must give it back.
    leased: bool,
    /// The number of ticks when the stamp was last fresh.
    tick: u32,
    /// The first stream of the session, and those that came while it was open.
    first: u32,
    others: Vec<u32>,
}

impl InUse {
    /// Notes that the stream `context` uses the session, with the times of the session's record.
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
                // A server may have given out the id of a live session anew.
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

    /// Sets new lifespans at an endpoint. The next tick takes the leases that they need.
    pub fn follow(&mut self, endpoint: EndpointTag, lifespans: Lifespans) {
        for used in self.sessions.values_mut() {
            if used.endpoint == endpoint {
                used.lifespans = lifespans;
            }
        }
    }

    /// Notes that a stream has become a session by itself, and uses this session.
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

    /// Ends the stream locally. Returns false if the shared record must be written too; then call [`InUse::leave`].
    /// It need not be if other streams of the session go on, or if the stamp was fresh at the last tick, about a
    /// second ago.
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

    /// Ends the stream. Returns true if it was the last of the session and the shared record must be written: to give
    /// a lease back, or because the stamp has aged.
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

    /// The work of every tick: renews leases, and makes sessions of the streams whose `endpoint` event has not come
    /// in time. If the table fails, the next tick tries again.
    ///
    /// Returns the endpoints at which streams have become sessions, an endpoint once for each stream.
    pub fn keep<S: Store>(
        &mut self,
        table: &Table<S>,
        now: Timestamp,
        mut failed: impl FnMut(&'static str, StoreError),
    ) -> Vec<EndpointTag> {
        self.ticks = self.ticks.wrapping_add(1);
        self.open_streams.keep(table, now, &mut failed);
        self.renew_leases(table, now, &mut failed);
        self.name_streams(table, now, &mut failed)
    }

    /// Streams that must be closed, by context id: streams of sessions that have reached their lifetime, streams
    /// without a place, and streams that are as old as they may become. At most `most` of them; the next call returns others.
    pub fn to_close(&mut self, most: usize, now: Timestamp) -> Vec<u32> {
        let without_place = self.without_place.len().min(most);
        let mut streams: Vec<u32> = self.without_place.drain(..without_place).collect();
        streams.extend(self.open_streams.take_old(most - without_place, now));
        let room = most - streams.len();
        let over = self
            .sessions
            .values()
            .filter(|used| used.lifespans.are_over(used.opened, now));
        let contexts = over.flat_map(|used| core::iter::once(&used.first).chain(&used.others));
        // No stream is closed twice in one callback.
        let others: Vec<u32> = contexts
            .filter(|context| !streams.contains(context))
            .take(room)
            .copied()
            .collect();
        streams.extend(others);
        streams
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
                Ok(Opened::Full | Opened::Foreign | Opened::Ended) => self.without_place.push(stream.context),
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
    /// Takes a stream off. Returns false if it was the last.
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

    /// Whether it is time to take or renew the lease. A lease is taken after a quarter of the idle timeout, or at
    /// once if sessions may be evicted, and renewed after half of its own length.
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
