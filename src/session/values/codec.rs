//! Little-endian fields of the packed records.

use crate::session::time::Timestamp;

/// Reads fields from the front of a byte string; `None` once too few bytes are left.
#[derive(Clone, Copy)]
pub(in crate::session) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::session) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::session) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(in crate::session) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    pub(in crate::session) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(in crate::session) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(in crate::session) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(in crate::session) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(in crate::session) fn timestamp(&mut self) -> Option<Timestamp> {
        let [a, b, c, d, e] = self.array()?;
        Some(Timestamp::from_millis(u64::from_le_bytes([
            a, b, c, d, e, 0, 0, 0,
        ])))
    }

    pub(in crate::session) fn remaining(&self) -> usize {
        self.0.len()
    }
}

/// Appends `bytes`. Not inlined: it runs once a session, so small code matters more than speed.
#[inline(never)]
pub(in crate::session) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Appends `bytes` after their length in two bytes. If they are too long for that, appends an empty string.
pub(in crate::session) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(0);
    put(out, &len.to_le_bytes());
    put(out, bytes.get(..usize::from(len)).unwrap_or_default());
}

/// The 40-bit form of a timestamp that [`Reader::timestamp`] reads.
pub(in crate::session) fn timestamp_bytes(at: Timestamp) -> [u8; 5] {
    let [a, b, c, d, e, ..] = at.as_millis().to_le_bytes();
    [a, b, c, d, e]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_the_round_trip() {
        for millis in [0, 1, 1 << 39, Timestamp::NEVER.as_millis()] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(Reader::new(&timestamp_bytes(at)).timestamp(), Some(at));
        }
    }

    #[test]
    fn too_few_bytes_read_as_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.u16(), Some(0x0201));
        assert_eq!(reader.remaining(), 1);
    }
}
