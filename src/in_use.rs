//! The sessions that one root has requests or streams of right now.
//!
//! A list of what this worker is busy with, never the only copy of a fact: it says which leases to renew,
//! which streams to close when a lifetime ends, and when a session's idle clock starts.

use core::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::session::{Lifespans, SessionKey, Timestamp};

/// Sessions in use on this root, each with the streams that use it.
#[derive(Debug, Default)]
pub struct InUse {
    sessions: HashMap<SessionKey, Use>,
}

#[derive(Debug)]
struct Use {
    lifespans: Lifespans,
    opened: Timestamp,
    /// The stamp this root has seen or written last; past `now` while a lease is held.
    stamp: Timestamp,
    /// The stream that came first, and any that came while it was open.
    first: u32,
    others: Vec<u32>,
}

/// What has become due at a tick.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Sessions whose lease this root has to take or renew.
    pub leases: Vec<(SessionKey, Lifespans)>,
    /// Streams of sessions that have reached their lifetime, by context id.
    pub streams: Vec<u32>,
}

impl InUse {
    /// Notes that the stream `context` uses the session, opened and stamped when its record says.
    pub fn enter(
        &mut self,
        key: SessionKey,
        opened: Timestamp,
        stamp: Timestamp,
        lifespans: Lifespans,
        context: u32,
    ) {
        match self.sessions.entry(key) {
            Entry::Occupied(entry) => {
                let used = entry.into_mut();
                used.stamp = used.stamp.max(stamp);
                used.others.push(context);
            }
            Entry::Vacant(entry) => {
                entry.insert(Use {
                    lifespans,
                    opened,
                    stamp,
                    first: context,
                    others: Vec::new(),
                });
            }
        }
    }

    /// Notes that the stream is over. True if it was the last of the session and the table has to hear of
    /// it: a lease is to be given back, or the stored stamp has aged.
    pub fn leave(&mut self, key: SessionKey, context: u32, now: Timestamp) -> bool {
        let Entry::Occupied(mut entry) = self.sessions.entry(key) else {
            return false;
        };
        let used = entry.get_mut();
        if used.first != context {
            used.others.retain(|other| *other != context);
            return false;
        }
        if let Some(next) = used.others.pop() {
            used.first = next;
            return false;
        }
        let used = entry.remove();
        used.stamp > now || now.since(used.stamp) >= used.lifespans.grain()
    }

    /// What is due at `now`. Leases that it names count as renewed.
    pub fn due(&mut self, now: Timestamp) -> Due {
        let mut due = Due::default();
        for (key, used) in &mut self.sessions {
            if used
                .lifespans
                .lifetime
                .is_some_and(|lifetime| used.opened.after(lifetime) <= now)
            {
                due.streams.push(used.first);
                due.streams.extend_from_slice(&used.others);
            } else if used.needs_lease(now) {
                used.stamp = now.after(used.lifespans.lease());
                due.leases.push((*key, used.lifespans));
            }
        }
        due
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
    /// A lease is taken when a quarter of the idle timeout is gone, and renewed when half of it is.
    fn needs_lease(&self, now: Timestamp) -> bool {
        let Some(idle) = self.lifespans.idle else {
            return false;
        };
        if self.stamp > now {
            self.stamp.since(now) < self.lifespans.lease() / 2
        } else {
            now.since(self.stamp) >= (idle / 4).min(Duration::from_secs(60))
        }
    }
}
