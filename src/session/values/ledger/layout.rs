//! The ledger as bytes.
//!
//! ```text
//! ledger        = version:u8 flags:u8 depth:u8 share configurations:u8 configuration* group{64} rows:u8 row* leases:u16
//!                 lease*
//! share         = term:u32 most:u32 until:5
//! configuration = id:u64 flags:u8 loaded:5 until:5 limit:u32 fleet:u64 fleet_cap:u32
//! group         = flags:u8 due:5 claimed_until:5 changes:u16 recounted:5 bytes:u32
//! row           = tag:4 flags:u8 limit:u32 quota:u32 streams:u32 streams_of_principal:u32 idle:u64 lifetime:u64
//!                 evict_after:u64 loaded:5 named_until:5 idle_from:5 name_len:u8 name active:u32{64}
//! lease         = root:u32 endpoint:4 held:u8 until:5 count:u32
//! ```
//! Of the ledger's flags, 1 is `told_of_difference`, 2 is `told_of_fleets` and 4 says that the fleet sets no limit; of a
//! configuration's, 1 is `serves`, 2 says that it writes the limit and 4 that it writes a fleet; of a group's, 1 is `claimed` and 2 is `suspect`; of a row's, 1 is `evictable`. Lifespans are in milliseconds,
//! 0 for none; a quota or a cap of streams of 0 is none.

use core::time::Duration;

use super::super::codec::{Reader, timestamp_bytes};
use super::super::depth::DEEPEST;
use super::super::record::RootTag;
use super::configurations::Entry;
use super::groups::{GROUPS, Group};
use super::leases::{Lease, Leased, Leases};
use super::share::Share;
use super::{Ledger, MAX_ROWS, Row};
use crate::session::limit::Limit;
use crate::session::settings::{
    ConfigurationId, EndpointSettings, EndpointTag, FleetSettings, FleetTag, Lifespans,
};
use crate::session::store::{LAYOUT, StoreError};
use crate::session::time::Timestamp;

/// Flags of the ledger.
const TOLD_OF_DIFFERENCE: u8 = 1;
const TOLD_OF_FLEETS: u8 = 2;
const NO_FLEET_LIMIT: u8 = 4;

impl Ledger {
    /// Decodes a ledger. Absent or empty bytes are an empty ledger, and so are inconsistent bytes of this layout; a
    /// recount then finds the right counts.
    pub(in crate::session) fn from_value(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes.first() {
            None => Ok(Self::empty()),
            Some(&LAYOUT) => Ok(Self::read(bytes).unwrap_or_else(Self::empty)),
            Some(_) => Err(StoreError::Foreign),
        }
    }

    /// Encodes the ledger.
    pub(in crate::session) fn to_value(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        out.push(LAYOUT);
        out.push(self.flags());
        out.push(self.depth);
        self.share.write(&mut out);
        out.push(u8::try_from(self.configurations.len()).unwrap_or(u8::MAX));
        for entry in &self.configurations {
            entry.write(&mut out);
        }
        for group in &self.groups {
            group.write(&mut out);
        }
        out.push(u8::try_from(self.rows.len()).unwrap_or(u8::MAX));
        for row in self.rows.iter().take(MAX_ROWS) {
            row.write(&mut out);
        }
        out.extend_from_slice(
            &u16::try_from(self.leases.0.len())
                .unwrap_or(u16::MAX)
                .to_le_bytes(),
        );
        for lease in &self.leases.0 {
            lease.write(&mut out);
        }
        out
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(self.told_of_difference, TOLD_OF_DIFFERENCE)
            | flag(self.told_of_fleets, TOLD_OF_FLEETS)
            | flag(self.share.limit == Limit::Own, NO_FLEET_LIMIT)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        let flags = reader.u8()?;
        let depth = reader.u8()?.min(DEEPEST);
        let share = Share::read(&mut reader, flags & NO_FLEET_LIMIT != 0)?;
        let configurations = (0..reader.u8()?)
            .map(|_| Entry::read(&mut reader))
            .collect::<Option<_>>()?;
        let groups = (0..GROUPS)
            .map(|_| Group::read(&mut reader))
            .collect::<Option<_>>()?;
        let rows = (0..reader.u8()?)
            .map(|_| Row::read(&mut reader))
            .collect::<Option<_>>()?;
        let leases = (0..reader.u16()?)
            .map(|_| Lease::read(&mut reader))
            .collect::<Option<_>>()?;
        Some(Self {
            configurations,
            told_of_difference: flags & TOLD_OF_DIFFERENCE != 0,
            told_of_fleets: flags & TOLD_OF_FLEETS != 0,
            share,
            depth,
            groups,
            rows,
            leases: Leases(leases),
        })
    }
}

impl Share {
    fn read(reader: &mut Reader<'_>, is_own: bool) -> Option<Self> {
        let term = reader.u32()?;
        let (most, until) = (reader.u32()?, reader.timestamp()?);
        let limit = match is_own {
            true => Limit::Own,
            false => Limit::Places { most, until },
        };
        Some(Self { term, limit })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (most, until) = match self.limit {
            Limit::Own => (0, Timestamp::START),
            Limit::Places { most, until } => (most, until),
        };
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(&most.to_le_bytes());
        out.extend_from_slice(&timestamp_bytes(until));
    }
}

impl Entry {
    const SERVES: u8 = 1;
    const WRITES_LIMIT: u8 = 2;
    const WRITES_FLEET: u8 = 4;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let id = ConfigurationId::from_number(reader.u64()?);
        let flags = reader.u8()?;
        let (loaded, until) = (reader.timestamp()?, reader.timestamp()?);
        let limit = reader.u32()?;
        let fleet = FleetSettings {
            tag: FleetTag::from_number(reader.u64()?),
            cap: reader.u32()?,
        };
        Some(Self {
            id,
            loaded,
            until,
            serves: flags & Self::SERVES != 0,
            vm_limit: (flags & Self::WRITES_LIMIT != 0).then_some(limit),
            fleet: (flags & Self::WRITES_FLEET != 0).then_some(fleet),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let serves = if self.serves { Self::SERVES } else { 0 };
        let writes_limit = self.vm_limit.map_or(0, |_| Self::WRITES_LIMIT);
        let writes_fleet = self.fleet.map_or(0, |_| Self::WRITES_FLEET);
        let (tag, cap) = self
            .fleet
            .map_or((0, 0), |fleet| (fleet.tag.to_number(), fleet.cap));
        out.extend_from_slice(&self.id.to_number().to_le_bytes());
        out.push(serves | writes_limit | writes_fleet);
        out.extend_from_slice(&timestamp_bytes(self.loaded));
        out.extend_from_slice(&timestamp_bytes(self.until));
        out.extend_from_slice(&self.vm_limit.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&cap.to_le_bytes());
    }
}

impl Group {
    const CLAIMED: u8 = 1;
    const SUSPECT: u8 = 2;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let flags = reader.u8()?;
        Some(Self {
            claimed: flags & Self::CLAIMED != 0,
            suspect: flags & Self::SUSPECT != 0,
            due: reader.timestamp()?,
            claimed_until: reader.timestamp()?,
            changes: reader.u16()?,
            recounted: reader.timestamp()?,
            bytes: reader.u32()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let claimed = if self.claimed { Self::CLAIMED } else { 0 };
        let suspect = if self.suspect { Self::SUSPECT } else { 0 };
        out.push(claimed | suspect);
        out.extend_from_slice(&timestamp_bytes(self.due));
        out.extend_from_slice(&timestamp_bytes(self.claimed_until));
        out.extend_from_slice(&self.changes.to_le_bytes());
        out.extend_from_slice(&timestamp_bytes(self.recounted));
        out.extend_from_slice(&self.bytes.to_le_bytes());
    }
}

impl Row {
    const EVICTABLE: u8 = 1;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let tag = EndpointTag::from_bytes(reader.array()?);
        let flags = reader.u8()?;
        let max_sessions = reader.u32()?;
        let quota = reader.u32()?;
        let (max_streams, max_streams_per_principal) = (reader.u32()?, reader.u32()?);
        let lifespans = Lifespans {
            idle: read_lifespan(reader)?,
            lifetime: read_lifespan(reader)?,
            evictable: flags & Self::EVICTABLE != 0,
            idle_from: Timestamp::default(),
        };
        let evict_after = read_lifespan(reader)?.unwrap_or_default();
        let (loaded, named_until) = (reader.timestamp()?, reader.timestamp()?);
        let idle_from = reader.timestamp()?;
        let name_len = usize::from(reader.u8()?);
        let name = core::str::from_utf8(reader.bytes(name_len)?).ok()?.to_owned();
        let active = (0..GROUPS).map(|_| reader.u32()).collect::<Option<_>>()?;
        Some(Self {
            tag,
            settings: EndpointSettings {
                name,
                max_sessions,
                quota: (quota > 0).then_some(quota),
                max_streams: (max_streams > 0).then_some(max_streams),
                max_streams_per_principal: (max_streams_per_principal > 0)
                    .then_some(max_streams_per_principal),
                lifespans,
                evict_after,
            },
            loaded,
            named_until,
            idle_from,
            active,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let EndpointSettings {
            name,
            max_sessions,
            quota,
            max_streams,
            max_streams_per_principal,
            lifespans,
            evict_after,
        } = &self.settings;
        let name_len = u8::try_from(name.len()).unwrap_or(0);
        out.extend_from_slice(&self.tag.to_bytes());
        out.push(if lifespans.evictable { Self::EVICTABLE } else { 0 });
        out.extend_from_slice(&max_sessions.to_le_bytes());
        for cap in [quota, max_streams, max_streams_per_principal] {
            out.extend_from_slice(&cap.unwrap_or(0).to_le_bytes());
        }
        write_lifespan(out, lifespans.idle);
        write_lifespan(out, lifespans.lifetime);
        write_lifespan(out, Some(*evict_after));
        for moment in [self.loaded, self.named_until, self.idle_from] {
            out.extend_from_slice(&timestamp_bytes(moment));
        }
        out.push(name_len);
        out.extend(name.bytes().take(usize::from(name_len)));
        for active in &self.active {
            out.extend_from_slice(&active.to_le_bytes());
        }
    }
}

impl Lease {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            root: RootTag::from_bits(reader.u32()?),
            endpoint: EndpointTag::from_bytes(reader.array()?),
            leased: match reader.u8()? {
                0 => Leased::Reservations,
                _ => Leased::Streams,
            },
            until: reader.timestamp()?,
            count: reader.u32()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.root.bits().to_le_bytes());
        out.extend_from_slice(&self.endpoint.to_bytes());
        out.push(match self.leased {
            Leased::Reservations => 0,
            Leased::Streams => 1,
        });
        out.extend_from_slice(&timestamp_bytes(self.until));
        out.extend_from_slice(&self.count.to_le_bytes());
    }
}

fn read_lifespan(reader: &mut Reader<'_>) -> Option<Option<Duration>> {
    let millis = reader.u64()?;
    Some((millis > 0).then(|| Duration::from_millis(millis)))
}

fn write_lifespan(out: &mut Vec<u8>, lifespan: Option<Duration>) {
    let millis = lifespan.map_or(0, |lifespan| {
        u64::try_from(lifespan.as_millis()).unwrap_or(u64::MAX)
    });
    out.extend_from_slice(&millis.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::settings::{Configuration, VmSettings};

    fn ledger() -> Ledger {
        let endpoint = |name: &str, idle: Option<Duration>| EndpointSettings {
            name: name.to_owned(),
            max_sessions: 9,
            quota: idle.map(|_| 3),
            max_streams: idle.map(|_| 4),
            max_streams_per_principal: idle.map(|_| 2),
            lifespans: Lifespans {
                idle,
                lifetime: None,
                evictable: idle.is_some(),
                ..Lifespans::default()
            },
            evict_after: Duration::from_millis(250),
        };
        let mut ledger = Ledger::empty();
        for (id, max_sessions, idle) in [(1, Some(10), 7), (2, None, 5)] {
            let settings = VmSettings {
                max_sessions,
                fleet: max_sessions.map(|cap| FleetSettings {
                    tag: FleetTag::of(&[b"fleet"]),
                    cap,
                }),
                endpoints: vec![
                    endpoint("a", None),
                    endpoint("b", Some(Duration::from_secs(idle))),
                ],
            };
            let mut configuration = Configuration::new(ConfigurationId::from_number(id), settings);
            configuration.serves = true;
            ledger.load(&mut configuration, Timestamp::from_millis(55));
            ledger.keep(&mut configuration, Timestamp::from_millis(56));
        }
        let root = RootTag::from_random(3);
        ledger.add_session(EndpointTag::of("a"), 63, Timestamp::from_millis(77));
        ledger.lease(root, EndpointTag::of("b"), Timestamp::from_millis(88));
        ledger.set_streams(root, EndpointTag::of("gone"), 3, Timestamp::from_millis(99));
        ledger.suspect(&[5]);
        ledger.deepen(4);
        let until = Timestamp::from_millis(1 << 33);
        ledger.set_fleet_limit(7, Limit::Places { most: 11, until });
        ledger.claim(Timestamp::from_millis(66));
        ledger
    }

    #[test]
    fn a_ledger_survives_the_round_trip() {
        let mut ledger = ledger();
        assert_eq!(Ledger::from_value(&ledger.to_value()), Ok(ledger.clone()));
        ledger.set_fleet_limit(8, Limit::Own);
        assert_eq!(Ledger::from_value(&ledger.to_value()), Ok(ledger));
    }

    #[test]
    fn a_ledger_cut_short_reads_as_empty() {
        let whole = ledger().to_value();
        for len in 0..whole.len() {
            assert_eq!(Ledger::from_value(&whole[..len]), Ok(Ledger::empty()));
        }
    }

    #[test]
    fn another_layout_is_refused() {
        for version in [0, 1, 255] {
            assert_eq!(Ledger::from_value(&[version]), Err(StoreError::Foreign));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_or_counting_panic(
            rest in proptest::collection::vec(prop_oneof![0..3_u8, any::<u8>()], 0..4000),
        ) {
            let bytes = [vec![LAYOUT], rest].concat();
            let mut ledger = Ledger::from_value(&bytes).unwrap();
            ledger.counts();
            ledger.claim(Timestamp::NEVER);
            prop_assert_eq!(Ledger::from_value(&ledger.to_value()), Ok(ledger));
        }
    }
}
