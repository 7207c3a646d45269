//! Joins the rooms: from settings to a service that runs until it is told to end.

use std::{io, path::Path, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
};

use crate::{
    config::{Auth, Config},
    domain::{names::TenantId, tier::Tier},
    feed::Feed,
    http::{self, App, Limiters, Listener, ListenerError, Server},
    monitor,
    replica::Replica,
    store::{
        Address, AddressError, Bearer, Callers, PrivateRedis, PrivateRedisError, RedisHandle, RedisHandles, Secret,
        Store, StoreError,
    },
    sweeper,
    trust::{SecretKeys, Vault},
};

/// File descriptors kept for Redis, logs and diagnosis when connections take the rest.
const SPARE_FILES: u64 = 200;
/// How long a worker waits for Redis before it serves without: those who come meanwhile wait in the kernel's queue.
const FIRST_LINK: Duration = Duration::from_secs(1);
/// In which part of the drain window streams end: the rest is for their last words to arrive.
const STREAMS_END: f64 = 0.8;
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// The demo tenant's key, beside the data that it opens.
const DEMO_FILE: &str = "demo-key";
/// The secret of a service that was given none, beside the data that it protects.
const SECRET_FILE: &str = "secret-key";

/// Why the service did not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself")]
pub enum AppError {
    #[error(transparent)]
    Redis(#[from] PrivateRedisError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Listener(#[from] ListenerError),
    #[error("the demo tenant could not be made: {0}")]
    Demo(#[source] StoreError),
    #[error(
        "HOLDFAST_SECRET_KEY is not set, and there is nothing to make it from: set it, the same on every replica (at least {} bytes), or set HOLDFAST_ADMIN_KEY",
        SecretKeys::BYTES
    )]
    NoSecret,
    #[error("{file} cannot be used as the secret of this service: {error}")]
    Secret { file: String, error: io::Error },
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// Call it on the main thread: the private Redis lives as long as the thread that started it.
///
/// # Errors
/// What kept it from starting, in words that name the way out.
pub async fn serve(config: Config, demo: bool) -> Result<(), AppError> {
    let (private, address) = match &config.redis {
        Some(address) => (None, address.clone()),
        None => {
            let redis = PrivateRedis::start(&config.data_dir).await?;
            let address = Address::parse(&redis.url())?;
            (Some(redis), address)
        }
    };
    let served = match secret_keys(&config) {
        Ok(secrets) => serve_on(config, address, demo, Vault::new(&secrets)).await,
        Err(error) => Err(error),
    };
    if let Some(redis) = private {
        redis.stop().await;
    }
    served
}

async fn serve_on(config: Config, address: Address, demo: bool, vault: Vault) -> Result<(), AppError> {
    let tls = config.tls.as_ref().map(|(certificate, key)| http::tls_acceptor(certificate, key)).transpose()?;
    let listener = Listener::bind(config.listen, config.workers)?;
    let bound = listener.address();
    let callers = Arc::new(Callers::of(config.tiers.clone(), config.known_credentials));
    let replica = Arc::new(Replica::begin());
    let store = Store::new(RedisHandle::open(address.clone()), callers.clone());
    let feeds = Feed::start(store.clone(), config.workers)?;
    let feed = feeds.first().cloned();

    let config = Arc::new(config);
    let (limiters, vault) = (Arc::new(Limiters::default()), Arc::new(vault));
    if config.auth == Auth::Open {
        tokio::spawn(make_default_tenant(store.clone()));
    }
    let links = Arc::new(RedisHandles::expecting(config.workers));
    let places = Arc::new(Semaphore::new(connection_places()));
    let workers: Vec<_> = listener
        .into_sockets()
        .into_iter()
        .zip(feeds)
        .enumerate()
        .map(|(number, (socket, feed))| {
            let (address, callers, config, replica) =
                (address.clone(), callers.clone(), config.clone(), replica.clone());
            let (limiters, vault, links) = (limiters.clone(), vault.clone(), links.clone());
            let server = Server::new(socket, tls.clone(), places.clone(), replica.clone(), config.drain);
            std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
                runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                    let store = Store::new(RedisHandle::open(address), callers);
                    links.add(store.link().clone());
                    // A worker that serves before it has reached Redis would refuse what another one, which is ready, promised.
                    let _ = tokio::time::timeout(FIRST_LINK, store.link().up()).await;
                    tokio::spawn(feed.clone().run());
                    let (leaving, drain, window) = (feed.clone(), replica.drain.clone(), config.drain);
                    tokio::spawn(async move {
                        drain.cancelled().await;
                        leaving.end_streams(window.mul_f64(STREAMS_END)).await;
                    });
                    server.run(http::edge(App { store, links, feed, config, replica, limiters, vault })).await
                })
            })
        })
        .collect::<Result<_, _>>()?;

    // A thread of its own: reading what busy brokers say must not hold up requests.
    let collecting = {
        let (address, callers, config, vault, replica) =
            (address.clone(), callers.clone(), config.clone(), vault.clone(), replica.clone());
        std::thread::Builder::new().name("collect".into()).spawn(move || -> io::Result<()> {
            runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                let store = Store::new(RedisHandle::open(address), callers);
                monitor::collect(store, config, vault, replica).await;
            });
            Ok(())
        })?
    };
    let sweeping = tokio::spawn(sweeper::sweep(store.clone(), replica.clone()));
    tokio::spawn(upkeep(replica.clone()));
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    tracing::info!(address = %format!("{scheme}://{bound}"), workers = workers.len(), "listening");
    if demo {
        store.link().up().await;
        let key = demo_key(&store, &config.data_dir).await.map_err(AppError::Demo)?;
        print_demo(&format!("{scheme}://{bound}"), &key);
    }

    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    replica.drain.cancel();
    tracing::info!(drain_s = config.drain.as_secs(), "draining");
    let joined = tokio::task::spawn_blocking(move || {
        workers
            .into_iter()
            .chain([collecting])
            .map(|worker| worker.join().unwrap_or(Ok(())))
            .collect::<Result<Vec<()>, _>>()
    });
    joined.await.unwrap_or(Ok(Vec::new()))?;
    if let Some(feed) = feed {
        feed.release_slots().await;
    }
    let _ = sweeping.await;
    tracing::info!("done");
    Ok(())
}

/// The secrets of the settings; else the one beside the private Redis' data, made at the first start; else what the admin key gives.
fn secret_keys(config: &Config) -> Result<SecretKeys, AppError> {
    if let Some(secrets) = &config.secret_keys {
        return Ok(secrets.clone());
    }
    if config.redis.is_some() {
        // The vault derives its keys one way, so they tell nothing of the admin key.
        return config.admin_key.as_ref().and_then(|key| SecretKeys::one(key.expose())).ok_or(AppError::NoSecret);
    }
    let path = config.data_dir.join(SECRET_FILE);
    let fault = |error| AppError::Secret { file: path.display().to_string(), error };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut random = [0_u8; 32];
            getrandom::fill(&mut random).map_err(|error| fault(io::Error::other(error.to_string())))?;
            let text = URL_SAFE_NO_PAD.encode(random);
            write_secret(&path, &text).map_err(fault)?;
            text
        }
        Err(error) => return Err(fault(error)),
    };
    SecretKeys::one(text.trim())
        .ok_or_else(|| fault(io::Error::other("it is too short; remove it to have a new one made")))
}

/// Makes the one tenant of open mode, as soon as Redis is there. Another replica may have made it.
async fn make_default_tenant(store: Store) {
    loop {
        store.link().up().await;
        match store.create_tenant(TenantId::default_tenant(), "default", Tier::Enterprise).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "the default tenant could not be made; trying again"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How many connections may be open at once: what the system gives us in file descriptors, less a few for ourselves.
fn connection_places() -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    files.saturating_sub(SPARE_FILES).max(16).min(Semaphore::MAX_PERMITS as u64) as usize
}

async fn upkeep(replica: Arc<Replica>) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        replica.metrics.upkeep();
    }
}

/// The key of the demo tenant, which is made once and remembered beside the data.
async fn demo_key(store: &Store, dir: &Path) -> Result<String, StoreError> {
    let file = dir.join(DEMO_FILE);
    if let Ok(key) = std::fs::read_to_string(&file)
        && store.caller(&Bearer::Key(Secret::of(key.trim()))).await?.is_some()
    {
        return Ok(key.trim().to_owned());
    }
    let made = store.create_tenant(TenantId::random(), "demo", Tier::Pro).await?;
    let key = made.map(|(_, key)| key.text).unwrap_or_default();
    if let Err(error) = write_secret(&file, &key) {
        tracing::warn!(%error, file = %file.display(), "the demo key could not be kept; the next start makes another demo tenant");
    }
    Ok(key)
}

fn write_secret(file: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    writeln!(file, "{text}")
}

/// What a person needs for the first minute.
#[allow(clippy::print_stdout, reason = "this is for the person at the terminal, not for the log")]
fn print_demo(address: &str, key: &str) {
    println!(
        "\nHoldfast is serving.\n\n  dashboard  {address}/\n  API        {address}/docs\n  demo key   {key}\n\nReserve something:\n\n  \
         curl -s {address}/api/v1/Reservation/reserve -H 'X-Api-Key: {key}' -H 'Content-Type: application/json' \
         -d '[{{\"requester\":\"me\",\"resource\":\"printer\",\"ttlSeconds\":60}}]'\n\nWatch it happen:\n\n  \
         curl -sN {address}/api/v1/events -H 'X-Api-Key: {key}'\n"
    );
}
