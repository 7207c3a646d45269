//! The names of keys, and which partition a tenant lives in. The data model is described in `lua/README.md`.

use std::{
    fmt,
    io::Write,
    sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::{RedisWrite, ToRedisArgs, ToSingleRedisArg};
use sha2::{Digest, Sha256};

use crate::{
    domain::names::TenantId,
    store::{redis::resp::Arguments, scripts::Script, tenants::rate_state::RateState},
};

/// How many parts the tenants are spread over. Part of the data layout: changing it is a migration.
pub const PARTITIONS: u16 = 128;
/// Hash slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// One of the parts that tenants are spread over: one hash slot, one channel, one index of deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u16);

impl Partition {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    /// Where a tenant lives, for good: by its name alone.
    #[must_use]
    pub fn of(tenant: &TenantId) -> Self {
        let hash = Sha256::digest(tenant.as_str().as_bytes());
        Self(u16::from_be_bytes([hash[0], hash[1]]) % PARTITIONS)
    }

    /// Its number, 0 to 127.
    #[must_use]
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    fn tag(self) -> &'static str {
        &TAGS[self.number()]
    }

    /// Where its tenants' events are published.
    #[must_use]
    pub fn channel(self) -> String {
        format!("hf:{{{}}}:events", self.tag())
    }

    /// The index of its tenants by their earliest deadline.
    #[must_use]
    pub fn due(self) -> String {
        format!("hf:{{{}}}:due", self.tag())
    }

    /// The replicas that have streams of its tenants, by when they count as alive.
    #[must_use]
    pub fn replicas(self) -> String {
        format!("hf:{{{}}}:replicas", self.tag())
    }
}

/// One hash tag per partition, chosen so that partitions lie evenly over a cluster's slots: tag `i` falls into the `i`th of
/// 128 equal ranges. Plain numbers would give some nodes nearly twice as many partitions as others.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tags = vec![String::new(); usize::from(PARTITIONS)];
    let mut missing = tags.len();
    let mut candidate = 0_u32;
    while missing > 0 {
        let text = candidate.to_string();
        let tag = &mut tags[usize::from(slot(text.as_bytes()) / (SLOTS / PARTITIONS))];
        if tag.is_empty() {
            *tag = text;
            missing -= 1;
        }
        candidate += 1;
    }
    tags
});

/// The cluster's hash slot of a key without braces: CRC16 (XMODEM) modulo 16,384, as the Redis Cluster specification has it.
fn slot(key: &[u8]) -> u16 {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    });
    crc % SLOTS
}

/// Where a tenant's state lives, the highest position that this replica has seen of it, and how fast the tenant goes.
#[derive(Debug)]
pub struct TenantHandle {
    tenant: TenantId,
    partition: Partition,
    /// What its keys begin with: they are put together where they are written, for a replica remembers many tenants.
    prefix: Box<str>,
    latest: AtomicI64,
    /// The tenant may have been seen before and been forgotten; then at this position at most.
    forgotten: i64,
    pace: RateState,
}

/// The kinds of keys that a tenant has, by the names that the scripts' headers give them.
const TENANT_KEYS: [&str; 31] = [
    "meta",
    "held",
    "deadlines",
    "history",
    "keys",
    "used",
    "sessions",
    "definitions",
    "pools",
    "slots",
    "uses",
    "tree",
    "links",
    "streams",
    "companies",
    "company_ids",
    "dedupe",
    "connections",
    "watches",
    "cursors",
    "jobs",
    "job_details",
    "jobs_created",
    "jobs_open",
    "jobs_finished",
    "workers",
    "beats",
    "absent",
    "queues",
    "queues_seen",
    "counts",
];

/// The kinds of keys that a partition's tenants share.
const PARTITION_KEYS: [&str; 2] = ["due", "replicas"];

/// A key, in its two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    begin: &'a str,
    kind: &'a str,
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(whole: &'a str) -> Self {
        Self { begin: whole, kind: "" }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}{}", self.begin, self.kind)
    }
}

impl ToRedisArgs for Key<'_> {
    fn write_redis_args<W: RedisWrite + ?Sized>(&self, out: &mut W) {
        let mut to = out.writer_for_next_arg();
        // Writing to memory cannot fail.
        let _ = to.write_all(self.begin.as_bytes()).and_then(|()| to.write_all(self.kind.as_bytes()));
    }
}

impl ToSingleRedisArg for Key<'_> {}

impl Key<'_> {
    /// Adds it to a call.
    pub(super) fn write(self, to: &mut dyn Arguments) {
        to.add(self.begin.as_bytes(), self.kind.as_bytes());
    }
}

impl TenantHandle {
    /// The place of a tenant of which nothing was seen yet.
    #[must_use]
    pub fn new(tenant: TenantId) -> Self {
        let partition = Partition::of(&tenant);
        let prefix = format!("hf:{{{}}}:{tenant}:", partition.tag()).into();
        Self { tenant, partition, prefix, latest: AtomicI64::new(0), forgotten: 0, pace: RateState::default() }
    }

    /// The place of a tenant of which everything was forgotten but that it was not seen above this position.
    pub(super) fn forgotten_at(self, position: i64) -> Self {
        Self { forgotten: position, ..self }
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The key of that kind, as the scripts' headers call it.
    #[must_use]
    pub fn key<'a>(&'a self, kind: &'a str) -> Key<'a> {
        let shared = PARTITION_KEYS.contains(&kind);
        let begin =
            if shared { &self.prefix[..self.prefix.len() - self.tenant.as_str().len() - 1] } else { &self.prefix };
        Key { begin, kind }
    }

    /// The keys of a script, in its order.
    pub(super) fn keys_of(&self, script: &'static Script) -> impl ExactSizeIterator<Item = Key<'_>> + Clone {
        script.keys.iter().map(|kind| self.key(kind))
    }

    /// Every key that belongs to this tenant alone.
    pub fn own_keys(&self) -> impl Iterator<Item = Key<'_>> {
        TENANT_KEYS.into_iter().map(|kind| self.key(kind))
    }

    /// How fast the tenant has been going.
    #[must_use]
    pub fn pace(&self) -> &RateState {
        &self.pace
    }

    /// What scripts are given, so that positions only grow: the highest position seen. Below 0: the tenant may have been seen at a higher one
    /// that was forgotten, which was at most so much.
    #[must_use]
    pub fn floor(&self) -> i64 {
        let latest = self.latest();
        if latest < self.forgotten { -self.forgotten } else { latest }
    }

    /// The highest position that may have been seen of it, now or before it was forgotten.
    pub(super) fn floor_to_keep(&self) -> i64 {
        self.latest().max(self.forgotten)
    }

    /// The highest position seen of this tenant.
    #[must_use]
    pub fn latest(&self) -> i64 {
        self.latest.load(Ordering::Relaxed)
    }

    /// Notes a position that was seen.
    pub fn seen(&self, position: i64) {
        self.latest.fetch_max(position, Ordering::Relaxed);
    }
}

/// The directory's entry for a key's hash: which tenant, so that its state can be asked.
pub(super) fn directory(hash: &str) -> String {
    format!("hf:key:{hash}")
}

/// The directory's entry for a pair of issuer and audience: which tenant registered it.
pub(super) fn issuer_entry(issuer: &str, audience: &str) -> String {
    // Lengths first, so that no two pairs read the same.
    let hash = Sha256::digest(format!("{}:{issuer}{audience}", issuer.len()).as_bytes());
    format!("hf:issuer:{}", URL_SAFE_NO_PAD.encode(hash))
}

/// Every connection that has a broker to be watched: `tenant/connection`.
pub(super) const CONNECTIONS: &str = "hf:connections";

/// A connection in that set.
pub(super) fn watched_entry(tenant: &TenantId, connection: &str) -> String {
    format!("{tenant}/{connection}")
}

/// All tenants' ids, in order.
pub(super) const TENANTS: &str = "hf:tenants";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_the_one_of_the_specification() {
        // The check value of CRC16/XMODEM, as the Redis Cluster specification gives it.
        assert_eq!(slot(b"123456789"), 0x31C3 % SLOTS);
    }

    #[test]
    fn tags_lie_evenly_over_the_slots() {
        for (at, tag) in TAGS.iter().enumerate() {
            assert_eq!(usize::from(slot(tag.as_bytes()) / 128), at);
        }
    }

    #[test]
    fn all_keys_of_a_tenant_share_its_partitions_tag() {
        let place = TenantHandle::new(TenantId::random());
        let tag = format!("{{{}}}", place.partition().tag());
        assert!(place.own_keys().all(|key| key.to_string().contains(&tag)));
        assert!(place.partition().channel().contains(&tag));
    }

    #[test]
    fn the_floor_only_grows() {
        let place = TenantHandle::new(TenantId::random());
        place.seen(7);
        place.seen(5);
        assert_eq!(place.floor(), 7);
    }
}
