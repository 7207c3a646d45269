//! `holdfast tenant`: what the admin API does with tenants, done over the store.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    cli::{
        confirm::confirm,
        exit::{Exit, Failure},
        output::{Cell, print, print_json, print_table},
        store_access::{acting_for, all_tenants, find_tenant, open},
    },
    config::Config,
    domain::{
        access::{Tenant, TenantSettings},
        names::{TenantId, label},
        tier::Tier,
        time::{instant, iso},
    },
};

/// Actions on tenants.
#[derive(Debug, Subcommand)]
pub enum TenantAction {
    /// Make a tenant and print its default key, once.
    #[command(after_help = "Examples:\n  holdfast tenant create acme --tier Pro")]
    Create {
        /// What people call it.
        name: String,
        /// Free, Starter, Pro or Enterprise.
        #[arg(long, default_value = Tier::DEFAULT.name())]
        tier: String,
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
    /// Change a tenant's tier.
    #[command(after_help = "Examples:\n  holdfast tenant update acme --tier Enterprise")]
    Update {
        /// Its id or its name.
        tenant: String,
        /// Free, Starter, Pro or Enterprise.
        #[arg(long)]
        tier: String,
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
        TenantAction::Create { name, tier, json } => {
            let tier = parse_tier(&tier)?;
            let name = label(Some(name)).map_err(|fault| Failure::new(Exit::Usage, format!("the name {fault}")))?;
            let made = store.create_tenant(TenantId::random(), &name, tier).await?;
            let (tenant, key) = made.ok_or_else(|| Failure::new(Exit::Fault, "the new id is taken; try again"))?;
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
                "tenant   {}\nname     {}\ntier     {}\ncreated  {}\nnames    {}\n\n",
                tenant.id,
                crate::cli::output::visible(&tenant.name),
                tenant.tier.name(),
                iso(instant(tenant.created_ms)),
                if tenant.require_registration { "registered ones only" } else { "any" },
            ))?;
            super::key::print_keys(&keys)
        }
        TenantAction::Update { tenant, tier, json } => {
            let tier = parse_tier(&tier)?;
            let tenant = find_tenant(&store, &tenant).await?;
            if !store
                .update_tenant(&tenant.id, TenantSettings { tier: Some(tier), ..TenantSettings::default() })
                .await?
            {
                return Err(gone());
            }
            if json { print_json(&row(&Tenant { tier, ..tenant })) } else { Ok(()) }
        }
        TenantAction::Delete { tenant, yes } => {
            let tenant = find_tenant(&store, &tenant).await?;
            confirm(&format!("Delete the tenant {:?} ({}) with all that it has?", tenant.name, tenant.id), yes)?;
            if store.delete_tenant(&tenant.id).await? { Ok(()) } else { Err(gone()) }
        }
    }
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
    })
}
