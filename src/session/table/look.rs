//! A look over the whole table, for the status view. It changes no session and no count.
//!
//! It reads the ledger, the paths of endpoints, and as many buckets as its time allows. With so many sessions that it
//! cannot read all, its lists are those of the sessions that it has read.

use super::Table;
use crate::session::limit::Limit;
use crate::session::settings::{Configuration, EndpointTag};
use crate::session::store::{GROUP_LEN, Key, Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::gateways::Gateways;
use crate::session::values::ledger::{Counts, GROUPS, Ledger};
use crate::session::values::paths::{EndpointPath, Paths};
use crate::session::values::record::{IdDigest, Session};

/// Most sessions in each list of a look.
pub const MOST_LISTED: usize = 50;

/// Buckets that are read between two looks at the clock: about a thousand sessions at a million in all.
const AT_ONCE: u16 = 16;

/// What a look has found.
#[derive(Debug)]
pub struct Look {
    /// Counts and caps.
    pub counts: Counts,
    /// For each endpoint of `counts`, where it is.
    pub endpoints: Vec<KnownEndpoint>,
    /// The fleet that this gateway belongs to, if any.
    pub fleet: Option<Fleet>,
    /// The sessions that were opened first, the oldest first.
    pub oldest: Vec<Listed>,
    /// The sessions that have been idle longest, the most idle first.
    pub most_idle: Vec<Listed>,
    /// Some sessions were not read: there was no time for them, or a value could not be read.
    pub is_partial: bool,
}

/// What is known of the fleet.
#[derive(Debug, PartialEq, Eq)]
pub struct Fleet {
    /// What it allows this gateway.
    pub limit: Limit,
    /// This gateway is lost.
    pub is_lost: bool,
    /// The gateways as last seen.
    pub gateways: Gateways,
}

/// What is known of an endpoint beside its counts.
#[derive(Debug)]
pub struct KnownEndpoint {
    /// Its tag in shared data.
    pub tag: EndpointTag,
    /// Its path and transport; `None` if no configuration has told them.
    pub path: Option<EndpointPath>,
    /// Whether a configuration names it. If none does, its sessions only wait for their end.
    pub is_named: bool,
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The endpoint at which it was opened.
    pub endpoint: EndpointTag,
    /// Its name in logs.
    pub digest: IdDigest,
    /// The id itself, if the table keeps it; otherwise empty.
    pub id: Vec<u8>,
    /// When it was opened.
    pub opened: Timestamp,
    /// Since when it has been idle; later than now while it is in use.
    pub idle_since: Timestamp,
    /// A request is in flight or a stream is open, as far as the table knows.
    pub is_in_use: bool,
}

impl Listed {
    fn of(session: Session, now: Timestamp) -> Self {
        Self {
            is_in_use: session.in_use(now),
            endpoint: session.endpoint,
            digest: session.digest,
            opened: session.opened,
            idle_since: session.stamp,
            id: session.id,
        }
    }
}

impl<S: Store> Table<S> {
    /// Looks over the table until all buckets are read or `is_time_up` says so. It is called after every
    /// [`AT_ONCE`] buckets. Costs one read per bucket of each group that has sessions.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn look(&self, now: Timestamp, is_time_up: &dyn Fn() -> bool) -> Result<Look, StoreError> {
        let ledger = self.ledger()?;
        let paths = self
            .store
            .get(Key::Paths)
            .and_then(|value| Paths::from_value(&value.bytes));
        let paths = paths.unwrap_or_default();
        let located = |tag: EndpointTag| KnownEndpoint {
            tag,
            path: paths.of(tag).cloned(),
            is_named: ledger.is_named(tag, now),
        };
        let mut look = Look {
            counts: ledger.counts(),
            endpoints: ledger.tags().map(located).collect(),
            fleet: self.look_at_fleet(&ledger)?,
            oldest: Vec::new(),
            most_idle: Vec::new(),
            is_partial: false,
        };
        self.read_sessions(&mut look, &ledger, now, is_time_up);
        Ok(look)
    }

    fn look_at_fleet(&self, ledger: &Ledger) -> Result<Option<Fleet>, StoreError> {
        if !ledger.has_fleet() {
            return Ok(None);
        }
        let (gateways, is_lost) = self.gateways()?;
        Ok(Some(Fleet {
            limit: ledger.fleet_limit(),
            is_lost,
            gateways,
        }))
    }

    fn read_sessions(&self, look: &mut Look, ledger: &Ledger, now: Timestamp, is_time_up: &dyn Fn() -> bool) {
        for group in (0..GROUPS).filter(|group| ledger.has_sessions(*group)) {
            let (mut next, mut read) = (u16::from(group) * GROUP_LEN, 0_u16);
            let end = next + GROUP_LEN;
            while next < end {
                if read.is_multiple_of(AT_ONCE) && is_time_up() {
                    look.is_partial = true;
                    return;
                }
                read += 1;
                next = self.read_sessions_at(next, look, now);
            }
        }
    }

    /// Reads the bucket at `index`, and returns the slot of the next one.
    fn read_sessions_at(&self, index: u16, look: &mut Look, now: Timestamp) -> u16 {
        match self.read_bucket(index) {
            Ok(found) => {
                let sessions = found.bucket.sessions();
                sessions.for_each(|session| look.add(session, now));
                found.end()
            }
            Err(_) => {
                look.is_partial = true;
                self.end_of_unread(index)
            }
        }
    }

    /// Tells the other configurations where the endpoints of this one are. If this one serves, it replaces what older
    /// ones have told.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub fn tell_paths(&self, configuration: &Configuration, told: &[EndpointPath]) -> Result<(), StoreError> {
        self.update(Key::Paths, |bytes| {
            let mut paths = Paths::from_value(&bytes)?;
            let mut changed = false;
            for path in told {
                changed |= paths.enter(path, configuration.loaded, configuration.serves);
            }
            Ok(((), changed.then(|| paths.to_value())))
        })
    }
}

impl Look {
    fn add(&mut self, session: Session, now: Timestamp) {
        let (opened, stamp) = (session.opened, session.stamp);
        let is_older = has_room(&self.oldest, |last| opened < last.opened);
        let is_more_idle = has_room(&self.most_idle, |last| stamp < last.idle_since);
        if !is_older && !is_more_idle {
            return;
        }
        let listed = Listed::of(session, now);
        if is_older {
            insert(&mut self.oldest, listed.clone(), |other| other.opened <= opened);
        }
        if is_more_idle {
            insert(&mut self.most_idle, listed, |other| other.idle_since <= stamp);
        }
    }
}

/// Whether a list has room for a session, or the session goes before the last one.
fn has_room(list: &[Listed], goes_before: impl Fn(&Listed) -> bool) -> bool {
    list.len() < MOST_LISTED || list.last().is_some_and(goes_before)
}

/// Inserts a session after all that go before it, and drops the last one of a full list.
fn insert(list: &mut Vec<Listed>, listed: Listed, goes_before: impl Fn(&Listed) -> bool) {
    list.truncate(MOST_LISTED - 1);
    list.insert(list.partition_point(goes_before), listed);
}
