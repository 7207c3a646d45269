//! One runtime's connection to Redis: shared by all its calls, watched, and made anew when it breaks.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::{Notify, watch};

use crate::store::{
    Address, StoreError,
    keys::Key,
    redis::{
        pipelined::SendError,
        resp::Arguments,
        transport,
        transport::{CallError, Push, Transport},
    },
    scripts::Script,
};

/// How often an idle connection is asked whether Redis is there; `/readyz` means by it "within the last two seconds".
const BEAT: Duration = Duration::from_millis(500);
/// The wait between attempts to connect: short, since only a local attempt is cheap and nobody is served meanwhile.
const RETRY: Duration = Duration::from_millis(100);

/// The connection that all calls of one runtime share. It pipelines by itself, so a pool would only add round trips.
#[derive(Clone)]
pub struct RedisHandle {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    /// The present connection, and its number: what is told of an earlier one does not concern it.
    wire: Mutex<Option<(u64, Transport)>>,
    broken: Notify,
    up: watch::Sender<bool>,
    started: Instant,
    answered_ms: AtomicU64,
}

impl std::fmt::Debug for RedisHandle {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Link").field("up", &*self.inner.up.borrow()).finish_non_exhaustive()
    }
}

/// The connections of all runtimes of a replica: a client cannot choose which of them serves it.
#[derive(Debug)]
pub struct RedisHandles {
    expected: usize,
    opened: Mutex<Vec<RedisHandle>>,
}

impl RedisHandles {
    /// None is open yet of so many.
    #[must_use]
    pub fn expecting(expected: usize) -> Self {
        Self { expected, opened: Mutex::default() }
    }

    /// One more is there.
    pub fn add(&self, link: RedisHandle) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }

    /// Whether Redis answered all of them within `age`.
    #[must_use]
    pub fn answered_within(&self, age: Duration) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.len() >= self.expected && opened.iter().all(|link| link.answered_within(age))
    }
}

impl RedisHandle {
    /// Starts connecting, on the present runtime, and keeps at it until the last clone is gone.
    #[must_use]
    pub fn open(address: Address) -> Self {
        let inner = Arc::new(Inner {
            address,
            wire: Mutex::new(None),
            broken: Notify::new(),
            up: watch::Sender::new(false),
            started: Instant::now(),
            answered_ms: AtomicU64::new(u64::MAX),
        });
        tokio::spawn(keep(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// How scripts publish here.
    #[must_use]
    pub fn publish_command(&self) -> &'static str {
        self.inner.address.publish_command()
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Whether Redis answered within `age`.
    #[must_use]
    pub fn answered_within(&self, age: Duration) -> bool {
        let answered = self.inner.answered_ms.load(Ordering::Relaxed);
        answered != u64::MAX && self.inner.started.elapsed().saturating_sub(Duration::from_millis(answered)) <= age
    }

    /// Waits until there is a connection.
    pub async fn up(&self) {
        // The sender lives in `inner`, which we hold, so this ends only when it is up.
        let _ = self.inner.up.subscribe().wait_for(|up| *up).await;
    }

    /// Sends a plain command.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub async fn send(&self, command: &Cmd) -> Result<Value, StoreError> {
        let write = |to: &mut dyn Arguments| {
            for part in command.args_iter() {
                // Commands with a cursor are not for here: their cursor stands apart.
                if let redis::Arg::Simple(part) = part {
                    to.bytes(part);
                }
            }
        };
        self.inner.send(1, write).await.map_err(Failure::of_command)
    }

    /// Sends a script by its hash, and whole if this Redis does not know it (new, restarted or failed over).
    pub(in crate::store) async fn eval<'k>(
        &self,
        script: &'static Script,
        keys: impl ExactSizeIterator<Item = Key<'k>> + Clone,
        args: impl Fn(&mut dyn Arguments),
    ) -> Result<Vec<u8>, StoreError> {
        self.eval_for(1, script, keys, args).await
    }

    /// The same in place of so many calls.
    pub(in crate::store) async fn eval_for<'k>(
        &self,
        calls: u32,
        script: &'static Script,
        keys: impl ExactSizeIterator<Item = Key<'k>> + Clone,
        args: impl Fn(&mut dyn Arguments),
    ) -> Result<Vec<u8>, StoreError> {
        let write = |verb: &str, text: &str, to: &mut dyn Arguments| {
            to.text(verb);
            to.text(text);
            to.int(keys.len() as i64);
            keys.clone().for_each(|key| key.write(to));
            args(to);
        };
        let reply = match self.inner.send(calls, |to| write("EVALSHA", script.sha(), to)).await {
            Err(Failure::NoScript) => self.inner.send(calls, |to| write("EVAL", script.source(), to)).await,
            first => first,
        };
        match reply.map_err(Failure::of_command)? {
            Value::BulkString(bytes) => Ok(bytes),
            other => Err(StoreError::UnexpectedReply { script: script.name, got: format!("{other:?}") }),
        }
    }
}

impl Inner {
    /// Sends what `write` writes, in place of so many calls, and waits for the reply.
    async fn send(&self, calls: u32, write: impl Fn(&mut dyn Arguments)) -> Result<Value, Failure> {
        let Some((number, mut wire)) = self.wire.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Err(Failure::Store(StoreError::Unreachable));
        };
        let since = Instant::now();
        let reply = wire.send(calls, since, write).await.map_err(|failed| match failed {
            CallError::SendError(SendError::Unsent) => Failure::Store(StoreError::Unreachable),
            CallError::SendError(SendError::Unknown) => {
                Failure::Store(StoreError::OutcomeUnknown { waited_ms: since.elapsed().as_millis() as u64 })
            }
            CallError::Redis(error) => self.failure(number, &error, since),
        })?;
        match reply {
            Value::ServerError(error) => Err(self.failure(number, &error.into(), since)),
            reply => Ok(reply),
        }
    }

    fn failure(&self, number: u64, error: &RedisError, since: Instant) -> Failure {
        let waited_ms = since.elapsed().as_millis() as u64;
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Failure::NoScript,
            ErrorKind::Server(kind) => {
                let code = error.code().unwrap_or("ERR").to_owned();
                if matches!(kind, ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) {
                    // This server is no primary any more: connecting anew finds the one that is.
                    self.drop_wire(number);
                }
                server_error(code, error)
            }
            ErrorKind::Extension => server_error(error.code().unwrap_or("ERR").to_owned(), error),
            ErrorKind::ClusterConnectionNotFound => Failure::Store(StoreError::Unreachable),
            _ => {
                if error.is_unrecoverable_error() {
                    self.drop_wire(number);
                }
                if error.is_connection_refusal() {
                    return Failure::Store(StoreError::Unreachable);
                }
                Failure::Store(StoreError::OutcomeUnknown { waited_ms })
            }
        }
    }

    fn note_answer(&self) {
        self.answered_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn set_wire(&self, wire: Option<(u64, Transport)>) {
        let up = wire.is_some();
        *self.wire.lock().unwrap_or_else(PoisonError::into_inner) = wire;
        self.up.send_replace(up);
    }

    /// Gives up the connection of that number, if it is still the present one: a late word of an earlier one must not end its successor.
    fn drop_wire(&self, number: u64) {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        if wire.as_ref().is_some_and(|(present, _)| *present == number) {
            *wire = None;
            self.up.send_replace(false);
            self.broken.notify_one();
        }
    }
}

/// Redis' word for what it will not do now, or an error inside a script.
fn server_error(code: String, error: &RedisError) -> Failure {
    const NOT_NOW: [&str; 11] = [
        "OOM",
        "MISCONF",
        "READONLY",
        "LOADING",
        "CLUSTERDOWN",
        "MASTERDOWN",
        "TRYAGAIN",
        "BUSY",
        "NOREPLICAS",
        "NOAUTH",
        "UNKILLABLE",
    ];
    if NOT_NOW.contains(&code.as_str()) {
        return Failure::Store(StoreError::Refused { code });
    }
    // A script stopped in its first write by a full memory or a failed disk says so inside its message.
    if let Some(code) =
        NOT_NOW.into_iter().find(|code| error.detail().is_some_and(|detail| detail.contains(&format!("{code} "))))
    {
        return Failure::Store(StoreError::Refused { code: code.into() });
    }
    Failure::Store(StoreError::UnexpectedReply {
        script: "redis",
        got: format!("{code} {}", error.detail().unwrap_or("")),
    })
}

enum Failure {
    NoScript,
    Store(StoreError),
}

impl Failure {
    fn of_command(self) -> StoreError {
        match self {
            Self::NoScript => StoreError::Refused { code: "NOSCRIPT".into() },
            Self::Store(error) => error,
        }
    }
}

/// Connects, beats, and connects anew, for as long as somebody holds the link.
async fn keep(inner: Weak<Inner>) {
    let (mut told_down, mut number) = (false, 0);
    while let Some(held) = inner.upgrade() {
        number += 1;
        let weak = inner.clone();
        let told = move |said: Push<'_>| {
            if matches!(said, Push::Ended)
                && let Some(inner) = weak.upgrade()
                && !matches!(inner.address, Address::Cluster(_))
            {
                inner.drop_wire(number);
            }
        };
        match transport::connect(&held.address, told).await {
            Ok(wire) => {
                held.note_answer();
                held.set_wire(Some((number, wire.clone())));
                if told_down {
                    tracing::info!("redis is reached again");
                }
                told_down = false;
                watch_over(held, wire, &inner).await;
            }
            Err(error) => {
                if !told_down {
                    tracing::warn!(error = error.category(), "redis cannot be reached; trying until it can");
                }
                told_down = true;
                drop(held);
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Beats until the connection breaks or nobody holds the link any more.
async fn watch_over(held: Arc<Inner>, mut wire: Transport, inner: &Weak<Inner>) {
    let mut held = Some(held);
    loop {
        let Some(present) = held.take().or_else(|| inner.upgrade()) else { return };
        tokio::select! {
            () = present.broken.notified() => return,
            () = tokio::time::sleep(BEAT) => {}
        }
        if wire.beat().await {
            present.note_answer();
        } else {
            tracing::warn!("redis does not answer; connecting anew");
            present.set_wire(None);
            return;
        }
    }
}
