//! The books of principals, as bytes.
//!
//! ```text
//! books   = version:u8 used:u32 book* padding
//! book    = owner:8 endpoint:4 checked:5 places:u16 streams:u16 sessions:u32 place{places} stream{streams}
//!           key:8{sessions}
//! place   = until:5 count:u32
//! stream  = root:4 until:5 count:u32
//! ```
//!
//! A `place` is a number of reservations with one deadline, and a `stream` the number of streams of one root. A malformed book ends the value: the books after it are
//! lost.

use super::codec::{Reader, timestamp_bytes};
use super::record::{Owner, RootTag, ShortKey};
use crate::session::settings::EndpointTag;
use crate::session::store::{LAYOUT, PRINCIPALS, StoreError};
use crate::session::time::Timestamp;

const HEADER_LEN: usize = 5;

/// Values are padded to one byte less than a multiple of this; the host's strings add that byte.
const PADDING_STEP: usize = 256;

/// The owner of a book: a principal at one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::session) struct BookOwner {
    pub(in crate::session) owner: Owner,
    pub(in crate::session) endpoint: EndpointTag,
}

impl BookOwner {
    /// The index of the value that holds the book. The owner is a keyed hash already, so a client cannot choose it.
    pub(in crate::session) fn index(self) -> u16 {
        let [low, high, ..] = self.owner.0.to_le_bytes();
        u16::from_le_bytes([low, high]) % PRINCIPALS
    }
}

/// How many of the principal's streams one root has, until a deadline that the root renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams {
    root: RootTag,
    until: Timestamp,
    count: u32,
}

/// The reservations, streams and sessions of one principal at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Book {
    pub(in crate::session) book_owner: BookOwner,
    /// When its sessions were last compared with the table.
    pub(in crate::session) checked: Timestamp,
    reservations: Vec<(Timestamp, u32)>,
    streams: Vec<Streams>,
    /// The sessions; those that were compared longest ago come first.
    pub(in crate::session) sessions: Vec<ShortKey>,
}

impl Book {
    fn new(book_owner: BookOwner) -> Self {
        Self {
            book_owner,
            checked: Timestamp::default(),
            reservations: Vec::new(),
            streams: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// The number of reservations and sessions.
    pub(in crate::session) fn count(&self) -> u32 {
        let sessions = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        let reservations = self.reservations.iter().map(|(_, count)| *count);
        reservations.fold(sessions, u32::saturating_add)
    }

    /// Adds a reservation with the deadline `until`.
    pub(in crate::session) fn add_reservation(&mut self, until: Timestamp) {
        match self.reservations.iter_mut().find(|(at, _)| *at == until) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.reservations.push((until, 1)),
        }
    }

    /// Gives back a reservation with the deadline `until`. Returns false if there is none any more.
    pub(in crate::session) fn take_reservation(&mut self, until: Timestamp) -> bool {
        let Some((_, count)) = self.reservations.iter_mut().find(|(at, _)| *at == until) else {
            return false;
        };
        *count = count.saturating_sub(1);
        self.reservations.retain(|(_, count)| *count > 0);
        true
    }

    /// Sets how many streams of the principal the root has.
    pub(in crate::session) fn set_streams(&mut self, root: RootTag, count: u32, until: Timestamp) {
        self.streams.retain(|streams| streams.root != root);
        if count > 0 {
            self.streams.push(Streams { root, until, count });
        }
    }

    /// How many streams of the principal the other roots have.
    pub(in crate::session) fn streams_of_others(&self, root: RootTag) -> u32 {
        let others = self.streams.iter().filter(|streams| streams.root != root);
        others.map(|streams| streams.count).fold(0, u32::saturating_add)
    }

    /// Drops reservations and streams that have passed their deadline. Returns true if there were any.
    pub(in crate::session) fn reap(&mut self, now: Timestamp) -> bool {
        let before = (self.reservations.len(), self.streams.len());
        self.reservations.retain(|(until, _)| now < *until);
        self.streams.retain(|streams| now < streams.until);
        (self.reservations.len(), self.streams.len()) != before
    }

    fn is_empty(&self) -> bool {
        self.reservations.is_empty() && self.streams.is_empty() && self.sessions.is_empty()
    }

    /// Whether the session is listed.
    pub(in crate::session) fn lists(&self, key: ShortKey) -> bool {
        self.sessions.contains(&key)
    }

    /// Takes the session off the list.
    pub(in crate::session) fn strike(&mut self, key: ShortKey) {
        self.sessions.retain(|listed| *listed != key);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let book_owner = BookOwner {
            owner: Owner(reader.u64()?),
            endpoint: EndpointTag::from_bytes(reader.array()?),
        };
        let checked = reader.timestamp()?;
        let (reservations, streams, sessions) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let mut reservations = Reader::new(reader.bytes(usize::from(reservations) * PLACE_LEN)?);
        let mut streams = Reader::new(reader.bytes(usize::from(streams) * STREAMS_LEN)?);
        let keys = reader.bytes(usize::try_from(sessions).ok()?.checked_mul(ShortKey::LEN)?)?;
        let (keys, _) = keys.as_chunks::<{ ShortKey::LEN }>();
        let reservation = || Some((reservations.timestamp()?, reservations.u32()?));
        Some(Self {
            book_owner,
            checked,
            reservations: core::iter::from_fn(reservation).collect(),
            streams: core::iter::from_fn(|| Streams::read(&mut streams)).collect(),
            sessions: keys.iter().copied().map(ShortKey).collect(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let reservations = u16::try_from(self.reservations.len()).unwrap_or(u16::MAX);
        let streams = u16::try_from(self.streams.len()).unwrap_or(u16::MAX);
        let sessions = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&self.book_owner.owner.0.to_le_bytes());
        out.extend_from_slice(&self.book_owner.endpoint.to_bytes());
        out.extend_from_slice(&timestamp_bytes(self.checked));
        out.extend_from_slice(&reservations.to_le_bytes());
        out.extend_from_slice(&streams.to_le_bytes());
        out.extend_from_slice(&sessions.to_le_bytes());
        for (until, count) in self.reservations.iter().take(usize::from(reservations)) {
            out.extend_from_slice(&timestamp_bytes(*until));
            out.extend_from_slice(&count.to_le_bytes());
        }
        for of_root in self.streams.iter().take(usize::from(streams)) {
            of_root.write(out);
        }
        for key in &self.sessions {
            out.extend_from_slice(&key.0);
        }
    }
}

impl Streams {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            root: RootTag::from_bits(reader.u32()?),
            until: reader.timestamp()?,
            count: reader.u32()?,
        })
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.root.bits().to_le_bytes());
        out.extend_from_slice(&timestamp_bytes(self.until));
        out.extend_from_slice(&self.count.to_le_bytes());
    }
}

const PLACE_LEN: usize = 5 + 4;
const STREAMS_LEN: usize = 4 + 5 + 4;

/// The books in one value, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Books(Vec<u8>);

impl Books {
    /// Takes the books from their value. Absent or empty bytes hold none, and so does a header cut short.
    pub(in crate::session) fn from_value(mut bytes: Vec<u8>) -> Result<Self, StoreError> {
        let mut header = Reader::new(&bytes);
        match (header.u8(), header.u32()) {
            (Some(version), _) if version != LAYOUT => Err(StoreError::Foreign),
            (Some(_), Some(used)) => {
                bytes.truncate(usize::try_from(used).unwrap_or(usize::MAX).max(HEADER_LEN));
                let mut books = Self(bytes);
                books.cut_to_readable();
                Ok(books)
            }
            (Some(_) | None, _) => Ok(Self::empty()),
        }
    }

    /// No books.
    pub(in crate::session) fn empty() -> Self {
        Self(vec![LAYOUT, 0, 0, 0, 0])
    }

    /// The bytes to store, padded, with the length filled in.
    pub(in crate::session) fn into_value(mut self) -> Vec<u8> {
        let used = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(field) = self.0.get_mut(1..HEADER_LEN) {
            field.copy_from_slice(&used.to_le_bytes());
        }
        let padded = (self.0.len() + 1).next_multiple_of(PADDING_STEP) - 1;
        self.0.resize(padded, 0);
        self.0
    }

    /// The book of `book_owner`, an empty one if there is none.
    pub(in crate::session) fn find(&self, book_owner: BookOwner) -> Book {
        self.at(book_owner)
            .and_then(|at| Book::read(&mut Reader::new(self.0.get(at)?)))
            .unwrap_or_else(|| Book::new(book_owner))
    }

    /// Replaces the principal's book. An empty book is removed.
    pub(in crate::session) fn put(&mut self, book: &Book) {
        if let Some(at) = self.at(book.book_owner) {
            self.0.drain(at);
        }
        if !book.is_empty() {
            book.write(&mut self.0);
        }
    }

    /// Whether there is a book of `book_owner`.
    pub(in crate::session) fn has(&self, book_owner: BookOwner) -> bool {
        self.at(book_owner).is_some()
    }

    /// All books.
    pub(in crate::session) fn all(&self) -> Vec<Book> {
        let mut reader = Reader::new(self.0.get(HEADER_LEN..).unwrap_or_default());
        core::iter::from_fn(|| Book::read(&mut reader)).collect()
    }

    /// The position of the book of `book_owner`.
    fn at(&self, book_owner: BookOwner) -> Option<core::ops::Range<usize>> {
        let mut start = HEADER_LEN;
        loop {
            let (found, end) = self.book_at(start)?;
            if found == book_owner {
                return Some(start..end);
            }
            start = end;
        }
    }

    /// The owner of the book that begins at `start`, and where the book ends; `None` at the end or if the book is
    /// malformed.
    fn book_at(&self, start: usize) -> Option<(BookOwner, usize)> {
        let mut reader = Reader::new(self.0.get(start..)?);
        let before = reader.remaining();
        let book_owner = BookOwner {
            owner: Owner(reader.u64()?),
            endpoint: EndpointTag::from_bytes(reader.array()?),
        };
        reader.timestamp()?;
        let (reservations, streams) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
        let sessions = usize::try_from(reader.u32()?).ok()?;
        reader.bytes(
            sessions
                .checked_mul(ShortKey::LEN)?
                .checked_add(reservations * PLACE_LEN + streams * STREAMS_LEN)?,
        )?;
        Some((book_owner, start + before - reader.remaining()))
    }

    /// Cuts off unreadable bytes, so that a book added later can be read.
    fn cut_to_readable(&mut self) {
        let mut end = HEADER_LEN;
        while let Some((_, next)) = self.book_at(end) {
            end = next;
        }
        self.0.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn book_owner(owner: u64) -> BookOwner {
        BookOwner {
            owner: Owner(owner),
            endpoint: EndpointTag::of("mcp"),
        }
    }

    fn book(owner: u64, sessions: u8) -> Book {
        let mut book = Book::new(book_owner(owner));
        book.checked = at(3);
        book.sessions = (0..sessions).map(|number| ShortKey([number; 8])).collect();
        book
    }

    #[test]
    fn books_survive_the_round_trip() {
        let mut placed = book(7, 2);
        placed.add_reservation(at(9));
        placed.add_reservation(at(9));
        placed.add_reservation(at(10));
        placed.set_streams(RootTag::from_bits(1), 2, at(11));
        placed.set_streams(RootTag::from_bits(2), 3, at(12));
        let mut books = Books::empty();
        books.put(&book(1, 40));
        books.put(&placed);
        let copy = Books::from_value(books.into_value()).unwrap();
        assert_eq!(copy.all(), [book(1, 40), placed.clone()]);
        assert_eq!((copy.find(book_owner(7)), placed.count()), (placed, 5));
        assert_eq!(copy.find(book_owner(8)).count(), 0);
    }

    #[test]
    fn a_principal_that_holds_nothing_leaves_nothing() {
        let mut books = Books::empty();
        for owner in 0..1000 {
            let mut book = books.find(book_owner(owner));
            book.add_reservation(at(9));
            books.put(&book);
            assert!(book.take_reservation(at(9)));
            assert!(!book.take_reservation(at(9)), "given back twice");
            books.put(&book);
        }
        assert_eq!(books, Books::empty());
    }

    #[test]
    fn the_streams_of_a_root_are_what_it_said_last_until_their_deadline() {
        let (one, other) = (RootTag::from_bits(1), RootTag::from_bits(2));
        let mut book = book(1, 0);
        book.set_streams(one, 2, at(8));
        book.set_streams(one, 5, at(9));
        assert_eq!((book.streams_of_others(other), book.count()), (5, 0));
        assert_eq!(book.streams_of_others(one), 0);
        let mut books = Books::empty();
        books.put(&book);
        assert_eq!(books.all(), [book.clone()]);
        assert!(!book.reap(at(8)));
        assert!(book.reap(at(9)));
        books.put(&book);
        assert_eq!(books, Books::empty());
    }

    #[test]
    fn a_place_ends_at_its_deadline() {
        let mut book = book(1, 1);
        book.add_reservation(at(9));
        assert!(!book.reap(at(8)));
        assert_eq!(book.count(), 2);
        assert!(book.reap(at(9)));
        assert_eq!(book.count(), 1);
    }

    #[test]
    fn another_layout_is_refused() {
        assert_eq!(Books::from_value(vec![1, 0, 0, 0, 0]), Err(StoreError::Foreign));
        assert_eq!(Books::from_value(vec![]), Ok(Books::empty()));
        assert_eq!(Books::from_value(vec![LAYOUT, 9]), Ok(Books::empty()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_or_writing_panic(
            rest in proptest::collection::vec(prop_oneof![0..3_u8, any::<u8>()], 0..600),
        ) {
            let mut books = Books::from_value([vec![LAYOUT], rest].concat()).unwrap();
            books.put(&book(1, 1));
            let copy = Books::from_value(books.into_value()).unwrap();
            prop_assert_eq!(copy.find(book_owner(1)), book(1, 1));
        }
    }
}
