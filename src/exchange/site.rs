//! An endpoint as exchanges use it.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use super::RequestHead;
use crate::config::{Config, LogSessionId};
use crate::endpoint::{Endpoint, OnFull, Transport, without_query};
use crate::mcp::revision::Era;
use crate::session::{DeleteRequest, EndpointSettings, EndpointTag, Lifespans, Timestamp, VmSettings};

/// Longest path that a session keeps for its DELETE, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// An endpoint, with what is computed of it once, when the configuration is loaded.
#[derive(Debug)]
pub struct Site {
    /// Its place among the endpoints of the configuration.
    pub index: usize,
    /// Its rules.
    pub rules: Rc<Endpoint>,
    /// Its tag in shared data.
    pub tag: EndpointTag,
    /// Whether records of its sessions keep the id itself.
    pub keeps_ids: bool,
    /// What is in force: numbers of the newest configuration that names the endpoint and serves, which may be another
    /// than this one.
    in_force: Cell<InForce>,
    /// Whether it matters who a caller is.
    pub asks_who: bool,
}

/// The settings of an endpoint on which all workers agree, as one root has read them last.
#[derive(Clone, Copy, Debug)]
struct InForce {
    lifespans: Lifespans,
    quota: Option<u32>,
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
                    evict_after: rules.evict_after.unwrap_or_default(),
                }),
                keeps_ids: config.log_session_id == LogSessionId::Plain || rules.terminate_upstream.is_some(),
                asks_who: !rules.principal.is_empty()
                    && (rules.bind_sessions || rules.max_sessions_per_principal.is_some()),
            })
        };
        config.endpoints.iter().enumerate().map(site).collect()
    }

    /// How long its sessions live, as is in force.
    pub fn lifespans(&self) -> Lifespans {
        self.in_force.get().lifespans
    }

    /// How many sessions a principal may have: whether there is a quota is judged at the request, by this
    /// configuration; its size is the one in force. `None` without a quota.
    pub fn quota(&self) -> Option<u32> {
        self.rules
            .max_sessions_per_principal
            .and_then(|_| self.in_force.get().quota)
    }

    /// Only sessions idle for at least this long are evicted, as is in force.
    pub fn evict_after(&self) -> Duration {
        self.in_force.get().evict_after
    }

    /// Takes over what the table says is in force; to be called whenever a root has read it, and on each tick. True if
    /// the lifespans are other ones than before.
    pub fn follow(&self, settings: &EndpointSettings) -> bool {
        let before = self.in_force.replace(InForce {
            lifespans: settings.lifespans,
            quota: settings.quota,
            evict_after: settings.evict_after,
        });
        before.lifespans != settings.lifespans
    }

    /// What the configuration itself says of the endpoint.
    fn own_settings(&self) -> EndpointSettings {
        EndpointSettings {
            name: self.rules.name.as_str().to_owned(),
            max_sessions: self.rules.max_sessions,
            quota: self.rules.max_sessions_per_principal,
            lifespans: lifespans(&self.rules),
            evict_after: self.rules.evict_after.unwrap_or_default(),
        }
    }

    /// The DELETE that the server is to get when the filter ends the session that this request may begin. `None` if that
    /// is not configured, or if the path is needed and too long to be kept. The path is kept as it came, since the
    /// configuration may have another one by the time the DELETE is sent.
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
        idle_from: Timestamp::START,
    }
}

/// Whether any of these sites has a quota, so that the table has to keep books ([`crate::session::Table::keep_books`]).
pub fn have_quotas(sites: &[Rc<Site>]) -> bool {
    sites
        .iter()
        .any(|site| site.rules.max_sessions_per_principal.is_some())
}

/// What all workers have to agree on, of a configuration with these sites; `max_sessions` is the VM's cap, where the
/// configuration writes one.
pub fn vm_settings(max_sessions: Option<u32>, sites: &[Rc<Site>]) -> VmSettings {
    VmSettings {
        max_sessions,
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
