//! What a configuration says of the endpoints, as far as all workers must agree on it.

use core::time::Duration;

use super::time::Timestamp;

/// Identifies an endpoint in shared data, in every worker and every configuration that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointTag([u8; 4]);

impl EndpointTag {
    /// In the place of an endpoint where something else than a session is hashed.
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

/// How long the sessions of an endpoint may live; `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifespans {
    /// Not in use for this long ends a session.
    pub idle: Option<Duration>,
    /// This old ends a session whatever it does.
    pub lifetime: Option<Duration>,
    /// Every use takes a lease, so that all workers know at any moment which sessions are in use: they may
    /// be evicted.
    pub evictable: bool,
    /// No session counts as idle since before this moment: the idle timeout became shorter then, and workers had
    /// leases to take that were not asked for before.
    pub idle_from: Timestamp,
}

impl Lifespans {
    /// Those of an endpoint that the table has sessions of and that no configuration names, as after a loss of the
    /// ledger: the defaults of the configuration, so that its sessions end some day.
    pub(crate) const OF_UNNAMED: Self = Self {
        idle: Some(Duration::from_secs(30 * 60)),
        lifetime: Some(Duration::from_secs(24 * 60 * 60)),
        evictable: false,
        idle_from: Timestamp::START,
    };

    /// An ended session is remembered for `idle_timeout`, and at least this long.
    const REMEMBERED_AT_LEAST: Duration = Duration::from_secs(60);

    /// With an idle timeout under this, every request takes a lease of its own and gives it back at its
    /// end; else leases are for requests that last.
    pub(super) const SHORT_IDLE: Duration = Duration::from_secs(30);

    /// How old a stamp may get before a use rewrites it.
    pub fn grain(self) -> Duration {
        if self.leases_every_use() {
            Duration::ZERO
        } else {
            Duration::from_secs(1)
        }
    }

    /// How much older than its stamp a session's last use may be at most: the stamp was not rewritten when
    /// the request came, and the request was over before a tick. Idleness is counted from the end of this, so
    /// that the saving never ends a session early.
    pub(super) fn slack(self) -> Duration {
        2 * self.grain()
    }

    /// Whether only exact stamps will do: sessions may be evicted, or the idle timeout is short.
    pub fn leases_every_use(self) -> bool {
        self.evictable || self.idle.is_some_and(|idle| idle < Self::SHORT_IDLE)
    }

    /// Whether sessions may be evicted at `now`: they may, and every root has learned of it and leased what it uses.
    pub fn may_evict(self, now: Timestamp) -> bool {
        self.evictable && self.idle_from <= now
    }

    /// Whether a session opened at `opened` has reached its lifetime by `now`.
    pub fn are_over(self, opened: Timestamp, now: Timestamp) -> bool {
        self.lifetime
            .is_some_and(|lifetime| opened.after(lifetime) <= now)
    }

    /// How long a lease on a session in use lasts: long enough that a worker may miss several ticks.
    pub fn lease(self) -> Duration {
        self.idle.map_or(LEASE_FLOOR, |idle| (idle / 2).max(LEASE_FLOOR))
    }

    /// How long an ended session's id keeps being answered 404.
    pub(super) fn remembered(self) -> Duration {
        self.idle
            .unwrap_or(Self::REMEMBERED_AT_LEAST)
            .max(Self::REMEMBERED_AT_LEAST)
    }
}

/// A lease on a session in use lasts at least this long.
pub const LEASE_FLOOR: Duration = Duration::from_secs(30);

/// What a configuration says of one endpoint, as far as all workers must agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    /// The endpoint's name, 1 to 32 bytes.
    pub name: String,
    /// Its cap on sessions and reservations.
    pub max_sessions: u32,
    /// The cap of each principal; `None` is none.
    pub quota: Option<u32>,
    /// How long its sessions live.
    pub lifespans: Lifespans,
    /// Only sessions idle for at least this long are evicted.
    pub evict_after: Duration,
}

/// What a configuration says, as far as all workers must agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSettings {
    /// The cap over all endpoints, where the configuration writes one.
    pub max_sessions: Option<u32>,
    /// The endpoints it names.
    pub endpoints: Vec<EndpointSettings>,
}

/// Tells one configuration from every other: a hash of its bytes, and of the names under which Envoy loads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigurationId(u64);

impl ConfigurationId {
    /// The identity of what consists of these parts: the first eight bytes of their SHA-256, each after its length.
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
    /// The number of the load: the moment of it, made unique.
    pub(super) loaded: Timestamp,
    /// A listener serves requests by it, as far as this root knows.
    pub(super) serves: bool,
    /// This root has entered it into the table, or found it there.
    pub(super) entered: bool,
}

impl Configuration {
    /// A configuration that [`super::Table::load`] is to give its number.
    pub fn new(id: ConfigurationId, settings: VmSettings) -> Self {
        Self {
            id,
            settings,
            loaded: Timestamp::default(),
            serves: false,
            entered: false,
        }
    }

    /// Whether a listener serves requests by it, as far as this root knows.
    pub fn serves(&self) -> bool {
        self.serves
    }

    /// What it says itself, whether that is in force or not.
    pub fn settings(&self) -> &VmSettings {
        &self.settings
    }
}
