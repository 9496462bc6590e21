//! Quotas: the sessions and reservations of each principal, in books beside the table.
//!
//! A book lists a principal's sessions and counts its reservations. A session is listed before it enters its bucket
//! and removed from the list after it has left it, so a book never lists too few. If a worker died between the two
//! writes, the book lists a session that is not in the table. This is found before a principal is refused for it, or
//! by the sweep.
//!
//! Removing an entry races with a worker that is inserting the same session. Rewriting the bucket, unchanged, makes
//! that worker's compare-and-set fail; it retries and lists the session again. In the same way an insertion rewrites
//! the book even if the book lists the session already, so that a worker that has read the book to remove the session
//! fails to write it.

use core::time::Duration;

use super::{Change, MAX_ATTEMPTS, Table};
use crate::session::settings::EndpointTag;
use crate::session::store::{Key, PRINCIPALS, Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::book::{Book, BookOwner, Books};
use crate::session::values::ledger::Reservation;
use crate::session::values::record::{Owner, Session, ShortKey};

/// The book of a refused principal is compared with the table no more often than this, so that a flood of refusals
/// costs no more than the read of one value each.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Most sessions that one comparison looks up: those that were looked up longest ago.
const CHECKED_AT_ONCE: usize = 128;

/// The sweep compares a book with the table this often.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// How many sessions and reservations, or how many open streams, a principal may have at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The principal.
    pub owner: Owner,
    /// `max_sessions_per_principal` or `max_streams_per_principal`.
    pub limit: u32,
}

impl<S: Store> Table<S> {
    /// Creates every key that quotas need, so that the table never grows later, and makes the sweep visit the books.
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

    /// Adds a reservation to the principal's book. Returns false if its quota is used up.
    pub(super) fn note_reservation(
        &self,
        endpoint: EndpointTag,
        quota: Quota,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.if_room(endpoint, quota, now, &|book| book.add_reservation(until))
    }

    /// Removes a reservation from a principal's book.
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

    /// Lists a session that is about to enter its bucket, with its reservation or, if that is gone, within the quota.
    /// Returns false if the quota is used up. Must be called again after each read of the bucket.
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

    /// Takes a session off its book that has left the table, or never entered it.
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

    /// Takes an ended session off its book, if the store allows. A session that stays listed is found before a
    /// principal is refused for it.
    pub(super) fn strike_if_possible(&self, session: &Session) {
        let _ = self.strike(session);
    }

    /// At most `most` sessions of a principal at an endpoint, from a random position on. None if the principal has
    /// more than its quota, because the quota was lowered: the end of one session would then make no room.
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
            let bucket = self.find_bucket(key.bucket())?.bucket;
            sessions.extend(bucket.session_of(owner, endpoint, *key));
        }
        Ok(sessions)
    }

    /// Drops reservations that have passed their deadline, and listed sessions that are not in the table, from the
    /// books of this range. Returns the bytes of keys and values.
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

    /// Sweeps one value. Compares one book with the table if its last comparison is old enough and `may_check` is
    /// set.
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

    /// Changes a principal's book if it holds less than the quota. Before the quota counts as used up, old
    /// reservations and sessions that are no longer in the table are removed.
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

    /// Removes listed sessions that are not in the table, among the sessions that were checked longest ago.
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

    /// Whether the principal has no such session in the table. If so, a worker that has read the bucket before can no
    /// longer write it.
    fn has_left(&self, book_owner: BookOwner, key: ShortKey) -> Result<bool, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let found = match self.find_bucket(key.bucket()) {
                // A bucket of another version of the filter may hold the session.
                Err(StoreError::Foreign) => return Ok(false),
                found => found?,
            };
            let session = found
                .bucket
                .session_of(book_owner.owner, book_owner.endpoint, key);
            if session.is_some() {
                return Ok(false);
            }
            if self.replace(found.key(), &found.bucket.into_value(), found.version)? {
                return Ok(true);
            }
        }
        Err(StoreError::Contended)
    }

    /// Changes a principal's book. Tries again while other workers change it at the same time.
    pub(super) fn update_book(
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
