//! Places on the stream that this replica holds: taken at the door, said to be alive while it lives, given back when a stream ends.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::store::{ReplicaId, Store, StreamId, StreamKind, TenantHandle};

/// How often the replica says that it lives: four times in the time after which nobody believes it any more.
const BEAT: Duration = Duration::from_secs(3);
/// How long a place that could not be given back waits for the next try.
const RETRY: Duration = Duration::from_millis(500);
/// How long a place waits of which nobody knows whether it was taken: the call may still be on its way to Redis.
const UNSETTLED: Duration = Duration::from_secs(5);

/// All places that this replica holds.
#[derive(Debug)]
pub(super) struct StreamSlots {
    replica: ReplicaId,
    next: AtomicU64,
    state: Mutex<State>,
    left: Notify,
    /// Rings after each try to give places back.
    tried: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<u64, (Arc<TenantHandle>, StreamKind)>,
    given_back: Vec<(u64, Arc<TenantHandle>)>,
    /// How many Redis is being told of at present.
    on_their_way: usize,
    unsettled: Vec<(Instant, u64, Arc<TenantHandle>)>,
}

/// One place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct StreamSlot {
    leases: Arc<StreamSlots>,
    number: u64,
    settled: bool,
}

impl StreamSlots {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            replica: ReplicaId::random(),
            next: AtomicU64::new(1),
            state: Mutex::default(),
            left: Notify::new(),
            tried: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place about to be taken: held from before Redis is asked, so that it is given back however the asking ends.
    pub(super) fn lease(self: &Arc<Self>, place: &Arc<TenantHandle>, kind: &StreamKind) -> StreamSlot {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.state().held.insert(number, (place.clone(), kind.clone()));
        StreamSlot { leases: self.clone(), number, settled: false }
    }

    /// Gives back what has ended, and says that the replica lives, for as long as it does.
    pub(super) async fn keep(self: Arc<Self>, store: Store) {
        let mut beats = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                _ = beats.tick() => {
                    self.beat(&store).await;
                    self.give_back(&store).await;
                }
                () = self.left.notified() => self.give_back(&store).await,
            }
        }
    }

    async fn beat(&self, store: &Store) {
        let partitions: HashSet<_> = self.state().held.values().map(|(place, _)| place.partition()).collect();
        let beats = partitions.into_iter().map(|partition| store.beat(partition, &self.replica));
        for beat in futures_util::future::join_all(beats).await {
            if let Err(error) = beat {
                tracing::debug!(%error, "redis was not told that this replica lives");
            }
        }
    }

    async fn give_back(&self, store: &Store) {
        {
            let now = Instant::now();
            let State { given_back, unsettled, .. } = &mut *self.state();
            given_back
                .extend(unsettled.extract_if(.., |(due, ..)| *due <= now).map(|(_, number, place)| (number, place)));
        }
        let given_back = {
            let mut state = self.state();
            state.on_their_way = state.given_back.len();
            std::mem::take(&mut state.given_back)
        };
        let asked = given_back
            .iter()
            .map(|(number, place)| async move { store.leave_stream(place, &self.id(*number)).await.is_ok() });
        let done = futures_util::future::join_all(asked).await;
        let again: Vec<_> =
            given_back.into_iter().zip(done).filter(|(_, done)| !done).map(|(place, _)| place).collect();
        let failed = !again.is_empty();
        {
            let mut state = self.state();
            state.given_back.extend(again);
            state.on_their_way = 0;
        }
        self.tried.notify_waiters();
        if failed {
            tokio::time::sleep(RETRY).await;
            self.left.notify_one();
        }
    }

    /// Waits until Redis knows of every place that has ended.
    pub(super) async fn all_given_back(&self) {
        loop {
            let tried = self.tried.notified();
            {
                let state = self.state();
                if state.given_back.is_empty() && state.on_their_way == 0 {
                    return;
                }
            }
            tried.await;
        }
    }

    /// Tells a Redis that may have lost it which places are taken.
    pub(super) async fn tell_again(&self, store: &Store) {
        let held: Vec<_> =
            self.state().held.iter().map(|(number, (place, kind))| (*number, place.clone(), kind.clone())).collect();
        for (number, place, kind) in held {
            if let Err(error) = store.keep_stream(&place, &self.id(number), &kind).await {
                tracing::debug!(%error, "redis was not told of a stream's place");
            }
            // It may have ended meanwhile, and been given back before it was told again.
            if !self.state().held.contains_key(&number) {
                self.state().given_back.push((number, place));
                self.left.notify_one();
            }
        }
        self.beat(store).await;
    }

    fn id(&self, number: u64) -> StreamId {
        StreamId { replica: self.replica.clone(), number }
    }
}

impl StreamSlot {
    pub(super) fn id(&self) -> StreamId {
        self.leases.id(self.number)
    }

    /// Notes that Redis has answered.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut state = self.leases.state();
        if let Some((place, _)) = state.held.remove(&self.number) {
            if self.settled {
                state.given_back.push((self.number, place));
            } else {
                state.unsettled.push((Instant::now() + UNSETTLED, self.number, place));
            }
        }
        drop(state);
        self.leases.left.notify_one();
    }
}
