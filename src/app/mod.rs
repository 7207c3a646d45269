//! The service: connects the rooms, from settings to a replica that runs until it is told to end.
//!
//! Threads: `serve-0` and following, one runtime each, answer requests; `monitor` watches brokers; the main thread sweeps and waits for the
//! signal to end. (The store has a thread of its own for the subscription.)

mod demo;
mod demo_activity;
mod redis_memory;
mod secrets;
mod workers;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Auth, Config},
    domain::{access::MIN_SECRET_BYTES, names::TenantId, tier::Tier},
    feed::Feed,
    http::{self, ConnectionSlots, Limiters, Listener, ListenerError},
    monitor,
    redis::{Address, AddressError, PrivateRedis, PrivateRedisError, RedisHandles},
    replica::Replica,
    store::{Callers, Namespace, Store, StoreError},
    sweeper,
    trust::Vault,
};
use workers::Workers;

/// File descriptors kept for Redis, logs and diagnosis when connections take the rest.
const SPARE_FILES: u64 = 200;
/// Fewest connections that are served, however few file descriptors the system allows.
const MIN_CONNECTIONS: u64 = 16;
/// Most connections that are served, however many file descriptors the system allows: 2^28.
const MAX_CONNECTIONS: u64 = 1 << 28;
/// Limit of open files where the system does not say.
const DEFAULT_FILES: u64 = 1_024;
/// Interval of the metrics' upkeep.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Retry delay of making the default tenant.
const DEFAULT_TENANT_RETRY: Duration = Duration::from_millis(200);

/// Why the service did not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The private Redis did not start.
    #[error(transparent)]
    Redis(#[from] PrivateRedisError),

    /// `REDIS_URL` is no address of a Redis.
    #[error("HOLDFAST_REDIS_URL cannot be used: {0}")]
    RedisUrl(#[from] AddressError),

    /// The address cannot be listened on, or its certificate cannot be used.
    #[error(transparent)]
    Listener(#[from] ListenerError),

    /// The demo tenant could not be made.
    #[error("the demo tenant could not be made: {0}")]
    Demo(#[source] StoreError),

    /// No secret is set, and none can be derived.
    #[error(
        "HOLDFAST_SECRET_KEY is not set, and there is nothing to make it from: set it, the same on every replica (at least {MIN_SECRET_BYTES} bytes), or set HOLDFAST_ADMIN_KEY"
    )]
    NoSecret,

    /// The file of the secret cannot be read, written or used.
    #[error("{file} cannot be used as the secret of this service: {error}")]
    Secret {
        /// Its path.
        file: String,
        /// What is wrong.
        error: io::Error,
    },

    /// A thread or a signal handler could not be made.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

/// The address in `REDIS_URL`; `None`: a private Redis is wanted.
///
/// # Errors
/// [`AppError::RedisUrl`].
fn redis_address(config: &Config) -> Result<Option<Address>, AppError> {
    Ok(config.redis_url.as_ref().map(|url| Address::parse(url.expose())).transpose()?)
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// Call it on the main thread: the private Redis ends with the thread that started it.
///
/// # Errors
/// What kept it from starting, in words that name the way out.
pub async fn serve(config: Config, demo: bool) -> Result<(), AppError> {
    let address = redis_address(&config)?;
    log_start(&config, address.as_ref());
    let end = CancellationToken::new();
    let (private, address) = match address {
        Some(address) => (None, address),
        None => {
            let redis = PrivateRedis::start(&config.data_dir).await?;
            let address = Address::parse(&redis.url())?;
            (Some(tokio::spawn(redis.run_until(end.clone()))), address)
        }
    };
    let served = match secrets::secret_keys(&config) {
        Ok(secrets) => serve_on(config, address, demo, Vault::new(&secrets)).await,
        Err(error) => Err(error),
    };
    end.cancel();
    if let Some(redis) = private {
        let _ = redis.await;
    }
    served
}

/// The first line of the log: what runs here, by which settings.
fn log_start(config: &Config, address: Option<&Address>) {
    let private = || format!("private, in {}", config.data_dir.display());
    let tiers = config.tiers_file.as_ref().map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %config.listen,
        redis = address.map_or_else(private, ToString::to_string),
        prefix = config.prefix,
        auth = if config.auth == Auth::Open { "open" } else { "required" },
        admin = config.admin_key.is_some(),
        tls = config.tls().is_some(),
        tiers,
        "holdfast starts"
    );
    if config.auth == Auth::Open {
        tracing::warn!("HOLDFAST_AUTH=open: whoever reaches this address may do everything, without a credential");
    }
}

/// What every thread of the replica shares.
#[derive(Clone)]
struct Shared {
    address: Address,
    callers: Arc<Callers>,
    config: Arc<Config>,
    replica: Arc<Replica>,
    limiters: Arc<Limiters>,
    vault: Arc<Vault>,
    /// The Redis connections of all runtimes.
    redis: Arc<RedisHandles>,
}

impl Shared {
    /// A store with a connection of this thread's runtime.
    fn open_store(&self) -> Store {
        Store::open(self.address.clone(), self.callers.clone())
    }
}

async fn serve_on(config: Config, address: Address, demo: bool, vault: Vault) -> Result<(), AppError> {
    let tls = config.tls().map(|(certificate, key)| http::tls_acceptor(certificate, key)).transpose()?;
    let listener = Listener::bind(config.listen, config.workers)?;
    let url = format!("{}://{}", if tls.is_some() { "https" } else { "http" }, listener.address());
    let namespace = Namespace::new(&config.prefix, address.database());
    let shared = Shared {
        address,
        callers: Arc::new(Callers::new(config.tiers.clone(), config.known_credentials, namespace)),
        replica: Arc::new(Replica::begin()),
        limiters: Arc::default(),
        vault: Arc::new(vault),
        redis: Arc::new(RedisHandles::expecting(config.workers)),
        config: Arc::new(config),
    };
    let (config, replica) = (shared.config.clone(), shared.replica.clone());
    let store = shared.open_store();
    let feeds = Feed::start(store.clone(), config.workers)?;
    let feed = feeds.first().cloned();

    if config.auth == Auth::Open {
        tokio::spawn(make_default_tenant(store.clone()));
    }
    let connections = ConnectionSlots::new(max_connections(), config.trusted_proxies.clone());
    let workers = Workers::start(&shared, listener, feeds, tls, connections)?;
    let monitor = start_monitor(shared)?;
    let sweeper = tokio::spawn(sweeper::sweep(store.clone(), replica.clone()));
    tokio::spawn(upkeep(replica.clone()));
    tokio::spawn(redis_memory::watch(store.clone()));
    tracing::info!(address = %url, workers = config.workers, "listening");
    if demo {
        store.redis().connected().await;
        let key = demo::demo_key(&store, &config.data_dir).await.map_err(AppError::Demo)?;
        demo::print_demo(&url, &key);
        tokio::spawn(demo_activity::keep_alive(store.clone(), key, replica.clone()));
    }

    termination().await?;
    replica.drain.cancel();
    tracing::info!(drain_s = config.drain.as_secs(), "draining");
    workers.join(monitor).await?;
    if let Some(feed) = feed {
        feed.release_slots().await;
    }
    let _ = sweeper.await;
    tracing::info!("done");
    Ok(())
}

/// Starts the queue monitor on a thread of its own: decoding what busy brokers send must not delay requests.
fn start_monitor(shared: Shared) -> io::Result<std::thread::JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name("monitor".into()).spawn(move || {
        runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            monitor::run(shared.open_store(), shared.config, shared.vault, shared.replica).await;
        });
        Ok(())
    })
}

/// Waits for SIGTERM or SIGINT.
async fn termination() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Makes the only tenant of open mode as soon as Redis is reached. Another replica may have made it.
async fn make_default_tenant(store: Store) {
    loop {
        store.redis().connected().await;
        match store.create_tenant(TenantId::default_tenant(), "default", Tier::Enterprise).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "the default tenant could not be made; trying again"),
        }
        tokio::time::sleep(DEFAULT_TENANT_RETRY).await;
    }
}

/// Most connections open at once: the file descriptors that the system allows, less [`SPARE_FILES`].
fn max_connections() -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(DEFAULT_FILES);
    files.saturating_sub(SPARE_FILES).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS) as usize
}

/// Runs the metrics' upkeep for ever.
async fn upkeep(replica: Arc<Replica>) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        replica.metrics.upkeep();
    }
}
