//! The stream of one tenant, or of one connection, on this replica: a ring, and the subscribers of each runtime.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    feed::{
        buffer::{
            filter::Filter,
            frame::Frame,
            memory_budget::MemoryBudget,
            ring::{Applied, Ring},
        },
        delivery::{broadcast::EncodedBatch, group::Group, subscriber::Subscriber},
    },
    store::{Notification, Replay, TenantHandle},
    sync::lock,
};

/// A channel: of a tenant's events, or of the live changes of one connection of the queue monitor.
#[derive(Debug)]
pub(in crate::feed) struct Channel {
    pub(in crate::feed) tenant_handle: Arc<TenantHandle>,
    ring: Mutex<Ring>,
    /// The ring's [`Ring::as_of`], for streams that wait for a position; `None` before the first repair.
    as_of: watch::Sender<Option<i64>>,
    locals: Vec<Local>,
    /// Of a connection's channel: time of the last `queue:snapshot` frames. `None`: a tenant's channel.
    snapshot_sent: Option<Mutex<Instant>>,
}

/// A channel's part on one runtime.
#[derive(Debug, Default)]
struct Local {
    /// Whether the channel stands in the shard's queue.
    is_queued: AtomicBool,
    subscribers: AtomicUsize,
    groups: Mutex<Vec<Arc<Group>>>,
}

impl Channel {
    /// A tenant's channel, for this number of runtimes. It knows no position until its first repair.
    pub(in crate::feed) fn new(tenant_handle: Arc<TenantHandle>, runtimes: usize, budget: MemoryBudget) -> Self {
        let locals = std::iter::repeat_with(Local::default).take(runtimes).collect();
        Self {
            tenant_handle,
            ring: Mutex::new(Ring::new(budget)),
            as_of: watch::Sender::new(None),
            locals,
            snapshot_sent: None,
        }
    }

    /// A connection's channel, whose frames are live only.
    pub(in crate::feed) fn live(tenant_handle: Arc<TenantHandle>, runtimes: usize, budget: MemoryBudget) -> Self {
        Self {
            ring: Mutex::new(Ring::live(budget.clone())),
            snapshot_sent: Some(Mutex::new(Instant::now())),
            ..Self::new(tenant_handle, runtimes, budget)
        }
    }

    /// Whether this is a connection's channel.
    pub(in crate::feed) fn is_live(&self) -> bool {
        self.snapshot_sent.is_some()
    }

    /// Whether `queue:snapshot` frames are due; if so, they count as sent now. Never due on a tenant's channel.
    pub(in crate::feed) fn take_due_snapshot(&self, now: Instant, interval: Duration) -> bool {
        let Some(sent) = &self.snapshot_sent else { return false };
        let mut sent = lock(sent);
        let is_due = now.duration_since(*sent) >= interval;
        if is_due {
            *sent = now;
        }
        is_due
    }

    pub(in crate::feed) fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }

    /// Adds live-only frames.
    pub(in crate::feed) fn push(&self, frames: impl Iterator<Item = Frame>) {
        let (mut ring, now) = (self.ring(), Instant::now());
        frames.for_each(|frame| ring.push(frame, now));
    }

    /// Applies a notification to the ring.
    pub(in crate::feed) fn apply(&self, notification: Notification) -> Applied {
        let mut ring = self.ring();
        let applied = ring.apply(notification);
        self.publish_as_of(&ring);
        applied
    }

    /// Fills a gap of the ring with a page of the history; returns whether another page is needed.
    pub(in crate::feed) fn repair(&self, replay: &Replay) -> bool {
        let mut ring = self.ring();
        let needs_more = ring.repair(replay);
        self.publish_as_of(&ring);
        needs_more
    }

    fn publish_as_of(&self, ring: &Ring) {
        if self.as_of.receiver_count() > 0 {
            self.as_of.send_replace(ring.head().map(|_| ring.as_of()));
        }
    }

    /// Waits until the ring has reached a position.
    pub(in crate::feed) async fn reaches(&self, position: i64) {
        let mut as_of = self.as_of.subscribe();
        self.publish_as_of(&self.ring());
        // It cannot fail: the sender lives as long as this borrow.
        let _ = as_of.wait_for(|as_of| as_of.is_some_and(|as_of| as_of >= position)).await;
    }

    /// Number of subscribers on all runtimes.
    pub(in crate::feed) fn subscribers(&self) -> usize {
        self.locals.iter().map(|local| local.subscribers.load(Ordering::Relaxed)).sum()
    }

    pub(in crate::feed) fn has_subscribers_on(&self, runtime: usize) -> bool {
        self.locals.get(runtime).is_some_and(|local| local.subscribers.load(Ordering::Acquire) > 0)
    }

    /// Marks the channel as queued on a runtime; `false` if it is already, or has no subscribers there.
    pub(in crate::feed) fn mark_queued(&self, runtime: usize) -> bool {
        self.has_subscribers_on(runtime)
            && self.locals.get(runtime).is_some_and(|local| !local.is_queued.swap(true, Ordering::AcqRel))
    }

    /// Writes new frames to the subscribers of one runtime, or wakes their tasks. Returns how many there are in the
    /// groups that matched.
    pub(super) async fn flush(&self, runtime: usize, now_ms: u64) -> usize {
        let Some(local) = self.locals.get(runtime) else { return 0 };
        local.is_queued.store(false, Ordering::Release);
        let groups = local.groups().clone();
        let mut served = 0;
        for group in groups {
            if let Some(broadcast) = group.next_broadcast(&self.ring, now_ms) {
                served += group.deliver(&broadcast).await;
            }
        }
        served
    }

    /// Writes new frames on the present thread, in each group that fits into `budget`; returns whether nothing is left
    /// to write. Safe beside [`Self::flush`]: a subscriber takes a broadcast only at its own cursor.
    pub(in crate::feed) fn flush_inline(&self, runtime: usize, now_ms: u64, budget: &mut usize) -> bool {
        let Some(local) = self.locals.get(runtime) else { return true };
        let mut is_complete = true;
        for group in local.groups().iter() {
            is_complete &= group.flush_inline(&self.ring, now_ms, budget);
        }
        is_complete
    }

    /// The frames from a cursor on that match a group's filter, up to the size of one chunk; `None`: the frame there
    /// was evicted.
    pub(super) fn encode_from(&self, group: &Group, cursor: u64) -> Option<EncodedBatch> {
        group.encode_from(&self.ring, cursor)
    }

    /// Adds a subscriber on one runtime, to the group of its filter.
    pub(super) fn subscribe(&self, runtime: usize, filter: Filter, subscriber: &Arc<Subscriber>) -> Option<Arc<Group>> {
        let local = self.locals.get(runtime)?;
        local.subscribers.fetch_add(1, Ordering::AcqRel);
        let mut groups = local.groups();
        let group = match groups.iter().find(|group| *group.filter() == filter) {
            Some(group) => group.clone(),
            None => {
                let group = Arc::new(Group::new(filter, &self.ring()));
                groups.push(group.clone());
                group
            }
        };
        group.add(subscriber);
        Some(group)
    }

    /// Removes a subscriber, and its group if it was the last one there.
    pub(super) fn unsubscribe(&self, runtime: usize, group: &Arc<Group>, subscriber: &Arc<Subscriber>) {
        let Some(local) = self.locals.get(runtime) else { return };
        let mut groups = local.groups();
        if group.remove(subscriber) {
            groups.retain(|present| !Arc::ptr_eq(present, group));
        }
        local.subscribers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends the streams of one credential, or, with `None`, all.
    pub(in crate::feed) fn end_streams(&self, credential: Option<&str>) {
        self.for_each_subscriber(|subscriber| {
            if credential.is_none_or(|ended| subscriber.credential() == Some(ended)) {
                subscriber.end();
            }
        });
    }

    /// Credentials of the open streams, sorted, each once.
    pub(in crate::feed) fn credentials(&self) -> Vec<String> {
        let mut credentials = BTreeSet::new();
        self.for_each_subscriber(|subscriber| {
            if let Some(credential) = subscriber.credential()
                && !credentials.contains(credential)
            {
                credentials.insert(credential.to_owned());
            }
        });
        credentials.into_iter().collect()
    }

    /// Evicts old frames and cached batches.
    pub(in crate::feed) fn evict_old(&self, now: Instant) {
        self.ring().evict_old(now);
        for local in &self.locals {
            for group in local.groups().iter() {
                group.evict_cached();
            }
        }
    }

    fn for_each_subscriber(&self, mut each: impl FnMut(&Subscriber)) {
        for local in &self.locals {
            let groups = local.groups().clone();
            for group in groups {
                group.for_each(&mut each);
            }
        }
    }
}

impl Local {
    fn groups(&self) -> MutexGuard<'_, Vec<Arc<Group>>> {
        lock(&self.groups)
    }
}
