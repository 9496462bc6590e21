//! The store that the table needs: memory that workers share.

/// How many slots the table has for buckets. Keys of Envoy's shared data can never be deleted, so their number follows
/// the cap and not the sessions. With a cap of a million each slot has a bucket of about 61 sessions, and every request
/// copies one. With twice as many buckets every sweep and every scan for the longest idle session would take twice as
/// long.
pub const BUCKETS: u16 = 16_384;

/// Places in one group of buckets: those that are swept and counted together.
pub(super) const GROUP_LEN: u16 = 256;

/// How many values hold the books of principals, if there are quotas. With a million principals of one session each,
/// a value holds about 244 of them in 8 KiB.
pub(super) const PRINCIPALS: u16 = 4_096;

/// The number of the layout of all values. Each value begins with it, and every key's name contains it. A release
/// with another layout starts an empty table beside the old one, and neither reads nor writes the old values: Envoy
/// keeps shared data through an update of the module, and both releases run while the old listener drains.
///
/// Layout 1, of release 0.1.0, had no number in its names. Layout 2 is of release 0.2.0.
pub(super) const LAYOUT: u8 = 3;

/// The beginning of every key's name.
const PREFIX: &str = "mcp_sessions/3/";

/// Bytes of the name of a bucket, or of a value with books.
pub(super) const INDEXED_NAME_LEN: usize = PREFIX.len() + "b/0000".len();

/// Names one value of the store. The set of keys does not depend on how many sessions come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The 128-bit secret under which session ids are hashed.
    HashKey,
    /// Caps, counts and reservations.
    Ledger,
    /// Whether roots wait for a session to become idle.
    Rests,
    /// Where endpoints are, for the status view.
    Paths,
    /// Which worker speaks for this gateway to its fleet. Used only if there is one, as the next key.
    Speech,
    /// The gateways of the fleet, for the status view.
    Gateways,
    /// The sessions whose hash falls into this slot, `0..16_384`, or into those behind it that the bucket covers.
    Bucket(u16),
    /// The books of the principals whose hash falls here, `0..4_096`. Used only if there are quotas.
    Principals(u16),
}

impl Key {
    /// Of the buckets that every table has, one for each group, the one that is created last: if it exists, all do.
    pub const LAST: Self = Self::Bucket(BUCKETS - GROUP_LEN);

    /// Writes the key's name into `name`. It has at most 22 bytes, so that libc++ keeps it without an allocation.
    pub fn write_name(self, name: &mut String) {
        name.clear();
        name.push_str(PREFIX);
        match self {
            Self::HashKey => name.push_str("key"),
            Self::Ledger => name.push_str("ledger"),
            Self::Rests => name.push_str("rests"),
            Self::Paths => name.push_str("paths"),
            Self::Speech => name.push_str("speech"),
            Self::Gateways => name.push_str("fleet"),
            Self::Bucket(index) => write_indexed(name, "b/", index),
            Self::Principals(index) => write_indexed(name, "p/", index),
        }
    }
}

fn write_indexed(name: &mut String, prefix: &str, index: u16) {
    name.push_str(prefix);
    for shift in [12, 8, 4, 0] {
        let digit = u32::from(index >> shift) & 0xf;
        name.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

/// The state of a value that a write expects to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The key does not exist yet.
    Absent,
    /// The key exists, and the store gave its value this number.
    At(u32),
}

impl Version {
    /// The number for the write. Envoy compares it only if the key exists. No value has the number of
    /// [`Version::Absent`], so that number creates a missing key and fails on an existing one.
    pub fn cas(self) -> u32 {
        match self {
            Self::Absent => u32::MAX,
            Self::At(cas) => cas,
        }
    }
}

/// A value, and the version that a write must name to replace it.
#[derive(Clone, Debug)]
pub struct Value {
    /// The bytes; empty if the key is absent.
    pub bytes: Vec<u8>,
    /// The version for [`Store::set`].
    pub version: Version,
}

impl Value {
    /// The host's value of a key: its bytes, if any, and the number of their version, if the key exists.
    pub fn new(bytes: Option<Vec<u8>>, cas: Option<u32>) -> Self {
        Self {
            bytes: bytes.unwrap_or_default(),
            version: cas.map_or(Version::Absent, Version::At),
        }
    }
}

/// Why a read, or an operation of the table, failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The host refused the call.
    Unavailable,
    /// Other workers wrote the same value at each attempt, and the attempts are used up.
    Contended,
    /// The value has another layout, written by another version of this filter. It is left as it is.
    Foreign,
    /// The bucket holds as many bytes as it may ([`super::values::bucket::MAX_BUCKET_BYTES`]).
    BucketFull,
}

impl core::fmt::Display for StoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "the host refused access to shared data",
            Self::Contended => "other workers kept changing the same value",
            Self::Foreign => "the value was written by another version of the filter",
            Self::BucketFull => "the bucket is full",
        })
    }
}

impl core::error::Error for StoreError {}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetError {
    /// The value is no longer the one that was read.
    Stale,
    /// The host refused the call.
    Unavailable,
}

/// Versioned values that several workers read and write.
pub trait Store {
    /// Reads a value; an absent key reads as empty bytes with [`Version::Absent`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the host refuses.
    fn get(&self, key: Key) -> Result<Value, StoreError>;

    /// Replaces the value if it is still the one that was read.
    ///
    /// # Errors
    /// [`SetError::Stale`] if another wrote in between, [`SetError::Unavailable`] if the host refuses.
    fn set(&self, key: Key, bytes: &[u8], expected: Version) -> Result<(), SetError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_short_enough_to_be_stored_inline() {
        let mut name = String::new();
        Key::Bucket(0x3f0a).write_name(&mut name);
        assert_eq!(name, format!("mcp_sessions/{LAYOUT}/b/3f0a"));
        assert_eq!(name.len(), INDEXED_NAME_LEN);
        let mut names = std::collections::BTreeSet::new();
        for key in [
            Key::HashKey,
            Key::Ledger,
            Key::Rests,
            Key::Paths,
            Key::Speech,
            Key::Gateways,
            Key::Bucket(BUCKETS - 1),
            Key::Principals(PRINCIPALS - 1),
        ] {
            key.write_name(&mut name);
            assert!(name.len() <= 22, "{name}");
            assert!(names.insert(name.clone()), "{name} names two keys");
        }
    }
}
