//! Reserving with patience: in the server's queue where it has one, else by polling.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::client::{
    answer::{Acquired, Answer, Mode},
    backoff::{Backoff, jittered},
    clock::BootInstant,
    error::ClientError,
    reservations::Client,
    shapes::{ReserveItem, ReserveResult, Transaction, WaitFields},
    tickets::{Ticket, TicketStatus, release_items},
    waker::Waker,
};

/// How long the server is asked to hold an answer back: below the keep-alive of a ticket (30 s), so that the next question comes in time.
const HOLD: Duration = Duration::from_secs(20);
/// The longest wait that one question may ask for; who waits longer asks again and keeps the place.
const MOST_WAIT: Duration = Duration::from_secs(86_400);
/// Time that a call under way has to be answered once the wait is cancelled, so that what it got can be given back.
const CANCEL_GRACE: Duration = Duration::from_secs(3);
/// Bounds of the pause between two polls: without a stream of events, and with one that says when to ask.
const FIRST_POLL: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_secs(2);
const POLL_WITH_EVENTS: Duration = Duration::from_secs(10);
/// Spread of those who ask again since the same event woke them.
const WAKE_SPREAD: Duration = Duration::from_millis(20);
/// Shortest pause where a service that knows no patience is asked again.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

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
    /// Queued on the server, or blocked where it has no queue: who holds what, and the place.
    Waiting {
        /// Those that are not held yet, with holder and place.
        blocked: Vec<&'p ReserveResult>,
        /// Place of a waiting transaction; 1 is next.
        place: Option<u64>,
        /// When it is expected to be served.
        expected_by: Option<DateTime<Utc>>,
    },
    /// The server has no queue: from here on it is polled.
    Polling,
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
/// On a server without waiting it polls, woken by the event stream where a stream is to be had, and reports [`Progress::Polling`] once.
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
    match attempt.queue(policy).await? {
        Some(acquisition) => Ok(acquisition),
        None => attempt.poll(policy).await,
    }
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

    /// Waits in the server's queue; none where it has no queue.
    async fn queue(&mut self, policy: WaitPolicy) -> Result<Option<Acquisition>, ClientError> {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        let mut hold = Duration::ZERO;
        let mut asked = false;
        loop {
            let left = policy.until.map_or(MOST_WAIT, BootInstant::left).min(MOST_WAIT);
            let wait =
                WaitFields { wait_seconds: left.as_secs().max(1), priority: policy.priority, keep_alive_seconds: None };
            let Some(outcome) = self.ask(Some(wait), hold.min(left)).await else {
                return Ok(Some(Acquisition::Cancelled));
            };
            let answer = match outcome {
                Ok(answer) => answer,
                Err(error) if knows_no_waiting(&error) => return Ok(None),
                Err(error) if asked && error.is_temporary() && !left.is_zero() => {
                    (self.progress)(Progress::Interrupted(&error));
                    if self.pause(backoff.pause().min(left)).await.is_err() {
                        return Ok(Some(self.give_up(None).await));
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            asked = true;
            backoff.reset();
            self.tickets.clone_from(&answer.tickets);
            if answer.tickets.is_empty() {
                let polls = answer.may_come_free && !answer.knows_waiting;
                return if polls { Ok(None) } else { Ok(Some(Acquisition::Answered(answer.acquired))) };
            }
            self.uncertain = true;
            self.report(&answer);
            let left = policy.until.map_or(MOST_WAIT, BootInstant::left);
            if left.is_zero() {
                // Given up, so that it does not stand in others' way until it lapses.
                self.abandon_tickets().await;
                return Ok(Some(Acquisition::Answered(answer.acquired)));
            }
            if left < Duration::from_secs(1) {
                // Answers are held back for whole seconds.
                if self.pause(left).await.is_err() {
                    return Ok(Some(self.give_up(None).await));
                }
                hold = Duration::ZERO;
                continue;
            }
            hold = HOLD;
            if let (Mode::Transaction(_), Some(ticket)) = (self.mode, answer.tickets.first().cloned()) {
                match self.ticket(&ticket, hold.min(left), answer).await {
                    Some(Ok(Some(answer))) => return Ok(Some(Acquisition::Answered(answer))),
                    // Still waiting, lapsed or unknown: asking anew keeps the place of a ticket that lives, and makes one where none does.
                    Some(Ok(None)) => hold = Duration::ZERO,
                    Some(Err(error)) if error.is_temporary() => {
                        (self.progress)(Progress::Interrupted(&error));
                        if self.pause(backoff.pause()).await.is_err() {
                            return Ok(Some(self.give_up(None).await));
                        }
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Ok(Some(Acquisition::Cancelled)),
                }
            }
        }
    }

    /// Asks for the ticket of a transaction, which shows its result exactly; `None` inside where it still waits or is no more.
    async fn ticket(
        &mut self,
        ticket: &str,
        hold: Duration,
        last: Answer,
    ) -> Option<Result<Option<Acquired>, ClientError>> {
        let client = self.client;
        let reply = self.or_cancelled(client.ticket(ticket, hold), Duration::ZERO).await;
        let reply = match reply {
            Some(Ok(reply)) => reply,
            Some(Err(ClientError::Refused(refusal))) if refusal.status == StatusCode::NOT_FOUND => {
                return Some(Ok(None));
            }
            Some(Err(error)) => return Some(Err(error)),
            None => {
                self.give_up(None).await;
                return None;
            }
        };
        let read = || -> Result<Option<Acquired>, ClientError> {
            let shown: Ticket = reply.parse()?;
            let body = Value::Array(vec![reply.json()?["transaction"].clone()]);
            match (shown.status, shown.transaction) {
                (TicketStatus::Acquired, Some(transaction)) => Ok(Some(Acquired {
                    complete: transaction.status == "APPLIED",
                    results: transaction.results,
                    body,
                    sent: reply.sent,
                    fresh: false,
                    had_before: false,
                })),
                (TicketStatus::TimedOut | TicketStatus::Cancelled, _) => Ok(Some(last.acquired)),
                _ => Ok(None),
            }
        };
        Some(read())
    }

    /// Polls, woken by events where the tenant has a stream to spare.
    async fn poll(&mut self, policy: WaitPolicy) -> Result<Acquisition, ClientError> {
        (self.progress)(Progress::Polling);
        let waker = Waker::start(self.client.clone(), self.items);
        let mut backoff = Backoff::new(FIRST_POLL, POLL);
        let mut asked = false;
        loop {
            let left = policy.until.map_or(MOST_WAIT, BootInstant::left);
            let Some(outcome) = self.ask(None, Duration::ZERO).await else { return Ok(Acquisition::Cancelled) };
            let mut pause = if waker.listens() { jittered(POLL_WITH_EVENTS) } else { backoff.pause() };
            match outcome {
                Ok(answer) if !answer.may_come_free || left.is_zero() => {
                    return Ok(Acquisition::Answered(answer.acquired));
                }
                Ok(answer) => {
                    asked = true;
                    self.report(&answer);
                    let expiry = answer.acquired.results.iter().filter_map(|result| result.holder_expires_at).min();
                    if let Some(until) = expiry.and_then(|expiry| (expiry - Utc::now()).to_std().ok()) {
                        pause = pause.min(until + jittered(WAKE_SPREAD));
                    }
                }
                Err(error) if asked && error.is_temporary() && !left.is_zero() => {
                    (self.progress)(Progress::Interrupted(&error));
                    pause = backoff.pause();
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(pause.min(left)) => {}
                () = waker.woken() => tokio::time::sleep(jittered(WAKE_SPREAD)).await,
                () = self.cancel.cancelled() => return Ok(Acquisition::Cancelled),
            }
        }
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
        let blocked = answer.acquired.results.iter().filter(|result| !result.status.is_held()).collect();
        (self.progress)(Progress::Waiting { blocked, place: answer.place, expected_by: answer.expected_by });
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

/// Whether the server refused the request for a field that belongs to waiting.
fn knows_no_waiting(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refusal)
        if refusal.status == StatusCode::BAD_REQUEST
            && ["waitSeconds", "priority", "keepAliveSeconds"].iter().any(|field| refusal.names_field(field)))
}

#[cfg(test)]
mod tests;
