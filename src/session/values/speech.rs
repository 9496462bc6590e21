//! Which worker speaks for this gateway to the rest of its fleet, what the next one must know, and how many newcomers
//! wait on each root.
//!
//! ```text
//! speech  = version:u8 flags:u8 term:u32 speaker:u32 configuration:u64 until:5 fleet:u64 gateway:u64
//!           lease:u64 renewed:5 lease_until:5 full_at:5 waiting:u16 waiting*
//! waiting = root:u32 count:u32 until:5
//! ```
//! Of the flags, 1 is `is_lost`, 2 says that there is a lease, 4 that `full_at` is known, and 8 is `caps_differ`.

use super::codec::{Reader, put, timestamp_bytes};
use super::record::RootTag;
use crate::session::settings::{ConfigurationId, FleetTag};
use crate::session::store::{LAYOUT, StoreError};
use crate::session::time::Timestamp;

/// Most roots whose newcomers are counted; every worker of a large machine needs fewer.
const MOST_ROOTS: usize = 4_096;

/// What the worker that speaks has found out, for those that do not and for the one that speaks after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The gateway's lease: its number, since when it lasts, and when it ends.
    pub lease: Option<(i64, Timestamp, Timestamp)>,
    /// The gateway is lost.
    pub is_lost: bool,
    /// Gateways of the fleet write different caps, and the log says so.
    pub caps_differ: bool,
    /// A look that was sent then has shown that the fleet is full.
    pub full_at: Option<Timestamp>,
}

/// The newcomers that wait on one root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    root: RootTag,
    count: u32,
    until: Timestamp,
}

/// The decoded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Speech {
    /// Grows with each turn of a worker.
    pub(in crate::session) term: u32,
    /// The root whose turn it is, and its configuration.
    pub(in crate::session) speaker: RootTag,
    pub(in crate::session) configuration: ConfigurationId,
    /// Its turn is over then, unless it goes on.
    pub(in crate::session) until: Timestamp,
    pub(in crate::session) fleet: FleetTag,
    /// The gateway's number within the fleet.
    pub(in crate::session) gateway: u64,
    pub(in crate::session) findings: Findings,
    waiting: Vec<Waiting>,
}

impl Speech {
    const IS_LOST: u8 = 1;
    const HAS_LEASE: u8 = 2;
    const IS_FULL: u8 = 4;
    const CAPS_DIFFER: u8 = 8;

    /// No worker has spoken yet.
    pub(super) fn none() -> Self {
        Self {
            term: 0,
            speaker: RootTag::from_bits(0),
            configuration: ConfigurationId::from_number(0),
            until: Timestamp::START,
            fleet: FleetTag::default(),
            gateway: 0,
            findings: Findings::default(),
            waiting: Vec::new(),
        }
    }

    /// Decodes the value. Absent, empty or inconsistent bytes say that no worker has spoken yet.
    pub(in crate::session) fn from_value(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes.first() {
            Some(&LAYOUT) => Ok(Self::read(bytes).unwrap_or_else(Self::none)),
            None => Ok(Self::none()),
            Some(_) => Err(StoreError::Foreign),
        }
    }

    /// Encodes the value.
    pub(in crate::session) fn to_value(&self) -> Vec<u8> {
        let Findings {
            lease,
            is_lost,
            caps_differ,
            full_at,
        } = self.findings;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(is_lost, Self::IS_LOST)
            | flag(lease.is_some(), Self::HAS_LEASE)
            | flag(full_at.is_some(), Self::IS_FULL)
            | flag(caps_differ, Self::CAPS_DIFFER);
        let (number, renewed, until) = lease.unwrap_or_default();
        let mut out = vec![LAYOUT, flags];
        put(&mut out, &self.term.to_le_bytes());
        put(&mut out, &self.speaker.bits().to_le_bytes());
        put(&mut out, &self.configuration.to_number().to_le_bytes());
        put(&mut out, &timestamp_bytes(self.until));
        put(&mut out, &self.fleet.to_number().to_le_bytes());
        put(&mut out, &self.gateway.to_le_bytes());
        put(&mut out, &number.to_le_bytes());
        for moment in [renewed, until, full_at.unwrap_or_default()] {
            put(&mut out, &timestamp_bytes(moment));
        }
        let count = u16::try_from(self.waiting.len()).unwrap_or(u16::MAX);
        put(&mut out, &count.to_le_bytes());
        for waiting in self.waiting.iter().take(usize::from(count)) {
            put(&mut out, &waiting.root.bits().to_le_bytes());
            put(&mut out, &waiting.count.to_le_bytes());
            put(&mut out, &timestamp_bytes(waiting.until));
        }
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        let flags = reader.u8()?;
        let (term, speaker) = (reader.u32()?, RootTag::from_bits(reader.u32()?));
        let configuration = ConfigurationId::from_number(reader.u64()?);
        let until = reader.timestamp()?;
        let (fleet, gateway) = (FleetTag::from_number(reader.u64()?), reader.u64()?);
        let number = i64::from_le_bytes(reader.array()?);
        let lease = (number, reader.timestamp()?, reader.timestamp()?);
        let full_at = reader.timestamp()?;
        let waiting = (0..reader.u16()?).map(|_| {
            Some(Waiting {
                root: RootTag::from_bits(reader.u32()?),
                count: reader.u32()?,
                until: reader.timestamp()?,
            })
        });
        let waiting = waiting.collect::<Option<_>>()?;
        Some(Self {
            term,
            speaker,
            configuration,
            until,
            fleet,
            gateway,
            findings: Findings {
                lease: (flags & Self::HAS_LEASE != 0).then_some(lease),
                is_lost: flags & Self::IS_LOST != 0,
                caps_differ: flags & Self::CAPS_DIFFER != 0,
                full_at: (flags & Self::IS_FULL != 0).then_some(full_at),
            },
            waiting,
        })
    }

    /// Newcomers that wait, on all roots.
    pub(in crate::session) fn waiting(&self, now: Timestamp) -> u32 {
        let live = self.waiting.iter().filter(|waiting| now < waiting.until);
        live.map(|waiting| waiting.count).fold(0, u32::saturating_add)
    }

    /// Sets how many newcomers wait on a root. Nothing changes if so many are known to wait until `before` at least.
    /// Drops the numbers of dead roots.
    pub(in crate::session) fn set_waiting(
        &mut self,
        root: RootTag,
        count: u32,
        [now, before, until]: [Timestamp; 3],
    ) {
        let is_known = |waiting: &Waiting| waiting.count == count && waiting.until >= before;
        self.waiting
            .retain(|waiting| now < waiting.until && (waiting.root != root || is_known(waiting)));
        let is_there = self.waiting.iter().any(|waiting| waiting.root == root);
        if count > 0 && !is_there && self.waiting.len() < MOST_ROOTS {
            self.waiting.push(Waiting { root, count, until });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn speech() -> Speech {
        let mut speech = Speech {
            term: 3,
            speaker: RootTag::from_bits(4),
            configuration: ConfigurationId::from_number(5),
            until: at(6),
            fleet: FleetTag::from_number(7),
            gateway: 8,
            findings: Findings {
                lease: Some((-9, at(10), at(11))),
                is_lost: false,
                caps_differ: true,
                full_at: Some(at(12)),
            },
            waiting: Vec::new(),
        };
        speech.set_waiting(RootTag::from_bits(1), 2, [at(0), at(10), at(20)]);
        speech
    }

    #[test]
    fn it_survives_the_round_trip() {
        let mut speech = speech();
        assert_eq!(Speech::from_value(&speech.to_value()), Ok(speech.clone()));
        speech.findings = Findings {
            is_lost: true,
            ..Findings::default()
        };
        assert_eq!(Speech::from_value(&speech.to_value()), Ok(speech));
    }

    #[test]
    fn what_is_cut_short_says_nothing() {
        let whole = speech().to_value();
        for len in 0..whole.len() {
            assert_eq!(Speech::from_value(&whole[..len]), Ok(Speech::none()));
        }
    }

    #[test]
    fn newcomers_of_a_dead_root_go_by_themselves() {
        let (one, two) = (RootTag::from_bits(1), RootTag::from_bits(2));
        let mut speech = Speech::none();
        speech.set_waiting(one, 2, [at(0), at(10), at(20)]);
        speech.set_waiting(two, 3, [at(5), at(15), at(25)]);
        assert_eq!((speech.waiting(at(19)), speech.waiting(at(20))), (5, 3));
        speech.set_waiting(two, 4, [at(21), at(30), at(40)]);
        assert_eq!(speech.waiting(at(0)), 4);
        speech.set_waiting(two, 0, [at(22), at(30), at(40)]);
        assert_eq!(speech, Speech::none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let speech = Speech::from_value(&[vec![LAYOUT], rest].concat()).unwrap();
            prop_assert_eq!(Speech::from_value(&speech.to_value()), Ok(speech));
        }
    }
}
