//! The parts of the API, and the OpenAPI document that describes them: poem-openapi derives it, [`assemble`] adds what it cannot say.

mod assemble;
mod errors;
mod examples;
mod fields;
mod streams;

use std::sync::LazyLock;

use poem_openapi::OpenApiService;
use serde_json::Value;

use crate::http::{
    events::{companies::Companies, schema::event_schemas, stream::Events},
    mcp,
    openapi::assemble::assemble,
    queues::{
        connections::Connections, ingest::Ingest, jobs::Jobs, queue_list::Queues, schema::queue_event_schemas,
        stream::QueueEvents, workers::Workers,
    },
    reservations::{Reservations, resources::Resources, tickets::Tickets, transactions::Transactions},
    tenants::{admin::Tenants, api_keys::Keys, session::Sessions, token_exchange::Exchange},
};

/// Introduction of the document.
const DESCRIPTION: &str = "\
Reservations over HTTP, seen live: named resources are reserved for a requester, held for a time to live, renewed, waited for, released or \
expired, atomically; everything that happens is pushed to the tenant's subscribers as server-sent events.\n\n\
Send an API key in the header `X-Api-Key`; a page of this service that is signed in needs none. Begin with `reserve`.\n\n\
Times are ISO 8601 UTC with three decimals, by Redis' clock, the only one that decides. A *position* is a number per tenant that \
only grows: the id of an event, the fencing token of a grant, and where a stream resumes. A field set to null is absent; a field that \
is not described here is refused and named, but in what other programs push (`POST /api/v1/events`, `POST /api/ingest`), where it is \
ignored. In answers every key is always there, null where it does not apply. \
Whole numbers may be written as 60 or 60.0. A failed renewal emits no event.\n\n\
# Limits\n\nEvery route but the administrator's and the sign-out counts against the tenant's rate, over all replicas together: a call costs 1, \
and 1 more for each further 100 items, or 100 KiB of what it sends, begun, whichever is more; one that costs more than the burst costs the burst. \
`RateLimit-Policy` and `RateLimit` say in every answer how much is left; both are absent \
where there is no limit, and where the caller was not recognised. A refused call changes nothing but the count. Wrong credentials are \
limited per address, with the same 429 without `tier`.\n\n\
A body has at most 1 MiB, of `POST /api/v1/events` and `POST /api/ingest` 16 MiB, and 16 KiB where no credential comes before it; it must \
arrive at 16 KiB/s or faster after the first 30 s. A list is refused at its first item too many, and an error names at most 20 faults. \
Where a replica has no room for a large body, or for a connection, it answers 503.\n\n\
# The queue monitor\n\nIts routes stand under `/api` instead of `/api/v1`, because its clients know them so: `/api/events/stream`, `/api/ingest`, \
`/api/jobs`, `/api/workers`, `/api/queues`. Their errors carry `docsUrl` also as `docs_url`. What clients push and what a broker's watcher sees \
may come late, twice and in any order: a job's state follows from the times at which things happened, and what subscribers see of it only goes forward.\n\n\
# Errors\n\nEvery answer with a status of 400 or more has the one body described as `ErrorBody`. Programs read `error.code`; `message` says to people \
what is wrong and what to do, and `details` names each fault of the input with its path.\n\n{errors}";

/// The parts of the API under [`API`].
pub(super) type Api =
    (Reservations, Transactions, Tickets, Resources, Events, Companies, Keys, Sessions, Exchange, Connections, Tenants);

/// Prefix of the API's paths.
pub(super) const API: &str = "/api/v1";

pub(super) fn api() -> Api {
    (Reservations, Transactions, Tickets, Resources, Events, Companies, Keys, Sessions, Exchange, Connections, Tenants)
}

fn service() -> OpenApiService<Api, ()> {
    let description = DESCRIPTION.replace("{errors}", &errors::table());
    OpenApiService::new(api(), "Holdfast", env!("CARGO_PKG_VERSION")).description(description)
}

/// The parts of the queue monitor, under [`MONITOR`]: its clients know its paths without a version.
pub(super) type Monitor = (QueueEvents, Jobs, Workers, Queues, Ingest);

/// Prefix of the queue monitor's paths.
pub(super) const MONITOR: &str = "/api";

pub(super) fn monitor_api() -> Monitor {
    (QueueEvents, Jobs, Workers, Queues, Ingest)
}

fn monitor() -> OpenApiService<Monitor, ()> {
    OpenApiService::new(monitor_api(), "Holdfast", env!("CARGO_PKG_VERSION"))
}

/// The document as it is served and committed.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let derived = |text: String| serde_json::from_str(&text).unwrap_or_default();
        let described = event_schemas().into_iter().chain(queue_event_schemas()).chain(errors::schemas());
        let document = assemble(derived(service().spec()), derived(monitor().spec()), described);
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    });
    &DOCUMENT
}

/// Paths of operations that are sent by POST and only read.
const READS_BY_POST: [&str; 2] = ["/api/v1/Reservation/check", "/api/v1/Reservation/verifyFence"];

/// Whether a call reads and changes nothing. The claim of a ticket's grant, which any look at it is, can be repeated.
pub(super) fn is_read(method: &str, path: &str) -> bool {
    method.eq_ignore_ascii_case("GET") || READS_BY_POST.contains(&path)
}

/// Every path of the document, as its segments, with its methods.
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

/// The path that one was probably meant to be: spelt in other letters, or with a slash behind it. Paths are compared as they are, since what follows
/// some of them is a name, in which case and slashes count.
pub(super) fn nearest_path(path: &str) -> Option<String> {
    let segments: Vec<_> = path.trim_end_matches('/').split('/').skip(1).collect();
    let is_name = |known: &str| known.starts_with('{');
    let fits = |known: &&Vec<String>| {
        known.len() == segments.len()
            && known.iter().zip(&segments).all(|(known, given)| is_name(known) || known.eq_ignore_ascii_case(given))
    };
    let names = |known: &&Vec<String>| known.iter().filter(|segment| is_name(segment)).count();
    let nearest = PATHS.iter().map(|(known, _)| known).filter(fits).min_by_key(names)?;
    let respelt = nearest.iter().zip(&segments).map(|(known, given)| if is_name(known) { *given } else { known });
    let respelt: String = respelt.flat_map(|segment| ["/", segment]).collect();
    (respelt != path && respelt.len() <= MAX_SUGGESTED_BYTES).then_some(respelt)
}

/// Longest path that an error suggests, in bytes.
const MAX_SUGGESTED_BYTES: usize = 256;

/// Methods of a path, as `Allow` lists them.
pub(super) fn methods_of(path: &str) -> String {
    if path == mcp::PATH {
        return "POST".into();
    }
    let segments: Vec<_> = path.trim_end_matches('/').split('/').skip(1).collect();
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
    fn a_path_in_other_letters_is_recognised() {
        for (path, near) in [
            ("/api/v1/reservation/RESERVE", "/api/v1/Reservation/reserve"),
            ("/API/V1/Events", "/api/v1/events"),
            ("/api/v1/Reservation/reserve/", "/api/v1/Reservation/reserve"),
            ("/api/v1/reservation/check/Deploy-Lock", "/api/v1/Reservation/check/Deploy-Lock"),
            ("/Api/Jobs/", "/api/jobs"),
        ] {
            assert_eq!(nearest_path(path).as_deref(), Some(near), "{path}");
        }
        let long = format!("/api/v1/resource/{}", "x".repeat(300));
        for path in [
            "/",
            "/api",
            "/api/v1/Reservation/reserve",
            "/api/v1/Reservation/nothing",
            "/api/v2/Reservation/reserve",
            &long,
        ] {
            assert_eq!(nearest_path(path), None, "{path}");
        }
    }

    #[test]
    fn allow_comes_from_the_document() {
        assert_eq!(methods_of("/api/v1/Reservation/reserve"), "POST");
        assert_eq!(methods_of("/api/v1/Reservation/check/a%2Fb"), "GET");
        assert_eq!(methods_of("/healthz"), "GET");
    }
}
