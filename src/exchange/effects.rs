//! What an exchange works with, and what it reports to.

use std::rc::Rc;

use super::RequestHead;
use crate::config::{Config, LogSessionId};
use crate::endpoint::{Endpoint, OnFull, Transport, without_query};
use crate::in_use::InUse;
use crate::mcp::revision::Era;
use crate::session::{
    EndedSession, EndpointSettings, EndpointTag, Farewell, Lifespans, SessionKey, StoreError, Table,
    Timestamp, VmSettings,
};
use crate::telemetry::{Event, Fact};

/// Longest path that a session keeps for its DELETE, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// What an exchange makes happen besides its verdict; the host turns it into metrics, filter state and logs.
pub trait Effects {
    /// Something countable happened at the site with this index.
    fn count(&mut self, site: usize, event: Event);
    /// A session has ended.
    fn ended(&mut self, ended: &EndedSession);
    /// A farewell to the server of the site with this index can be sent.
    fn owed(&mut self, site: usize, key: SessionKey);
    /// The table's counts have moved; gauges are to follow.
    fn counts_moved(&mut self);
    /// Something has become known about the request.
    fn note(&mut self, fact: Fact<'_>);
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

/// An endpoint, with what is computed of it once, when the configuration is loaded.
#[derive(Debug)]
pub struct Site {
    /// Its place among the endpoints of the configuration.
    pub index: usize,
    /// Its rules.
    pub rules: Rc<Endpoint>,
    /// Its tag in shared data.
    pub tag: EndpointTag,
    /// How long its sessions live.
    pub lifespans: Lifespans,
    /// Whether records of its sessions keep the id itself.
    pub keeps_ids: bool,
    /// Whether it matters who a caller is.
    pub asks_who: bool,
}

impl Site {
    /// The sites of all endpoints of a configuration.
    pub fn all(config: &Config) -> Vec<Rc<Self>> {
        let site = |(index, rules): (usize, &Rc<Endpoint>)| {
            Rc::new(Self {
                index,
                rules: Rc::clone(rules),
                tag: EndpointTag::of(rules.name.as_str()),
                lifespans: lifespans(rules),
                keeps_ids: config.log_session_id == LogSessionId::Plain || rules.terminate_upstream.is_some(),
                asks_who: !rules.principal.is_empty()
                    && (rules.bind_sessions || rules.max_sessions_per_principal.is_some()),
            })
        };
        config.endpoints.iter().enumerate().map(site).collect()
    }

    /// What the server is owed when the filter ends the session that this request may begin. Nothing if that
    /// is not configured, or the path is too long to be kept.
    pub(super) fn farewell(&self, head: &RequestHead<'_>) -> Option<Farewell> {
        self.rules.terminate_upstream.as_ref()?;
        let path = match self.rules.path.is_exact() {
            true => &[],
            false => without_query(head.path),
        };
        let version = head.revision.filter(|revision| revision.era() == Era::Legacy);
        (path.len() <= MAX_PATH_BYTES).then(|| Farewell::new(version, path))
    }
}

/// An open stream keeps a session of HTTP+SSE in use, and its end ends it. One that is idle all the same has lost its
/// worker: it ends, even where nothing else ends for being idle.
fn lifespans(rules: &Endpoint) -> Lifespans {
    let after_a_fault = match rules.transport {
        Transport::HttpSse { .. } => Lifespans::OF_UNNAMED.idle,
        Transport::StreamableHttp => None,
    };
    Lifespans {
        idle: rules.idle_timeout.or(after_a_fault),
        lifetime: rules.max_lifetime,
        evictable: rules.on_full == OnFull::EvictIdle,
    }
}

/// Whether any of these sites has a quota, so that the table has to keep books ([`Table::keep_books`]).
pub fn have_quotas(sites: &[Rc<Site>]) -> bool {
    sites
        .iter()
        .any(|site| site.rules.max_sessions_per_principal.is_some())
}

/// What all workers have to agree on, of a configuration with these sites.
pub fn vm_settings(max_sessions: u32, sites: &[Rc<Site>]) -> VmSettings {
    let settings = |site: &Rc<Site>| EndpointSettings {
        name: site.rules.name.as_str().to_owned(),
        max_sessions: site.rules.max_sessions,
        lifespans: site.lifespans,
    };
    VmSettings {
        max_sessions,
        endpoints: sites.iter().map(settings).collect(),
    }
}
