//! Reserving with patience: in the server's queue.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::client::{
    answer::{Acquired, Answer, Mode},
    backoff::Backoff,
    clock::BootInstant,
    error::ClientError,
    reservations::Client,
    shapes::{ReserveItem, Status, Transaction, WaitFields},
    tickets::{Ticket, TicketStatus, release_items},
};

/// How long a ticket lives that nobody asks for, in seconds: a client that was killed stands in others' way for so long. A held call keeps
/// its ticket alive; longer than the pauses between calls that fail, and two of the replica's intervals.
const KEEP_ALIVE_S: u64 = 15;
/// How long the server is asked to hold an answer back: long enough to cost little, short enough that the line shown is of now.
const HOLD: Duration = Duration::from_secs(20);
/// The longest wait that one question may ask for; who waits longer asks again and keeps the place.
const MOST_WAIT: Duration = Duration::from_secs(86_400);
/// Time that a call under way has to be answered once the wait is cancelled, so that what it got can be given back.
const CANCEL_GRACE: Duration = Duration::from_secs(3);
/// Bounds of the pause between calls that fail. What its ticket gets meanwhile stands idle until it asks again.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// How long to wait, and how urgently.
#[derive(Debug, Clone, Copy)]
pub struct WaitPolicy {
    /// When waiting ends; none: never.
    pub until: Option<BootInstant>,
    /// Greater comes first, -1,000 to 1,000.
    pub priority: Option<i32>,
}

/// What happens while waiting.
#[derive(Debug)]
pub enum Progress<'p> {
    /// Queued on the server: who holds what, and the place.
    Waiting {
        /// What is waited for.
        names: Vec<&'p str>,
        /// Who holds the first of it, and until when.
        holder: Option<(&'p str, Option<DateTime<Utc>>)>,
        /// The server's sentence.
        explanation: &'p str,
        /// 1 is next.
        place: Option<u64>,
        /// When it is expected to be served.
        expected_by: Option<DateTime<Utc>>,
    },
    /// A call failed for now; waiting goes on.
    Interrupted(&'p ClientError),
}

/// How waiting ended.
#[derive(Debug)]
pub enum Acquisition {
    /// With an answer.
    Answered(Acquired),
    /// By its owner; what was taken meanwhile is given back, as far as the server could be reached.
    Cancelled,
}

/// Reserves `items`; where `wait` is set, waits for what others hold.
///
/// While it waits, a server that is away is asked again until the wait ends.
///
/// # Errors
/// [`ClientError`] of the first call, or one that asking again cannot mend.
///
/// # Cancellation
/// Cancel the token instead of dropping the future: what a call under way got is given back then.
pub async fn acquire(
    client: &Client,
    items: &[ReserveItem],
    mode: Mode,
    wait: Option<WaitPolicy>,
    cancel: &CancellationToken,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Acquisition, ClientError> {
    let mut attempt = Attempt { client, items, mode, cancel, progress, uncertain: false, tickets: Vec::new() };
    let Some(policy) = wait else {
        return attempt.once().await;
    };
    attempt.queue(policy).await
}

/// What a ticket shows.
enum Shown {
    Served(Acquired),
    /// The wait is over, by its end or because somebody cancelled it.
    Ended,
    /// It waits, or it lapsed or is unknown: asking anew keeps the place of a ticket that lives, and makes one where none does.
    Waits,
}

/// What is known while acquiring.
struct Attempt<'a> {
    client: &'a Client,
    items: &'a [ReserveItem],
    mode: Mode,
    cancel: &'a CancellationToken,
    progress: &'a mut dyn FnMut(Progress<'_>),
    /// Whether an earlier call may have taken something, so that `ALREADY_HAD` may be its work.
    uncertain: bool,
    /// What waits on the server.
    tickets: Vec<String>,
}

impl Attempt<'_> {
    /// Asks once, without waiting.
    async fn once(&mut self) -> Result<Acquisition, ClientError> {
        match self.ask(None, Duration::ZERO).await {
            Some(answer) => Ok(Acquisition::Answered(answer?.acquired)),
            None => Ok(Acquisition::Cancelled),
        }
    }

    /// Waits in the server's queue.
    async fn queue(&mut self, policy: WaitPolicy) -> Result<Acquisition, ClientError> {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        let mut hold = Duration::ZERO;
        let mut asked = false;
        loop {
            let left = policy.until.map_or(MOST_WAIT, BootInstant::remaining).min(MOST_WAIT);
            let wait = WaitFields {
                wait_seconds: left.as_secs().max(1),
                priority: policy.priority,
                keep_alive_seconds: Some(KEEP_ALIVE_S),
            };
            let Some(outcome) = self.ask(Some(wait), hold.min(left)).await else {
                return Ok(Acquisition::Cancelled);
            };
            let answer = match outcome {
                Ok(answer) => answer,
                Err(error) if asked && error.is_temporary() && !left.is_zero() => {
                    (self.progress)(Progress::Interrupted(&error));
                    if self.pause(backoff.pause().min(left)).await.is_err() {
                        return Ok(self.give_up(None).await);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            asked = true;
            backoff.reset();
            self.tickets.clone_from(&answer.tickets);
            if answer.tickets.is_empty() {
                return Ok(Acquisition::Answered(answer.acquired));
            }
            self.uncertain = true;
            self.report(&answer);
            let left = policy.until.map_or(MOST_WAIT, BootInstant::remaining);
            if left.is_zero() {
                // Given up, so that it does not stand in others' way until it lapses.
                self.abandon_tickets().await;
                return self.once().await;
            }
            if left < Duration::from_secs(1) {
                // Answers are held back for whole seconds.
                if self.pause(left).await.is_err() {
                    return Ok(self.give_up(None).await);
                }
                hold = Duration::ZERO;
                continue;
            }
            hold = HOLD;
            if let (Mode::Transaction(_), Some(ticket)) = (self.mode, answer.tickets.first().cloned()) {
                match self.ticket(&ticket, hold.min(left)).await {
                    Some(Ok(Shown::Served(acquired))) => return Ok(Acquisition::Answered(acquired)),
                    Some(Ok(Shown::Ended)) => return self.once().await,
                    Some(Ok(Shown::Waits)) => hold = Duration::ZERO,
                    Some(Err(error)) if error.is_temporary() => {
                        (self.progress)(Progress::Interrupted(&error));
                        if self.pause(backoff.pause()).await.is_err() {
                            return Ok(self.give_up(None).await);
                        }
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Ok(Acquisition::Cancelled),
                }
            }
        }
    }

    /// Asks for the ticket of a transaction, which shows its result exactly; `None` where the wait was cancelled meanwhile.
    async fn ticket(&mut self, ticket: &str, hold: Duration) -> Option<Result<Shown, ClientError>> {
        let client = self.client;
        let reply = self.or_cancelled(client.ticket(ticket, hold), Duration::ZERO).await;
        let reply = match reply {
            Some(Ok(reply)) => reply,
            Some(Err(ClientError::Refused(refusal))) if refusal.status == StatusCode::NOT_FOUND => {
                return Some(Ok(Shown::Waits));
            }
            Some(Err(error)) => return Some(Err(error)),
            None => {
                self.give_up(None).await;
                return None;
            }
        };
        let read = || -> Result<Shown, ClientError> {
            let shown: Ticket = reply.parse()?;
            let body = Value::Array(vec![reply.json()?["transaction"].clone()]);
            match (shown.status, shown.transaction) {
                (TicketStatus::Acquired, Some(transaction)) => Ok(Shown::Served(Acquired {
                    complete: transaction.status == "APPLIED",
                    results: transaction.results,
                    body,
                    sent: reply.sent,
                    fresh: false,
                    had_before: false,
                })),
                (TicketStatus::TimedOut | TicketStatus::Cancelled, _) => Ok(Shown::Ended),
                _ => Ok(Shown::Waits),
            }
        };
        Some(read())
    }

    /// Asks once; `None` where the wait was cancelled meanwhile, after giving back what the answer got.
    async fn ask(&mut self, wait: Option<WaitFields>, hold: Duration) -> Option<Result<Answer, ClientError>> {
        if self.cancel.is_cancelled() {
            self.give_up(None).await;
            return None;
        }
        let grace = if hold.is_zero() { CANCEL_GRACE } else { Duration::ZERO };
        let (client, items, mode) = (self.client, self.items, self.mode);
        let call = async {
            let each = |wait| items.iter().map(|item| ReserveItem { wait, ..item.clone() }).collect::<Vec<_>>();
            match mode {
                Mode::Each => client.reserve(&each(wait), hold).await,
                Mode::Transaction(method) => {
                    let transaction = Transaction { method, request_type: "RESERVE", requests: each(None), wait };
                    client.transact(&transaction, hold).await
                }
            }
        };
        let outcome = self.or_cancelled(call, grace).await;
        let answer = outcome.map(|reply| {
            let reply = reply.inspect_err(|error| {
                self.uncertain |= matches!(error, ClientError::OutcomeUnknown { .. });
            })?;
            Answer::read(&reply, self.mode, self.uncertain)
        });
        if !self.cancel.is_cancelled() {
            return answer;
        }
        self.give_up(answer.and_then(Result::ok)).await;
        None
    }

    fn report(&mut self, answer: &Answer) {
        let is_in_way = |status: Status| !status.is_held() && !matches!(status, Status::RolledBack | Status::Skipped);
        let blocked: Vec<_> = answer.acquired.results.iter().filter(|result| is_in_way(result.status)).collect();
        let names = match blocked.as_slice() {
            [] => self.items.iter().map(|item| item.resource.as_str()).collect(),
            blocked => blocked.iter().map(|result| result.resource.as_str()).collect(),
        };
        let first = blocked.first();
        (self.progress)(Progress::Waiting {
            names,
            holder: first.and_then(|first| Some((first.holder.as_deref()?, first.holder_expires_at))),
            // Of a transaction the sentence is of all of it.
            explanation: first
                .filter(|_| answer.explanation.is_empty())
                .map_or(&answer.explanation, |first| &first.explanation),
            place: answer.place,
            expected_by: answer.expected_by,
        });
    }

    /// A call's outcome; once cancelled it has `grace` left, and without an outcome by then it is dropped.
    async fn or_cancelled<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
        grace: Duration,
    ) -> Option<Result<T, ClientError>> {
        tokio::pin!(call);
        tokio::select! {
            outcome = &mut call => Some(outcome),
            () = self.cancel.cancelled() => tokio::time::timeout(grace, call).await.ok(),
        }
    }

    /// Sleeps; an error once cancelled.
    async fn pause(&self, pause: Duration) -> Result<(), ()> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.cancel.cancelled() => Err(()),
        }
    }

    /// Gives back what the last answer got, and the tickets. What cannot be given back now ends by itself.
    async fn give_up(&mut self, last: Option<Answer>) -> Acquisition {
        if let Some(last) = last {
            self.tickets = last.tickets;
            let held = release_items(last.acquired.results.iter());
            if !held.is_empty() && !last.acquired.had_before {
                let _ = self.client.release(&held, Some(CANCEL_GRACE)).await;
            }
        }
        self.abandon_tickets().await;
        Acquisition::Cancelled
    }

    async fn abandon_tickets(&mut self) {
        for ticket in self.tickets.drain(..) {
            let _ = self.client.abandon(&ticket).await;
        }
    }
}

#[cfg(test)]
mod tests;
