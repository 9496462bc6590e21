//! Quotas: what each principal holds, in books of their own beside the table.
//!
//! A book lists a principal's sessions and counts the places kept for its initializations. A session is listed
//! before it is in its bucket and struck off after it has left, so a book never says too little. What is
//! listed and not in the table (a worker died between two writes) is found when somebody is about to be refused
//! for it, or by the sweep.
//!
//! Who strikes a session off has to know that nobody is just entering it. So it rewrites the bucket in which it
//! has not found the session, and whoever had read that bucket before fails to write it and lists its session
//! anew; and an entry rewrites the book even where that lists the session already, so that whoever had read
//! the book before fails to write it.

use core::time::Duration;

use super::{Change, MAX_ATTEMPTS, Table};
use crate::session::settings::EndpointTag;
use crate::session::store::{Key, PRINCIPALS, SetError, Store, StoreError, Value};
use crate::session::time::Timestamp;
use crate::session::values::book::{Book, BookOwner, Books};
use crate::session::values::bucket::Bucket;
use crate::session::values::ledger::Reservation;
use crate::session::values::record::{Owner, Session, ShortKey};

/// A principal that is refused has its book compared with the table no more often than this, so that a flood
/// of refusals costs no more than the read of one value each.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// At most this many sessions are looked up at a time, those that were looked up longest ago.
const CHECKED_AT_ONCE: usize = 128;

/// The sweep compares a book with the table this often.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// How many sessions and places a principal may have at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The principal.
    pub owner: Owner,
    /// `max_sessions_per_principal`.
    pub limit: u32,
}

impl<S: Store> Table<S> {
    /// Makes every key that quotas need, so that the table never grows later, and has the sweep look after
    /// the books.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub fn keep_books(&mut self) -> Result<(), StoreError> {
        self.keeps_books = true;
        self.create_books()
    }

    pub(super) fn create_books(&self) -> Result<(), StoreError> {
        if !self.keeps_books {
            return Ok(());
        }
        let keys = (0..PRINCIPALS).map(Key::Principals);
        let last = Key::Principals(PRINCIPALS - 1);
        self.create(keys, last, &Books::empty().into_value())
    }

    /// Keeps a place in the principal's book; false if its quota is used up.
    pub(super) fn note_reservation(
        &self,
        endpoint: EndpointTag,
        quota: Quota,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.if_room(endpoint, quota, now, &|book| book.add_reservation(until))
    }

    /// Gives a place in a principal's book back.
    pub(super) fn strike_reservation(
        &self,
        endpoint: EndpointTag,
        owner: Owner,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let given_back = self.update_book(BookOwner { owner, endpoint }, &mut |book| {
            Ok(match book.take_reservation(until) {
                true => Change::Write(true),
                false => Change::Nothing(false),
            })
        });
        given_back.map(drop)
    }

    /// Lists a session that is about to be in its bucket, in the place that was kept for it or, where that is
    /// gone, within the quota; false if that is used up. To be done anew each time the bucket has been read.
    pub(super) fn list(
        &self,
        session: &Session,
        limit: u32,
        reservation: Option<&mut Reservation>,
    ) -> Result<bool, StoreError> {
        let (owner, endpoint) = (session.owner, session.endpoint);
        let key = session.key.short();
        let reservation = reservation.filter(|reservation| reservation.principal.is_some());
        let until = reservation.as_ref().map(|reservation| reservation.until);
        let listed = self.update_book(BookOwner { owner, endpoint }, &mut |book| {
            let kept = until.is_some_and(|until| book.take_reservation(until));
            if !book.lists(key) {
                if !kept {
                    return Ok(Change::Nothing(false));
                }
                book.sessions.push(key);
            }
            Ok(Change::Write(true))
        })?;
        if listed && let Some(reservation) = reservation {
            reservation.principal = None;
        }
        if listed {
            return Ok(true);
        }
        let quota = Quota { owner, limit };
        self.if_room(endpoint, quota, session.opened, &|book| {
            if !book.lists(key) {
                book.sessions.push(key);
            }
        })
    }

    /// Strikes a session off that has left the table, or never came to be in it.
    pub(super) fn strike(&self, session: &Session) -> Result<(), StoreError> {
        if session.owner == Owner::UNKNOWN {
            return Ok(());
        }
        let (owner, endpoint) = (session.owner, session.endpoint);
        let key = session.key.short();
        let book_owner = BookOwner { owner, endpoint };
        let struck = self.update_book(book_owner, &mut |book| {
            if !book.lists(key) || !self.has_left(book_owner, key)? {
                return Ok(Change::Nothing(false));
            }
            book.strike(key);
            Ok(Change::Write(true))
        });
        struck.map(drop)
    }

    /// Strikes a session off that has ended, as far as the store lets. What stays listed is found when somebody
    /// is about to be refused for it.
    pub(super) fn strike_if_possible(&self, session: &Session) {
        let _ = self.strike(session);
    }

    /// The sessions that a principal at its quota has at an endpoint, `most` of them at most, beginning anywhere; none
    /// if it is beyond it: its quota was lowered, and the end of one would let nobody in.
    pub(super) fn sessions_of(
        &self,
        quota: Quota,
        endpoint: EndpointTag,
        most: usize,
        anywhere: u64,
    ) -> Result<Vec<Session>, StoreError> {
        let owner = quota.owner;
        let book_owner = BookOwner { owner, endpoint };
        let value = self.store.get(Key::Principals(book_owner.index()))?;
        let book = Books::from_value(value.bytes)?.find(book_owner);
        let keys = match book.count() > quota.limit {
            true => Vec::new(),
            false => book.sessions,
        };
        let first = usize::try_from(anywhere).unwrap_or(0) % keys.len().max(1);
        let chosen = keys.iter().cycle().skip(first).take(keys.len().min(most));
        let mut sessions = Vec::new();
        for key in chosen {
            let bucket = Bucket::from_value(self.store.get(Key::Bucket(key.bucket()))?.bytes)?;
            sessions.extend(bucket.session_of(owner, endpoint, *key));
        }
        Ok(sessions)
    }

    /// Drops what the books of this range hold beyond deadlines or sessions; the bytes of keys and values.
    pub(super) fn sweep_books(
        &self,
        range: core::ops::Range<u16>,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        if !self.keeps_books {
            return Ok(0);
        }
        let (mut bytes, mut may_check) = (0_u32, true);
        for index in range {
            let len = self.sweep_value(index, now, &mut may_check)?;
            bytes = bytes.saturating_add(super::sweep::value_bytes(len));
        }
        Ok(bytes)
    }

    /// Sweeps one value, and compares one book with the table if any has waited for it and `may_check`.
    fn sweep_value(&self, index: u16, now: Timestamp, may_check: &mut bool) -> Result<usize, StoreError> {
        self.update(Key::Principals(index), |bytes| {
            let len = bytes.len();
            let books = Books::from_value(bytes)?;
            let mut swept = books.clone();
            for mut book in books.all() {
                let mut changed = book.reap(now);
                let waits = !book.sessions.is_empty() && now.since(book.checked) >= SWEEP_EVERY;
                if waits && core::mem::take(may_check) {
                    self.check(&mut book, now)?;
                    changed = true;
                }
                if changed {
                    swept.put(&book);
                }
            }
            if swept == books {
                return Ok((len, None));
            }
            let value = swept.into_value();
            Ok((value.len(), Some(value)))
        })
    }

    /// Changes a principal's book if it holds less than the quota. Before it is said to be used up, what has
    /// run out or is no longer in the table is taken off.
    fn if_room(
        &self,
        endpoint: EndpointTag,
        quota: Quota,
        now: Timestamp,
        change: &dyn Fn(&mut Book),
    ) -> Result<bool, StoreError> {
        let owner = quota.owner;
        self.update_book(BookOwner { owner, endpoint }, &mut |book| {
            let is_full = |book: &Book| book.count() >= quota.limit;
            let mut changed = book.reap(now);
            if is_full(book) && now.since(book.checked) >= CHECK_EVERY {
                self.check(book, now)?;
                changed = true;
            }
            if !is_full(book) {
                change(book);
                return Ok(Change::Write(true));
            }
            match changed {
                true => Ok(Change::Write(false)),
                false => Ok(Change::Nothing(false)),
            }
        })
    }

    /// Strikes off what is listed and not in the table, among the sessions checked longest ago.
    fn check(&self, book: &mut Book, now: Timestamp) -> Result<(), StoreError> {
        let book_owner = book.book_owner;
        let unchecked = book.sessions.split_off(book.sessions.len().min(CHECKED_AT_ONCE));
        let checked = core::mem::replace(&mut book.sessions, unchecked);
        for key in checked {
            if !self.has_left(book_owner, key)? {
                book.sessions.push(key);
            }
        }
        book.checked = now;
        Ok(())
    }

    /// Whether the principal has no such session in the table. If so, whoever had read the bucket before can
    /// no longer write it.
    fn has_left(&self, book_owner: BookOwner, key: ShortKey) -> Result<bool, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Value { bytes, version } = self.store.get(Key::Bucket(key.bucket()))?;
            // What another version of the filter has written may hold it.
            let Ok(bucket) = Bucket::from_value(bytes) else {
                return Ok(false);
            };
            if bucket
                .session_of(book_owner.owner, book_owner.endpoint, key)
                .is_some()
            {
                return Ok(false);
            }
            match self
                .store
                .set(Key::Bucket(key.bucket()), &bucket.into_value(), version)
            {
                Ok(()) => return Ok(true),
                Err(SetError::Stale) => {}
                Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
            }
        }
        Err(StoreError::Contended)
    }

    /// Changes a principal's book as `change` says, trying anew as long as others change it at the same time.
    fn update_book(
        &self,
        book_owner: BookOwner,
        change: &mut dyn FnMut(&mut Book) -> Result<Change<bool>, StoreError>,
    ) -> Result<bool, StoreError> {
        self.update(Key::Principals(book_owner.index()), |bytes| {
            let mut books = Books::from_value(bytes)?;
            let mut book = books.find(book_owner);
            Ok(match change(&mut book)? {
                Change::Write(result) => {
                    books.put(&book);
                    (result, Some(books.into_value()))
                }
                Change::Nothing(result) => (result, None),
            })
        })
    }
}
