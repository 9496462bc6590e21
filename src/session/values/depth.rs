//! How many buckets a group has: 1 at depth 0, twice as many with each step, 256 at depth 8.
//!
//! A bucket is named by the first of the slots that it covers. If it splits, it keeps the first half of them, and a new
//! bucket, named by the first slot of the second half, gets the rest.

use crate::session::store::{BUCKETS, GROUP_LEN};

/// The depth at which a bucket covers one slot.
pub(in crate::session) const DEEPEST: u8 = GROUP_LEN.ilog2() as u8;

/// Most sessions for which the table stays at depth 0: 16 a bucket, which an empty bucket's padding nearly holds.
const SESSIONS_AT_DEPTH_0: u32 = 1_024;

/// Slots that a bucket of this depth covers.
pub(in crate::session) fn span(depth: u8) -> u16 {
    GROUP_LEN >> depth.min(DEEPEST)
}

/// The bucket that covers `slot`, if all buckets have this depth.
pub(in crate::session) fn bucket_at(slot: u16, depth: u8) -> u16 {
    slot & !(span(depth) - 1)
}

/// The depth that a bucket has had since it was made.
pub(in crate::session) fn depth_at_birth(bucket: u16) -> u8 {
    let depth = (GROUP_LEN | bucket).trailing_zeros();
    DEEPEST.saturating_sub(u8::try_from(depth).unwrap_or(DEEPEST))
}

/// The next bucket on the way to `slot` from a bucket of this depth that has covered `slot` before it split; `None` if
/// the bucket still covers it.
pub(in crate::session) fn next_on_the_way(bucket: u16, depth: u8, slot: u16) -> Option<u16> {
    let distance = slot.saturating_sub(bucket);
    (distance >= span(depth)).then(|| bucket + (1 << distance.ilog2()))
}

/// The depth for a cap of `limit` sessions.
pub(in crate::session) fn depth_for(limit: u32) -> u8 {
    let has_room = |depth: &u8| limit <= SESSIONS_AT_DEPTH_0 << depth;
    (0..DEEPEST).find(has_room).unwrap_or(DEEPEST)
}

/// [`spare_records`] of a table that could have more buckets.
const SPARE_RECORDS: usize = 16;

/// [`spare_records`] of a table that has all its buckets.
const SPARE_AT_DEEPEST: usize = 8;

/// Ended sessions that a bucket remembers at least, and pending DELETEs that it keeps beside twice its share of the cap.
/// As many tombstones fit into an empty bucket's padding, so remembering them costs no memory: at least as many in all
/// as the cap has sessions, 131,072 at most.
pub(in crate::session) fn spare_records(depth: u8) -> usize {
    if depth < DEEPEST {
        SPARE_RECORDS
    } else {
        SPARE_AT_DEEPEST
    }
}

const _: () = assert!(GROUP_LEN.is_power_of_two() && BUCKETS.is_multiple_of(GROUP_LEN));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_follows_the_cap() {
        let depths = [0, 10, 1_024, 1_025, 10_000, 131_072, 131_073, 1_000_000, u32::MAX].map(depth_for);
        assert_eq!(depths, [0, 0, 0, 1, 4, 7, 8, 8, 8]);
    }

    #[test]
    fn every_place_is_found_from_the_first_bucket_of_its_group_however_the_others_have_split() {
        for slot in 256..512 {
            for depth in 0..=DEEPEST {
                let (mut bucket, mut steps) = (256, 0);
                while let Some(next) = next_on_the_way(bucket, depth, slot) {
                    assert!(next > bucket && next <= slot);
                    assert!(depth_at_birth(next) <= depth);
                    bucket = next;
                    steps += 1;
                }
                assert_eq!(bucket, bucket_at(slot, depth));
                assert!(steps <= DEEPEST);
            }
        }
    }

    #[test]
    fn a_bucket_is_born_where_its_parent_splits() {
        assert_eq!(
            [0, 128, 64, 192, 1, 255, 256].map(depth_at_birth),
            [0, 1, 2, 2, 8, 8, 0]
        );
        assert_eq!([0, 4, 8, 9].map(span), [256, 16, 1, 1]);
    }
}
