//! Reservations: what the functions that change and read them are asked, and what they answer.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `encode`, `decode` | items as they are sent, answers as they are read |
//! | `batcher` | which calls wait for each other, and for how long |
//! | `batch_call` | the call of a batch, and its answers |
//! | `transactions` | transactions |
//! | `pages` | lists, page by page |
//! | `resources` | registered resources |
//! | `tickets` | tickets of those who wait |
//! | `expiry` | what the sweep asks |

mod batch_call;
pub(super) mod batcher;
mod decode;
mod encode;
pub(super) mod expiry;
pub(super) mod pages;
pub(super) mod resources;
pub(super) mod tickets;
pub(super) mod transactions;

pub(in crate::store) use decode::Place;

use crate::{
    domain::{
        rate::cost,
        reservation::{
            Checked, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, ReserveOutcome, ReserveRequest,
        },
    },
    store::{
        Caller, Outcome, Reply, Stamped, Store, StoreError,
        call::{Call, HEAVY},
        codec::{Reader, Writer},
        functions,
        reservations::{
            batch_call::{AskedItem, Pending, PendingCall, PendingItem, Waiter},
            batcher::Batched,
            decode::{decided, read_release_item, read_renewed, read_reserve_item},
            encode::{Ask, Item},
        },
    },
};

/// Pieces of one call after which one that asks to be called again counts as a bug.
const MAX_PIECES: usize = 100_000;

/// A kind of decision about an item: how it is sent, by itself or in a batch, and how its answer is decoded.
trait Decision: Clone {
    /// The answer to one item.
    type Answer;

    /// The item as it is encoded.
    fn item(&self) -> Item<'_>;

    /// The item as part of a batch.
    fn pending(self, reply_to: Waiter<Stamped<Outcome<Self::Answer>>>) -> AskedItem;

    /// Decodes its answer.
    fn read(&self, reader: &mut Reader<'_>) -> Option<Self::Answer>;
}

impl Decision for ReserveRequest {
    type Answer = ReserveOutcome;

    fn item(&self) -> Item<'_> {
        Item::Reserve(self)
    }

    fn pending(self, reply_to: Waiter<Stamped<Outcome<ReserveOutcome>>>) -> AskedItem {
        AskedItem::Reserve(self, reply_to)
    }

    fn read(&self, reader: &mut Reader<'_>) -> Option<ReserveOutcome> {
        decided(read_reserve_item(reader, self)?)
    }
}

impl Decision for ReleaseRequest {
    type Answer = ReleaseOutcome;

    fn item(&self) -> Item<'_> {
        Item::Unreserve(self)
    }

    fn pending(self, reply_to: Waiter<Stamped<Outcome<ReleaseOutcome>>>) -> AskedItem {
        AskedItem::Unreserve(self, reply_to)
    }

    fn read(&self, reader: &mut Reader<'_>) -> Option<ReleaseOutcome> {
        decided(read_release_item(reader, self)?)
    }
}

impl Decision for RenewRequest {
    type Answer = RenewOutcome;

    fn item(&self) -> Item<'_> {
        Item::Renew(self)
    }

    fn pending(self, reply_to: Waiter<Stamped<Outcome<RenewOutcome>>>) -> AskedItem {
        AskedItem::Renew(self, reply_to)
    }

    fn read(&self, reader: &mut Reader<'_>) -> Option<RenewOutcome> {
        read_renewed(reader)
    }
}

impl Store {
    /// Reserves what is free, each item on its own; one answer per item, in order.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe: what is held comes back as `ALREADY_HAD`.
    ///
    /// # Cancellation
    /// Dropping the future does not undo a call that was already sent; one that still waits in a batch is not sent.
    pub async fn reserve(
        &self,
        caller: &Caller,
        items: &[ReserveRequest],
    ) -> Result<Stamped<Outcome<Vec<ReserveOutcome>>>, StoreError> {
        if items.iter().any(|item| item.wait.is_some()) {
            self.check_stored(caller).await?;
        }
        self.decide(caller, items).await
    }

    /// Releases what the caller proves it holds; one wrong token and nothing is released.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe: what is free comes back as `NOT_RESERVED`.
    ///
    /// # Cancellation
    /// As for [`reserve`](Self::reserve).
    pub async fn unreserve(
        &self,
        caller: &Caller,
        items: &[ReleaseRequest],
    ) -> Result<Stamped<Outcome<Vec<ReleaseOutcome>>>, StoreError> {
        self.decide(caller, items).await
    }

    /// Moves the deadline of what the caller proves it holds; one wrong token and nothing is moved.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    ///
    /// # Cancellation
    /// As for [`reserve`](Self::reserve).
    pub async fn renew(
        &self,
        caller: &Caller,
        items: &[RenewRequest],
    ) -> Result<Stamped<Outcome<Vec<RenewOutcome>>>, StoreError> {
        self.decide(caller, items).await
    }

    /// Decides items: a single one in a batch with others of the tenant, where calls are in flight; else by a call of their own.
    async fn decide<D: Decision>(
        &self,
        caller: &Caller,
        items: &[D],
    ) -> Result<Stamped<Outcome<Vec<D::Answer>>>, StoreError> {
        let ask = || Ask::items(&items.iter().map(Decision::item).collect::<Vec<_>>(), caller);
        let (reply, _in_flight) = match items {
            [item] => {
                if item.item().wait().is_some() {
                    caller.tenant_handle().note_tickets();
                }
                let pending = |reply_to| {
                    Pending::Item(PendingItem { caller: caller.clone(), asked: item.clone().pending(reply_to) })
                };
                match self.batch(caller, 1, pending).await? {
                    Batched::Answered(stamped) => return Ok(stamped.map(|outcome| outcome.map(|answer| vec![answer]))),
                    Batched::Unbatched { is_paid, in_flight } => {
                        let ask = ask();
                        let cost = if is_paid { 0 } else { ask.cost };
                        let reply = self.call(caller, Call::packed(ask.function, ask.alone).at_cost(cost)).await?;
                        in_flight.iter().for_each(|in_flight| in_flight.note_answer());
                        (reply, in_flight)
                    }
                }
            }
            _ => (self.call_batched(caller, ask()).await?, None),
        };
        reply.outcome(|reply| {
            let mut items = items.iter();
            reply.each(|reader| items.next()?.read(reader))
        })
    }

    /// Makes a call for several items, in a batch with others of the tenant where calls are in flight.
    async fn call_batched(&self, caller: &Caller, ask: Ask) -> Result<Reply, StoreError> {
        let Ask { function, cost, weight, waits, alone, batched } = ask;
        if waits {
            caller.tenant_handle().note_tickets();
            return self.call(caller, Call::packed(function, alone).at_cost(cost).weighing(weight)).await;
        }
        let pending = |reply_to| {
            Pending::Call(PendingCall { caller: caller.clone(), function, cost, weight, packed: batched, reply_to })
        };
        let (cost, _in_flight) = match self.batch::<Reply>(caller, weight, pending).await? {
            Batched::Unbatched { is_paid, in_flight } => (if is_paid { 0 } else { cost }, in_flight),
            Batched::Answered(reply) => match reply.status() {
                "STALE" | "KEYS" => (cost, None),
                "AGAIN" => (0, None),
                "RATE" => return Err(reply.too_fast(caller)),
                "TOO_MUCH_WORK" => return Err(StoreError::TooMuchWork),
                _ => {
                    self.note_use(caller, reply.now_us);
                    return Ok(reply);
                }
            },
        };
        self.call(caller, Call::packed(function, alone).at_cost(cost).weighing(weight)).await
    }

    /// Looks who holds these resources.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn check(&self, caller: &Caller, resources: &[String]) -> Result<Stamped<Vec<Checked>>, StoreError> {
        let bytes = resources.iter().map(String::len).sum();
        self.check_at_cost(caller, resources, cost(resources.len(), bytes)).await
    }

    /// Looks at resources as part of a call that was paid for; only what is more than one call may look at is counted.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn check_again(&self, caller: &Caller, resources: &[String]) -> Result<Vec<Checked>, StoreError> {
        Ok(self.check_at_cost(caller, resources, 0).await?.answer)
    }

    async fn check_at_cost(
        &self,
        caller: &Caller,
        resources: &[String],
        mut cost: u32,
    ) -> Result<Stamped<Vec<Checked>>, StoreError> {
        let mut checked = Vec::with_capacity(resources.len());
        // A reply that has become long ends early: the others are asked for by another call.
        for _ in 0..=resources.len() {
            let names = &resources[checked.len()..];
            let packed = names.iter().fold(Writer::default().array(names.len()), |to, name| to.text(name)).done();
            let reply =
                self.call(caller, Call::packed(&functions::CHECK, packed).at_cost(cost).weighing(names.len())).await?;
            checked.extend(reply.each(read_checked)?);
            if reply.status() != "MORE" {
                return Ok(reply.stamped(checked));
            }
            cost = 1;
        }
        Err(StoreError::UnexpectedReply { function: functions::CHECK.name, got: "more pieces than names".into() })
    }

    /// The fencing token of the resource's present holder; `None` when it is free. Of a pool it is `fence` where that is one of its
    /// slots', else the latest of its slots'.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn verify_fence(
        &self,
        caller: &Caller,
        resource: &str,
        fence: i64,
    ) -> Result<Stamped<Option<i64>>, StoreError> {
        let packed = Writer::default().text(resource).int(fence).done();
        let reply = self.call(caller, Call::packed(&functions::VERIFY_FENCE, packed)).await?;
        let fence = reply.whole(Reader::maybe_int)?;
        Ok(reply.stamped(fence))
    }

    /// The tenant's latest position, if the caller's credential still holds.
    ///
    /// # Errors
    /// [`StoreError::Unauthorized`] when it does not.
    pub async fn position(&self, caller: &Caller) -> Result<Stamped<()>, StoreError> {
        Ok(self.ask(&functions::POSITION, caller, &[]).await?.stamped(()))
    }

    /// Ends a reservation whoever holds it, of a pool those of all slots; answers what was freed. What is taken after it has begun stays.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: some of it may have been done. Repeating is safe.
    pub async fn force_release(
        &self,
        caller: &Caller,
        resource: &str,
        reason: &str,
    ) -> Result<Stamped<Vec<String>>, StoreError> {
        let (mut released, mut from, mut up_to, mut cost) = (Vec::new(), 0, 0, 1);
        for _ in 0..MAX_PIECES {
            let packed = Writer::default().text(resource).text(reason).int(from).int(up_to).done();
            let piece = Call::packed(&functions::FORCE_RELEASE, packed).at_cost(cost).weighing(HEAVY);
            let reply = self.call(caller, piece.in_mid_change(cost == 0)).await?;
            let is_done = reply.status() != "MORE";
            reply.whole(|reader| {
                if !is_done {
                    (from, up_to) = (reader.int()?, reader.int()?);
                }
                while reader.left() > 0 {
                    released.push(reader.text()?.to_owned());
                }
                Some(())
            })?;
            if is_done {
                return Ok(reply.stamped(released));
            }
            cost = 0;
        }
        Err(StoreError::UnexpectedReply {
            function: functions::FORCE_RELEASE.name,
            got: "pieces without an end".into(),
        })
    }

    /// Ends every reservation of the tenant, and every wait; answers how many names, slots and blockers were held.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn reset(&self, caller: &Caller) -> Result<Stamped<i64>, StoreError> {
        let reply = self.call(caller, Call::with_args(&functions::RESET, &[]).weighing(HEAVY)).await?;
        let ended = reply.whole(Reader::int)?;
        Ok(reply.stamped(ended))
    }
}

fn read_checked(reader: &mut Reader<'_>) -> Option<Checked> {
    Some(Checked {
        holder: reader.maybe_text()?,
        deadline_ms: reader.maybe_int()?,
        note: reader.maybe_text()?,
        capacity: reader.int()?,
        available: reader.int()?,
        takeable: reader.boolean()?,
        waiting: reader.int()?,
    })
}
