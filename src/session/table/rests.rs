//! How roots that look for an idle session in vain learn that one has come to rest, whichever root it rested on.
//!
//! One small value says whether anybody listens. A root that is about to look says that it does, before it looks. A root
//! on which a session comes to rest writes the session first and then looks whether anybody listens; if so, it takes
//! that back, and the version of the value moves. So a session that the look did not see at rest moves the version
//! after the look began, and a root that finds the version as it was knows without a look that nobody rests.
//!
//! Where nobody waits for a place, a rest costs one read of two bytes and no write; where many wait, one write for each
//! look.

use super::{MAX_ATTEMPTS, Table};
use crate::session::store::{Key, LAYOUT, SetError, Store, StoreError, Value, Version};

/// The value while somebody listens, and while nobody does.
const HEARD: [u8; 2] = [LAYOUT, 1];
const UNHEARD: [u8; 2] = [LAYOUT, 0];

impl<S: Store> Table<S> {
    /// Asks for news of sessions that come to rest from now on: then [`Table::rests`] is another than this.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub fn listen_for_rests(&self) -> Result<Version, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let Value { bytes, version } = self.store.get(Key::Rests)?;
            if bytes == HEARD {
                return Ok(version);
            }
            match self.store.set(Key::Rests, &HEARD, version) {
                Ok(()) | Err(SetError::Stale) => {}
                Err(SetError::Unavailable) => return Err(StoreError::Unavailable),
            }
        }
        Err(StoreError::Contended)
    }

    /// What moves when a session has come to rest that somebody listens for.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn rests(&self) -> Result<Version, StoreError> {
        Ok(self.store.get(Key::Rests)?.version)
    }

    /// Tells whoever listens that a session has come to rest. Its bucket says so already.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub fn tell_of_rest(&self) -> Result<(), StoreError> {
        let Value { bytes, version } = self.store.get(Key::Rests)?;
        if bytes != HEARD {
            return Ok(());
        }
        match self.store.set(Key::Rests, &UNHEARD, version) {
            // Whoever was quicker has moved the version, or begins to look only now.
            Ok(()) | Err(SetError::Stale) => Ok(()),
            Err(SetError::Unavailable) => Err(StoreError::Unavailable),
        }
    }

    /// The value that the key begins with.
    pub(super) fn unheard() -> &'static [u8] {
        &UNHEARD
    }
}
