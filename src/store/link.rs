//! One runtime's connection to Redis: shared by all its calls, watched, and made anew when it breaks.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisError, ServerErrorKind, ToSingleRedisArg,
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::{Notify, watch};

use crate::store::{PATIENCE, StoreError, scripts::Script};

/// How often an idle connection is asked whether Redis is there; `/readyz` means by it "within the last two seconds".
const BEAT: Duration = Duration::from_millis(500);
const CONNECT_PATIENCE: Duration = Duration::from_millis(1_000);
/// The wait between attempts to connect: short, since only a local attempt is cheap and nobody is served meanwhile.
const RETRY: Duration = Duration::from_millis(100);

/// Where Redis is, as `REDIS_URL` says it.
#[derive(Debug, Clone)]
pub enum Address {
    /// `redis://`, `rediss://`, `redis+unix://`: one server.
    One(redis::ConnectionInfo),
    /// `redis+sentinel://h1,h2,h3/name`: whoever the sentinels say is the primary.
    Sentinel {
        /// The sentinels' addresses.
        sentinels: Vec<redis::ConnectionAddr>,
        /// The name that they know the primary by.
        name: String,
        /// For the primary.
        username: Option<String>,
        /// For the primary.
        password: Option<String>,
    },
    /// `redis+cluster://h1,h2,h3`: the nodes from which the rest is found.
    Cluster(Vec<redis::ConnectionInfo>),
}

/// Why a `REDIS_URL` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl Address {
    /// Reads a `REDIS_URL`.
    ///
    /// # Errors
    /// What is wrong with it; never the URL itself, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        const FORMS: &str = "use redis://host:port, rediss://host:port, redis+unix:///path, redis+sentinel://h1,h2,h3/name or redis+cluster://h1,h2,h3";
        let one = |url: &str| {
            let info = url.into_connection_info().map_err(|error| AddressError(format!("{error}; {FORMS}")))?;
            let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_lib_name("holdfast", env!("CARGO_PKG_VERSION"));
            Ok(info.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
        };
        let split = |rest: &str| -> (Option<String>, Option<String>, String) {
            match rest.rsplit_once('@') {
                Some((user, rest)) => {
                    let (name, password) = user.split_once(':').map_or((user, None), |(name, password)| (name, Some(password.to_owned())));
                    ((!name.is_empty()).then(|| name.to_owned()), password, rest.to_owned())
                }
                None => (None, None, rest.to_owned()),
            }
        };
        if let Some(rest) = url.strip_prefix("redis+cluster://") {
            let (user, password, hosts) = split(rest.trim_end_matches('/'));
            let nodes = hosts
                .split(',')
                .map(|host| {
                    let mut info = one(&format!("redis://{host}"))?;
                    let mut redis = info.redis_settings().clone();
                    if let Some(user) = &user {
                        redis = redis.set_username(user);
                    }
                    if let Some(password) = &password {
                        redis = redis.set_password(password);
                    }
                    info = info.set_redis_settings(redis);
                    Ok(info)
                })
                .collect::<Result<Vec<_>, AddressError>>()?;
            return Ok(Self::Cluster(nodes));
        }
        if let Some(rest) = url.strip_prefix("redis+sentinel://") {
            let (username, password, rest) = split(rest);
            let (hosts, name) = rest
                .split_once('/')
                .filter(|(_, name)| !name.is_empty())
                .ok_or_else(|| AddressError("the name of the primary is missing: redis+sentinel://h1,h2,h3/name".into()))?;
            let sentinels = hosts
                .split(',')
                .map(|host| {
                    let (host, port) = host.rsplit_once(':').unwrap_or((host, "26379"));
                    let port = port.parse().map_err(|_| AddressError(format!("\"{port}\" is no port; {FORMS}")))?;
                    Ok(redis::ConnectionAddr::Tcp(host.into(), port))
                })
                .collect::<Result<Vec<_>, AddressError>>()?;
            return Ok(Self::Sentinel { sentinels, name: name.into(), username, password });
        }
        one(url).map(Self::One)
    }

    /// The command with which scripts publish: in a cluster only the shard's own nodes need to hear.
    pub(super) fn publish_command(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "SPUBLISH",
            Self::One(_) | Self::Sentinel { .. } => "PUBLISH",
        }
    }
}

/// A connection of either kind.
#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Wire {
    async fn send(&mut self, call: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::One(connection) => connection.req_packed_command(call).await,
            Self::Cluster(connection) => connection.req_packed_command(call).await,
        }
    }

    pub(super) async fn subscribe(&mut self, channel: &str) -> Result<(), RedisError> {
        match self {
            Self::One(connection) => connection.subscribe(channel).await,
            Self::Cluster(connection) => connection.ssubscribe(channel).await,
        }
    }

    pub(super) async fn unsubscribe(&mut self, channel: &str) -> Result<(), RedisError> {
        match self {
            Self::One(connection) => connection.unsubscribe(channel).await,
            Self::Cluster(connection) => connection.sunsubscribe(channel).await,
        }
    }

    /// Whether Redis answers.
    pub(super) async fn beat(&mut self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.send(&redis::cmd("PING"))).await, Ok(Ok(_)))
    }
}

/// How many calls may wait to be written; more than that wait for a place among them.
const WAITING: usize = 1_024;

/// Opens a connection; `heard` gets what Redis pushes, and that the connection broke. Without `patience` whoever calls sees to it that
/// no answer is waited for without an end.
pub(super) async fn connect(address: &Address, patience: Option<Duration>, heard: impl Fn(PushInfo) + Send + Sync + 'static) -> Result<Wire, RedisError> {
    let heard = Pushes(Arc::new(heard));
    let config = || {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(patience)
            .set_pipeline_buffer_size(WAITING)
            .set_push_sender(heard.clone())
    };
    match address {
        Address::One(info) => Ok(Wire::One(Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&config()).await?)),
        Address::Sentinel { sentinels, name, username, password } => {
            let mut builder = SentinelClientBuilder::new(sentinels.clone(), name.clone(), SentinelServerType::Master)?
                .set_client_to_redis_protocol(ProtocolVersion::RESP3)
                .set_client_to_redis_tcp_settings(TcpSettings::default().set_nodelay(true));
            if let Some(username) = username {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = password {
                builder = builder.set_client_to_redis_password(password);
            }
            let mut client: SentinelClient = builder.build()?;
            Ok(Wire::One(client.get_async_connection_with_config(&config()).await?))
        }
        Address::Cluster(nodes) => {
            let client = ClusterClient::builder(nodes.clone())
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(CONNECT_PATIENCE)
                .response_timeout(PATIENCE)
                .overall_response_timeout(Some(PATIENCE))
                .retries(4)
                .min_retry_wait(20)
                .max_retry_wait(200)
                .tcp_settings(TcpSettings::default().set_nodelay(true))
                .push_sender(heard)
                .build()?;
            Ok(Wire::Cluster(client.get_async_connection().await?))
        }
    }
}

#[derive(Clone)]
struct Pushes(Arc<dyn Fn(PushInfo) + Send + Sync>);

impl redis::aio::AsyncPushSender for Pushes {
    fn send(&self, info: PushInfo) -> Result<(), redis::aio::SendError> {
        (self.0)(info);
        Ok(())
    }
}

/// The connection that all calls of one runtime share. It pipelines by itself, so a pool would only add round trips.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    /// The present connection, and its number: what is told of an earlier one does not concern it.
    wire: Mutex<Option<(u64, Wire)>>,
    broken: Notify,
    up: watch::Sender<bool>,
    started: Instant,
    answered_ms: AtomicU64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Link").field("up", &*self.inner.up.borrow()).finish_non_exhaustive()
    }
}

/// The connections of all runtimes of a replica: a client cannot choose which of them serves it.
#[derive(Debug)]
pub struct Links {
    expected: usize,
    opened: Mutex<Vec<Link>>,
}

impl Links {
    /// None is open yet of so many.
    #[must_use]
    pub fn expecting(expected: usize) -> Self {
        Self { expected, opened: Mutex::default() }
    }

    /// One more is there.
    pub fn add(&self, link: Link) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }

    /// Whether Redis answered all of them within `age`.
    #[must_use]
    pub fn answered_within(&self, age: Duration) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.len() >= self.expected && opened.iter().all(|link| link.answered_within(age))
    }
}

impl Link {
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
    pub async fn send(&self, call: &Cmd) -> Result<Value, StoreError> {
        self.try_send(call).await.map_err(|failure| match failure {
            Failure::NoScript => StoreError::Refused { code: "NOSCRIPT".into() },
            Failure::Store(error) => error,
        })
    }

    /// Sends a script by its hash, and whole if this Redis does not know it (new, restarted or failed over).
    pub(super) async fn eval(
        &self,
        script: &'static Script,
        keys: impl ExactSizeIterator<Item = impl ToSingleRedisArg> + Clone,
        args: impl Fn(&mut Cmd),
    ) -> Result<Vec<u8>, StoreError> {
        let call = |verb: &str, text: &str| {
            let mut call = redis::cmd(verb);
            call.arg(text).arg(keys.len());
            for key in keys.clone() {
                call.arg(key);
            }
            args(&mut call);
            call
        };
        let reply = match self.try_send(&call("EVALSHA", script.sha())).await {
            Err(Failure::NoScript) => self.send(&call("EVAL", script.source())).await,
            Err(Failure::Store(error)) => Err(error),
            Ok(value) => Ok(value),
        };
        match reply? {
            Value::BulkString(bytes) => Ok(bytes),
            other => Err(StoreError::UnexpectedReply { script: script.name, got: format!("{other:?}") }),
        }
    }

    async fn try_send(&self, call: &Cmd) -> Result<Value, Failure> {
        let Some((number, mut wire)) = self.inner.wire.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Err(Failure::Store(StoreError::Unreachable));
        };
        let sent = Instant::now();
        match tokio::time::timeout(PATIENCE, wire.send(call)).await {
            Ok(Ok(Value::ServerError(error))) => Err(self.failure(number, error.into(), sent)),
            Ok(Ok(value)) => {
                self.inner.note_answer();
                Ok(value)
            }
            Ok(Err(error)) => Err(self.failure(number, error, sent)),
            Err(_) => Err(Failure::Store(StoreError::OutcomeUnknown { waited_ms: PATIENCE.as_millis() as u64 })),
        }
    }

    fn failure(&self, number: u64, error: RedisError, sent: Instant) -> Failure {
        let waited_ms = sent.elapsed().as_millis() as u64;
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Failure::NoScript,
            ErrorKind::Server(kind) => {
                let code = error.code().unwrap_or("ERR").to_owned();
                if matches!(kind, ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) {
                    // This server is no primary any more: connecting anew finds the one that is.
                    self.inner.drop_wire(number);
                }
                server_error(code, &error)
            }
            ErrorKind::Extension => server_error(error.code().unwrap_or("ERR").to_owned(), &error),
            ErrorKind::ClusterConnectionNotFound => Failure::Store(StoreError::Unreachable),
            _ => {
                if error.is_unrecoverable_error() {
                    self.inner.drop_wire(number);
                }
                if error.is_connection_refusal() {
                    return Failure::Store(StoreError::Unreachable);
                }
                Failure::Store(StoreError::OutcomeUnknown { waited_ms })
            }
        }
    }
}

/// Redis' word for what it will not do now, or an error inside a script.
fn server_error(code: String, error: &RedisError) -> Failure {
    const NOT_NOW: [&str; 11] =
        ["OOM", "MISCONF", "READONLY", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "NOAUTH", "UNKILLABLE"];
    if NOT_NOW.contains(&code.as_str()) {
        return Failure::Store(StoreError::Refused { code });
    }
    // A script stopped in its first write by a full memory or a failed disk says so inside its message.
    if let Some(code) = NOT_NOW.into_iter().find(|code| error.detail().is_some_and(|detail| detail.contains(&format!("{code} ")))) {
        return Failure::Store(StoreError::Refused { code: code.into() });
    }
    Failure::Store(StoreError::UnexpectedReply { script: "redis", got: format!("{code} {}", error.detail().unwrap_or("")) })
}

enum Failure {
    NoScript,
    Store(StoreError),
}

impl Inner {
    fn note_answer(&self) {
        self.answered_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn set_wire(&self, wire: Option<(u64, Wire)>) {
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

/// Connects, beats, and connects anew, for as long as somebody holds the link.
async fn keep(inner: std::sync::Weak<Inner>) {
    let (mut told_down, mut number) = (false, 0);
    while let Some(held) = inner.upgrade() {
        number += 1;
        let weak = inner.clone();
        let heard = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection
                && let Some(inner) = weak.upgrade()
                && matches!(inner.address, Address::One(_) | Address::Sentinel { .. })
            {
                inner.drop_wire(number);
            }
        };
        match connect(&held.address, None, heard).await {
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
async fn watch_over(held: Arc<Inner>, mut wire: Wire, inner: &std::sync::Weak<Inner>) {
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
