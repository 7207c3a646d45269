//! `holdfast watch` and `publish`.

use std::{
    io::{IsTerminal, Read},
    time::Duration,
};

use chrono::{DateTime, Local, Utc};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        exit::{Exit, Failure},
        output::{self, Colour, coloured, has_colours, note, print, print_json, visible},
        profile::ConnectionArgs,
    },
    client::{ClientError, EventFilter, EventFollower, Followed, ServerEvent},
    domain::{closed_set::ClosedSet, event::EventType, platform},
};

/// How often it is looked whether the output still has a reader: where nothing happens, nothing is written that would show it.
const READER_CHECK: Duration = Duration::from_secs(1);

/// Follow what happens, until interrupted.
#[derive(Debug, Args)]
#[command(after_help = "\
Goes on through lost connections from where it was: no event is missed, none comes twice. RESET_CURSOR says that events before it
cannot be had any more: read `holdfast list` anew.

Examples:
  holdfast watch
  holdfast watch --resources 'build/*,db' --types RESERVED,UNRESERVED
  holdfast watch --json --since 1789000000000000 | jq -c 'select(.type == \"RESERVATION_EXPIRED\")'")]
pub struct WatchArgs {
    /// Only events of these types
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    types: Vec<String>,
    /// Only of these names; a * at the end is a prefix
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    resources: Vec<String>,
    /// Only platform events of these companies
    #[arg(long, value_name = "COMPANIES", value_delimiter = ',')]
    companies: Vec<String>,
    /// Begin after this position instead of now
    #[arg(long, value_name = "POSITION")]
    since: Option<u64>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Publish an event of your own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast publish deploy '{\"version\":\"1.4.2\"}'
  ./report | holdfast publish report.ready - --dedupe-id \"$CI_JOB_ID\"")]
pub struct PublishArgs {
    /// Its type: lower-case words such as deploy or build.done
    #[arg(value_name = "TYPE")]
    kind: String,
    /// JSON; - reads standard input
    #[arg(default_value = "{}")]
    data: String,
    /// The company that it is about, by its slug
    #[arg(long, value_name = "SLUG", conflicts_with = "company_id")]
    company: Option<String>,
    /// The company that it is about, by its id
    #[arg(long, value_name = "ID")]
    company_id: Option<String>,
    /// The same id within an hour is published once
    #[arg(long, value_name = "ID")]
    dedupe_id: Option<String>,
    /// One JSON document, as the service answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Follows the stream until the process is ended.
///
/// # Errors
/// [`Failure`] where the stream is refused.
pub(super) async fn watch(args: WatchArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    args.types.iter().filter_map(|name| odd_type(name)).for_each(|odd| note(&odd));
    let filter = EventFilter { types: args.types, resources: args.resources, companies: args.companies };
    let mut follower = EventFollower::new(client, filter, args.since.map(|position| position.to_string()));
    let colours = has_colours(&std::io::stdout());
    let (mut connected_before, mut away) = (false, false);
    loop {
        let Some(followed) = next_while_read(&mut follower).await else { return Ok(()) };
        match followed? {
            Followed::Connected => {
                if std::mem::take(&mut away) {
                    note("connected again");
                }
                connected_before = true;
            }
            Followed::Disconnected(error) if !connected_before => return Err(error.into()),
            Followed::Disconnected(error) => {
                if !std::mem::replace(&mut away, true) {
                    note(&format!("{error}; connecting again"));
                }
            }
            Followed::Event(event) if args.json => print(&format!("{}\n", json_line(&event)))?,
            Followed::Event(event) => print(&format!("{}\n", line(&event, colours)))?,
        }
    }
}

/// What is odd about a type to watch, which the service takes: events of it may never come.
fn odd_type(name: &str) -> Option<String> {
    if EventType::of_name(name).is_some() {
        return None;
    }
    let is_own = platform::kind(Some(name.to_owned())).is_ok();
    match EventType::of_name(&name.to_ascii_uppercase().replace('-', "_")) {
        Some(meant) if is_own => {
            Some(format!("{name} is a type of your platform's own events; reservations have {}", meant.name()))
        }
        Some(meant) => Some(format!("no event has the type {name}; reservations have {}", meant.name())),
        None if is_own => None,
        None => {
            let known: Vec<_> = EventType::VALUES.iter().map(|known| known.name()).collect();
            Some(format!("no event has the type {name}; reservations have {}", known.join(", ")))
        }
    }
}

/// What the follower sees next; `None` once nobody reads the output any more.
async fn next_while_read(follower: &mut EventFollower) -> Option<Result<Followed, ClientError>> {
    let mut next = std::pin::pin!(follower.next());
    loop {
        tokio::select! {
            followed = &mut next => return Some(followed),
            () = tokio::time::sleep(READER_CHECK) => {}
        }
        if output::reader_is_gone() {
            return None;
        }
    }
}

/// An event as one JSON object: its data, with `type` and `id` where that lacks them.
fn json_line(event: &ServerEvent) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| json!({"data": event.data}));
    let mut object = match data {
        Value::Object(object) => object,
        other => Map::from_iter([("data".to_owned(), other)]),
    };
    object.entry("type").or_insert_with(|| event.kind.clone().into());
    if let Some(id) = &event.id {
        object.entry("id").or_insert_with(|| id.clone().into());
    }
    Value::Object(object)
}

/// An event as a line for people.
fn line(event: &ServerEvent, colours: bool) -> String {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let text = |field: &str| data[field].as_str().map(visible);
    let time = data["timestamp"].as_str().and_then(|time| time.parse::<DateTime<Utc>>().ok()).unwrap_or_else(Utc::now);
    let colour = match event.kind.as_str() {
        "RESERVED" | "TRANSACTION_APPLIED" | "RENEWED" => Colour::Green,
        "RESERVE_FAILED"
        | "UNRESERVE_FAILED"
        | "TRANSACTION_ROLLED_BACK"
        | "RESERVATION_EXPIRED"
        | "TIER_LIMIT_REACHED"
        | "RESET"
        | "RESET_CURSOR" => Colour::Red,
        "WAITING" | "WAIT_ENDED" => Colour::Yellow,
        _ => Colour::Plain,
    };
    let mut parts = vec![
        coloured(&time.with_timezone(&Local).format("%H:%M:%S%.3f").to_string(), Colour::Faint, colours),
        coloured(&format!("{:<20}", visible(&event.kind)), colour, colours),
    ];
    if event.kind == "RESET_CURSOR" {
        let why = text("reason").unwrap_or_default();
        parts.push(format!("events are missing ({why}); `holdfast list` shows the present state"));
        return parts.join(" ");
    }
    parts.extend(text("resource"));
    if let Some(changes) = data["changes"].as_array() {
        let names = changes.iter().filter_map(|change| change["resource"].as_str()).map(visible);
        parts.push(names.collect::<Vec<_>>().join(", "));
    }
    if let Some(requester) = text("requester") {
        parts.push(format!("by {requester}"));
    }
    if let Some(expires) = data["expiresAt"].as_str().and_then(|time| time.parse().ok()) {
        parts.push(format!("until {}", output::until(expires)));
    }
    parts.extend(text("reason").or_else(|| text("note")).map(|words| coloured(&words, Colour::Faint, colours)));
    if data.get("resource").is_none() && data.get("changes").is_none() {
        parts.push(visible(&data.get("data").unwrap_or(&data).to_string()));
    }
    parts.join(" ")
}

/// Publishes one event.
///
/// # Errors
/// [`Exit::Usage`] where the data is no JSON.
pub(super) async fn publish(args: PublishArgs) -> Result<(), Failure> {
    let text = if args.data == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        args.data
    };
    let data: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::new(Exit::Usage, format!("the data is no JSON: {error}")))?;
    let mut event = json!({"type": args.kind, "data": data});
    for (field, value) in [("company", args.company), ("companyId", args.company_id), ("dedupeId", args.dedupe_id)] {
        if let Some(value) = value {
            event[field] = value.into();
        }
    }
    let body = args.connection.client()?.publish(&event).await?.json()?;
    if args.json {
        return print_json(&body);
    }
    let quiet = !std::io::stdout().is_terminal();
    let ids = body["ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words = if quiet { "" } else { "published as " };
    ids.into_iter().try_for_each(|id| print(&format!("{words}{id}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &Value) -> ServerEvent {
        ServerEvent { kind: kind.into(), id: Some("7".into()), data: data.to_string() }
    }

    #[test]
    fn every_event_is_an_object_with_type_and_id() {
        let reset = json_line(&event("RESET_CURSOR", &json!({"reason": "lost", "asOf": 9})));
        assert_eq!(reset, json!({"reason": "lost", "asOf": 9, "type": "RESET_CURSOR", "id": "7"}));
        assert_eq!(json_line(&event("x", &json!({"id": "7", "type": "x"}))), json!({"id": "7", "type": "x"}));
    }

    #[test]
    fn a_line_says_what_who_and_why() {
        let text = line(
            &event(
                "UNRESERVED",
                &json!({"resource": "a\u{7}", "requester": "w", "reason": "because", "changes": null}),
            ),
            false,
        );
        assert!(text.ends_with("UNRESERVED           a\\u{7} by w because"), "{text}");
        let applied = json!({"resource": null, "requester": "w", "changes": [{"resource": "a"}, {"resource": "b"}]});
        assert!(line(&event("TRANSACTION_APPLIED", &applied), false).ends_with("TRANSACTION_APPLIED  a, b by w"));
    }
}
