//! Tells a root that has looked for an idle session in vain when a session becomes idle, on whichever root.
//!
//! One small value says whether a root listens. A root sets it before it scans the table. A root on which a session
//! becomes idle first writes the session, then reads the value, and resets it if a root listens, so that its version
//! changes. So a session that the scan did not see as idle changes the version after the scan began. If the version
//! is unchanged, a root knows without a scan that no session has become idle.
//!
//! If no newcomer waits for a place, a session that becomes idle costs one read of two bytes and no write. If many
//! wait, each scan costs one write.

use super::{MAX_ATTEMPTS, Table};
use crate::session::store::{Key, LAYOUT, SetError, Store, StoreError, Value, Version};

/// The value while a root listens, and while no root does.
const HEARD: [u8; 2] = [LAYOUT, 1];
const UNHEARD: [u8; 2] = [LAYOUT, 0];

impl<S: Store> Table<S> {
    /// Asks for news of sessions that become idle from now on. Such a session makes [`Table::rests`] return another
    /// version than this.
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

    /// The version that changes when a session has become idle while a root listens.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn rests(&self) -> Result<Version, StoreError> {
        Ok(self.store.get(Key::Rests)?.version)
    }

    /// Tells the roots that listen that a session has become idle. The session's bucket must be written before.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub fn tell_of_rest(&self) -> Result<(), StoreError> {
        let Value { bytes, version } = self.store.get(Key::Rests)?;
        if bytes != HEARD {
            return Ok(());
        }
        match self.store.set(Key::Rests, &UNHEARD, version) {
            // If another root was quicker, it has changed the version, or it starts its scan only now.
            Ok(()) | Err(SetError::Stale) => Ok(()),
            Err(SetError::Unavailable) => Err(StoreError::Unavailable),
        }
    }

    /// The value that the key begins with.
    pub(super) fn unheard() -> &'static [u8] {
        &UNHEARD
    }
}
