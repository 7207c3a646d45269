//! Every failure gets the same body, and one table says which status a meaning has.

use poem::{
    Response,
    error::ResponseError,
    http::{HeaderValue, Method, StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    domain::{
        fault::FieldError,
        rate::{TooFast, retry_after_s},
        tier::Tier,
    },
    http::wire::response::HOLDFAST_TIME,
    store::{LimitReached, StoreError},
};

/// What went wrong, as programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below says what each means")]
pub(in crate::http) enum Code {
    ValidationError,
    Unauthorized,
    InvalidReleaseToken,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    HeadersTooLarge,
    RateLimited,
    Internal,
    Unavailable,
    OutcomeUnknown,
}

/// Where errors are explained.
const DOCS: &str = "/docs#errors";

/// Meaning, status, code and the line that the document gives to it.
const TABLE: &[(Code, StatusCode, &str, &str)] = &[
    (
        Code::ValidationError,
        StatusCode::BAD_REQUEST,
        "VALIDATION_ERROR",
        "Something in the request is missing or wrong; `details` names each fault.",
    ),
    (
        Code::Unauthorized,
        StatusCode::UNAUTHORIZED,
        "UNAUTHORIZED",
        "No credential, or an unknown, revoked or expired one.",
    ),
    (
        Code::InvalidReleaseToken,
        StatusCode::FORBIDDEN,
        "INVALID_RELEASE_TOKEN",
        "A wrong or missing release token on something that this requester holds; nothing changed; `results` has an item per request.",
    ),
    (Code::Forbidden, StatusCode::FORBIDDEN, "FORBIDDEN", "The credential may not do this."),
    (Code::NotFound, StatusCode::NOT_FOUND, "NOT_FOUND", "There is no such thing, or it is another tenant's."),
    (
        Code::MethodNotAllowed,
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "The path has other methods; `Allow` lists them.",
    ),
    (Code::RequestTimeout, StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "The body stalled for 30 s."),
    (Code::Conflict, StatusCode::CONFLICT, "CONFLICT", "It cannot be done in the present state."),
    (
        Code::PayloadTooLarge,
        StatusCode::PAYLOAD_TOO_LARGE,
        "PAYLOAD_TOO_LARGE",
        "The body is larger than this route takes.",
    ),
    (
        Code::UnsupportedMediaType,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UNSUPPORTED_MEDIA_TYPE",
        "The body is not `application/json`.",
    ),
    (
        Code::HeadersTooLarge,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "HEADERS_TOO_LARGE",
        "The headers are too many or too large.",
    ),
    (
        Code::RateLimited,
        StatusCode::TOO_MANY_REQUESTS,
        "RATE_LIMITED",
        "A limit of the tier is reached; `limitType` says which.",
    ),
    (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "A bug."),
    (
        Code::Unavailable,
        StatusCode::SERVICE_UNAVAILABLE,
        "UNAVAILABLE",
        "Redis is not reached, or refuses writes; nothing changed.",
    ),
    (
        Code::OutcomeUnknown,
        StatusCode::GATEWAY_TIMEOUT,
        "OUTCOME_UNKNOWN",
        "Sent to Redis, and no answer in time: only asking again can tell.",
    ),
];

impl Code {
    fn row(self) -> &'static (Self, StatusCode, &'static str, &'static str) {
        // Every code has a row: `every_code_has_a_row` holds it.
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }
}

/// A failure, ready to be answered.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(in crate::http) struct ApiError {
    code: Code,
    message: String,
    details: Vec<FieldError>,
    /// What stands beside `error` in the body.
    beside: Map<String, Value>,
    retry_after_s: Option<i64>,
    allow: Option<String>,
    now_us: Option<i64>,
}

impl ApiError {
    pub(in crate::http) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            beside: Map::new(),
            retry_after_s: None,
            allow: None,
            now_us: None,
        }
    }

    pub(in crate::http) fn validation(details: Vec<FieldError>) -> Self {
        let message = match details.as_slice() {
            [FieldError { path, message }] if path.is_empty() => format!("The request is not valid: {message}."),
            [FieldError { path, message }] => format!("The request is not valid: {path} {message}."),
            many => format!("The request is not valid: {} faults, each named in details.", many.len()),
        };
        Self { details, ..Self::new(Code::ValidationError, message) }
    }

    pub(in crate::http) fn fault(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::validation(vec![FieldError { path: path.into(), message: message.into() }])
    }

    pub(in crate::http) fn unauthorized() -> Self {
        // One wording for all: whoever tries keys learns nothing from it.
        Self::new(
            Code::Unauthorized,
            "A valid API key is needed: send it in the header X-Api-Key, or as Authorization: Bearer.",
        )
    }

    pub(in crate::http) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// A limit of the tier, told by a script at `now_us`.
    pub(in crate::http) fn limit(reached: &LimitReached, tier: Tier, now_us: i64) -> Self {
        let LimitReached { limit_type, limit, used, until_ms } = reached;
        let retry_after_s = match (limit_type.as_str(), until_ms) {
            ("ConcurrentReservations", Some(until_ms)) => ((until_ms * 1000 - now_us) / 1_000_000 + 1).clamp(1, 60),
            ("ConcurrentReservations", None) => 5,
            // Until the day ends.
            ("EventsPerDay", Some(until_ms)) => ((until_ms * 1000 - now_us) / 1_000_000 + 1).clamp(1, 86_400),
            _ => 60,
        };
        let mut error = Self::new(
            Code::RateLimited,
            format!(
                "The {} tier allows {limit} of {limit_type}, and {used} are in use. Give some back, or ask for a higher tier.",
                tier.name()
            ),
        );
        error.beside.insert("upgradeRequired".into(), (tier < Tier::Enterprise).into());
        error.beside.insert("limitType".into(), limit_type.clone().into());
        error.beside.insert("limit".into(), (*limit).into());
        error.beside.insert("tier".into(), tier.name().into());
        error.retry_after_s = Some(retry_after_s);
        error.now_us = Some(now_us);
        error
    }

    /// The tenant calls faster than its tier allows.
    fn too_fast(refused: &TooFast) -> Self {
        let TooFast { tier, rate, wait_us, now_us } = refused;
        let message = format!(
            "The {} tier allows {} requests per second, {} at once. Wait, or ask for a higher tier.",
            tier.name(),
            rate.per_second,
            rate.burst
        );
        let error = Self::new(Code::RateLimited, message)
            .beside("upgradeRequired", *tier < Tier::Enterprise)
            .beside("limitType", "RequestRate")
            .beside("limit", rate.per_second)
            .beside("tier", tier.name());
        Self { retry_after_s: Some(retry_after_s(*wait_us)), now_us: *now_us, ..error }
    }

    /// An address tried too many credentials that were none.
    pub(in crate::http) fn too_many_attempts(wait: std::time::Duration, per_minute: u32) -> Self {
        let error = Self::new(
            Code::RateLimited,
            "Too many attempts with wrong credentials came from this address. Wait, and send a valid one.",
        )
        .beside("upgradeRequired", false)
        .beside("limitType", "RequestRate")
        .beside("limit", per_minute);
        Self { retry_after_s: Some(retry_after_s(wait.as_micros() as i64)), ..error }
    }

    /// Something that a higher tier allows.
    pub(in crate::http) fn tier_too_low(tier: Tier, what: &str) -> Self {
        let message = format!("The {} tier does not include {what}; ask for a higher tier.", tier.name());
        Self::new(Code::Forbidden, message).beside("upgradeRequired", true).beside("tier", tier.name())
    }

    /// A method that the path does not have, and those that it has.
    pub(in crate::http) fn method(method: &Method, allow: String) -> Self {
        let message = format!("{method} is not a method of this path; it has {allow}.");
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, message) }
    }

    /// Adds a member beside `error` in the body.
    pub(in crate::http) fn beside(mut self, name: &str, value: impl Serialize) -> Self {
        self.beside.insert(name.into(), serde_json::to_value(value).unwrap_or_default());
        self
    }

    /// Adds the clock of the script that refused.
    pub(in crate::http) fn at(mut self, now_us: i64) -> Self {
        self.now_us = Some(now_us);
        self
    }

    pub(in crate::http) fn status(&self) -> StatusCode {
        self.code.row().1
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = match &error {
            StoreError::Unauthorized => return Self::unauthorized(),
            StoreError::TooFast(refused) => return Self::too_fast(refused),
            StoreError::Unreachable => "Redis cannot be reached; nothing was changed. Try again.".to_owned(),
            StoreError::Refused { code } => {
                format!("Redis refuses to do this now ({code}); nothing was changed. Try again.")
            }
            StoreError::OutcomeUnknown { .. } => {
                "Redis did not answer in time; only asking again can tell whether it was done.".to_owned()
            }
            StoreError::UnexpectedReply { .. } => {
                "This is a bug in Holdfast; the log has its details under the request's id.".to_owned()
            }
        };
        match error {
            StoreError::Unreachable | StoreError::Refused { .. } => {
                tracing::warn!(%error, "no answer from redis");
                Self { retry_after_s: Some(1), ..Self::new(Code::Unavailable, message) }
            }
            StoreError::OutcomeUnknown { .. } => {
                tracing::warn!(%error, "no answer from redis");
                Self::new(Code::OutcomeUnknown, message)
            }
            StoreError::Unauthorized | StoreError::TooFast(_) | StoreError::UnexpectedReply { .. } => {
                tracing::error!(%error, "redis answered what it should not");
                Self::new(Code::Internal, message)
            }
        }
    }
}

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ErrorBody {
    /// What went wrong.
    error: ErrorDetail,
    /// Whether a higher tier allows more.
    upgrade_required: Option<bool>,
    /// Which limit was reached.
    limit_type: Option<String>,
    /// That limit.
    limit: Option<i64>,
    /// The tenant's tier.
    tier: Option<String>,
    /// When to try again, in seconds.
    retry_after: Option<i64>,
}

/// What went wrong.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ErrorDetail {
    /// For programs: one of the codes in this document.
    code: String,
    /// For people: what is wrong, and the way out.
    message: String,
    /// Where to read on.
    docs_url: String,
    /// Each fault of the input, with its place.
    details: Vec<ErrorFault>,
}

/// One fault of the input.
#[derive(Debug, Object)]
pub(in crate::http) struct ErrorFault {
    /// The place: `[3].ttlSeconds`.
    path: String,
    /// What is wrong, and what would be right.
    message: String,
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        Self::status(self)
    }

    fn as_response(&self) -> Response {
        self.respond(false)
    }
}

impl ApiError {
    /// The same for the queue monitor's paths, whose clients know `docsUrl` by another name, too.
    pub(in crate::http) fn as_monitor_response(&self) -> Response {
        self.respond(true)
    }

    fn respond(&self, monitor: bool) -> Response {
        let (_, status, code, _) = self.code.row();
        let details: Vec<_> = self
            .details
            .iter()
            .map(|FieldError { path, message }| serde_json::json!({"path": path, "message": message}))
            .collect();
        let mut body = Map::new();
        let mut error = serde_json::json!({"code": code, "message": self.message, "docsUrl": DOCS, "details": details});
        if monitor {
            error["docs_url"] = DOCS.into();
        }
        body.insert("error".into(), error);
        body.extend(self.beside.clone());
        let mut answer = Response::builder().status(*status).content_type("application/json");
        if let Some(seconds) = self.retry_after_s {
            body.insert("retryAfter".into(), seconds.into());
            answer = answer.header(header::RETRY_AFTER, seconds);
        }
        if let Some(allow) = &self.allow {
            answer = answer.header(header::ALLOW, allow);
        }
        if let Some(now_us) = self.now_us {
            answer = answer.header(&HOLDFAST_TIME, now_us);
        }
        answer.body(Value::Object(body).to_string())
    }
}

impl ApiResponse for ApiError {
    fn meta() -> MetaResponses {
        let mut responses: Vec<MetaResponse> = Vec::new();
        for (_, status, _, line) in TABLE {
            if !responses.iter().any(|response| response.status == Some(status.as_u16())) {
                let content = vec![MetaMediaType { content_type: "application/json", schema: ErrorBody::schema_ref() }];
                responses.push(MetaResponse {
                    description: line,
                    status: Some(status.as_u16()),
                    status_range: None,
                    content,
                    headers: vec![],
                });
            }
        }
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

/// A header of digits.
pub(in crate::http) fn digits(number: i64) -> HeaderValue {
    HeaderValue::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_row() {
        for (code, ..) in TABLE {
            assert_eq!(code.row().0, *code);
        }
        assert_eq!(Code::OutcomeUnknown.row().1, StatusCode::GATEWAY_TIMEOUT);
    }

    #[test]
    fn a_held_limit_says_when_to_come_again() {
        let reached =
            |until_ms| LimitReached { limit_type: "ConcurrentReservations".into(), limit: 5, used: 5, until_ms };
        let tier = Tier::Free;
        assert_eq!(ApiError::limit(&reached(Some(10_500)), tier, 1_000_000).retry_after_s, Some(10));
        assert_eq!(ApiError::limit(&reached(Some(500_000)), tier, 1_000_000).retry_after_s, Some(60));
        assert_eq!(ApiError::limit(&reached(Some(1_000)), tier, 1_000_000).retry_after_s, Some(1));
        assert_eq!(ApiError::limit(&reached(None), tier, 1_000_000).retry_after_s, Some(5));
    }
}
