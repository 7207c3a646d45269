//! Events of reservations, as subscribers read them.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::{
    closed_set::closed_set,
    tier::LimitType,
    time::{wire, wire_option},
    transaction::Method,
};

closed_set! {
    /// Type of a reservation's event. The types that end in `FAILED`, `TRANSACTION_ROLLED_BACK` and `TIER_LIMIT_REACHED` are refusals:
    /// live only, without an id.
    pub enum EventType as "EventType" {
        /// A resource was taken.
        Reserved = "RESERVED",
        /// A resource became free.
        Unreserved = "UNRESERVED",
        /// A deadline was moved.
        Renewed = "RENEWED",
        /// A reservation ended at its deadline.
        ReservationExpired = "RESERVATION_EXPIRED",
        /// A reserve was refused.
        ReserveFailed = "RESERVE_FAILED",
        /// A release was refused.
        UnreserveFailed = "UNRESERVE_FAILED",
        /// A transaction was carried out; `changes` lists its items.
        TransactionApplied = "TRANSACTION_APPLIED",
        /// A transaction was refused; `changes` lists its items.
        TransactionRolledBack = "TRANSACTION_ROLLED_BACK",
        /// Every reservation of the tenant was ended at once.
        Reset = "RESET",
        /// A call was refused because it would pass a limit of the tier.
        TierLimitReached = "TIER_LIMIT_REACHED",
        /// Somebody waits for a resource or a transaction.
        Waiting = "WAITING",
        /// A wait ended in vain.
        WaitEnded = "WAIT_ENDED",
    }
}

closed_set! {
    /// Why an event happened.
    pub enum Explanation as "Explanation" {
        /// Taken by a reserve.
        Acquired = "ACQUIRED",
        /// Prolonged by a renew.
        Renewed = "RENEWED",
        /// Given back by its holder.
        Relinquished = "RELINQUISHED",
        /// Its time had passed.
        Expired = "EXPIRED",
        /// Ended by an administrator of the tenant.
        ForceReleased = "FORCE_RELEASED",
        /// Of an item of a transaction: the requester holds it already.
        AlreadyHad = "ALREADY_HAD",
        /// Someone else holds it, or something that goes with it.
        AlreadyHeld = "ALREADY_HELD",
        /// No slot of the pool is free.
        NotAvailable = "NOT_AVAILABLE",
        /// The name needs registration and has none.
        NotValid = "NOT_VALID",
        /// Of an item of a transaction: nobody holds it.
        NotReserved = "NOT_RESERVED",
        /// Someone else holds what was to be given back.
        DoesntOwnReservation = "DOESNT_OWN_RESERVATION",
        /// The release token is wrong or missing.
        InvalidReleaseToken = "INVALID_RELEASE_TOKEN",
        /// Of an item of a transaction `FIRST`: not tried.
        Skipped = "SKIPPED",
        /// Not carried out, because the transaction was refused.
        RolledBack = "ROLLED_BACK",
        /// Given to somebody who waited, and not seen in time.
        Unclaimed = "UNCLAIMED",
        /// Of a wait: it was over.
        TimedOut = "TIMED_OUT",
        /// Of a wait: it was cancelled.
        Cancelled = "CANCELLED",
        /// Of a wait: nobody asked for it any more.
        Lapsed = "LAPSED",
    }
}

closed_set! {
    /// Which call an event comes from.
    pub enum RequestType as "RequestType" {
        /// A reserve.
        Reserve = "RESERVE",
        /// An unreserve.
        Unreserve = "UNRESERVE",
        /// A renew.
        Renew = "RENEW",
    }
}

/// A change of a reservation, or the refusal of one. Every key is always present in its JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationEvent {
    /// The position as a string; absent (null) in a refusal, which is live only.
    pub id: Option<String>,
    /// Type of the event.
    pub r#type: EventType,
    /// The tenant's id.
    pub tenant_id: String,
    /// Physical name: of a pool, the slot's.
    pub resource: Option<String>,
    /// The requester that holds the resource, held it, or asked for it.
    pub requester: Option<String>,
    /// Why it happened, as one word.
    pub explanation: Option<Explanation>,
    /// Why it happened, as a sentence, where the word is not enough.
    pub reason: Option<String>,
    /// The tag with which the resource was reserved.
    pub resource_type: Option<String>,
    /// Label of the key, or the end user, that made the call.
    pub api_key_label: Option<String>,
    /// Which call it comes from; `None` where no call asked for it: expiry, reset, force release.
    pub request_type: Option<RequestType>,
    /// When it happened, on Redis' clock.
    #[serde(with = "wire")]
    pub timestamp: DateTime<Utc>,
    /// Of a transaction: how it treats conflicts.
    pub method: Option<Method>,
    /// Of a transaction: every item.
    pub changes: Option<Vec<Change>>,
    /// Of `TIER_LIMIT_REACHED`: which limit.
    pub limit_type: Option<LimitType>,
    /// Of `TIER_LIMIT_REACHED`: the most that the tier allows.
    pub limit: Option<i64>,
    /// Fencing token of the reservation.
    pub fencing_token: Option<i64>,
    /// Deadline of the reservation.
    #[serde(with = "wire_option")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Pool of which the resource is a slot.
    pub pool: Option<String>,
    /// Of a pool: every slot of the reservation.
    pub slots: Option<Vec<String>>,
    /// Blockers taken along with the resource.
    pub blockers: Option<Vec<String>>,
    /// The holder's note.
    pub note: Option<String>,
    /// Of a wait, and of what was granted to it: the ticket.
    pub ticket: Option<String>,
    /// How long it was waited for, in milliseconds.
    pub waited_ms: Option<i64>,
    /// Of `WAITING`: the place in line; 1 is next.
    pub place: Option<i64>,
    /// Of `WAITING`: when the wait ends.
    #[serde(with = "wire_option")]
    pub wait_expires_at: Option<DateTime<Utc>>,
}

impl ReservationEvent {
    /// An event with a type, a tenant and a time; everything else is absent.
    #[must_use]
    pub fn bare(r#type: EventType, tenant_id: &str, timestamp: DateTime<Utc>) -> Self {
        Self {
            id: None,
            r#type,
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
            slots: None,
            blockers: None,
            note: None,
            ticket: None,
            waited_ms: None,
            place: None,
            wait_expires_at: None,
        }
    }
}

/// One item of a transaction's event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Physical name: of a pool, the slot's.
    pub resource: String,
    /// The requester that asked for it, or gave it back.
    pub requester: String,
    /// Which type of transaction.
    pub request_type: RequestType,
    /// Outcome of the item.
    pub explanation: Explanation,
    /// Fencing token of what was taken or given back.
    pub fencing_token: Option<i64>,
    /// Deadline of what was taken.
    #[serde(with = "wire_option")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Pool of which the resource is a slot.
    pub pool: Option<String>,
}
