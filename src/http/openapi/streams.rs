//! Event streams in the document: their events, how they are resumed, and the key in the query.
//!
//! OpenAPI 3.0 has no words for a stream. As most APIs do it, the schema of `text/event-stream` is that of one event's `data`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::domain::{
    closed_set::ClosedSet,
    event::EventType::{self, ReserveFailed, TierLimitReached, TransactionRolledBack, UnreserveFailed},
};

/// The parameter that is a credential; it stands among the security schemes.
pub(super) const API_KEY: &str = "api_key";

/// The security scheme of [`API_KEY`].
pub(super) fn key_in_query() -> Value {
    let description = "An API key or a token in the query, for clients that cannot set headers, as a browser's `EventSource`. \
        Of the two event streams alone; it is never logged.";
    json!({"type": "apiKey", "in": "query", "name": API_KEY, "description": description})
}

/// Completes the operations that answer with a stream.
pub(super) fn complete(id: &str, operation: &mut Value) {
    let (event, table) = match id {
        "events" => ("StreamEvent", event_types()),
        "queueEvents" => ("QueueStreamEvent", QUEUE_EVENT_TYPES.to_owned()),
        _ => return,
    };
    let schema = &mut operation["responses"]["200"]["content"]["text/event-stream"]["schema"];
    *schema = json!({"$ref": format!("#/components/schemas/{event}")});
    let description = format!("{}\n\n{table}", operation["description"].as_str().unwrap_or_default());
    operation["description"] = json!(description);
    let last_event_id = json!({
        "name": "Last-Event-ID",
        "in": "header",
        "required": false,
        "description": "The last id that was read: the stream goes on behind it. Browsers send it by themselves when they reconnect.",
        "schema": {"type": "string"},
    });
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters.push(last_event_id);
    }
}

/// The events of a tenant's stream, as a table in Markdown.
fn event_types() -> String {
    let mut table = "| `event:` | data | when | kept |\n| --- | --- | --- | --- |\n\
        | none | `Connected` | once, at the start | |\n"
        .to_owned();
    for kind in EventType::VALUES {
        let is_refusal = matches!(kind, ReserveFailed | UnreserveFailed | TransactionRolledBack | TierLimitReached);
        let kept = if is_refusal { "no" } else { "yes" };
        // Writing to a text never fails.
        let _ = writeln!(table, "| `{}` | `ReservationEvent` | {} | {kept} |", kind.name(), kind.meaning());
    }
    table.push_str(
        "| a type of your own | `PlatformEvent` | It was published with `POST /api/v1/events`. | yes |\n\
         | `RESET_CURSOR` | `ResetCursor` | Events are missing: read the state again. | |\n",
    );
    table
}

/// The events of a connection's stream.
const QUEUE_EVENT_TYPES: &str = "| `event:` | data | when |\n| --- | --- | --- |\n\
    | `job:state_change` | `JobStateChange` | A job went into a state. |\n\
    | `worker:heartbeat` | `WorkerHeartbeat` | A worker is alive. |\n\
    | `worker:state_change` | `WorkerStateChange` | A worker came online or went offline. |\n\
    | `queue:snapshot` | `QueueSnapshot` | At the start, when it changes, and at least every 30 s. |\n\
    | `gap` | `StreamGap` | Events may be missing. |\n\
    | `heartbeat` | `StreamHeartbeat` | Every 15 s. |\n";
