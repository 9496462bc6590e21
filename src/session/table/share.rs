//! The share of a fleet's cap: which worker speaks for this gateway, the limit that it writes, and the newcomers that
//! wait for places.
//!
//! # One speaks
//!
//! Roots of the configuration whose fleet is in force take turns at speaking ([`Table::attend`]). A turn lasts for
//! [`TURN`] unless its root goes on; each has a number, its term. A root whose turn is over may not know it yet: so it
//! writes nothing but with its term ([`Table::tell`], [`Table::set_limit`]), and an old term writes nothing.

use core::time::Duration;

use super::{Change, Table};
use crate::session::limit::Limit;
use crate::session::settings::{ConfigurationId, FleetTag};
use crate::session::store::{Key, Store, StoreError};
use crate::session::time::Timestamp;
use crate::session::values::gateways::Gateways;
use crate::session::values::speech::{Findings, Speech};

/// A root that speaks says so anew before this time is over; then another takes over. With a tick of a second that is
/// done within two.
const TURN: Duration = Duration::from_millis(900);

/// A root that speaks goes on while this much of its turn is left.
const GO_ON_BEFORE: Duration = Duration::from_millis(600);

/// The number of newcomers that wait on a root counts for this long, unless the root says it anew.
const WAIT: Duration = Duration::from_millis(500);

/// A root says it anew while this much is left.
const WAIT_BEFORE: Duration = Duration::from_millis(250);

/// A root that may speak.
#[derive(Clone, Copy, Debug)]
pub struct Attendant {
    /// Its configuration.
    pub configuration: ConfigurationId,
    /// The fleet that it writes.
    pub fleet: FleetTag,
    /// The gateway's number, if it has none yet in this fleet: drawn at random.
    pub gateway: u64,
}

/// What a root finds when it attends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attended {
    /// The term of its turn; `None` if it has none.
    pub term: Option<u32>,
    /// The gateway's number within the fleet.
    pub gateway: u64,
    /// What the root that speaks has found out.
    pub findings: Findings,
    /// Newcomers that wait, on all roots.
    pub waiting: u32,
}

impl<S: Store> Table<S> {
    /// Says how many newcomers wait on this root, and takes a turn at speaking, or goes on with it, if the root may.
    ///
    /// Costs two reads, and a write about three times a second while the root speaks or newcomers wait.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn attend(
        &self,
        attendant: &Attendant,
        waiting: u32,
        now: Timestamp,
    ) -> Result<Attended, StoreError> {
        let may_speak = self.ledger()?.has_fleet_of(attendant.configuration);
        let mut speaks = false;
        let speech = self.update_speech(&mut |speech| {
            let waits = [now, now.after(WAIT_BEFORE), now.after(WAIT)];
            speech.set_waiting(self.root, waiting, waits);
            speaks = self.take_turn(speech, attendant, may_speak, now);
        })?;
        Ok(Attended {
            term: speaks.then_some(speech.term),
            gateway: speech.gateway,
            findings: speech.findings,
            waiting: speech.waiting(now),
        })
    }

    fn take_turn(&self, speech: &mut Speech, attendant: &Attendant, may_speak: bool, now: Timestamp) -> bool {
        let is_own = speech.speaker == self.root && speech.configuration == attendant.configuration;
        if !may_speak {
            if is_own {
                speech.until = speech.until.min(now);
            }
            return false;
        }
        if is_own && speech.fleet == attendant.fleet {
            // If the turn is over, no other root has noticed.
            if speech.until < now.after(GO_ON_BEFORE) {
                speech.until = now.after(TURN);
            }
            return true;
        }
        let is_another_s = speech.configuration == attendant.configuration && now < speech.until;
        if is_another_s {
            return false;
        }
        if speech.fleet != attendant.fleet {
            (speech.fleet, speech.gateway) = (attendant.fleet, attendant.gateway);
            speech.findings = Findings::default();
        }
        speech.term = speech.term.saturating_add(1);
        (speech.speaker, speech.configuration) = (self.root, attendant.configuration);
        speech.until = now.after(TURN);
        true
    }

    /// Ends this root's turn, so that another root can take over at once. Returns false if another has done so.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written; the turn then ends by itself.
    pub fn stop_speaking(&self, term: u32, now: Timestamp) -> Result<bool, StoreError> {
        let speech = self.update_speech(&mut |speech| {
            if speech.term == term {
                speech.until = speech.until.min(now);
            }
        })?;
        Ok(speech.term == term)
    }

    /// Tells the other roots, and the next one that speaks, what this one has found out. Returns false if its turn is
    /// over.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub fn tell(&self, term: u32, findings: Findings) -> Result<bool, StoreError> {
        let speech = self.update_speech(&mut |speech| {
            if speech.term == term {
                speech.findings = findings;
            }
        })?;
        Ok(speech.term == term)
    }

    /// Sees to it that no limit of an earlier turn is written any more, and returns the limit as it is. `None` if this
    /// turn is over.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn begin_term(&self, term: u32) -> Result<Option<Limit>, StoreError> {
        self.update_ledger(|ledger| match ledger.begin_term(term) {
            Some(limit) => Change::Write(Some(limit)),
            None => Change::Nothing(None),
        })
    }

    /// Puts a limit in force. Returns false if this turn is over.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read or written.
    pub fn set_limit(&self, term: u32, limit: Limit) -> Result<bool, StoreError> {
        self.update_ledger(|ledger| match ledger.set_fleet_limit(term, limit) {
            Some(true) => Change::Write(true),
            Some(false) => Change::Nothing(true),
            None => Change::Nothing(false),
        })
    }

    /// Sessions and reservations of this gateway.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn used(&self, now: Timestamp) -> Result<u32, StoreError> {
        let mut ledger = self.ledger()?;
        ledger.reap(now);
        Ok(ledger.used())
    }

    /// Tells the status views which gateways there are.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub fn tell_gateways(&self, gateways: &Gateways) -> Result<(), StoreError> {
        let told = gateways.to_value();
        self.update(Key::Gateways, |bytes| {
            let is_known = bytes == told;
            Ok(((), (!is_known).then(|| told.clone())))
        })
    }

    /// The gateways of the fleet as last seen, and whether this one is lost.
    pub(super) fn gateways(&self) -> Result<(Gateways, bool), StoreError> {
        let gateways = Gateways::from_value(&self.store.get(Key::Gateways)?.bytes)?;
        let speech = Speech::from_value(&self.store.get(Key::Speech)?.bytes)?;
        Ok((gateways, speech.findings.is_lost))
    }

    /// Changes the value, and writes it if that makes a difference. Returns it.
    #[inline(never)]
    fn update_speech(&self, change: &mut dyn FnMut(&mut Speech)) -> Result<Speech, StoreError> {
        self.update(Key::Speech, |bytes| {
            let mut speech = Speech::from_value(&bytes)?;
            change(&mut speech);
            let value = speech.to_value();
            let is_same = bytes == value;
            Ok((speech, (!is_same).then_some(value)))
        })
    }
}
