//! The table, and what requests do with a session that is in it.

pub(super) mod evict;
pub(super) mod open;
pub(super) mod quota;
mod reserve;
mod rests;
mod strikes;
pub(super) mod sweep;
pub(super) mod upstream_delete;

use core::cell::Cell;

use super::settings::{Configuration, EndpointTag, Lifespans};
use super::store::{BUCKETS, Key, SetError, Store, StoreError, Value, Version};
use super::time::Timestamp;
use super::values::bucket::{Bucket, Entry};
use super::values::ledger::{Counts, GROUP_LEN, Kept, Ledger};
use super::values::record::{EndReason, EndedSession, Leaseholders, Owner, RootTag, Session, SessionKey};

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
    /// Alive and somebody else's; or no longer alive, and only somebody else may take it up again.
    Foreign,
    /// Never seen, or forgotten; or the server no longer knew it.
    Unknown,
}

/// The shared table, as one root context of one worker sees it.
#[derive(Clone, Debug)]
pub struct Table<S> {
    pub(super) store: S,
    pub(super) root: RootTag,
    secret: [u8; 16],
    pub(super) keeps_books: bool,
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
        let table = Self {
            store,
            root,
            secret,
            keeps_books: false,
        };
        table.create_buckets()?;
        table.create_ledger()?;
        Ok(table)
    }

    /// Gives a configuration that a root is loading its age. Nothing is in force by that: the configuration may be
    /// refused yet, or be that of a listener that drains.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn load(&self, configuration: &mut Configuration, now: Timestamp) -> Result<(), StoreError> {
        self.ledger()?.load(configuration, now);
        Ok(())
    }

    /// A root of the configuration has seen a request: the configuration is in force from now on, as far as no newer
    /// one is.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the next request tries anew.
    pub fn serve(&self, configuration: &mut Configuration, now: Timestamp) -> Result<Kept, StoreError> {
        let mut serving = configuration.clone();
        serving.serves = true;
        let (kept, _) = self.keep(&mut serving, now)?;
        *configuration = serving;
        Ok(kept)
    }

    /// Once a tick: keeps the configuration in force, and puts back what the host may have lost under a running
    /// worker: the hash key, the configuration, the buckets. Two reads if nothing is missing.
    ///
    /// `None` if other workers have agreed on another hash key meanwhile: then this root has to attach anew.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub fn restore(
        &self,
        configuration: &mut Configuration,
        now: Timestamp,
    ) -> Result<Option<Kept>, StoreError> {
        if agree_on_secret(&self.store, self.secret)? != self.secret {
            return Ok(None);
        }
        let (kept, was_lost) = self.keep(configuration, now)?;
        if was_lost {
            self.create_buckets()?;
            self.create_books()?;
        }
        Ok(Some(kept))
    }

    /// A root of the configuration is destroyed. What no other root keeps in force is gone in a few seconds.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; it is then gone in a minute.
    pub fn leave(&self, configuration: &Configuration, now: Timestamp) -> Result<(), StoreError> {
        self.update_ledger(|ledger| match ledger.leave(configuration, now) {
            true => Change::Write(()),
            false => Change::Nothing(()),
        })
    }

    /// Enters or renews the configuration. The second value tells whether the ledger had none at all.
    fn keep(&self, configuration: &mut Configuration, now: Timestamp) -> Result<(Kept, bool), StoreError> {
        let (kept, was_lost, keeping) = self.update_ledger(|ledger| {
            let was_lost = !ledger.is_configured();
            let mut keeping = configuration.clone();
            match ledger.keep(&mut keeping, now) {
                (kept, true) => Change::Write((kept, was_lost, keeping)),
                (kept, false) => Change::Nothing((kept, was_lost, keeping)),
            }
        })?;
        *configuration = keeping;
        Ok((kept, was_lost))
    }

    /// Where a session of this id is kept.
    pub fn key(&self, endpoint: EndpointTag, id: &[u8]) -> SessionKey {
        SessionKey::new(&self.secret, endpoint, id)
    }

    /// A keyed 64-bit hash of anything that must not be stored in clear.
    pub fn digest(&self, bytes: &[u8]) -> u64 {
        SessionKey::new(&self.secret, EndpointTag::NONE, bytes)
            .short()
            .to_number()
    }

    /// Looks a session up and marks it as used. With a short idle timeout the use takes a lease, which
    /// [`Table::rest`] gives back. Where sessions are bound, the caller is `claimant`, and what is not its own
    /// is left as it is.
    ///
    /// One read; a write only if the stored stamp has aged.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written.
    pub fn use_session(
        &self,
        key: SessionKey,
        claimant: Option<Owner>,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Standing, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(standing) = self.try_use(key, claimant, lifespans, now)? {
                return Ok(standing);
            }
            let overdue = |session: &Session| session.overdue(lifespans, now);
            if let Some(ended) = self.end_if(key, lifespans, now, &overdue)? {
                return Ok(Standing::Expired(ended));
            }
        }
        Err(StoreError::Contended)
    }

    /// The standing of a session that is not overdue; `None` if it is.
    fn try_use(
        &self,
        key: SessionKey,
        claimant: Option<Owner>,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<Standing>, StoreError> {
        self.update_bucket(key, |bucket| match bucket.find(&key, now) {
            Some(Entry::Session { session, offset }) if is_of(session.owner, claimant) => {
                if session.overdue(lifespans, now).is_some() {
                    return Ok(Change::Nothing(None));
                }
                let Some((stamp, leaseholders)) = self.stamp_of_use(&session, lifespans, now) else {
                    return Ok(Change::Nothing(Some(Standing::Alive(session))));
                };
                let session = session.stamped(stamp, leaseholders);
                bucket.rewrite(offset, &session)?;
                Ok(Change::Write(Some(Standing::Alive(session))))
            }
            entry => Ok(Change::Nothing(Some(standing_of(entry, claimant)))),
        })
    }

    /// What the table knows of an id, at the cost of one read: nothing is marked as used, and a session that has
    /// outlived its time counts as alive until somebody ends it.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read.
    pub fn standing(
        &self,
        key: SessionKey,
        claimant: Option<Owner>,
        now: Timestamp,
    ) -> Result<Standing, StoreError> {
        let bytes = self.store.get(Key::Bucket(key.bucket()))?.bytes;
        Ok(standing_of(Bucket::from_value(bytes)?.find(&key, now), claimant))
    }

    /// Extends this root's lease on a session that it has requests or streams of.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written.
    pub fn renew(&self, key: SessionKey, lifespans: Lifespans, now: Timestamp) -> Result<(), StoreError> {
        self.restamp(key, now, |session| {
            Some(session.leased_by(self.root, lifespans, now))
        })
    }

    /// The last request or stream that this root has of the session is over: its idle clock starts, unless
    /// another root has a lease on it. Whether it has come to rest.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written.
    pub fn rest(&self, key: SessionKey, lifespans: Lifespans, now: Timestamp) -> Result<bool, StoreError> {
        let rests = Cell::new(false);
        self.restamp(key, now, |session| {
            rests.set(true);
            let others = session.leaseholders.clone().left_by(self.root);
            let held = others != session.leaseholders;
            if session.stamp > now && !others.is_empty() {
                rests.set(false);
                return held.then_some((session.stamp, others));
            }
            if held {
                return Some((now, Leaseholders::default()));
            }
            let aged = now.since(session.stamp) >= lifespans.grain();
            aged.then_some((now.max(session.stamp), Leaseholders::default()))
        })?;
        Ok(rests.get())
    }

    /// Ends a session for a reason that a request has brought; `None` if it was not alive.
    ///
    /// A session that the server no longer knew leaves its id unknown. Where it was `bound`, its owner is remembered
    /// for as long as an ended id is, and only the owner finds it unknown.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn end(
        &self,
        key: SessionKey,
        reason: EndReason,
        bound: bool,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        self.end_as(key, bound, lifespans, now, &|_| Some(reason))
    }

    /// Ends a session of HTTP+SSE, whose stream is over, unless it has lived out its time; `None` if it was not alive,
    /// or if a stream that came later has opened it anew.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn end_with_stream(
        &self,
        key: SessionKey,
        opened: Timestamp,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<EndedSession>, StoreError> {
        self.end_if(key, lifespans, now, &|session| {
            let reason = if lifespans.are_over(session.opened, now) {
                EndReason::Lifetime
            } else {
                EndReason::StreamClosed
            };
            (session.opened == opened).then_some(reason)
        })
    }

    /// Ends a session if `reason`, asked with the record as it is when it goes, has one: one of the filter's own,
    /// so that it does not matter whether the session was bound.
    pub(super) fn end_if(
        &self,
        key: SessionKey,
        lifespans: Lifespans,
        now: Timestamp,
        reason: &dyn Fn(&Session) -> Option<EndReason>,
    ) -> Result<Option<EndedSession>, StoreError> {
        self.end_as(key, false, lifespans, now, reason)
    }

    fn end_as(
        &self,
        key: SessionKey,
        bound: bool,
        lifespans: Lifespans,
        now: Timestamp,
        reason: &dyn Fn(&Session) -> Option<EndReason>,
    ) -> Result<Option<EndedSession>, StoreError> {
        let ended = self.update_bucket(key, |bucket| {
            let Some(Entry::Session { session, .. }) = bucket.find(&key, now) else {
                return Ok(Change::Nothing(None));
            };
            let Some(reason) = reason(&session) else {
                return Ok(Change::Nothing(None));
            };
            bucket.end_session(&session, reason, bound, now.after(lifespans.remembered()), now);
            let at = now;
            let ended = EndedSession { session, reason, at };
            Ok(Change::Write(Some((ended, bucket.mark()))))
        })?;
        let Some((ended, mark)) = ended else {
            return Ok(None);
        };
        self.update_ledger(|ledger| {
            ledger.remove_session(ended.session.endpoint, group_of(key), mark);
            Change::Write(())
        })?;
        self.strike_if_possible(&ended.session);
        Ok(Some(ended))
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

    pub(super) fn update<T>(
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
        stamp: impl Fn(&Session) -> Option<(Timestamp, Leaseholders)>,
    ) -> Result<(), StoreError> {
        self.update_bucket(key, |bucket| {
            let Some(Entry::Session { session, offset }) = bucket.find(&key, now) else {
                return Ok(Change::Nothing(()));
            };
            let Some((stamp, leaseholders)) = stamp(&session) else {
                return Ok(Change::Nothing(()));
            };
            bucket.rewrite(offset, &session.stamped(stamp, leaseholders))?;
            Ok(Change::Write(()))
        })
    }

    /// The stamp and leaseholders a use at `now` leaves, or `None` if what is stored will do.
    pub(super) fn stamp_of_use(
        &self,
        session: &Session,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Option<(Timestamp, Leaseholders)> {
        if lifespans.leases_every_use() {
            return Some(session.leased_by(self.root, lifespans, now));
        }
        let aged = now.since(session.stamp) >= lifespans.grain();
        aged.then_some((now, Leaseholders::default()))
    }

    fn create_buckets(&self) -> Result<(), StoreError> {
        self.create(core::iter::once(Key::Rests), Key::Rests, Self::unheard())?;
        let keys = (0..BUCKETS).map(Key::Bucket);
        self.create(keys, Key::LAST, &Bucket::empty().into_value())
    }

    /// Makes the ledger's key, if it is not there yet: an empty value is an empty ledger.
    fn create_ledger(&self) -> Result<(), StoreError> {
        match self.store.set(Key::Ledger, &[], Version::Absent) {
            Ok(()) | Err(SetError::Stale) => Ok(()),
            Err(SetError::Unavailable) => Err(StoreError::Unavailable),
        }
    }

    /// Makes the keys that are not there yet. The `last` of them tells whether all are.
    pub(super) fn create(
        &self,
        keys: impl Iterator<Item = Key>,
        last: Key,
        empty: &[u8],
    ) -> Result<(), StoreError> {
        if self.store.get(last)?.version != Version::Absent {
            return Ok(());
        }
        for key in keys {
            match self.store.set(key, empty, Version::Absent) {
                Ok(()) | Err(SetError::Stale) => {}
                Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
            }
        }
        Ok(())
    }
}

/// Whether `claimant`, where sessions are bound, is the principal that `owner` is.
fn is_of(owner: Owner, claimant: Option<Owner>) -> bool {
    claimant.is_none_or(|claimant| claimant == owner)
}

/// What a bucket's entry says of the id to `claimant`. Another's is judged before all else, so that it takes no
/// longer than an id that nobody knows.
fn standing_of(entry: Option<Entry>, claimant: Option<Owner>) -> Standing {
    match entry {
        Some(Entry::Session { session, .. }) if is_of(session.owner, claimant) => Standing::Alive(session),
        Some(Entry::Gone { owner, .. }) if owner.is_none_or(|owner| is_of(owner, claimant)) => {
            Standing::Unknown
        }
        Some(Entry::Session { .. } | Entry::Gone { .. }) => Standing::Foreign,
        Some(Entry::Ended) => Standing::Ended,
        None => Standing::Unknown,
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
