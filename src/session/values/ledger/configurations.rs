//! Which configurations there are under the `vm_id`, and whose settings are in force.
//!
//! # The newest one that serves
//!
//! Several configurations share the table: those of two listeners, or, after an update, the new one and the one whose
//! listener drains. Of those that name an endpoint, the newest that *serves* decides the endpoint's settings; of those
//! that write a cap of the VM, the newest that serves decides the cap.
//!
//! A configuration serves once any root of it has seen a request. Envoy's canary never does, nor do the roots of an
//! update that Envoy refuses after it has configured the filter. Until any configuration serves, the newest that is
//! loaded decides, so that the gauges of a fresh start show its limits.
//!
//! # How old a configuration is
//!
//! Its age is the moment at which it was loaded. `on_configure` is called for each load, on the main thread and on
//! every worker, but also when a worker reloads a configuration after its VM has failed, minutes later: so the moment
//! of the call will not do. The first root of a load that has something to enter (a tick, or a request) enters the
//! configuration with the moment of its own `on_configure`; every other root finds it by its identity and takes its
//! age over. The identity is a hash of the configuration's bytes and of the plugin's names. All that matters is the
//! order, so the moment is made unique: no two entries have the same.
//!
//! An entry is a lease. Every root of the configuration renews it on its ticks, that of the main thread included,
//! which no request can make fail. So as long as the listener is there, draining or not, a reload finds the entry
//! with its old age. A root that is destroyed cuts the lease short to [`LEAVING`]: if others of its listener are
//! left, they renew it; if not, the entry goes. So a configuration that is loaded again later is new again.
//! Roots remember age and service, and enter their configuration again where the store has lost it: the order
//! stays, and a later load is newer, since the clock goes on.
//!
//! One case is out of reach. If a configuration is loaded again, byte for byte, while its own old listener drains,
//! Envoy takes the roots that are there and calls nothing (`getOrCreateThreadLocalPlugin` and the cache of canary
//! results in proxy-wasm-cpp-host's `src/wasm.cc`). It is then in force when the configuration between has drained.

use core::time::Duration;

use super::{Ledger, MAX_ROWS, Row};
use crate::session::settings::{Configuration, ConfigurationId, EndpointSettings, EndpointTag};
use crate::session::time::Timestamp;

/// At most this many configurations at once. Where there are more, the oldest are not in force.
const MAX_CONFIGURATIONS: usize = 64;

/// An entry lasts this long without a root that renews it; roots tick every second.
const LEASE: Duration = Duration::from_secs(60);

/// An entry is renewed once it would end sooner than this.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// An entry of which a root has been destroyed lasts this long, unless another root renews it.
const LEAVING: Duration = Duration::from_secs(3);

/// A root that lives has renewed an entry, shortened by another that was destroyed, by this much before the entry's end.
const RENEWED_BY: Duration = Duration::from_secs(2);

/// The cap of the VM where no configuration that serves writes one.
pub const DEFAULT_VM_LIMIT: u32 = 10_000;

/// A configuration of which there are roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: ConfigurationId,
    /// When it was loaded; no two entries have the same.
    pub(super) loaded: Timestamp,
    /// It is gone then, if no root renews it.
    pub(super) until: Timestamp,
    /// A listener serves requests by it.
    pub(super) serves: bool,
    /// The VM's cap that it writes.
    pub(super) vm_limit: Option<u32>,
}

/// What a root found when it kept its configuration in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The configuration was not there before: this root is the first of its load.
    pub is_new: bool,
    /// Two configurations that serve write different caps of the VM: the one in force, and the other. Told once in the
    /// life of the ledger.
    pub differing_limits: Option<(u32, u32)>,
}

impl Ledger {
    /// Whether any configuration is there. None is only before the first, and after the host has lost the ledger.
    pub(in crate::session) fn is_configured(&self) -> bool {
        !self.configurations.is_empty()
    }

    /// The cap of the VM; 0, so that nobody is let in, where no configuration is there.
    pub(in crate::session) fn vm_limit(&self) -> u32 {
        match self.newest_with_limit() {
            Some(entry) => entry.vm_limit.unwrap_or(DEFAULT_VM_LIMIT),
            None if self.is_configured() => DEFAULT_VM_LIMIT,
            None => 0,
        }
    }

    /// Gives a configuration that is being loaded its age: the one it has, if roots of it are there.
    pub(in crate::session) fn load(&self, configuration: &mut Configuration, now: Timestamp) {
        let there = self
            .entry(configuration.id)
            .filter(|entry| !entry.is_abandoned(now));
        let newest = self.configurations.iter().map(|entry| entry.loaded).max();
        let next = newest.map_or(now, |newest| now.max(just_after(newest)));
        configuration.loaded = there.map_or(next, |entry| entry.loaded);
    }

    /// Keeps the configuration of a living root in force, as far as newer ones leave it anything to decide, and drops
    /// what no living root keeps. The second value tells whether anything has changed.
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
        let is_new = is_new && !configuration.entered;
        configuration.entered = true;
        (
            Kept {
                is_new,
                differing_limits,
            },
            changed,
        )
    }

    /// A root of the configuration is destroyed: what no other root renews is gone soon. False if nothing changes.
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

    /// Enters or renews the configuration: whether it was not there, and whether anything has changed. `None` if there
    /// are too many.
    fn enter(&mut self, configuration: &mut Configuration, now: Timestamp) -> Option<(bool, bool)> {
        let known = self
            .configurations
            .iter_mut()
            .find(|entry| entry.id == configuration.id);
        let Some(entry) = known else {
            return self.add(configuration, now).then_some((true, true));
        };
        let before = *entry;
        // A load that came after the last root of the one before was destroyed is a new one.
        if entry.is_abandoned(now) {
            entry.loaded = entry.loaded.max(configuration.loaded);
        }
        configuration.loaded = entry.loaded;
        entry.serves |= configuration.serves;
        configuration.serves = entry.serves;
        entry.vm_limit = configuration.settings.max_sessions;
        if entry.until < now.after(RENEW_BEFORE) {
            entry.until = now.after(LEASE);
        }
        let changed = *entry != before;
        Some((false, changed))
    }

    /// Adds the configuration; false if there is no room for one so old.
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

    /// Whether the configuration has to put its settings into the row: no newer one that serves has done so.
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

    /// Has sweeps look at the endpoint's sessions: other lifespans may have made some of them due.
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

    /// Those that decide, and write a cap of the VM.
    fn with_limit(&self) -> impl Iterator<Item = &Entry> {
        let any_serves = self.any_serves();
        let decides = move |entry: &&Entry| entry.serves || !any_serves;
        self.configurations
            .iter()
            .filter(decides)
            .filter(|entry| entry.vm_limit.is_some())
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
}

impl Entry {
    /// A root has been destroyed, and no other has renewed the entry since, although each had a tick.
    fn is_abandoned(&self, now: Timestamp) -> bool {
        self.until <= now.after(RENEWED_BY)
    }
}

/// The next moment that can be told from this one.
fn just_after(moment: Timestamp) -> Timestamp {
    moment.after(Duration::from_millis(1))
}
