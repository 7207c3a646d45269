//! Carries what scripts tell to those who listen: one subscription per replica, one ring of ready frames per tenant, one cursor
//! per reader.
//!
//! An event is encoded once per replica. What a replica did not hear it reads from the history; what the history does not have any
//! more, readers are told. A reader that is slow only lags behind, and nobody waits for it.

mod buffer;
mod delivery;
mod dispatch;
mod gap_repair;
mod single_flight;
mod stream_slots;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    domain::names::TenantId,
    store::{Caller, LimitReached, Limited, Stamped, Store, StoreError, StreamKind, Subscription, TenantHandle},
};

pub use buffer::filter::{Filter, split_list};
pub use buffer::frame::{About, Frame, Reason};
pub use delivery::live_stream::{LiveEntry, LiveReader};
pub use delivery::stream::{Piece, Reader, Start};
pub use delivery::subscriber::ChunkSink;

use buffer::memory_budget::MemoryBudget;
use delivery::channel::{Channel, Page};
use delivery::{live_stream, shard::Shard};
use single_flight::SingleFlight;
use stream_slots::{StreamSlot, StreamSlots};

/// How long a partition stays subscribed after its last reader here has left.
const LINGER: Duration = Duration::from_secs(30);
/// How often old frames are let go.
const TIDY: Duration = Duration::from_secs(10);
/// How many entries of the history are read at once: as many events, or, of batches, up to 32 times as many.
const PAGE: usize = 256;
/// How long a page of the history is remembered: it does not change, so this only bounds what it costs.
const PAGE_KEPT: Duration = Duration::from_secs(1);
/// How long a credential counts as proved for one stream more: a storm of streams proves it once. A revocation that was heard ends
/// this at once.
const PROOF_KEPT: Duration = Duration::from_millis(250);
/// How long a new stream waits for what Redis has told already but this replica has not heard.
const CATCH_UP: Duration = Duration::from_millis(500);
/// How long a replica that leaves waits for Redis to take back the places of its streams.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a new stream waits until anything is known of its tenant.
const PRIME: Duration = Duration::from_secs(3);

/// The replica's streams as one runtime sees them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    hub: Arc<Hub>,
    shard: Arc<Shard>,
}

/// What the runtimes share.
#[derive(Debug)]
pub struct Hub {
    channels: Mutex<HashMap<TenantId, Arc<Channel>>>,
    /// Of connections of the queue monitor.
    live: Mutex<HashMap<(TenantId, Uuid), Arc<Channel>>>,
    shards: Vec<Arc<Shard>>,
    subscription: std::sync::OnceLock<Subscription>,
    /// Of the runtime that hears.
    store: Store,
    runtime: tokio::runtime::Handle,
    pages: SingleFlight<(TenantId, i64), Option<Arc<Page>>>,
    proofs: SingleFlight<(TenantId, Option<String>), Stamped<()>>,
    standings: SingleFlight<(TenantId, Uuid), Arc<live_stream::Snapshot>>,
    leases: Arc<StreamSlots>,
    /// Of all rings.
    weight: MemoryBudget,
    /// What has got something new that is not passed on yet.
    fresh: Mutex<Vec<Arc<Channel>>>,
    /// Since when nothing is heard, if so.
    deaf: Mutex<Option<DateTime<Utc>>>,
    /// Rings when the subscription is whole again.
    back: Notify,
}

/// That the credential holds, and the place that was taken, if places are counted.
type Proved = (Stamped<()>, Option<StreamSlot>);

/// What became of a stream that was asked for.
#[derive(Debug)]
pub enum Entry {
    /// It is open.
    Open {
        /// The stream.
        reader: Box<Reader>,
        /// Where it starts.
        start: Start,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
    /// The tenant has no place left.
    Full {
        /// Which limit.
        reached: LimitReached,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
}

impl Feed {
    /// Starts listening on the present runtime, which must live as long as the replica; one feed for each of `runtimes` that serve.
    ///
    /// # Errors
    /// When the system has no thread for what is heard.
    pub fn open(store: Store, runtimes: usize) -> std::io::Result<Vec<Self>> {
        let shards: Vec<_> = (0..runtimes).map(|number| Arc::new(Shard::new(number))).collect();
        let hub = Arc::new(Hub {
            channels: Mutex::default(),
            live: Mutex::default(),
            shards: shards.clone(),
            subscription: std::sync::OnceLock::new(),
            runtime: tokio::runtime::Handle::current(),
            pages: SingleFlight::new(PAGE_KEPT),
            proofs: SingleFlight::new(PROOF_KEPT),
            standings: SingleFlight::new(PROOF_KEPT),
            leases: StreamSlots::new(),
            weight: MemoryBudget::new(),
            fresh: Mutex::default(),
            deaf: Mutex::default(),
            back: Notify::new(),
            store,
        });
        let heard = Arc::downgrade(&hub);
        let address = hub.store.link().address().clone();
        let subscription = Subscription::open(address, move |what| {
            if let Some(hub) = heard.upgrade() {
                hub.hear(what);
            }
        })?;
        // Set once, here, before anybody else has the hub.
        let _ = hub.subscription.set(subscription);
        tokio::spawn(hub.clone().tidy());
        tokio::spawn(gap_repair::watch(hub.clone()));
        tokio::spawn(live_stream::keep_showing(hub.clone()));
        tokio::spawn(hub.leases.clone().keep(hub.store.clone()));
        Ok(shards.into_iter().map(|shard| Self { hub: hub.clone(), shard }).collect())
    }

    /// Wakes the streams of this feed's runtime. To be spawned there.
    pub async fn run(self) {
        self.shard.run().await;
    }

    /// Ends the streams of this feed's runtime, spread over `window`, so that the other replicas are not run over.
    pub async fn end_over(self, window: Duration) {
        self.shard.end_over(window).await;
    }

    /// Lets a reader in: from its start on it hears everything of its tenant that passes the filter. `from` is the id at which its
    /// last stream stopped. `store` is the one of this runtime.
    ///
    /// # Errors
    /// [`StoreError::Unauthorized`] when the credential is gone, [`StoreError::Unreachable`] when the tenant cannot be heard.
    ///
    /// # Cancellation
    /// A place that was taken is given back.
    pub async fn enter(
        &self,
        store: &Store,
        caller: &Caller,
        kind: StreamKind,
        filter: Filter,
        from: Option<&str>,
    ) -> Result<Entry, StoreError> {
        let hub = &self.hub;
        let place = caller.place();
        let (proof, lease) = match self.prove(store, caller, &kind).await? {
            Ok(proved) => proved,
            Err((reached, now_us)) => return Ok(Entry::Full { reached, now_us }),
        };
        let channel = hub.channel(place);
        if channel.ring().head().is_none() {
            hub.mend(&channel);
            tokio::time::timeout(PRIME, channel.reaches(0)).await.map_err(|_| StoreError::Unreachable)?;
        }
        let latest = proof.position.max(place.latest());
        let _ = tokio::time::timeout(CATCH_UP, channel.reaches(latest)).await;
        let reader =
            Reader::new(hub.clone(), self.shard.clone(), store.clone(), channel, caller.credential(), filter, lease);
        let mut reader = Box::new(reader.ok_or(StoreError::Unreachable)?);
        let start = reader.start(from).await?;
        Ok(Entry::Open { reader, start, now_us: proof.now_us })
    }

    /// Listens to the caller's partition, proves the credential, and takes a place if streams of that kind are counted; or says which
    /// limit is reached, and when.
    async fn prove(
        &self,
        store: &Store,
        caller: &Caller,
        kind: &StreamKind,
    ) -> Result<Result<Proved, (LimitReached, i64)>, StoreError> {
        let (hub, place) = (&self.hub, caller.place());
        // Listening comes before looking: what happens in between is heard.
        if let Some(subscription) = hub.subscription.get() {
            subscription.join(place.partition()).await?;
        }
        if kind.most(caller).is_none() {
            let key = (place.tenant().clone(), caller.credential());
            let proof =
                hub.proofs.get(&key, async { Ok::<_, StoreError>(store.position(caller).await?.map(|_| ())) }).await?;
            return Ok(Ok((proof, None)));
        }
        let mut lease = hub.leases.lease(place, kind);
        let Stamped { now_us, position, answer } = store.enter_stream(caller, &lease.id(), kind).await?;
        lease.settle();
        Ok(match answer {
            Limited::Limit(reached) => Err((reached, now_us)),
            Limited::Done(()) => Ok((Stamped { now_us, position, answer: () }, Some(lease))),
        })
    }

    /// Waits, once the streams have ended, until Redis knows that their places are free; not for long, since they are after a while anyway.
    pub async fn farewell(&self) {
        let _ = tokio::time::timeout(FAREWELL, self.hub.leases.all_given_back()).await;
    }

    /// How many streams are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.hub.all_channels().iter().map(|channel| channel.readers()).sum()
    }
}

impl Hub {
    fn channels(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_channels(&self) -> MutexGuard<'_, HashMap<(TenantId, Uuid), Arc<Channel>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channels of both kinds.
    fn all_channels(&self) -> Vec<Arc<Channel>> {
        let mut all: Vec<_> = self.channels().values().cloned().collect();
        all.extend(self.live_channels().values().cloned());
        all
    }

    fn live_channel(&self, place: &Arc<TenantHandle>, connection: Uuid) -> Arc<Channel> {
        let key = (place.tenant().clone(), connection);
        self.live_channels()
            .entry(key)
            .or_insert_with(|| Arc::new(Channel::live(place.clone(), self.shards.len(), self.weight.clone())))
            .clone()
    }

    fn channel(&self, place: &Arc<TenantHandle>) -> Arc<Channel> {
        self.channels()
            .entry(place.tenant().clone())
            .or_insert_with(|| Arc::new(Channel::new(place.clone(), self.shards.len(), self.weight.clone())))
            .clone()
    }

    /// A page of the history after `from`; `None`: the tenant is gone.
    async fn page(&self, store: &Store, place: &Arc<TenantHandle>, from: i64) -> Result<Option<Arc<Page>>, StoreError> {
        let key = (place.tenant().clone(), from);
        let page = self
            .pages
            .get(&key, async {
                Ok::<_, StoreError>(store.replay(place, from, PAGE).await?.map(|replay| Arc::new(Page::of(&replay))))
            })
            .await?;
        if page.as_ref().is_none_or(|page| page.frames.is_empty()) {
            // Something may follow at any moment.
            self.pages.forget(&key);
        }
        Ok(page)
    }

    /// Begins to mend a channel from the history, unless somebody does already.
    fn mend(self: &Arc<Self>, channel: &Arc<Channel>) {
        if channel.ring().begin_mending() {
            metrics::counter!("holdfast_stream_repairs_total").increment(1);
            self.runtime.spawn(gap_repair::mend(self.clone(), channel.clone()));
        }
    }

    /// Forgets channels that nobody reads, partitions that nobody needs, and frames that are old, every now and then.
    async fn tidy(self: Arc<Self>) {
        let mut lingering: HashMap<TenantId, Instant> = HashMap::new();
        loop {
            tokio::time::sleep(TIDY).await;
            let now = Instant::now();
            let channels: Vec<_> =
                self.channels().iter().map(|(tenant, channel)| (tenant.clone(), channel.clone())).collect();
            for (tenant, channel) in &channels {
                channel.tidy(now);
                if channel.readers() > 0 {
                    lingering.remove(tenant);
                } else {
                    lingering.entry(tenant.clone()).or_insert(now);
                }
            }
            drop(channels);
            let mut channels = self.channels();
            // Two hold a channel that is of no use: the map, and nobody else.
            channels.retain(|tenant, channel| {
                let over = lingering.get(tenant).is_some_and(|since| now.duration_since(*since) >= LINGER);
                !over || channel.readers() > 0 || Arc::strong_count(channel) > 1
            });
            lingering.retain(|tenant, _| channels.contains_key(tenant));
            let mut needed: HashSet<_> = channels.values().map(|channel| channel.place.partition()).collect();
            drop(channels);
            let mut live = self.live_channels();
            live.values().for_each(|channel| channel.tidy(now));
            live.retain(|_, channel| channel.readers() > 0 || Arc::strong_count(channel) > 1);
            needed.extend(live.values().map(|channel| channel.place.partition()));
            drop(live);
            if let Some(subscription) = self.subscription.get() {
                subscription.keep_only(&needed);
            }
        }
    }
}
