//! The bodies of the reservation calls, as the contract writes them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How an item waits. A server that knows no waiting refuses or ignores it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitFields {
    /// How long it may wait, 1 to 86,400 seconds.
    pub wait_seconds: u64,
    /// Greater comes first, -1,000 to 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The ticket lapses when nobody asks for it for so long, 5 to 3,600 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_seconds: Option<u64>,
}

/// A resource wanted by a requester.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReserveItem {
    /// Who wants it: unique per holder.
    pub requester: String,
    /// What is wanted.
    pub resource: String,
    /// Time to live in seconds; none: no expiry, or the tenant's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// A tag shown in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// Shown wherever the holder is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How many slots of a pool, 1 to 1,000; none: one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    /// Set where the item waits for what cannot be had now.
    #[serde(flatten)]
    pub wait: Option<WaitFields>,
}

/// What became of a wanted resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Taken now.
    Acquired,
    /// This requester holds it already.
    AlreadyHad,
    /// Somebody else holds it, or something that excludes it.
    AlreadyHeld,
    /// A pool without a free slot.
    NotAvailable,
    /// The name needs registration and has none.
    NotValid,
    /// Queued under a ticket.
    Waiting,
    /// Waiting would close a circle of requesters who wait for each other.
    WouldDeadlock,
    /// Free, and not taken, since the transaction was rolled back.
    RolledBack,
    /// Not needed: an earlier item of `FIRST` was taken.
    Skipped,
    /// Given back.
    Relinquished,
    /// The deadline was moved.
    Renewed,
    /// Nobody holds it.
    NotReserved,
    /// Somebody else holds it.
    DoesntOwnReservation,
    /// A status of a later version of the service.
    #[serde(other)]
    Other,
}

impl Status {
    /// Whether the requester holds the resource.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::Acquired | Self::AlreadyHad)
    }

    /// Whether the resource may be free later by itself.
    #[must_use]
    pub fn may_come_free(self) -> bool {
        matches!(self, Self::AlreadyHeld | Self::NotAvailable)
    }
}

/// The answer about one wanted resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReserveResult {
    /// The name that was asked for.
    pub resource: String,
    /// Who asked.
    pub requester: String,
    /// What became of it.
    pub status: Status,
    /// The status word, or a sentence that a person can act on.
    pub explanation: String,
    /// Proves the holder at release and renewal.
    pub release_token: Option<String>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Of a pool: its name and the slot that was taken; of several, the first.
    pub acquired_slots: Option<Map<String, Value>>,
    /// Of a pool: every slot that was taken; none from a service that knows no quantity.
    pub slots: Option<Vec<String>>,
    /// Grows with every grant of the tenant.
    pub fencing_token: Option<i64>,
    /// Who holds it.
    pub holder: Option<String>,
    /// Until when that holder has it.
    pub holder_expires_at: Option<DateTime<Utc>>,
    /// The ticket it waits under.
    pub ticket: Option<String>,
    /// Place in the queue; 1 is next.
    pub place: Option<u64>,
    /// When the wait ends.
    pub wait_expires_at: Option<DateTime<Utc>>,
    /// When it is expected to be served.
    pub expected_by: Option<DateTime<Utc>>,
}

impl ReserveResult {
    /// The slots that were taken of a pool; empty where it is none.
    #[must_use]
    pub fn slots(&self) -> Vec<&str> {
        match (&self.slots, &self.acquired_slots) {
            (Some(slots), _) => slots.iter().map(String::as_str).collect(),
            (None, Some(first)) => first.values().filter_map(Value::as_str).collect(),
            (None, None) => Vec::new(),
        }
    }
}

/// Several resources in one atomic step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// `ALL_OR_NONE`, `AS_MANY_AS_POSSIBLE` or `FIRST`.
    pub method: &'static str,
    /// `RESERVE`.
    pub request_type: &'static str,
    /// The items, without waiting of their own.
    pub requests: Vec<ReserveItem>,
    /// Set where the transaction waits.
    #[serde(flatten)]
    pub wait: Option<WaitFields>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionResult {
    /// `APPLIED`, `ROLLED_BACK`, `WAITING` or `WOULD_DEADLOCK`.
    pub status: String,
    /// The status word, or a sentence that a person can act on.
    #[serde(default)]
    pub explanation: String,
    /// One per item; may be empty while it waits.
    #[serde(default)]
    pub results: Vec<ReserveResult>,
    /// The ticket it waits under.
    pub ticket: Option<String>,
    /// Place in the queue; 1 is next.
    pub place: Option<u64>,
    /// When the wait ends.
    pub wait_expires_at: Option<DateTime<Utc>>,
    /// When it is expected to be served.
    pub expected_by: Option<DateTime<Utc>>,
}

/// A reservation that its holder gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseItem {
    /// Who holds it.
    pub requester: String,
    /// What is given back.
    pub resource: String,
    /// The token of the grant.
    pub release_token: Option<String>,
}

/// What became of one release.
#[derive(Debug, Clone, Deserialize)]
pub struct ReleaseResult {
    /// The name.
    pub resource: String,
    /// What became of it.
    pub status: Status,
    /// The status word, or a sentence.
    pub explanation: String,
}

/// A reservation that its holder prolongs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewItem {
    /// What is prolonged.
    #[serde(flatten)]
    pub held: ReleaseItem,
    /// New time to live from now on, in seconds.
    pub ttl_seconds: u64,
}

/// What became of one renewal.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewResult {
    /// The name.
    pub resource: String,
    /// What became of it.
    pub status: Status,
    /// The status word, or a sentence.
    pub explanation: String,
    /// The new end.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Who holds a resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// The name.
    pub resource: String,
    /// Held; of a pool: every slot is.
    pub is_reserved: bool,
    /// Who holds it; none for a pool.
    pub holder: Option<String>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether a stranger could take it now.
    pub is_available: bool,
    /// How many can have it at once.
    pub capacity: i64,
    /// How many of these are free.
    pub available: i64,
    /// The holder's note.
    pub note: Option<String>,
    /// How many tickets want it; none where the service knows no waiting.
    pub waiting: Option<i64>,
}

/// An active reservation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveReservation {
    /// The physical name.
    pub resource: String,
    /// Who holds it.
    pub requester: String,
    /// Since when.
    pub reserved_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: Option<DateTime<Utc>>,
    /// The pool that it is a slot of.
    pub pool: Option<String>,
    /// The holder's note.
    pub note: Option<String>,
    /// Of the grant.
    pub fencing_token: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_does_not_wait_carries_no_waiting_fields() {
        let item = |wait| ReserveItem {
            requester: "w".into(),
            resource: "r".into(),
            ttl_seconds: Some(5),
            resource_type: None,
            note: None,
            quantity: None,
            wait,
        };
        let text = |wait| serde_json::to_string(&item(wait)).unwrap();
        assert_eq!(text(None), r#"{"requester":"w","resource":"r","ttlSeconds":5}"#);
        let wait = WaitFields { wait_seconds: 9, priority: Some(-1), keep_alive_seconds: None };
        assert_eq!(
            text(Some(wait)),
            r#"{"requester":"w","resource":"r","ttlSeconds":5,"waitSeconds":9,"priority":-1}"#
        );
    }

    #[test]
    fn a_status_of_a_later_version_is_no_fault() {
        assert_eq!(serde_json::from_str::<Status>("\"DOESNT_OWN_RESERVATION\"").unwrap(), Status::DoesntOwnReservation);
        assert_eq!(serde_json::from_str::<Status>("\"QUARANTINED\"").unwrap(), Status::Other);
    }
}
