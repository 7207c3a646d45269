//! Stream slots that this replica holds: the entries in Redis by which open streams are counted over all replicas.
//!
//! A slot is claimed before Redis is asked and released when its stream ends. Heartbeats keep the replica's slots
//! valid; without them Redis ignores the entries after a while, so nothing drifts when a process dies.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    store::{ReplicaId, Store, StreamId, StreamKind, TenantHandle},
    sync::lock,
};

/// Interval of the replica's heartbeats: a quarter of the 12 s after which its slots count no more.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Delay before a failed release is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Delay of a release when it is unknown whether the slot was taken: the call that takes it may still be on its way to
/// Redis.
const UNCONFIRMED_DELAY: Duration = Duration::from_secs(5);

/// The replica's stream slots.
#[derive(Debug)]
pub(super) struct StreamSlots {
    replica: ReplicaId,
    next_number: AtomicU64,
    state: Mutex<State>,
    /// Notified when a slot is to be released.
    released: Notify,
    /// Notified after each attempt to release slots.
    attempted: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<u64, (Arc<TenantHandle>, StreamKind)>,
    /// Slots to be released now.
    to_release: Vec<(u64, Arc<TenantHandle>)>,
    /// Number of slots whose release is under way.
    releasing: usize,
    /// Slots to be released later, and when.
    unconfirmed: Vec<(Instant, u64, Arc<TenantHandle>)>,
}

/// One stream's slot. Dropping it releases it.
#[derive(Debug)]
pub(super) struct StreamSlot {
    slots: Arc<StreamSlots>,
    number: u64,
    is_confirmed: bool,
}

impl StreamSlots {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            replica: ReplicaId::random(),
            next_number: AtomicU64::new(1),
            state: Mutex::default(),
            released: Notify::new(),
            attempted: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Claims a slot that Redis is about to be asked for, so that it is released however the call ends.
    pub(super) fn claim(self: &Arc<Self>, tenant_handle: &Arc<TenantHandle>, kind: &StreamKind) -> StreamSlot {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.state().held.insert(number, (tenant_handle.clone(), kind.clone()));
        StreamSlot { slots: self.clone(), number, is_confirmed: false }
    }

    /// Sends heartbeats and releases slots until the replica ends.
    pub(super) async fn run(self: Arc<Self>, store: Store) {
        let mut heartbeats = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                _ = heartbeats.tick() => {
                    self.send_heartbeats(&store).await;
                    self.release(&store).await;
                }
                () = self.released.notified() => self.release(&store).await,
            }
        }
    }

    async fn send_heartbeats(&self, store: &Store) {
        let partitions: HashSet<_> = self.state().held.values().map(|(handle, _)| handle.partition()).collect();
        let heartbeats = partitions.into_iter().map(|partition| store.send_heartbeat(partition, &self.replica));
        for result in futures_util::future::join_all(heartbeats).await {
            if let Err(error) = result {
                tracing::debug!(%error, "a heartbeat of this replica did not reach redis");
            }
        }
    }

    async fn release(&self, store: &Store) {
        let slots = {
            let (now, mut state) = (Instant::now(), self.state());
            let State { to_release, unconfirmed, .. } = &mut *state;
            let due = unconfirmed.extract_if(.., |(due, ..)| *due <= now);
            to_release.extend(due.map(|(_, number, handle)| (number, handle)));
            state.releasing = state.to_release.len();
            std::mem::take(&mut state.to_release)
        };
        let releases = slots
            .iter()
            .map(|(number, handle)| async move { store.release_stream_slot(handle, &self.id(*number)).await.is_ok() });
        let released = futures_util::future::join_all(releases).await;
        let failed: Vec<_> = slots.into_iter().zip(released).filter(|(_, ok)| !ok).map(|(slot, _)| slot).collect();
        let has_failed = !failed.is_empty();
        {
            let mut state = self.state();
            state.to_release.extend(failed);
            state.releasing = 0;
        }
        self.attempted.notify_waiters();
        if has_failed {
            tokio::time::sleep(RETRY_DELAY).await;
            self.released.notify_one();
        }
    }

    /// Waits until Redis has released the slot of every stream that has ended.
    pub(super) async fn all_released(&self) {
        loop {
            let attempted = self.attempted.notified();
            {
                let state = self.state();
                if state.to_release.is_empty() && state.releasing == 0 {
                    return;
                }
            }
            attempted.await;
        }
    }

    /// Writes the held slots to a Redis that may have lost them.
    pub(super) async fn restore(&self, store: &Store) {
        let held: Vec<_> =
            self.state().held.iter().map(|(number, (handle, kind))| (*number, handle.clone(), kind.clone())).collect();
        for (number, handle, kind) in held {
            if let Err(error) = store.restore_stream_slot(&handle, &self.id(number), &kind).await {
                tracing::debug!(%error, "the slot of a stream could not be restored");
            }
            // If its stream has ended meanwhile, its release may have come before the restored entry.
            let mut state = self.state();
            if !state.held.contains_key(&number) {
                state.to_release.push((number, handle));
                self.released.notify_one();
            }
        }
        self.send_heartbeats(store).await;
    }

    fn id(&self, number: u64) -> StreamId {
        StreamId { replica: self.replica.clone(), number }
    }
}

impl StreamSlot {
    pub(super) fn id(&self) -> StreamId {
        self.slots.id(self.number)
    }

    /// Marks that Redis has answered.
    pub(super) fn confirm(&mut self) {
        self.is_confirmed = true;
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        if let Some((handle, _)) = state.held.remove(&self.number) {
            if self.is_confirmed {
                state.to_release.push((self.number, handle));
            } else {
                state.unconfirmed.push((Instant::now() + UNCONFIRMED_DELAY, self.number, handle));
            }
        }
        drop(state);
        self.slots.released.notify_one();
    }
}
