//! The split of a bucket.

use super::{Bucket, HEADER_LEN, record_len};
use crate::session::values::depth::span;
use crate::session::values::record::ShortKey;

impl Bucket {
    /// The records that stay in the first half of the bucket's slots, and those that move into a bucket of the second
    /// half. Both buckets are one step deeper, and have the mark of this one.
    pub(in crate::session) fn halves(&self) -> (Self, Self) {
        let half = span(self.depth()) / 2;
        let header = Self {
            bytes: self.bytes.get(..HEADER_LEN).unwrap_or_default().to_vec(),
        };
        let mut stays = header.at_least(self.depth() + 1);
        let mut moves = stays.clone();
        let mut offset = HEADER_LEN;
        while let Some((record, key)) = self.bytes_at(offset) {
            let of_second_half = key.bucket() & half != 0;
            let bucket = if of_second_half { &mut moves } else { &mut stays };
            bucket.bytes.extend_from_slice(record);
            offset += record.len();
        }
        (stays, moves)
    }

    /// The bytes of the record at `offset`, and its key; `None` at the end or where it is malformed.
    fn bytes_at(&self, offset: usize) -> Option<(&[u8], ShortKey)> {
        let bytes = self.bytes.get(offset..)?;
        let (kind, rest) = bytes.split_first()?;
        let len = record_len(*kind, rest)?;
        Some((bytes.get(..len)?, ShortKey(*rest.first_chunk()?)))
    }
}
