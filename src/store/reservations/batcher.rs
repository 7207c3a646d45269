//! Request batching (batch commit): calls of one credential for one item each share a script while others are in flight.
//!
//! Hot path. A script costs Redis far more than an item in it: in a batch, an item costs a quarter of what it costs alone. So while calls of a
//! credential are in flight, later ones wait until these have returned, or until a batch is full. A single call waits for nobody, and over a
//! slow network more go unbatched, since they would not queue at Redis either. The script of a batch (`lua/shared_plain.lua`) decides each item
//! by itself; an answer beyond "done", "held" or "free" it leaves to the item's own script, to which the item is then sent.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::poll;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    domain::{
        rate::cost,
        reservation::{ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, ReserveOutcome, ReserveRequest},
    },
    redis::TIMEOUT,
    store::{
        Arg, Call, Caller, Outcome, Reply, Stamped, Store, StoreError,
        codec::{Reader, Writer},
        reservations::{plain, shown_token},
        scripts,
    },
    sync::lock,
};

/// Calls per credential that run unbatched under low load. With one, two clients would wait for each other.
const MAX_UNBATCHED: usize = 4;
/// Time that Redis takes for one call, in microseconds.
const DECISION_US: u32 = 125;
/// Batch size at which a batch is sent without waiting. Redis takes about 0.15 ms for it.
const MAX_BATCH: usize = 32;

/// A kind of decision: how its items are sent, in a call of their own or in a batch, and how the answers are decoded.
pub(in crate::store) trait Decision: Clone {
    /// The answer to one item.
    type Answer;

    /// The resource that the item names.
    fn resource(&self) -> &str;

    /// The item as part of a batch.
    fn pending(self, reply_to: Waiter<Self::Answer>) -> PendingCall;

    /// The call for items that are not batched, by the variant that fits the caller's tenant.
    fn encode<'a>(items: &'a [Self], caller: &Caller) -> Call<'a>;

    /// Decodes the reply of that call: one answer per item.
    fn read(items: &[Self], reply: &Reply) -> Result<Vec<Self::Answer>, StoreError>;
}

/// A call that waits in a batch, and where its answer goes.
pub(in crate::store) enum PendingCall {
    Reserve(ReserveRequest, Waiter<ReserveOutcome>),
    Renew(RenewRequest, Waiter<RenewOutcome>),
    Unreserve(ReleaseRequest, Waiter<ReleaseOutcome>),
}

/// Where an item's answer goes.
pub(in crate::store) type Waiter<T> = oneshot::Sender<Result<BatchedOutcome<T>, StoreError>>;

/// The outcome of an item in a batch.
pub(in crate::store) enum BatchedOutcome<T> {
    Stamped(Stamped<T>),
    /// Not decided: the item is to be sent unbatched, at that cost.
    Unbatched(u32),
}

impl PendingCall {
    fn resource(&self) -> &str {
        match self {
            Self::Reserve(wanted, _) => &wanted.resource,
            Self::Renew(RenewRequest { claim, .. }, _) | Self::Unreserve(claim, _) => &claim.resource,
        }
    }

    fn request(&self) -> &'static str {
        match self {
            Self::Reserve(..) => "RESERVE",
            Self::Renew(..) => "RENEW",
            Self::Unreserve(..) => "UNRESERVE",
        }
    }

    /// Sort key of the batch, on which the script counts (`lua/shared_plain.lua`): releases come first and make room; each kind stands together,
    /// for the delta encoding of events.
    fn order(&self) -> u8 {
        match self {
            Self::Unreserve(..) => 0,
            Self::Reserve(..) => 1,
            Self::Renew(..) => 2,
        }
    }

    fn ttl_ms(&self) -> i64 {
        match self {
            Self::Reserve(wanted, _) => wanted.ttl_ms.unwrap_or(0),
            Self::Renew(renewal, _) => renewal.ttl_ms,
            Self::Unreserve(..) => 0,
        }
    }

    fn token(&self) -> Uuid {
        match self {
            Self::Reserve(wanted, _) => wanted.token,
            Self::Renew(RenewRequest { claim, .. }, _) | Self::Unreserve(claim, _) => shown_token(claim),
        }
    }

    /// The encoded owner of the reservation.
    fn owner(&self, caller: &Caller) -> Vec<u8> {
        match self {
            Self::Reserve(wanted, _) => plain::kept(wanted, caller),
            Self::Renew(RenewRequest { claim, .. }, _) | Self::Unreserve(claim, _) => plain::who(claim),
        }
    }

    /// The encoded tail of the event.
    fn event_tail(&self, caller: &Caller) -> Vec<u8> {
        match self {
            Self::Reserve(wanted, _) => plain::told_of_wanted(wanted, caller),
            Self::Renew(RenewRequest { claim, .. }, _) | Self::Unreserve(claim, _) => {
                plain::told_of_claim(claim, caller)
            }
        }
    }

    /// Whether owner and event tail of both are equal.
    fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Reserve(a, _), Self::Reserve(b, _)) => plain::is_alike(a, b),
            (Self::Renew(a, _), Self::Renew(b, _)) => a.claim.requester == b.claim.requester,
            (Self::Unreserve(a, _), Self::Unreserve(b, _)) => a.requester == b.requester,
            _ => false,
        }
    }

    /// Whether the caller has given up.
    fn is_cancelled(&self) -> bool {
        match self {
            Self::Reserve(_, to) => to.is_closed(),
            Self::Renew(_, to) => to.is_closed(),
            Self::Unreserve(_, to) => to.is_closed(),
        }
    }

    /// Decodes the next answer of the batch and hands it over; whether it could be decoded.
    fn answer(self, reply: &Reply, reader: &mut Reader<'_>) -> bool {
        match self {
            Self::Reserve(wanted, to) => hand_over(to, reply, reader, |reader| plain::read_granted(reader, &wanted)),
            Self::Renew(_, to) => hand_over(to, reply, reader, plain::read_renewed),
            Self::Unreserve(claim, to) => hand_over(to, reply, reader, |reader| plain::read_released(reader, &claim)),
        }
    }

    /// Hands over that the item is to be sent unbatched, at that cost, or why the batch failed.
    fn send_back(self, how: Result<u32, StoreError>) {
        // A caller that has given up needs no answer.
        match self {
            Self::Reserve(_, to) => drop(to.send(how.map(BatchedOutcome::Unbatched))),
            Self::Renew(_, to) => drop(to.send(how.map(BatchedOutcome::Unbatched))),
            Self::Unreserve(_, to) => drop(to.send(how.map(BatchedOutcome::Unbatched))),
        }
    }
}

fn hand_over<'r, T>(
    to: Waiter<T>,
    reply: &Reply,
    reader: &mut Reader<'r>,
    read: impl FnOnce(&mut Reader<'r>) -> Option<T>,
) -> bool {
    let outcome = if reader.absent() {
        Ok(BatchedOutcome::Unbatched(0)) // the batch was paid for
    } else {
        read(reader).map(|answer| BatchedOutcome::Stamped(reply.stamped(answer))).ok_or_else(|| reply.unexpected())
    };
    let is_read = outcome.is_ok();
    drop(to.send(outcome));
    is_read
}

/// A batch: calls that will share a script.
struct Batch {
    caller: Caller,
    asked: Vec<PendingCall>,
}

/// Statistics of a credential's calls, which decide how many of them run unbatched.
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

/// The calls of one credential.
#[derive(Default)]
struct Queue {
    in_flight: usize,
    waiting: Option<Batch>,
}

/// The calls of all credentials, on one runtime, by [`Caller::id`]: it stays unique while one of the caller's calls is here.
#[derive(Default)]
pub(in crate::store) struct Batcher(Mutex<HashMap<usize, Queue>>);

impl std::fmt::Debug for Batcher {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Batcher").field("callers", &self.queues().len()).finish_non_exhaustive()
    }
}

/// How a call continues.
enum Entered<T> {
    /// Unbatched; when it returns, the waiting batch may be sent.
    Unbatched,
    /// Unbatched and uncounted, beside a batch with an item of the same resource.
    Duplicate,
    Waiting(oneshot::Receiver<Result<BatchedOutcome<T>, StoreError>>),
    Full(Batch, oneshot::Receiver<Result<BatchedOutcome<T>, StoreError>>),
}

impl Batcher {
    fn queues(&self) -> MutexGuard<'_, HashMap<usize, Queue>> {
        lock(&self.0)
    }

    fn enter<D: Decision>(&self, caller: &Caller, item: &D) -> Entered<D::Answer> {
        let mut queues = self.queues();
        let queue = queues.entry(caller.id()).or_default();
        if queue.in_flight < caller.traffic().max_unbatched() {
            queue.in_flight += 1;
            return Entered::Unbatched;
        }
        // Not counted as in flight: repeated calls for one resource would keep the batch from ever being sent.
        if queue
            .waiting
            .as_ref()
            .is_some_and(|batch| batch.asked.iter().any(|asked| asked.resource() == item.resource()))
        {
            return Entered::Duplicate;
        }
        let (to, replied) = oneshot::channel();
        let batch =
            queue.waiting.get_or_insert_with(|| Batch { caller: caller.clone(), asked: Vec::with_capacity(MAX_BATCH) });
        batch.asked.push(item.clone().pending(to));
        caller.traffic().note_busy(true);
        if batch.asked.len() >= MAX_BATCH
            && let Some(batch) = queue.waiting.take()
        {
            queue.in_flight += 1;
            return Entered::Full(batch, replied);
        }
        Entered::Waiting(replied)
    }

    /// Counts a call as returned; the batch that is to be sent next.
    fn leave(&self, caller: &Caller) -> Option<Batch> {
        let mut queues = self.queues();
        let queue = queues.get_mut(&caller.id())?;
        queue.in_flight -= 1;
        if queue.in_flight < caller.traffic().max_unbatched()
            && let Some(batch) = queue.waiting.take()
        {
            caller.traffic().note_busy(batch.asked.len() > 1);
            queue.in_flight += 1;
            return Some(batch);
        }
        if queue.in_flight == 0 {
            queues.remove(&caller.id());
        }
        None
    }
}

/// What came of an item that may wait in a batch.
enum Batched<'a, T> {
    /// Its batch was answered.
    Answered(Stamped<T>),
    /// It needs a call of its own, at that cost; a counted one holds the guard until it ends.
    Not { cost: u32, in_flight: Option<InFlight<'a>> },
}

/// An unbatched call in flight. When it ends, however it does, the waiting batch is sent.
struct InFlight<'a> {
    store: &'a Store,
    caller: &'a Caller,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.store.batcher.leave(self.caller) {
            let store = self.store.clone();
            tokio::spawn(async move { store.send_batches(batch).await });
        }
    }
}

impl Store {
    /// Decides items: a single one in a batch with others of `caller`, where calls are in flight; else by a call of their own.
    pub(in crate::store) async fn submit<D: Decision>(
        &self,
        caller: &Caller,
        items: &[D],
    ) -> Result<Stamped<Outcome<Vec<D::Answer>>>, StoreError> {
        let since = Instant::now();
        let (cost, in_flight) = match items {
            [item] if !caller.has_definitions() => match self.batch(caller, item, since).await? {
                Batched::Answered(stamped) => return Ok(stamped.map(|answer| Outcome::Done(vec![answer]))),
                Batched::Not { cost, in_flight } => (cost, in_flight),
            },
            _ => (cost(items.len()), None),
        };
        let reply = self.call(cost, caller, |caller| D::encode(items, caller)).await?;
        if in_flight.is_some() {
            caller.traffic().note_unbatched(since.elapsed());
        }
        reply.outcome(|reply| D::read(items, reply))
    }

    /// Lets an item wait in a batch where calls are in flight, and returns its answer.
    async fn batch<'s, D: Decision>(
        &'s self,
        caller: &'s Caller,
        item: &D,
        since: Instant,
    ) -> Result<Batched<'s, D::Answer>, StoreError> {
        let replied = match self.batcher.enter(caller, item) {
            Entered::Duplicate => return Ok(Batched::Not { cost: 1, in_flight: None }),
            Entered::Unbatched => {
                return Ok(Batched::Not { cost: 1, in_flight: Some(InFlight { store: self, caller }) });
            }
            Entered::Waiting(replied) => replied,
            Entered::Full(batch, replied) => {
                let store = self.clone();
                let mut sending = Box::pin(async move { store.send_batches(batch).await });
                // The first poll writes it; a task of its own waits for the reply.
                if poll!(&mut sending).is_pending() {
                    tokio::spawn(sending);
                }
                replied
            }
        };
        // After the timeout the call withdraws; whether it had been sent only asking again can tell.
        let replied = tokio::time::timeout_at((since + TIMEOUT).into(), replied).await;
        let unknown = || StoreError::OutcomeUnknown { waited_ms: since.elapsed().as_millis() as u64 };
        match replied.map_err(|_| unknown())?.map_err(|_| unknown())? {
            Ok(BatchedOutcome::Stamped(stamped)) => Ok(Batched::Answered(stamped)),
            Ok(BatchedOutcome::Unbatched(cost)) => Ok(Batched::Not { cost, in_flight: None }),
            Err(StoreError::OutcomeUnknown { .. }) => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// Sends a batch, and those that have filled meanwhile.
    async fn send_batches(&self, batch: Batch) {
        let caller = batch.caller.clone();
        let mut next = Some(batch);
        while let Some(batch) = next {
            self.send_batch(batch).await;
            next = self.batcher.leave(&caller);
        }
    }

    async fn send_batch(&self, Batch { caller, mut asked }: Batch) {
        asked.retain(|asked| !asked.is_cancelled());
        let how = if asked.len() > 1 { self.call_batch(&caller, &mut asked).await } else { Ok(1) };
        asked.into_iter().for_each(|asked| asked.send_back(how.clone()));
    }

    /// Calls the script of a batch, and hands each item its answer. The items that are left are to be sent unbatched, at the returned cost, or failed.
    async fn call_batch(&self, caller: &Caller, asked: &mut Vec<PendingCall>) -> Result<u32, StoreError> {
        let count = asked.len() as u32;
        asked.sort_by_key(PendingCall::order);
        let args = vec![Arg::Packed(packed(asked, caller))];
        let call = Call { cost: count, weight: count, ..Call::new(&scripts::SHARED_PLAIN, args) };
        let reply = match self.call_once(caller, &call).await {
            Ok(reply) => reply,
            // Nothing was done. A single call may succeed where a batch does not: a release, when the memory is full.
            Err(StoreError::Refused { .. }) => return Ok(1),
            Err(error) => return Err(error),
        };
        match reply.status() {
            "OK" => {
                self.note_use(caller, reply.now_us);
                let mut reader = reply.items();
                let mut left = std::mem::take(asked).into_iter();
                while let Some(next) = left.next() {
                    if !next.answer(&reply, &mut reader) {
                        // Behind an answer that cannot be decoded, it is unknown which answer is whose.
                        *asked = left.collect();
                        return Err(reply.unexpected());
                    }
                }
                Ok(0)
            }
            "AGAIN" => Ok(0), // the batch was paid for
            _ => Ok(1),       // the credential or the rate: each call learns it by itself
        }
    }
}

/// The items of a batch, column by column.
fn packed(asked: &[PendingCall], caller: &Caller) -> Vec<u8> {
    let packed = plain::column(Writer::default(), asked, |to, asked| to.text(asked.request()));
    let packed = plain::column(packed, asked, |to, asked| to.int(asked.ttl_ms()));
    let packed = plain::column(packed, asked, |to, asked| to.text(asked.resource()));
    let packed = plain::column(packed, asked, |to, asked| to.binary(asked.token().as_bytes()));
    let packed = plain::new_column(packed, asked, PendingCall::is_alike, |asked| asked.owner(caller));
    plain::new_column(packed, asked, PendingCall::is_alike, |asked| asked.event_tail(caller)).done()
}
