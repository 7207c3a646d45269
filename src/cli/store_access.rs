//! The store that the administrator's commands work on, and what they name in it.

use std::sync::Arc;

use crate::{
    cli::exit::{Exit, Failure},
    config::Config,
    domain::{
        access::{ApiKey, Tenant},
        names::TenantId,
    },
    redis::{Address, TIMEOUT},
    store::{Caller, Callers, Namespace, Store, StoreError},
};

/// Tenants of one page.
const PAGE: usize = 1_000;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::Unreachable
            | StoreError::Unusable { .. }
            | StoreError::OutcomeUnknown { .. }
            | StoreError::Interrupted(_) => Exit::Unreachable,
            _ => Exit::Fault,
        };
        Self::new(exit, error.to_string())
    }
}

/// Opens the store: over the Redis of `REDIS_URL`, or the private one of the service that runs over the data directory.
///
/// # Errors
/// [`Exit::Usage`]: no service runs there. [`Exit::Unreachable`]: Redis.
pub(super) async fn open(config: &Config) -> Result<Store, Failure> {
    let parse = |url: &str| {
        Address::parse(url)
            .map_err(|error| Failure::new(Exit::Usage, format!("HOLDFAST_REDIS_URL cannot be used: {error}")))
    };
    let address = match &config.redis_url {
        Some(url) => parse(url.expose())?,
        None => {
            // Shown whole: what is relative depends on where the command is given.
            let directory = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
            let socket = directory.join("redis.sock").canonicalize().map_err(|_| {
                let shown = directory.display();
                Failure::new(
                    Exit::Usage,
                    format!(
                        "no Holdfast runs over the directory {shown}: set HOLDFAST_DATA_DIR as the running service has it, \
                         or HOLDFAST_REDIS_URL"
                    ),
                )
            })?;
            parse(&format!("redis+unix://{}", socket.display()))?
        }
    };
    let shown = address.to_string();
    let namespace = Namespace::new(&config.prefix, address.database());
    let callers = Callers::new(config.tiers.clone(), config.known_credentials, namespace);
    let store = Store::open(address, Arc::new(callers));
    if tokio::time::timeout(TIMEOUT, store.redis().connected()).await.is_err() {
        let why = store.redis().failure().map_or_else(|| "no answer".to_owned(), |failure| failure.to_string());
        return Err(Failure::new(Exit::Unreachable, format!("{shown} cannot be used: {why}")));
    }
    Ok(store)
}

/// Every tenant, in the order of their ids.
///
/// # Errors
/// [`Failure`] of the store.
pub(super) async fn all_tenants(store: &Store) -> Result<Vec<Tenant>, Failure> {
    let (mut tenants, mut after) = (Vec::new(), None);
    loop {
        let page = store.tenants(after.as_deref(), PAGE).await?;
        tenants.extend(page.tenants);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(tenants),
        }
    }
}

/// The tenant that a person names by its id or its name.
///
/// # Errors
/// [`Exit::Refused`]: there is none, or several have this name.
pub(super) async fn find_tenant(store: &Store, text: &str) -> Result<Tenant, Failure> {
    if let Some(id) = TenantId::parse(text)
        && let Some(found) = store.tenant(&id).await?
    {
        return Ok(found.answer);
    }
    let named = all_tenants(store).await?.into_iter().filter(|tenant| tenant.name == text);
    only(named.collect(), |tenant| tenant.id.to_string(), "tenant", text)
}

/// The key of a tenant that a person names by its id or its label.
///
/// # Errors
/// As [`find_tenant`].
pub(super) async fn find_key(store: &Store, caller: &Caller, text: &str) -> Result<ApiKey, Failure> {
    let mut keys = store.keys(caller).await?.answer;
    if let Some(at) = keys.iter().position(|key| key.id == text) {
        return Ok(keys.swap_remove(at));
    }
    keys.retain(|key| key.label == text);
    only(keys, |key| key.id.clone(), "key", text)
}

/// Somebody who may do everything in a tenant.
///
/// # Errors
/// As [`find_tenant`].
pub(super) async fn acting_for(store: &Store, tenant: &Tenant) -> Result<Caller, Failure> {
    store.system_caller(&tenant.id).await?.ok_or_else(|| missing("tenant", &tenant.name))
}

fn missing(what: &str, text: &str) -> Failure {
    Failure::new(Exit::Refused, format!("there is no such {what}: {text:?}; `holdfast {what} list` shows all"))
}

fn only<T>(mut found: Vec<T>, id: impl Fn(&T) -> String, what: &str, text: &str) -> Result<T, Failure> {
    match found.len() {
        0 | 1 => found.pop().ok_or_else(|| missing(what, text)),
        count => {
            let ids: Vec<_> = found.iter().map(id).collect();
            let text = format!("{count} {what}s have the name {text:?}; say which by its id: {}", ids.join(", "));
            Err(Failure::new(Exit::Refused, text))
        }
    }
}
