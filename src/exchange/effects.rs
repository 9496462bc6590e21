//! What an exchange works with, and what it reports to.

use std::rc::Rc;

use crate::config::{Config, LogSessionId, OnFull};
use crate::endpoint::Endpoint;
use crate::in_use::InUse;
use crate::session::{
    EndedSession, EndpointSettings, EndpointTag, Lifespans, StoreError, Table, Timestamp, VmSettings,
};
use crate::telemetry::{Event, Fact};

/// What an exchange makes happen besides its verdict; the host turns it into metrics, filter state and logs.
pub trait Effects {
    /// Something countable happened at the site with this index.
    fn count(&mut self, site: usize, event: Event);
    /// A session has ended.
    fn ended(&mut self, ended: &EndedSession);
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
    pub rules: Endpoint,
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
        let site = |(index, rules): (usize, &Endpoint)| {
            Rc::new(Self {
                index,
                rules: rules.clone(),
                tag: EndpointTag::of(rules.name.as_str()),
                lifespans: Lifespans {
                    idle: rules.idle_timeout,
                    lifetime: rules.max_lifetime,
                    evictable: rules.on_full == OnFull::EvictIdle,
                },
                keeps_ids: config.log_session_id == LogSessionId::Plain,
                asks_who: !rules.principal.is_empty()
                    && (rules.bind_sessions || rules.max_sessions_per_principal.is_some()),
            })
        };
        config.endpoints.iter().enumerate().map(site).collect()
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
