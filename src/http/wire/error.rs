//! Errors of the API: their codes, statuses, messages, and when to try again.

use poem::http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    domain::{
        closed_set::closed_set,
        field_errors::{FieldError, MAX_FIELD_ERRORS},
        rate::{TooFast, retry_after_s},
        tier::{LimitType, Tier},
    },
    redis::outage_is_logged,
    store::{LimitReached, StoreError},
};

closed_set! {
    /// What went wrong, for programs.
    pub(in crate::http) enum Code as "ErrorCode" {
        /// Something in the request is missing or wrong; `details` names each fault.
        ValidationError = "VALIDATION_ERROR",
        /// No credential, or an unknown, revoked or expired one.
        Unauthorized = "UNAUTHORIZED",
        /// A wrong or missing release token on something that this requester holds; nothing changed; `results` has an item per request.
        InvalidReleaseToken = "INVALID_RELEASE_TOKEN",
        /// The credential may not do this.
        Forbidden = "FORBIDDEN",
        /// There is no such thing, or it is another tenant's.
        NotFound = "NOT_FOUND",
        /// The path has other methods; `Allow` lists them.
        MethodNotAllowed = "METHOD_NOT_ALLOWED",
        /// The body stalled for 30 s, or came slower than 16 KiB/s.
        RequestTimeout = "REQUEST_TIMEOUT",
        /// It cannot be done in the present state.
        Conflict = "CONFLICT",
        /// The body is larger than this route takes.
        PayloadTooLarge = "PAYLOAD_TOO_LARGE",
        /// The body is not `application/json`.
        UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
        /// The headers are too many or too large.
        HeadersTooLarge = "HEADERS_TOO_LARGE",
        /// The call would take more steps than one call may; nothing changed.
        TooMuchWork = "TOO_MUCH_WORK",
        /// A limit of the tier is reached; `limitType` says which.
        RateLimited = "RATE_LIMITED",
        /// A bug.
        Internal = "INTERNAL",
        /// Redis is not reached, refuses writes, or did not answer a read in time, or the replica has no room for the request; nothing changed.
        Unavailable = "UNAVAILABLE",
        /// A change was sent to Redis, and there was no answer in time, or Redis could not go on after a part of it: only asking again can tell.
        OutcomeUnknown = "OUTCOME_UNKNOWN",
    }
}

impl Code {
    /// The HTTP status that a code is answered with.
    pub(in crate::http) fn status(self) -> StatusCode {
        match self {
            Self::ValidationError | Self::TooMuchWork => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::InvalidReleaseToken | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// An error, ready to be answered.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(in crate::http) struct ApiError {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) details: Vec<FieldError>,
    /// Members of the body beside `error`.
    pub(super) beside: Map<String, Value>,
    /// Value of `Retry-After`, in seconds.
    pub(super) retry_after_s: Option<i64>,
    /// Value of `Allow`.
    pub(super) allow: Option<String>,
    /// Redis' clock in microseconds, where a function refused.
    pub(super) now_us: Option<i64>,
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

    /// Field errors of the request, of which the first [`MAX_FIELD_ERRORS`] are answered.
    pub(in crate::http) fn validation(mut details: Vec<FieldError>) -> Self {
        details.truncate(MAX_FIELD_ERRORS);
        let message = match details.as_slice() {
            [FieldError { path, message }] => {
                let subject = if path.is_empty() { String::new() } else { format!("{path} ") };
                // Some end with a question: did you mean ...?
                let stop = if message.ends_with('?') { "" } else { "." };
                format!("The request is not valid: {subject}{message}{stop}")
            }
            many if many.len() == MAX_FIELD_ERRORS => {
                format!("The request is not valid: details names the first {MAX_FIELD_ERRORS} faults.")
            }
            many => format!("The request is not valid: {} faults, each named in details.", many.len()),
        };
        Self { details, ..Self::new(Code::ValidationError, message) }
    }

    /// One field error of the request.
    pub(in crate::http) fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::validation(vec![FieldError { path: path.into(), message: message.into() }])
    }

    /// The service cannot do it at this moment; nothing was done.
    pub(in crate::http) fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after_s: Some(1), ..Self::new(Code::Unavailable, message) }
    }

    /// Redis did not answer in time, and nothing was to be changed.
    pub(in crate::http) fn unanswered_read() -> Self {
        Self::unavailable("Redis did not answer in time; nothing was changed. Try again.")
    }

    /// No credential, or none that holds: one wording for all, so that nobody who tries keys learns from it.
    pub(in crate::http) fn unauthorized() -> Self {
        Self::new(
            Code::Unauthorized,
            "A valid API key is needed: send it in the header X-Api-Key, or as Authorization: Bearer.",
        )
    }

    pub(in crate::http) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}."))
    }

    /// A limit of the tier that a function found reached at `now_us`.
    pub(in crate::http) fn limit(reached: &LimitReached, tier: Tier, now_us: i64) -> Self {
        let LimitReached { limit_type, limit, used, until_ms } = reached;
        let seconds_until = |ms: i64| (ms * 1000 - now_us) / 1_000_000 + 1;
        let retry_after_s = match (limit_type, until_ms) {
            (LimitType::ConcurrentReservations, Some(earliest_ms)) => seconds_until(*earliest_ms).clamp(1, 60),
            (LimitType::ConcurrentReservations, None) => 5,
            (LimitType::EventsPerDay, Some(midnight_ms)) => seconds_until(*midnight_ms).clamp(1, 86_400),
            _ => 60,
        };
        let message = format!(
            "The {} tier allows {limit} of {}, and {used} are in use. Give some back{}.",
            tier.name(),
            limit_type.name(),
            or_a_higher(tier)
        );
        let error = Self::rate_limited(message, tier.has_higher(), *limit_type, *limit).beside("tier", tier);
        Self { retry_after_s: Some(retry_after_s), now_us: Some(now_us), ..error }
    }

    /// 429 with the members that every 429 has.
    fn rate_limited(message: impl Into<String>, upgrade_required: bool, limit_type: LimitType, limit: i64) -> Self {
        Self::new(Code::RateLimited, message)
            .beside("upgradeRequired", upgrade_required)
            .beside("limitType", limit_type)
            .beside("limit", limit)
    }

    /// The tenant calls faster than its tier allows.
    fn too_fast(refused: &TooFast) -> Self {
        let TooFast { tier, rate, wait_us, now_us } = refused;
        let message = format!(
            "The {} tier allows {} requests per second, {} at once. Wait{}.",
            tier.name(),
            rate.per_second,
            rate.burst,
            or_a_higher(*tier)
        );
        let error = Self::rate_limited(message, tier.has_higher(), LimitType::RequestRate, rate.per_second.into())
            .beside("tier", tier);
        Self { retry_after_s: Some(retry_after_s(*wait_us)), now_us: *now_us, ..error }
    }

    /// Too many wrong credentials came from one address.
    pub(in crate::http) fn too_many_attempts(wait: std::time::Duration, per_minute: u32) -> Self {
        let message = "Too many attempts with wrong credentials came from this address. Wait, and send a valid one.";
        let error = Self::rate_limited(message, false, LimitType::RequestRate, per_minute.into());
        Self { retry_after_s: Some(retry_after_s(wait.as_micros() as i64)), ..error }
    }

    /// The tier does not include `what`; a higher one does.
    pub(in crate::http) fn tier_too_low(tier: Tier, what: &str) -> Self {
        let message = format!("The {} tier does not include {what}. Do without{}.", tier.name(), or_a_higher(tier));
        Self::new(Code::Forbidden, message).beside("upgradeRequired", true).beside("tier", tier)
    }

    /// A method that the path does not have; `allow` lists those that it has.
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

    pub(in crate::http) fn code(&self) -> Code {
        self.code
    }

    pub(in crate::http) fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// The field errors.
    pub(in crate::http) fn details(&self) -> &[FieldError] {
        &self.details
    }
}

/// What leads out of a tier's limit, for who runs the service: often that is who reads it.
fn or_a_higher(tier: Tier) -> String {
    match tier.next() {
        Some(next) => format!(
            ", or ask for a higher tier: who runs this service sets it with `holdfast tenant update TENANT --tier {}`",
            next.name()
        ),
        None => String::new(),
    }
}

/// Logs that Redis did not answer a call, but for calls of an outage, which is in the log itself.
fn log_unanswered(error: &StoreError) {
    if outage_is_logged() {
        tracing::debug!(%error, "no answer from redis");
    } else {
        tracing::warn!(%error, "no answer from redis");
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = match &error {
            StoreError::Unauthorized => return Self::unauthorized(),
            StoreError::TooFast(refused) => return Self::too_fast(refused),
            StoreError::StorageFull(full) => return Self::limit(&full.reached, full.tier, full.now_us).at(full.now_us),
            StoreError::TooMuchWork => {
                let message =
                    "The call would take more work than one call may; nothing was changed. Ask for less at once.";
                return Self::new(Code::TooMuchWork, message);
            }
            StoreError::Crowded => {
                let message =
                    "As many large calls of this tenant are under way here as may be at once; nothing was changed. Try again.";
                return Self::unavailable(message);
            }
            StoreError::TtlTooLong { max_ms } => {
                let max_s = max_ms / 1_000;
                return Self::field(
                    "ttlSeconds",
                    format!("is longer than this tenant allows, or missing; at most {max_s} is allowed"),
                );
            }
            StoreError::Unreachable => "Redis cannot be reached; nothing was changed. Try again.".to_owned(),
            StoreError::Unusable { .. } => {
                "This service cannot use its Redis; nothing was changed. Its operator finds why in /readyz and in the log."
                    .to_owned()
            }
            StoreError::Refused { code } => {
                format!("Redis refuses to do this now ({code}); nothing was changed. Try again.")
            }
            StoreError::OutcomeUnknown { .. } => {
                "Redis did not answer in time; only asking again can tell whether it was done.".to_owned()
            }
            StoreError::Interrupted(_) => {
                "A part of this was done, and then Redis could not go on; only asking again can complete it.".to_owned()
            }
            StoreError::UnexpectedReply { .. } => {
                "This is a bug in Holdfast; the log has its details under the request's id.".to_owned()
            }
        };
        match error {
            StoreError::Unreachable | StoreError::Unusable { .. } | StoreError::Refused { .. } => {
                log_unanswered(&error);
                Self::unavailable(message)
            }
            StoreError::OutcomeUnknown { .. } | StoreError::Interrupted(_) => {
                log_unanswered(&error);
                Self::new(Code::OutcomeUnknown, message)
            }
            StoreError::Unauthorized
            | StoreError::TooFast(_)
            | StoreError::StorageFull(_)
            | StoreError::TooMuchWork
            | StoreError::Crowded
            | StoreError::TtlTooLong { .. }
            | StoreError::UnexpectedReply { .. } => {
                tracing::error!(%error, "redis answered what it should not");
                Self::new(Code::Internal, message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reached_limit_says_when_to_try_again() {
        let reached =
            |until_ms| LimitReached { limit_type: LimitType::ConcurrentReservations, limit: 5, used: 5, until_ms };
        let tier = Tier::Free;
        assert_eq!(ApiError::limit(&reached(Some(10_500)), tier, 1_000_000).retry_after_s, Some(10));
        assert_eq!(ApiError::limit(&reached(Some(500_000)), tier, 1_000_000).retry_after_s, Some(60));
        assert_eq!(ApiError::limit(&reached(Some(1_000)), tier, 1_000_000).retry_after_s, Some(1));
        assert_eq!(ApiError::limit(&reached(None), tier, 1_000_000).retry_after_s, Some(5));
    }
}
