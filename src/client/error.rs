//! Why a call gave no answer.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service was not reached, or refused for now (503): nothing changed.
    #[error("{url} is not reached: {reason}")]
    Unreachable {
        /// The service's address.
        url: String,
        /// What the last attempt ran into.
        reason: String,
    },

    /// Sent, and no answer in time, also when asked again: whether it was carried out is unknown.
    #[error("{url} gave no answer: {reason}; whether the call was carried out is unknown")]
    OutcomeUnknown {
        /// The service's address.
        url: String,
        /// What the last attempt ran into.
        reason: String,
    },

    /// The service refused the call; nothing changed.
    #[error("{0}")]
    Refused(Box<Refusal>),

    /// The service asks for a credential, and the call had none.
    #[error("{url} asks for a key, and none is set")]
    NoKey {
        /// The service's address.
        url: String,
    },

    /// The service does not take the credential; nothing changed.
    #[error("{key} is not valid at {url}: it is not known there, or was deleted, or has expired")]
    WrongKey {
        /// The service's address.
        url: String,
        /// Which one it is: [`ApiKey::hint`](crate::client::ApiKey::hint).
        key: String,
    },

    /// The answer is not what the contract promises: another service answers there, or there is a bug.
    #[error("{url} gave an answer that is none of Holdfast's: {reason}")]
    UnexpectedAnswer {
        /// The service's address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same call may succeed later without a change on this side: the service is away or asks for patience.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Refused(refusal) => refusal.is_temporary(),
            Self::NoKey { .. } | Self::WrongKey { .. } | Self::UnexpectedAnswer { .. } => false,
        }
    }
}

/// A refusal: the one error body of the service.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The HTTP status, 400 or greater.
    pub status: StatusCode,
    /// The error's code, such as `RATE_LIMITED`.
    pub code: String,
    /// What a person reads.
    pub message: String,
    /// Path and message of each fault of the request.
    pub details: Vec<(String, String)>,
    /// Which limit was reached, such as `RequestRate`.
    pub limit_type: Option<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Whether the service asks to come back later: its rate is passed, or it is away.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::BAD_GATEWAY => true,
            StatusCode::TOO_MANY_REQUESTS => self.limit_type.as_deref() == Some("RequestRate"),
            status => status.is_server_error(),
        }
    }

    /// Whether a fault of the request is in a field of this name.
    #[must_use]
    pub fn names_field(&self, field: &str) -> bool {
        self.details.iter().any(|(path, message)| path.contains(field) || message.contains(field))
    }

    /// Reads an error body; what is none becomes a refusal with the status' own words.
    pub(super) fn parse(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let body: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
        let words = || status.canonical_reason().unwrap_or("an error").to_owned();
        Self {
            status,
            code: body.error.code.unwrap_or_else(|| status.as_u16().to_string()),
            message: body.error.message.unwrap_or_else(words),
            details: body.error.details.into_iter().map(|detail| (detail.path, detail.message)).collect(),
            limit_type: body.limit_type,
            retry_after,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} ({})", self.message.trim_end_matches('.'), self.code)?;
        // The message says it already where there is but one.
        let is_said = self.details.len() == 1 && self.message.contains(&self.details[0].1);
        for (path, message) in self.details.iter().filter(|_| !is_said) {
            write!(to, "\n  {path}{}{message}", if path.is_empty() { "" } else { " " })?;
        }
        Ok(())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    #[serde(default)]
    error: ErrorFields,
    limit_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorFields {
    code: Option<String>,
    message: Option<String>,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Debug, Deserialize)]
struct Detail {
    #[serde(default)]
    path: String,
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_body_is_read() {
        let body = br#"{"error":{"code":"VALIDATION_ERROR","message":"No.","details":[{"path":"[0].waitSeconds","message":"is unknown"}]}}"#;
        let refusal = Refusal::parse(StatusCode::BAD_REQUEST, None, body);
        assert_eq!(refusal.to_string(), "No (VALIDATION_ERROR)\n  [0].waitSeconds is unknown");
        assert!(refusal.names_field("waitSeconds") && !refusal.names_field("priority"));
        assert!(!refusal.is_temporary());
    }

    #[test]
    fn one_fault_is_said_once() {
        let body = br#"{"error":{"code":"VALIDATION_ERROR","message":"Not valid: [0].resource must not be empty.","details":[{"path":"[0].resource","message":"must not be empty"}]}}"#;
        let refusal = Refusal::parse(StatusCode::BAD_REQUEST, None, body);
        assert_eq!(refusal.to_string(), "Not valid: [0].resource must not be empty (VALIDATION_ERROR)");
    }

    #[test]
    fn only_the_rate_is_a_limit_that_passes_by_itself() {
        let limit = |kind: &str| {
            let body = format!(r#"{{"error":{{"code":"RATE_LIMITED"}},"limitType":"{kind}"}}"#);
            Refusal::parse(StatusCode::TOO_MANY_REQUESTS, None, body.as_bytes()).is_temporary()
        };
        assert!(limit("RequestRate"));
        assert!(!limit("ConcurrentReservations"));
    }

    #[test]
    fn a_body_of_somebody_else_keeps_the_status() {
        let refusal = Refusal::parse(StatusCode::BAD_GATEWAY, None, b"<html>");
        assert_eq!(refusal.to_string(), "Bad Gateway (502)");
        assert!(refusal.is_temporary());
    }
}
