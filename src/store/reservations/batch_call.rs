//! The call of a batch: several calls of one tenant in one, and what each of them is answered. Hot path.
//!
//! Groups, then calls, are arguments and replies in the same order, in the layout of `lua/reservations/shared.lua`; change both together.

use tokio::sync::oneshot;

use crate::{
    domain::reservation::{ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, ReserveOutcome, ReserveRequest},
    store::{
        Arg, Caller, LimitReached, Outcome, Reply, Stamped, Store, StoreError,
        call::{Invocation, note_reply},
        codec::{Reader, Writer},
        functions::{self, Function},
        reservations::{
            Decision,
            batcher::Batch,
            encode::{Item, columns, quantities, waits},
        },
    },
};

/// What a call in a batch is answered.
pub(super) enum BatchReply<T> {
    Answer(T),
    /// It is to be made by itself; `is_paid`: its cost was counted.
    Unbatched {
        is_paid: bool,
    },
}

/// Where a call's answer goes.
pub(super) type Waiter<T> = oneshot::Sender<Result<BatchReply<T>, StoreError>>;

/// The answer to one item.
type ItemAnswer<T> = Stamped<Outcome<T>>;

/// A call that waits in a batch.
pub(super) enum Pending {
    Item(PendingItem),
    Call(PendingCall),
}

impl Pending {
    /// Number of its items.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Item(_) => 1,
            Self::Call(call) => call.weight,
        }
    }
}

/// A call for one item.
pub(super) struct PendingItem {
    pub(super) caller: Caller,
    pub(super) asked: AskedItem,
}

/// An item, and where its answer goes. A batch orders them releases, reserves, renewals: what is released can be reserved in the same call.
pub(super) enum AskedItem {
    Unreserve(ReleaseRequest, Waiter<ItemAnswer<ReleaseOutcome>>),
    Reserve(ReserveRequest, Waiter<ItemAnswer<ReserveOutcome>>),
    Renew(RenewRequest, Waiter<ItemAnswer<RenewOutcome>>),
}

/// A call for several items, which are done together.
pub(super) struct PendingCall {
    pub(super) caller: Caller,
    /// The function that would answer it by itself.
    pub(super) function: &'static Function,
    pub(super) cost: u32,
    pub(super) weight: usize,
    /// The second argument of its function, without the leading cost and floor.
    pub(super) packed: Vec<u8>,
    pub(super) reply_to: Waiter<Reply>,
}

impl PendingCall {
    /// Whether the caller has given up.
    pub(super) fn is_cancelled(&self) -> bool {
        self.reply_to.is_closed()
    }
}

impl PendingItem {
    fn item(&self) -> Item<'_> {
        match &self.asked {
            AskedItem::Unreserve(claim, _) => Item::Unreserve(claim),
            AskedItem::Reserve(request, _) => Item::Reserve(request),
            AskedItem::Renew(renewal, _) => Item::Renew(renewal),
        }
    }

    /// Its kind's place in the order of a batch.
    fn rank(&self) -> usize {
        match &self.asked {
            AskedItem::Unreserve(..) => 0,
            AskedItem::Reserve(..) => 1,
            AskedItem::Renew(..) => 2,
        }
    }

    /// Whether the caller has given up.
    pub(super) fn is_cancelled(&self) -> bool {
        match &self.asked {
            AskedItem::Unreserve(_, to) => to.is_closed(),
            AskedItem::Reserve(_, to) => to.is_closed(),
            AskedItem::Renew(_, to) => to.is_closed(),
        }
    }

    /// Decodes the next answer and hands it over; an error where it cannot be decoded.
    fn answer(self, reply: &Reply, reader: &mut Reader<'_>) -> Result<(), StoreError> {
        match self.asked {
            AskedItem::Unreserve(claim, to) => answer_item(&claim, to, reply, reader),
            AskedItem::Reserve(request, to) => answer_item(&request, to, reply, reader),
            AskedItem::Renew(renewal, to) => answer_item(&renewal, to, reply, reader),
        }
    }

    /// Hands over that the item is to be asked for by itself, or why the batch failed.
    fn make_alone(self, how: Result<bool, StoreError>) {
        match self.asked {
            AskedItem::Unreserve(_, to) => make_alone(to, how),
            AskedItem::Reserve(_, to) => make_alone(to, how),
            AskedItem::Renew(_, to) => make_alone(to, how),
        }
    }
}

/// Hands over that a call is to be made by itself, and whether it was paid for; or why the batch failed. A caller that has given up needs no answer.
fn make_alone<T>(to: Waiter<T>, how: Result<bool, StoreError>) {
    drop(to.send(how.map(|is_paid| BatchReply::Unbatched { is_paid })));
}

fn answer_item<D: Decision>(
    item: &D,
    to: Waiter<ItemAnswer<D::Answer>>,
    reply: &Reply,
    reader: &mut Reader<'_>,
) -> Result<(), StoreError> {
    let read = read_answer(item, reader).ok_or_else(|| reply.unexpected());
    let failed = read.as_ref().err().cloned();
    let shared = read.and_then(|answer| {
        Ok(match answer {
            Some(answer) => BatchReply::Answer(reply.stamped(answer?)),
            None => BatchReply::Unbatched { is_paid: true },
        })
    });
    drop(to.send(shared));
    failed.map_or(Ok(()), Err)
}

/// Decodes the answer to an item that may be refused by itself. `Some(None)`: nothing was done, it is to be asked for by itself; `None`: the answer
/// cannot be decoded.
#[allow(clippy::type_complexity, reason = "each level is another case, and none has a name elsewhere")]
fn read_answer<D: Decision>(
    item: &D,
    reader: &mut Reader<'_>,
) -> Option<Option<Result<Outcome<D::Answer>, StoreError>>> {
    if reader.absent() {
        return Some(None);
    }
    let mut ahead = reader.clone();
    let refusal = match ahead.text_ahead() {
        Some("LIMIT") => Ok(Outcome::Limit(LimitReached::read(&mut ahead)?)),
        Some("INVALID_RELEASE_TOKEN") => Ok(Outcome::WrongToken(vec![true])),
        Some("TTL") => Err(StoreError::TtlTooLong { max_ms: ahead.int()? }),
        _ => return item.read(reader).map(|answer| Some(Ok(Outcome::Done(answer)))),
    };
    *reader = ahead;
    Some(Some(refusal))
}

/// Calls for one item each, of one caller, which share a part of the batch.
struct Group {
    caller: Caller,
    items: Vec<PendingItem>,
}

impl Group {
    /// Groups items by caller, each group in the order of a batch.
    fn of(mut items: Vec<PendingItem>) -> Vec<Self> {
        items.sort_by_key(|item| (item.caller.id(), item.rank()));
        let mut groups: Vec<Self> = Vec::new();
        for item in items {
            match groups.last_mut() {
                Some(group) if group.caller.id() == item.caller.id() => group.items.push(item),
                _ => groups.push(Self { caller: item.caller.clone(), items: vec![item] }),
            }
        }
        groups
    }

    fn cost(&self) -> u32 {
        self.items.len() as u32
    }

    /// The second argument of its function, without the leading cost and floor.
    fn packed(&self) -> Vec<u8> {
        let items: Vec<_> = self.items.iter().map(PendingItem::item).collect();
        let of_rank = |rank| self.items.iter().filter(|item| item.rank() == rank).count() as i64;
        let head = Writer::default().text("I").int(of_rank(0)).int(of_rank(1)).int(of_rank(2));
        columns(waits(quantities(head, &items), &items), &items, &self.caller).done()
    }

    /// Hands each item its answer.
    fn answer(self, store: &Store, reply: Result<Reply, StoreError>) {
        let mut left = self.items.into_iter();
        let how = match reply {
            Ok(reply) => {
                note_reply(&self.caller, &reply, left.len() == 1);
                match reply.status() {
                    "OK" => {
                        store.note_use(&self.caller, reply.now_us);
                        let mut reader = reply.items();
                        // After an answer that cannot be decoded, the remaining bytes cannot be matched to items.
                        left.by_ref().try_for_each(|item| item.answer(&reply, &mut reader)).map(|()| true)
                    }
                    "AGAIN" => Ok(true),
                    // STALE, RATE or KEYS: nothing was counted, so each call is made alone and learns it by itself.
                    _ => Ok(false),
                }
            }
            Err(error) => Err(error),
        };
        left.for_each(|item| item.make_alone(how.clone()));
    }
}

impl Store {
    /// Sends a batch of the caller's tenant, and hands each call its answer.
    pub(super) async fn send_batch(&self, caller: &Caller, mut batch: Batch) {
        batch.drop_cancelled();
        if batch.len() <= 1 {
            batch.items.into_iter().for_each(|item| item.make_alone(Ok(false)));
            batch.calls.into_iter().for_each(|call| make_alone(call.reply_to, Ok(false)));
            return;
        }
        let (groups, calls) = (Group::of(batch.items), batch.calls);
        let weight: usize =
            groups.iter().map(|group| group.items.len()).chain(calls.iter().map(|call| call.weight)).sum();
        let (mut args, mut has_definitions) = (Vec::new(), false);
        let mut add = |caller: &'_ Caller, cost, packed: &[u8]| {
            has_definitions |= caller.has_definitions();
            args.push(Arg::Packed(caller.encoded().to_vec()));
            args.push(Arg::Packed([&caller.call_head(cost), packed].concat()));
        };
        groups.iter().for_each(|group| add(&group.caller, group.cost(), &group.packed()));
        calls.iter().for_each(|call| add(&call.caller, call.cost, &call.packed));
        let keys = caller.tenant_handle().keys_of(&functions::SHARED, has_definitions);
        let sent = self.run(Invocation::new(&functions::SHARED, keys, &args).of_requests(weight as u32));
        let bytes = sent.await;
        let mut reader = Reader::new(bytes.as_deref().unwrap_or_default());
        let mut next = |function: &'static Function| match &bytes {
            Ok(_) => Reply::read(function, reader.bytes().unwrap_or_default().to_vec()),
            Err(error) => Err(error.clone()),
        };
        // Redis ran nothing. Alone, a release may succeed where the batch is refused for memory.
        let is_refused = matches!(bytes, Err(StoreError::Refused { .. }));
        for group in groups {
            match next(&functions::SHARED) {
                Err(_) if is_refused => group.items.into_iter().for_each(|item| item.make_alone(Ok(false))),
                reply => group.answer(self, reply),
            }
        }
        for call in calls {
            match next(call.function) {
                Err(_) if is_refused => make_alone(call.reply_to, Ok(false)),
                reply => {
                    if let Ok(reply) = &reply {
                        note_reply(&call.caller, reply, true);
                    }
                    drop(call.reply_to.send(reply.map(BatchReply::Answer)));
                }
            }
        }
    }
}
