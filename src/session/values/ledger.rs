//! The ledger: one value with the caps, the counts and the reservations. So one compare-and-set both decides whether
//! there is room and writes the result.

mod configurations;
mod groups;
mod layout;
mod leases;
mod share;

use core::time::Duration;

use self::configurations::Entry;
pub use self::configurations::{DEFAULT_VM_LIMIT, Kept};
use self::groups::Group;
pub(in crate::session) use self::groups::{Claim, GROUPS, GroupTally};
use self::leases::{Leased, Leases};
use self::share::Share;
use super::depth::{DEEPEST, depth_for, spare_records};
use super::record::{Owner, RootTag};
use crate::session::settings::{EndpointSettings, EndpointTag, Lifespans};
use crate::session::time::Timestamp;

/// Most endpoint rows of the ledger: those of endpoints that configurations name, and others as long as they have
/// sessions. An endpoint that gets no row lets no newcomer in.
const MAX_ROWS: usize = 255;

/// In this time every root learns at one tick that an idle timeout has become shorter, and takes its leases at the
/// next.
const SHORTENED: Duration = Duration::from_secs(5);

/// The cap that left no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The cap of the VM or of the endpoint.
    Capacity,
    /// The share of a fleet's cap.
    Fleet,
    /// The quota of the principal.
    Quota,
}

/// A reservation for an initialization whose answer has not come yet.
///
/// The request that made it gives it back or turns it into a session, exactly once.
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    pub(in crate::session) endpoint: EndpointTag,
    pub(in crate::session) until: Timestamp,
    /// The principal whose book also lists the reservation.
    pub(in crate::session) principal: Option<Owner>,
}

impl Reservation {
    /// The time at which the reservation comes back by itself.
    pub fn until(&self) -> Timestamp {
        self.until
    }
}

/// Counts and caps, for the gauges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Sessions alive, over all endpoints.
    pub active: u32,
    /// Reservations, over all endpoints.
    pub reserved: u32,
    /// The VM's cap.
    pub limit: u32,
    /// Bytes of the table's keys and values.
    pub table_bytes: u64,
    /// The counts by endpoint.
    pub endpoints: Vec<EndpointCounts>,
}

/// The counts of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointCounts {
    /// The settings in force, with the endpoint's name and its cap.
    pub settings: EndpointSettings,
    /// Sessions alive.
    pub active: u32,
    /// Reservations.
    pub reserved: u32,
    /// Open streams, and those asked for under a cap.
    pub streams: u32,
}

impl EndpointCounts {
    /// Zero sessions, reservations and streams for an endpoint with these settings.
    pub fn none_of(settings: EndpointSettings) -> Self {
        Self {
            settings,
            active: 0,
            reserved: 0,
            streams: 0,
        }
    }
}

/// The ledger's row of one endpoint: its settings, and its live sessions in each group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    tag: EndpointTag,
    /// The settings of the newest configuration that serves and names the endpoint, or of the last one that did.
    settings: EndpointSettings,
    /// When that configuration was loaded.
    loaded: Timestamp,
    /// After this time no configuration names the endpoint, unless a root renews it.
    named_until: Timestamp,
    /// No session counts as idle since an earlier time ([`Lifespans::idle_from`]).
    idle_from: Timestamp,
    active: Vec<u32>,
}

/// The decoded ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Ledger {
    configurations: Vec<Entry>,
    /// The log already says that two configurations write different caps of the VM.
    told_of_difference: bool,
    /// The log already says that two configurations write different fleets.
    told_of_fleets: bool,
    /// What a fleet allows; it counts only while a configuration that writes one is in force.
    share: Share,
    /// Every bucket has at least this depth.
    depth: u8,
    groups: Vec<Group>,
    rows: Vec<Row>,
    leases: Leases,
}

impl Ledger {
    /// A ledger without sessions, caps or endpoints.
    pub(in crate::session) fn empty() -> Self {
        Self {
            configurations: Vec::new(),
            told_of_difference: false,
            told_of_fleets: false,
            share: Share::NONE,
            depth: 0,
            groups: vec![Group::default(); usize::from(GROUPS)],
            rows: Vec::new(),
            leases: Leases::default(),
        }
    }

    /// The depth that every bucket is known to have at least.
    pub(in crate::session) fn depth(&self) -> u8 {
        self.depth
    }

    /// Notes that every bucket has at least this depth. Returns false if it was known.
    pub(in crate::session) fn deepen(&mut self, depth: u8) -> bool {
        let known = self.depth;
        self.depth = known.max(depth.min(DEEPEST));
        self.depth > known
    }

    /// The depth that the cap in force wants.
    pub(in crate::session) fn wanted_depth(&self) -> u8 {
        depth_for(self.vm_limit())
    }

    /// Most pending DELETEs in one bucket of this depth: twice its share of the sessions, and a few.
    pub(in crate::session) fn max_pending_deletes(&self, depth: u8) -> usize {
        let buckets = u32::from(GROUPS) << depth;
        spare_records(depth) + (self.vm_limit() / (buckets / 2)) as usize
    }

    /// Why `endpoint` has no room for one more session at `now`, or `None` if it has. An endpoint that no configuration
    /// has named has no room.
    pub(in crate::session) fn refusal(&self, endpoint: EndpointTag, now: Timestamp) -> Option<Refusal> {
        let taken = |endpoint| {
            self.active(endpoint)
                .saturating_add(self.leases.count(Leased::Reservations, endpoint))
        };
        let limit = self.row(endpoint).map_or(0, |row| row.settings.max_sessions);
        if taken(Some(endpoint)) >= limit || taken(None) >= self.vm_limit() {
            return Some(Refusal::Capacity);
        }
        (!self.fleet_has_room(now)).then_some(Refusal::Fleet)
    }

    /// Counts one more reservation of `root` until `until`. Returns false if the table of leases is full.
    pub(in crate::session) fn lease(
        &mut self,
        root: RootTag,
        endpoint: EndpointTag,
        until: Timestamp,
    ) -> bool {
        self.row_or_new(endpoint);
        self.leases.add(root, endpoint, until)
    }

    /// Gives back what [`Ledger::lease`] counted. Returns false if it is gone.
    pub(in crate::session) fn give_back(
        &mut self,
        root: RootTag,
        endpoint: EndpointTag,
        until: Timestamp,
    ) -> bool {
        self.leases.take(root, endpoint, until)
    }

    /// Sets how many streams `root` has at `endpoint`. Returns false if the table of leases is full.
    pub(in crate::session) fn set_streams(
        &mut self,
        root: RootTag,
        endpoint: EndpointTag,
        count: u32,
        until: Timestamp,
    ) -> bool {
        self.row_or_new(endpoint);
        self.leases.set_streams(root, endpoint, count, until)
    }

    /// Whether `root` may have `count` streams at `endpoint`, beside those of the other roots.
    pub(in crate::session) fn has_room_for_streams(
        &self,
        root: RootTag,
        endpoint: EndpointTag,
        count: u32,
    ) -> bool {
        let limit = self.row(endpoint).and_then(|row| row.settings.max_streams);
        limit.is_none_or(|limit| {
            let others = self.leases.streams_of_others(root, endpoint);
            others.saturating_add(count) <= limit
        })
    }

    /// Takes over all that `root` says of its streams, and renews what ends before `before`. Returns true if anything
    /// changed.
    pub(in crate::session) fn keep_streams(
        &mut self,
        root: RootTag,
        streams: &[(EndpointTag, u32)],
        before: Timestamp,
        until: Timestamp,
    ) -> bool {
        let mut changed = self.leases.drop_streams_unless(root, streams);
        for (endpoint, count) in streams {
            if !self.leases.has_streams(root, *endpoint, *count, before) {
                changed |= self.set_streams(root, *endpoint, *count, until);
            }
        }
        changed
    }

    /// Drops leases that have passed their deadline. Returns true if there were any.
    pub(in crate::session) fn reap(&mut self, now: Timestamp) -> bool {
        self.leases.reap(now)
    }

    /// Counts one more session in `group`, which is now due at `due` or before.
    pub(in crate::session) fn add_session(&mut self, endpoint: EndpointTag, group: u8, due: Timestamp) {
        if let Some(active) = self.row_or_new(endpoint).active.get_mut(usize::from(group)) {
            *active = active.saturating_add(1);
        }
        self.touch_group(group, due);
    }

    /// Takes a session off the count that was removed from a bucket of `group`; the bucket had the mark `mark`.
    ///
    /// If a recount came to the bucket later, it has not seen the session, so the count is right. An earlier recount
    /// has counted the session.
    pub(in crate::session) fn remove_session(&mut self, endpoint: EndpointTag, group: u8, mark: Timestamp) {
        if self.recounted(group) > mark {
            return;
        }
        self.uncount_session(endpoint, group);
    }

    /// Undoes [`Ledger::add_session`].
    pub(in crate::session) fn uncount_session(&mut self, endpoint: EndpointTag, group: u8) {
        let active = self
            .rows
            .iter_mut()
            .find(|row| row.tag == endpoint)
            .and_then(|row| row.active.get_mut(usize::from(group)));
        if let Some(active) = active {
            *active = active.saturating_sub(1);
        }
        self.touch_group(group, Timestamp::NEVER);
    }

    /// The groups that hold sessions of `endpoint`.
    pub(in crate::session) fn groups_of(&self, endpoint: EndpointTag) -> Vec<u8> {
        let active = self.row(endpoint).map(|row| row.active.as_slice());
        let counted = (0..).zip(active.unwrap_or_default());
        counted
            .filter(|(_, active)| **active > 0)
            .map(|(group, _)| group)
            .collect()
    }

    /// Whether any endpoint has sessions in the group.
    pub(in crate::session) fn has_sessions(&self, group: u8) -> bool {
        let active = |row: &Row| row.active.get(usize::from(group)).copied();
        self.rows.iter().filter_map(active).any(|active| active > 0)
    }

    /// The endpoints, in the order of [`Ledger::counts`].
    pub(in crate::session) fn tags(&self) -> impl Iterator<Item = EndpointTag> + '_ {
        self.rows.iter().map(|row| row.tag)
    }

    /// The lifespans of an endpoint's sessions.
    pub(in crate::session) fn lifespans(&self, endpoint: EndpointTag) -> Lifespans {
        self.row(endpoint)
            .map(|row| row.in_force().lifespans)
            .unwrap_or_default()
    }

    /// Whether a configuration names the endpoint. If none does, no root sees whether its sessions are used. They end
    /// by their last lifespans, and the server gets no DELETE.
    pub(in crate::session) fn is_named(&self, endpoint: EndpointTag, now: Timestamp) -> bool {
        self.row(endpoint).is_some_and(|row| now < row.named_until)
    }

    /// The name of an endpoint.
    pub(in crate::session) fn name(&self, endpoint: EndpointTag) -> Option<&str> {
        self.row(endpoint).map(|row| row.settings.name.as_str())
    }

    /// All numbers of the gauges.
    pub(in crate::session) fn counts(&self) -> Counts {
        let endpoints = self.rows.iter().map(|row| EndpointCounts {
            settings: row.in_force(),
            active: row.active(),
            reserved: self.leases.count(Leased::Reservations, Some(row.tag)),
            streams: self.leases.count(Leased::Streams, Some(row.tag)),
        });
        Counts {
            active: self.active(None),
            reserved: self.leases.count(Leased::Reservations, None),
            limit: self.vm_limit(),
            table_bytes: self.groups.iter().map(|group| u64::from(group.bytes)).sum(),
            endpoints: endpoints.collect(),
        }
    }

    fn active(&self, endpoint: Option<EndpointTag>) -> u32 {
        let rows = self
            .rows
            .iter()
            .filter(|row| endpoint.is_none_or(|tag| row.tag == tag));
        rows.map(Row::active).fold(0, u32::saturating_add)
    }

    fn miscounts(&self, group: u8, alive: &[(EndpointTag, u32)]) -> u32 {
        let counted = |tag| {
            alive
                .iter()
                .find(|(endpoint, _)| *endpoint == tag)
                .map_or(0, |(_, count)| *count)
        };
        let known = self.rows.iter().map(|row| {
            row.active
                .get(usize::from(group))
                .copied()
                .unwrap_or(0)
                .abs_diff(counted(row.tag))
        });
        let unknown = alive
            .iter()
            .filter(|(tag, _)| self.row(*tag).is_none())
            .map(|(_, count)| *count);
        known.chain(unknown).fold(0, u32::saturating_add)
    }

    fn replace_counts(&mut self, group: u8, alive: &[(EndpointTag, u32)]) {
        for row in &mut self.rows {
            if let Some(active) = row.active.get_mut(usize::from(group)) {
                *active = 0;
            }
        }
        for (endpoint, count) in alive {
            if let Some(active) = self.row_or_new(*endpoint).active.get_mut(usize::from(group)) {
                *active = *count;
            }
        }
    }

    fn row(&self, endpoint: EndpointTag) -> Option<&Row> {
        self.rows.iter().find(|row| row.tag == endpoint)
    }

    fn row_or_new(&mut self, endpoint: EndpointTag) -> &mut Row {
        let index = self
            .rows
            .iter()
            .position(|row| row.tag == endpoint)
            .unwrap_or_else(|| {
                self.rows.push(Row::unnamed(endpoint));
                self.rows.len() - 1
            });
        #[allow(clippy::indexing_slicing, reason = "the index was found or made just above")]
        &mut self.rows[index]
    }
}

impl Row {
    /// A row for sessions whose endpoint no configuration has named yet. It lets no newcomer in.
    fn unnamed(tag: EndpointTag) -> Self {
        let [a, b, c, d] = tag.to_bytes();
        let name = format!("unknown_{a:02x}{b:02x}{c:02x}{d:02x}");
        let settings = EndpointSettings {
            name,
            max_sessions: 0,
            quota: None,
            max_streams: None,
            max_streams_per_principal: None,
            lifespans: Lifespans::OF_UNNAMED,
            evict_after: Duration::ZERO,
        };
        Self {
            tag,
            settings,
            loaded: Timestamp::START,
            named_until: Timestamp::START,
            idle_from: Timestamp::START,
            active: vec![0; usize::from(GROUPS)],
        }
    }

    /// Puts the settings of the configuration with the load number `loaded` into force.
    ///
    /// If the idle timeout becomes shorter, or sessions become evictable, sessions in use may lack a lease that the
    /// new settings need. So no session counts as idle before every root has had its tick.
    fn set(&mut self, settings: &EndpointSettings, loaded: Timestamp, now: Timestamp) {
        let shorter = match (settings.lifespans.idle, self.settings.lifespans.idle) {
            (Some(new), Some(old)) => new < old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let evictable = settings.lifespans.evictable && !self.settings.lifespans.evictable;
        if self.loaded != Timestamp::START && (shorter || evictable) {
            self.idle_from = now.after(SHORTENED);
        }
        self.settings = settings.clone();
        self.loaded = loaded;
    }

    /// The settings in force.
    fn in_force(&self) -> EndpointSettings {
        let mut settings = self.settings.clone();
        settings.lifespans.idle_from = self.idle_from;
        settings
    }

    fn active(&self) -> u32 {
        self.active.iter().copied().fold(0, u32::saturating_add)
    }
}
