//! What the service answers about what was wanted, in one form for both ways of asking.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::client::{
    call::Reply,
    clock::BootInstant,
    error::ClientError,
    shapes::{ReserveResult, Status, TransactionResult},
};

/// Whether resources are taken each on its own or in one atomic step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each on its own.
    Each,
    /// One transaction of this method: `ALL_OR_NONE`, `AS_MANY_AS_POSSIBLE` or `FIRST`.
    Transaction(&'static str),
}

/// The last answer about what was wanted.
#[derive(Debug)]
pub struct Acquired {
    /// One per item, in order.
    pub results: Vec<ReserveResult>,
    /// The body of the answer as the server wrote it.
    pub body: Value,
    /// Whether all that was wanted is held: each item, or the transaction as it is applied.
    pub complete: bool,
    /// When the call was sent that this answers.
    pub sent: BootInstant,
    /// Whether what is held was taken by this very call, so that its time to live began after [`Acquired::sent`].
    pub fresh: bool,
    /// Whether something was held by the same requester before the first call.
    pub had_before: bool,
    /// How the wait ended that was in vain; none where nothing waited.
    pub wait_end: Option<WaitEnd>,
}

/// How a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitEnd {
    /// Its time was over.
    TimedOut,
    /// Somebody cancelled its ticket, or a reset did.
    Cancelled,
}

/// One answer, in one form for both modes.
pub(super) struct Answer {
    pub(super) acquired: Acquired,
    /// Tickets of what waits.
    pub(super) tickets: Vec<String>,
    pub(super) place: Option<u64>,
    pub(super) expected_by: Option<DateTime<Utc>>,
    /// Of a transaction: the server's sentence.
    pub(super) explanation: String,
}

impl Answer {
    /// Reads an answer. `uncertain`: whether an earlier call may have taken what this one shows as held.
    ///
    /// # Errors
    /// [`ClientError::UnexpectedAnswer`].
    pub(super) fn read(reply: &Reply, mode: Mode, uncertain: bool) -> Result<Self, ClientError> {
        let body = reply.json()?;
        let (results, complete, tickets, place, expected_by, explanation) = match mode {
            Mode::Each => {
                let results: Vec<ReserveResult> = reply.parse()?;
                let complete = results.iter().all(|result| result.status.is_held());
                let waiting = || results.iter().filter(|result| result.status == Status::Waiting);
                let tickets: Vec<_> = waiting().filter_map(|result| result.ticket.clone()).collect();
                let first = waiting().next();
                let (place, expected_by) =
                    (first.and_then(|result| result.place), first.and_then(|result| result.expected_by));
                (results, complete, tickets, place, expected_by, String::new())
            }
            Mode::Transaction(_) => {
                let one: Vec<TransactionResult> = reply.parse()?;
                let Some(one) = one.into_iter().next() else {
                    return Err(reply.unexpected("a transaction has no result"));
                };
                let tickets: Vec<_> = one.ticket.filter(|_| one.status == "WAITING").into_iter().collect();
                (one.results, one.status == "APPLIED", tickets, one.place, one.expected_by, one.explanation)
            }
        };
        let held = || results.iter().filter(|result| result.status.is_held());
        let had = held().any(|result| result.status == Status::AlreadyHad);
        // A transaction that waits shows what its requester had, and has taken nothing.
        let takes_nothing = matches!(mode, Mode::Transaction(_)) && !tickets.is_empty();

        Ok(Self {
            explanation,
            tickets,
            place,
            expected_by,
            acquired: Acquired {
                complete,
                body,
                sent: reply.sent,
                fresh: !had && !uncertain,
                had_before: takes_nothing || had && !uncertain && !reply.repeated,
                wait_end: None,
                results,
            },
        })
    }
}
