//! What fields and parameters may be beyond their types: required, bounded, one of a few words.
//!
//! The domain checks all of it together with everything else in a request, so that one answer names every fault. The bounds here are the
//! domain's own constants; `tests/suite/http/document.rs` holds the document against what is answered.

use serde_json::{Map, Value, json};

use crate::{
    domain::{
        names::{MAX_LABEL_BYTES, MAX_NAME_BYTES},
        queue::{JobObservation, JobSort},
        reservation::{MAX_BATCH, MAX_QUANTITY, MAX_TTL_SECONDS},
        resource::{MAX_BLOCKS, MAX_CAPACITY},
        waiting::{KEEP_ALIVE_S, MAX_HOLD_S, MAX_PRIORITY, MAX_WAIT_S},
    },
    http::wire::request::MAX_EXACT,
};

/// Required fields of requests. In our types they are optional, so that one answer names every missing field.
const REQUIRED: &[(&str, &[&str])] = &[
    ("ReserveItem", &["requester", "resource"]),
    ("UnreserveItem", &["requester", "resource", "releaseToken"]),
    ("RenewItem", &["requester", "resource", "releaseToken", "ttlSeconds"]),
    ("CheckRequest", &["resources"]),
    ("ForceReleaseRequest", &["resource"]),
    ("FenceRequest", &["resource", "fencingToken"]),
    ("TransactionRequest", &["method", "requestType", "requests"]),
    ("TransactionItem", &["requester", "resource"]),
    ("ResourceDefinition", &["name"]),
    ("NewKeyRequest", &["label"]),
    ("CompanyRequest", &["name"]),
    ("NewConnectionRequest", &["name", "framework"]),
    ("NewTenantRequest", &["name"]),
    ("SignInRequest", &["apiKey"]),
    ("IngestRequest", &["events"]),
    ("IngestEvent", &["type", "timestamp", "framework"]),
    ("IngestJob", &["externalId", "name", "state"]),
    ("IngestWorker", &["externalId", "state"]),
    ("IngestQueue", &["name"]),
];

/// Fields of answers that are left out where they do not apply. All others are always there.
const ABSENT: &[(&str, &[&str])] = &[
    ("ErrorBody", &["upgradeRequired", "limitType", "limit", "tier", "retryAfter", "results"]),
    ("ErrorDetail", &["docs_url"]),
];

/// Schemas of what other programs push: fields that are not described are ignored. Everywhere else they are refused.
const IGNORE_UNKNOWN: [&str; 6] =
    ["PublishItem", "IngestRequest", "IngestEvent", "IngestJob", "IngestWorker", "IngestQueue"];

/// Whether fields that are not described are ignored in a request.
pub(super) fn ignores_unknown(schema: &str) -> bool {
    IGNORE_UNKNOWN.contains(&schema)
}

fn of<'a>(table: &[(&str, &'a [&'a str])], schema: &str) -> &'a [&'a str] {
    table.iter().find(|(name, _)| *name == schema).map_or(&[], |(_, fields)| fields)
}

/// Required fields of a request's schema.
pub(super) fn required(schema: &str) -> &'static [&'static str] {
    of(REQUIRED, schema)
}

/// Whether a field of an answer is left out where it does not apply.
pub(super) fn is_absent(schema: &str, field: &str) -> bool {
    of(ABSENT, schema).contains(&field)
}

/// Security of the operations that prove their callers by themselves.
pub(super) fn security_of(operation: &str) -> Option<Value> {
    Some(match operation {
        "events" | "queueEvents" => json!([{"apiKey": []}, {"bearer": []}, {"session": []}, {"apiKeyInQuery": []}]),
        // A JWT in the body proves its tenant; without it a key does.
        "exchangeToken" => json!([{"apiKey": []}, {"bearer": []}, {"session": []}, {}]),
        // The key is in the body.
        "signIn" => json!([]),
        "signOut" => json!([{"session": []}]),
        _ => return None,
    })
}

/// Whether a parameter is required, and its description, where its declaration does not say so.
pub(super) fn parameter(operation: &str, name: &str) -> Option<(bool, &'static str)> {
    Some(match (operation, name) {
        ("queueEvents", "connectionId") => (true, "The connection: a UUID."),
        (_, "connectionId") => (false, "Only of this connection: a UUID."),
        (_, "framework") => (false, "Only of this framework."),
        ("listJobs", "state") => (false, "Only jobs in this state."),
        (_, "resource") if operation == "check" => (true, "The resource's name: the whole rest of the path."),
        ("getResource" | "deleteResource", "name") => (true, "The resource's name: the whole rest of the path."),
        ("ticket" | "cancelTicket", "ticket") => (true, "The ticket that `reserve` or `transactions` answered with."),
        (_, "slug") => (true, "The company's slug: its name in paths and filters."),
        ("rotateKey" | "deleteKey", "id") => (true, "The key's id."),
        ("deleteConnection", "id") => (true, "The connection's id."),
        ("getJob", "id") => (true, "The job's id: a UUID."),
        ("getTenant" | "updateTenant" | "deleteTenant", "id") => (true, "The tenant's id."),
        _ => return None,
    })
}

/// Fields that have no type of ours: any JSON, kept or shown as it is.
pub(super) fn undescribed(schema: &str) -> Vec<(&'static str, Value)> {
    let object =
        |description: &str| json!({"type": "object", "description": description, "additionalProperties": true});
    let any = |description: &str| json!({"description": description});
    match schema {
        "Job" => Vec::new(),
        "JobDetails" => {
            vec![("tags", object("Always empty.")), ("extensions", object("What only this framework has."))]
        }
        "Worker" => vec![
            ("metadata", object("Software, version and the like, as the worker reports it.")),
            ("extensions", object("Always empty.")),
        ],
        "Queue" => vec![("extensions", object("Always empty."))],
        "IngestJob" => vec![
            ("args", any("The arguments: a text, or any JSON. Cut after 10,000 bytes.")),
            ("kwargs", any("The named arguments: a text, or any JSON. Cut after 10,000 bytes.")),
            ("result", any("The result: a text, or any JSON. Cut after 10,000 bytes.")),
            (
                "extensions",
                object("What only this framework has: at most 64 KiB, of which the first 64 fields are kept."),
            ),
        ],
        "IngestWorker" => vec![(
            "metadata",
            object(
                "Software, version and the like: at most 64 KiB, of which the first 64 fields are kept. `processedTotal` is how many \
                 jobs it has run.",
            ),
        )],
        _ => Vec::new(),
    }
}

fn whole(least: i64, most: i64) -> Value {
    json!({"minimum": least, "maximum": most})
}

fn text(least: usize, most: usize) -> Value {
    json!({"minLength": least, "maxLength": most})
}

fn words(words: &[&str]) -> Value {
    json!({"enum": words})
}

/// Bounds of a field (`Schema.field`) or a parameter (`operation.parameter`).
fn bounds(field: &str) -> Option<Value> {
    let name = || text(1, MAX_NAME_BYTES);
    let label = || text(1, MAX_LABEL_BYTES);
    let list = |least: usize, most: usize| json!({"minItems": least, "maxItems": most});
    let keep_alive_s = || whole(*KEEP_ALIVE_S.start(), *KEEP_ALIVE_S.end());
    let sorts: Vec<_> = JobSort::ALL.iter().map(|(word, _)| *word).collect();
    Some(match field {
        "ReserveItem.requester" | "UnreserveItem.requester" | "RenewItem.requester" | "TransactionItem.requester" => {
            name()
        }
        "ReserveItem.resource" | "UnreserveItem.resource" | "RenewItem.resource" | "TransactionItem.resource" => name(),
        "ForceReleaseRequest.resource" | "FenceRequest.resource" | "ResourceDefinition.name" | "check.resource" => {
            name()
        }
        "ReserveItem.ttlSeconds" | "RenewItem.ttlSeconds" | "TransactionItem.ttlSeconds" => whole(1, MAX_TTL_SECONDS),
        "TenantChange.defaultTtlSeconds" | "TenantChange.maxTtlSeconds" => whole(0, MAX_TTL_SECONDS),
        "ReserveItem.resourceType" | "TransactionItem.resourceType" => label(),
        "ReserveItem.note" | "TransactionItem.note" | "ForceReleaseRequest.reason" => text(0, MAX_NAME_BYTES),
        "ReserveItem.quantity" | "TransactionItem.quantity" => whole(1, MAX_QUANTITY),
        "ReserveItem.waitSeconds" | "TransactionRequest.waitSeconds" => whole(1, MAX_WAIT_S),
        "ReserveItem.priority" | "TransactionRequest.priority" => whole(-MAX_PRIORITY, MAX_PRIORITY),
        "ReserveItem.keepAliveSeconds" | "TransactionRequest.keepAliveSeconds" => keep_alive_s(),
        "TransactionRequest.requests" | "CheckRequest.resources" | "IngestRequest.events" => list(1, MAX_BATCH),
        "FenceRequest.fencingToken" => json!({"minimum": 0}),
        "ResourceDefinition.capacity" => whole(1, MAX_CAPACITY),
        "ResourceDefinition.blocks" => list(0, MAX_BLOCKS),
        "reserve.hold" | "transactions.hold" | "ticket.hold" => json!({"minimum": 0, "maximum": MAX_HOLD_S}),
        "activeReservations.limit" | "activeReservationsShort.limit" | "waiting.limit" | "listResources.limit" => {
            whole(1, MAX_BATCH as i64)
        }
        "listTenants.limit" | "eventHistory.limit" => whole(1, 1_000),
        "eventHistory.after" => json!({"minimum": 0}),
        "listJobs.limit" | "listWorkers.limit" | "listQueues.limit" => whole(1, 100),
        "listWorkers.page" | "listQueues.page" => json!({"minimum": 1}),
        "listJobs.search" => json!({"maxLength": 500}),
        "listJobs.sortBy" => words(&sorts),
        "listWorkers.sortBy" => words(&["hostname", "state", "activeJobs", "lastHeartbeat", "taskRate"]),
        "listQueues.sortBy" => words(&["name", "depth", "consumers", "throughput", "failureRate"]),
        "listJobs.sortOrder" | "listWorkers.sortOrder" | "listQueues.sortOrder" => words(&["asc", "desc"]),
        "NewKeyRequest.label" | "NewTenantRequest.name" | "NewConnectionRequest.name" | "putCompany.slug" => label(),
        "CompanyRequest.id" | "CompanyRequest.name" | "PublishItem.companyId" | "PublishItem.company" => label(),
        "PublishItem.dedupeId" | "IssuerChange.issuer" | "IssuerChange.audience" => label(),
        "PublishItem.type" => json!({"pattern": "^[a-z][a-z0-9._:-]{0,63}$"}),
        "NewConnectionRequest.framework" => words(&["celery", "bullmq"]),
        "NewConnectionRequest.queues" => list(0, 200),
        "NewConnectionRequest.brokerUrl" => json!({"maxLength": 2_048}),
        "IngestEvent.type" => words(&["job:state_change", "worker:state_change", "worker:heartbeat", "queue:snapshot"]),
        "IngestEvent.timestamp" | "IngestJob.createdAt" | "IngestJob.startedAt" | "IngestJob.completedAt" => {
            json!({"format": "date-time"})
        }
        "IngestJob.scheduledFor" => json!({"format": "date-time"}),
        "IngestEvent.connectionId" => json!({"format": "uuid"}),
        "IngestJob.externalId" | "IngestWorker.externalId" | "IngestJob.workerId" => text(1, JobObservation::ID_BYTES),
        "IngestJob.name" => text(1, JobObservation::NAME_BYTES),
        "IngestJob.queue" | "IngestQueue.name" => text(1, JobObservation::QUEUE_BYTES),
        "IngestJob.attempt" => json!({"minimum": 1}),
        "IngestJob.progress" => json!({"minimum": 0, "maximum": 1}),
        "IngestWorker.state" => words(&["online", "busy", "idle", "offline", "heartbeat"]),
        "AccessToken.tokenType" => words(&["Bearer"]),
        "Connected.type" => words(&["connected"]),
        "ResetCursor.reason" => words(&["unknown", "too_old", "lost"]),
        "StreamGap.reason" => {
            words(&["handover", "takeover", "disconnected", "overflow", "trimmed", "slow", "interrupted"])
        }
        "queueEvents.types" => json!({"items": {"type": "string", "enum": [
            "job", "worker", "queue", "job:state_change", "worker:heartbeat", "worker:state_change", "queue:snapshot",
        ]}}),
        "ticket.ticket" | "cancelTicket.ticket" | "getJob.id" | "deleteConnection.id" | "Connection.id" => {
            json!({"format": "uuid"})
        }
        "ConnectionWithKey.id" | "Ticket.ticket" | "WaitingTicket.ticket" | "ReserveResult.ticket" => {
            json!({"format": "uuid"})
        }
        "TransactionResult.ticket" | "ReservationEvent.ticket" => json!({"format": "uuid"}),
        _ if field.ends_with(".connectionId") => json!({"format": "uuid"}),
        _ => return None,
    })
}

/// Bounds of a field of answers, which means the same in all of them.
fn bounds_of_answers(field: &str) -> Option<Value> {
    Some(match field {
        "fencingToken" | "currentFencingToken" | "asOf" | "nextAfter" => whole(0, MAX_EXACT),
        "capacity" | "place" | "page" | "expiresIn" | "retryAfter" | "attempt" => json!({"minimum": 1}),
        "priority" => whole(-MAX_PRIORITY, MAX_PRIORITY),
        "defaultTtlSeconds" | "maxTtlSeconds" => whole(1, MAX_TTL_SECONDS),
        "available" | "waiting" | "released" | "limit" | "used" | "total" | "totalPages" | "waitedMs" => {
            json!({"minimum": 0})
        }
        "depth" | "consumers" | "activeJobs" | "concurrency" | "accepted" | "duplicates" => json!({"minimum": 0}),
        "succeeded" | "failed" | "maxRetries" | "throughput" | "taskRate" => json!({"minimum": 0}),
        "progress" | "failureRate" => json!({"minimum": 0, "maximum": 1}),
        _ => return None,
    })
}

fn extend(schema: &mut Value, bounds: Option<Value>) {
    if let (Some(schema), Some(Value::Object(bounds))) = (schema.as_object_mut(), bounds) {
        let bounds: Map<String, Value> = bounds;
        schema.extend(bounds);
    }
}

/// Adds what is known of a field or a parameter to its schema.
pub(super) fn narrow(field: &str, schema: &mut Value) {
    extend(schema, bounds(field));
}

/// Adds what is known of a field that answers have.
pub(super) fn narrow_answer(field: &str, schema: &mut Value) {
    if matches!(schema["type"].as_str(), Some("integer" | "number")) {
        extend(schema, bounds_of_answers(field));
    }
}
