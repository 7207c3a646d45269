//! What subscribers are told.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::time::{wire, wire_option};

/// A change of a reservation, or the refusal of one, as subscribers read it. Every key is always there.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationEvent {
    /// The position as a string; absent (null) in a refusal, which is live only.
    pub id: Option<String>,
    /// `RESERVED`, `UNRESERVED`, ...
    pub r#type: String,
    pub tenant_id: String,
    /// The physical name.
    pub resource: Option<String>,
    pub requester: Option<String>,
    /// One word: the outcome.
    pub explanation: Option<String>,
    /// A sentence, where the word is not enough.
    pub reason: Option<String>,
    pub resource_type: Option<String>,
    pub api_key_label: Option<String>,
    /// `RESERVE`, `UNRESERVE` or `RENEW`; null for what nobody requested.
    pub request_type: Option<String>,
    #[serde(with = "wire")]
    pub timestamp: DateTime<Utc>,
    /// Of a transaction.
    pub method: Option<String>,
    /// Of a transaction: every item.
    pub changes: Option<Vec<Change>>,
    /// Of a limit that was reached.
    pub limit_type: Option<String>,
    /// Of a limit that was reached.
    pub limit: Option<i64>,
    pub fencing_token: Option<i64>,
    #[serde(with = "wire_option")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The pool that the resource is a slot of.
    pub pool: Option<String>,
    pub blockers: Option<Vec<String>>,
}

impl ReservationEvent {
    /// An event that has a type, a tenant and an instant, and nothing else yet.
    #[must_use]
    pub fn bare(r#type: &str, tenant_id: &str, timestamp: DateTime<Utc>) -> Self {
        Self {
            id: None,
            r#type: r#type.into(),
            tenant_id: tenant_id.into(),
            resource: None,
            requester: None,
            explanation: None,
            reason: None,
            resource_type: None,
            api_key_label: None,
            request_type: None,
            timestamp,
            method: None,
            changes: None,
            limit_type: None,
            limit: None,
            fencing_token: None,
            expires_at: None,
            pool: None,
            blockers: None,
        }
    }
}

/// One item of a transaction's event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub resource: String,
    pub requester: String,
    pub request_type: String,
    pub explanation: String,
    pub fencing_token: Option<i64>,
    #[serde(with = "wire_option")]
    pub expires_at: Option<DateTime<Utc>>,
    pub pool: Option<String>,
}
