//! What an exchange works with, and what it reports to.

use std::rc::Rc;

use super::Site;
use crate::config::Config;
use crate::session::{EndedSession, SessionKey, StoreError, Table, Timestamp};
use crate::telemetry::{Event, Fact};
use crate::worker::in_use::InUse;

/// What an exchange makes happen besides its verdict; the host turns it into metrics, filter state and logs.
pub trait Effects {
    /// Something countable happened at the site with this index.
    fn count(&mut self, site: usize, event: Event);
    /// A session has ended.
    fn ended(&mut self, ended: &EndedSession);
    /// A pending DELETE to the server of the site with this index can be sent.
    fn delete_pending(&mut self, site: usize, key: SessionKey);
    /// The server of the site with this index should be told of a session, and never will be.
    fn delete_failed(&mut self, site: usize);
    /// The table's counts of the site with this index have moved; its gauges and those of the VM are to follow.
    fn counts_moved(&mut self, site: usize);
    /// Something has become known about the request.
    fn note(&mut self, fact: Fact<'_>);
    /// A request that looks like one of MCP passes, and no endpoint governs it.
    fn ungoverned(&mut self);
    /// The table could not do `operation`.
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
    /// What this root is busy with.
    pub in_use: &'a mut InUse,
    /// The moment.
    pub now: Timestamp,
}
