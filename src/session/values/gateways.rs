//! The gateways of the fleet as the worker that speaks has seen them last, for the status view: any worker shows it.
//!
//! ```text
//! gateways = version:u8 own:u64 cap:u32 count:u16 gateway*
//! gateway  = id:u64 share:u32 flags:u8
//! ```
//! Of a gateway's flags, 1 is `waits`.

use super::codec::{Reader, put};
use crate::session::store::{LAYOUT, StoreError};

/// A gateway of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownGateway {
    /// Its number.
    pub id: u64,
    /// Its share of the cap.
    pub share: u32,
    /// It wants more places than it could get.
    pub waits: bool,
}

/// The gateways of the fleet, and the cap in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// The number of this gateway.
    pub own: u64,
    /// The cap over all gateways.
    pub cap: u32,
    /// All gateways that have a share.
    pub all: Vec<KnownGateway>,
}

impl Gateways {
    /// Decodes the value. Absent, empty or inconsistent bytes hold no gateways.
    pub(in crate::session) fn from_value(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes.first() {
            Some(&LAYOUT) => Ok(Self::read(bytes).unwrap_or_default()),
            None => Ok(Self::default()),
            Some(_) => Err(StoreError::Foreign),
        }
    }

    /// Encodes the gateways.
    pub(in crate::session) fn to_value(&self) -> Vec<u8> {
        let count = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
        let mut out = vec![LAYOUT];
        put(&mut out, &self.own.to_le_bytes());
        put(&mut out, &self.cap.to_le_bytes());
        put(&mut out, &count.to_le_bytes());
        for gateway in self.all.iter().take(usize::from(count)) {
            put(&mut out, &gateway.id.to_le_bytes());
            put(&mut out, &gateway.share.to_le_bytes());
            out.push(u8::from(gateway.waits));
        }
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        let (own, cap) = (reader.u64()?, reader.u32()?);
        let all = (0..reader.u16()?).map(|_| {
            Some(KnownGateway {
                id: reader.u64()?,
                share: reader.u32()?,
                waits: reader.u8()? != 0,
            })
        });
        let all = all.collect::<Option<_>>()?;
        Some(Self { own, cap, all })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn they_survive_the_round_trip() {
        let gateway = |id, waits| KnownGateway { id, share: 5, waits };
        let gateways = Gateways {
            own: 1,
            cap: 10,
            all: vec![gateway(1, false), gateway(u64::MAX, true)],
        };
        assert_eq!(Gateways::from_value(&gateways.to_value()), Ok(gateways));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(rest in proptest::collection::vec(any::<u8>(), 0..100)) {
            let gateways = Gateways::from_value(&[vec![LAYOUT], rest].concat()).unwrap();
            prop_assert_eq!(Gateways::from_value(&gateways.to_value()), Ok(gateways));
        }
    }
}
