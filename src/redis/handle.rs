//! One runtime's connection to Redis: shared by all its calls, pinged, and reconnected when it breaks.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{RedisError, Value};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    redis::{
        Address,
        error::{CommandError, Diagnosis, cause_of, diagnose},
        functions::{self, Availability, FunctionLibrary, Loaded},
        inspection::{self, Inspection, ServerInfo},
        outage::Outage,
        pipelined::{Push, SendError},
        resp::Command,
        transport::{self, Transport, TransportError},
    },
    sync::lock,
};

/// Interval of the pings of an idle connection. `/readyz` counts an answer as fresh for two seconds.
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// Delay between attempts to connect: short, since an attempt costs Redis little and nobody is served meanwhile.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Delay before a server that must not be used is looked at again: somebody has to mend it first.
const UNFIT_RETRY_DELAY: Duration = Duration::from_millis(1_000);
/// Interval of attempts to load the functions where they could not be, 3 s: rights are granted and memory is freed while we run.
const LOAD_INTERVAL: Duration = Duration::from_secs(3);

/// The connection that all calls of one runtime share. It pipelines by itself, so a pool would only add round trips. Cheap to clone.
#[derive(Clone)]
pub struct RedisHandle {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    /// Loaded on each new connection.
    library: &'static FunctionLibrary,
    /// Arguments of the library's probe.
    probe_arguments: Vec<String>,
    has_functions: AtomicBool,
    /// Single flight of loading; when it last ended.
    loaded: tokio::sync::Mutex<Instant>,
    /// The present connection and its number: an error of an earlier connection does not end its successor.
    current: Mutex<Option<(u64, Transport)>>,
    broken: Notify,
    is_connected: watch::Sender<bool>,
    started: Instant,
    /// When Redis last answered a ping, in milliseconds since `started`; `u64::MAX`: never.
    answered_ms: AtomicU64,
    /// Why there is no connection.
    failure: Mutex<Option<ConnectFailure>>,
}

/// Why Redis cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectFailure {
    /// It is not reached, or refuses us: what the attempt to connect ended with.
    Unreached(String),
    /// It is reached, and must not be used: what is wrong, and how to mend it.
    Unfit(String),
}

impl std::fmt::Display for ConnectFailure {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unreached(why) | Self::Unfit(why)) = self;
        to.write_str(why)
    }
}

impl std::fmt::Debug for RedisHandle {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("RedisHandle").field("is_connected", &*self.inner.is_connected.borrow()).finish_non_exhaustive()
    }
}

/// The connections of all runtimes of a replica: a client cannot choose which of them serves it.
#[derive(Debug)]
pub struct RedisHandles {
    expected: usize,
    opened: Mutex<Vec<RedisHandle>>,
}

impl RedisHandles {
    /// Expects one handle of each of `expected` runtimes.
    #[must_use]
    pub fn expecting(expected: usize) -> Self {
        Self { expected, opened: Mutex::default() }
    }

    /// Adds the handle of one runtime.
    pub fn add(&self, handle: RedisHandle) {
        lock(&self.opened).push(handle);
    }

    /// Whether Redis answered each of the expected handles within `age`.
    #[must_use]
    pub fn answered_within(&self, age: Duration) -> bool {
        let opened = lock(&self.opened);
        opened.len() >= self.expected && opened.iter().all(|handle| handle.answered_within(age))
    }

    /// Why one of them has no connection.
    #[must_use]
    pub fn failure(&self) -> Option<ConnectFailure> {
        lock(&self.opened).iter().find_map(RedisHandle::failure)
    }
}

impl RedisHandle {
    /// Starts to connect, on the present runtime, and reconnects until the last clone is gone. `probe_arguments` are those of the library's probe.
    #[must_use]
    pub fn open(address: Address, library: &'static FunctionLibrary, probe_arguments: Vec<String>) -> Self {
        let inner = Arc::new(Inner {
            address,
            library,
            probe_arguments,
            has_functions: AtomicBool::new(true),
            loaded: tokio::sync::Mutex::new(Instant::now()),
            current: Mutex::new(None),
            broken: Notify::new(),
            is_connected: watch::Sender::new(false),
            started: Instant::now(),
            answered_ms: AtomicU64::new(u64::MAX),
            failure: Mutex::default(),
        });
        functions::note_vehicle();
        tokio::spawn(reconnect(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// The command with which scripts publish here: `PUBLISH`, or `SPUBLISH` in a cluster.
    #[must_use]
    pub fn publish_command(&self) -> &'static str {
        self.inner.address.publish_command()
    }

    /// The address that it connects to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Whether Redis answered a ping within `age`.
    #[must_use]
    pub fn answered_within(&self, age: Duration) -> bool {
        let answered = self.inner.answered_ms.load(Ordering::Relaxed);
        answered != u64::MAX && self.inner.started.elapsed().saturating_sub(Duration::from_millis(answered)) <= age
    }

    /// Why there is no connection; `None` while there is one, or the first attempt is under way.
    #[must_use]
    pub fn failure(&self) -> Option<ConnectFailure> {
        lock(&self.inner.failure).clone()
    }

    /// What the server says of itself, in a cluster all nodes.
    ///
    /// # Errors
    /// As [`CommandError`] says; a read changes nothing.
    pub async fn server_info(&self) -> Result<ServerInfo, CommandError> {
        Ok(ServerInfo::of(&self.send(&["INFO"][..]).await?))
    }

    /// Whether the server has the library: else what it holds is to be sent as scripts.
    #[must_use]
    pub fn has_functions(&self) -> bool {
        self.inner.has_functions.load(Ordering::Relaxed)
    }

    /// Loads the library again where the server has lost it; whether it has it now. Calls that find the same loss share one attempt.
    pub async fn load_functions(&self) -> bool {
        let since = Instant::now();
        let mut loaded = self.inner.loaded.lock().await;
        if *loaded < since {
            let transport = lock(&self.inner.current).clone();
            if let Some((_, mut transport)) = transport {
                self.inner.load(&mut transport).await;
            }
            *loaded = Instant::now();
        }
        self.has_functions()
    }

    /// Notes that this Redis runs no functions for us, with its words for it.
    pub fn refuse_functions(&self, why: &str) {
        self.inner.note_scripts(why);
    }

    /// Waits until there is a connection.
    pub async fn connected(&self) {
        // The sender lives in `inner`, which we hold, so this ends only when there is one.
        let _ = self.inner.is_connected.subscribe().wait_for(|is_connected| *is_connected).await;
    }

    /// Sends a command and waits for its reply, [`TIMEOUT`](crate::redis::TIMEOUT) at most.
    ///
    /// # Errors
    /// As [`CommandError`] says.
    ///
    /// # Cancellation
    /// Dropping the future does not take back a command that was sent.
    pub async fn send<C: Command + ?Sized>(&self, command: &C) -> Result<Value, CommandError> {
        let inner = &self.inner;
        let Some((number, mut transport)) = lock(&inner.current).clone() else { return Err(inner.unusable()) };
        let since = Instant::now();
        let error: RedisError = match transport.send(since, command).await {
            Ok(Value::ServerError(error)) => error.into(),
            Ok(reply) => return Ok(reply),
            Err(TransportError::Redis(error)) => error,
            Err(TransportError::Send(SendError::Unsent)) => return Err(CommandError::Unreachable),
            Err(TransportError::Send(SendError::Unknown)) => {
                return Err(CommandError::OutcomeUnknown { waited_ms: since.elapsed().as_millis() as u64 });
            }
        };
        let Diagnosis { error, is_connection_lost } = diagnose(&error, since.elapsed().as_millis() as u64);
        if is_connection_lost {
            inner.disconnect(number);
        }
        Err(error)
    }
}

impl Inner {
    fn note_answer(&self) {
        self.answered_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn set_current(&self, connection: Option<(u64, Transport)>) {
        let is_connected = connection.is_some();
        *lock(&self.current) = connection;
        self.is_connected.send_replace(is_connected);
    }

    /// The error for a command while there is no connection.
    fn unusable(&self) -> CommandError {
        match &*lock(&self.failure) {
            Some(ConnectFailure::Unfit(why)) => CommandError::Unusable { why: why.clone() },
            Some(ConnectFailure::Unreached(_)) | None => CommandError::Unreachable,
        }
    }

    /// Looks at the server of a new connection, and loads the library there.
    async fn inspect(&self, transport: &mut Transport) -> Inspection {
        let found = inspection::inspect(transport).await;
        if found != Inspection::Fit {
            return found;
        }
        match self.load(transport).await {
            Some(missing) => Inspection::Unfit(inspection::lacks(&missing)),
            None => Inspection::Fit,
        }
    }

    /// Loads the library; what rights the user lacks.
    async fn load(&self, transport: &mut Transport) -> Option<String> {
        let Loaded { availability, missing_rights } =
            functions::load(transport, self.library, &self.probe_arguments).await;
        match availability {
            Availability::Available => {
                if !self.has_functions.swap(true, Ordering::Relaxed) {
                    functions::note_functions();
                }
            }
            Availability::Unavailable(why) => self.note_scripts(&why),
            Availability::Unknown => {}
        }
        missing_rights
    }

    fn note_scripts(&self, why: &str) {
        if self.has_functions.swap(false, Ordering::Relaxed) {
            functions::note_scripts(why);
        }
    }

    /// Gives up the connection of that number, if it is still the present one.
    fn disconnect(&self, number: u64) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|(present, _)| *present == number) {
            *current = None;
            self.is_connected.send_replace(false);
            self.broken.notify_one();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.has_functions.load(Ordering::Relaxed) {
            functions::note_functions();
        }
    }
}

/// Connects and reconnects for as long as somebody holds the handle.
async fn reconnect(inner: Weak<Inner>) {
    let (mut outage, mut number) = (None::<Outage>, 0);
    while let Some(held) = inner.upgrade() {
        number += 1;
        let weak = inner.clone();
        let on_push = move |push: Push<'_>| {
            if matches!(push, Push::Ended)
                && let Some(inner) = weak.upgrade()
                && !matches!(inner.address, Address::Cluster(_))
            {
                inner.disconnect(number);
            }
        };
        let failure = match transport::connect(&held.address, on_push).await {
            Ok(mut connection) => match held.inspect(&mut connection).await {
                Inspection::Fit => {
                    held.note_answer();
                    *lock(&held.failure) = None;
                    held.set_current(Some((number, connection.clone())));
                    outage.take().into_iter().for_each(Outage::end);
                    ping_until_broken(held, connection, &inner).await;
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
                Inspection::Unfit(why) => ConnectFailure::Unfit(why),
                Inspection::Failed(why) => ConnectFailure::Unreached(why),
            },
            Err(error) => ConnectFailure::Unreached(cause_of(&error)),
        };
        outage.get_or_insert_with(Outage::begin).report(&held.address, &failure.to_string());
        let delay = if matches!(failure, ConnectFailure::Unfit(_)) { UNFIT_RETRY_DELAY } else { RETRY_DELAY };
        *lock(&held.failure) = Some(failure);
        drop(held);
        tokio::time::sleep(delay).await;
    }
}

/// Pings until the connection breaks or nobody holds the handle any more.
async fn ping_until_broken(held: Arc<Inner>, mut connection: Transport, inner: &Weak<Inner>) {
    let mut held = Some(held);
    let mut load_at = Instant::now() + LOAD_INTERVAL;
    loop {
        let Some(present) = held.take().or_else(|| inner.upgrade()) else { return };
        tokio::select! {
            () = present.broken.notified() => return,
            () = tokio::time::sleep(PING_INTERVAL) => {}
        }
        if connection.ping().await {
            present.note_answer();
            if !present.has_functions.load(Ordering::Relaxed) && Instant::now() >= load_at {
                present.load(&mut connection).await;
                load_at = Instant::now() + LOAD_INTERVAL;
            }
        } else {
            tracing::warn!("redis does not answer; reconnecting");
            present.set_current(None);
            return;
        }
    }
}
