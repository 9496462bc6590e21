//! Takes the sessions that a sweep has ended off the books of principals, book by book and not one by one.
//!
//! As [`super::quota`] says, removing an entry races with a worker that is inserting the same session. For many
//! sessions this takes three steps. First the versions of the books are noted. Then every bucket of the sessions is
//! rewritten: a worker that has listed a session before fails to write its bucket, unless the session is in the
//! bucket already. Then each book is written, if its version is still the noted one. A worker that inserts a session
//! later has listed it in the book, which changes the version; such a book is left to the check of [`super::quota`].

use std::collections::{BTreeMap, BTreeSet};

use super::{MAX_ATTEMPTS, Table};
use crate::session::store::{Key, SetError, Store, StoreError, Value, Version};
use crate::session::values::book::{BookOwner, Books};
use crate::session::values::bucket::Bucket;
use crate::session::values::record::{Owner, Session, ShortKey};

/// Values with books that one step handles. The clock is read after each step.
const AT_ONCE: usize = 64;

/// Sessions to take off the books, by the value that holds their book.
#[derive(Debug, Default)]
pub(super) struct Strikes(BTreeMap<u16, BTreeSet<Strike>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Strike {
    book_owner: BookOwner,
    key: ShortKey,
}

impl Strikes {
    /// Adds a session that has just left its bucket.
    pub(super) fn add(&mut self, session: &Session) {
        if session.owner == Owner::UNKNOWN {
            return;
        }
        let (owner, endpoint) = (session.owner, session.endpoint);
        let book_owner = BookOwner { owner, endpoint };
        let key = session.key.short();
        let of_value = self.0.entry(book_owner.index()).or_default();
        of_value.insert(Strike { book_owner, key });
    }

    /// Takes out as many as one step handles.
    fn take_some(&mut self) -> BTreeMap<u16, BTreeSet<Strike>> {
        let later = self.0.keys().nth(AT_ONCE).copied();
        let later = later.map(|first| self.0.split_off(&first)).unwrap_or_default();
        core::mem::replace(&mut self.0, later)
    }
}

impl<S: Store> Table<S> {
    /// Takes the next of them off, if the store allows. A session that stays listed is found before a principal is
    /// refused for it. Returns false if none is left.
    pub(super) fn strike_next(&self, strikes: &mut Strikes) -> bool {
        let mut some = strikes.take_some();
        let mut versions = BTreeMap::new();
        for (index, of_value) in &mut some {
            match self.keep_listed(*index, of_value) {
                Ok(version) => _ = versions.insert(*index, version),
                Err(_) => of_value.clear(),
            }
        }
        self.keep_those_that_left(&mut some);
        for (index, of_value) in &some {
            if let (Some(version), false) = (versions.get(index), of_value.is_empty()) {
                self.strike_all(*index, of_value, *version);
            }
        }
        !strikes.0.is_empty()
    }

    /// Keeps the strikes whose principals have a book, and returns the version of the books.
    fn keep_listed(&self, index: u16, strikes: &mut BTreeSet<Strike>) -> Result<Version, StoreError> {
        let Value { bytes, version } = self.store.get(Key::Principals(index))?;
        let books = Books::from_value(bytes)?;
        strikes.retain(|strike| books.has(strike.book_owner));
        Ok(version)
    }

    /// Keeps the strikes whose sessions are not in their buckets. Rewrites each bucket once.
    fn keep_those_that_left(&self, some: &mut BTreeMap<u16, BTreeSet<Strike>>) {
        let mut by_bucket: BTreeMap<u16, Vec<Strike>> = BTreeMap::new();
        for strike in some.values().flatten() {
            by_bucket.entry(strike.key.bucket()).or_default().push(*strike);
        }
        let mut stay = BTreeSet::new();
        for (index, strikes) in &by_bucket {
            match self.shut_out(*index, strikes) {
                Ok(alive) => stay.extend(alive),
                Err(_) => stay.extend(strikes.iter().map(|strike| strike.key)),
            }
        }
        if stay.is_empty() {
            return;
        }
        for strikes in some.values_mut() {
            strikes.retain(|strike| !stay.contains(&strike.key));
        }
    }

    /// Rewrites a bucket, so that a worker that has read it before can no longer write it. Returns the sessions that
    /// are in it.
    fn shut_out(&self, index: u16, strikes: &[Strike]) -> Result<Vec<ShortKey>, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Value { bytes, version } = self.store.get(Key::Bucket(index))?;
            let bucket = Bucket::from_value(bytes)?;
            let alive = strikes.iter().filter(|Strike { book_owner, key }| {
                bucket
                    .session_of(book_owner.owner, book_owner.endpoint, *key)
                    .is_some()
            });
            let alive = alive.map(|strike| strike.key).collect();
            match self.store.set(Key::Bucket(index), &bucket.into_value(), version) {
                Ok(()) => return Ok(alive),
                Err(SetError::Stale) => {}
                Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
            }
        }
        Err(StoreError::Contended)
    }

    /// Takes sessions off the books of one value, if it still has this version.
    fn strike_all(&self, index: u16, strikes: &BTreeSet<Strike>, as_it_was: Version) {
        let Ok(Value { bytes, version }) = self.store.get(Key::Principals(index)) else {
            return;
        };
        let Ok(mut books) = Books::from_value(bytes) else {
            return;
        };
        if version != as_it_was {
            return;
        }
        let strikes: Vec<Strike> = strikes.iter().copied().collect();
        for of_book in strikes.chunk_by(|one, next| one.book_owner == next.book_owner) {
            let Some(book_owner) = of_book.first().map(|strike| strike.book_owner) else {
                continue;
            };
            let mut book = books.find(book_owner);
            book.sessions
                .retain(|listed| of_book.binary_search_by_key(listed, |strike| strike.key).is_err());
            books.put(&book);
        }
        let _ = self
            .store
            .set(Key::Principals(index), &books.into_value(), version);
    }
}
