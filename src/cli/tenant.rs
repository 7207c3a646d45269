//! `holdfast tenant`: what the admin API does with tenants, done over the store.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    cli::{
        confirm::confirm,
        duration::{parse_ttl_or_none, short},
        exit::{Exit, Failure},
        output::{Cell, print, print_json, print_table, visible},
        store_access::{acting_for, all_tenants, find_tenant, open},
    },
    config::Config,
    domain::{
        access::{Tenant, TenantSettings},
        names::{TenantId, label},
        tier::Tier,
        time::{instant, iso},
    },
    store::Store,
};

/// A tenant's times to live.
#[derive(Debug, Clone, Copy, Args)]
pub struct TtlArgs {
    /// Time to live of a reservation that names none, in whole seconds; 0s: it has no end.
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl_or_none)]
    default_ttl: Option<Duration>,
    /// Longest time to live of a reservation, in whole seconds; 0s: no bound. Longer, or without an end, is refused.
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl_or_none)]
    max_ttl: Option<Duration>,
}

impl TtlArgs {
    /// The settings that these options change, checked against the tenant as it is.
    fn settings(self, present: Option<&Tenant>, tier: Option<Tier>) -> Result<TenantSettings, Failure> {
        let ms = |ttl: Option<Duration>| ttl.map(|ttl| ttl.as_millis() as i64);
        let settings = TenantSettings {
            tier,
            default_ttl_ms: ms(self.default_ttl),
            max_ttl_ms: ms(self.max_ttl),
            ..TenantSettings::default()
        };
        match settings.default_beyond_max(present) {
            None => Ok(settings),
            Some((default_ms, max_ms)) => Err(Failure::new(
                Exit::Usage,
                format!(
                    "the default time to live, {}, would be longer than the longest one, {}: every reserve that relies on it \
                     would be refused; give a shorter --default-ttl or a longer --max-ttl",
                    for_people(Some(default_ms)),
                    for_people(Some(max_ms))
                ),
            )),
        }
    }
}

/// Actions on tenants.
#[derive(Debug, Subcommand)]
pub enum TenantAction {
    /// Make a tenant and print its default key, once.
    #[command(
        after_help = "Examples:\n  holdfast tenant create acme --tier Pro\n  holdfast tenant create lab --default-ttl 5m --max-ttl 24h"
    )]
    Create {
        /// What people call it.
        name: String,
        /// Free, Starter, Pro or Enterprise.
        #[arg(long, default_value = Tier::DEFAULT.name())]
        tier: String,
        /// Its times to live.
        #[command(flatten)]
        ttls: TtlArgs,
        /// Make one also where a tenant has this name already.
        #[arg(long)]
        another: bool,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List all tenants.
    #[command(after_help = "Examples:\n  holdfast tenant list --json")]
    List {
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show a tenant and its keys.
    #[command(after_help = "Examples:\n  holdfast tenant show acme")]
    Show {
        /// Its id or its name.
        tenant: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Change a tenant's tier and times to live; what is not named stays.
    #[command(
        after_help = "Examples:\n  holdfast tenant update acme --tier Enterprise\n  holdfast tenant update acme --default-ttl 5m --max-ttl 24h",
        group = ArgGroup::new("change").args(["tier", "default_ttl", "max_ttl"]).required(true).multiple(true)
    )]
    Update {
        /// Its id or its name.
        tenant: String,
        /// Free, Starter, Pro or Enterprise.
        #[arg(long)]
        tier: Option<String>,
        /// Its times to live.
        #[command(flatten)]
        ttls: TtlArgs,
        /// One JSON document: the tenant as it is then.
        #[arg(long)]
        json: bool,
    },
    /// Delete a tenant with all that it has.
    #[command(after_help = "Examples:\n  holdfast tenant delete acme\n  holdfast tenant delete acme --yes")]
    Delete {
        /// Its id or its name.
        tenant: String,
        /// Do not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// Carries out an action on tenants.
///
/// # Errors
/// What was wrong with the input, or with the store.
pub async fn tenant(config: &Config, action: TenantAction) -> Result<(), Failure> {
    let store = open(config).await?;
    match action {
        TenantAction::Create { name, tier, ttls, another, json } => {
            let tier = parse_tier(&tier)?;
            let name = label(Some(name)).map_err(|fault| Failure::new(Exit::Usage, format!("the name {fault}")))?;
            let settings = ttls.settings(None, None)?;
            if !another && let Some(there) = all_tenants(&store).await?.into_iter().find(|tenant| tenant.name == name) {
                let text = format!("there is a tenant {name:?} already, {}; --another makes one more", there.id);
                return Err(Failure::new(Exit::Refused, text));
            }
            let made = store.create_tenant(TenantId::random(), &name, tier).await?;
            let (mut tenant, key) = made.ok_or_else(|| Failure::new(Exit::Fault, "the new id is taken; try again"))?;
            if (settings.default_ttl_ms, settings.max_ttl_ms) != (None, None) {
                tenant = update(&store, tenant, settings).await?;
            }
            if json {
                let mut row = row(&tenant);
                row["apiKey"] = key.text.into();
                return print_json(&row);
            }
            print(&format!("tenant {}\nkey    {}\n", tenant.id, key.text))
        }
        TenantAction::List { json } => {
            let tenants = all_tenants(&store).await?;
            if json {
                return print_json(&json!({"tenants": tenants.iter().map(row).collect::<Vec<_>>()}));
            }
            let rows: Vec<[Cell; 3]> = tenants
                .iter()
                .map(|tenant| {
                    [Cell::whole(&tenant.id.to_string()), tenant.tier.name().into(), tenant.name.as_str().into()]
                })
                .collect();
            print_table(["ID", "TIER", "NAME"], &rows)
        }
        TenantAction::Show { tenant, json } => {
            let tenant = find_tenant(&store, &tenant).await?;
            let keys = store.keys(&acting_for(&store, &tenant).await?).await?.answer;
            if json {
                let mut row = row(&tenant);
                row["keys"] = keys.iter().map(super::key::row).collect();
                return print_json(&row);
            }
            print(&format!(
                "tenant   {}\nname     {}\ntier     {}\ncreated  {}\nnames    {}\nttl      {} by default, {}\n\n",
                tenant.id,
                visible(&tenant.name),
                tenant.tier.name(),
                iso(instant(tenant.created_ms)),
                if tenant.require_registration { "registered ones only" } else { "any" },
                for_people(tenant.default_ttl_ms),
                tenant.max_ttl_ms.map_or_else(|| "no bound".into(), |ms| format!("{} at most", for_people(Some(ms)))),
            ))?;
            super::key::print_keys(&keys)
        }
        TenantAction::Update { tenant, tier, ttls, json } => {
            let tier = tier.map(|tier| parse_tier(&tier)).transpose()?;
            let tenant = find_tenant(&store, &tenant).await?;
            let settings = ttls.settings(Some(&tenant), tier)?;
            let tenant = update(&store, tenant, settings).await?;
            if json { print_json(&row(&tenant)) } else { Ok(()) }
        }
        TenantAction::Delete { tenant, yes } => {
            let tenant = find_tenant(&store, &tenant).await?;
            confirm(&format!("Delete the tenant {:?} ({}) with all that it has?", tenant.name, tenant.id), yes)?;
            if store.delete_tenant(&tenant.id).await? { Ok(()) } else { Err(gone()) }
        }
    }
}

/// Changes a tenant's settings; the tenant as it is then.
async fn update(store: &Store, tenant: Tenant, settings: TenantSettings) -> Result<Tenant, Failure> {
    if !store.update_tenant(&tenant.id, settings).await? {
        return Err(gone());
    }
    let ttl_ms = |changed: Option<i64>, present| changed.map_or(present, |ms| (ms > 0).then_some(ms));
    Ok(Tenant {
        tier: settings.tier.unwrap_or(tenant.tier),
        default_ttl_ms: ttl_ms(settings.default_ttl_ms, tenant.default_ttl_ms),
        max_ttl_ms: ttl_ms(settings.max_ttl_ms, tenant.max_ttl_ms),
        ..tenant
    })
}

/// A time to live for people.
fn for_people(ttl_ms: Option<i64>) -> String {
    ttl_ms.map_or_else(|| "no end".into(), |ms| short(Duration::from_millis(ms.unsigned_abs())))
}

fn parse_tier(tier: &str) -> Result<Tier, Failure> {
    Tier::parse(tier).map_err(|fault| Failure::new(Exit::Usage, fault))
}

fn gone() -> Failure {
    Failure::new(Exit::Refused, "the tenant was deleted by somebody else meanwhile")
}

fn row(tenant: &Tenant) -> Value {
    json!({
        "tenantId": tenant.id.to_string(),
        "name": tenant.name,
        "tier": tenant.tier.name(),
        "createdAt": iso(instant(tenant.created_ms)),
        "requireRegistration": tenant.require_registration,
        "defaultTtlSeconds": tenant.default_ttl_ms.map(|ms| ms / 1_000),
        "maxTtlSeconds": tenant.max_ttl_ms.map(|ms| ms / 1_000),
    })
}
