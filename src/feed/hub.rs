//! The hub of a replica: its channels, and what its threads share to fill them and to serve their streams.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    domain::names::TenantId,
    feed::{
        buffer::memory_budget::MemoryBudget,
        delivery::{channel::Channel, history::HistoryPages, live_stream::Snapshot, shard::Shard},
        holds::Holds,
        live_only::LiveOnly,
        single_flight::SingleFlight,
        stream_slots::StreamSlots,
    },
    redis::Subscription,
    store::{HeadQuery, Partition, Stamped, Store, StoreError, TenantHandle},
    sync::lock,
};

/// A channel and its partition's subscription are kept this long after the last stream has ended.
const LINGER: Duration = Duration::from_secs(30);
/// Interval of evicting what is old and unused.
const EVICTION_INTERVAL: Duration = Duration::from_secs(10);
/// A verified credential, or a snapshot, is shared by streams that open within this time, so that a storm of streams
/// asks once. A revocation that arrives ends it at once.
const SHARED_TTL: Duration = Duration::from_millis(250);

/// State that all runtimes and the subscription's thread share.
#[derive(Debug)]
pub(super) struct Hub {
    /// Channels of tenants' events.
    channels: Mutex<HashMap<TenantId, Arc<Channel>>>,
    /// Channels of the queue monitor's connections.
    live_channels: Mutex<HashMap<(TenantId, Uuid), Arc<Channel>>>,
    pub(super) shards: Vec<Arc<Shard>>,
    subscription: OnceLock<Subscription>,
    /// Store of the runtime that made the hub, for its own tasks.
    pub(super) store: Store,
    /// Runtime of these tasks.
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) pages: Arc<HistoryPages>,
    /// Verified credentials, by tenant and credential, with the position at which they were verified.
    verified: SingleFlight<(TenantId, Option<String>), Stamped<()>>,
    snapshots: SingleFlight<(TenantId, Uuid), Arc<Snapshot>>,
    pub(super) slots: Arc<StreamSlots>,
    /// Held calls.
    pub(super) holds: Arc<Holds>,
    /// Which messages of what is live only have arrived.
    pub(super) live_only: LiveOnly,
    followed: SingleFlight<TenantId, ()>,
    budget: MemoryBudget,
    /// Channels with new frames that are not written yet.
    pub(super) dirty: Mutex<Vec<Arc<Channel>>>,
    /// When the subscription broke, while it is broken.
    pub(super) disconnected_since: Mutex<Option<DateTime<Utc>>>,
    /// Notified when the subscription is complete again.
    pub(super) resubscribed: Notify,
    /// Of partitions of which a comparison found events missing: how many in a row did, with no message of the partition in between.
    missed: Mutex<HashMap<Partition, u32>>,
    /// Whether there are any, so that messages need no lock where there are none.
    has_missed: AtomicBool,
}

impl Hub {
    /// A hub for this number of runtimes, whose own tasks run on the present one.
    pub(super) fn new(store: Store, runtimes: usize) -> Arc<Self> {
        Arc::new(Self {
            channels: Mutex::default(),
            live_channels: Mutex::default(),
            shards: (0..runtimes).map(|number| Arc::new(Shard::new(number))).collect(),
            subscription: OnceLock::new(),
            runtime: tokio::runtime::Handle::current(),
            pages: Arc::new(HistoryPages::new()),
            verified: SingleFlight::new(SHARED_TTL),
            snapshots: SingleFlight::new(SHARED_TTL),
            slots: StreamSlots::new(),
            holds: Arc::default(),
            live_only: LiveOnly::default(),
            followed: SingleFlight::new(SHARED_TTL),
            budget: MemoryBudget::new(),
            dirty: Mutex::default(),
            disconnected_since: Mutex::default(),
            resubscribed: Notify::new(),
            missed: Mutex::default(),
            has_missed: AtomicBool::new(false),
            store,
        })
    }

    /// Sets the subscription, whose callback needs the hub first.
    pub(super) fn set_subscription(&self, subscription: Subscription) {
        let _ = self.subscription.set(subscription);
    }

    /// Subscribes to a tenant's partition, and returns once its notifications arrive.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when Redis cannot be reached in time.
    pub(super) async fn subscribe(&self, tenant_handle: &TenantHandle) -> Result<(), StoreError> {
        match self.subscription.get() {
            Some(subscription) => subscription.subscribe(&tenant_handle.channel()).await.map_err(Into::into),
            None => Err(StoreError::Unreachable),
        }
    }

    /// Whether the notifications of a tenant's partition arrive: whatever is published from now on will.
    pub(super) fn listens(&self, tenant_handle: &TenantHandle) -> bool {
        self.subscription.get().is_some_and(|subscription| subscription.listens(&tenant_handle.channel()))
    }

    /// Waits until everything has been applied that was published before; whether that is so.
    pub(super) async fn settle(&self) -> bool {
        match self.subscription.get() {
            Some(subscription) => subscription.settle().await,
            None => false,
        }
    }

    /// Makes the subscription anew: its connection answers, and delivers nothing.
    pub(super) fn renew_subscription(&self) {
        self.subscription.get().iter().for_each(|subscription| subscription.renew());
    }

    /// Notes that a comparison found events of a partition missing; how many in a row did since the last message of it.
    pub(super) fn note_missed(&self, partition: Partition) -> u32 {
        let mut missed = lock(&self.missed);
        let count = missed.entry(partition).or_default();
        *count += 1;
        self.has_missed.store(true, Ordering::Relaxed);
        *count
    }

    /// Notes that a message of a partition came. `partition` is asked only where that matters.
    pub(super) fn note_message(&self, partition: impl FnOnce() -> Option<Partition>) {
        if self.has_missed.load(Ordering::Relaxed)
            && let Some(partition) = partition()
        {
            let mut missed = lock(&self.missed);
            missed.remove(&partition);
            self.has_missed.store(!missed.is_empty(), Ordering::Relaxed);
        }
    }

    /// Forgets what was missed: the subscription is another one.
    pub(super) fn forget_missed(&self) {
        let mut missed = lock(&self.missed);
        missed.clear();
        self.has_missed.store(false, Ordering::Relaxed);
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Channel>>> {
        lock(&self.channels)
    }

    fn live_channels(&self) -> MutexGuard<'_, HashMap<(TenantId, Uuid), Arc<Channel>>> {
        lock(&self.live_channels)
    }

    /// The channels of both kinds.
    pub(super) fn all_channels(&self) -> Vec<Arc<Channel>> {
        let mut all: Vec<_> = self.channels().values().cloned().collect();
        all.extend(self.live_channels().values().cloned());
        all
    }

    /// A tenant's channel, made if there is none.
    pub(super) fn channel(&self, tenant_handle: &Arc<TenantHandle>) -> Arc<Channel> {
        self.channels()
            .entry(tenant_handle.tenant().clone())
            .or_insert_with(|| Arc::new(Channel::new(tenant_handle.clone(), self.shards.len(), self.budget.clone())))
            .clone()
    }

    /// A connection's channel, made if there is none.
    pub(super) fn live_channel(&self, tenant_handle: &Arc<TenantHandle>, connection: Uuid) -> Arc<Channel> {
        self.live_channels()
            .entry((tenant_handle.tenant().clone(), connection))
            .or_insert_with(|| Arc::new(Channel::live(tenant_handle.clone(), self.shards.len(), self.budget.clone())))
            .clone()
    }

    /// A tenant's channel, if there is one.
    pub(super) fn find_channel(&self, tenant: &str) -> Option<Arc<Channel>> {
        self.channels().get(tenant).cloned()
    }

    /// A connection's channel, if there is one that has subscribers.
    pub(super) fn find_live_channel(&self, tenant: TenantId, connection: Uuid) -> Option<Arc<Channel>> {
        self.live_channels().get(&(tenant, connection)).filter(|channel| channel.subscribers() > 0).cloned()
    }

    /// The connections' channels that `wanted` selects. It is called under the map's lock.
    pub(super) fn select_live_channels(
        &self,
        wanted: impl Fn(&TenantId, &Channel) -> bool,
    ) -> Vec<(Uuid, Arc<Channel>)> {
        self.live_channels()
            .iter()
            .filter(|((tenant, _), channel)| wanted(tenant, channel))
            .map(|((_, connection), channel)| (*connection, channel.clone()))
            .collect()
    }

    /// Verifies a credential, or shares a verification that has just been made by `verify`.
    ///
    /// # Errors
    /// Those of `verify`.
    pub(super) async fn verified(
        &self,
        tenant: &TenantId,
        credential: Option<String>,
        verify: impl Future<Output = Result<Stamped<()>, StoreError>>,
    ) -> Result<Stamped<()>, StoreError> {
        self.verified.get(&(tenant.clone(), credential), verify).await
    }

    /// Verifies every credential anew from now on: revocations may have been missed.
    pub(super) fn forget_verified(&self) {
        self.verified.forget_all();
    }

    /// Has it noticed from now on where something of a tenant is lost that is live only.
    ///
    /// # Errors
    /// As [`Store::heads`].
    pub(super) async fn follow_live_only(&self, store: &Store, of: &Arc<TenantHandle>) -> Result<(), StoreError> {
        if self.live_only.number(of.tenant()).is_some() {
            return Ok(());
        }
        let read = async {
            let heads = store.heads(&[HeadQuery { tenant_handle: of.clone(), credentials: Vec::new() }]).await?;
            heads.iter().for_each(|head| self.live_only.follow(of.tenant(), head.number));
            Ok(())
        };
        self.followed.get(of.tenant(), read).await
    }

    /// A connection's queues and workers, read once for streams that open at the same time.
    ///
    /// # Errors
    /// As [`Store::standing`].
    pub(super) async fn snapshot(
        &self,
        store: &Store,
        tenant_handle: &TenantHandle,
        connection: Uuid,
    ) -> Result<Arc<Snapshot>, StoreError> {
        let read = async {
            let (queues, workers) = store.connection_snapshot(tenant_handle, connection).await?;
            Ok::<_, StoreError>(Arc::new(Snapshot { queues, workers }))
        };
        self.snapshots.get(&(tenant_handle.tenant().clone(), connection), read).await
    }

    /// Ends a tenant's streams: those of one credential, or, when the tenant is gone, all. `channel` is the channel
    /// that the caller knows of.
    pub(super) fn end_streams(&self, tenant: &TenantId, channel: Option<&Arc<Channel>>, credential: Option<&str>) {
        match credential {
            Some(credential) => self.verified.forget(&(tenant.clone(), Some(credential.to_owned()))),
            None => {
                self.verified.forget_all();
                self.channels().remove(tenant);
            }
        }
        channel.iter().for_each(|channel| channel.end_streams(credential));
        let live_channels = self.select_live_channels(|of, _| of == tenant);
        live_channels.iter().for_each(|(_, channel)| channel.end_streams(credential));
    }

    /// Queues a channel on one shard; notes in `woken` that the shard is to be woken.
    pub(super) fn enqueue_on(&self, shard: &Shard, channel: &Arc<Channel>, woken: &mut HashSet<usize>) {
        if channel.mark_queued(shard.number) {
            shard.enqueue(channel);
            woken.insert(shard.number);
        }
    }

    /// Queues channels on every shard with subscribers, and wakes these.
    pub(super) fn notify<'a>(&self, channels: impl IntoIterator<Item = &'a Arc<Channel>>) {
        self.evict_if_exhausted();
        let mut woken = HashSet::new();
        for channel in channels {
            self.shards.iter().for_each(|shard| self.enqueue_on(shard, channel, &mut woken));
        }
        self.wake(woken);
    }

    pub(super) fn wake(&self, woken: HashSet<usize>) {
        woken.into_iter().for_each(|number| self.shards[number].wake());
    }

    /// Evicts the oldest frames of all rings when these exceed the memory budget. Streams that still want them read
    /// from the history.
    pub(super) fn evict_if_exhausted(&self) {
        if self.budget.is_exhausted() {
            let (now, channels) = (Instant::now(), self.all_channels());
            let mut evicted = 0;
            self.budget.evict(|age| {
                evicted += channels.iter().map(|channel| channel.ring().evict_older(now, age)).sum::<usize>()
            });
            metrics::counter!("holdfast_stream_frames_shed_total").increment(evicted as u64);
        }
    }

    /// Evicts unused channels, old frames and unused subscriptions, until the replica ends.
    pub(super) async fn run_eviction(self: Arc<Self>) {
        let mut unused_since: HashMap<TenantId, Instant> = HashMap::new();
        loop {
            tokio::time::sleep(EVICTION_INTERVAL).await;
            self.evict_unused(&mut unused_since, Instant::now());
        }
    }

    fn evict_unused(&self, unused_since: &mut HashMap<TenantId, Instant>, now: Instant) {
        let channels: Vec<_> =
            self.channels().iter().map(|(tenant, channel)| (tenant.clone(), channel.clone())).collect();
        for (tenant, channel) in &channels {
            channel.evict_old(now);
            if channel.subscribers() > 0 {
                unused_since.remove(tenant);
            } else {
                unused_since.entry(tenant.clone()).or_insert(now);
            }
        }
        drop(channels);
        let mut channels = self.channels();
        channels.retain(|tenant, channel| {
            let is_expired = unused_since.get(tenant).is_some_and(|since| now.duration_since(*since) >= LINGER);
            // A count above one: a stream is being opened, or a repair is under way.
            !is_expired || channel.subscribers() > 0 || Arc::strong_count(channel) > 1
        });
        unused_since.retain(|tenant, _| channels.contains_key(tenant));
        let mut tenants: HashSet<_> = channels.keys().cloned().collect();
        let mut partitions: HashSet<_> = channels.values().map(|channel| channel.tenant_handle.partition()).collect();
        drop(channels);
        let mut live_channels = self.live_channels();
        live_channels.values().for_each(|channel| channel.evict_old(now));
        live_channels.retain(|_, channel| channel.subscribers() > 0 || Arc::strong_count(channel) > 1);
        tenants.extend(live_channels.keys().map(|(tenant, _)| tenant.clone()));
        partitions.extend(live_channels.values().map(|channel| channel.tenant_handle.partition()));
        drop(live_channels);
        self.live_only.retain(|tenant| tenants.contains(tenant));
        let channel_of = |partition| self.store.namespace().channel(partition);
        let needed: HashSet<_> = partitions.into_iter().map(channel_of).collect();
        let with_holds = || needed.into_iter().chain(self.holds.partitions().into_iter().map(channel_of)).collect();
        if let Some(subscription) = self.subscription.get() {
            subscription.retain(with_holds);
        }
    }
}
