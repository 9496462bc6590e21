//! One bucket: a version byte, the length in use, then packed records, then padding.
//!
//! ```text
//! bucket  = version:u8 used:u16 record* padding
//! record  = 1 session | 2 tombstone
//! session = key:16 endpoint:4 owner:8 digest:8 opened:5 stamp:5 holder:4 id_len:u16 id
//! tombstone = key:16 until:5
//! ```
//!
//! Values are padded to a few sizes, so that the host's allocator can reuse the memory of one bucket for
//! another as they grow and shrink. A malformed record ends the bucket: what follows it is forgotten, and
//! the next recount puts the counts right.

use super::codec::{Reader, timestamp_bytes};
use super::ledger::{EndpointTag, Lifespans};
use super::record::{EndedSession, Holder, Session, SessionKey};
use super::store::StoreError;
use super::time::Timestamp;

const LAYOUT: u8 = 1;
const HEADER_LEN: usize = 3;
const SESSION: u8 = 1;
const TOMBSTONE: u8 = 2;

/// Values are padded to one byte less than a multiple of this; the host's strings add that byte.
const PADDING_STEP: usize = 256;

/// No bucket grows beyond this: over 1,000 sessions where about 61 are expected at a million in all.
pub(super) const MAX_BUCKET_BYTES: usize = 60 * 1024;

/// Ended sessions that one bucket remembers; the oldest give way. Eight fit into an empty bucket's
/// padding, so remembering them costs no memory: 131,072 in all.
const MAX_TOMBSTONES: usize = 8;

/// What a bucket knows of a session key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Session { session: Session, offset: usize },
    Ended,
}

enum Record {
    Session(Session),
    Tombstone(SessionKey, Timestamp),
}

/// What one pass of the sweep found in a bucket and left of it.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) ended: Vec<EndedSession>,
    pub(super) alive: Vec<EndpointTag>,
    /// When something in the bucket is next due; [`Timestamp::NEVER`] if nothing is.
    pub(super) next_due: Timestamp,
    pub(super) changed: bool,
}

/// The records of one bucket, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    bytes: Vec<u8>,
}

impl Bucket {
    /// Takes a bucket from its value; absent or empty bytes are an empty bucket.
    pub(super) fn from_value(mut bytes: Vec<u8>) -> Result<Self, StoreError> {
        let mut header = Reader::new(&bytes);
        let used = match (header.u8(), header.u16()) {
            (None, _) => return Ok(Self::empty()),
            (Some(LAYOUT), Some(used)) => usize::from(used),
            (Some(_), _) => return Err(StoreError::Foreign),
        };
        bytes.truncate(used.max(HEADER_LEN));
        Ok(Self { bytes })
    }

    /// A bucket without records.
    pub(super) fn empty() -> Self {
        Self {
            bytes: vec![LAYOUT, 0, 0],
        }
    }

    /// The bytes to store: length filled in, padded.
    pub(super) fn into_value(mut self) -> Vec<u8> {
        let used = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(1..HEADER_LEN) {
            field.copy_from_slice(&used.to_le_bytes());
        }
        let padded = (self.bytes.len() + 1).next_multiple_of(PADDING_STEP) - 1;
        self.bytes.resize(padded, 0);
        self.bytes
    }

    /// What the bucket knows of `key` at `now`.
    pub(super) fn find(&self, key: &SessionKey, now: Timestamp) -> Option<Entry> {
        let mut offset = HEADER_LEN;
        loop {
            let (kind, mut reader) = self.record_at(offset)?;
            if reader.array::<{ SessionKey::LEN }>()? == *key.as_bytes() {
                return self.entry_at(offset, now);
            }
            offset += record_len(kind, reader)?;
        }
    }

    /// Adds a session; a tombstone of the same key goes.
    pub(super) fn insert(&mut self, session: &Session) -> Result<(), StoreError> {
        self.remove(&session.key);
        self.truncate_to_readable();
        if self.bytes.len() + 1 + Session::FIXED_LEN + session.id.len() > MAX_BUCKET_BYTES {
            return Err(StoreError::BucketFull);
        }
        self.bytes.push(SESSION);
        session.write(&mut self.bytes);
        Ok(())
    }

    /// Rewrites the stamp and holder of the session at `offset`, in place.
    pub(super) fn restamp(&mut self, offset: usize, session: &Session) {
        let start = offset + 1 + Session::STAMP_OFFSET;
        if let Some(field) = self.bytes.get_mut(start..start + Session::STAMP_LEN) {
            field.copy_from_slice(&session.stamp_bytes());
        }
    }

    /// Removes the session and remembers until `until` that it ended.
    pub(super) fn end(&mut self, key: &SessionKey, until: Timestamp) {
        self.remove(key);
        self.truncate_to_readable();
        self.push_tombstone(key, until);
        self.forget_oldest_tombstones();
    }

    /// Ends what is due at `now`, forgets what was remembered long enough, and counts the rest.
    pub(super) fn sweep(&mut self, now: Timestamp, lifespans: impl Fn(EndpointTag) -> Lifespans) -> Swept {
        let mut swept = Swept::default();
        let mut next_due = Timestamp::NEVER;
        let mut kept = Self::empty();
        let mut tombstones = Vec::new();
        for record in self.records() {
            match record {
                Record::Tombstone(_, until) if until <= now => swept.changed = true,
                Record::Tombstone(key, until) => tombstones.push((key, until)),
                Record::Session(session) => {
                    let lifespans = lifespans(session.endpoint);
                    let (due, reason) = session.due(lifespans);
                    if due <= now {
                        swept.changed = true;
                        tombstones.push((session.key, now.after(lifespans.remembered())));
                        swept.ended.push(EndedSession {
                            session,
                            reason,
                            at: now,
                        });
                    } else {
                        next_due = next_due.min(due);
                        swept.alive.push(session.endpoint);
                        kept.bytes.push(SESSION);
                        session.write(&mut kept.bytes);
                    }
                }
            }
        }
        if swept.changed {
            for (key, until) in &tombstones {
                kept.push_tombstone(key, *until);
            }
            kept.forget_oldest_tombstones();
            *self = kept;
        }
        swept.next_due = next_due;
        swept
    }

    fn record_at(&self, offset: usize) -> Option<(u8, Reader<'_>)> {
        let mut reader = Reader::new(self.bytes.get(offset..)?);
        Some((reader.u8()?, reader))
    }

    fn entry_at(&self, offset: usize, now: Timestamp) -> Option<Entry> {
        match self.read_at(offset)?.0 {
            Record::Session(session) => Some(Entry::Session { session, offset }),
            Record::Tombstone(_, until) => (now < until).then_some(Entry::Ended),
        }
    }

    /// The record at `offset` and the offset after it; `None` at the end or where it is malformed.
    fn read_at(&self, offset: usize) -> Option<(Record, usize)> {
        let (kind, mut reader) = self.record_at(offset)?;
        let before = reader.remaining();
        let record = match kind {
            SESSION => Record::Session(Session::read(&mut reader)?),
            TOMBSTONE => Record::Tombstone(SessionKey::from_bytes(reader.array()?), reader.timestamp()?),
            _ => return None,
        };
        Some((record, offset + 1 + before - reader.remaining()))
    }

    fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let mut offset = HEADER_LEN;
        core::iter::from_fn(move || {
            let (record, next) = self.read_at(offset)?;
            offset = next;
            Some(record)
        })
    }

    /// Cuts the record of `key` out, whatever it is.
    fn remove(&mut self, key: &SessionKey) {
        let mut offset = HEADER_LEN;
        while let Some((record, next)) = self.read_at(offset) {
            let found = match record {
                Record::Session(session) => session.key == *key,
                Record::Tombstone(ended, _) => ended == *key,
            };
            if found {
                self.bytes.drain(offset..next);
                return;
            }
            offset = next;
        }
    }

    fn truncate_to_readable(&mut self) {
        let mut end = HEADER_LEN;
        while let Some((_, next)) = self.read_at(end) {
            end = next;
        }
        self.bytes.truncate(end);
    }

    fn push_tombstone(&mut self, key: &SessionKey, until: Timestamp) {
        self.bytes.push(TOMBSTONE);
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(&timestamp_bytes(until));
    }

    fn forget_oldest_tombstones(&mut self) {
        loop {
            let tombstones = self.records().filter_map(|record| match record {
                Record::Tombstone(key, until) => Some((until, key)),
                Record::Session(_) => None,
            });
            let (mut count, mut oldest) = (0, None::<(Timestamp, SessionKey)>);
            for (until, key) in tombstones {
                count += 1;
                if oldest.is_none_or(|(at, _)| until < at) {
                    oldest = Some((until, key));
                }
            }
            match oldest {
                Some((_, key)) if count > MAX_TOMBSTONES => self.remove(&key),
                _ => return,
            }
        }
    }
}

/// The bytes of a record of `kind` whose key has just been read from `reader`.
fn record_len(kind: u8, mut reader: Reader<'_>) -> Option<usize> {
    match kind {
        SESSION => {
            reader.bytes(Session::FIXED_LEN - SessionKey::LEN - 2)?;
            let id_len = usize::from(reader.u16()?);
            reader.bytes(id_len)?;
            Some(1 + Session::FIXED_LEN + id_len)
        }
        TOMBSTONE => {
            reader.timestamp()?;
            Some(1 + SessionKey::LEN + 5)
        }
        _ => None,
    }
}

impl Session {
    /// Marks the session as used at `now`, or as held until a lease ends.
    pub(super) fn stamped(mut self, stamp: Timestamp, holder: Holder) -> Self {
        self.stamp = stamp;
        self.holder = holder;
        self
    }
}
