//! Reserving with patience: in the server's queue.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::client::{
    answer::{Acquired, Answer, Mode, WaitEnd},
    backoff::Backoff,
    clock::BootInstant,
    error::ClientError,
    reservations::{Client, whole_seconds},
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
/// An answer that comes sooner was not held back: the replica drains, or cannot reach Redis. Asking again at once would be a busy loop.
const SOON: Duration = Duration::from_millis(500);

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
    Ended(WaitEnd),
    /// It waits, or it lapsed or is unknown: asking anew keeps the place of a ticket that lives, and makes one where none does.
    Waits,
}

/// How a call went that may be given up before it is answered.
enum Asked<T> {
    Outcome(Result<T, ClientError>),
    /// The wait was over first. The service holds answers back for whole seconds; the wait ends when its owner said.
    Overdue,
    /// The wait was cancelled first.
    Cancelled,
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
        match self.ask(None, None).await {
            Asked::Outcome(answer) => Ok(Acquisition::Answered(answer?.acquired)),
            Asked::Cancelled | Asked::Overdue => Ok(Acquisition::Cancelled),
        }
    }

    /// The wait is over: gives the tickets up, so that they do not stand in others' way until they lapse, and asks for the refusal that
    /// it is now.
    async fn end_wait(&mut self) -> Result<Acquisition, ClientError> {
        self.abandon_tickets().await;
        self.once_after(WaitEnd::TimedOut).await
    }

    /// Asks for the refusal that it is now, after a wait that ended so.
    async fn once_after(&mut self, end: WaitEnd) -> Result<Acquisition, ClientError> {
        let mut ended = self.once().await;
        if let Ok(Acquisition::Answered(acquired)) = &mut ended {
            acquired.wait_end = Some(end);
        }
        ended
    }

    /// How a wait ended that was in vain for one of these tickets at least. Where that cannot be found out its time is as good as over.
    async fn how_ended(&self, tickets: &[String]) -> WaitEnd {
        for ticket in tickets {
            let asked = tokio::time::timeout(CANCEL_GRACE, self.client.ticket(ticket, Duration::ZERO)).await;
            let shown = asked.ok().and_then(Result::ok).and_then(|reply| reply.parse::<Ticket>().ok());
            if shown.is_some_and(|shown| shown.status == TicketStatus::Cancelled) {
                return WaitEnd::Cancelled;
            }
        }
        WaitEnd::TimedOut
    }

    /// Waits in the server's queue.
    async fn queue(&mut self, policy: WaitPolicy) -> Result<Acquisition, ClientError> {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        let left = || policy.until.map_or(MOST_WAIT, BootInstant::remaining).min(MOST_WAIT);
        // The first answer comes at once: it names the ticket.
        let (mut is_held, mut asked) = (false, false);
        loop {
            let (begun, left_then) = (BootInstant::now(), left());
            let wait = WaitFields {
                wait_seconds: whole_seconds(left_then).max(1),
                priority: policy.priority,
                keep_alive_seconds: Some(KEEP_ALIVE_S),
            };
            let was_held = is_held;
            let answer = match self.ask(Some(wait), is_held.then_some(left_then)).await {
                Asked::Outcome(Ok(answer)) => answer,
                Asked::Outcome(Err(error)) if asked && error.is_temporary() && !left().is_zero() => {
                    (self.progress)(Progress::Interrupted(&error));
                    if self.pause(backoff.pause().min(left())).await.is_err() {
                        return Ok(self.give_up(None).await);
                    }
                    continue;
                }
                Asked::Outcome(Err(error)) => return Err(error),
                Asked::Overdue => return self.end_wait().await,
                Asked::Cancelled => return Ok(Acquisition::Cancelled),
            };
            asked = true;
            let waited = std::mem::replace(&mut self.tickets, answer.tickets.clone());
            if answer.tickets.is_empty() {
                let mut acquired = answer.acquired;
                if !waited.is_empty() && !acquired.complete {
                    acquired.wait_end = Some(self.how_ended(&waited).await);
                }
                return Ok(Acquisition::Answered(acquired));
            }
            self.uncertain = true;
            self.report(&answer);
            if left().is_zero() {
                return self.end_wait().await;
            }
            is_held = true;
            if let (Mode::Transaction(_), Some(ticket)) = (self.mode, answer.tickets.first().cloned()) {
                match self.ticket(&ticket, left()).await {
                    Asked::Outcome(Ok(Shown::Served(acquired))) => return Ok(Acquisition::Answered(acquired)),
                    Asked::Outcome(Ok(Shown::Ended(end))) => return self.once_after(end).await,
                    Asked::Outcome(Ok(Shown::Waits)) => is_held = false,
                    Asked::Outcome(Err(error)) if error.is_temporary() => {
                        (self.progress)(Progress::Interrupted(&error));
                    }
                    Asked::Outcome(Err(error)) => return Err(error),
                    Asked::Overdue => return self.end_wait().await,
                    Asked::Cancelled => return Ok(Acquisition::Cancelled),
                }
            } else if !was_held {
                continue; // it was not to be held back
            }
            if BootInstant::now().since(begun) >= SOON {
                backoff.reset();
            } else if self.pause(backoff.pause().min(left())).await.is_err() {
                return Ok(self.give_up(None).await);
            }
        }
    }

    /// Asks for the ticket of a transaction, which shows its result exactly; the answer is held back while the wait has time left.
    async fn ticket(&mut self, ticket: &str, left: Duration) -> Asked<Shown> {
        let client = self.client;
        let asked = self.or_cancelled(client.ticket(ticket, HOLD.min(left)), Duration::ZERO, Some(left)).await;
        let reply = match asked {
            Asked::Outcome(Ok(reply)) => reply,
            Asked::Outcome(Err(ClientError::Refused(refusal))) if refusal.status == StatusCode::NOT_FOUND => {
                return Asked::Outcome(Ok(Shown::Waits));
            }
            Asked::Outcome(Err(error)) => return Asked::Outcome(Err(error)),
            Asked::Overdue => return Asked::Overdue,
            Asked::Cancelled => {
                self.give_up(None).await;
                return Asked::Cancelled;
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
                    wait_end: None,
                })),
                (TicketStatus::TimedOut, _) => Ok(Shown::Ended(WaitEnd::TimedOut)),
                (TicketStatus::Cancelled, _) => Ok(Shown::Ended(WaitEnd::Cancelled)),
                _ => Ok(Shown::Waits),
            }
        };
        Asked::Outcome(read())
    }

    /// Asks once. `held`: the time that the wait has left, for which the answer may be held back; `None`: it is wanted at once. Where the
    /// wait is cancelled meanwhile, what the answer got is given back.
    async fn ask(&mut self, wait: Option<WaitFields>, held: Option<Duration>) -> Asked<Answer> {
        if self.cancel.is_cancelled() {
            self.give_up(None).await;
            return Asked::Cancelled;
        }
        let grace = if held.is_none() { CANCEL_GRACE } else { Duration::ZERO };
        let hold = held.map_or(Duration::ZERO, |left| HOLD.min(left));
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
        let asked = self.or_cancelled(call, grace, held).await;
        let answer = match asked {
            Asked::Outcome(reply) => {
                self.uncertain |= matches!(reply, Err(ClientError::OutcomeUnknown { .. }));
                Some(reply.and_then(|reply| Answer::read(&reply, self.mode, self.uncertain)))
            }
            Asked::Overdue if !self.cancel.is_cancelled() => return Asked::Overdue,
            Asked::Overdue | Asked::Cancelled => None,
        };
        match answer {
            Some(answer) if !self.cancel.is_cancelled() => Asked::Outcome(answer),
            answer => {
                self.give_up(answer.and_then(Result::ok)).await;
                Asked::Cancelled
            }
        }
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

    /// A call's outcome. It is dropped where there is none after `most`, and once cancelled where there is none after `grace`.
    async fn or_cancelled<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
        grace: Duration,
        most: Option<Duration>,
    ) -> Asked<T> {
        tokio::pin!(call);
        let overdue = async {
            match most {
                Some(most) => (BootInstant::now() + most).sleep_until().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = &mut call => Asked::Outcome(outcome),
            () = overdue => Asked::Overdue,
            () = self.cancel.cancelled() => {
                tokio::time::timeout(grace, call).await.map_or(Asked::Cancelled, Asked::Outcome)
            }
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
