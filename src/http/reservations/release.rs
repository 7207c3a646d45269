//! Items of unreserve and renew, force release and reset: requests and results.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        field_errors::FieldErrors,
        reservation::{
            ReleaseOutcome, ReleaseRequest, ReleaseStatus, RenewOutcome, RenewRequest, RenewStatus,
            requester_and_resource, ttl_ms,
        },
        time::{instant, wire_option},
    },
    http::wire::{request::whole_number, word::Word},
};

/// A reservation to give back.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
pub(super) struct UnreserveItem {
    /// The holder.
    #[oai(validator(min_length = 1))]
    pub(super) requester: Option<String>,
    /// The resource, a slot, or the pool of a slot.
    #[oai(validator(min_length = 1))]
    pub(super) resource: Option<String>,
    /// The token that reserve answered with.
    pub(super) release_token: Option<String>,
}

impl UnreserveItem {
    pub(super) fn parse(errors: &mut FieldErrors, at: usize, raw: Self) -> Option<ReleaseRequest> {
        let (requester, resource) = requester_and_resource(errors, at, raw.requester, raw.resource)?;
        Some(ReleaseRequest { requester, resource, token: raw.release_token })
    }
}

/// Outcome of one item of unreserve.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct UnreserveResult {
    resource: String,
    requester: String,
    status: Word<ReleaseStatus>,
    /// The status word for a plain success, else a sentence that a person can act on.
    explanation: String,
    /// Every physical resource that was freed: the resource or slot, and blockers that nothing else uses.
    released: Vec<String>,
}

impl UnreserveResult {
    /// The result of an item that was decided.
    pub(super) fn of(resource: String, requester: String, outcome: ReleaseOutcome) -> Self {
        let status = outcome.status();
        let (explanation, released) = match outcome {
            ReleaseOutcome::Relinquished(released) => (status.name().into(), released),
            ReleaseOutcome::NotReserved => (status.name().into(), Vec::new()),
            ReleaseOutcome::NotOwner(holder) => (holder.explain_to(&requester, &resource), Vec::new()),
        };
        Self { resource, requester, status: Word(status), explanation, released }
    }

    /// The result of an item that a transaction did not carry out.
    pub(super) fn not_carried_out(claim: &ReleaseRequest, status: ReleaseStatus) -> Self {
        Self {
            resource: claim.resource.clone(),
            requester: claim.requester.clone(),
            status: Word(status),
            explanation: status.name().into(),
            released: Vec::new(),
        }
    }
}

/// A reservation whose deadline is to be moved.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
pub(super) struct RenewItem {
    /// The holder.
    #[oai(validator(min_length = 1))]
    requester: Option<String>,
    /// The resource, a slot, or the pool of a slot.
    #[oai(validator(min_length = 1))]
    resource: Option<String>,
    /// The token that reserve answered with.
    release_token: Option<String>,
    /// New time to live in seconds, from now on, 1 to 2,147,483,647.
    #[serde(default, deserialize_with = "whole_number")]
    ttl_seconds: Option<i64>,
}

impl RenewItem {
    pub(super) fn parse(errors: &mut FieldErrors, at: usize, raw: Self) -> Option<RenewRequest> {
        let names = requester_and_resource(errors, at, raw.requester, raw.resource);
        let ttl_ms = errors.check(
            || format!("[{at}].ttlSeconds"),
            raw.ttl_seconds.ok_or_else(|| "is required".into()).and_then(ttl_ms),
        );
        let ((requester, resource), ttl_ms) = (names?, ttl_ms?);
        Some(RenewRequest { claim: ReleaseRequest { requester, resource, token: raw.release_token }, ttl_ms })
    }
}

/// Outcome of one item of renew.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct RenewResult {
    resource: String,
    requester: String,
    status: Word<RenewStatus>,
    /// The status word for a plain success, else a sentence that a person can act on.
    explanation: String,
    /// The new deadline.
    #[serde(with = "wire_option")]
    expires_at: Option<DateTime<Utc>>,
    /// The grant's own; a renewal does not change it.
    fencing_token: Option<i64>,
    /// How many tickets want it; null where it is not held.
    waiting: Option<i64>,
}

impl RenewResult {
    pub(super) fn of(resource: String, requester: String, outcome: RenewOutcome) -> Self {
        let status = outcome.status();
        let explanation = match &outcome {
            RenewOutcome::Renewed { .. } | RenewOutcome::NotReserved => status.name().into(),
            RenewOutcome::NotOwner(holder) => holder.explain_to(&requester, &resource),
        };
        let (expires_at, fencing_token, waiting) = match outcome {
            RenewOutcome::Renewed { fence, deadline_ms, waiting } => {
                (Some(instant(deadline_ms)), Some(fence), Some(waiting))
            }
            RenewOutcome::NotReserved | RenewOutcome::NotOwner(_) => (None, None, None),
        };
        Self { resource, requester, status: Word(status), explanation, expires_at, fencing_token, waiting }
    }
}

/// A resource whose reservation is to be ended.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
pub(super) struct ForceReleaseRequest {
    /// The resource; of a pool, every slot.
    #[oai(validator(min_length = 1))]
    pub(super) resource: Option<String>,
    /// Shown to subscribers.
    pub(super) reason: Option<String>,
}

/// Resources that a force release freed.
#[derive(Debug, Serialize, Object)]
pub(super) struct ForceReleaseResult {
    /// Every physical resource that was freed; empty when nobody held it.
    pub(super) released: Vec<String>,
}

/// What a reset ended: every slot and every blocker counts.
#[derive(Debug, Serialize, Object)]
pub(super) struct ResetResult {
    /// Number of names, slots and blockers that were held.
    pub(super) released: i64,
}
