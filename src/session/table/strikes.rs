//! Takes the sessions that a sweep has ended off the books of principals, book by book and not one by one.
//!
//! As [`super::quota`] says, removing an entry races with a worker that is inserting the same session. For many
//! sessions this takes three steps. First the versions of the books are noted. Then every bucket of the sessions is
//! rewritten: a worker that has listed a session before fails to write its bucket, unless the session is in the
//! bucket already. Then each book is written, if its version is still the noted one. A worker that inserts a session
//! later has listed it in the book, which changes the version; such a book is left to the check of [`super::quota`].

use core::cmp::Ordering;

use super::{MAX_ATTEMPTS, Table};
use crate::session::store::{Key, Store, StoreError, Value, Version};
use crate::session::values::book::{BookOwner, Books};
use crate::session::values::record::{Owner, Session, ShortKey};

/// Values with books that one step handles. The clock is read after each step.
const AT_ONCE: usize = 64;

/// Sessions to take off the books.
#[derive(Debug, Default)]
pub(super) struct Strikes(Vec<Strike>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Strike {
    /// The value that is written next for it: of books, or the session's bucket. It comes first, so that an order keeps
    /// together what one write is for.
    index: u16,
    book_owner: BookOwner,
    key: ShortKey,
}

impl Strike {
    fn in_books(self) -> Self {
        let index = self.book_owner.index();
        Self { index, ..self }
    }

    fn in_buckets(self) -> Self {
        let index = self.key.bucket();
        Self { index, ..self }
    }
}

/// Sorts strikes by value. The one place that does, and by a function of its own: a sort has the code of its order in
/// dozens of places.
fn sort(strikes: &mut [Strike]) {
    #[inline(never)]
    fn order(one: &Strike, other: &Strike) -> Ordering {
        one.cmp(other)
    }
    strikes.sort_unstable_by(order);
}

impl Strikes {
    /// Adds a session that has just left its bucket.
    pub(super) fn add(&mut self, session: &Session) {
        if session.owner == Owner::UNKNOWN {
            return;
        }
        let (owner, endpoint) = (session.owner, session.endpoint);
        let book_owner = BookOwner { owner, endpoint };
        let (index, key) = (book_owner.index(), session.key.short());
        self.0.push(Strike {
            index,
            book_owner,
            key,
        });
    }

    /// Takes out as many as one step handles, in order.
    fn take_some(&mut self) -> Vec<Strike> {
        sort(&mut self.0);
        self.0.dedup();
        let values = self.0.chunk_by(|one, next| one.index == next.index);
        let taken: usize = values.rev().take(AT_ONCE).map(<[Strike]>::len).sum();
        self.0.split_off(self.0.len().saturating_sub(taken))
    }
}

/// How many of the strikes, in the order of their slots, are of slots before this one.
fn those_before(slot: u16, strikes: &[Strike]) -> usize {
    strikes.partition_point(|strike| strike.key.bucket() < slot)
}

impl<S: Store> Table<S> {
    /// Takes the next of them off, if the store allows. A session that stays listed is found before a principal is
    /// refused for it. Returns false if none is left.
    pub(super) fn strike_next(&self, strikes: &mut Strikes) -> bool {
        let some = strikes.take_some();
        let (mut versions, mut listed) = (Vec::new(), Vec::new());
        for of_value in some.chunk_by(|one, next| one.index == next.index) {
            let Some(Strike { index, .. }) = of_value.first() else {
                continue;
            };
            if let Ok(version) = self.listed(*index, of_value, &mut listed) {
                versions.push((*index, version));
            }
        }
        let left = self.those_that_left(listed);
        for (index, version) in versions {
            let from = left.partition_point(|strike| strike.index < index);
            let of_value = left.iter().skip(from).take_while(|strike| strike.index == index);
            self.strike_all(index, &of_value.copied().collect::<Vec<_>>(), version);
        }
        !strikes.0.is_empty()
    }

    /// Adds the strikes whose principals have a book to `listed`, and returns the version of the books.
    fn listed(
        &self,
        index: u16,
        strikes: &[Strike],
        listed: &mut Vec<Strike>,
    ) -> Result<Version, StoreError> {
        let Value { bytes, version } = self.store.get(Key::Principals(index))?;
        let books = Books::from_value(bytes)?;
        listed.extend(strikes.iter().filter(|strike| books.has(strike.book_owner)));
        Ok(version)
    }

    /// The strikes whose sessions are not in their buckets, in order. Rewrites each bucket once.
    fn those_that_left(&self, mut listed: Vec<Strike>) -> Vec<Strike> {
        listed.iter_mut().for_each(|strike| *strike = strike.in_buckets());
        sort(&mut listed);
        let mut left = Vec::with_capacity(listed.len());
        let mut waiting = listed.as_slice();
        while let Some(Strike { key, .. }) = waiting.first() {
            let slot = key.bucket();
            let end = self.shut_out(slot, waiting, &mut left).unwrap_or(slot + 1);
            waiting = waiting.split_at(those_before(end, waiting)).1;
        }
        sort(&mut left);
        left
    }

    /// Rewrites the bucket that covers `slot`, so that a worker that has read it before can no longer write it. Adds the
    /// strikes whose sessions should be in it, and are not, to `left`. Returns the slot behind the bucket. The strikes are
    /// in the order of their slots.
    fn shut_out(&self, slot: u16, strikes: &[Strike], left: &mut Vec<Strike>) -> Result<u16, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let found = self.find_bucket(slot)?;
            let (bucket, end) = (&found.bucket, found.end());
            let covered = strikes.iter().take(those_before(end, strikes));
            let gone = covered.filter(|Strike { book_owner, key, .. }| {
                bucket
                    .session_of(book_owner.owner, book_owner.endpoint, *key)
                    .is_none()
            });
            let gone: Vec<_> = gone.copied().collect();
            if self.replace(found.key(), &found.bucket.into_value(), found.version)? {
                left.extend(gone.into_iter().map(Strike::in_books));
                return Ok(end);
            }
        }
        Err(StoreError::Contended)
    }

    /// Takes sessions off the books of one value, if it still has this version.
    fn strike_all(&self, index: u16, strikes: &[Strike], as_it_was: Version) {
        if strikes.is_empty() {
            return;
        }
        let Ok(Value { bytes, version }) = self.store.get(Key::Principals(index)) else {
            return;
        };
        let Ok(mut books) = Books::from_value(bytes) else {
            return;
        };
        if version != as_it_was {
            return;
        }
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
