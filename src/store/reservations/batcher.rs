//! Request batching (batch commit): calls of one tenant share a call of Redis while others are in flight.
//!
//! Hot path. A call costs Redis far more than an item in it: in a batch, an item costs a quarter of what it costs alone. So while calls of a
//! tenant are in flight, later ones wait until these have returned, or until a batch is full. A single call waits for nobody, and over a
//! slow network more go unbatched, since they would not queue at Redis either. The function of a batch (`lua/reservations/shared.lua`) decides
//! each call by itself, whatever it asks and whichever credential it bears.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::poll;
use tokio::sync::oneshot;

use crate::{
    redis::TIMEOUT,
    store::{
        Caller, Store, StoreError,
        reservations::batch_call::{BatchReply, Pending, PendingCall, PendingItem, Waiter},
    },
    sync::lock,
};

/// Calls per tenant that run unbatched under low load. With one, two clients would wait for each other.
const MAX_UNBATCHED: usize = 4;
/// Time that Redis takes for one call, in microseconds.
const DECISION_US: u32 = 125;
/// Number of items at which a batch is sent without waiting. Redis takes about 0.15 ms for it.
pub(super) const MAX_BATCH: usize = 32;

/// A batch: calls that will share a call of Redis.
#[derive(Default)]
pub(super) struct Batch {
    /// Calls for one item.
    pub(super) items: Vec<PendingItem>,
    /// Calls for several items, or in transactions.
    pub(super) calls: Vec<PendingCall>,
    /// Number of items of both.
    weight: usize,
}

impl Batch {
    fn add(&mut self, pending: Pending) {
        self.weight += pending.weight();
        match pending {
            Pending::Item(item) => self.items.push(item),
            Pending::Call(call) => self.calls.push(call),
        }
    }

    /// Number of calls.
    pub(super) fn len(&self) -> usize {
        self.items.len() + self.calls.len()
    }

    /// Leaves out calls whose callers have given up.
    pub(super) fn drop_cancelled(&mut self) {
        self.items.retain(|item| !item.is_cancelled());
        self.calls.retain(|call| !call.is_cancelled());
    }
}

/// Statistics of a tenant's calls, which decide how many of them run unbatched.
#[derive(Debug, Default)]
pub(in crate::store) struct Traffic {
    /// Shortest time of an unbatched call in microseconds; 0: none yet. Over a slow network it is mostly the round trip.
    fastest_us: AtomicU32,
    /// Whether calls have lately waited for each other.
    is_busy: AtomicBool,
}

impl Traffic {
    /// Calls that run unbatched at the same time: as many as Redis decides during one round trip, since more would queue there. Under high load few,
    /// since each of them could have shared a batch.
    fn max_unbatched(&self) -> usize {
        let few = if self.is_busy.load(Ordering::Relaxed) { 1 } else { MAX_UNBATCHED };
        ((self.fastest_us.load(Ordering::Relaxed) / DECISION_US) as usize).clamp(few, MAX_BATCH)
    }

    fn note_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    fn note_unbatched(&self, took: Duration) {
        let (fastest_us, took_us) =
            (self.fastest_us.load(Ordering::Relaxed), took.as_micros().clamp(1, u32::MAX.into()) as u32);
        if fastest_us == 0 || took_us < fastest_us {
            self.fastest_us.store(took_us, Ordering::Relaxed);
        }
    }
}

/// The calls of one tenant.
#[derive(Default)]
struct Queue {
    in_flight: usize,
    waiting: Option<Batch>,
}

/// The calls of all tenants, on one runtime, by the address of the tenant's handle: it stays unique while one of the tenant's calls is here.
#[derive(Default)]
pub(in crate::store) struct Batcher(Mutex<HashMap<usize, Queue>>);

impl std::fmt::Debug for Batcher {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Batcher").field("tenants", &self.queues().len()).finish_non_exhaustive()
    }
}

impl Batcher {
    fn queues(&self) -> MutexGuard<'_, HashMap<usize, Queue>> {
        lock(&self.0)
    }

    /// Counts a call as returned; the batch that is to be sent next.
    fn leave(&self, caller: &Caller) -> Option<Batch> {
        let traffic = caller.tenant_handle().traffic();
        let mut queues = self.queues();
        let queue = queues.get_mut(&id(caller))?;
        queue.in_flight -= 1;
        if queue.in_flight < traffic.max_unbatched()
            && let Some(batch) = queue.waiting.take()
        {
            traffic.note_busy(batch.len() > 1);
            queue.in_flight += 1;
            return Some(batch);
        }
        if queue.in_flight == 0 {
            queues.remove(&id(caller));
        }
        None
    }
}

/// The address of the tenant's handle: unique among the tenants that have calls here.
fn id(caller: &Caller) -> usize {
    Arc::as_ptr(caller.tenant_handle()) as usize
}

/// What came of a call that may wait in a batch.
pub(super) enum Batched<'a, T> {
    /// Its batch was answered.
    Answered(T),
    /// It is to be made by itself: not yet paid for, unless `is_paid`. A counted one holds the guard until it ends.
    Unbatched { is_paid: bool, in_flight: Option<InFlight<'a>> },
}

/// An unbatched call in flight. When it ends, however it does, the waiting batch is sent.
pub(super) struct InFlight<'a> {
    store: &'a Store,
    caller: &'a Caller,
    since: Instant,
}

impl InFlight<'_> {
    /// Notes that the call was answered, which tells how far away Redis is.
    pub(super) fn note_answer(&self) {
        self.caller.tenant_handle().traffic().note_unbatched(self.since.elapsed());
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.store.batcher.leave(self.caller) {
            let (store, caller) = (self.store.clone(), self.caller.clone());
            tokio::spawn(async move { store.send_batches(caller, batch).await });
        }
    }
}

impl Store {
    /// Lets a call of `weight` items wait in a batch where calls are in flight, and returns its answer.
    pub(super) async fn batch<'s, T>(
        &'s self,
        caller: &'s Caller,
        weight: usize,
        pending: impl FnOnce(Waiter<T>) -> Pending,
    ) -> Result<Batched<'s, T>, StoreError> {
        let since = Instant::now();
        let traffic = caller.tenant_handle().traffic();
        let (replied, full) = {
            let mut queues = self.batcher.queues();
            let queue = queues.entry(id(caller)).or_default();
            if queue.in_flight < traffic.max_unbatched() {
                queue.in_flight += 1;
                let in_flight = Some(InFlight { store: self, caller, since });
                return Ok(Batched::Unbatched { is_paid: false, in_flight });
            }
            if weight >= MAX_BATCH {
                return Ok(Batched::Unbatched { is_paid: false, in_flight: None }); // it is as large as a batch
            }
            let (to, replied) = oneshot::channel();
            let batch = queue.waiting.get_or_insert_default();
            batch.add(pending(to));
            traffic.note_busy(true);
            let full = if batch.weight >= MAX_BATCH { queue.waiting.take() } else { None };
            queue.in_flight += usize::from(full.is_some());
            (replied, full)
        };
        if let Some(batch) = full {
            let (store, caller) = (self.clone(), caller.clone());
            let mut sending = Box::pin(async move { store.send_batches(caller, batch).await });
            // The first poll writes it; a task of its own waits for the reply.
            if poll!(&mut sending).is_pending() {
                tokio::spawn(sending);
            }
        }
        // After the timeout the call withdraws; whether it had been sent only asking again can tell.
        let replied = tokio::time::timeout_at((since + TIMEOUT).into(), replied).await;
        let unknown = || StoreError::OutcomeUnknown { waited_ms: since.elapsed().as_millis() as u64 };
        match replied.map_err(|_| unknown())?.map_err(|_| unknown())? {
            Ok(BatchReply::Answer(answer)) => Ok(Batched::Answered(answer)),
            Ok(BatchReply::Unbatched { is_paid }) => Ok(Batched::Unbatched { is_paid, in_flight: None }),
            Err(StoreError::OutcomeUnknown { .. }) => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// Sends a batch of the caller's tenant, and those that have filled meanwhile.
    async fn send_batches(&self, caller: Caller, batch: Batch) {
        let mut next = Some(batch);
        while let Some(batch) = next {
            self.send_batch(&caller, batch).await;
            next = self.batcher.leave(&caller);
        }
    }
}
