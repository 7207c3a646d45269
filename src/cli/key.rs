//! `holdfast key`: what the API does with a tenant's keys, done over the store.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    cli::{
        confirm::confirm,
        exit::{Exit, Failure},
        output::{Cell, print, print_json, print_table, visible},
        store_access::{acting_for, find_key, find_tenant, open},
    },
    config::Config,
    domain::{
        access::{ApiKey, Scope, Scopes, Tenant},
        names::label,
        time::{instant, iso},
    },
    store::{KeyRemoval, Limited},
};

/// Actions on API keys.
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Make a key and print it, once.
    #[command(after_help = "Examples:\n  holdfast key create acme worker-prod --scopes read,write")]
    Create {
        /// The tenant's id or name.
        tenant: String,
        /// What it is for.
        label: String,
        /// Comma-separated: read, write, admin.
        #[arg(long, default_value = "read,write")]
        scopes: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// List a tenant's keys.
    #[command(after_help = "Examples:\n  holdfast key list acme")]
    List {
        /// The tenant's id or name.
        tenant: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show a key: never its text.
    #[command(after_help = "Examples:\n  holdfast key show acme worker-prod")]
    Show {
        /// The tenant's id or name.
        tenant: String,
        /// The key's id or label.
        key: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Give a key a new text; the old one is refused at once.
    #[command(after_help = "Examples:\n  holdfast key rotate acme worker-prod")]
    Rotate {
        /// The tenant's id or name.
        tenant: String,
        /// The key's id or label.
        key: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Delete a key; it is refused at once.
    #[command(after_help = "Examples:\n  holdfast key delete acme worker-prod --yes")]
    Delete {
        /// The tenant's id or name.
        tenant: String,
        /// The key's id or label.
        key: String,
        /// Do not ask.
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// Carries out an action on a tenant's keys.
///
/// # Errors
/// What was wrong with the input, or with the store.
pub async fn key(config: &Config, action: KeyAction) -> Result<(), Failure> {
    let store = open(config).await?;
    let (KeyAction::Create { tenant, .. }
    | KeyAction::List { tenant, .. }
    | KeyAction::Show { tenant, .. }
    | KeyAction::Rotate { tenant, .. }
    | KeyAction::Delete { tenant, .. }) = &action;
    let tenant = find_tenant(&store, tenant).await?;
    let caller = acting_for(&store, &tenant).await?;
    match action {
        KeyAction::Create { label: text, scopes, json, .. } => {
            let scopes = Scopes::parse(scopes.split(',')).map_err(|fault| Failure::new(Exit::Usage, fault))?;
            let text = label(Some(text)).map_err(|fault| Failure::new(Exit::Usage, format!("the label {fault}")))?;
            match store.create_key(&caller, &text, scopes).await?.answer {
                Limited::Done(new) if json => {
                    let mut row = row(&new.key);
                    row["apiKey"] = new.text.into();
                    print_json(&row)
                }
                Limited::Done(new) => print(&format!("id     {}\nkey    {}\n", new.key.id, new.text)),
                Limited::Limit(limit) => {
                    Err(Failure::new(Exit::Refused, limit_reached(&tenant, limit.limit, limit.used)))
                }
            }
        }
        KeyAction::List { json, .. } => {
            let keys = store.keys(&caller).await?.answer;
            if json {
                return print_json(&json!({"keys": keys.iter().map(row).collect::<Vec<_>>()}));
            }
            print_keys(&keys)
        }
        KeyAction::Show { key, json, .. } => {
            let key = find_key(&store, &caller, &key).await?;
            if json {
                return print_json(&row(&key));
            }
            print(&format!(
                "id       {}\nlabel    {}\nscopes   {}\ncreated  {}\nused     {}\n",
                key.id,
                visible(&key.label),
                key.scopes.to_list(),
                iso(instant(key.created_ms)),
                used(&key),
            ))
        }
        KeyAction::Rotate { key, json, .. } => {
            let key = find_key(&store, &caller, &key).await?;
            let new = store.rotate_key(&caller, &key.id).await?.answer.ok_or_else(gone)?;
            if json {
                let mut row = row(&new.key);
                row["apiKey"] = new.text.into();
                return print_json(&row);
            }
            print(&format!("key    {}\n", new.text))
        }
        KeyAction::Delete { key, yes, .. } => {
            let key = find_key(&store, &caller, &key).await?;
            confirm(&format!("Delete the key {:?} ({}) of {:?}?", key.label, key.id, tenant.name), yes)?;
            match store.delete_key(&caller, &key.id).await?.answer {
                KeyRemoval::Removed => Ok(()),
                KeyRemoval::NotFound => Err(gone()),
                KeyRemoval::LastAdmin => Err(Failure::new(
                    Exit::Refused,
                    "this is the last key with the scope admin; make another one first",
                )),
            }
        }
    }
}

/// Keys as a table.
///
/// # Errors
/// The output cannot be written.
pub(super) fn print_keys(keys: &[ApiKey]) -> Result<(), Failure> {
    let rows: Vec<[Cell; 4]> = keys
        .iter()
        .map(|key| [Cell::whole(&key.id), key.scopes.to_list().into(), used(key).into(), key.label.as_str().into()])
        .collect();
    print_table(["ID", "SCOPES", "USED", "LABEL"], &rows)
}

/// A key as the API shows it.
pub(super) fn row(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "label": key.label,
        "scopes": key.scopes.iter().map(Scope::name).collect::<Vec<_>>(),
        "createdAt": iso(instant(key.created_ms)),
        "lastUsedAt": key.used_ms.map(|used| iso(instant(used))),
    })
}

fn used(key: &ApiKey) -> String {
    key.used_ms.map_or_else(|| "never".into(), |used| iso(instant(used)))
}

/// Why no key is made, and the way out: who may call this command may also change the tier.
fn limit_reached(tenant: &Tenant, limit: i64, used: i64) -> String {
    let tier = tenant.tier;
    let way_out = match tier.next() {
        Some(next) => format!("`holdfast tenant update {} --tier {}` allows more", tenant.id, next.name()),
        None => "HOLDFAST_TIERS_FILE sets the limit".to_owned(),
    };
    format!("the tier {} allows {limit} keys, and there are {used}; delete one, or {way_out}", tier.name())
}

fn gone() -> Failure {
    Failure::new(Exit::Refused, "the key was deleted by somebody else meanwhile")
}
