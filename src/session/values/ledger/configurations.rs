//! The configurations under the `vm_id`, and whose settings are in force.
//!
//! # The newest one that serves
//!
//! Several configurations share the table: those of two listeners or, after an update, the new one and that of the
//! draining listener. For each endpoint, the newest configuration that *serves* and names the endpoint decides its
//! settings. For the VM's cap, the newest that serves and writes one decides.
//!
//! A configuration serves once any root of it has seen a request. Envoy's canary never serves, nor do the roots of an
//! update that Envoy refuses after it has configured the filter. Until any configuration serves, the newest one that
//! is loaded decides, so that the gauges of a fresh start show its limits.
//!
//! # How old a configuration is
//!
//! The age of a configuration is the time of its load. Envoy calls `on_configure` for each load, on the main thread
//! and on every worker. But a worker also calls it minutes later, when it reloads a configuration after its VM has
//! failed. So the time of the call is not the age. Instead, the first root of a load that has something to enter (at
//! a tick or a request) enters the configuration with the time of its own `on_configure`. Every other root finds the
//! configuration by its identity, and takes its age over. The identity is a hash of the configuration's bytes and of
//! the plugin's names. Only the order of ages matters, so the time is made unique: no two entries have the same.
//!
//! An entry is a lease. Every root of the configuration renews it on its ticks; so does the root of the main thread,
//! which no request can make fail. So while the listener exists, even if it drains, a reload finds the entry with its
//! old age. A root that is destroyed shortens the lease to [`LEAVING`]. If its listener has other roots, they renew
//! it; if not, the entry goes. A configuration that is loaded again later is then new. If the store loses its values,
//! roots enter their configuration again with the age and the service that they remember. So the order stays, and a
//! later load is newer, since the clock goes on.
//!
//! One case cannot be handled. If a configuration is loaded again, byte for byte, while its own old listener drains,
//! Envoy takes the existing roots and calls nothing (`getOrCreateThreadLocalPlugin` and the cache of canary results
//! in proxy-wasm-cpp-host's `src/wasm.cc`). This configuration comes into force when the configuration between the
//! two has drained.

use core::time::Duration;

use super::{Ledger, MAX_ROWS, Row};
use crate::session::settings::{
    Configuration, ConfigurationId, EndpointSettings, EndpointTag, FleetSettings,
};
use crate::session::time::Timestamp;

/// Most configurations at a time. If there are more, the oldest are not in force.
const MAX_CONFIGURATIONS: usize = 64;

/// An entry lasts this long without a root that renews it; roots tick every second.
const LEASE: Duration = Duration::from_secs(60);

/// A root renews an entry that would end sooner than this.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// After the end of one of its roots an entry lasts this long, unless another root renews it.
const LEAVING: Duration = Duration::from_secs(3);

/// A living root renews an entry that the end of another root has shortened, at the latest this long before the
/// entry's end.
const RENEWED_BY: Duration = Duration::from_secs(2);

/// The cap of the VM if no configuration that serves writes one.
pub const DEFAULT_VM_LIMIT: u32 = 10_000;

/// A configuration that has roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: ConfigurationId,
    /// When it was loaded; no two entries have the same.
    pub(super) loaded: Timestamp,
    /// The entry goes at this time, unless a root renews it.
    pub(super) until: Timestamp,
    /// A listener serves requests by this configuration.
    pub(super) serves: bool,
    /// The VM's cap that the configuration writes.
    pub(super) vm_limit: Option<u32>,
    /// The fleet that the configuration writes.
    pub(super) fleet: Option<FleetSettings>,
}

/// What a root finds when it enters or renews its configuration in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The configuration is new: this root is the first of its load.
    pub is_new: bool,
    /// Two configurations that serve write different caps of the VM: the one in force, and the other. Returned once
    /// in the life of the ledger.
    pub differing_limits: Option<(u32, u32)>,
    /// The same of two fleets.
    pub differing_fleets: Option<(FleetSettings, FleetSettings)>,
}

impl Ledger {
    /// Whether there is any configuration. There is none before the first one, and after the host has lost the
    /// ledger.
    pub(in crate::session) fn is_configured(&self) -> bool {
        !self.configurations.is_empty()
    }

    /// The cap of the VM. Without any configuration it is 0, so that no newcomer is let in.
    pub(in crate::session) fn vm_limit(&self) -> u32 {
        match self.newest_with_limit() {
            Some(entry) => entry.vm_limit.unwrap_or(DEFAULT_VM_LIMIT),
            None if self.is_configured() => DEFAULT_VM_LIMIT,
            None => 0,
        }
    }

    /// Gives a configuration its age at its load. If the configuration has roots already, it keeps its age.
    pub(in crate::session) fn load(&self, configuration: &mut Configuration, now: Timestamp) {
        let there = self
            .entry(configuration.id)
            .filter(|entry| !entry.is_abandoned(now));
        let newest = self.configurations.iter().map(|entry| entry.loaded).max();
        let next = newest.map_or(now, |newest| now.max(just_after(newest)));
        configuration.loaded = there.map_or(next, |entry| entry.loaded);
    }

    /// Keeps the configuration of a living root in force, unless newer ones decide everything, and drops the entries
    /// that no root renews. The second value tells whether anything has changed.
    pub(in crate::session) fn keep(
        &mut self,
        configuration: &mut Configuration,
        now: Timestamp,
    ) -> (Kept, bool) {
        let Some((is_new, mut changed)) = self.enter(configuration, now) else {
            return (Kept::default(), false);
        };
        if configuration.serves || !self.any_serves() {
            changed |= self.name_endpoints(configuration, now);
        }
        changed |= self.drop_lapsed(now);
        let differing_limits = self.differing_limits().filter(|_| !self.told_of_difference);
        if differing_limits.is_some() {
            self.told_of_difference = true;
            changed = true;
        }
        let differing_fleets = self.differing_fleets().filter(|_| !self.told_of_fleets);
        if differing_fleets.is_some() {
            self.told_of_fleets = true;
            changed = true;
        }
        let is_new = is_new && !configuration.entered;
        configuration.entered = true;
        (
            Kept {
                is_new,
                differing_limits,
                differing_fleets,
            },
            changed,
        )
    }

    /// Handles the end of a root of the configuration: what no other root renews is gone soon. Returns false if
    /// nothing changes.
    pub(in crate::session) fn leave(&mut self, configuration: &Configuration, now: Timestamp) -> bool {
        let soon = now.after(LEAVING);
        let mut changed = false;
        let mut shorten = |until: &mut Timestamp| {
            changed |= *until > soon;
            *until = soon.min(*until);
        };
        let Some(entry) = self
            .configurations
            .iter_mut()
            .find(|entry| entry.id == configuration.id)
        else {
            return false;
        };
        shorten(&mut entry.until);
        for endpoint in &configuration.settings.endpoints {
            let tag = EndpointTag::of(&endpoint.name);
            if let Some(row) = self.rows.iter_mut().find(|row| row.tag == tag) {
                shorten(&mut row.named_until);
            }
        }
        changed
    }

    /// Enters or renews the configuration. Returns whether it was new, and whether anything has changed. `None` if
    /// there are too many.
    fn enter(&mut self, configuration: &mut Configuration, now: Timestamp) -> Option<(bool, bool)> {
        let known = self
            .configurations
            .iter_mut()
            .find(|entry| entry.id == configuration.id);
        let Some(entry) = known else {
            return self.add(configuration, now).then_some((true, true));
        };
        let before = *entry;
        // A load after the end of the last root of the earlier load is a new load.
        if entry.is_abandoned(now) {
            entry.loaded = entry.loaded.max(configuration.loaded);
        }
        configuration.loaded = entry.loaded;
        entry.serves |= configuration.serves;
        configuration.serves = entry.serves;
        entry.vm_limit = configuration.settings.max_sessions;
        entry.fleet = configuration.settings.fleet;
        if entry.until < now.after(RENEW_BEFORE) {
            entry.until = now.after(LEASE);
        }
        let changed = *entry != before;
        Some((false, changed))
    }

    /// Adds the configuration. Returns false if all others are newer and there is no room.
    fn add(&mut self, configuration: &mut Configuration, now: Timestamp) -> bool {
        while self
            .configurations
            .iter()
            .any(|entry| entry.loaded == configuration.loaded)
        {
            configuration.loaded = just_after(configuration.loaded);
        }
        if self.configurations.len() >= MAX_CONFIGURATIONS {
            let oldest = (0..)
                .zip(&self.configurations)
                .min_by_key(|(_, entry)| (entry.serves, entry.loaded));
            match oldest {
                Some((index, entry)) if entry.loaded < configuration.loaded => {
                    self.configurations.swap_remove(index);
                }
                Some(_) | None => return false,
            }
        }
        self.configurations.push(Entry {
            id: configuration.id,
            loaded: configuration.loaded,
            until: now.after(LEASE),
            serves: configuration.serves,
            vm_limit: configuration.settings.max_sessions,
            fleet: configuration.settings.fleet,
        });
        true
    }

    fn name_endpoints(&mut self, configuration: &Configuration, now: Timestamp) -> bool {
        let mut changed = false;
        for settings in &configuration.settings.endpoints {
            let tag = EndpointTag::of(&settings.name);
            let decides = self
                .row(tag)
                .is_none_or(|row| self.decides(configuration, row, settings));
            if self.rows.len() >= MAX_ROWS && self.row(tag).is_none() {
                continue;
            }
            if decides {
                self.wake_groups_of(tag, now);
            }
            let row = self.row_or_new(tag);
            if decides {
                row.set(settings, configuration.loaded, now);
                changed = true;
            }
            if row.named_until < now.after(RENEW_BEFORE) {
                row.named_until = now.after(LEASE);
                changed = true;
            }
        }
        changed
    }

    /// Whether the configuration must write its settings into the row, since no newer one that serves has done so.
    fn decides(&self, configuration: &Configuration, row: &Row, settings: &EndpointSettings) -> bool {
        if row.loaded == configuration.loaded {
            return row.settings != *settings;
        }
        let any_serves = self.any_serves();
        let is_newer = |entry: &Entry| {
            entry.loaded == row.loaded && (entry.serves || !any_serves) && entry.loaded > configuration.loaded
        };
        !self.configurations.iter().any(is_newer)
    }

    /// Makes sweeps visit the endpoint's sessions, since new lifespans may have made some of them due.
    fn wake_groups_of(&mut self, endpoint: EndpointTag, now: Timestamp) {
        for group in self.groups_of(endpoint) {
            if let Some(group) = self.groups.get_mut(usize::from(group)) {
                group.due = group.due.min(now);
            }
        }
    }

    fn drop_lapsed(&mut self, now: Timestamp) -> bool {
        let before = (self.configurations.len(), self.rows.len());
        self.configurations.retain(|entry| now < entry.until);
        let leases = &self.leases;
        self.rows
            .retain(|row| now < row.named_until || row.active() > 0 || leases.any_at(row.tag));
        before != (self.configurations.len(), self.rows.len())
    }

    fn any_serves(&self) -> bool {
        self.configurations.iter().any(|entry| entry.serves)
    }

    fn entry(&self, id: ConfigurationId) -> Option<&Entry> {
        self.configurations.iter().find(|entry| entry.id == id)
    }

    /// The configurations that decide: those that serve, or all as long as none does.
    pub(super) fn deciding(&self) -> impl Iterator<Item = &Entry> {
        let any_serves = self.any_serves();
        self.configurations
            .iter()
            .filter(move |entry| entry.serves || !any_serves)
    }

    /// Those of them that write a cap of the VM.
    fn with_limit(&self) -> impl Iterator<Item = &Entry> {
        self.deciding().filter(|entry| entry.vm_limit.is_some())
    }

    fn newest_with_limit(&self) -> Option<&Entry> {
        self.with_limit().max_by_key(|entry| entry.loaded)
    }

    fn differing_limits(&self) -> Option<(u32, u32)> {
        let newest = self.newest_with_limit().filter(|entry| entry.serves)?;
        let other = self
            .with_limit()
            .find(|entry| entry.vm_limit != newest.vm_limit)?;
        newest.vm_limit.zip(other.vm_limit)
    }

    fn differing_fleets(&self) -> Option<(FleetSettings, FleetSettings)> {
        let newest = self.newest_with_fleet().filter(|entry| entry.serves)?;
        let mut others = self.deciding().filter(|entry| entry.fleet.is_some());
        let other = others.find(|entry| entry.fleet != newest.fleet)?;
        newest.fleet.zip(other.fleet)
    }
}

impl Entry {
    /// A root was destroyed, and no other has renewed the entry since, although each had a tick.
    fn is_abandoned(&self, now: Timestamp) -> bool {
        self.until <= now.after(RENEWED_BY)
    }
}

/// The next time that differs from this one in the table.
fn just_after(moment: Timestamp) -> Timestamp {
    moment.after(Duration::from_millis(1))
}
