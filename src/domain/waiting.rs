//! Waiting: what cannot be had now is waited for with a ticket.

use uuid::Uuid;

use crate::domain::{
    closed_set::closed_set,
    reservation::{Conflict, ReserveOutcome, ReserveRequest},
    transaction::{Method, TransactionStatus},
};

/// Longest wait, in seconds: one day.
pub const MAX_WAIT_S: i64 = 86_400;
/// Greatest priority; the least is its negative.
pub const MAX_PRIORITY: i64 = 1_000;
/// Bounds of how long a ticket lives that nobody asks for, in seconds.
pub const KEEP_ALIVE_S: std::ops::RangeInclusive<i64> = 5..=3_600;
/// How long it lives where the request does not say, in seconds.
pub const DEFAULT_KEEP_ALIVE_S: i64 = 30;
/// Longest time for which an answer is held back, in seconds.
pub const MAX_HOLD_S: u64 = 60;

/// How long what cannot be had now is waited for.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The ticket that stands for the wait, unless there is one already.
    pub ticket: TicketId,
    /// How long, in milliseconds.
    pub wait_ms: i64,
    /// Greater is served first.
    pub priority: i64,
    /// How long the ticket lives while nobody asks for it, in milliseconds.
    pub keep_alive_ms: i64,
    /// Of a transaction: whether others may pass until everything it wants is free at once.
    pub overtake: bool,
}

/// The id of a ticket: random, as 32 hexadecimal digits in Redis and as a UUID on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketId(Uuid);

impl TicketId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// One that a client gives back, or that Redis has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// As Redis has it.
    #[must_use]
    pub fn digits(self) -> String {
        self.0.simple().to_string()
    }
}

impl std::fmt::Display for TicketId {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(to)
    }
}

closed_set! {
    /// What became of a ticket.
    pub enum TicketStatus as "TicketStatus" {
        /// It stands in line.
        Waiting = "WAITING",
        /// It was served.
        Acquired = "ACQUIRED",
        /// Its wait was over before its turn came.
        TimedOut = "TIMED_OUT",
        /// It was cancelled.
        Cancelled = "CANCELLED",
        /// Nobody asked for it for as long as it lives.
        Lapsed = "LAPSED",
    }
}

/// A place in line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The ticket.
    pub ticket: TicketId,
    /// 1 is next.
    pub place: i64,
    /// When the wait ends, in milliseconds since the Unix epoch.
    pub ends_ms: i64,
    /// When it is served if every holder keeps it to its deadline and everybody ahead for the whole time to live; `None` where one of them has none.
    pub expected_ms: Option<i64>,
    /// The requester of the first in line; `None` where that is this one.
    pub next_requester: Option<String>,
    /// What is in the way.
    pub conflict: Conflict,
}

/// A ticket as a client reads it.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Its id.
    pub id: TicketId,
    /// What became of it.
    pub status: TicketStatus,
    /// Since when it waits, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When its wait ends.
    pub ends_ms: i64,
    /// Greater is served first.
    pub priority: i64,
    /// When it was served or ended.
    pub done_ms: Option<i64>,
    /// Its place while it waits.
    pub place: Option<i64>,
    /// When it is expected to be served.
    pub expected_ms: Option<i64>,
    /// What it waits for.
    pub wish: Wish,
}

/// What a ticket waits for, and what it got.
#[derive(Debug, Clone)]
pub enum Wish {
    /// One item of reserve.
    Item {
        /// The item.
        request: Box<ReserveRequest>,
        /// What it got; `None` while it waits, or where it ended in vain.
        outcome: Option<ReserveOutcome>,
    },
    /// A transaction.
    Transaction {
        /// How it treats conflicts.
        method: Method,
        /// Its items.
        requests: Vec<ReserveRequest>,
        /// What it got, item by item.
        outcomes: Option<(TransactionStatus, Vec<crate::domain::transaction::ItemOutcome<ReserveOutcome>>)>,
    },
}

impl Wish {
    /// The items.
    #[must_use]
    pub fn requests(&self) -> &[ReserveRequest] {
        match self {
            Self::Item { request, .. } => std::slice::from_ref(request),
            Self::Transaction { requests, .. } => requests,
        }
    }
}
