//! One bucket: a version byte, the length in use, the mark of the last recount that kept writers out, the depth, then
//! packed records, then padding.
//!
//! ```text
//! bucket    = version:u8 used:u16 mark:5 depth:u8 record* padding
//! record    = 1 session | 2 tombstone | 3 pending | 4 owned
//! session   = key:16 endpoint:4 digest:8 opened:5 stamp:5 parts:u8 owner:8? leaseholders? id? delete?
//! leaseholders   = count:u8 root:u32{count}
//! id        = len:u16 byte{len}
//! tombstone = key:16 until:5
//! owned     = key:16 until:5 owner:8
//! pending   = key:16 until:5 endpoint:4 flags:u8 due:5 owner:8 id delete
//! delete    = len:u16 version:10 path
//! ```
//!
//! A session's `parts` has a bit for each optional part: 1 owner, 2 leaseholders, 4 id, 8 delete. An owned tombstone
//! stands for a session that the server no longer knew, and whose id only its owner may adopt. Of the flags of a
//! pending DELETE, the lower four bits count the attempts; 0x80 means that the last attempt has no answer yet, 0x40
//! that requests with the id are answered as those of an ended session, and 0x20 that only the owner may adopt the
//! id.
//!
//! Values are padded to a few sizes, so that the host's allocator can reuse the memory of one bucket for another as
//! they grow and shrink. A malformed record ends the bucket: the records after it are lost, and the next recount puts
//! the counts right.

mod splitting;
mod sweeping;

use self::sweeping::Left;
use super::codec::{Reader, timestamp_bytes};
use super::depth::{DEEPEST, spare_records};
use super::record::{EndedSession, Owner, Session, SessionKey, ShortKey};
use super::tombstone::{Remembered, Tombstone};
use super::upstream_delete::PendingDelete;
use crate::session::settings::{EndpointTag, Lifespans};
use crate::session::store::{LAYOUT, StoreError};
use crate::session::time::Timestamp;

const MARK_OFFSET: usize = 3;
const DEPTH_OFFSET: usize = MARK_OFFSET + 5;
const HEADER_LEN: usize = DEPTH_OFFSET + 1;
const SESSION: u8 = 1;
const TOMBSTONE: u8 = 2;
const PENDING_DELETE: u8 = 3;
const OWNED: u8 = 4;

/// Values are padded to one byte less than one of these sizes or, above them, than a power of two or three quarters of
/// one; the host's strings add that byte. With so few sizes the host's allocator can reuse the memory that a growing
/// bucket leaves. From 1,024 on they are sizes of the allocator in Envoy, TCMalloc, that leave no gap in its pages: a
/// million sessions take a sixth less memory than with powers of two and their three quarters.
const PADDED: [usize; 6] = [256, 512, 1024, 2048, 2688, 3200];

/// The least of [`PADDED`] for a bucket that covers several slots: it has more to remember.
const LEAST_OF_SEVERAL: usize = 512;

/// Most bytes of a bucket: over 1,000 sessions, where about 61 are expected at a million in all. A bucket that would
/// grow beyond this splits, whatever the cap is.
pub(in crate::session) const MAX_BUCKET_BYTES: usize = 60 * 1024;

/// A bucket's knowledge of a session key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) enum Entry {
    Session {
        session: Session,
        offset: usize,
    },
    /// The session has ended.
    Ended,
    /// The server no longer knew the session.
    Gone {
        /// The only principal that may adopt the id; `None` if any may.
        owner: Option<Owner>,
        /// A DELETE for it is in flight to the server.
        delete_sent: bool,
    },
}

impl Entry {
    fn remembered(remembered: Remembered, delete_sent: bool) -> Self {
        match remembered {
            Remembered::Ended => Self::Ended,
            Remembered::OwnedBy(owner) => Self::Gone {
                owner: Some(owner),
                delete_sent,
            },
        }
    }
}

enum Record {
    Session(Session),
    Tombstone(Tombstone),
    PendingDelete(PendingDelete),
}

/// The results of one pass of the sweep over a bucket.
#[derive(Debug)]
pub(in crate::session) struct Swept {
    pub(in crate::session) ended: Vec<EndedSession>,
    pub(in crate::session) alive: Vec<EndpointTag>,
    /// Pending DELETEs that can be sent now.
    pub(in crate::session) ready: Vec<(EndpointTag, SessionKey)>,
    /// Pending DELETEs that were given up.
    pub(in crate::session) given_up: u32,
    /// When the next record in the bucket is due; [`Timestamp::NEVER`] if none is.
    pub(in crate::session) next_due: Timestamp,
    pub(in crate::session) changed: bool,
}

impl Swept {
    fn end(&mut self, ended: EndedSession) {
        self.changed = true;
        self.ended.push(ended);
    }

    fn keep(&mut self, endpoint: EndpointTag, due: Timestamp) {
        self.next_due = self.next_due.min(due);
        self.alive.push(endpoint);
    }
}

/// The records of one bucket, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Bucket {
    bytes: Vec<u8>,
}

impl Bucket {
    /// Takes a bucket from its value. Absent or empty bytes are an empty bucket, and so is a header cut short.
    pub(in crate::session) fn from_value(mut bytes: Vec<u8>) -> Result<Self, StoreError> {
        let mut header = Reader::new(&bytes);
        let used = match (header.u8(), header.u16()) {
            (Some(version), _) if version != LAYOUT => return Err(StoreError::Foreign),
            (Some(_), Some(used)) if bytes.len() >= HEADER_LEN => usize::from(used),
            (Some(_) | None, _) => return Ok(Self::empty()),
        };
        bytes.truncate(used.max(HEADER_LEN));
        Ok(Self { bytes })
    }

    /// A bucket without records.
    pub(in crate::session) fn empty() -> Self {
        Self {
            bytes: vec![LAYOUT, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// The same bucket, with at least this depth.
    pub(in crate::session) fn at_least(mut self, depth: u8) -> Self {
        let depth = depth.max(self.depth()).min(DEEPEST);
        if let Some(field) = self.bytes.get_mut(DEPTH_OFFSET) {
            *field = depth;
        }
        self
    }

    /// How often the slots of the group were halved until this bucket's were left.
    pub(in crate::session) fn depth(&self) -> u8 {
        let depth = self.bytes.get(DEPTH_OFFSET).copied();
        depth.unwrap_or(0).min(DEEPEST)
    }

    /// The bytes to store, padded, with the length filled in.
    pub(in crate::session) fn into_value(mut self) -> Vec<u8> {
        let used = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(1..MARK_OFFSET) {
            field.copy_from_slice(&used.to_le_bytes());
        }
        let least = if self.depth() < DEEPEST {
            LEAST_OF_SEVERAL
        } else {
            0
        };
        let padded = padded(least.max(self.bytes.len() + 1)) - 1;
        self.bytes.resize(padded, 0);
        self.bytes
    }

    /// The mark of the last recount of the bucket.
    pub(in crate::session) fn mark(&self) -> Timestamp {
        let mark = self
            .bytes
            .get(MARK_OFFSET..)
            .and_then(|bytes| Reader::new(bytes).timestamp());
        mark.unwrap_or_default()
    }

    /// Writes the mark of a recount, unless the bucket has the mark of a later one.
    pub(in crate::session) fn leave_mark(&mut self, mark: Timestamp) {
        let mark = mark.max(self.mark());
        if let Some(field) = self.bytes.get_mut(MARK_OFFSET..DEPTH_OFFSET) {
            field.copy_from_slice(&timestamp_bytes(mark));
        }
    }

    /// What the bucket knows of `key` at `now`.
    pub(in crate::session) fn find(&self, key: &SessionKey, now: Timestamp) -> Option<Entry> {
        let mut offset = HEADER_LEN;
        loop {
            let record = self.bytes.get(offset..)?;
            let (kind, rest) = record.split_first()?;
            if rest.first_chunk()? == key.as_bytes() {
                return self.entry_at(offset, now);
            }
            offset += record_len(*kind, rest)?;
        }
    }

    /// Adds a session, and removes a tombstone with the same key.
    pub(in crate::session) fn insert(&mut self, session: &Session) -> Result<(), StoreError> {
        self.remove(&session.key);
        self.truncate_to_readable();
        self.push_session(session);
        self.fits()
    }

    /// Rewrites the session at `offset`, where [`Bucket::find`] found it.
    pub(in crate::session) fn rewrite(&mut self, offset: usize, session: &Session) -> Result<(), StoreError> {
        let Some((_, next)) = self.read_at(offset) else {
            return Ok(());
        };
        let mut record = vec![SESSION];
        session.write(&mut record);
        self.bytes.splice(offset..next, record);
        self.fits()
    }

    /// Replaces any record of `key` by `tombstone`.
    pub(in crate::session) fn bury(&mut self, key: &SessionKey, tombstone: Option<Tombstone>) {
        self.remove(key);
        self.truncate_to_readable();
        if let Some(tombstone) = tombstone {
            self.push_tombstone(&tombstone);
            self.forget_oldest_tombstones();
        }
    }

    /// Ends the sessions that are due at `now`, drops the tombstones that are old enough, and counts the rest. Keeps no more
    /// than `max_pending_deletes` pending DELETEs, and none of an endpoint that no configuration names: no root sees whether
    /// its sessions are used.
    pub(in crate::session) fn sweep(
        &mut self,
        now: Timestamp,
        max_pending_deletes: usize,
        lifespans: impl Fn(EndpointTag) -> Lifespans,
        is_named: impl Fn(EndpointTag) -> bool,
    ) -> Swept {
        let mut swept = Swept {
            ended: Vec::new(),
            alive: Vec::new(),
            ready: Vec::new(),
            given_up: 0,
            next_due: Timestamp::NEVER,
            changed: false,
        };
        let mut kept = self.clone();
        kept.bytes.truncate(HEADER_LEN);
        let mut left = Left::default();
        for record in self.records() {
            match record {
                Record::Tombstone(tombstone) if tombstone.until <= now => swept.changed = true,
                Record::Tombstone(tombstone) => left.tombstones.push(tombstone),
                Record::PendingDelete(pending) if !pending.is_sent() && !is_named(pending.endpoint) => {
                    left.tombstones.extend(pending.tombstone());
                    swept.changed = true;
                }
                Record::PendingDelete(pending) => left.keep_or_drop(pending, &mut swept, now),
                Record::Session(mut session) => {
                    let lifespans = lifespans(session.endpoint);
                    if let Some(reason) = session.overdue(lifespans, now) {
                        session.delete_request =
                            session.delete_request.filter(|_| is_named(session.endpoint));
                        let at = now;
                        let ended = EndedSession { session, reason, at };
                        left.record_end(&ended, now.after(lifespans.remembered()), &mut swept);
                        swept.end(ended);
                    } else {
                        swept.keep(session.endpoint, session.earliest_due(lifespans, now));
                        kept.push_session(&session);
                    }
                }
            }
        }
        left.drop_oldest(max_pending_deletes, &mut swept);
        if swept.changed {
            left.write(&mut kept);
            *self = kept;
        }
        swept
    }

    /// The session of `owner` at `endpoint` whose key begins with these bytes.
    pub(in crate::session) fn session_of(
        &self,
        owner: Owner,
        endpoint: EndpointTag,
        key: ShortKey,
    ) -> Option<Session> {
        self.sessions().find(|session| {
            session.key.short() == key && session.owner == owner && session.endpoint == endpoint
        })
    }

    /// Every session in the bucket.
    pub(in crate::session) fn sessions(&self) -> impl Iterator<Item = Session> + '_ {
        self.records().filter_map(|record| match record {
            Record::Session(session) => Some(session),
            Record::Tombstone(..) | Record::PendingDelete(_) => None,
        })
    }

    /// A bucket that has grown too large must not be stored.
    fn fits(&self) -> Result<(), StoreError> {
        if self.bytes.len() > MAX_BUCKET_BYTES {
            return Err(StoreError::BucketFull);
        }
        Ok(())
    }

    fn record_at(&self, offset: usize) -> Option<(u8, Reader<'_>)> {
        let mut reader = Reader::new(self.bytes.get(offset..)?);
        Some((reader.u8()?, reader))
    }

    fn entry_at(&self, offset: usize, now: Timestamp) -> Option<Entry> {
        match self.read_at(offset)?.0 {
            Record::Session(session) => Some(Entry::Session { session, offset }),
            Record::Tombstone(tombstone) => {
                (now < tombstone.until).then(|| Entry::remembered(tombstone.remembered, false))
            }
            Record::PendingDelete(pending) => {
                let delete_sent = pending.is_sent();
                Some(match pending.remembered(now) {
                    Some(remembered) => Entry::remembered(remembered, delete_sent),
                    None => Entry::Gone {
                        owner: None,
                        delete_sent,
                    },
                })
            }
        }
    }

    /// The record at `offset` and the offset after it; `None` at the end or where it is malformed.
    fn read_at(&self, offset: usize) -> Option<(Record, usize)> {
        let (kind, mut reader) = self.record_at(offset)?;
        let before = reader.remaining();
        let record = match kind {
            SESSION => Record::Session(Session::read(&mut reader)?),
            TOMBSTONE => Record::Tombstone(Tombstone::read(&mut reader)?),
            OWNED => Record::Tombstone(Tombstone::read_owned(&mut reader)?),
            PENDING_DELETE => Record::PendingDelete(PendingDelete::read(&mut reader)?),
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

    /// Removes the record of `key`, of any kind.
    fn remove(&mut self, key: &SessionKey) {
        let mut offset = HEADER_LEN;
        while let Some((record, next)) = self.read_at(offset) {
            let found = match record {
                Record::Session(session) => session.key == *key,
                Record::Tombstone(tombstone) => tombstone.key == *key,
                Record::PendingDelete(pending) => pending.key == *key,
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

    fn push_session(&mut self, session: &Session) {
        self.bytes.push(SESSION);
        session.write(&mut self.bytes);
    }

    fn push_tombstone(&mut self, tombstone: &Tombstone) {
        self.bytes.push(match tombstone.remembered {
            Remembered::Ended => TOMBSTONE,
            Remembered::OwnedBy(_) => OWNED,
        });
        tombstone.write(&mut self.bytes);
    }

    /// Forgets the oldest ended sessions, if there are more than the bucket's padding holds.
    fn forget_oldest_tombstones(&mut self) {
        loop {
            let tombstones = self.records().filter_map(|record| match record {
                Record::Tombstone(tombstone) => Some((tombstone.until, tombstone.key)),
                Record::Session(_) | Record::PendingDelete(_) => None,
            });
            let (mut count, mut oldest) = (0, None::<(Timestamp, SessionKey)>);
            for (until, key) in tombstones {
                count += 1;
                if oldest.is_none_or(|(at, _)| until < at) {
                    oldest = Some((until, key));
                }
            }
            match oldest {
                Some((_, key)) if count > spare_records(self.depth()) => self.remove(&key),
                _ => return,
            }
        }
    }
}

/// The size for `len` bytes.
fn padded(len: usize) -> usize {
    let small = PADDED.iter().find(|size| len <= **size);
    let power = len.next_power_of_two();
    let less = power / 4 * 3;
    small.copied().unwrap_or(if len <= less { less } else { power })
}

/// The length of a record of `kind`, with `rest` behind it. Every request skips through half a bucket with this.
fn record_len(kind: u8, rest: &[u8]) -> Option<usize> {
    match kind {
        SESSION => Some(1 + Session::encoded_len(rest)?),
        TOMBSTONE => Some(1 + Tombstone::LEN),
        OWNED => Some(1 + Tombstone::OWNED_LEN),
        PENDING_DELETE => Some(1 + PendingDelete::encoded_len(rest)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::super::record::{IdDigest, Leaseholders, RootTag};
    use super::*;

    const NOW: Timestamp = Timestamp::NEVER;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn key(number: u8) -> SessionKey {
        SessionKey::from_bytes([number; 16])
    }

    fn session(number: u8) -> Session {
        Session {
            key: key(number),
            endpoint: EndpointTag::of("mcp"),
            owner: Owner(u64::from(number)),
            digest: IdDigest([number; 8]),
            opened: at(1),
            stamp: at(2),
            leaseholders: Leaseholders::default(),
            id: vec![b'x'; usize::from(number) * 5],
            delete_request: None,
        }
    }

    fn tombstone(number: u8, until: Timestamp) -> Tombstone {
        Tombstone {
            key: key(number),
            until,
            remembered: Remembered::Ended,
        }
    }

    fn end(bucket: &mut Bucket, number: u8, until: Timestamp) {
        bucket.bury(&key(number), Some(tombstone(number, until)));
    }

    fn held_by(number: u8, roots: u32) -> Session {
        let leaseholders = (1..=roots)
            .map(RootTag::from_random)
            .fold(Leaseholders::default(), Leaseholders::joined_by);
        session(number).stamped(at(30), leaseholders)
    }

    fn bucket(sessions: &[Session]) -> Bucket {
        let mut bucket = Bucket::empty();
        for session in sessions {
            bucket.insert(session).unwrap();
        }
        bucket
    }

    #[test]
    fn a_bucket_survives_the_round_trip() {
        let all = [session(0), held_by(1, 1), session(50), held_by(4, 20)];
        let mut bucket = bucket(&all);
        end(&mut bucket, 50, at(99));
        bucket.leave_mark(at(7));
        let copy = Bucket::from_value(bucket.clone().into_value()).unwrap();
        assert_eq!(copy.bytes.len(), bucket.bytes.len());
        assert_eq!(copy.mark(), at(7));
        assert!(copy.sessions().eq([session(0), held_by(1, 1), held_by(4, 20)]));
        assert_eq!(copy.find(&key(50), at(98)), Some(Entry::Ended));
        assert_eq!(copy.find(&key(50), at(99)), None);
        assert_eq!(copy.find(&key(51), at(1)), None);
    }

    #[test]
    fn the_mark_of_a_later_recount_stays() {
        let mut bucket = bucket(&[session(1)]);
        bucket.leave_mark(at(7));
        bucket.leave_mark(at(6));
        assert_eq!(bucket.mark(), at(7));
        let idle = Some(Duration::from_secs(1));
        bucket.sweep(
            at(9),
            8,
            |_| Lifespans {
                idle,
                ..Lifespans::default()
            },
            |_| true,
        );
        assert_eq!((bucket.mark(), bucket.sessions().count()), (at(7), 0));
    }

    #[test]
    fn a_session_found_can_be_rewritten_with_more_or_fewer_holders() {
        for (before, after) in [(0, 3), (3, 0), (1, 1), (20, 2)] {
            let mut bucket = bucket(&[session(1), held_by(2, before), session(3)]);
            let Some(Entry::Session { offset, .. }) = bucket.find(&key(2), NOW) else {
                panic!()
            };
            bucket.rewrite(offset, &held_by(2, after)).unwrap();
            assert!(bucket.sessions().eq([session(1), held_by(2, after), session(3)]));
        }
    }

    #[test]
    fn values_are_one_byte_less_than_one_of_a_few_sizes() {
        let mut bucket = Bucket::empty().at_least(DEEPEST);
        let mut sizes = std::collections::BTreeSet::new();
        for number in 0..100 {
            let padded = bucket.clone().into_value().len() + 1;
            assert!(bucket.bytes.len() < padded);
            sizes.insert(padded);
            bucket.insert(&session(number)).unwrap();
        }
        let sizes: Vec<_> = sizes.into_iter().collect();
        let expected = [
            256, 512, 1024, 2048, 2688, 3200, 4096, 6144, 8192, 12288, 16384, 24576, 32768,
        ];
        assert!(expected.starts_with(&sizes), "{sizes:?}");
    }

    #[test]
    fn those_that_are_to_be_remembered_longest_are() {
        for (depth, first) in [(DEEPEST, 12), (0, 4)] {
            let mut bucket = Bucket::empty().at_least(depth);
            for number in 0..20 {
                end(&mut bucket, number, at(100 + u64::from(number)));
            }
            let remembered = (0..20).filter(|number| bucket.find(&key(*number), at(1)).is_some());
            assert!(remembered.eq(first..20));
        }
    }

    #[test]
    fn a_full_bucket_takes_no_more() {
        let mut bucket = Bucket::empty();
        let mut big = session(0);
        big.id = vec![b'x'; 1024];
        let taken = (0..255).take_while(|number| {
            big.key = key(*number);
            bucket.clone().insert(&big).is_ok() && bucket.insert(&big).is_ok()
        });
        assert_eq!(taken.count(), MAX_BUCKET_BYTES / (1024 + 50));
        assert!(bucket.into_value().len() <= usize::from(u16::MAX));
    }

    #[test]
    fn absent_empty_and_cut_headers_are_empty_buckets_and_other_layouts_are_not_touched() {
        for len in 0..HEADER_LEN {
            let cut = Bucket::empty().into_value()[..len].to_vec();
            assert_eq!(Bucket::from_value(cut), Ok(Bucket::empty()));
        }
        for version in [0, 1, 255] {
            assert_eq!(Bucket::from_value(vec![version]), Err(StoreError::Foreign));
        }
    }

    #[test]
    fn a_value_cut_short_loses_only_the_records_that_are_cut() {
        let all = [session(3), held_by(1, 2), session(2)];
        let whole = bucket(&all).into_value();
        for len in HEADER_LEN..whole.len() {
            let cut = Bucket::from_value(whole[..len].to_vec()).unwrap();
            let left: Vec<_> = cut.sessions().collect();
            assert_eq!(left, all[..left.len()]);
            let mut next = cut.clone();
            next.insert(&session(9)).unwrap();
            assert_eq!(next.sessions().count(), left.len() + 1);
        }
    }

    #[test]
    fn a_sweep_without_anything_due_leaves_the_bytes_alone() {
        let mut bucket = bucket(&[session(1), session(2)]);
        let before = bucket.clone();
        let swept = bucket.sweep(at(3), 8, |_| Lifespans::default(), |_| true);
        assert!(!swept.changed);
        assert_eq!(bucket, before);
    }

    proptest! {
        #[test]
        fn no_bytes_make_an_operation_panic(
            mut bytes in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..300),
            ours in any::<bool>(),
        ) {
            if let Some(version) = bytes.first_mut().filter(|_| ours) {
                *version = LAYOUT;
            }
            let Ok(bucket) = Bucket::from_value(bytes) else { return Ok(()) };
            let idle = Some(Duration::from_secs(1));
            bucket.find(&key(0), at(1));
            bucket.clone().sweep(
                at(1),
                8,
                |_| Lifespans {
                    idle,
                    ..Lifespans::default()
                },
                |_| true,
            );
            end(&mut bucket.clone(), 0, at(1));
            let before: Vec<_> = bucket.sessions().filter(|old| old.key != key(7)).collect();
            let mut grown = bucket;
            grown.insert(&session(7)).unwrap();
            let read = Bucket::from_value(grown.into_value()).unwrap();
            let after: Vec<_> = read.sessions().filter(|old| old.key != key(7)).collect();
            prop_assert_eq!(before, after);
        }
    }
}
