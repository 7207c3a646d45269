//! Event streams: from the notifications of Redis to the sockets of subscribers.
//!
//! A replica has one pub/sub subscription, one ring of encoded frames per tenant, and one cursor per stream. An event
//! is encoded once per replica. A notification that did not arrive is a gap, which is repaired from the history in
//! Redis; streams get `RESET_CURSOR` for what it does not have. A slow stream falls behind the ring, reads
//! from the history, and delays nobody.
//!
//! # Path of an event
//!
//! 1. [`dispatch`] decodes a notification and applies it to the [`Ring`](buffer::ring::Ring) of its
//!    [`Channel`](delivery::channel::Channel).
//! 2. When the socket to Redis is drained, `dispatch` writes the new frames to at most 32 subscribers itself, and
//!    queues the channel on the [`Shard`] of each runtime that has more.
//! 3. A [`Group`](delivery::group::Group) of subscribers with equal filters matches and encodes the frames once, as a
//!    [`Broadcast`](delivery::broadcast::Broadcast).
//! 4. A [`Subscriber`](delivery::subscriber::Subscriber) whose task is parked gets the broadcast written to its socket.
//!    Any other task reads from its own cursor: [`TenantStream`], [`LiveStream`].
//!
//! # Threads
//!
//! | thread | number | work here |
//! | --- | --- | --- |
//! | subscription | 1 | reads notifications, applies them to rings, writes to a few subscribers ([`dispatch`]) |
//! | `serve-N` | one per runtime | HTTP, the tasks of its streams, the flushes and keepalives of its shard |
//! | main | 1 | gap detection and repair, eviction, stream slots, snapshots of queues |
//! | queue monitor | 1 | reads brokers; what it reports returns as notifications |
//!
//! # Order of locks
//!
//! A lock is taken only while holding locks of lower numbers. Nothing is awaited under a lock.
//!
//! | number | lock | held for |
//! | --- | --- | --- |
//! | 1 | `Hub::channels` or `Hub::live_channels`, never both | a look-up; eviction |
//! | 2 | `Local::groups` of a channel | adding and removing subscribers; a flush from the subscription's thread |
//! | 3 | `Group::state` | matching, encoding, and writing to sockets that take the bytes without waiting |
//! | 4 | `Channel::ring` or `Subscriber::cursor_state`, never both | adding or reading frames; moving a cursor |
//!
//! The other locks (`Hub::dirty`, `Hub::missed`, `LiveOnly`, the queue and the timers of a shard, slots, single flights) are leaves: no other lock
//! is taken under them.

mod admission;
mod buffer;
mod delivery;
mod dispatch;
mod gap_repair;
mod holds;
mod hub;
mod live_only;
mod live_snapshots;
mod single_flight;
mod stream_slots;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    domain::waiting::TicketId,
    redis::Subscription,
    store::{Caller, LimitReached, Store, StoreError, StreamKind},
};

pub use buffer::{
    filter::{Filter, TooManyNames, split_list},
    frame::{Frame, ResetReason, Subject},
};
pub use holds::Hold;

pub use delivery::{
    Chunk,
    live_stream::LiveStream,
    subscriber::ChunkSink,
    tenant_stream::{Start, TenantStream},
};

use admission::{Admission, admit};
use delivery::shard::Shard;
use hub::Hub;

/// Timeout of the first repair of a new channel: a stream needs a position to start at.
const FIRST_REPAIR_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a new stream waits for this replica to catch up with Redis. After it the stream starts all the same, and
/// misses nothing.
const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a draining replica waits for its stream slots to be released.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The replica's event streams, as one runtime uses them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    hub: Arc<Hub>,
    shard: Arc<Shard>,
}

/// Outcome of [`Feed::open_stream`].
#[derive(Debug)]
pub enum StreamOutcome {
    /// The stream is open.
    Open {
        /// The stream.
        stream: Box<TenantStream>,
        /// Position at which it starts.
        start: Start,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
    /// The tenant, or the session, has as many streams as it may.
    LimitReached {
        /// The limit.
        limit: LimitReached,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
}

/// Outcome of [`Feed::open_live_stream`].
#[derive(Debug)]
pub enum LiveStreamOutcome {
    /// The stream is open.
    Open {
        /// The stream.
        stream: Box<LiveStream>,
        /// Frames that it begins with: the present queues and live workers that match the filter.
        snapshot: Bytes,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
    /// The tenant, or the session, has as many streams as it may.
    LimitReached {
        /// The limit.
        limit: LimitReached,
        /// Redis' clock, in microseconds since the Unix epoch.
        now_us: i64,
    },
    /// The tenant has no such connection.
    NotFound,
}

impl Feed {
    /// Starts the subscription and the tasks around it on the present runtime, which must live as long as the replica.
    /// Returns one feed for each of the `runtimes` that serve.
    ///
    /// # Errors
    /// When the system has no thread for the subscription.
    pub fn start(store: Store, runtimes: usize) -> std::io::Result<Vec<Self>> {
        let address = store.redis().address().clone();
        let hub = Hub::new(store, runtimes);
        let weak = Arc::downgrade(&hub);
        let holds = hub.holds.clone();
        let subscription = Subscription::open(
            address,
            move || holds.has_any(),
            move |event| {
                if let Some(hub) = weak.upgrade() {
                    dispatch::handle(&hub, event);
                }
            },
        )?;
        hub.set_subscription(subscription);
        tokio::spawn(hub.clone().run_eviction());
        tokio::spawn(gap_repair::run(hub.clone()));
        tokio::spawn(live_snapshots::run(hub.clone()));
        tokio::spawn(hub.slots.clone().run(hub.store.clone()));
        Ok(hub.shards.iter().map(|shard| Self { hub: hub.clone(), shard: shard.clone() }).collect())
    }

    /// Flushes frames to the streams of this feed's runtime until it ends. To be spawned there.
    pub async fn run(self) {
        self.shard.run().await;
    }

    /// Ends the streams of this feed's runtime, spread over `window` so that their clients do not reach the other
    /// replicas all at once.
    pub async fn end_streams(self, window: Duration) {
        self.shard.end_streams(window).await;
    }

    /// Opens a stream of the caller's tenant. It has every event from its start on that matches the filter.
    /// `last_event_id` is the id at which the client's last stream stopped; `store` is the store of this runtime.
    ///
    /// # Errors
    /// [`StoreError::Unauthorized`] when the credential is gone, [`StoreError::Unreachable`] when the tenant's events
    /// cannot be received.
    ///
    /// # Cancellation
    /// A slot that was taken is released.
    pub async fn open_stream(
        &self,
        store: &Store,
        caller: &Caller,
        kind: StreamKind,
        filter: Filter,
        last_event_id: Option<&str>,
    ) -> Result<StreamOutcome, StoreError> {
        let (slot, position, now_us) = match admit(&self.hub, store, caller, &kind).await? {
            Admission::Admitted { slot, position, now_us } => (slot, position, now_us),
            Admission::LimitReached { limit, now_us } => return Ok(StreamOutcome::LimitReached { limit, now_us }),
        };
        let tenant_handle = caller.tenant_handle();
        let channel = self.hub.channel(tenant_handle);
        let is_new = channel.ring().head().is_none();
        if is_new {
            gap_repair::begin(&self.hub, &channel);
            let repaired = tokio::time::timeout(FIRST_REPAIR_TIMEOUT, channel.reaches(0)).await;
            repaired.map_err(|_| StoreError::Unreachable)?;
        }
        let latest = position.max(tenant_handle.latest());
        let _ = tokio::time::timeout(CATCH_UP_TIMEOUT, channel.reaches(latest)).await;
        let (pages, shard) = (self.hub.pages.clone(), self.shard.clone());
        let stream = TenantStream::open(pages, shard, store.clone(), channel, caller.credential(), filter, slot);
        let mut stream = Box::new(stream.ok_or(StoreError::Unreachable)?);
        let start = stream.start(last_event_id).await?;
        Ok(StreamOutcome::Open { stream, start, now_us })
    }

    /// Opens a stream of one connection's changes from now on.
    ///
    /// # Errors
    /// [`StoreError::Unauthorized`] when the credential is gone, [`StoreError::Unreachable`] when the tenant's events
    /// cannot be received.
    ///
    /// # Cancellation
    /// A slot that was taken is released.
    pub async fn open_live_stream(
        &self,
        store: &Store,
        caller: &Caller,
        kind: StreamKind,
        filter: Filter,
        connection: Uuid,
    ) -> Result<LiveStreamOutcome, StoreError> {
        let (slot, now_us) = match admit(&self.hub, store, caller, &kind).await? {
            Admission::Admitted { slot, now_us, .. } => (slot, now_us),
            Admission::LimitReached { limit, now_us } => return Ok(LiveStreamOutcome::LimitReached { limit, now_us }),
        };
        let tenant_handle = caller.tenant_handle();
        if !store.has_connection(tenant_handle, connection).await? {
            return Ok(LiveStreamOutcome::NotFound);
        }
        let channel = self.hub.live_channel(tenant_handle, connection);
        let stream = LiveStream::open(self.shard.clone(), channel, caller.credential(), filter, slot);
        let stream = Box::new(stream.ok_or(StoreError::Unreachable)?);
        // Read after the stream is open: a change meanwhile comes after the snapshot, and may repeat it.
        let snapshot = self.hub.snapshot(store, tenant_handle, connection).await?;
        let snapshot = stream.encode(&snapshot);
        Ok(LiveStreamOutcome::Open { stream, snapshot, now_us })
    }

    /// Notes a call that may be held for tickets, before Redis is asked whether they wait: so their hand-over is received however soon it comes.
    #[must_use]
    pub fn begin_hold(&self, caller: &Caller, tickets: Vec<TicketId>) -> Hold {
        let tenant_handle = caller.tenant_handle();
        Hold::new(&self.hub.holds, tenant_handle.tenant().clone(), tickets, || self.hub.listens(tenant_handle))
    }

    /// Holds the call back until none of these tickets waits any more. Its client may go meanwhile: the tickets keep their places for as long as
    /// they live. An outage of Redis is waited out.
    pub async fn hold(&self, store: &Store, caller: &Caller, hold: Hold, tickets: Vec<TicketId>) {
        // Boxed, since it is over soon, and the call is held for long.
        let subscribed = Box::pin(self.hub.subscribe(caller.tenant_handle()));
        hold.wait(store, tickets, subscribed).await;
    }

    /// Waits, once the streams have ended, until Redis has released their slots; 1 s at most, since the slots expire by
    /// themselves.
    pub async fn release_slots(&self) {
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, self.hub.slots.all_released()).await;
    }

    /// Number of open streams on the replica.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.hub.all_channels().iter().map(|channel| channel.subscribers()).sum()
    }
}
