//! The settings of endpoints that all workers must share.

use core::time::Duration;

use super::time::Timestamp;

/// Identifies an endpoint in shared data, for every worker and every configuration that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointTag([u8; 4]);

impl EndpointTag {
    /// Stands for the endpoint where something other than a session is hashed.
    pub(super) const NONE: Self = Self([0; 4]);

    /// The tag of the endpoint `name`: the first four bytes of its SHA-256.
    pub fn of(name: &str) -> Self {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(name.as_bytes());
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    pub(super) fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0
    }
}

/// How long the sessions of an endpoint may live; `None` means for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifespans {
    /// A session that is not used for this long ends.
    pub idle: Option<Duration>,
    /// A session of this age ends, even if it is in use.
    pub lifetime: Option<Duration>,
    /// Sessions may be evicted. So every use takes a lease, and all workers know at any time which sessions are in
    /// use.
    pub evictable: bool,
    /// No session counts as idle since an earlier time. It is set when the idle timeout becomes shorter, since until
    /// then workers took fewer leases than it needs.
    pub idle_from: Timestamp,
}

impl Lifespans {
    /// The lifespans of an endpoint that has sessions in the table while no configuration names it, as after a loss
    /// of the ledger. They are the defaults of the configuration, so that its sessions end some day.
    pub(crate) const OF_UNNAMED: Self = Self {
        idle: Some(Duration::from_secs(30 * 60)),
        lifetime: Some(Duration::from_secs(24 * 60 * 60)),
        evictable: false,
        idle_from: Timestamp::START,
    };

    /// The table remembers an ended session for `idle_timeout`, and at least for this time.
    const REMEMBERED_AT_LEAST: Duration = Duration::from_secs(60);

    /// With a shorter idle timeout than this, every request takes a lease and gives it back at its end. Otherwise
    /// only long requests take leases.
    pub(super) const SHORT_IDLE: Duration = Duration::from_secs(30);

    /// A use rewrites a stamp that is at least this old.
    pub fn grain(self) -> Duration {
        if self.leases_every_use() {
            Duration::ZERO
        } else {
            Duration::from_secs(1)
        }
    }

    /// The last use may be this much *later* than the stored stamp: a stamp younger than the grain is not rewritten,
    /// and a request that ends between two ticks writes none. Idle timeouts are extended by this, so that no session
    /// ends early.
    pub(super) fn slack(self) -> Duration {
        2 * self.grain()
    }

    /// Whether stamps must be exact: sessions may be evicted, or the idle timeout is short.
    pub fn leases_every_use(self) -> bool {
        self.evictable || self.idle.is_some_and(|idle| idle < Self::SHORT_IDLE)
    }

    /// Whether sessions may be evicted at `now`: eviction is on, and every root has had time to learn of it and to
    /// lease the sessions it uses.
    pub fn may_evict(self, now: Timestamp) -> bool {
        self.evictable && self.idle_from <= now
    }

    /// Whether a session opened at `opened` has reached its lifetime by `now`.
    pub fn are_over(self, opened: Timestamp, now: Timestamp) -> bool {
        self.lifetime
            .is_some_and(|lifetime| opened.after(lifetime) <= now)
    }

    /// How long a lease on a session in use lasts. It is long enough that a worker may miss several ticks.
    pub fn lease(self) -> Duration {
        self.idle.map_or(LEASE_FLOOR, |idle| (idle / 2).max(LEASE_FLOOR))
    }

    /// How long an ended session's id is answered 404.
    pub(super) fn remembered(self) -> Duration {
        self.idle
            .unwrap_or(Self::REMEMBERED_AT_LEAST)
            .max(Self::REMEMBERED_AT_LEAST)
    }
}

/// A lease on a session in use lasts at least this long.
pub const LEASE_FLOOR: Duration = Duration::from_secs(30);

/// The settings of one endpoint that all workers must share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    /// The endpoint's name, 1 to 32 bytes.
    pub name: String,
    /// Its cap on sessions and reservations.
    pub max_sessions: u32,
    /// The cap of each principal; `None` means no cap.
    pub quota: Option<u32>,
    /// Its cap on open streams; `None` means no cap.
    pub max_streams: Option<u32>,
    /// The cap on the open streams of each principal; `None` means no cap.
    pub max_streams_per_principal: Option<u32>,
    /// How long its sessions live.
    pub lifespans: Lifespans,
    /// A session must be idle for at least this long before it is evicted.
    pub evict_after: Duration,
}

/// The settings of a configuration that all workers must share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSettings {
    /// The cap over all endpoints, if the configuration writes one.
    pub max_sessions: Option<u32>,
    /// The fleet, if the configuration writes one.
    pub fleet: Option<FleetSettings>,
    /// The endpoints it names.
    pub endpoints: Vec<EndpointSettings>,
}

/// The fleet of a configuration, as far as all workers must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    /// Which fleet, and how its etcd is reached. With another tag a gateway begins anew.
    pub tag: FleetTag,
    /// The cap over all gateways.
    pub cap: u32,
}

/// Identifies a fleet and the way to its etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetTag(u64);

impl FleetTag {
    /// The tag made of these parts, as [`ConfigurationId::of`].
    pub fn of(parts: &[&[u8]]) -> Self {
        Self(ConfigurationId::of(parts).to_number())
    }

    pub(super) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(super) fn to_number(self) -> u64 {
        self.0
    }
}

impl VmSettings {
    /// Whether they name no endpoint and write no cap, as those of a configuration with nothing but a status view.
    pub fn decide_nothing(&self) -> bool {
        self.max_sessions.is_none() && self.fleet.is_none() && self.endpoints.is_empty()
    }
}

/// Identifies a configuration: a hash of its bytes, and of the names under which Envoy loads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigurationId(u64);

impl ConfigurationId {
    /// The identity made of these parts: the first eight bytes of their SHA-256, each after its length.
    pub fn of(parts: &[&[u8]]) -> Self {
        use sha2::Digest;
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        Self(u64::from_le_bytes(
            digest.first_chunk().copied().unwrap_or_default(),
        ))
    }

    pub(super) fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(super) fn to_number(self) -> u64 {
        self.0
    }
}

/// A configuration, as one root has loaded it.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub(super) id: ConfigurationId,
    pub(super) settings: VmSettings,
    /// The load's number: the time of the load, made unique.
    pub(super) loaded: Timestamp,
    /// A listener serves requests by this configuration, as far as this root knows.
    pub(super) serves: bool,
    /// This root has entered the configuration into the table, or found it there.
    pub(super) entered: bool,
}

impl Configuration {
    /// A configuration without a number yet; [`super::Table::load`] gives it one.
    pub fn new(id: ConfigurationId, settings: VmSettings) -> Self {
        Self {
            id,
            settings,
            loaded: Timestamp::default(),
            serves: false,
            entered: false,
        }
    }

    /// Whether a listener serves requests by this configuration, as far as this root knows.
    pub fn serves(&self) -> bool {
        self.serves
    }

    /// Which configuration it is.
    pub fn id(&self) -> ConfigurationId {
        self.id
    }

    /// The configuration's own settings, in force or not.
    pub fn settings(&self) -> &VmSettings {
        &self.settings
    }
}
