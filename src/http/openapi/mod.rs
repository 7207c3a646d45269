//! The parts of the API, and the OpenAPI document that describes them.

use std::sync::LazyLock;

use poem_openapi::{LicenseObject, OpenApiService};
use serde_json::{Value, json};

use crate::http::{
    events::{companies::Companies, schema::event_schemas, stream::Events},
    mcp,
    queues::{
        connections::Connections, ingest::Ingest, jobs::Jobs, queue_list::Queues, stream::QueueEvents, workers::Workers,
    },
    reservations::{Reservations, resources::Resources, tickets::Tickets, transactions::Transactions},
    tenants::{admin::Tenants, api_keys::Keys, session::Sessions, token_exchange::Exchange},
};

/// Introduction of the document.
const DESCRIPTION: &str = "\
Named resources are reserved for a requester, held, renewed, released or expired, atomically; everything that happens is pushed \
to the tenant's subscribers as server-sent events.\n\n\
Times are ISO 8601 UTC with three decimals, by Redis' clock, the only one that decides. A *position* is a number per tenant that \
only grows: the id of an event, the fencing token of a grant, and where a stream resumes. A field set to null is absent; a field that \
is not described here is refused and named, but in what other programs push (`POST /events`, `POST /ingest`), where it is ignored. \
Whole numbers may be written as 60 or 60.0. A failed renewal emits no event.\n\n\
# Limits\n\nEvery route but the administrator's and the sign-out counts against the tenant's rate, over all replicas together: a call costs 1, \
and 1 more for each further 100 items begun. `RateLimit-Policy` and `RateLimit` say in every answer how much is left; both are absent \
where there is no limit, and where the caller was not recognised. A refused call changes nothing but the count. Wrong credentials are \
limited per address, with the same 429 without `tier`.\n\n\
A body has at most 1 MiB, of `POST /events` and `POST /ingest` 16 MiB, and 16 KiB where no credential comes before it; it must arrive at \
16 KiB/s or faster after the first 30 s. A list is refused at its first item too many, and an error names at most 20 faults. \
Where a replica has no room for a large body, or for a connection, it answers 503.\n\n\
# The queue monitor\n\nIts routes stand under `/api` instead of `/api/v1`, because its clients know them so: `/api/events/stream`, `/api/ingest`, \
`/api/jobs`, `/api/workers`, `/api/queues`. Their errors carry `docsUrl` also as `docs_url`. What clients push and what a broker's watcher sees \
may come late, twice and in any order: a job's state follows from the times at which things happened, and what subscribers see of it only goes forward.\n\n\
# Errors\n\nEvery answer with a status of 400 or more has the one body described as `ErrorBody`; programs read `error.code`.";

/// The parts of the API under [`API`].
pub(super) type Api =
    (Reservations, Tickets, Transactions, Resources, Events, Companies, Connections, Keys, Exchange, Sessions, Tenants);

/// Prefix of the API's paths.
pub(super) const API: &str = "/api/v1";

pub(super) fn api() -> Api {
    (Reservations, Tickets, Transactions, Resources, Events, Companies, Connections, Keys, Exchange, Sessions, Tenants)
}

fn service() -> OpenApiService<Api, ()> {
    OpenApiService::new(api(), "Holdfast", env!("CARGO_PKG_VERSION"))
        .summary("Reservations over HTTP, seen live")
        .description(DESCRIPTION)
        .license(LicenseObject::new("MIT OR Apache-2.0").identifier("MIT OR Apache-2.0"))
        .server(API)
}

/// The parts of the queue monitor, under [`MONITOR`]: its clients know its paths without a version.
pub(super) type Monitor = (QueueEvents, Ingest, Jobs, Workers, Queues);

/// Prefix of the queue monitor's paths.
pub(super) const MONITOR: &str = "/api";

pub(super) fn monitor_api() -> Monitor {
    (QueueEvents, Ingest, Jobs, Workers, Queues)
}

fn monitor() -> OpenApiService<Monitor, ()> {
    OpenApiService::new(monitor_api(), "Holdfast", env!("CARGO_PKG_VERSION")).server(MONITOR)
}

/// Adds the queue monitor's document: its operations, each with the prefix of its path, and the schemas that they refer to.
fn merge(document: &mut Value, monitor: &Value) {
    for (part, has_operations) in
        [("/paths", true), ("/components/schemas", false), ("/components/securitySchemes", false)]
    {
        let added = monitor.pointer(part).and_then(Value::as_object).cloned().unwrap_or_default();
        let Some(target) = document.pointer_mut(part).and_then(Value::as_object_mut) else { continue };
        for (name, mut value) in added {
            if has_operations {
                for operation in value.as_object_mut().into_iter().flat_map(|methods| methods.values_mut()) {
                    operation["servers"] = json!([{"url": MONITOR}]);
                }
            }
            target.entry(name).or_insert(value);
        }
    }
}

/// The document as it is served and committed.
///
/// Three things are added that the derivation cannot know: the schemas of event data, to which no route refers; which fields
/// of requests are required (in our types they are optional, so that one answer names every missing field); and that
/// optional fields may be null.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let mut document: Value = serde_json::from_str(&service().spec()).unwrap_or_default();
        merge(&mut document, &serde_json::from_str(&monitor().spec()).unwrap_or_default());
        let mut schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
        if let Some(schemas) = &mut schemas {
            schemas.extend(event_schemas().into_iter().map(|(name, schema)| (name, json!(schema))));
        }
        for (name, schema) in schemas.into_iter().flatten() {
            complete(name, schema);
        }
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    });
    &DOCUMENT
}

/// The document as an interactive page.
pub(super) fn page() -> String {
    let service = service();
    // The page contains the derived document as text; the completed one replaces it.
    service
        .swagger_ui_html()
        .replace(&service.spec(), document())
        .replace("<title>Swagger UI</title>", "<title>Holdfast API</title>")
}

/// Required fields of requests, by schema.
const REQUIRED: &[(&str, &[&str])] = &[
    ("ReserveItem", &["requester", "resource"]),
    ("UnreserveItem", &["requester", "resource", "releaseToken"]),
    ("RenewItem", &["requester", "resource", "releaseToken", "ttlSeconds"]),
    ("CheckRequest", &["resources"]),
    ("ForceReleaseRequest", &["resource"]),
    ("FenceRequest", &["resource", "fencingToken"]),
    ("TransactionRequest", &["method", "requestType", "requests"]),
    ("ResourceDefinition", &["name"]),
    ("NewKeyRequest", &["label"]),
    ("CompanyRequest", &["name"]),
    ("NewConnectionRequest", &["name", "framework"]),
    ("NewTenantRequest", &["name", "tier"]),
    ("SignInRequest", &["apiKey"]),
    ("IngestRequest", &["events"]),
    ("IngestEvent", &["type", "timestamp", "framework"]),
    ("IngestJob", &["externalId", "name", "state"]),
    ("IngestWorker", &["externalId", "state"]),
    ("IngestQueue", &["name"]),
];

/// Adds to a schema which fields are required, and that the others may be null.
fn complete(name: &str, schema: &mut Value) {
    let mut required: Vec<String> =
        schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(Into::into)).collect();
    let of_request = REQUIRED.iter().find(|(schema, _)| *schema == name).map_or(&[][..], |(_, fields)| fields);
    required.extend(of_request.iter().map(|name| (*name).to_owned()));
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            // A described reference has its description twice: beside it, and as a schema of its own, which says nothing else.
            if let Some(parts) = property.get_mut("allOf").and_then(Value::as_array_mut) {
                parts.retain(|part| part.as_object().is_none_or(|part| part.keys().any(|key| key != "description")));
            }
            if required.contains(name) {
                continue;
            }
            // In OpenAPI 3.0 nothing may stand beside a reference.
            if property.get("$ref").is_some() {
                *property = json!({"allOf": [property]});
            }
            property["nullable"] = json!(true);
        }
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
}

/// Methods of a path, as `Allow` lists them.
pub(super) fn methods_of(path: &str) -> String {
    static PATHS: LazyLock<Vec<(Vec<String>, Vec<String>)>> = LazyLock::new(|| {
        let document: Value = serde_json::from_str(document()).unwrap_or_default();
        let paths = document["paths"].as_object().into_iter().flatten();
        paths
            .map(|(path, item)| {
                let segments = path.split('/').skip(1).map(Into::into).collect();
                let methods = item.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()).collect();
                (segments, methods)
            })
            .collect()
    });
    if path == mcp::PATH {
        return "POST".into();
    }
    let Some(rest) = path.strip_prefix("/api/v1/").or_else(|| path.strip_prefix("/api/")) else { return "GET".into() };
    let segments: Vec<_> = rest.trim_end_matches('/').split('/').collect();
    let fits = |known: &[String]| {
        known.len() == segments.len()
            && known.iter().zip(&segments).all(|(known, given)| known.starts_with('{') || known == given)
    };
    let exact = PATHS
        .iter()
        .filter(|(known, _)| fits(known))
        .min_by_key(|(known, _)| known.iter().filter(|segment| segment.starts_with('{')).count());
    exact.map_or_else(|| "GET".into(), |(_, methods)| methods.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allow_comes_from_the_document() {
        assert_eq!(methods_of("/api/v1/Reservation/reserve"), "POST");
        assert_eq!(methods_of("/api/v1/Reservation/check/a%2Fb"), "GET");
        assert_eq!(methods_of("/healthz"), "GET");
    }
}
