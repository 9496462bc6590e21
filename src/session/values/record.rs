//! One session as the table keeps it.

use siphasher::sip128::{Hasher128, SipHasher24};

use super::codec::{Reader, put_long, timestamp_bytes};
use super::delete_request::DeleteRequest;
use crate::session::settings::{EndpointTag, Lifespans};
use crate::session::store::BUCKETS;
use crate::session::time::Timestamp;

/// The 128-bit SipHash-2-4 of an endpoint and a session id, under a key that only the workers know.
///
/// The key keeps clients from choosing ids that fall into one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 16]);

impl SessionKey {
    pub(in crate::session) const LEN: usize = 16;

    /// The key of `id` at `endpoint`. The same id at two endpoints has two keys.
    #[inline(never)]
    pub(in crate::session) fn new(secret: &[u8; 16], endpoint: EndpointTag, id: &[u8]) -> Self {
        let mut hasher = SipHasher24::new_with_key(secret);
        core::hash::Hasher::write(&mut hasher, &endpoint.to_bytes());
        core::hash::Hasher::write(&mut hasher, id);
        Self(hasher.finish128().as_bytes())
    }

    pub(in crate::session) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The hash, with which records in shared data begin.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The bucket of this session.
    pub(in crate::session) fn bucket(self) -> u16 {
        self.short().bucket()
    }

    /// The part of the key that the books of principals keep.
    pub(in crate::session) fn short(self) -> ShortKey {
        ShortKey(self.0.first_chunk().copied().unwrap_or_default())
    }
}

/// The first half of a [`SessionKey`]: enough to find the session's bucket, and the session in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::session) struct ShortKey(pub(in crate::session) [u8; Self::LEN]);

impl ShortKey {
    pub(in crate::session) const LEN: usize = 8;

    pub(in crate::session) fn to_number(self) -> u64 {
        u64::from_le_bytes(self.0)
    }

    /// The bucket of the session.
    pub(in crate::session) fn bucket(self) -> u16 {
        let [low, high, ..] = self.0;
        u16::from_le_bytes([low, high]) % BUCKETS
    }
}

/// The owner of a session: a keyed hash of the principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u64);

impl Owner {
    /// The owner of sessions for which no principal was asked. No caller has this owner.
    pub const UNKNOWN: Self = Self(0);

    /// The principal of every caller that no source names. No name hashes to it.
    pub const NOBODY: Self = Self(1);

    /// The principal whose name has this keyed hash.
    pub fn of_hash(hash: u64) -> Self {
        Self(hash | 1 << 63)
    }
}

/// The first eight bytes of the SHA-256 of a session id, by which logs name it (`log_session_id: hash`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdDigest(pub [u8; 8]);

impl IdDigest {
    /// The digest of an id.
    pub fn of(id: &[u8]) -> Self {
        use sha2::Digest;
        Self(
            sha2::Sha256::digest(id)
                .first_chunk()
                .copied()
                .unwrap_or_default(),
        )
    }

    /// Digits of the digest.
    pub const HEX_LEN: usize = 16;

    /// The digest in hexadecimal digits of ASCII.
    pub fn to_hex(self) -> [u8; Self::HEX_LEN] {
        let mut digits = [0; Self::HEX_LEN];
        let (pairs, _) = digits.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 0xf].map(|digit| match digit {
                0..=9 => b'0' + digit,
                _ => b'a' - 10 + digit,
            });
        }
        digits
    }
}

/// Identifies one root context of one worker; random, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootTag(u32);

impl RootTag {
    /// Turns 32 random bits into a tag.
    pub fn from_random(bits: u32) -> Self {
        Self(bits.clamp(1, u32::MAX - 1))
    }

    pub(in crate::session) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(in crate::session) fn bits(self) -> u32 {
        self.0
    }
}

/// The roots that have promised to keep a session's stamp ahead of the clock while they use it.
///
/// While there are any, the stamp is the end of the lease that they share. It ends early when the last of them
/// leaves. The lease of a dead root runs out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Leaseholders(Vec<RootTag>);

impl Leaseholders {
    /// If more roots than this use one session at a time, [`Leaseholders::CROWD`] stands for the others.
    const MOST: usize = 8;

    /// Stands for roots beyond [`Leaseholders::MOST`]. It never leaves, so their lease runs out.
    const CROWD: RootTag = RootTag(u32::MAX);

    pub(in crate::session) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and `root`.
    pub(in crate::session) fn joined_by(mut self, root: RootTag) -> Self {
        let root = if self.0.len() < Self::MOST || self.0.contains(&root) {
            root
        } else {
            Self::CROWD
        };
        if !self.0.contains(&root) {
            self.0.push(root);
        }
        self
    }

    /// These without `root`.
    pub(in crate::session) fn left_by(mut self, root: RootTag) -> Self {
        self.0.retain(|leaseholder| *leaseholder != root);
        self
    }

    /// Bytes of one root.
    const EACH_LEN: usize = 4;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let count = reader.u8()?;
        let mut leaseholders = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            leaseholders.push(RootTag::from_bits(reader.u32()?));
        }
        Some(Self(leaseholders))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let count = u8::try_from(self.0.len()).unwrap_or(u8::MAX);
        out.push(count);
        for leaseholder in self.0.iter().take(usize::from(count)) {
            out.extend_from_slice(&leaseholder.bits().to_le_bytes());
        }
    }
}

/// Why a session ended: the `reason` in the metric `ended` and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The server answered a DELETE 2xx.
    ClientDelete,
    /// The server answered 404 to a request with the id.
    UpstreamGone,
    /// No request used it for `idle_timeout`.
    Idle,
    /// Older than `max_lifetime`.
    Lifetime,
    /// HTTP+SSE: its stream closed.
    StreamClosed,
    /// It had been idle longest when a newcomer needed its place (`on_full: evict_idle`).
    Evicted,
}

impl EndReason {
    /// Every reason, each at its [`Self::index`].
    pub const ALL: [Self; 6] = [
        Self::ClientDelete,
        Self::UpstreamGone,
        Self::Idle,
        Self::Lifetime,
        Self::StreamClosed,
        Self::Evicted,
    ];

    /// The reason as metrics and logs spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientDelete => "client_delete",
            Self::UpstreamGone => "upstream_gone",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::StreamClosed => "stream_closed",
            Self::Evicted => "evicted",
        }
    }

    /// Whether the server gets a DELETE, where that is configured: the filter itself has ended the session, or the
    /// server has answered 404, which may have come from one replica of several.
    pub const fn is_told_to_the_server(self) -> bool {
        match self {
            Self::ClientDelete | Self::StreamClosed => false,
            Self::UpstreamGone | Self::Idle | Self::Lifetime | Self::Evicted => true,
        }
    }

    /// The index of the reason in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A session, as its record in a bucket holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The hash of its endpoint and id.
    pub key: SessionKey,
    /// The endpoint at which it was opened.
    pub endpoint: EndpointTag,
    /// The principal that opened it.
    pub owner: Owner,
    /// Its name in logs.
    pub digest: IdDigest,
    /// When the server's answer to `initialize` passed, or when the session was adopted.
    pub opened: Timestamp,
    /// The last use, or the end of the lease while there are leaseholders.
    pub(in crate::session) stamp: Timestamp,
    pub(in crate::session) leaseholders: Leaseholders,
    /// The id itself, if the DELETE or logs need it; otherwise empty.
    pub id: Vec<u8>,
    /// The DELETE for the server, sent if the filter ends the session; `None` if that is not configured.
    pub delete_request: Option<DeleteRequest>,
}

/// Bit set of the optional parts of a record, in the order in which they are stored. Most records have none of them.
#[derive(Clone, Copy)]
struct Parts(u8);

impl Parts {
    const OWNER: u8 = 1;
    const LEASEHOLDERS: u8 = 2;
    const ID: u8 = 4;
    const DELETE: u8 = 8;

    fn has(self, part: u8) -> bool {
        self.0 & part != 0
    }
}

impl Session {
    /// Bytes of the parts that every record has, with [`Parts`] at the end. Most records have no other parts.
    const FIXED_LEN: usize = SessionKey::LEN + 4 + 8 + 5 + 5 + 1;

    /// How many bytes the session at the beginning of `bytes` takes.
    pub(in crate::session) fn encoded_len(bytes: &[u8]) -> Option<usize> {
        let parts = Parts(*bytes.get(Self::FIXED_LEN - 1)?);
        let mut len = Self::FIXED_LEN;
        if parts.has(Parts::OWNER) {
            len += 8;
        }
        if parts.has(Parts::LEASEHOLDERS) {
            len += 1 + usize::from(*bytes.get(len)?) * Leaseholders::EACH_LEN;
        }
        if parts.has(Parts::ID) {
            let id_len = bytes.get(len..)?.first_chunk()?;
            len += 2 + usize::from(u16::from_le_bytes(*id_len));
        }
        if parts.has(Parts::DELETE) {
            len += DeleteRequest::encoded_len(bytes.get(len..)?)?;
        }
        Some(len)
    }

    pub(in crate::session) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut session = Self {
            key: SessionKey::from_bytes(reader.array()?),
            endpoint: EndpointTag::from_bytes(reader.array()?),
            digest: IdDigest(reader.array()?),
            opened: reader.timestamp()?,
            stamp: reader.timestamp()?,
            owner: Owner::UNKNOWN,
            leaseholders: Leaseholders::default(),
            id: Vec::new(),
            delete_request: None,
        };
        let parts = Parts(reader.u8()?);
        if parts.has(Parts::OWNER) {
            session.owner = Owner(reader.u64()?);
        }
        if parts.has(Parts::LEASEHOLDERS) {
            session.leaseholders = Leaseholders::read(reader)?;
        }
        if parts.has(Parts::ID) {
            let len = reader.u16()?;
            session.id = reader.bytes(usize::from(len))?.to_vec();
        }
        if parts.has(Parts::DELETE) {
            session.delete_request = Some(DeleteRequest::read(reader)?);
        }
        Some(session)
    }

    pub(in crate::session) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.endpoint.to_bytes());
        out.extend_from_slice(&self.digest.0);
        out.extend_from_slice(&timestamp_bytes(self.opened));
        out.extend_from_slice(&timestamp_bytes(self.stamp));
        let parts = self.parts();
        out.push(parts.0);
        if parts.has(Parts::OWNER) {
            out.extend_from_slice(&self.owner.0.to_le_bytes());
        }
        if parts.has(Parts::LEASEHOLDERS) {
            self.leaseholders.write(out);
        }
        if parts.has(Parts::ID) {
            put_long(out, &self.id);
        }
        if let Some(delete_request) = &self.delete_request {
            delete_request.write(out);
        }
    }

    fn parts(&self) -> Parts {
        let if_there = |is_there: bool, part: u8| if is_there { part } else { 0 };
        Parts(
            if_there(self.owner != Owner::UNKNOWN, Parts::OWNER)
                | if_there(!self.leaseholders.is_empty(), Parts::LEASEHOLDERS)
                | if_there(!self.id.is_empty(), Parts::ID)
                | if_there(self.delete_request.is_some(), Parts::DELETE),
        )
    }

    /// The session with a new stamp: its last use or, if there are leaseholders, the end of their lease.
    pub(in crate::session) fn stamped(mut self, stamp: Timestamp, leaseholders: Leaseholders) -> Self {
        self.stamp = stamp;
        self.leaseholders = leaseholders;
        self
    }

    /// The stamp and leaseholders after `root` has taken a lease at `now`.
    pub(in crate::session) fn leased_by(
        &self,
        root: RootTag,
        lifespans: Lifespans,
        now: Timestamp,
    ) -> (Timestamp, Leaseholders) {
        let others = if self.in_use(now) {
            self.leaseholders.clone()
        } else {
            Leaseholders::default()
        };
        (
            now.after(lifespans.lease()).max(self.stamp),
            others.joined_by(root),
        )
    }

    /// When the session ends if no further request uses it, and why.
    pub(in crate::session) fn due(&self, lifespans: Lifespans) -> (Timestamp, EndReason) {
        self.due_after(self.stamp, lifespans)
    }

    /// The same, for a session last used at `stamp`.
    fn due_after(&self, stamp: Timestamp, lifespans: Lifespans) -> (Timestamp, EndReason) {
        let idle = lifespans.idle.map_or(Timestamp::NEVER, |idle| {
            stamp
                .max(lifespans.idle_from)
                .after(idle)
                .after(lifespans.slack())
        });
        let lifetime = lifespans
            .lifetime
            .map_or(Timestamp::NEVER, |lifetime| self.opened.after(lifetime));
        if lifetime <= idle {
            (lifetime, EndReason::Lifetime)
        } else {
            (idle, EndReason::Idle)
        }
    }

    /// The earliest time at which the session may be due, seen at `now`: a leaseholder may give its lease back at any
    /// time.
    pub(in crate::session) fn earliest_due(&self, lifespans: Lifespans, now: Timestamp) -> Timestamp {
        self.due_after(self.last_use(now), lifespans).0
    }

    /// Why the session has outlived its time at `now`, if it has.
    pub(in crate::session) fn overdue(&self, lifespans: Lifespans, now: Timestamp) -> Option<EndReason> {
        let (due, reason) = self.due(lifespans);
        (due <= now).then_some(reason)
    }

    /// Whether a DELETE for the session is possible: the record keeps the id.
    pub(in crate::session) fn can_be_told(&self) -> bool {
        !self.id.is_empty()
    }

    /// The last use, or the end of a lease. It lies in the future while a root has a lease.
    pub fn stamp(&self) -> Timestamp {
        self.stamp
    }

    /// When the session was last used, by its record, seen at `now`.
    pub fn last_use(&self, now: Timestamp) -> Timestamp {
        self.stamp.min(now)
    }

    /// Whether a root has a lease on the session at `now`.
    pub fn in_use(&self, now: Timestamp) -> bool {
        !self.leaseholders.is_empty() && self.stamp > now
    }
}

/// A session that has just ended, for the counters and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSession {
    /// Its last record.
    pub session: Session,
    /// Why it ended.
    pub reason: EndReason,
    /// When it ended.
    pub at: Timestamp,
}

impl EndedSession {
    /// Whether a pending DELETE for the server is left.
    pub fn leaves_pending_delete(&self) -> bool {
        self.is_to_be_told() && self.session.can_be_told()
    }

    /// Whether the server should get a DELETE and never will, because the id was too long to be kept.
    pub fn is_never_told(&self) -> bool {
        self.is_to_be_told() && !self.session.can_be_told()
    }

    fn is_to_be_told(&self) -> bool {
        self.session.delete_request.is_some() && self.reason.is_told_to_the_server()
    }
}
