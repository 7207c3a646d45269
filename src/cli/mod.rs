//! The commands beside `serve`: what the admin API does, done over the store.

use clap::Subcommand;

use crate::{
    config::Config,
    domain::{access::Scopes, names::TenantId, tier::Tier},
    store::{Address, Caller, Callers, KeyRemoval, Limited, RedisHandle, Store, StoreError},
};

/// What can be asked of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve. Settings come from HOLDFAST_* variables or holdfast.toml.
    #[command(after_help = settings())]
    Serve {
        /// Make a demo tenant once, and print its key and a line to paste.
        #[arg(long)]
        demo: bool,
    },
    /// Make, list, show, change or delete tenants.
    Tenant {
        #[command(subcommand)]
        act: TenantAct,
    },
    /// Make, list, rotate or delete a tenant's API keys.
    Key {
        #[command(subcommand)]
        act: KeyAct,
    },
    /// Print the OpenAPI document.
    Openapi,
}

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantAct {
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

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyAct {
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

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says itself")]
pub enum CliError {
    #[error("{0}")]
    Input(String),
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Prints a text as it is.
#[allow(clippy::print_stdout, reason = "the output of a command is what it is for")]
pub fn print(text: &str) {
    print!("{text}");
}

fn settings() -> String {
    let lines: Vec<_> =
        crate::config::SETTINGS.iter().map(|(name, meaning)| format!("  HOLDFAST_{name:<14} {meaning}")).collect();
    format!("Settings:\n{}", lines.join("\n"))
}

/// Does something with tenants.
///
/// # Errors
/// What was wrong with the input, or with the store.
pub async fn tenant(config: &Config, act: TenantAct) -> Result<(), CliError> {
    let store = open(config).await?;
    match act {
        TenantAct::Create { name, tier } => {
            let tier = Tier::parse(&tier).map_err(CliError::Input)?;
            let name = crate::domain::names::label(Some(name))
                .map_err(|fault| CliError::Input(format!("the name {fault}")))?;
            let made = store.create_tenant(TenantId::random(), &name, tier).await?;
            let (tenant, key) = made.ok_or(CliError::NotFound("free id"))?;
            print(&format!("tenant {}\nkey    {}\n", tenant.id, key.text));
        }
        TenantAct::List => {
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
        TenantAct::Update { id, tier } => {
            let tier = Tier::parse(&tier).map_err(CliError::Input)?;
            found(store.update_tenant(&tenant_id(&id)?, Some(tier), None).await?, "tenant")?;
        }
        TenantAct::Delete { id } => found(store.delete_tenant(&tenant_id(&id)?).await?, "tenant")?,
    }
    Ok(())
}

/// Does something with a tenant's keys.
///
/// # Errors
/// What was wrong with the input, or with the store.
pub async fn key(config: &Config, act: KeyAct) -> Result<(), CliError> {
    let store = open(config).await?;
    match act {
        KeyAct::Create { tenant, label, scopes } => {
            let caller = acting_for(&store, &tenant).await?;
            let scopes = Scopes::parse(scopes.split(',')).map_err(CliError::Input)?;
            let label = crate::domain::names::label(Some(label))
                .map_err(|fault| CliError::Input(format!("the label {fault}")))?;
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
        KeyAct::List { tenant } => {
            let caller = acting_for(&store, &tenant).await?;
            for key in store.keys(&caller).await?.answer {
                print(&format!("{}  {:<16}  {}\n", key.id, key.scopes.to_list(), key.label));
            }
        }
        KeyAct::Rotate { tenant, id } => {
            let caller = acting_for(&store, &tenant).await?;
            let new = store.rotate_key(&caller, &id).await?.answer.ok_or(CliError::NotFound("key"))?;
            print(&format!("key    {}\n", new.text));
        }
        KeyAct::Delete { tenant, id } => {
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

/// The store of the settings: the Redis they name, or the private one of a service that runs over the data directory.
async fn open(config: &Config) -> Result<Store, CliError> {
    let address = match &config.redis {
        Some(address) => address.clone(),
        None => {
            let socket = config.data_dir.join("redis.sock");
            let socket = socket.canonicalize().map_err(|_| {
                CliError::Input(format!(
                    "no Holdfast runs over {}: set HOLDFAST_REDIS_URL, or HOLDFAST_DATA_DIR as the running service has it",
                    config.data_dir.display()
                ))
            })?;
            Address::parse(&format!("redis+unix://{}", socket.display()))
                .map_err(|error| CliError::Input(error.to_string()))?
        }
    };
    let link = RedisHandle::open(address);
    if tokio::time::timeout(crate::store::TIMEOUT, link.up()).await.is_err() {
        return Err(StoreError::Unreachable.into());
    }
    Ok(Store::new(link, std::sync::Arc::new(Callers::of(config.tiers.clone(), config.known_credentials))))
}

fn tenant_id(id: &str) -> Result<TenantId, CliError> {
    TenantId::parse(id).ok_or(CliError::NotFound("tenant"))
}

async fn acting_for(store: &Store, tenant: &str) -> Result<Caller, CliError> {
    store.acting_for(&tenant_id(tenant)?).await?.ok_or(CliError::NotFound("tenant"))
}

fn found(found: bool, what: &'static str) -> Result<(), CliError> {
    if found { Ok(()) } else { Err(CliError::NotFound(what)) }
}
