//! The table's operations on one session or one place.

use core::time::Duration;

use super::bucket::{Bucket, Entry};
use super::ledger::{
    Counts, EndpointTag, GROUP_LEN, Held, LEASE_FLOOR, Ledger, Lifespans, Refusal, Reservation, VmSettings,
};
use super::record::{EndReason, EndedSession, Holder, RootTag, Session, SessionKey};
use super::store::{BUCKETS, Key, SetError, Store, StoreError, Value, Version};
use super::time::Timestamp;

/// How often a compare-and-set is tried anew. Each failure means that another worker succeeded, so only a
/// crowd of workers on one value can spend it.
pub(super) const MAX_ATTEMPTS: usize = 128;

/// What the table knows of an id that a request presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Alive, and now marked as used.
    Alive(Session),
    /// Was alive until just now: it had outlived its time, and nobody had swept it yet.
    Expired(EndedSession),
    /// Ended, and still remembered.
    Ended,
    /// Never seen, or forgotten.
    Unknown,
}

/// The shared table, as one root context of one worker sees it.
#[derive(Clone, Debug)]
pub struct Table<S> {
    pub(super) store: S,
    pub(super) root: RootTag,
    secret: [u8; 16],
}

/// What a change to a value came to: whether it must be written, and what to report.
pub(super) enum Change<T> {
    Write(T),
    Nothing(T),
}

impl<S: Store> Table<S> {
    /// Joins the table in `store`, or creates it: agrees with the other workers on the hash key (this root
    /// proposes `secret`) and makes every key, so that the table never grows later.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub fn attach(store: S, root: RootTag, secret: [u8; 16]) -> Result<Self, StoreError> {
        let secret = agree_on_secret(&store, secret)?;
        let table = Self { store, root, secret };
        table.create_buckets()?;
        Ok(table)
    }

    /// Puts the caps and lifespans of this root's configuration in force for all workers; false if they were.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn install(&self, settings: &VmSettings) -> Result<bool, StoreError> {
        self.update_ledger(|ledger| {
            if ledger.has_installed(settings) {
                return Change::Nothing(false);
            }
            ledger.install(settings);
            Change::Write(true)
        })
    }

    /// Where a session of this id is kept.
    pub fn key(&self, endpoint: EndpointTag, id: &[u8]) -> SessionKey {
        SessionKey::new(&self.secret, endpoint, id)
    }

    /// A keyed 64-bit hash of anything that must not be stored in clear.
    pub fn digest(&self, bytes: &[u8]) -> u64 {
        use core::hash::Hasher;
        let mut hasher = siphasher::sip::SipHasher24::new_with_key(&self.secret);
        hasher.write(bytes);
        hasher.finish()
    }

    /// Looks a session up and marks it as used. With a short idle timeout the use takes a lease, which
    /// [`Table::rest`] gives back.
    ///
    /// One read; a write only if the stored stamp has aged.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written.
    pub fn use_session(
        &self,
        key: SessionKey,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Standing, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(standing) = self.try_use(key, lifespans, now)? {
                return Ok(standing);
            }
            let overdue = |session: &Session| session.overdue(lifespans, now);
            if let Some(ended) = self.end_if(key, lifespans, now, overdue)? {
                return Ok(Standing::Expired(ended));
            }
        }
        Err(StoreError::Contended)
    }

    /// The standing of a session that is not overdue; `None` if it is.
    fn try_use(
        &self,
        key: SessionKey,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<Standing>, StoreError> {
        self.update_bucket(key, |bucket| match bucket.find(&key, now) {
            None => Ok(Change::Nothing(Some(Standing::Unknown))),
            Some(Entry::Ended) => Ok(Change::Nothing(Some(Standing::Ended))),
            Some(Entry::Session { session, offset }) => {
                if session.overdue(lifespans, now).is_some() {
                    return Ok(Change::Nothing(None));
                }
                let Some((stamp, holder)) = self.stamp_of_use(&session, lifespans, now) else {
                    return Ok(Change::Nothing(Some(Standing::Alive(session))));
                };
                let session = session.stamped(stamp, holder);
                bucket.restamp(offset, &session);
                Ok(Change::Write(Some(Standing::Alive(session))))
            }
        })
    }

    /// Extends this root's lease on a session that it has requests or streams of.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written.
    pub fn renew(&self, key: SessionKey, lifespans: Lifespans, now: Timestamp) -> Result<(), StoreError> {
        self.restamp(key, now, |session| {
            let until = now.after(lifespans.lease());
            let holder = if session.stamp > now {
                session.holder
            } else {
                Holder::None
            };
            Some((until.max(session.stamp), holder.joined_by(self.root)))
        })
    }

    /// The last request or stream that this root has of the session is over: its idle clock starts, unless
    /// another root has a lease on it.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written.
    pub fn rest(&self, key: SessionKey, lifespans: Lifespans, now: Timestamp) -> Result<(), StoreError> {
        self.restamp(key, now, |session| match session.holder {
            Holder::One(root) if root == self.root => Some((now, Holder::None)),
            Holder::One(_) | Holder::Several if session.stamp > now => None,
            Holder::None if now.since(session.stamp) < lifespans.grain() => None,
            Holder::None | Holder::One(_) | Holder::Several => Some((now.max(session.stamp), Holder::None)),
        })
    }

    /// Ends a session for a reason that a request has brought; `None` if it was not alive.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn end(
        &self,
        key: SessionKey,
        reason: EndReason,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        self.end_if(key, lifespans, now, |_| Some(reason))
    }

    /// Ends a session if `reason`, asked with the record as it is when it goes, has one.
    fn end_if(
        &self,
        key: SessionKey,
        lifespans: Lifespans,
        now: Timestamp,
        reason: impl Fn(&Session) -> Option<EndReason>,
    ) -> Result<Option<EndedSession>, StoreError> {
        let group = group_of(key);
        // Read before the bucket changes: if a recount comes between the two writes, it has seen the
        // bucket without the session, and nothing is left to correct.
        let recounts = self.ledger()?.recounts(group);
        let ended = self.update_bucket(key, |bucket| {
            let Some(Entry::Session { session, .. }) = bucket.find(&key, now) else {
                return Ok(Change::Nothing(None));
            };
            let Some(reason) = reason(&session) else {
                return Ok(Change::Nothing(None));
            };
            bucket.end(&key, now.after(lifespans.remembered()));
            Ok(Change::Write(Some(EndedSession {
                session,
                reason,
                at: now,
            })))
        })?;
        if let Some(ended) = &ended {
            self.update_ledger(|ledger| {
                ledger.remove_sessions(ended.session.endpoint, group, recounts, 1);
                Change::Write(())
            })?;
        }
        Ok(ended)
    }

    /// Keeps a place for an initialization until `until` at the latest.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn reserve(
        &self,
        endpoint: EndpointTag,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<Result<Reservation, Refusal>, StoreError> {
        // Deadlines are rounded up to a few cohorts, so that the ledger holds a handful of rows for a
        // root, however many initializations it has waiting.
        let until = now.after(timeout).rounded_up(timeout / 16);
        self.update_ledger(|ledger| {
            let reaped = ledger.reap(now);
            if let Some(refusal) = ledger.refusal(endpoint) {
                return if reaped {
                    Change::Write(Err(refusal))
                } else {
                    Change::Nothing(Err(refusal))
                };
            }
            match ledger.hold(Held::Places, self.root, endpoint, until) {
                true => Change::Write(Ok(Reservation { endpoint, until })),
                false => Change::Nothing(Err(Refusal::Capacity)),
            }
        })
    }

    /// Gives a place back.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the place then comes back at its deadline.
    pub fn release(&self, place: Reservation) -> Result<(), StoreError> {
        self.update_ledger(|ledger| {
            match ledger.let_go(Held::Places, self.root, place.endpoint, place.until) {
                true => Change::Write(()),
                false => Change::Nothing(()),
            }
        })
    }

    /// Counts an open GET stream.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn open_stream(&self, endpoint: EndpointTag, now: Timestamp) -> Result<(), StoreError> {
        self.update_ledger(|ledger| {
            match ledger.hold(Held::Streams, self.root, endpoint, now.after(2 * LEASE_FLOOR)) {
                true => Change::Write(()),
                false => Change::Nothing(()),
            }
        })
    }

    /// An open GET stream has closed.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the count is then right at the lease's end.
    pub fn close_stream(&self, endpoint: EndpointTag, now: Timestamp) -> Result<(), StoreError> {
        self.update_ledger(
            |ledger| match ledger.let_go(Held::Streams, self.root, endpoint, now) {
                true => Change::Write(()),
                false => Change::Nothing(()),
            },
        )
    }

    /// Once a tick: drops what dead roots hold, renews what this one does.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn keep_holdings(&self, now: Timestamp) -> Result<(), StoreError> {
        let (before, until) = (now.after(LEASE_FLOOR), now.after(2 * LEASE_FLOOR));
        self.update_ledger(|ledger| {
            let renewed = ledger.renew(Held::Streams, self.root, before, until);
            let reaped = ledger.reap(now);
            if renewed || reaped {
                Change::Write(())
            } else {
                Change::Nothing(())
            }
        })
    }

    /// The name of an endpoint that has sessions, whichever configuration it is of.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn endpoint_name(&self, endpoint: EndpointTag) -> Result<Option<String>, StoreError> {
        Ok(self.ledger()?.name(endpoint).map(str::to_owned))
    }

    /// Counts and caps as they are now, and the version of the ledger that says so.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn counts(&self) -> Result<(Counts, Version), StoreError> {
        let value = self.store.get(Key::Ledger)?;
        Ok((Ledger::from_value(&value.bytes)?.counts(), value.version))
    }

    pub(super) fn ledger(&self) -> Result<Ledger, StoreError> {
        Ledger::from_value(&self.store.get(Key::Ledger)?.bytes)
    }

    /// Changes the ledger, trying anew as long as others change it at the same time.
    pub(super) fn update_ledger<T>(
        &self,
        mut change: impl FnMut(&mut Ledger) -> Change<T>,
    ) -> Result<T, StoreError> {
        self.update(Key::Ledger, |bytes| {
            let mut ledger = Ledger::from_value(&bytes)?;
            Ok(match change(&mut ledger) {
                Change::Write(result) => (result, Some(ledger.to_value())),
                Change::Nothing(result) => (result, None),
            })
        })
    }

    /// Changes the bucket of `key`, trying anew as long as others change it at the same time.
    pub(super) fn update_bucket<T>(
        &self,
        key: SessionKey,
        mut change: impl FnMut(&mut Bucket) -> Result<Change<T>, StoreError>,
    ) -> Result<T, StoreError> {
        self.update(Key::Bucket(key.bucket()), |bytes| {
            let mut bucket = Bucket::from_value(bytes)?;
            Ok(match change(&mut bucket)? {
                Change::Write(result) => (result, Some(bucket.into_value())),
                Change::Nothing(result) => (result, None),
            })
        })
    }

    fn update<T>(
        &self,
        key: Key,
        mut change: impl FnMut(Vec<u8>) -> Result<(T, Option<Vec<u8>>), StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Value { bytes, version } = self.store.get(key)?;
            let (result, write) = change(bytes)?;
            let Some(bytes) = write else { return Ok(result) };
            match self.store.set(key, &bytes, version) {
                Ok(()) => return Ok(result),
                Err(SetError::Stale) => {}
                Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
            }
        }
        Err(StoreError::Contended)
    }

    fn restamp(
        &self,
        key: SessionKey,
        now: Timestamp,
        stamp: impl Fn(&Session) -> Option<(Timestamp, Holder)>,
    ) -> Result<(), StoreError> {
        self.update_bucket(key, |bucket| {
            let Some(Entry::Session { session, offset }) = bucket.find(&key, now) else {
                return Ok(Change::Nothing(()));
            };
            let Some((stamp, holder)) = stamp(&session) else {
                return Ok(Change::Nothing(()));
            };
            bucket.restamp(offset, &session.stamped(stamp, holder));
            Ok(Change::Write(()))
        })
    }

    /// The stamp and holder a use at `now` leaves, or `None` if what is stored will do.
    fn stamp_of_use(
        &self,
        session: &Session,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Option<(Timestamp, Holder)> {
        if lifespans.is_short() {
            let holder = if session.stamp > now {
                session.holder
            } else {
                Holder::None
            };
            return Some((
                now.after(lifespans.lease()).max(session.stamp),
                holder.joined_by(self.root),
            ));
        }
        let aged = now.since(session.stamp) >= lifespans.grain() && session.stamp < now;
        aged.then_some((now, Holder::None))
    }

    fn create_buckets(&self) -> Result<(), StoreError> {
        if self.store.get(Key::Bucket(BUCKETS - 1))?.version != Version::Absent {
            return Ok(());
        }
        let empty = Bucket::empty().into_value();
        for index in 0..BUCKETS {
            match self.store.set(Key::Bucket(index), &empty, Version::Absent) {
                Ok(()) | Err(SetError::Stale) => {}
                Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
            }
        }
        Ok(())
    }
}

/// The group of buckets that a session is swept and counted with.
pub(super) fn group_of(key: SessionKey) -> u8 {
    u8::try_from(key.bucket() / GROUP_LEN).unwrap_or(0)
}

fn agree_on_secret(store: &impl Store, proposal: [u8; 16]) -> Result<[u8; 16], StoreError> {
    for _ in 0..MAX_ATTEMPTS {
        let value = store.get(Key::HashKey)?;
        if let Some(secret) = value.bytes.first_chunk::<16>() {
            return Ok(*secret);
        }
        match store.set(Key::HashKey, &proposal, value.version) {
            Ok(()) | Err(SetError::Stale) => {}
            Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
        }
    }
    Err(StoreError::Contended)
}
