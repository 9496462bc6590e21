//! The shares of all gateways, as a look shows them, and what one gateway should have of them.

use super::Demand;

/// Which gateway: a number that its process has drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(pub u64);

/// One gateway's key in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose key it is.
    pub gateway: GatewayId,
    /// How many sessions and reservations it may have.
    pub share: u32,
    /// The fleet's cap as its configuration has it, at least 1.
    pub cap: u32,
    /// Whether it wants more places than it could get.
    pub waiting: bool,
}

/// All entries at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// No share has grown between this revision of etcd and the look. 0 before the first look.
    pub revision: i64,
    /// The entries, in the order of their keys.
    pub entries: Vec<Entry>,
}

/// What a gateway should do about its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The share that it should have.
    pub(super) share: u32,
    /// The places that it keeps free for newcomers. A share that is off by up to half of it is good enough.
    pub(super) slack: u32,
    /// Others leave nothing beyond what is in use.
    pub(super) is_full: bool,
    /// It wants more places than there are.
    pub(super) is_short: bool,
    /// Another gateway wants more places than there are.
    pub(super) others_are_short: bool,
}

impl View {
    /// The entry of this gateway.
    pub fn of(&self, gateway: GatewayId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.gateway == gateway)
    }

    /// Puts an entry that was just written in the place of its gateway's last one.
    pub(super) fn put(&mut self, entry: Entry) {
        self.entries.retain(|other| other.gateway != entry.gateway);
        self.entries.push(entry);
    }

    /// The cap in force: the smallest of all that are written, and of `own`, which this gateway will write.
    pub fn cap(&self, gateway: GatewayId, own: u32) -> u32 {
        self.others(gateway).map(|entry| entry.cap).fold(own, u32::min)
    }

    /// Whether gateways have written different caps.
    pub fn caps_differ(&self) -> bool {
        let mut caps = self.entries.iter().map(|entry| entry.cap);
        caps.next().is_some_and(|first| caps.any(|cap| cap != first))
    }

    /// The places that no gateway has.
    pub fn free(&self, gateway: GatewayId, own_cap: u32) -> u32 {
        let own = self.of(gateway).map_or(0, |entry| entry.share);
        self.left_by_others(gateway, own_cap).saturating_sub(own)
    }

    /// The places that the other gateways leave to this one.
    fn left_by_others(&self, gateway: GatewayId, own_cap: u32) -> u32 {
        let cap = self.cap(gateway, own_cap);
        self.others(gateway)
            .fold(cap, |left, entry| left.saturating_sub(entry.share))
    }

    /// What this gateway should have: what is in use, what newcomers wait for, and some slack.
    ///
    /// The slack is an eighth of the cap, divided among all gateways and one more: so up to eight tenths of the cap
    /// there are places that no gateway has, even if each share is larger than planned by half of its slack. While
    /// anybody is short there is none. Without `with_slack` no places are taken for newcomers that may come.
    ///
    /// A share is never below what is in use. So it can grow over the cap, if the gateway was cut off meanwhile.
    pub(super) fn plan(
        &self,
        gateway: GatewayId,
        own_cap: u32,
        demand: Demand,
        was_short: bool,
        with_slack: bool,
    ) -> Plan {
        let others = u32::try_from(self.others(gateway).count()).unwrap_or(u32::MAX);
        let portions = others.saturating_add(2);
        let left = self.left_by_others(gateway, own_cap);
        let others_are_short = self.others(gateway).any(|entry| entry.waiting);
        let wanted = demand.used.saturating_add(demand.waiting);
        let slack = match others_are_short || was_short {
            true => 0,
            false => self.cap(gateway, own_cap) / portions.saturating_mul(8),
        };
        let spare = if with_slack { slack } else { 0 };
        Plan {
            share: wanted.saturating_add(spare).min(left).max(demand.used),
            slack,
            is_full: left <= demand.used,
            is_short: wanted > left,
            others_are_short,
        }
    }

    fn others(&self, gateway: GatewayId) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.gateway != gateway)
    }
}
