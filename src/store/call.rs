//! One call of a script: what is sent, and how its reply is found again.

use std::borrow::Cow;

use redis::Value;

use crate::{
    redis::{Arguments, Command, CommandError},
    store::{Caller, Store, StoreError, TooFast, callers::Bearer, keys::Key, reply::Reply, scripts::Script},
};

/// Continuations after which a script that answers `AGAIN` counts as a bug: each ends at most 256 lapsed reservations.
const MAX_CONTINUATIONS: usize = 8_192;

/// An argument of a script.
#[derive(Debug, Clone)]
pub(in crate::store) enum Arg<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Values encoded for the script to unpack.
    Packed(Vec<u8>),
    Number(i64),
    Token(uuid::Uuid),
}

impl Arg<'_> {
    fn write(&self, to: &mut dyn Arguments) {
        match self {
            Self::Text(text) => to.text(text),
            Self::Bytes(bytes) => to.bytes(bytes),
            Self::Packed(packed) => to.bytes(packed),
            Self::Number(number) => to.int(*number),
            Self::Token(token) => to.bytes(token.as_bytes()),
        }
    }
}

/// One call of a script on behalf of a caller.
#[derive(Debug)]
pub(in crate::store) struct Call<'a> {
    pub(in crate::store) script: &'static Script,
    /// The arguments after the caller, which comes first in every call.
    pub(in crate::store) args: Cow<'a, [Arg<'a>]>,
    /// Units of the tenant's rate that it costs; 0 where the call was paid for.
    pub(in crate::store) cost: u32,
    /// Requests that share the call: more than one in a batch.
    pub(in crate::store) weight: u32,
}

impl<'a> Call<'a> {
    /// A call of one request that costs 1.
    pub(in crate::store) fn new(script: &'static Script, args: impl Into<Cow<'a, [Arg<'a>]>>) -> Self {
        Self { script, args: args.into(), cost: 1, weight: 1 }
    }
}

impl Store {
    /// Calls a script on behalf of `caller`, at the cost of 1.
    pub(in crate::store) async fn ask(
        &self,
        script: &'static Script,
        caller: &Caller,
        args: &[Arg<'_>],
    ) -> Result<Reply, StoreError> {
        self.call(1, caller, |_| Call::new(script, args)).await
    }

    /// The same for a call that costs more, or nothing.
    pub(in crate::store) async fn ask_at_cost(
        &self,
        cost: u32,
        script: &'static Script,
        caller: &Caller,
        args: &[Arg<'_>],
    ) -> Result<Reply, StoreError> {
        self.call(cost, caller, |_| Call::new(script, args)).await
    }

    /// Makes a call on behalf of `caller`; `encode` chooses the script and encodes its arguments.
    ///
    /// Looks the caller up again when the script says that the tenant has changed, which encodes the call anew, and continues while the
    /// script has more to do.
    pub(in crate::store) async fn call<'a>(
        &self,
        cost: u32,
        caller: &Caller,
        encode: impl Fn(&Caller) -> Call<'a>,
    ) -> Result<Reply, StoreError> {
        let mut fresh: Option<Caller> = None;
        let mut call = Call { cost, ..encode(caller) };
        for _ in 0..MAX_CONTINUATIONS {
            let present = fresh.as_ref().unwrap_or(caller);
            let reply = self.call_once(present, &call).await?;
            match reply.status() {
                "STALE" if fresh.is_some() => return Err(StoreError::Unauthorized),
                // Boxed, since it is rare: every call would carry the size of its future.
                "STALE" => match Box::pin(self.look_up_again(caller)).await? {
                    Some(caller) => {
                        call = Call { cost: call.cost, ..encode(&caller) };
                        fresh = Some(caller);
                    }
                    None => return Err(StoreError::Unauthorized),
                },
                "AGAIN" => call.cost = 0, // a continuation of the same call, which was paid for
                "RATE" => {
                    let wait_us = reply.whole(|reader| reader.int().and(reader.int()))?;
                    let Some(rate) = present.limits().rate else { return Err(reply.unexpected()) };
                    let (tier, now_us) = (present.tenant().tier, Some(reply.now_us));
                    return Err(StoreError::TooFast(TooFast { tier, rate, wait_us, now_us }));
                }
                _ => {
                    self.note_use(present, reply.now_us);
                    return Ok(reply);
                }
            }
        }
        Err(StoreError::UnexpectedReply { script: call.script.name, got: format!("AGAIN {MAX_CONTINUATIONS} times") })
    }

    /// Sends a call once, as `caller`, and notes what its reply says of the tenant's position and rate.
    pub(in crate::store) async fn call_once(&self, caller: &Caller, call: &Call<'_>) -> Result<Reply, StoreError> {
        let handle = caller.tenant_handle();
        let command = Eval {
            weight: call.weight,
            caller: Some(caller.encode(call.cost)),
            ..Eval::new(call.script, handle.keys_of(call.script), &call.args)
        };
        let reply = self.eval(command).await?;
        if reply.status() != "STALE" {
            handle.note_position(reply.position);
            if caller.bearer() != &Bearer::System {
                // A batch that is refused says nothing of a single call, which may still fit.
                let is_refused = reply.status() == "RATE" && call.weight == 1;
                handle.rate_state().note(caller.limits().rate, reply.backlog_us, is_refused);
            }
        }
        Ok(reply)
    }

    /// Runs a script by its hash, and by its text where this Redis was not given it yet (new, restarted or failed over).
    pub(in crate::store) async fn eval<'k, K>(&self, mut command: Eval<'_, K>) -> Result<Reply, StoreError>
    where
        K: ExactSizeIterator<Item = Key<'k>> + Clone,
    {
        let reply = match self.redis.send(&command).await {
            Err(CommandError::MissingScript) => {
                command.by = By::Text;
                self.redis.send(&command).await
            }
            reply => reply,
        };
        match reply? {
            Value::BulkString(bytes) => Reply::read(command.script, bytes),
            other => Err(StoreError::UnexpectedReply { script: command.script.name, got: format!("{other:?}") }),
        }
    }
}

/// How a script is named in its command.
enum By {
    /// `EVALSHA`.
    Hash,
    /// `EVAL`.
    Text,
}

/// The command that runs a script.
pub(in crate::store) struct Eval<'a, K> {
    script: &'static Script,
    by: By,
    weight: u32,
    keys: K,
    /// The encoded caller, which is the first argument where there is one.
    caller: Option<Vec<u8>>,
    args: &'a [Arg<'a>],
}

impl<'a, K> Eval<'a, K> {
    /// A script of one request, without a caller.
    pub(in crate::store) fn new(script: &'static Script, keys: K, args: &'a [Arg<'a>]) -> Self {
        Self { script, by: By::Hash, weight: 1, keys, caller: None, args }
    }
}

impl<'k, K> Command for Eval<'_, K>
where
    K: ExactSizeIterator<Item = Key<'k>> + Clone,
{
    fn write(&self, to: &mut dyn Arguments) {
        match self.by {
            By::Hash => {
                to.text("EVALSHA");
                to.text(self.script.sha());
            }
            By::Text => {
                to.text("EVAL");
                to.text(self.script.source());
            }
        }
        to.int(self.keys.len() as i64);
        self.keys.clone().for_each(|key| key.write(to));
        self.caller.iter().for_each(|caller| to.bytes(caller));
        self.args.iter().for_each(|arg| arg.write(to));
    }

    fn weight(&self) -> u32 {
        self.weight
    }
}
