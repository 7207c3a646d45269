//! The command line: the administrator's work, done over the store without a running service.

use clap::Subcommand;

use crate::{
    config::{self, Config},
    domain::{
        access::Scopes,
        names::{self, TenantId},
        tier::Tier,
    },
    redis::{Address, RedisHandle, TIMEOUT},
    store::{Caller, Callers, KeyRemoval, Limited, Store, StoreError},
};

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve. Settings come from HOLDFAST_* variables or holdfast.toml.
    #[command(after_help = config::help())]
    Serve {
        /// Make a demo tenant once, and print its key and a line to paste.
        #[arg(long)]
        demo: bool,
    },
    /// Make, list, show, change or delete tenants.
    Tenant {
        /// What to do.
        #[command(subcommand)]
        action: TenantAction,
    },
    /// Make, list, rotate or delete a tenant's API keys.
    Key {
        /// What to do.
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Print the OpenAPI document.
    Openapi,
}

/// Actions on tenants.
#[derive(Debug, Subcommand)]
pub enum TenantAction {
    /// Make a tenant and print its default key, once.
    Create {
        /// What people call it.
        name: String,
        /// Free, Starter, Pro or Enterprise.
        #[arg(long, default_value = "Free")]
        tier: String,
    },
    /// List all tenants.
    List,
    /// Change a tenant's tier.
    Update {
        /// The tenant's id.
        id: String,
        /// Free, Starter, Pro or Enterprise.
        #[arg(long)]
        tier: String,
    },
    /// Delete a tenant with all that it has.
    Delete {
        /// The tenant's id.
        id: String,
    },
}

/// Actions on API keys.
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Make a key and print it, once.
    Create {
        /// The tenant's id.
        tenant: String,
        /// What it is for.
        label: String,
        /// Comma-separated: read, write, admin.
        #[arg(long, default_value = "read,write")]
        scopes: String,
    },
    /// List a tenant's keys.
    List {
        /// The tenant's id.
        tenant: String,
    },
    /// Give a key a new text; the old one is refused at once.
    Rotate {
        /// The tenant's id.
        tenant: String,
        /// The key's id.
        id: String,
    },
    /// Delete a key; it is refused at once.
    Delete {
        /// The tenant's id.
        tenant: String,
        /// The key's id.
        id: String,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// An argument or a setting cannot be used.
    #[error("{0}")]
    Input(String),

    /// What an argument names does not exist.
    #[error("there is no such {0}")]
    NotFound(&'static str),

    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Prints a text as it is.
#[allow(clippy::print_stdout, reason = "the output of a command is what it is for")]
pub fn print(text: &str) {
    print!("{text}");
}

/// Carries out an action on tenants.
///
/// # Errors
/// What was wrong with the input, or with the store.
pub async fn tenant(config: &Config, action: TenantAction) -> Result<(), CliError> {
    let store = open(config).await?;
    match action {
        TenantAction::Create { name, tier } => {
            let tier = Tier::parse(&tier).map_err(CliError::Input)?;
            let name = names::label(Some(name)).map_err(|error| CliError::Input(format!("the name {error}")))?;
            let made = store.create_tenant(TenantId::random(), &name, tier).await?;
            let (tenant, key) = made.ok_or(CliError::NotFound("free id"))?;
            print(&format!("tenant {}\nkey    {}\n", tenant.id, key.text));
        }
        TenantAction::List => {
            let mut after = None;
            loop {
                let page = store.tenants(after.as_deref(), 1_000).await?;
                for tenant in page.tenants {
                    print(&format!("{}  {:<10}  {}\n", tenant.id, tenant.tier.name(), tenant.name));
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        TenantAction::Update { id, tier } => {
            let tier = Tier::parse(&tier).map_err(CliError::Input)?;
            found(store.update_tenant(&tenant_id(&id)?, Some(tier), None).await?, "tenant")?;
        }
        TenantAction::Delete { id } => found(store.delete_tenant(&tenant_id(&id)?).await?, "tenant")?,
    }
    Ok(())
}

/// Carries out an action on a tenant's keys.
///
/// # Errors
/// What was wrong with the input, or with the store.
pub async fn key(config: &Config, action: KeyAction) -> Result<(), CliError> {
    let store = open(config).await?;
    match action {
        KeyAction::Create { tenant, label, scopes } => {
            let caller = acting_for(&store, &tenant).await?;
            let scopes = Scopes::parse(scopes.split(',')).map_err(CliError::Input)?;
            let label = names::label(Some(label)).map_err(|error| CliError::Input(format!("the label {error}")))?;
            match store.create_key(&caller, &label, scopes).await?.answer {
                Limited::Done(new) => print(&format!("id     {}\nkey    {}\n", new.key.id, new.text)),
                Limited::Limit(limit) => {
                    return Err(CliError::Input(format!(
                        "the tier allows {} keys, and there are {}",
                        limit.limit, limit.used
                    )));
                }
            }
        }
        KeyAction::List { tenant } => {
            let caller = acting_for(&store, &tenant).await?;
            for key in store.keys(&caller).await?.answer {
                print(&format!("{}  {:<16}  {}\n", key.id, key.scopes.to_list(), key.label));
            }
        }
        KeyAction::Rotate { tenant, id } => {
            let caller = acting_for(&store, &tenant).await?;
            let new = store.rotate_key(&caller, &id).await?.answer.ok_or(CliError::NotFound("key"))?;
            print(&format!("key    {}\n", new.text));
        }
        KeyAction::Delete { tenant, id } => {
            let caller = acting_for(&store, &tenant).await?;
            match store.delete_key(&caller, &id).await?.answer {
                KeyRemoval::Removed => {}
                KeyRemoval::NotFound => return Err(CliError::NotFound("key")),
                KeyRemoval::LastAdmin => {
                    return Err(CliError::Input(
                        "this is the last key with the scope admin; make another one first".into(),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Opens the store: over the Redis of `REDIS_URL`, or the private one of the service that runs over the data directory.
async fn open(config: &Config) -> Result<Store, CliError> {
    let parse = |url: &str| {
        Address::parse(url).map_err(|error| CliError::Input(format!("HOLDFAST_REDIS_URL cannot be used: {error}")))
    };
    let address = match &config.redis_url {
        Some(url) => parse(url.expose())?,
        None => {
            let socket = config.data_dir.join("redis.sock");
            let socket = socket.canonicalize().map_err(|_| {
                CliError::Input(format!(
                    "no Holdfast runs over {}: set HOLDFAST_REDIS_URL, or HOLDFAST_DATA_DIR as the running service has it",
                    config.data_dir.display()
                ))
            })?;
            parse(&format!("redis+unix://{}", socket.display()))?
        }
    };
    let redis = RedisHandle::open(address);
    if tokio::time::timeout(TIMEOUT, redis.connected()).await.is_err() {
        return Err(StoreError::Unreachable.into());
    }
    Ok(Store::new(redis, std::sync::Arc::new(Callers::new(config.tiers.clone(), config.known_credentials))))
}

fn tenant_id(id: &str) -> Result<TenantId, CliError> {
    TenantId::parse(id).ok_or(CliError::NotFound("tenant"))
}

async fn acting_for(store: &Store, tenant: &str) -> Result<Caller, CliError> {
    store.system_caller(&tenant_id(tenant)?).await?.ok_or(CliError::NotFound("tenant"))
}

fn found(found: bool, what: &'static str) -> Result<(), CliError> {
    if found { Ok(()) } else { Err(CliError::NotFound(what)) }
}
