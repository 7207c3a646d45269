//! `holdfast check`, `list`, `waiting` and `cancel`.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    cli::{
        exit::{Exit, Failure},
        output::{Cell, Colour, print, print_json, print_table, until_or_never, visible},
        profile::ConnectionArgs,
    },
    client::{ActiveReservation, Checked},
};

/// See who holds names.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast check printer gpu")]
pub struct CheckArgs {
    /// What to look at
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// List what is held.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast list\n  holdfast list --prefix build/ --json")]
pub struct ListArgs {
    /// Only names that begin so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only this requester's
    #[arg(long, value_name = "WHO")]
    requester: Option<String>,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// List who waits for what.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast waiting\n  holdfast waiting --resource db")]
pub struct WaitingArgs {
    /// Only for this name
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Only this requester's
    #[arg(long, value_name = "WHO")]
    requester: Option<String>,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Cancel a ticket that waits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast cancel 1b4e28ba-2fa1-11d2-883f-0016d3cca427")]
pub struct CancelArgs {
    /// The ticket, as `waiting` lists it
    ticket: String,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Looks who holds names.
///
/// # Errors
/// [`Failure`] of the call.
pub(super) async fn check(args: CheckArgs) -> Result<(), Failure> {
    let reply = args.connection.client()?.check(&args.names).await?;
    if args.json {
        return print_json(&reply.json()?);
    }
    let row = |checked: &Checked| {
        let (word, colour) = match (checked.is_available, checked.is_reserved) {
            (true, _) => ("free", Colour::Green),
            (false, true) => ("held", Colour::Red),
            // Free itself, and excluded by what is above or below it, or by what it would take along.
            (false, false) => ("blocked", Colour::Yellow),
        };
        let free =
            if checked.capacity > 1 { format!("{} of {}", checked.available, checked.capacity) } else { String::new() };
        [
            checked.resource.as_str().into(),
            Cell::new(word, colour),
            free.into(),
            checked.holder.as_deref().unwrap_or_default().into(),
            if checked.is_reserved { until_or_never(checked.expires_at).into() } else { "".into() },
            checked.waiting.map(|waiting| waiting.to_string()).unwrap_or_default().into(),
            checked.note.as_deref().unwrap_or_default().into(),
        ]
    };
    let rows: Vec<_> = reply.parse::<Vec<Checked>>()?.iter().map(row).collect();
    print_table(["NAME", "STATUS", "FREE", "HOLDER", "UNTIL", "WAITING", "NOTE"], &rows)
}

/// Lists what is held.
///
/// # Errors
/// [`Failure`] of the call.
pub(super) async fn list(args: ListArgs) -> Result<(), Failure> {
    let listing = args.connection.client()?.list(args.prefix.as_deref(), args.requester.as_deref()).await?;
    if args.json {
        return print_json(&listing);
    }
    let mut rows: Vec<ActiveReservation> = rows(&listing["reservations"])?;
    rows.sort_by(|one, other| one.resource.cmp(&other.resource));
    let rows: Vec<[Cell; 5]> = rows
        .iter()
        .map(|active| {
            [
                active.resource.as_str().into(),
                active.requester.as_str().into(),
                until_or_never(active.expires_at).into(),
                Cell::whole(&active.fencing_token.to_string()),
                active.note.as_deref().unwrap_or_default().into(),
            ]
        })
        .collect();
    print_table(["NAME", "HOLDER", "UNTIL", "FENCE", "NOTE"], &rows)
}

/// Lists who waits.
///
/// # Errors
/// [`Failure`] of the call.
pub(super) async fn waiting(args: WaitingArgs) -> Result<(), Failure> {
    let listing = args.connection.client()?.waiting(args.resource.as_deref(), args.requester.as_deref()).await?;
    if args.json {
        return print_json(&listing);
    }
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let instant = |value: &Value| until_or_never(value.as_str().and_then(|text| text.parse().ok()));
    let names = |row: &Value| -> Vec<String> {
        row["resources"].as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    };
    // The service lists them in no order.
    let mut waiting: Vec<&Value> = listing["waiting"].as_array().into_iter().flatten().collect();
    waiting.sort_by_cached_key(|row| (names(row), row["place"].as_u64(), text(&row["ticket"])));
    let rows: Vec<[Cell; 6]> = waiting
        .into_iter()
        .map(|row| {
            [
                names(row).join(", ").into(),
                row["place"].to_string().into(),
                text(&row["requester"]).into(),
                row["priority"].to_string().into(),
                instant(&row["waitExpiresAt"]).into(),
                Cell::whole(&text(&row["ticket"])),
            ]
        })
        .collect();
    print_table(["NAMES", "PLACE", "REQUESTER", "PRIORITY", "WAITS UNTIL", "TICKET"], &rows)
}

/// Cancels a ticket.
///
/// # Errors
/// [`Exit::Refused`] where it has been served and claimed, or is not there.
pub(super) async fn cancel(args: CancelArgs) -> Result<(), Failure> {
    let reply = args.connection.client()?.cancel(&args.ticket).await?;
    let body = reply.json()?;
    if args.json {
        return print_json(&body);
    }
    print(&format!(
        "{}: {}\n",
        visible(&args.ticket),
        visible(body["status"].as_str().unwrap_or_default()).to_lowercase()
    ))
}

fn rows<T: serde::de::DeserializeOwned>(rows: &Value) -> Result<Vec<T>, Failure> {
    Vec::deserialize(rows)
        .map_err(|error| Failure::new(Exit::Fault, format!("a row of the listing cannot be read: {error}")))
}
