//! The table, and what requests do with its sessions.

pub(super) mod buckets;
pub(super) mod evict;
pub(super) mod look;
pub(super) mod open;
pub(super) mod quota;
mod reserve;
mod rests;
pub(super) mod share;
mod streams;
mod strikes;
pub(super) mod sweep;
pub(super) mod upstream_delete;

use core::cell::Cell;
use std::sync::Arc;

use self::buckets::Depths;
use super::settings::{Configuration, EndpointTag, Lifespans};
use super::store::{GROUP_LEN, Key, SetError, Store, StoreError, Value, Version};
use super::time::Timestamp;
use super::values::bucket::{Bucket, Entry};
use super::values::depth::depth_for;
use super::values::ledger::{Counts, DEFAULT_VM_LIMIT, Kept, Ledger};
use super::values::record::{EndReason, EndedSession, Leaseholders, Owner, RootTag, Session, SessionKey};

/// Most attempts at a compare-and-set. Each failure means that another worker succeeded, so only many workers on one
/// value can use them up.
pub(super) const MAX_ATTEMPTS: usize = 128;

/// The table's answer about an id of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The session is alive, and is now marked as used.
    Alive(Session),
    /// The session had outlived its time, and no sweep had ended it yet. This call has ended it.
    Expired(EndedSession),
    /// The session has ended, and its id is still remembered.
    Ended,
    /// The session is alive and belongs to another principal, or it is gone and only another principal may adopt its
    /// id.
    Foreign,
    /// The id was never seen, or is forgotten, or the server no longer knew it.
    Unknown,
}

/// The shared table, as one root context of one worker sees it.
#[derive(Clone, Debug)]
pub struct Table<S> {
    pub(super) store: S,
    pub(super) root: RootTag,
    secret: [u8; 16],
    pub(super) keeps_books: bool,
    /// The same for all copies of the table.
    depths: Arc<Depths>,
}

/// The result of a change to a value: whether to write the value, and what to return.
pub(super) enum Change<T> {
    Write(T),
    Nothing(T),
}

impl<S: Store> Table<S> {
    /// Joins the table in `store`, or creates it: agrees with the other workers on the hash key (this root proposes
    /// `secret`), and creates the keys that every table has. More buckets come with the cap ([`Table::grow`]), never with
    /// sessions.
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
            depths: Arc::default(),
        };
        table.create_ledger()?;
        table.note_depths(&table.ledger().unwrap_or_else(|_| Ledger::empty()));
        table.create_keys()?;
        Ok(table)
    }

    /// Gives a configuration its age at its load. This puts nothing into force: Envoy may still refuse the
    /// configuration, or its listener may be draining. But if none is in force, the table gets as many buckets as this
    /// one's cap wants, so that it has them before the first session.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read, or a bucket cannot be written.
    pub fn load(&self, configuration: &mut Configuration, now: Timestamp) -> Result<(), StoreError> {
        let ledger = self.ledger()?;
        ledger.load(configuration, now);
        self.note_depths(&ledger);
        if ledger.is_configured() {
            return Ok(());
        }
        let limit = configuration.settings().max_sessions;
        self.depths
            .set(ledger.depth(), depth_for(limit.unwrap_or(DEFAULT_VM_LIMIT)));
        self.grow(&|| false)
    }

    /// Called when a root of the configuration has seen a request: the configuration is in force from now on, unless
    /// a newer one decides.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the next request tries again.
    pub fn serve(&self, configuration: &mut Configuration, now: Timestamp) -> Result<Kept, StoreError> {
        let mut serving = configuration.clone();
        serving.serves = true;
        let (kept, _) = self.keep(&mut serving, now)?;
        *configuration = serving;
        Ok(kept)
    }

    /// Called once a tick: keeps the configuration in force, and restores what the host may have lost under a running
    /// worker: the hash key, the configuration, the buckets. Costs two reads if nothing is missing.
    ///
    /// `None` if other workers have agreed on another hash key meanwhile. This root must then attach anew.
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
            self.depths.begin_anew();
            self.create_keys()?;
            self.create_books()?;
        }
        Ok(Some(kept))
    }

    /// Called when a root of the configuration is destroyed. If no other root keeps the configuration in force, it
    /// goes in a few seconds.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written; the configuration then goes in a minute.
    pub fn leave(&self, configuration: &Configuration, now: Timestamp) -> Result<(), StoreError> {
        self.update_ledger(|ledger| match ledger.leave(configuration, now) {
            true => Change::Write(()),
            false => Change::Nothing(()),
        })
    }

    /// Enters or renews the configuration. The second value tells whether the ledger had no configuration at all.
    fn keep(&self, configuration: &mut Configuration, now: Timestamp) -> Result<(Kept, bool), StoreError> {
        let (kept, was_lost, keeping) = self.update_ledger(|ledger| {
            let was_lost = !ledger.is_configured();
            if was_lost {
                ledger.deepen(self.depths.known());
            }
            let mut keeping = configuration.clone();
            let (kept, changed) = ledger.keep(&mut keeping, now);
            self.note_depths(ledger);
            match changed {
                true => Change::Write((kept, was_lost, keeping)),
                false => Change::Nothing((kept, was_lost, keeping)),
            }
        })?;
        *configuration = keeping;
        Ok((kept, was_lost))
    }

    /// The key under which a session with this id is stored.
    pub fn key(&self, endpoint: EndpointTag, id: &[u8]) -> SessionKey {
        SessionKey::new(&self.secret, endpoint, id)
    }

    /// A keyed 64-bit hash of a text that must not be stored in clear.
    pub fn digest(&self, bytes: &[u8]) -> u64 {
        SessionKey::new(&self.secret, EndpointTag::NONE, bytes)
            .short()
            .to_number()
    }

    /// Finds a session and marks it as used. With a short idle timeout the use takes a lease, which [`Table::rest`]
    /// gives back. Where sessions are bound, only a session of `required_owner` is found and changed.
    ///
    /// Costs one read, and one write only if the stored stamp has aged.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written.
    pub fn use_session(
        &self,
        key: SessionKey,
        required_owner: Option<Owner>,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Standing, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(standing) = self.try_use(key, required_owner, lifespans, now)? {
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
        required_owner: Option<Owner>,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> Result<Option<Standing>, StoreError> {
        self.update_bucket(key, |bucket| match bucket.find(&key, now) {
            Some(Entry::Session { session, offset }) if is_of(session.owner, required_owner) => {
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
            entry => Ok(Change::Nothing(Some(standing_of(entry, required_owner)))),
        })
    }

    /// The table's answer about an id, for one read. Marks nothing as used. A session that has outlived its time
    /// counts as alive until it is ended.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read.
    pub fn standing(
        &self,
        key: SessionKey,
        required_owner: Option<Owner>,
        now: Timestamp,
    ) -> Result<Standing, StoreError> {
        let found = self.find_bucket(key.bucket())?;
        Ok(standing_of(found.bucket.find(&key, now), required_owner))
    }

    /// Extends this root's lease on a session that has requests or streams here.
    ///
    /// # Errors
    /// [`StoreError`] if the bucket cannot be read or written.
    pub fn renew(&self, key: SessionKey, lifespans: Lifespans, now: Timestamp) -> Result<(), StoreError> {
        self.restamp(key, now, |session| {
            Some(session.leased_by(self.root, lifespans, now))
        })
    }

    /// Called when the last request or stream of the session on this root is over: its idle time starts, unless
    /// another root has a lease on it. Returns whether the session has become idle.
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
    /// If the server no longer knew the session, its id becomes unknown. If the session was `bound`, the table
    /// remembers its owner for as long as an ended id, and the id is unknown to this owner only.
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

    /// Ends a session of HTTP+SSE whose stream is over; the reason is `lifetime` if the session has reached it.
    /// `None` if the session was not alive, or if a later stream has opened it anew.
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

    /// Ends a session if `reason` returns one for its current record. The reason is one of the filter's own, so it
    /// does not matter whether the session was bound.
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

    /// The name of an endpoint that has sessions, in any configuration.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn endpoint_name(&self, endpoint: EndpointTag) -> Result<Option<String>, StoreError> {
        Ok(self.ledger()?.name(endpoint).map(str::to_owned))
    }

    /// The current counts and caps, and the version of the ledger with them.
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

    /// Changes the ledger. Tries again while other workers change it at the same time.
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

    /// Changes the bucket of `key`. Tries again while other workers change it at the same time.
    pub(super) fn update_bucket<T>(
        &self,
        key: SessionKey,
        mut change: impl FnMut(&mut Bucket) -> Result<Change<T>, StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut found = self.find_bucket(key.bucket())?;
            let result = match change(&mut found.bucket)? {
                Change::Write(result) => result,
                Change::Nothing(result) => return Ok(result),
            };
            if self.replace(found.key(), &found.bucket.into_value(), found.version)? {
                return Ok(result);
            }
        }
        Err(StoreError::Contended)
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
            if self.replace(key, &bytes, version)? {
                return Ok(result);
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

    /// The stamp and leaseholders after a use at `now`, or `None` if the stored ones will do.
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

    fn create_keys(&self) -> Result<(), StoreError> {
        self.create(core::iter::once(Key::Rests), Key::Rests, Self::unheard())?;
        self.create(core::iter::once(Key::Paths), Key::Paths, &[])?;
        self.create_buckets()
    }

    /// Creates the ledger's key, if it is missing. An empty value is an empty ledger. The key is read first: a write that
    /// expects no value replaces one whose number happens to be the greatest there is.
    fn create_ledger(&self) -> Result<(), StoreError> {
        self.create(core::iter::once(Key::Ledger), Key::Ledger, &[])
    }

    /// Creates the missing keys. If the `last` one exists, all do.
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

/// Whether `owner` is the principal that is required, where sessions are bound.
fn is_of(owner: Owner, required_owner: Option<Owner>) -> bool {
    required_owner.is_none_or(|required_owner| required_owner == owner)
}

/// The table's answer for a bucket's entry. Whether the session is another principal's is checked first, so that the
/// answer takes no longer than for an unknown id.
fn standing_of(entry: Option<Entry>, required_owner: Option<Owner>) -> Standing {
    match entry {
        Some(Entry::Session { session, .. }) if is_of(session.owner, required_owner) => {
            Standing::Alive(session)
        }
        Some(Entry::Gone { owner, .. }) if owner.is_none_or(|owner| is_of(owner, required_owner)) => {
            Standing::Unknown
        }
        Some(Entry::Session { .. } | Entry::Gone { .. }) => Standing::Foreign,
        Some(Entry::Ended) => Standing::Ended,
        None => Standing::Unknown,
    }
}

/// The group of buckets with which a session is swept and counted.
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
