//! What a replica knows of one tenant: its keys, the highest position seen, its rate state.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::Semaphore;

use crate::{
    domain::names::TenantId,
    store::{
        call::MAX_WEIGHT,
        functions::{Function, KeyExtent},
        keys::{Key, KeyKind, Namespace, Partition, channel_behind},
        reservations::batcher::Traffic,
        tenants::{rate_state::RateState, stored_bytes::StoredBytes},
    },
};

/// Lists of a tenant that a replica reads whole at the same time: each may take half a second of Redis, in pieces, and 100 MB here.
const MAX_WHOLE_READS: usize = 2;

/// How long calls name the keys of tickets after Redis asked for it, in seconds.
const TICKETS_KNOWN_S: u64 = 300;

/// The beginning of this process' time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A tenant as a replica knows it: where its state is, the highest position seen, and the state of its rate.
#[derive(Debug)]
pub struct TenantHandle {
    tenant: TenantId,
    partition: Partition,
    /// The prefix of its keys. A key is put together where it is written, since a replica caches thousands of tenants.
    prefix: Box<str>,
    /// The number of its database, which the channel's name has.
    database: i64,
    latest: AtomicI64,
    /// The highest position that an evicted handle of the partition had; this tenant may have been that one.
    evicted_floor: i64,
    rate_state: RateState,
    stored: StoredBytes,
    /// Statistics by which its calls are batched.
    traffic: Traffic,
    /// Turns to read one of its lists whole.
    whole_reads: Semaphore,
    /// Turns of calls that keep Redis for long, by weight.
    turns: Semaphore,
    /// Until when calls name the keys of tickets, in seconds since [`START`]; 0: they do not.
    tickets_until_s: AtomicU64,
}

impl TenantHandle {
    /// The handle of a tenant of which nothing was seen yet, in the namespace of an installation that is alone.
    #[must_use]
    pub fn new(tenant: TenantId) -> Self {
        Self::within(&Namespace::default(), tenant)
    }

    /// The same within a namespace.
    #[must_use]
    pub fn within(namespace: &Namespace, tenant: TenantId) -> Self {
        let partition = Partition::of(&tenant);
        let prefix = format!("{}{tenant}:", namespace.partition_prefix(partition)).into();
        Self {
            tenant,
            partition,
            prefix,
            database: namespace.database(),
            latest: AtomicI64::new(0),
            evicted_floor: 0,
            rate_state: RateState::default(),
            stored: StoredBytes::default(),
            traffic: Traffic::default(),
            whole_reads: Semaphore::new(MAX_WHOLE_READS),
            turns: Semaphore::new(MAX_WEIGHT),
            tickets_until_s: AtomicU64::new(0),
        }
    }

    /// The same handle, of a tenant whose earlier handle may have been evicted: it was not seen above this position.
    pub(super) fn with_evicted_floor(self, position: i64) -> Self {
        Self { evicted_floor: position, ..self }
    }

    /// Turns to read one of its lists whole.
    pub(in crate::store) fn whole_reads(&self) -> &Semaphore {
        &self.whole_reads
    }

    /// Turns of calls that keep Redis for long, by weight.
    pub(in crate::store) fn turns(&self) -> &Semaphore {
        &self.turns
    }

    /// The tenant's id.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The tenant's partition.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The key of that kind.
    #[must_use]
    pub fn key(&self, kind: KeyKind) -> Key<'_> {
        Key::new(if kind.is_partitions() { self.partition_prefix() } else { &self.prefix }, kind)
    }

    /// The channel on which its events are published.
    #[must_use]
    pub fn channel(&self) -> String {
        channel_behind(self.partition_prefix(), self.database)
    }

    fn partition_prefix(&self) -> &str {
        &self.prefix[..self.prefix.len() - self.tenant.as_str().len() - 1]
    }

    /// The keys of a function, in its order, for a tenant of which `has_definitions` is known.
    pub(in crate::store) fn keys_of(
        &self,
        function: &'static Function,
        has_definitions: bool,
    ) -> impl Iterator<Item = Key<'_>> + Clone {
        let extent = match (self.has_tickets(), has_definitions) {
            (true, _) => KeyExtent::Waiting,
            (false, true) => KeyExtent::Defined,
            (false, false) => KeyExtent::Plain,
        };
        function.keys_for(extent).map(|kind| self.key(kind))
    }

    /// Whether calls name the keys of tickets: for some minutes after Redis asked for it.
    fn has_tickets(&self) -> bool {
        let until_s = self.tickets_until_s.load(Ordering::Relaxed);
        until_s > 0 && START.elapsed().as_secs() < until_s
    }

    /// Notes that somebody waits, or did a little while ago.
    pub(in crate::store) fn note_tickets(&self) {
        self.tickets_until_s.store(START.elapsed().as_secs() + TICKETS_KNOWN_S, Ordering::Relaxed);
    }

    /// Every key that belongs to this tenant alone.
    pub fn own_keys(&self) -> impl Iterator<Item = Key<'_>> {
        KeyKind::ALL.iter().filter(|kind| kind.is_tenants_own()).map(|kind| self.key(*kind))
    }

    /// The state of the tenant's rate, as Redis last reported it.
    #[must_use]
    pub fn rate_state(&self) -> &RateState {
        &self.rate_state
    }

    /// How much it stores, as far as this replica has looked.
    #[must_use]
    pub fn stored(&self) -> &StoredBytes {
        &self.stored
    }

    /// Statistics by which its calls are batched.
    pub(in crate::store) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The floor that functions are given, so that positions only grow: the highest position seen. A negative floor is a bound: an evicted
    /// handle of the tenant may have seen a higher position, of at most this much.
    #[must_use]
    pub fn floor(&self) -> i64 {
        let latest = self.latest();
        if latest < self.evicted_floor { -self.evicted_floor } else { latest }
    }

    /// The highest position that this handle, or an evicted one of the tenant, may have seen.
    pub(super) fn highest_seen(&self) -> i64 {
        self.latest().max(self.evicted_floor)
    }

    /// The highest position seen of this tenant.
    #[must_use]
    pub fn latest(&self) -> i64 {
        self.latest.load(Ordering::Relaxed)
    }

    /// Notes a position that was seen; a lower one than before changes nothing.
    pub fn note_position(&self, position: i64) {
        self.latest.fetch_max(position, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_only_grows() {
        let handle = TenantHandle::new(TenantId::random());
        handle.note_position(7);
        handle.note_position(5);
        assert_eq!(handle.floor(), 7);
    }
}
