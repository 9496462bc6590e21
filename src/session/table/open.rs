//! Enters sessions into the table.

use super::{Change, MAX_ATTEMPTS, Table, group_of};
use crate::mcp::session_id::MAX_KEPT_BYTES;
use crate::session::settings::{EndpointTag, Lifespans};
use crate::session::store::{Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::bucket::{Bucket, Entry};
use crate::session::values::delete_request::DeleteRequest;
use crate::session::values::depth::DEEPEST;
use crate::session::values::ledger::Reservation;
use crate::session::values::record::{IdDigest, Leaseholders, Owner, Session, SessionKey};

/// A session to enter.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// The endpoint of the session.
    pub endpoint: EndpointTag,
    /// How long it may live.
    pub lifespans: Lifespans,
    /// The principal that opened it.
    pub owner: Owner,
    /// Whether only its owner may use it.
    pub bound: bool,
    /// How many sessions its owner may have.
    pub quota: Option<u32>,
    /// The session's key: [`Table::key`] of its endpoint and its tracked id.
    pub key: SessionKey,
    /// The session's id as the server wrote it.
    pub id: &'a [u8],
    /// The session's name in logs.
    pub digest: IdDigest,
    /// Whether the record keeps the id itself. An id longer than [`MAX_KEPT_BYTES`] is never kept.
    pub keep_id: bool,
    /// The DELETE for the server, sent if the filter ends the session; `None` if that is not configured.
    pub delete_request: Option<&'a DeleteRequest>,
}

/// How a new session comes into being, with its reservation if it still has one.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// An answer has named an id that its request did not have.
    Minted(Option<Reservation>),
    /// A stream of HTTP+SSE has named its session. If the id belonged to another session, it belongs to this stream
    /// from now on.
    Announced(Option<Reservation>),
    /// The server answered a request with an unknown id 2xx.
    Adopted(Option<Reservation>),
}

/// The result of entering a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is in the table and counted.
    Created,
    /// A session with this id is alive; it was opened at `opened`, and is now marked as used. It stays as it is, and
    /// keeps its owner.
    Alive {
        /// When it was opened.
        opened: Timestamp,
    },
    /// A session with this id was alive, or had outlived its time. The new session has replaced it.
    Renewed,
    /// A session with this id is alive, and bound to another principal. It stays as it is.
    Foreign,
    /// The session has ended meanwhile, or only another principal may adopt its id. It was not adopted.
    Ended,
    /// There is no room for the session.
    Full,
}

impl<S: Store> Table<S> {
    /// Enters a session with its reservation or, if that is gone, in a free place. Gives an unused reservation back.
    ///
    /// The ledger counts the session before the bucket holds it, so the count is never too low. The bucket was read
    /// before the ledger changed. If a recount comes between the two, the write of the bucket fails, and the session
    /// is counted again.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written; the session is then not in it.
    pub fn open(&self, new: &NewSession<'_>, origin: Origin, now: Timestamp) -> Result<Opened, StoreError> {
        let session = self.new_session(new, now);
        let (way, reservation) = match origin {
            Origin::Minted(reservation) => (Way::Minted, reservation),
            Origin::Announced(reservation) => (Way::Announced, reservation),
            Origin::Adopted(reservation) => (Way::Adopted, reservation),
        };
        let mut taken = Taken {
            reservation,
            counted: None,
            listed: false,
        };
        let opened = self.try_open(&session, new, way, &mut taken);
        if opened == Ok(Opened::Created) {
            return opened;
        }
        let given_back = self.give_back(&session, taken);
        opened.and_then(|opened| given_back.map(|()| opened))
    }

    fn try_open(
        &self,
        session: &Session,
        new: &NewSession<'_>,
        way: Way,
        taken: &mut Taken,
    ) -> Result<Opened, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut found = self.find_bucket(session.key.bucket())?;
            let depth = found.bucket.depth();
            let opened = match self.change(&mut found.bucket, session, new, way, taken) {
                Ok(Change::Write(opened)) => opened,
                Ok(Change::Nothing(opened)) => return Ok(opened),
                Err(StoreError::BucketFull) if depth < DEEPEST => {
                    self.split(found.index, depth)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if self.replace(found.key(), &found.bucket.into_value(), found.version)? {
                return Ok(opened);
            }
        }
        Err(StoreError::Contended)
    }

    fn change(
        &self,
        bucket: &mut Bucket,
        session: &Session,
        new: &NewSession<'_>,
        way: Way,
        taken: &mut Taken,
    ) -> Result<Change<Opened>, StoreError> {
        match bucket.find(&session.key, session.opened) {
            Some(Entry::Session {
                session: there,
                offset,
            }) => {
                if way.begins_anew(&there, new.lifespans, session.opened) {
                    self.take_over(bucket, there, session, new, taken)
                } else {
                    self.join(bucket, (there, offset), session, new)
                }
            }
            Some(Entry::Ended) if way == Way::Adopted => Ok(Change::Nothing(Opened::Ended)),
            Some(Entry::Gone { owner, delete_sent })
                if way == Way::Adopted && (delete_sent || new.is_of_another(session, owner)) =>
            {
                Ok(Change::Nothing(Opened::Ended))
            }
            Some(Entry::Ended | Entry::Gone { .. }) | None => self.enter(bucket, session, new, taken),
        }
    }

    /// Handles a live session with this id: the request becomes a use of it, unless the session is bound to another
    /// principal.
    fn join(
        &self,
        bucket: &mut Bucket,
        (there, offset): (Session, usize),
        session: &Session,
        new: &NewSession<'_>,
    ) -> Result<Change<Opened>, StoreError> {
        if new.is_of_another(session, Some(there.owner)) {
            return Ok(Change::Nothing(Opened::Foreign));
        }
        let opened = Opened::Alive { opened: there.opened };
        let Some((stamp, leaseholders)) = self.stamp_of_use(&there, new.lifespans, session.opened) else {
            return Ok(Change::Nothing(opened));
        };
        bucket.rewrite(offset, &there.stamped(stamp, leaseholders))?;
        Ok(Change::Write(opened))
    }

    /// Begins the new session in place of the one that is there. Uses of the old session become uses of the new one.
    fn take_over(
        &self,
        bucket: &mut Bucket,
        there: Session,
        session: &Session,
        new: &NewSession<'_>,
        taken: &mut Taken,
    ) -> Result<Change<Opened>, StoreError> {
        if !self.list_new(session, new.quota, taken)? {
            return Ok(Change::Nothing(Opened::Full));
        }
        let stamp = self.stamp_of_use(&there, new.lifespans, session.opened);
        let (stamp, leaseholders) = stamp.unwrap_or((there.stamp, there.leaseholders));
        bucket.insert(&session.clone().stamped(stamp, leaseholders))?;
        Ok(Change::Write(Opened::Renewed))
    }

    /// Enters a session whose id is not in the bucket.
    fn enter(
        &self,
        bucket: &mut Bucket,
        session: &Session,
        new: &NewSession<'_>,
        taken: &mut Taken,
    ) -> Result<Change<Opened>, StoreError> {
        if !self.list_new(session, new.quota, taken)? {
            return Ok(Change::Nothing(Opened::Full));
        }
        taken.counted = self.count(session, new.lifespans, taken)?;
        if taken.counted.is_none() {
            return Ok(Change::Nothing(Opened::Full));
        }
        taken.reservation = None;
        bucket.insert(session)?;
        Ok(Change::Write(Opened::Created))
    }

    /// Lists the session in its owner's book, if there is a quota. Returns false if the quota is used up.
    fn list_new(&self, session: &Session, quota: Option<u32>, taken: &mut Taken) -> Result<bool, StoreError> {
        let Some(limit) = quota else { return Ok(true) };
        let listed = self.list(session, limit, taken.reservation.as_mut())?;
        taken.listed |= listed;
        Ok(listed)
    }

    fn new_session(&self, new: &NewSession<'_>, now: Timestamp) -> Session {
        let NewSession {
            key,
            endpoint,
            owner,
            digest,
            lifespans,
            ..
        } = *new;
        let kept = new.keep_id && new.id.len() <= MAX_KEPT_BYTES;
        let session = Session {
            key,
            endpoint,
            owner,
            digest,
            opened: now,
            stamp: now,
            leaseholders: Leaseholders::default(),
            id: if kept { new.id.to_vec() } else { Vec::new() },
            delete_request: new.delete_request.cloned(),
        };
        if lifespans.leases_every_use() {
            let (stamp, leaseholders) = session.leased_by(self.root, lifespans, now);
            return session.stamped(stamp, leaseholders);
        }
        session
    }

    /// Counts the session in the ledger. If an earlier attempt has counted it and no recount has replaced the counts
    /// since, that count stays. Returns `None` if there is no room.
    fn count(
        &self,
        session: &Session,
        lifespans: Lifespans,
        taken: &Taken,
    ) -> Result<Option<Timestamp>, StoreError> {
        let group = group_of(session.key);
        let due = session.earliest_due(lifespans, session.opened);
        self.update_ledger(|ledger| {
            let recounted = ledger.recounted(group);
            if taken.counted == Some(recounted) {
                ledger.touch_group(group, due);
                return Change::Write(taken.counted);
            }
            let kept = taken.reservation.as_ref().is_some_and(|reservation| {
                ledger.give_back(self.root, reservation.endpoint, reservation.until)
            });
            if !kept {
                ledger.reap(session.opened);
                if ledger.refusal(session.endpoint, session.opened).is_some() {
                    return Change::Nothing(None);
                }
            }
            ledger.add_session(session.endpoint, group, due);
            Change::Write(Some(recounted))
        })
    }

    fn give_back(&self, session: &Session, taken: Taken) -> Result<(), StoreError> {
        let group = group_of(session.key);
        if let Some(recounted) = taken.counted {
            self.update_ledger(|ledger| {
                if ledger.recounted(group) != recounted {
                    return Change::Nothing(());
                }
                ledger.uncount_session(session.endpoint, group);
                Change::Write(())
            })?;
        }
        if taken.listed {
            self.strike(session)?;
        }
        match taken.reservation {
            Some(reservation) => self.release(reservation),
            None => Ok(()),
        }
    }
}

/// An [`Origin`] without its reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Minted,
    Announced,
    Adopted,
}

impl Way {
    /// Whether the new session replaces `there`, which has the same id. If `there` has outlived its time and was not
    /// swept yet, a server that gives out its id begins a new session.
    fn begins_anew(self, there: &Session, lifespans: Lifespans, now: Timestamp) -> bool {
        match self {
            Self::Minted => there.overdue(lifespans, now).is_some(),
            Self::Announced => true,
            Self::Adopted => false,
        }
    }
}

impl NewSession<'_> {
    /// Whether sessions are bound, and `owner`, if any, is another principal than the session's owner.
    fn is_of_another(&self, session: &Session, owner: Option<Owner>) -> bool {
        self.bound && owner.is_some_and(|owner| owner != session.owner)
    }
}

/// What a session on its way into the table has taken so far.
struct Taken {
    /// Its reservation, until it is counted.
    reservation: Option<Reservation>,
    /// The ledger counts it, as long as this is the mark of the last recount.
    counted: Option<Timestamp>,
    /// Its owner's book lists it.
    listed: bool,
}
