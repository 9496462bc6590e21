//! Which sessions are alive, at one bit a session.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The length of an id: that of a UUID.
const LENGTH: usize = 36;
/// Its digits that are the session's number.
const DIGITS: std::ops::Range<usize> = 24..36;

/// The sessions there have been, and which are alive.
#[derive(Default)]
pub(super) struct Live {
    remembers: bool,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    minted: u64,
    alive: u64,
    bits: Vec<u64>,
}

impl Live {
    pub(super) fn new(remembers: bool) -> Self {
        Self {
            remembers,
            ..Self::default()
        }
    }

    /// Writes the id of a new session.
    pub(super) fn mint(&self, id: &mut Vec<u8>) {
        let mut sessions = self.sessions();
        let number = sessions.minted;
        sessions.minted += 1;
        if self.remembers {
            sessions.set(number, true);
        }
        id.extend_from_slice(format!("5f2b6c1e-0d3a-4c58-9a53-{number:012x}").as_bytes());
    }

    /// Whether a session is alive.
    pub(super) fn has(&self, id: &[u8]) -> bool {
        let sessions = self.sessions();
        !self.remembers || number_of(id).is_some_and(|number| sessions.has(number))
    }

    /// Ends a session; false if it was not alive.
    pub(super) fn end(&self, id: &[u8]) -> bool {
        if !self.remembers {
            return true;
        }
        let mut sessions = self.sessions();
        let Some(number) = number_of(id).filter(|number| sessions.has(*number)) else {
            return false;
        };
        sessions.set(number, false);
        true
    }

    pub(super) fn count(&self) -> u64 {
        self.sessions().alive
    }

    pub(super) fn clear(&self) {
        let mut sessions = self.sessions();
        sessions.bits.clear();
        sessions.alive = 0;
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set(&mut self, number: u64, alive: bool) {
        let (word, bit) = place(number);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] ^= bit;
        match alive {
            true => self.alive += 1,
            false => self.alive -= 1,
        }
    }
}

fn place(number: u64) -> (usize, u64) {
    (
        usize::try_from(number / 64).unwrap_or(usize::MAX),
        1 << (number % 64),
    )
}

fn number_of(id: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(id.get(DIGITS)?).ok()?;
    (id.len() == LENGTH).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lives_from_its_id_to_its_end() {
        let live = Live::new(true);
        let mut ids = [Vec::new(), Vec::new()];
        for id in &mut ids {
            live.mint(id);
        }
        assert!(live.has(&ids[0]) && live.has(&ids[1]) && !live.has(b"another"));
        assert!(live.end(&ids[0]) && !live.end(&ids[0]) && !live.has(&ids[0]));
        assert_eq!(live.count(), 1);
        live.clear();
        assert!(!live.has(&ids[1]));
    }
}
