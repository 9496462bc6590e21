//! Session ids, kept as small as they are.

use std::ops::Range;

/// The longest id kept. Servers mint UUIDs (36) or as much in hex.
const MAX: usize = 63;

/// A session id, without an allocation.
#[derive(Clone, Copy)]
pub struct SessionId {
    length: u8,
    bytes: [u8; MAX],
}

impl SessionId {
    /// The id, or `None` if it is longer than 63 bytes.
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        let length = u8::try_from(id.len()).ok()?;
        Some(Self { length, bytes })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Many session ids of one length, end to end: a million of them take what their bytes take.
#[derive(Default)]
pub struct SessionIds {
    length: usize,
    bytes: Vec<u8>,
}

impl SessionIds {
    /// Adds an id.
    ///
    /// # Errors
    /// If it is not as long as the others.
    pub fn push(&mut self, id: &SessionId) -> Result<(), &'static str> {
        let id = id.as_bytes();
        if self.bytes.is_empty() {
            self.length = id.len();
        }
        if id.len() != self.length || id.is_empty() {
            return Err("the server mints ids of different lengths");
        }
        self.bytes.extend_from_slice(id);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len().checked_div(self.length).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The id at this place, counted from 0 and around.
    ///
    /// # Panics
    /// If there are none.
    pub fn get(&self, place: usize) -> &[u8] {
        &self.bytes[self.range(place % self.len())]
    }

    /// Takes the last id out.
    pub fn pop(&mut self) -> Option<SessionId> {
        let id = SessionId::new(&self.bytes[self.range(self.len().checked_sub(1)?)]);
        self.bytes.truncate(self.bytes.len() - self.length);
        id
    }

    fn range(&self, place: usize) -> Range<usize> {
        place * self.length..(place + 1) * self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_ids_back_as_they_were_pushed() {
        let mut ids = SessionIds::default();
        for id in [b"aaa", b"bbb"] {
            ids.push(&SessionId::new(id).unwrap()).unwrap();
        }
        assert_eq!((ids.len(), ids.get(1), ids.get(2)), (2, &b"bbb"[..], &b"aaa"[..]));
        assert_eq!(ids.pop().unwrap().as_bytes(), b"bbb");
        assert_eq!(ids.len(), 1);
        assert!(ids.push(&SessionId::new(b"cccc").unwrap()).is_err());
    }
}
