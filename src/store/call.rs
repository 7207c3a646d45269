//! One call of a function: what is sent, and how its reply is found again.

use std::borrow::Cow;

use redis::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    domain::rate::cost,
    redis::{Arguments, Command, CommandError, TIMEOUT},
    store::{
        Caller, Stamped, Store, StoreError, callers::Bearer, codec::Reader, functions::Function, keys::Key,
        reply::Reply,
    },
};

/// Continuations after which a function that answers `AGAIN` counts as a bug: each does a bounded piece of what is to be done first.
const MAX_CONTINUATIONS: usize = 8_192;

/// Weight up to which a call goes ahead whatever else of its tenant is under way, 8 items: Redis takes less than 1 ms for most.
const LIGHT: usize = 8;
/// Weight of a call that takes as long as a call may: some 10 ms.
pub(in crate::store) const HEAVY: usize = 32;
/// Weight of a tenant's calls above [`LIGHT`] that a replica has under way: two heavy ones, so that another tenant's call waits for no more of them,
/// however many connections send them, and Redis has the next one when it has done one.
pub(in crate::store) const MAX_WEIGHT: usize = 2 * HEAVY;

/// An argument of a function.
#[derive(Debug, Clone)]
pub(in crate::store) enum Arg<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Values encoded for the function to unpack.
    Packed(Vec<u8>),
    Number(i64),
}

impl Arg<'_> {
    /// Bytes that it carries.
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Packed(packed) => packed.len(),
            Self::Number(_) => size_of::<i64>(),
        }
    }

    fn write(&self, to: &mut dyn Arguments) {
        match self {
            Self::Text(text) => to.text(text),
            Self::Bytes(bytes) => to.bytes(bytes),
            Self::Packed(packed) => to.bytes(packed),
            Self::Number(number) => to.int(*number),
        }
    }
}

/// One call of a function on behalf of a caller.
#[derive(Debug)]
pub(in crate::store) struct Call<'a> {
    pub(in crate::store) function: &'static Function,
    /// What follows cost and floor in the second argument.
    pub(in crate::store) packed: Cow<'a, [u8]>,
    /// Further arguments.
    pub(in crate::store) args: &'a [Arg<'a>],
    /// Units of the tenant's rate that it costs; 0 where the call was paid for.
    pub(in crate::store) cost: u32,
    /// How long it may keep Redis, in items or rows that take as long. Above [`LIGHT`] it takes a turn.
    pub(in crate::store) weight: usize,
    /// An earlier piece of the same change was carried out.
    pub(in crate::store) is_in_mid_change: bool,
}

impl<'a> Call<'a> {
    /// A call of one item; what it asks is one packed argument.
    pub(in crate::store) fn packed(function: &'static Function, packed: impl Into<Cow<'a, [u8]>>) -> Self {
        let packed = packed.into();
        let cost = cost(1, packed.len());
        Self { function, packed, args: &[], cost, weight: 1, is_in_mid_change: false }
    }

    /// A call of one item; what it asks are arguments of their own.
    pub(in crate::store) fn with_args(function: &'static Function, args: &'a [Arg<'a>]) -> Self {
        let cost = cost(1, args.iter().map(Arg::len).sum());
        Self { function, packed: Cow::default(), args, cost, weight: 1, is_in_mid_change: false }
    }

    /// The same call at another cost.
    pub(in crate::store) fn at_cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    /// The same call, which keeps Redis for as long as so many items or rows.
    pub(in crate::store) fn weighing(self, weight: usize) -> Self {
        Self { weight, ..self }
    }

    /// The same call, of which earlier pieces were carried out or not.
    pub(in crate::store) fn in_mid_change(self, is_in_mid_change: bool) -> Self {
        Self { is_in_mid_change, ..self }
    }

    /// Why it gave no answer, with respect to what was carried out before.
    fn failed(&self, error: StoreError) -> StoreError {
        if self.is_in_mid_change { error.in_mid_change() } else { error }
    }
}

impl Store {
    /// Calls a function on behalf of `caller`, at the cost of one item.
    pub(in crate::store) async fn ask(
        &self,
        function: &'static Function,
        caller: &Caller,
        args: &[Arg<'_>],
    ) -> Result<Reply, StoreError> {
        self.call(caller, Call::with_args(function, args)).await
    }

    /// The same for a call that costs more, or nothing.
    pub(in crate::store) async fn ask_at_cost(
        &self,
        cost: u32,
        function: &'static Function,
        caller: &Caller,
        args: &[Arg<'_>],
    ) -> Result<Reply, StoreError> {
        self.call(caller, Call::with_args(function, args).at_cost(cost)).await
    }

    /// Reads a list piece by piece: `item` decodes each item of a reply. The cursor of the next piece follows `args`. An item may come twice.
    pub(in crate::store) async fn ask_in_pieces<T>(
        &self,
        function: &'static Function,
        caller: &Caller,
        args: &[Arg<'_>],
        item: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Result<Stamped<Vec<T>>, StoreError> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..MAX_CONTINUATIONS {
            let mut args = args.to_vec();
            args.extend(cursor.as_deref().map(Arg::Text));
            let piece = Call::with_args(function, &args).at_cost(u32::from(cursor.is_none())).weighing(HEAVY);
            let reply = self.call(caller, piece).await?;
            let next = reply.whole(|reader| {
                let next = if reply.status() == "MORE" { Some(reader.text()?.to_owned()) } else { None };
                while reader.left() > 0 {
                    items.push(item(reader)?);
                }
                Some(next)
            })?;
            if next.is_none() {
                return Ok(reply.stamped(items));
            }
            drop(args);
            cursor = next;
        }
        Err(StoreError::UnexpectedReply { function: function.name, got: format!("MORE {MAX_CONTINUATIONS} times") })
    }

    /// Makes a call on behalf of `caller`.
    ///
    /// Looks the caller up again when the function says that the tenant has changed, and continues while it has more to do first.
    pub(in crate::store) async fn call(&self, caller: &Caller, mut call: Call<'_>) -> Result<Reply, StoreError> {
        // Boxed, since it is rare: every call would carry the size of its future.
        let _turn = if call.weight > LIGHT {
            // What costs nothing is a further piece of what was begun.
            Some(Box::pin(turn(caller.tenant_handle().turns(), call.weight.min(HEAVY), call.cost == 0)).await?)
        } else {
            None
        };
        let mut fresh: Option<Caller> = None;
        for _ in 0..MAX_CONTINUATIONS {
            let present = fresh.as_ref().unwrap_or(caller);
            let (head, handle) = (present.call_head(call.cost), present.tenant_handle());
            let keys = handle.keys_of(call.function, present.has_definitions());
            let on_behalf = Some((present.encoded(), head.as_ref(), call.packed.as_ref()));
            let sent = self.run(Invocation { on_behalf, ..Invocation::new(call.function, keys, call.args) });
            let bytes = sent.await.map_err(|error| call.failed(error))?;
            let reply = Reply::read(call.function, bytes)?;
            note_reply(present, &reply, true);
            match reply.status() {
                "STALE" if fresh.is_some() => return Err(StoreError::Unauthorized),
                // Boxed, since it is rare: every call would carry the size of its future.
                "STALE" => match Box::pin(self.look_up_again(caller)).await.map_err(|error| call.failed(error))? {
                    Some(caller) => fresh = Some(caller),
                    None => return Err(StoreError::Unauthorized),
                },
                "KEYS" => {} // noted: the next call names the keys of tickets
                // A continuation of the same call, which was paid for.
                "AGAIN" => call.cost = 0,
                "BEGUN" => (call.cost, call.is_in_mid_change) = (0, true),
                "RATE" => return Err(reply.too_fast(present)),
                "TOO_MUCH_WORK" => return Err(StoreError::TooMuchWork),
                _ => {
                    self.note_use(present, reply.now_us);
                    return Ok(reply);
                }
            }
        }
        Err(StoreError::UnexpectedReply {
            function: call.function.name,
            got: format!("AGAIN {MAX_CONTINUATIONS} times"),
        })
    }

    /// Sends a command that completes a change after a function has made it.
    ///
    /// # Errors
    /// [`StoreError::Interrupted`] and [`StoreError::OutcomeUnknown`]: the function's part was carried out.
    pub(in crate::store) async fn complete(&self, command: &redis::Cmd) -> Result<(), StoreError> {
        self.redis.send(command).await.map_err(|error| StoreError::from(error).in_mid_change())?;
        Ok(())
    }

    /// Runs a function without a caller.
    pub(in crate::store) async fn eval<'k, K>(&self, invocation: Invocation<'_, K>) -> Result<Reply, StoreError>
    where
        K: Iterator<Item = Key<'k>> + Clone,
    {
        let function = invocation.function;
        Reply::read(function, self.run(invocation).await?)
    }

    /// Runs a function and answers its bytes: as a function, where this Redis can; by the hash of its script, and by its text where this Redis was
    /// not given that yet.
    pub(in crate::store) async fn run<'k, K>(&self, mut invocation: Invocation<'_, K>) -> Result<Vec<u8>, StoreError>
    where
        K: Iterator<Item = Key<'k>> + Clone,
    {
        if !self.redis.has_functions() {
            invocation.by = By::Hash;
        }
        loop {
            match (self.redis.send(&invocation).await, invocation.by) {
                // Lost by FUNCTION FLUSH, or a server that is new: loaded again. Boxed, since it is rare: every call would carry the size of its future.
                (Err(CommandError::MissingFunction), By::Function(attempt)) => {
                    let is_loaded = Box::pin(self.redis.load_functions()).await;
                    invocation.by = if is_loaded && attempt < MAX_LOADS { By::Function(attempt + 1) } else { By::Hash };
                }
                (Err(CommandError::NoFunctions { why }), By::Function(_)) => {
                    self.redis.refuse_functions(&why);
                    invocation.by = By::Hash;
                }
                (Err(CommandError::MissingScript), By::Hash) => invocation.by = By::Text,
                (Ok(Value::BulkString(bytes)), _) => return Ok(bytes),
                (Ok(other), _) => {
                    let got = format!("{other:?}");
                    return Err(StoreError::UnexpectedReply { function: invocation.function.name, got });
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
    }
}

/// Waits until so many of a tenant's turns on this replica are free; what is returned keeps them. `is_begun`: part of it was carried out, so that it
/// is not given up; the turns that it waits for end, each with its call.
///
/// # Errors
/// [`StoreError::Crowded`] where they were not free in time; nothing was asked.
pub(in crate::store) async fn turn(
    turns: &Semaphore,
    count: usize,
    is_begun: bool,
) -> Result<SemaphorePermit<'_>, StoreError> {
    let turn = turns.acquire_many(count as u32);
    let turn = if is_begun { Ok(turn.await) } else { tokio::time::timeout(TIMEOUT, turn).await };
    turn.map_err(|_| StoreError::Crowded)?.map_err(|_| StoreError::Crowded)
}

/// Notes what a reply says of the tenant's position, rate and tickets. `is_one`: one request was counted; of several that are refused together, one may
/// still fit.
pub(in crate::store) fn note_reply(caller: &Caller, reply: &Reply, is_one: bool) {
    let handle = caller.tenant_handle();
    if reply.status() == "KEYS" {
        handle.note_tickets();
    } else if reply.status() != "STALE" {
        handle.note_position(reply.position);
        if caller.bearer() != &Bearer::System {
            let is_refused = reply.status() == "RATE" && is_one;
            handle.rate_state().note(caller.limits().rate, reply.backlog_us, is_refused);
        }
    }
}

/// Attempts to load the functions for one call; after them it runs as a script.
const MAX_LOADS: u8 = 2;

/// How a function is named in its command.
#[derive(Debug, Clone, Copy)]
enum By {
    /// `FCALL`, after so many attempts to load it.
    Function(u8),
    /// `EVALSHA`.
    Hash,
    /// `EVAL`.
    Text,
}

/// The command that runs a function.
pub(in crate::store) struct Invocation<'a, K> {
    function: &'static Function,
    by: By,
    /// Requests that share the call: more than one in a batch.
    weight: u32,
    keys: K,
    /// The first two arguments, where there is a caller: the caller; cost and floor, and what follows them in the same argument.
    on_behalf: Option<(&'a [u8], &'a [u8], &'a [u8])>,
    args: &'a [Arg<'a>],
}

impl<'a, K> Invocation<'a, K> {
    /// A function without a caller.
    pub(in crate::store) fn new(function: &'static Function, keys: K, args: &'a [Arg<'a>]) -> Self {
        Self { function, by: By::Function(0), weight: 1, keys, on_behalf: None, args }
    }

    /// The same for so many requests that share it.
    pub(in crate::store) fn of_requests(self, weight: u32) -> Self {
        Self { weight, ..self }
    }
}

impl<'k, K> Command for Invocation<'_, K>
where
    K: Iterator<Item = Key<'k>> + Clone,
{
    fn write(&self, to: &mut dyn Arguments) {
        match self.by {
            By::Function(_) => {
                to.text("FCALL");
                to.text(self.function.loaded_as());
            }
            By::Hash => {
                to.text("EVALSHA");
                to.text(self.function.script_sha());
            }
            By::Text => {
                to.text("EVAL");
                to.text(self.function.script());
            }
        }
        to.int(self.keys.clone().count() as i64);
        self.keys.clone().for_each(|key| key.write(to));
        if let Some((caller, head, packed)) = self.on_behalf {
            to.bytes(caller);
            to.add(head, packed);
        }
        self.args.iter().for_each(|arg| arg.write(to));
    }
    fn weight(&self) -> u32 {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_waits_for_its_turn_and_what_was_not_gives_up() {
        let turns = Semaphore::new(MAX_WEIGHT);
        let taken = turn(&turns, MAX_WEIGHT, false).await.unwrap();
        let begun = async { tokio::time::timeout(TIMEOUT + Duration::from_secs(1), turn(&turns, HEAVY, true)).await };
        let (begun, other) = tokio::join!(begun, turn(&turns, HEAVY, false));
        assert!(begun.is_err(), "it still waits");
        assert!(matches!(other, Err(StoreError::Crowded)));
        drop(taken);
        assert!(turn(&turns, HEAVY, true).await.is_ok());
    }
}
