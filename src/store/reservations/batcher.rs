//! Calls that share a script: what one credential asks at the same moment, one thing each, goes to Redis together.
//!
//! A script costs Redis far more than what it decides: of several items of one call, each costs a quarter of what it does alone. So while calls of
//! a credential are under way, those that come after them wait until these are back, or until they are enough to go at once: what databases
//! call group commit. Who is alone waits for nobody, and from afar more go by themselves, for they would not wait at Redis either. Each item is
//! decided by itself (`lua/shared_plain.lua`); what is more than "done", "held" or "free" is said by the item's own script, which it is then
//! given to.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::poll;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    domain::reservation::{ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, ReserveOutcome, ReserveRequest},
    store::{
        Caller, Outcome, Reply, Stamped, Store, StoreError, TIMEOUT,
        codec::{Reader, Writer},
        reservations::{plain, shown_token},
        scripts,
    },
};

/// So many calls of a credential are under way before others wait, where few ask at a time: one would keep two clients waiting for each other.
const APART: usize = 4;
/// Redis decides one, or a few together, in about so many microseconds.
const DECIDED_US: u32 = 125;
/// So many wait no longer. Redis decides them in about 0.15 ms.
const TOGETHER: usize = 32;

/// What one call asks, and who waits for its answer.
pub(in crate::store) enum Asked {
    Reserve(ReserveRequest, Waiter<ReserveOutcome>),
    Renew(RenewRequest, Waiter<RenewOutcome>),
    Unreserve(ReleaseRequest, Waiter<ReleaseOutcome>),
}

type Waiter<T> = oneshot::Sender<Result<BatchedOutcome<T>, StoreError>>;

/// What became of an item.
pub(in crate::store) enum BatchedOutcome<T> {
    Stamped(Stamped<T>),
    /// Nothing yet: it is to go alone, at that cost.
    Alone(u32),
}

impl Asked {
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

    /// Its turn in the script, which counts on it (`lua/shared_plain.lua`): what gives back comes first, and makes room; each kind stands together,
    /// for of an event only that is said which it does not have in common with the one before it.
    fn turn(&self) -> u8 {
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

    /// What the script is told of the reservation.
    fn known(&self, caller: &Caller) -> Vec<u8> {
        match self {
            Self::Reserve(wanted, _) => plain::kept(wanted, caller),
            Self::Renew(RenewRequest { claim, .. }, _) | Self::Unreserve(claim, _) => plain::who(claim),
        }
    }

    /// What it is told of the event.
    fn told(&self, caller: &Caller) -> Vec<u8> {
        match self {
            Self::Reserve(wanted, _) => plain::told_of_wanted(wanted, caller),
            Self::Renew(RenewRequest { claim, .. }, _) | Self::Unreserve(claim, _) => {
                plain::told_of_claim(claim, caller)
            }
        }
    }

    /// Whether the script is told the same of both.
    fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Reserve(a, _), Self::Reserve(b, _)) => plain::is_alike(a, b),
            (Self::Renew(a, _), Self::Renew(b, _)) => a.claim.requester == b.claim.requester,
            (Self::Unreserve(a, _), Self::Unreserve(b, _)) => a.requester == b.requester,
            _ => false,
        }
    }

    /// Whether nobody waits for it any more.
    fn is_given_up(&self) -> bool {
        match self {
            Self::Reserve(_, to) => to.is_closed(),
            Self::Renew(_, to) => to.is_closed(),
            Self::Unreserve(_, to) => to.is_closed(),
        }
    }

    /// Hands over the answer that comes next; whether there was one.
    fn answer(self, reply: &Reply, reader: &mut Reader<'_>) -> bool {
        match self {
            Self::Reserve(wanted, to) => hand_over(to, reply, reader, |reader| plain::read_granted(reader, &wanted)),
            Self::Renew(_, to) => hand_over(to, reply, reader, plain::read_renewed),
            Self::Unreserve(claim, to) => hand_over(to, reply, reader, |reader| plain::read_released(reader, &claim)),
        }
    }

    /// Hands over that it is to go alone, at that cost, or why it failed.
    fn send_back(self, how: Result<u32, StoreError>) {
        // Whoever has given up needs no answer.
        match self {
            Self::Reserve(_, to) => drop(to.send(how.map(BatchedOutcome::Alone))),
            Self::Renew(_, to) => drop(to.send(how.map(BatchedOutcome::Alone))),
            Self::Unreserve(_, to) => drop(to.send(how.map(BatchedOutcome::Alone))),
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
        Ok(BatchedOutcome::Alone(0)) // it was paid for
    } else {
        read(reader).map(|answer| BatchedOutcome::Stamped(reply.told(answer))).ok_or_else(|| reply.unexpected())
    };
    let is_read = outcome.is_ok();
    drop(to.send(outcome));
    is_read
}

/// Calls that will share a script.
struct Group {
    caller: Caller,
    asked: Vec<Asked>,
}

/// How a credential is used: what decides how many of its calls are under way before others wait for them.
#[derive(Debug, Default)]
pub(in crate::store) struct Traffic {
    /// The shortest time in microseconds that a call took which went alone; 0: none has yet. Most of it is the way there and back, if that is long.
    least_us: AtomicU32,
    /// Whether so many ask at a time that calls waited for each other lately.
    is_busy: AtomicBool,
}

impl Traffic {
    /// As many as Redis decides while one is on its way: more would wait there. Where many ask, few go alone, since each could have been shared.
    fn apart(&self) -> usize {
        let few = if self.is_busy.load(Ordering::Relaxed) { 1 } else { APART };
        ((self.least_us.load(Ordering::Relaxed) / DECIDED_US) as usize).clamp(few, TOGETHER)
    }

    fn note_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    fn note_alone(&self, took: Duration) {
        let (least_us, took_us) =
            (self.least_us.load(Ordering::Relaxed), took.as_micros().clamp(1, u32::MAX.into()) as u32);
        if least_us == 0 || took_us < least_us {
            self.least_us.store(took_us, Ordering::Relaxed);
        }
    }
}

/// The calls of one credential.
#[derive(Default)]
struct Way {
    under_way: usize,
    waiting: Option<Group>,
}

/// The calls of all credentials, on one runtime. A caller is known by its place in memory, which none takes over as long as one of its calls
/// is here.
#[derive(Default)]
pub(in crate::store) struct Ways(Mutex<HashMap<usize, Way>>);

impl std::fmt::Debug for Ways {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Ways").field("callers", &self.ways().len()).finish_non_exhaustive()
    }
}

/// How a call goes on.
enum Entered<T> {
    /// Alone; when it returns, others may go.
    First,
    /// Alone, beside one that asks for the same.
    Beside,
    Waiting(oneshot::Receiver<Result<BatchedOutcome<T>, StoreError>>),
    Enough(Group, oneshot::Receiver<Result<BatchedOutcome<T>, StoreError>>),
}

impl Ways {
    fn ways(&self) -> MutexGuard<'_, HashMap<usize, Way>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter<T>(&self, caller: &Caller, resource: &str, ask: impl FnOnce(Waiter<T>) -> Asked) -> Entered<T> {
        let mut ways = self.ways();
        let way = ways.entry(caller.number()).or_default();
        if way.under_way < caller.traffic().apart() {
            way.under_way += 1;
            return Entered::First;
        }
        // Not counted: many that ask for one thing, again and again, would keep those that wait from ever going.
        if way.waiting.as_ref().is_some_and(|group| group.asked.iter().any(|asked| asked.resource() == resource)) {
            return Entered::Beside;
        }
        let (to, replied) = oneshot::channel();
        let group =
            way.waiting.get_or_insert_with(|| Group { caller: caller.clone(), asked: Vec::with_capacity(TOGETHER) });
        group.asked.push(ask(to));
        caller.traffic().note_busy(true);
        if group.asked.len() >= TOGETHER
            && let Some(group) = way.waiting.take()
        {
            way.under_way += 1;
            return Entered::Enough(group, replied);
        }
        Entered::Waiting(replied)
    }

    /// One has returned; who is to go in its place.
    fn leave(&self, caller: &Caller) -> Option<Group> {
        let mut ways = self.ways();
        let way = ways.get_mut(&caller.number())?;
        way.under_way -= 1;
        if way.under_way < caller.traffic().apart()
            && let Some(group) = way.waiting.take()
        {
            caller.traffic().note_busy(group.asked.len() > 1);
            way.under_way += 1;
            return Some(group);
        }
        if way.under_way == 0 {
            ways.remove(&caller.number());
        }
        None
    }
}

/// A call that is under way alone. When it ends, however it does, others go.
struct UnderWay<'a> {
    store: &'a Store,
    caller: &'a Caller,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.store.ways.leave(self.caller) {
            let store = self.store.clone();
            tokio::spawn(async move { store.send_groups(group).await });
        }
    }
}

impl Store {
    /// Asks for one thing: together with others that `caller` asks for now, or `alone` at the cost it is given.
    pub(in crate::store) async fn share<T>(
        &self,
        caller: &Caller,
        resource: &str,
        ask: impl FnOnce(Waiter<T>) -> Asked,
        alone: impl AsyncFnOnce(u32) -> Result<Stamped<Outcome<Vec<T>>>, StoreError>,
    ) -> Result<Stamped<Outcome<Vec<T>>>, StoreError> {
        let since = Instant::now();
        let replied = match self.ways.enter(caller, resource, ask) {
            Entered::Beside => return alone(1).await,
            Entered::First => {
                let _under_way = UnderWay { store: self, caller };
                let told = alone(1).await?;
                caller.traffic().note_alone(since.elapsed());
                return Ok(told);
            }
            Entered::Waiting(replied) => replied,
            Entered::Enough(group, replied) => {
                let store = self.clone();
                let mut sending = Box::pin(async move { store.send_groups(group).await });
                // It is written at once; others wait for the answer.
                if poll!(&mut sending).is_pending() {
                    tokio::spawn(sending);
                }
                replied
            }
        };
        // Whoever is not answered in time withdraws; whether it had been sent only asking again can tell.
        let replied = tokio::time::timeout_at((since + TIMEOUT).into(), replied).await;
        let unknown = || StoreError::OutcomeUnknown { waited_ms: since.elapsed().as_millis() as u64 };
        match replied.map_err(|_| unknown())?.map_err(|_| unknown())? {
            Ok(BatchedOutcome::Stamped(told)) => Ok(told.map(|answer| Outcome::Done(vec![answer]))),
            Ok(BatchedOutcome::Alone(cost)) => alone(cost).await,
            Err(StoreError::OutcomeUnknown { .. }) => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// Sends one group, and those that have come together meanwhile.
    async fn send_groups(&self, group: Group) {
        let caller = group.caller.clone();
        let mut next = Some(group);
        while let Some(group) = next {
            self.send_group(group).await;
            next = self.ways.leave(&caller);
        }
    }

    async fn send_group(&self, Group { caller, mut asked }: Group) {
        asked.retain(|asked| !asked.is_given_up());
        let how = if asked.len() > 1 { self.ask_together(&caller, &mut asked).await } else { Ok(1) };
        asked.into_iter().for_each(|asked| asked.send_back(how.clone()));
    }

    /// Asks for all of it, and hands over what each is answered. What is left of it is to go alone, at the cost that is answered, or has failed.
    async fn ask_together(&self, caller: &Caller, asked: &mut Vec<Asked>) -> Result<u32, StoreError> {
        let count = asked.len() as u32;
        asked.sort_by_key(Asked::turn);
        let items = packed(asked, caller);
        let reply = match self.ask_once(count, count, &scripts::SHARED_PLAIN, caller, |to| to.bytes(&items)).await {
            Ok(reply) => reply,
            // Redis has done nothing. For one alone it may do what it does not do for all: give back, where its memory is full.
            Err(StoreError::Refused { .. }) => return Ok(1),
            Err(error) => return Err(error),
        };
        match reply.verdict() {
            "OK" => {
                self.note_use(caller, reply.now_us);
                let mut reader = reply.items();
                let mut left = std::mem::take(asked).into_iter();
                while let Some(next) = left.next() {
                    if !next.answer(&reply, &mut reader) {
                        // Behind an answer that cannot be read, none is known to be whose.
                        *asked = left.collect();
                        return Err(reply.unexpected());
                    }
                }
                Ok(0)
            }
            "AGAIN" => Ok(0), // it was paid for
            _ => Ok(1),       // the credential or the rate: each is told by itself
        }
    }
}

/// What the script is told, column by column.
fn packed(asked: &[Asked], caller: &Caller) -> Vec<u8> {
    let packed = plain::column(Writer::default(), asked, |to, asked| to.text(asked.request()));
    let packed = plain::column(packed, asked, |to, asked| to.int(asked.ttl_ms()));
    let packed = plain::column(packed, asked, |to, asked| to.text(asked.resource()));
    let packed = plain::column(packed, asked, |to, asked| to.binary(asked.token().as_bytes()));
    let packed = plain::new_column(packed, asked, Asked::is_alike, |asked| asked.known(caller));
    plain::new_column(packed, asked, Asked::is_alike, |asked| asked.told(caller)).done()
}
