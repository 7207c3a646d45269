//! Errors in the document: which of them an operation gives, each described once, and what to do about each code.

use std::{collections::BTreeMap, fmt::Write};

use poem_openapi::{
    registry::{MetaSchema, Registry},
    types::Type,
};
use serde_json::{Map, Value, json};

use crate::{
    domain::closed_set::ClosedSet,
    http::{
        openapi::assemble::Operation,
        wire::{error::Code, error_response::ErrorBody},
    },
};

/// An answer that operations share: its name, its status (or `default`), and the codes that it comes with.
struct Shared {
    name: &'static str,
    status: &'static str,
    codes: &'static [Code],
    has_retry_after: bool,
    applies: fn(&Operation<'_>) -> bool,
}

/// Operations that find something in the way.
const CONFLICTING: [&str; 6] =
    ["register", "deleteResource", "cancelTicket", "putCompany", "deleteKey", "updateTenant"];
/// Operations that prove a holder by its release token.
const WITH_TOKENS: [&str; 3] = ["unreserve", "renew", "transactions"];
/// Operations whose path names something that need not exist.
const NAMING: [&str; 2] = ["check", "putCompany"];

const SHARED: [Shared; 13] = [
    Shared {
        name: "BadRequest",
        status: "400",
        codes: &[Code::ValidationError, Code::TooMuchWork],
        has_retry_after: false,
        applies: |operation| operation.takes_input(),
    },
    Shared {
        name: "Unauthorized",
        status: "401",
        codes: &[Code::Unauthorized],
        has_retry_after: false,
        applies: |_| true,
    },
    Shared {
        name: "Forbidden",
        status: "403",
        codes: &[Code::Forbidden],
        has_retry_after: false,
        applies: |operation| !operation.is_administration() && operation.id != "ingest" && !has_tokens(operation),
    },
    Shared {
        name: "TokenRefused",
        status: "403",
        codes: &[Code::InvalidReleaseToken, Code::Forbidden],
        has_retry_after: false,
        applies: has_tokens,
    },
    Shared {
        name: "NotFound",
        status: "404",
        codes: &[Code::NotFound],
        has_retry_after: false,
        applies: |operation| {
            operation.path.contains('{') && !NAMING.contains(&operation.id) || operation.id == "queueEvents"
        },
    },
    Shared {
        name: "RequestTimeout",
        status: "408",
        codes: &[Code::RequestTimeout],
        has_retry_after: false,
        applies: |operation| operation.has_body(),
    },
    Shared {
        name: "Conflict",
        status: "409",
        codes: &[Code::Conflict],
        has_retry_after: false,
        applies: |operation| CONFLICTING.contains(&operation.id),
    },
    Shared {
        name: "PayloadTooLarge",
        status: "413",
        codes: &[Code::PayloadTooLarge],
        has_retry_after: false,
        applies: |operation| operation.has_body(),
    },
    Shared {
        name: "UnsupportedMediaType",
        status: "415",
        codes: &[Code::UnsupportedMediaType],
        has_retry_after: false,
        applies: |operation| operation.has_body(),
    },
    Shared {
        name: "TooManyRequests",
        status: "429",
        codes: &[Code::RateLimited],
        has_retry_after: true,
        applies: |_| true,
    },
    Shared {
        name: "Unavailable",
        status: "503",
        codes: &[Code::Unavailable],
        has_retry_after: true,
        applies: |_| true,
    },
    Shared {
        name: "OutcomeUnknown",
        status: "504",
        codes: &[Code::OutcomeUnknown],
        has_retry_after: false,
        applies: |operation| !operation.is_read(),
    },
    Shared {
        name: "OtherError",
        status: "default",
        codes: &[Code::HeadersTooLarge, Code::Internal],
        has_retry_after: false,
        applies: |_| true,
    },
];

fn has_tokens(operation: &Operation<'_>) -> bool {
    WITH_TOKENS.contains(&operation.id)
}

/// Adds to an operation's answers the errors that it gives.
pub(super) fn add_to(operation: &Operation<'_>, responses: &mut Map<String, Value>) {
    for shared in SHARED.iter().filter(|shared| (shared.applies)(operation)) {
        let reference = json!({"$ref": format!("#/components/responses/{}", shared.name)});
        responses.insert(shared.status.into(), reference);
    }
}

/// The schemas of the body that errors have.
pub(super) fn schemas() -> BTreeMap<String, MetaSchema> {
    let mut registry = Registry::new();
    ErrorBody::register(&mut registry);
    registry.schemas
}

/// The shared answers, with an example each.
pub(super) fn responses() -> Map<String, Value> {
    let response = |shared: &Shared| {
        let lines: Vec<_> = shared.codes.iter().map(|code| format!("`{}`: {}", code.name(), code.meaning())).collect();
        let mut response = json!({
            "description": lines.join("\n\n"),
            "content": {"application/json": {
                "schema": {"$ref": "#/components/schemas/ErrorBody"},
                "example": example(shared.codes[0]),
            }},
        });
        if shared.has_retry_after {
            response["headers"] = json!({"Retry-After": {"$ref": "#/components/headers/Retry-After"}});
        }
        (shared.name.to_owned(), response)
    };
    SHARED.iter().map(response).collect()
}

fn example(code: Code) -> Value {
    let (message, details, beside) = match code {
        Code::ValidationError => (
            "The request is not valid: [0].ttlSeconds is 0; it must be a whole number of seconds from 1 to 2147483647.",
            json!([{"path": "[0].ttlSeconds", "message": "is 0; it must be a whole number of seconds from 1 to 2147483647"}]),
            json!({}),
        ),
        Code::Unauthorized => (
            "A valid API key is needed: send it in the header X-Api-Key, or as Authorization: Bearer.",
            json!([]),
            json!({}),
        ),
        Code::Forbidden => {
            ("This credential does not have the scope \"admin\"; use one that has.", json!([]), json!({}))
        }
        Code::InvalidReleaseToken => (
            "A release token is wrong or missing; nothing was changed. Send the token that reserve answered with.",
            json!([]),
            json!({"results": [{"resource": "deploy-lock", "requester": "worker-1", "status": "INVALID_RELEASE_TOKEN"}]}),
        ),
        Code::NotFound => ("There is no such resource.", json!([]), json!({})),
        Code::RequestTimeout => ("The body came too slowly; send it again.", json!([]), json!({})),
        Code::Conflict => ("Nothing was changed: it is held: \"deploy-lock\".", json!([]), json!({})),
        Code::PayloadTooLarge => {
            ("The body is larger than the 1048576 bytes that this route takes; send it in parts.", json!([]), json!({}))
        }
        Code::UnsupportedMediaType => {
            ("Send the body as application/json, and say so in Content-Type.", json!([]), json!({}))
        }
        Code::RateLimited => (
            "The Starter tier allows 500 of ConcurrentReservations, and 500 are in use. Give some back, or ask for a higher tier: who runs \
             this service sets it with `holdfast tenant update TENANT --tier Pro`.",
            json!([]),
            json!({"upgradeRequired": true, "limitType": "ConcurrentReservations", "limit": 500, "tier": "Starter", "retryAfter": 5}),
        ),
        Code::Unavailable => {
            ("Redis cannot be reached; nothing was changed. Try again.", json!([]), json!({"retryAfter": 1}))
        }
        Code::OutcomeUnknown => {
            ("Redis did not answer in time; only asking again can tell whether it was done.", json!([]), json!({}))
        }
        Code::MethodNotAllowed | Code::HeadersTooLarge | Code::TooMuchWork | Code::Internal => {
            ("The headers are larger than 32768 bytes, or more than 80.", json!([]), json!({}))
        }
    };
    let mut body = json!({
        "error": {"code": code.name(), "message": message, "docsUrl": "/docs#errors", "details": details},
    });
    if let (Some(body), Value::Object(beside)) = (body.as_object_mut(), beside) {
        body.extend(beside);
    }
    body
}

/// What to do about an error.
fn way_out(code: Code) -> &'static str {
    match code {
        Code::ValidationError => {
            "Mend what `details` names, each with its path; repeating the call as it is never helps."
        }
        Code::TooMuchWork => "Ask for less at once: fewer items, smaller pools.",
        Code::Unauthorized => {
            "Send a key in `X-Api-Key`, or a key or token as `Authorization: Bearer`. The first credential present decides: a bad one \
             is refused even if another one is good. A token lives 15 minutes: exchange again."
        }
        Code::Forbidden => {
            "Use a key that has the scope, or ask who administers the tenant. With a session's cookie, call from a page of this \
             service. With `upgradeRequired` a higher tier may do it."
        }
        Code::InvalidReleaseToken => {
            "Send the `releaseToken` of the reservation. If another process holds it under the same requester, give each holder a name \
             of its own. Lost it: `forceRelease`, or wait for `expiresAt`."
        }
        Code::NotFound => "Look at the spelling of the path and of the id, and at the tenant of the key.",
        Code::MethodNotAllowed => "Use one of the methods that the header `Allow` lists.",
        Code::Conflict => "Read the message: it names what is in the way. Release, move or delete that first.",
        Code::RequestTimeout => "Send it again, faster or in smaller parts.",
        Code::PayloadTooLarge => "Send it in parts.",
        Code::UnsupportedMediaType => "Send JSON with the header `Content-Type: application/json`.",
        Code::HeadersTooLarge => "Send fewer or shorter headers: at most 80, and 32 KiB together.",
        Code::RateLimited => {
            "Wait `Retry-After` seconds, then repeat. `limitType` says which limit it is: call more slowly, give something back, or ask \
             for a higher tier."
        }
        Code::Internal => {
            "Report it, with the header `X-Request-Id` of the answer: the log has its details under that id."
        }
        Code::Unavailable => "Repeat after `Retry-After` seconds: nothing was changed.",
        Code::OutcomeUnknown => {
            "Ask again. Safe to repeat are reserve, unreserve, renew, RESERVE transactions, register, forceRelease, reset, pushed queue \
             events, and publish with a `dedupeId`."
        }
    }
}

/// The codes as a table in Markdown.
pub(super) fn table() -> String {
    let mut table = "| code | status | cause | what to do |\n| --- | --- | --- | --- |\n".to_owned();
    for code in Code::VALUES {
        let (name, status, cause, way_out) = (code.name(), code.status().as_u16(), code.meaning(), way_out(*code));
        // Writing to a text never fails.
        let _ = writeln!(table, "| `{name}` | {status} | {cause} | {way_out} |");
    }
    table
}
