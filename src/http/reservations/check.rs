//! Questions about reservations: check and verifyFence, requests and results.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        reservation::{Checked, MAX_BATCH},
        time::{instant, wire_option},
    },
    http::wire::request::{List, whole_number},
};

/// Resources to check.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckRequest {
    /// 1 to 1,000 names.
    pub(super) resources: Option<List<String, MAX_BATCH>>,
}

/// State of one resource.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct CheckResult {
    resource: String,
    /// Whether it is held; of a pool: whether every slot is.
    is_reserved: bool,
    /// The holder; null for a pool.
    holder: Option<String>,
    /// When it ends by itself; of a pool: the earliest of its slots.
    #[serde(with = "wire_option")]
    expires_at: Option<DateTime<Utc>>,
    /// Whether a requester that holds nothing could take it now, tree and blockers considered.
    is_available: bool,
    /// Capacity: how many can hold it at once.
    capacity: i64,
    /// The free part of the capacity.
    available: i64,
    /// The holder's note.
    note: Option<String>,
    /// How many tickets want it.
    waiting: i64,
}

impl CheckResult {
    pub(super) fn of(resource: String, checked: Checked) -> Self {
        Self {
            resource,
            is_reserved: checked.available == 0,
            holder: checked.holder,
            expires_at: checked.deadline_ms.map(instant),
            is_available: checked.takeable,
            capacity: checked.capacity,
            available: checked.available,
            note: checked.note,
            waiting: checked.waiting,
        }
    }
}

/// A fencing token to verify.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
pub(super) struct FenceRequest {
    #[oai(validator(min_length = 1))]
    pub(super) resource: Option<String>,
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) fencing_token: Option<i64>,
}

/// Whether a fencing token is the current one.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct FenceResult {
    pub(super) valid: bool,
    /// The current holder's; null when the resource is free.
    pub(super) current_fencing_token: Option<i64>,
}
