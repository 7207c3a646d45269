//! The names of keys, and which partition a tenant lives in. The data model is described in `lua/README.md`.

use std::{
    fmt,
    io::Write,
    sync::{Arc, LazyLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::{RedisWrite, ToRedisArgs, ToSingleRedisArg};
use sha2::{Digest, Sha256};

use crate::{domain::names::TenantId, redis::Arguments};

/// Number of partitions that the tenants are spread over. Part of the data layout: changing it is a migration.
pub const PARTITIONS: u16 = 128;
/// Hash slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// A partition of the tenants: one hash slot, one channel, one index of deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u16);

impl Partition {
    /// All partitions.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    /// The partition of a tenant: a hash of its id, so it never changes.
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

    /// The hash tag of its keys.
    pub(super) fn tag(self) -> &'static str {
        &TAGS[self.number()]
    }
}

/// Where the data of one installation stands in a Redis that others may use, too: behind a prefix, in a database.
///
/// Databases separate keys but not channels, so a channel's name has both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    prefix: Arc<str>,
    database: i64,
}

/// The prefix of keys and channels where no other is set.
const DEFAULT_PREFIX: &str = "hf";

impl Default for Namespace {
    fn default() -> Self {
        Self::new(DEFAULT_PREFIX, 0)
    }
}

impl Namespace {
    /// The data behind `prefix` in the database of that number.
    #[must_use]
    pub fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.into(), database }
    }

    /// The number of the database.
    pub(super) fn database(&self) -> i64 {
        self.database
    }

    /// What all keys and channels begin with, as a pattern.
    pub(super) fn pattern(&self) -> String {
        format!("{}:*", self.prefix)
    }

    /// What a partition's keys begin with.
    pub(super) fn partition_prefix(&self, partition: Partition) -> String {
        format!("{}:{{{}}}:", self.prefix, partition.tag())
    }

    /// The channel on which the events of a partition's tenants are published.
    #[must_use]
    pub fn channel(&self, partition: Partition) -> String {
        channel_behind(&self.partition_prefix(partition), self.database)
    }

    /// The index of a partition's tenants by their earliest deadline.
    #[must_use]
    pub fn due(&self, partition: Partition) -> String {
        Key::new(&self.partition_prefix(partition), KeyKind::Due).to_string()
    }

    /// The replicas that have streams of a partition's tenants, with the time until which each counts as alive.
    #[must_use]
    pub fn replicas(&self, partition: Partition) -> String {
        Key::new(&self.partition_prefix(partition), KeyKind::Replicas).to_string()
    }

    /// The directory's entry of a credential, by its hash; it holds the tenant's id.
    pub(super) fn credential_entry(&self, hash: &str) -> String {
        format!("{}:key:{hash}", self.prefix)
    }

    /// The directory's entry of a pair of issuer and audience; it holds the id of the tenant that registered it.
    pub(super) fn issuer_entry(&self, issuer: &str, audience: &str) -> String {
        // Lengths first, so that no two pairs read the same.
        let hash = Sha256::digest(format!("{}:{issuer}{audience}", issuer.len()).as_bytes());
        format!("{}:issuer:{}", self.prefix, URL_SAFE_NO_PAD.encode(hash))
    }

    /// Every connection that has a broker to watch: `tenant/connection`.
    pub(super) fn connections(&self) -> String {
        format!("{}:connections", self.prefix)
    }

    /// All tenants' ids, in their order.
    pub(super) fn tenants(&self) -> String {
        format!("{}:tenants", self.prefix)
    }
}

/// The channel of the partition whose keys begin with `prefix`.
pub(super) fn channel_behind(prefix: &str, database: i64) -> String {
    format!("{prefix}events:{database}")
}

/// One hash tag per partition, chosen so that partitions are spread evenly over a cluster's slots: tag `i` falls into the `i`th of 128
/// equal ranges. The numbers 0 to 127 themselves would give some nodes nearly twice as many partitions as others.
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

/// Whose a kind of key is: which prefix it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// One tenant's own: `prefix:{tag}:tenant:kind`.
    Tenant,
    /// Shared by the tenants of a partition: `prefix:{tag}:kind`.
    Partition,
    /// An entry of the directory, in a slot of its own: see [`Namespace::issuer_entry`].
    Directory,
}

macro_rules! key_kinds {
    ($($kind:ident $name:literal $owner:ident;)*) => {
        /// The kinds of keys, as the data model in `lua/README.md` names them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "lua/README.md describes each")]
        pub enum KeyKind { $($kind),* }

        impl KeyKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name, which is the last part of the key.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            const fn owner(self) -> Owner {
                match self { $(Self::$kind => Owner::$owner),* }
            }
        }
    };
}

key_kinds! {
    Meta "meta" Tenant;
    Held "held" Tenant;
    Deadlines "deadlines" Tenant;
    History "history" Tenant;
    Keys "keys" Tenant;
    Used "used" Tenant;
    Sessions "sessions" Tenant;
    Definitions "definitions" Tenant;
    Index "index" Tenant;
    Slots "slots" Tenant;
    Lines "lines" Tenant;
    Tickets "tickets" Tenant;
    TicketEnds "ticket_ends" Tenant;
    Links "links" Tenant;
    Streams "streams" Tenant;
    Companies "companies" Tenant;
    CompanyIds "company_ids" Tenant;
    Dedupe "dedupe" Tenant;
    Connections "connections" Tenant;
    Watches "watches" Tenant;
    Cursors "cursors" Tenant;
    Jobs "jobs" Tenant;
    JobDetails "job_details" Tenant;
    JobsCreated "jobs_created" Tenant;
    JobsOpen "jobs_open" Tenant;
    JobsFinished "jobs_finished" Tenant;
    Workers "workers" Tenant;
    Beats "beats" Tenant;
    Absent "absent" Tenant;
    Queues "queues" Tenant;
    QueuesSeen "queues_seen" Tenant;
    Counts "counts" Tenant;
    Due "due" Partition;
    Replicas "replicas" Partition;
    Issuer "issuer" Directory;
}

impl KeyKind {
    /// Whether the key belongs to one tenant alone.
    pub(super) fn is_tenants_own(self) -> bool {
        self.owner() == Owner::Tenant
    }

    /// Whether all tenants of a partition share the key.
    pub(super) fn is_partitions(self) -> bool {
        self.owner() == Owner::Partition
    }
}

/// A key: a prefix, and the name of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    prefix: &'a str,
    kind: &'a str,
}

impl<'a> Key<'a> {
    /// The key of that kind behind a prefix.
    pub(super) fn new(prefix: &'a str, kind: KeyKind) -> Self {
        Self { prefix, kind: kind.name() }
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(whole: &'a str) -> Self {
        Self { prefix: whole, kind: "" }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}{}", self.prefix, self.kind)
    }
}

impl ToRedisArgs for Key<'_> {
    fn write_redis_args<W: RedisWrite + ?Sized>(&self, out: &mut W) {
        let mut to = out.writer_for_next_arg();
        // Writing to memory cannot fail.
        let _ = to.write_all(self.prefix.as_bytes()).and_then(|()| to.write_all(self.kind.as_bytes()));
    }
}

impl ToSingleRedisArg for Key<'_> {}

impl Key<'_> {
    /// Adds it to a command.
    pub(super) fn write(self, to: &mut dyn Arguments) {
        to.add(self.prefix.as_bytes(), self.kind.as_bytes());
    }
}

/// A connection's member in the set of those that have a broker.
pub(super) fn watched_entry(tenant: &TenantId, connection: &str) -> String {
    format!("{tenant}/{connection}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::TenantHandle;

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
        let handle = TenantHandle::new(TenantId::random());
        let tag = format!("{{{}}}", handle.partition().tag());
        assert!(handle.own_keys().all(|key| key.to_string().contains(&tag)));
        assert!(handle.channel().contains(&tag));
    }

    #[test]
    fn no_two_installations_share_a_key_or_a_channel() {
        let names = |namespace: &Namespace| {
            let (tenant, partition) = (TenantId::default_tenant(), Partition::of(&TenantId::default_tenant()));
            let handle = TenantHandle::within(namespace, tenant);
            assert_eq!(handle.channel(), namespace.channel(partition));
            assert_eq!(handle.key(KeyKind::Due).to_string(), namespace.due(partition));
            let mut keys: Vec<_> = KeyKind::ALL.iter().map(|kind| handle.key(*kind).to_string()).collect();
            keys.extend([namespace.credential_entry("h"), namespace.issuer_entry("i", "a"), namespace.connections()]);
            (keys, namespace.channel(partition))
        };
        let (ours, on_another_database) = (names(&Namespace::default()), names(&Namespace::new("hf", 1)));
        let with_another_prefix = names(&Namespace::new("blue", 0));
        assert_ne!(ours.1, on_another_database.1);
        assert_ne!(ours.1, with_another_prefix.1);
        assert!(ours.0.iter().all(|key| !with_another_prefix.0.contains(key)));
    }
}
