//! The only room that knows Redis: connections, keys, one typed wrapper per script.
//!
//! Every decision is made by one script on one slot; what stands here names its keys and arguments, sends it, and reads its
//! answer. A refusal is an answer ([`Outcome`]); a failure is a [`StoreError`]; not knowing is its own case of that.

mod callers;
mod codec;
mod events;
mod keys;
mod queues;
mod redis;
mod reservations;
mod scripts;
mod tenants;

use std::{sync::Arc, time::Duration};

pub use callers::{Bearer, Caller, Callers, INGEST_KEY_PREFIX, REMEMBERED, Secret};
pub use events::history::{Ask, Head, Replay};
pub use events::notification::{Notification, Payload};
pub use events::platform::{CompanyRemoval, Published, Registering};
pub use events::stream_slots::{ReplicaId, StreamId, StreamKind};
pub use keys::{Key, PARTITIONS, Partition, TenantHandle};
pub use queues::connections::CreatedConnection;
pub use queues::jobs::JobPage;
pub use queues::observe::{MAX_OBSERVATIONS, ObservationCounts, ObserveOutcome};
pub use queues::watches::{AcquireOutcome, AcquiredWatch, Availability, LEASE_DURATION, WatchLease};
pub use redis::address::{Address, AddressError};
pub use redis::handle::{RedisHandle, RedisHandles};
pub use redis::identity::names_in;
pub use redis::private_server::{PrivateRedis, PrivateRedisError};
pub use redis::subscription::{Subscription, SubscriptionEvent};
pub use reservations::expiry::{ClockSample, DueTenants, Expired};
pub use reservations::resources::{RegisterOutcome, ResourcePage};
pub use reservations::{Page, PageCursor};
pub use scripts::{SCRIPTS, Script};
pub use tenants::issuers::Registration;
pub use tenants::rate_state::{RateSnapshot, RateState};
pub use tenants::sessions::{SESSION_LONGEST, SESSION_PREFIX, Usage};
pub use tenants::{KEY_PREFIX, KeyPage, KeyRemoval, NewKey, TenantPage};

use codec::Reader;
use redis::resp::Arguments;
use reservations::batcher;
use scripts::Pair;

use crate::domain::{closed_set::ClosedSet, rate::TooFast, tier::LimitType};

/// How long a call waits for Redis before its outcome counts as unknown. One that was asked with others, and is then asked alone, waits anew.
pub const TIMEOUT: Duration = Duration::from_millis(2_000);
/// How often a script may ask to be called again before that counts as a bug: 256 lapsed reservations are ended each time.
const AGAIN_MOST: usize = 8_192;

/// Why a call to the store gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing was sent, so nothing changed.
    #[error("redis cannot be reached")]
    Unreachable,

    /// Redis answered that it cannot do this now; nothing changed.
    #[error("redis refuses: {code}")]
    Refused {
        /// Redis' own word: `OOM`, `MISCONF`, `READONLY`, `LOADING`, `CLUSTERDOWN` ...
        code: String,
    },

    /// Sent, and no reply in time: only asking again can tell.
    #[error("redis did not answer within {waited_ms} ms, or the connection broke meanwhile")]
    OutcomeUnknown {
        /// How long the call waited.
        waited_ms: u64,
    },

    /// The credential is gone: revoked, rotated, expired, or its tenant deleted.
    #[error("the credential is no longer valid")]
    Unauthorized,

    /// The tenant calls faster than its tier allows; nothing but the count of it changed.
    #[error("the tenant's rate is used up")]
    TooFast(TooFast),

    /// The reply is not what the script promises: a bug.
    #[error("script {script} answered {got}")]
    UnexpectedReply {
        /// Which script.
        script: &'static str,
        /// What it answered instead.
        got: String,
    },
}

/// A script's answer, with the instant at which it was true.
#[derive(Debug, Clone)]
pub struct Stamped<T> {
    /// Redis' clock as the script read it, in microseconds since the Unix epoch.
    pub now_us: i64,
    /// The tenant's latest position.
    pub position: i64,
    /// The answer itself.
    pub answer: T,
}

impl<T> Stamped<T> {
    /// The same instant with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Stamped<U> {
        Stamped { now_us: self.now_us, position: self.position, answer: change(self.answer) }
    }

    /// The same instant with another answer, or the failure to make one.
    ///
    /// # Errors
    /// What `change` fails with.
    pub fn try_map<U, E>(self, change: impl FnOnce(T) -> Result<U, E>) -> Result<Stamped<U>, E> {
        Ok(Stamped { now_us: self.now_us, position: self.position, answer: change(self.answer)? })
    }
}

/// Outcome of a call that nothing but a limit of the tier can refuse.
#[derive(Debug, Clone)]
pub enum Limited<T> {
    /// It was done.
    Done(T),
    /// Nothing was done: it would pass a limit of the tenant's tier.
    Limit(LimitReached),
}

impl<T> Limited<T> {
    /// The same outcome with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Limited<U> {
        match self {
            Self::Done(answer) => Limited::Done(change(answer)),
            Self::Limit(reached) => Limited::Limit(reached),
        }
    }
}

/// What a script decided.
#[derive(Debug, Clone)]
pub enum Outcome<T> {
    /// It was done, item by item.
    Done(T),
    /// Nothing was done: it would pass a limit of the tenant's tier.
    Limit(LimitReached),
    /// Nothing was done: the token of each item marked `true` is wrong.
    WrongToken(Vec<bool>),
    /// Nothing was done: it would change more physical resources than one call may.
    TooMany,
}

/// A limit of the tier that a call would have passed.
#[derive(Debug, Clone)]
pub struct LimitReached {
    /// Which limit.
    pub limit_type: LimitType,
    /// The most that the tier allows.
    pub limit: i64,
    /// How many are in use.
    pub used: i64,
    /// When the earliest of them ends, in milliseconds since the Unix epoch; `None`: no deadline says it.
    pub until_ms: Option<i64>,
}

/// One runtime's access to Redis. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    link: RedisHandle,
    callers: Arc<Callers>,
    ways: Arc<batcher::Ways>,
}

impl Store {
    /// A store over a connection of this runtime and the callers known to the whole replica.
    #[must_use]
    pub fn new(link: RedisHandle, callers: Arc<Callers>) -> Self {
        Self { link, callers, ways: Arc::default() }
    }

    /// The connection, for what is no script.
    #[must_use]
    pub fn link(&self) -> &RedisHandle {
        &self.link
    }

    /// Who is known to this replica.
    #[must_use]
    pub fn callers(&self) -> &Callers {
        &self.callers
    }

    /// Sends a script on behalf of `caller` and reads the head of its answer. The call costs 1 of the tenant's rate.
    async fn ask(&self, script: &'static Script, caller: &Caller, args: &[Arg<'_>]) -> Result<Reply, StoreError> {
        self.ask_at_cost(1, script, caller, args).await
    }

    /// The same for a call with so many items, or for one that is free.
    async fn ask_at_cost(
        &self,
        cost: u32,
        script: &'static Script,
        caller: &Caller,
        args: &[Arg<'_>],
    ) -> Result<Reply, StoreError> {
        let write = |_: &Caller, to: &mut dyn Arguments| args.iter().for_each(|arg| arg.write(to));
        self.ask_either(cost, &Pair { plan: script, plain: script }, caller, write, write).await
    }

    /// Sends the script that fits the caller's tenant, with the arguments that `plan` or `plain` writes.
    ///
    /// Looks the caller up anew when the script says that the tenant changed, and calls again while the script asks for it.
    async fn ask_either(
        &self,
        mut cost: u32,
        pair: &Pair,
        caller: &Caller,
        plan: impl Fn(&Caller, &mut dyn Arguments),
        plain: impl Fn(&Caller, &mut dyn Arguments),
    ) -> Result<Reply, StoreError> {
        let mut fresh: Option<Caller> = None;
        for _ in 0..AGAIN_MOST {
            let present = fresh.as_ref().unwrap_or(caller);
            let script = if present.needs_plan() { pair.plan } else { pair.plain };
            let reply = self
                .ask_once(1, cost, script, present, |to| {
                    if present.needs_plan() { plan(present, to) } else { plain(present, to) }
                })
                .await?;
            match reply.verdict() {
                "STALE" if fresh.is_some() => return Err(StoreError::Unauthorized),
                // In a box, for it is rare: each call would carry the room for it along.
                "STALE" => match Box::pin(self.look_again(caller)).await? {
                    Some(caller) => fresh = Some(caller),
                    None => return Err(StoreError::Unauthorized),
                },
                "AGAIN" => cost = 0, // it is still the one call, and that was paid for
                "RATE" => {
                    let wait_us = reply.whole(|reader| reader.int().and(reader.int()))?;
                    let Some(rate) = present.limits().rate else { return Err(reply.unexpected()) };
                    return Err(StoreError::TooFast(TooFast {
                        tier: present.tenant().tier,
                        rate,
                        wait_us,
                        now_us: Some(reply.now_us),
                    }));
                }
                _ => {
                    self.note_use(present, reply.now_us);
                    return Ok(reply);
                }
            }
        }
        Err(StoreError::UnexpectedReply { script: pair.plan.name, got: format!("AGAIN {AGAIN_MOST} times") })
    }

    /// Sends a script once, in place of so many calls, at a cost, and notes what its answer says of the tenant.
    async fn ask_once(
        &self,
        calls: u32,
        cost: u32,
        script: &'static Script,
        caller: &Caller,
        args: impl Fn(&mut dyn Arguments),
    ) -> Result<Reply, StoreError> {
        let place = caller.place();
        let packed = caller.packed(cost);
        let reply = self.link.eval_for(calls, script, place.keys_of(script), |to| {
            to.bytes(&packed);
            args(to);
        });
        let reply = Reply::read(script, reply.await?)?;
        if reply.verdict() != "STALE" {
            place.seen(reply.position);
            if caller.bearer() != &Bearer::System {
                // Of several calls that do not fit together, some may.
                place.pace().note(caller.limits().rate, reply.backlog_us, reply.verdict() == "RATE" && calls == 1);
            }
        }
        Ok(reply)
    }
}

/// An argument of a script.
enum Arg<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(i64),
    Token(uuid::Uuid),
}

impl Arg<'_> {
    fn write(&self, to: &mut dyn Arguments) {
        match self {
            Self::Text(text) => to.text(text),
            Self::Bytes(bytes) => to.bytes(bytes),
            Self::Number(number) => to.int(*number),
            Self::Token(token) => to.bytes(token.as_bytes()),
        }
    }
}

/// A script's answer, its head read and its items still to be read.
struct Reply {
    script: &'static Script,
    bytes: Vec<u8>,
    /// How long until the tenant's rate is whole again, in microseconds, of a call that was counted.
    backlog_us: i64,
    verdict: (usize, usize),
    now_us: i64,
    position: i64,
    items: usize,
    /// How many values there are, of an answer that is an array; the others end with their bytes.
    left: Option<usize>,
}

impl Reply {
    /// Reads backlog, verdict, clock and position; the scripts' answers all begin so.
    fn read(script: &'static Script, bytes: Vec<u8>) -> Result<Self, StoreError> {
        let mut reader = Reader::new(&bytes);
        let head = (|| {
            let backlog_us = if script.is_counted() { reader.int()? } else { 0 };
            let mut left = reader.array_ahead();
            let verdict = reader.text()?.len();
            let end = bytes.len() - reader.left();
            let now_us = reader.int()?;
            left = left.map(|left| left.saturating_sub(2));
            let mut position = 0;
            if left.map_or(reader.left() > 0, |left| left > 0) {
                position = reader.int()?;
                left = left.map(|left| left - 1);
            }
            Some((backlog_us, (end - verdict, end), now_us, position, bytes.len() - reader.left(), left))
        })();
        match head {
            Some((backlog_us, verdict, now_us, position, items, left)) => {
                Ok(Self { script, backlog_us, verdict, now_us, position, items, left, bytes })
            }
            None => Err(StoreError::UnexpectedReply {
                script: script.name,
                got: format!("{} bytes without a head", bytes.len()),
            }),
        }
    }

    fn verdict(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.verdict.0..self.verdict.1]).unwrap_or("")
    }

    /// Where to read the items.
    fn items(&self) -> Reader<'_> {
        Reader::new(&self.bytes[self.items..])
    }

    /// Whether a short script gave it.
    fn is_plain(&self, pair: &Pair) -> bool {
        std::ptr::eq(self.script, pair.plain)
    }

    fn unexpected(&self) -> StoreError {
        let got = format!("{} and {} bytes of another shape", self.verdict(), self.bytes.len() - self.items);
        StoreError::UnexpectedReply { script: self.script.name, got }
    }

    fn told<T>(&self, answer: T) -> Stamped<T> {
        Stamped { now_us: self.now_us, position: self.position, answer }
    }

    /// Reads items of `width` values each.
    fn each<'r, T>(
        &'r self,
        width: usize,
        mut item: impl FnMut(&mut Reader<'r>) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        if self.left.is_some_and(|left| left % width != 0) {
            return Err(self.unexpected());
        }
        let mut reader = self.items();
        let mut items = Vec::with_capacity(self.left.map_or(1, |left| left / width));
        while reader.left() > 0 {
            items.push(item(&mut reader).ok_or_else(|| self.unexpected())?);
        }
        Ok(items)
    }

    /// Reads all values by one function.
    fn whole<'r, T>(&'r self, read: impl FnOnce(&mut Reader<'r>) -> Option<T>) -> Result<T, StoreError> {
        let mut reader = self.items();
        read(&mut reader).ok_or_else(|| self.unexpected())
    }

    /// The limit that a call would have passed.
    fn limit(&self) -> Result<LimitReached, StoreError> {
        self.whole(|reader| {
            Some(LimitReached {
                limit_type: LimitType::of_name(reader.text()?)?,
                limit: reader.int()?,
                used: reader.int()?,
                until_ms: reader.maybe_int()?,
            })
        })
    }

    /// The answer of a script that may also refuse for a limit.
    fn limited<T>(&self, done: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<Stamped<Limited<T>>, StoreError> {
        let outcome = match self.verdict() {
            "OK" => Limited::Done(done(self)?),
            "LIMIT" => Limited::Limit(self.limit()?),
            _ => return Err(self.unexpected()),
        };
        Ok(self.told(outcome))
    }

    /// The answer of a script that may also refuse for a limit or a wrong token.
    fn verdict_of<T>(
        &self,
        done: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<Stamped<Outcome<T>>, StoreError> {
        let verdict = match self.verdict() {
            "OK" => Outcome::Done(done(self)?),
            "TOO_MANY" => Outcome::TooMany,
            "BAD_TOKEN" => Outcome::WrongToken(self.each(1, Reader::boolean)?),
            "LIMIT" => Outcome::Limit(self.limit()?),
            _ => return Err(self.unexpected()),
        };
        Ok(self.told(verdict))
    }
}
