//! Outcomes of reserve, unreserve and renew, item by item.

use uuid::Uuid;

use crate::domain::{
    closed_set::closed_set,
    reservation::conflict::{Conflict, Holder},
    waiting::Place,
};

closed_set! {
    /// Outcome of one item of reserve.
    pub enum ReserveStatus as "ReserveStatus" {
        /// Taken now.
        Acquired = "ACQUIRED",
        /// This requester holds it already: nothing changed, the deadline neither.
        AlreadyHad = "ALREADY_HAD",
        /// Held by someone else: the resource itself, a blocker of it, or an ancestor or descendant in the tree.
        AlreadyHeld = "ALREADY_HELD",
        /// A pool without a free slot.
        NotAvailable = "NOT_AVAILABLE",
        /// The name needs registration and has none.
        NotValid = "NOT_VALID",
        /// It is waited for.
        Waiting = "WAITING",
        /// Waiting for it would close a circle of requesters who wait for each other; nothing waits.
        WouldDeadlock = "WOULD_DEADLOCK",
        /// In a transaction `FIRST`: not tried, because another item was taken.
        Skipped = "SKIPPED",
        /// In a transaction that was rolled back: free, and not taken.
        RolledBack = "ROLLED_BACK",
    }
}

closed_set! {
    /// Outcome of one item of unreserve.
    pub enum ReleaseStatus as "ReleaseStatus" {
        /// Freed.
        Relinquished = "RELINQUISHED",
        /// Nobody holds it, which counts as success.
        NotReserved = "NOT_RESERVED",
        /// Someone else holds it; nothing was freed.
        DoesntOwnReservation = "DOESNT_OWN_RESERVATION",
        /// In a transaction `FIRST`: not tried, because another item was freed.
        Skipped = "SKIPPED",
        /// In a transaction that was rolled back: not freed.
        RolledBack = "ROLLED_BACK",
    }
}

closed_set! {
    /// Outcome of one item of renew.
    pub enum RenewStatus as "RenewStatus" {
        /// The deadline was moved.
        Renewed = "RENEWED",
        /// Nobody holds it: the reservation is lost, so stop working on it.
        NotReserved = "NOT_RESERVED",
        /// Someone else holds it.
        DoesntOwnReservation = "DOESNT_OWN_RESERVATION",
    }
}

closed_set! {
    /// Outcome of one item of a call that was refused for a wrong release token.
    pub enum TokenStatus as "TokenStatus" {
        /// This item's release token is wrong or missing.
        InvalidReleaseToken = "INVALID_RELEASE_TOKEN",
        /// Nothing is wrong with this item; it was not carried out.
        Unchanged = "UNCHANGED",
    }
}

/// A granted reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Proves the holder to unreserve and renew.
    pub token: Uuid,
    /// Fencing token: grows with every grant of the tenant.
    pub fence: i64,
    /// End of the reservation, in milliseconds since the Unix epoch; `None`: until it is released.
    pub deadline_ms: Option<i64>,
    /// Of a slot: its pool.
    pub pool: Option<String>,
    /// Of a pool: the names of the slots, the lowest first; one, unless several were asked for.
    pub slots: Option<Vec<String>>,
    /// Blockers taken along.
    pub blockers: Option<Vec<String>>,
    /// Path in the tree, the resource's own name included.
    pub path: Option<String>,
}

/// Outcome of reserving one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReserveOutcome {
    /// Taken now.
    Acquired(Grant),
    /// This requester holds it already; nothing changed.
    AlreadyHad(Grant),
    /// Not taken.
    Refused(Conflict),
    /// Not taken yet.
    Waiting(Place),
    /// Not taken: these requesters would wait for each other in a circle.
    WouldDeadlock(Vec<String>),
}

impl ReserveOutcome {
    /// The status as clients read it.
    #[must_use]
    pub fn status(&self) -> ReserveStatus {
        match self {
            Self::Acquired(_) => ReserveStatus::Acquired,
            Self::AlreadyHad(_) => ReserveStatus::AlreadyHad,
            Self::Refused(conflict) => conflict.status(),
            Self::Waiting(_) => ReserveStatus::Waiting,
            Self::WouldDeadlock(_) => ReserveStatus::WouldDeadlock,
        }
    }

    /// The grant; `None` of a refusal.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Acquired(grant) | Self::AlreadyHad(grant) => Some(grant),
            Self::Refused(_) | Self::Waiting(_) | Self::WouldDeadlock(_) => None,
        }
    }

    /// Why it was refused; `None` of a grant.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Refused(conflict) => Some(conflict),
            Self::Waiting(place) => Some(&place.conflict),
            Self::Acquired(_) | Self::AlreadyHad(_) | Self::WouldDeadlock(_) => None,
        }
    }
}

/// Outcome of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// Freed: every physical resource, that is the slot or the resource, and blockers that nothing else uses.
    Relinquished(Vec<String>),
    /// Nobody holds it.
    NotReserved,
    /// Someone else holds it.
    NotOwner(Holder),
}

impl ReleaseOutcome {
    /// The status as clients read it.
    #[must_use]
    pub fn status(&self) -> ReleaseStatus {
        match self {
            Self::Relinquished(_) => ReleaseStatus::Relinquished,
            Self::NotReserved => ReleaseStatus::NotReserved,
            Self::NotOwner(_) => ReleaseStatus::DoesntOwnReservation,
        }
    }
}

/// Outcome of one renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenewOutcome {
    /// The deadline was moved.
    Renewed {
        /// Fencing token of the grant: a renewal does not change it.
        fence: i64,
        /// New deadline, in milliseconds since the Unix epoch.
        deadline_ms: i64,
        /// How many tickets want it.
        waiting: i64,
    },
    /// Nobody holds it.
    NotReserved,
    /// Someone else holds it.
    NotOwner(Holder),
}

impl RenewOutcome {
    /// The status as clients read it.
    #[must_use]
    pub fn status(&self) -> RenewStatus {
        match self {
            Self::Renewed { .. } => RenewStatus::Renewed,
            Self::NotReserved => RenewStatus::NotReserved,
            Self::NotOwner(_) => RenewStatus::DoesntOwnReservation,
        }
    }
}
