//! What an exchange may use, and where it reports.

use core::time::Duration;
use std::rc::Rc;

use super::Site;
use crate::config::Config;
use crate::session::{EndedSession, SessionKey, StoreError, Table, Timestamp};
use crate::telemetry::{Event, Fact};
use crate::worker::in_use::InUse;

/// The effects of an exchange besides its verdict. The host turns them into metrics, filter state and logs.
pub trait Effects {
    /// Counts an event at the site with this index.
    fn count(&mut self, site: usize, event: Event);
    /// A session has ended.
    fn ended(&mut self, ended: &EndedSession);
    /// A pending DELETE to the server of the site with this index can be sent.
    fn delete_pending(&mut self, site: usize, key: SessionKey);
    /// The server of the site with this index should hear of a session's end, and never will.
    fn delete_failed(&mut self, site: usize);
    /// The table's counts of the site with this index have changed, so its gauges and those of the VM must follow.
    fn counts_moved(&mut self, site: usize);
    /// A stream of the site with this index is over that was open for so long.
    fn stream_closed(&mut self, site: usize, lived: Duration);
    /// A fact about the request is now known.
    fn note(&mut self, fact: Fact<'_>);
    /// Replaces every field of this name in the request's head by one with this value; `None` removes them all.
    fn write_field(&mut self, name: &'static str, value: Option<&str>);
    /// A request that looks like MCP passes, while no endpoint governs it.
    fn ungoverned(&mut self);
    /// The table failed at `operation`.
    fn failed(&mut self, operation: &'static str, error: StoreError);
}

/// Everything an exchange may ask or change at one moment.
#[derive(Debug)]
pub struct Gate<'a, S> {
    /// The configuration.
    pub config: &'a Config,
    /// Its endpoints, in the same order.
    pub sites: &'a [Rc<Site>],
    /// The sessions.
    pub table: &'a Table<S>,
    /// The sessions that this root has in use.
    pub in_use: &'a mut InUse,
    /// The current time.
    pub now: Timestamp,
}
