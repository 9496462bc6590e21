//! Finds the bucket of a session, and gives the table as many buckets as its cap wants.
//!
//! A bucket's header says how many slots the bucket covers. The ledger says the depth that every bucket has at least,
//! and each root remembers it: so a session is found at the first read, unless its bucket has split since the root's
//! last tick. Then the header of the bucket that was read tells the way on.
//!
//! # A split
//!
//! 1. Read the version of the child, the bucket of the second half.
//! 2. Read the parent.
//! 3. Write the child, with the records that move, if it has the version of step 1. Nobody reads it yet.
//! 4. Write the parent without them, one step deeper, if it is as in step 2. This alone puts the split in force.
//!
//! A root that dies between the steps has changed nothing. Of two roots that split the same bucket, one that read the
//! child before the other wrote it fails at step 3. If it read the child after that, it sees the parent split, or it
//! writes the child anew from what the parent has then, and the other one fails at step 4. A worker that read the parent
//! before the split fails to write it.
//!
//! Buckets never join: no key can be deleted. So a lower cap changes nothing.

use core::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use super::{Change, MAX_ATTEMPTS, Table};
use crate::session::store::{BUCKETS, Key, SetError, Store, StoreError, Value, Version};
use crate::session::values::bucket::Bucket;
use crate::session::values::depth::{DEEPEST, bucket_at, depth_at_birth, next_on_the_way, span};
use crate::session::values::ledger::Ledger;

/// Buckets that are split between two looks at the clock.
const AT_ONCE: u16 = 16;

/// What a root remembers of the number of buckets.
#[derive(Debug, Default)]
pub(super) struct Depths {
    /// Every bucket has at least this depth.
    known: AtomicU8,
    /// The depth that the cap in force wants.
    wanted: AtomicU8,
    /// Every bucket before this one is deeper than `known`.
    deeper_before: AtomicU16,
}

impl Depths {
    pub(super) fn known(&self) -> u8 {
        self.known.load(Ordering::Relaxed)
    }

    /// Takes over the depth that the ledger knows.
    pub(super) fn set(&self, known: u8, wanted: u8) {
        self.know(known);
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    fn know(&self, known: u8) {
        if self.known.swap(known, Ordering::Relaxed) != known {
            self.begin_anew();
        }
    }

    /// Forgets which buckets have split: the host may have lost them.
    pub(super) fn begin_anew(&self) {
        self.deeper_before.store(0, Ordering::Relaxed);
    }

    fn want_more(&self) -> bool {
        self.known() < self.wanted.load(Ordering::Relaxed)
    }
}

/// A bucket as it was read.
pub(in crate::session) struct Found {
    pub(super) index: u16,
    pub(in crate::session) bucket: Bucket,
    pub(super) version: Version,
    /// Bytes of the value.
    pub(super) len: usize,
}

impl Found {
    pub(super) fn key(&self) -> Key {
        Key::Bucket(self.index)
    }

    /// The first slot behind those that the bucket covers, where the next bucket is.
    pub(in crate::session) fn end(&self) -> u16 {
        self.index + span(self.bucket.depth())
    }
}

impl<S: Store> Table<S> {
    /// Finds the bucket that covers `slot`, [`super::SessionKey::bucket`]. Costs one read, unless the bucket has split
    /// since this root's last tick.
    pub(super) fn find_bucket(&self, slot: u16) -> Result<Found, StoreError> {
        let mut index = bucket_at(slot, self.depths.known());
        loop {
            let found = self.read_bucket(index)?;
            match next_on_the_way(index, found.bucket.depth(), slot) {
                Some(next) => index = next,
                None => return Ok(found),
            }
        }
    }

    /// Reads the bucket that begins at this slot. An absent one is empty, and has split as often as is known.
    pub(in crate::session) fn read_bucket(&self, index: u16) -> Result<Found, StoreError> {
        let Value { bytes, version } = self.store.get(Key::Bucket(index))?;
        let len = bytes.len();
        let depth = self.depths.known().max(depth_at_birth(index));
        let bucket = Bucket::from_value(bytes)?.at_least(depth);
        Ok(Found {
            index,
            bucket,
            version,
            len,
        })
    }

    /// The slot at which to go on after a bucket that cannot be read. It may have fewer slots than this skips.
    pub(super) fn end_of_unread(&self, index: u16) -> u16 {
        index + span(self.depths.known().max(depth_at_birth(index)))
    }

    /// Writes a value if it is still the one that was read. Returns false if it is not.
    pub(super) fn replace(&self, key: Key, value: &[u8], version: Version) -> Result<bool, StoreError> {
        match self.store.set(key, value, version) {
            Ok(()) => Ok(true),
            Err(SetError::Stale) => Ok(false),
            Err(SetError::Unavailable) => Err(StoreError::Unavailable),
        }
    }

    /// Creates the buckets of the known depth that are missing.
    pub(super) fn create_buckets(&self) -> Result<(), StoreError> {
        let depth = self.depths.known();
        let empty = Bucket::empty().at_least(depth).into_value();
        let step = span(depth);
        let keys = (0..BUCKETS).step_by(usize::from(step)).map(Key::Bucket);
        self.create(keys, Key::Bucket(BUCKETS - step), &empty)
    }

    /// Called once a tick: splits buckets until there are as many as the cap in force wants, or `is_time_up` says so. It is
    /// called after every [`AT_ONCE`] buckets. Costs nothing if there are enough; otherwise two reads and two writes for
    /// each bucket that splits. Any root may do it, and several may do it at once.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written; the next tick goes on.
    pub fn grow(&self, is_time_up: &dyn Fn() -> bool) -> Result<(), StoreError> {
        while self.depths.want_more() {
            let depth = self.depths.known();
            loop {
                let index = self.depths.deeper_before.load(Ordering::Relaxed);
                if index >= BUCKETS {
                    break;
                }
                self.split(index, depth)?;
                let next = index + span(depth);
                self.depths.deeper_before.store(next, Ordering::Relaxed);
                if (next / span(depth)).is_multiple_of(AT_ONCE) && is_time_up() {
                    return Ok(());
                }
            }
            self.deepen(depth + 1)?;
        }
        Ok(())
    }

    /// Tells all roots that every bucket has at least this depth.
    fn deepen(&self, depth: u8) -> Result<(), StoreError> {
        let known = self.update_ledger(|ledger| match ledger.deepen(depth) {
            true => Change::Write(ledger.depth()),
            false => Change::Nothing(ledger.depth()),
        })?;
        self.depths.know(known);
        Ok(())
    }

    /// Splits the bucket that begins at `index`, unless it is deeper than `depth` already.
    pub(in crate::session) fn split(&self, index: u16, depth: u8) -> Result<(), StoreError> {
        if depth >= DEEPEST {
            return Ok(());
        }
        let child = Key::Bucket(index + span(depth) / 2);
        for _ in 0..MAX_ATTEMPTS {
            let child_version = self.store.get(child)?.version;
            let parent = self.read_bucket(index)?;
            if parent.bucket.depth() > depth {
                return Ok(());
            }
            let (stays, moves) = parent.bucket.halves();
            if self.replace(child, &moves.into_value(), child_version)?
                && self.replace(parent.key(), &stays.into_value(), parent.version)?
            {
                return Ok(());
            }
        }
        Err(StoreError::Contended)
    }

    /// Takes over what the ledger says of the number of buckets.
    pub(super) fn note_depths(&self, ledger: &Ledger) {
        self.depths.set(ledger.depth(), ledger.wanted_depth());
    }
}
