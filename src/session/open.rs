//! How a session enters the table.

use super::bucket::{Bucket, Entry};
use super::ledger::{EndpointTag, Held, Lifespans, Reservation};
use super::record::{Holder, IdDigest, Owner, Session, SessionKey};
use super::store::{Key, SetError, Store, StoreError, Version};
use super::table::{Change, MAX_ATTEMPTS, Table, group_of};
use super::time::Timestamp;

/// A session to be entered.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// Where it belongs.
    pub endpoint: EndpointTag,
    /// How long it may live.
    pub lifespans: Lifespans,
    /// Who opened it.
    pub owner: Owner,
    /// Its id.
    pub id: &'a [u8],
    /// How logs will name it.
    pub digest: IdDigest,
    /// Whether the id itself must be kept.
    pub keep_id: bool,
}

/// Where a new session comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// The server has just minted its id, and this place was kept for it, if any still is.
    Minted(Option<Reservation>),
    /// A request with an id nobody knew was answered 2xx.
    Adopted,
}

/// What became of a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is in the table and counted.
    Created,
    /// It was there already; a server that minted its id anew has renewed it.
    Present,
    /// It has ended meanwhile; its id cannot be adopted.
    Ended,
    /// There is no room for it.
    Full,
}

impl<S: Store> Table<S> {
    /// Enters a session, in the place that was kept for it or, where that is gone, in a free one.
    ///
    /// The ledger counts it before the bucket holds it, so that the count is never below the truth. The
    /// bucket was read before the ledger changed: a recount that comes between the two makes the write of
    /// the bucket fail, and the count is then made again.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written; the session is then not in it.
    pub fn open(&self, new: &NewSession<'_>, origin: Origin, now: Timestamp) -> Result<Opened, StoreError> {
        let key = self.key(new.endpoint, new.id);
        let session = self.new_session(key, new, now);
        let (adopted, mut place) = match origin {
            Origin::Adopted => (true, None),
            Origin::Minted(place) => (false, place),
        };
        let mut counted = None;
        for _ in 0..MAX_ATTEMPTS {
            let (mut bucket, version) = self.read_bucket(key)?;
            match bucket.find(&key, now) {
                Some(Entry::Session { .. }) => {
                    self.uncount(&session, counted)?;
                    return self.meet(&session, adopted, place, now);
                }
                Some(Entry::Ended) if adopted => {
                    self.uncount(&session, counted)?;
                    return Ok(Opened::Ended);
                }
                Some(Entry::Ended) | None => {}
            }
            counted = self.count(&session, new.lifespans, place.as_ref(), counted)?;
            if counted.is_none() {
                return Ok(Opened::Full);
            }
            place = None;
            match self.write_session(&mut bucket, &session, version) {
                Ok(()) => return Ok(Opened::Created),
                Err(WriteError::Stale) => {}
                Err(WriteError::Final(error)) => {
                    self.uncount(&session, counted)?;
                    return Err(error);
                }
            }
        }
        self.uncount(&session, counted)?;
        Err(StoreError::Contended)
    }

    fn new_session(&self, key: SessionKey, new: &NewSession<'_>, now: Timestamp) -> Session {
        let (stamp, holder) = match new.lifespans.is_short() {
            true => (now.after(new.lifespans.lease()), Holder::One(self.root)),
            false => (now, Holder::None),
        };
        let id = if new.keep_id { new.id.to_vec() } else { Vec::new() };
        let NewSession {
            endpoint,
            owner,
            digest,
            ..
        } = *new;
        Session {
            key,
            endpoint,
            owner,
            digest,
            opened: now,
            stamp,
            holder,
            id,
        }
    }

    fn read_bucket(&self, key: SessionKey) -> Result<(Bucket, Version), StoreError> {
        let value = self.store.get(Key::Bucket(key.bucket()))?;
        Ok((Bucket::from_value(value.bytes)?, value.version))
    }

    /// Counts the session in the ledger: what `counted` says was counted before stays counted unless a
    /// recount has wiped it. `None` if there is no room.
    fn count(
        &self,
        session: &Session,
        lifespans: Lifespans,
        place: Option<&Reservation>,
        counted: Option<u16>,
    ) -> Result<Option<u16>, StoreError> {
        let (group, due) = (group_of(session.key), session.due(lifespans).0);
        self.update_ledger(|ledger| {
            let recounts = ledger.recounts(group);
            if counted == Some(recounts) {
                ledger.touch_group(group, due);
                return Change::Write(counted);
            }
            let kept = place
                .is_some_and(|place| ledger.let_go(Held::Places, self.root, place.endpoint, place.until));
            if !kept && ledger.refusal(session.endpoint).is_some() {
                return Change::Nothing(None);
            }
            ledger.add_session(session.endpoint, group, due);
            Change::Write(Some(recounts))
        })
    }

    fn uncount(&self, session: &Session, counted: Option<u16>) -> Result<(), StoreError> {
        let Some(recounts) = counted else { return Ok(()) };
        self.update_ledger(|ledger| {
            ledger.remove_sessions(session.endpoint, group_of(session.key), recounts, 1);
            Change::Write(())
        })
    }

    fn write_session(
        &self,
        bucket: &mut Bucket,
        session: &Session,
        version: Version,
    ) -> Result<(), WriteError> {
        bucket.insert(session).map_err(WriteError::Final)?;
        let value = core::mem::replace(bucket, Bucket::empty()).into_value();
        self.store
            .set(Key::Bucket(session.key.bucket()), &value, version)
            .map_err(|error| match error {
                SetError::Stale => WriteError::Stale,
                SetError::Unavailable => WriteError::Final(StoreError::Unavailable),
            })
    }

    /// The id is alive already. An adopter leaves it as it is; a server that mints the same id again means
    /// a session that begins now, in the place of the old one.
    fn meet(
        &self,
        session: &Session,
        adopted: bool,
        place: Option<Reservation>,
        now: Timestamp,
    ) -> Result<Opened, StoreError> {
        if !adopted {
            self.update_bucket(session.key, |bucket| match bucket.find(&session.key, now) {
                Some(Entry::Session { .. }) => bucket.insert(session).map(Change::Write),
                Some(Entry::Ended) | None => Ok(Change::Nothing(())),
            })?;
        }
        if let Some(place) = place {
            self.release(place)?;
        }
        Ok(Opened::Present)
    }
}

enum WriteError {
    Stale,
    Final(StoreError),
}
