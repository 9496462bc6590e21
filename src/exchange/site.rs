//! An endpoint as exchanges use it.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use super::{Effects, RequestHead};
use crate::config::{Config, LogSessionId};
use crate::endpoint::{Endpoint, OnFull, Transport, without_query};
use crate::fleet::Settings;
use crate::mcp::revision::Era;
use crate::session::{
    DeleteRequest, EndpointPath, EndpointSettings, EndpointTag, Lifespans, Timestamp, VmSettings,
};

/// Longest path that a session keeps for its DELETE, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// An endpoint, with values that are computed once, when the configuration is loaded.
#[derive(Debug)]
pub struct Site {
    /// Its index among the endpoints of the configuration.
    pub index: usize,
    /// Its rules.
    pub rules: Rc<Endpoint>,
    /// Its tag in shared data.
    pub tag: EndpointTag,
    /// Whether records of its sessions keep the id itself.
    pub keeps_ids: bool,
    /// The settings in force: those of the newest configuration that names the endpoint and serves, which may be
    /// another configuration than this one.
    in_force: Cell<InForce>,
    /// Whether requests need the caller's principal.
    pub asks_who: bool,
}

/// The settings of an endpoint that all workers share, as this root has read them last.
#[derive(Clone, Copy, Debug)]
struct InForce {
    lifespans: Lifespans,
    quota: Option<u32>,
    streams_per_principal: Option<u32>,
    evict_after: Duration,
}

impl Site {
    /// The sites of all endpoints of a configuration.
    pub fn all(config: &Config) -> Vec<Rc<Self>> {
        let site = |(index, rules): (usize, &Rc<Endpoint>)| {
            Rc::new(Self {
                index,
                rules: Rc::clone(rules),
                tag: EndpointTag::of(rules.name.as_str()),
                in_force: Cell::new(InForce {
                    lifespans: lifespans(rules),
                    quota: rules.max_sessions_per_principal,
                    streams_per_principal: rules.max_streams_per_principal,
                    evict_after: rules.evict_after.unwrap_or_default(),
                }),
                keeps_ids: config.log_session_id == LogSessionId::Plain || rules.terminate_upstream.is_some(),
                asks_who: !rules.principal.is_empty() && (rules.bind_sessions || has_quota(rules)),
            })
        };
        config.endpoints.iter().enumerate().map(site).collect()
    }

    /// The site of the endpoint that governs a request; `None` if none does, which is counted if the request looks like
    /// MCP.
    pub fn of(
        config: &Config,
        sites: &[Rc<Self>],
        effects: &mut impl Effects,
        head: &RequestHead<'_>,
    ) -> Option<Rc<Self>> {
        let endpoint = config.endpoint_for(head.authority, head.path);
        if head.is_ungoverned(config, endpoint) {
            effects.ungoverned();
        }
        sites.get(endpoint?).map(Rc::clone)
    }

    /// How long its sessions live, by the settings in force.
    pub fn lifespans(&self) -> Lifespans {
        self.in_force.get().lifespans
    }

    /// How many sessions a principal may have. This configuration decides whether there is a quota; the settings in
    /// force decide its size. `None` without a quota.
    pub fn quota(&self) -> Option<u32> {
        self.rules
            .max_sessions_per_principal
            .and_then(|_| self.in_force.get().quota)
    }

    /// How many open streams a principal may have. Who decides is as for [`Site::quota`].
    pub(super) fn streams_per_principal(&self) -> Option<u32> {
        self.rules
            .max_streams_per_principal
            .and_then(|_| self.in_force.get().streams_per_principal)
    }

    /// A session must be idle for this long before it is evicted, by the settings in force.
    pub fn evict_after(&self) -> Duration {
        self.in_force.get().evict_after
    }

    /// Follows the settings in force. A root calls this whenever it has read them, and on each tick. Returns true if
    /// the lifespans have changed.
    pub fn follow(&self, settings: &EndpointSettings) -> bool {
        let before = self.in_force.replace(InForce {
            lifespans: settings.lifespans,
            quota: settings.quota,
            streams_per_principal: settings.max_streams_per_principal,
            evict_after: settings.evict_after,
        });
        before.lifespans != settings.lifespans
    }

    /// Where the endpoint is by this configuration, for the status view.
    pub fn endpoint_path(&self) -> EndpointPath {
        EndpointPath {
            tag: self.tag,
            is_http_sse: match self.rules.transport {
                Transport::HttpSse { .. } => true,
                Transport::StreamableHttp => false,
            },
            path: self.rules.path.as_str().to_owned(),
        }
    }

    /// The endpoint's settings by this configuration itself.
    fn own_settings(&self) -> EndpointSettings {
        EndpointSettings {
            name: self.rules.name.as_str().to_owned(),
            max_sessions: self.rules.max_sessions,
            quota: self.rules.max_sessions_per_principal,
            max_streams: self.rules.max_streams,
            max_streams_per_principal: self.rules.max_streams_per_principal,
            lifespans: lifespans(&self.rules),
            evict_after: self.rules.evict_after.unwrap_or_default(),
        }
    }

    /// The DELETE for the session that this request may begin, sent if the filter ends the session. `None` if
    /// `terminate_upstream` is not configured, or if the path is needed and too long. The record keeps the request's
    /// path, since the configuration may have another path by the time of the DELETE.
    pub(super) fn delete_request(&self, head: &RequestHead<'_>) -> Option<DeleteRequest> {
        let upstream = self.rules.terminate_upstream.as_ref()?;
        let path = match without_query(head.path) {
            long if long.len() > MAX_PATH_BYTES => upstream.path.as_ref().map(|_| &b""[..])?,
            path => path,
        };
        let version = head.revision.filter(|revision| revision.era() == Era::Legacy);
        Some(DeleteRequest::new(version, path))
    }
}

/// An HTTP+SSE session lives as long as its stream. If it looks idle, its worker has crashed, so it expires even when
/// `idle_timeout` is off.
fn lifespans(rules: &Endpoint) -> Lifespans {
    let after_a_fault = match rules.transport {
        Transport::HttpSse { .. } => Lifespans::OF_UNNAMED.idle,
        Transport::StreamableHttp => None,
    };
    Lifespans {
        idle: rules.idle_timeout.or(after_a_fault),
        lifetime: rules.max_lifetime,
        evictable: rules.on_full == OnFull::EvictIdle,
        idle_from: Timestamp::START,
    }
}

/// Whether any of these sites has a quota, so that the table needs books ([`crate::session::Table::keep_books`]).
pub fn have_quotas(sites: &[Rc<Site>]) -> bool {
    sites.iter().any(|site| has_quota(&site.rules))
}

fn has_quota(rules: &Endpoint) -> bool {
    rules.max_sessions_per_principal.is_some() || rules.max_streams_per_principal.is_some()
}

/// The settings that all workers must share, from a configuration with these sites.
pub fn vm_settings(config: &Config, sites: &[Rc<Site>]) -> VmSettings {
    VmSettings {
        max_sessions: config.max_sessions,
        fleet: config.fleet.as_ref().map(Settings::in_table),
        endpoints: sites.iter().map(|site| site.own_settings()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::DEFAULT_VM_LIMIT;

    #[test]
    fn the_table_and_the_configuration_have_one_default_cap_of_the_vm() {
        assert_eq!(Config::default().vm_cap(), DEFAULT_VM_LIMIT);
    }
}
