//! Tickets over HTTP, and calls whose answer is held back until they are served.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;

use crate::{
    domain::{
        field_errors::FieldErrors,
        reservation::{Checked, MAX_BATCH, ReserveOutcome, ReserveRequest},
        time::{instant, wire, wire_option},
        transaction::{
            ItemOutcome, Method, Results, Transaction, TransactionOutcome, TransactionStatus, TransactionType,
        },
        waiting::{MAX_HOLD_S, Place, Ticket, TicketId, TicketStatus, Wish},
    },
    feed::Hold,
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Read, Write},
        reservations::{reserve::ReserveResult, results, transactions::TransactionResult},
        wire::{
            error::{ApiError, Code},
            held::Held,
            outcome::with_tokens,
            pagination::{ListQuery, PageSizes},
            response::Answer,
            word::Word,
        },
    },
    store::{Caller, CancelOutcome, Outcome, PageCursor, Stamped, Store, StoreError, WaitingTicket},
};

/// Calls of one connection that are held for as long as they ask. An HTTP/2 connection has 100 streams: the others stay for calls that free
/// what is waited for.
const MAX_HELD_LONG: usize = 90;
/// How long further ones are held, 1 s.
const CROWDED_HOLD: Duration = Duration::from_secs(1);
const PAGE_SIZES: PageSizes = PageSizes { default: 100, max: MAX_BATCH };

pub(in crate::http) struct Tickets;

#[OpenApi(tag = "Tag::Waiting")]
impl Tickets {
    /// Show a ticket: its place in line, or what became of it.
    ///
    /// Asking for a ticket keeps it alive, and an answer that shows a grant claims it. With `hold`, the answer is held back until the ticket waits no
    /// longer, or the time is over. An ended ticket is kept for ten minutes.
    #[oai(path = "/Reservation/tickets/:ticket", method = "get", operation_id = "ticket")]
    async fn ticket(
        &self,
        caller: Authorized<Write>,
        app_state: AppState,
        ticket: Path<String>,
        /// Seconds for which the answer may be held back, 0 to 60.
        hold: Query<Option<i64>>,
    ) -> Result<Held<TicketResult>, ApiError> {
        let (id, time) = (ticket_id(&ticket.0)?, hold_time(hold.0)?);
        let hold = begin_hold(&app_state, &caller.0, time, || vec![id]);
        let found = app_state.store().ticket(&caller.0, id, 1).await?;
        let waits = found.answer.as_ref().is_some_and(|ticket| ticket.status == TicketStatus::Waiting);
        match hold.filter(|_| waits) {
            Some(hold) => Ok(Held::later(&app_state, held_ticket(app_state.clone(), caller.0, id, hold))),
            None => shown(found).map(Held::Now),
        }
    }

    /// Wait no longer. What was granted and not yet seen is given back; what was seen is a 409: give it back with its token.
    #[oai(path = "/Reservation/tickets/:ticket", method = "delete", operation_id = "cancelTicket")]
    async fn cancel(
        &self,
        caller: Authorized<Write>,
        app_state: AppState,
        ticket: Path<String>,
    ) -> Result<Answer<TicketResult>, ApiError> {
        let stamped = app_state.store().cancel_ticket(&caller.0, ticket_id(&ticket.0)?).await?;
        let now_us = stamped.now_us;
        let cancelled = stamped.try_map(|outcome| match outcome {
            CancelOutcome::Done(ticket) => Ok(TicketResult::of(*ticket, now_us)),
            CancelOutcome::NotFound => Err(ApiError::not_found("ticket").at(now_us)),
            CancelOutcome::Claimed => {
                let message = "The ticket was served, and its reservation was shown; give that back with unreserve.";
                Err(ApiError::new(Code::Conflict, message).at(now_us))
            }
        })?;
        Ok(Answer(cancelled))
    }

    /// List who waits, in no order; follow `nextCursor` until it is null.
    #[oai(path = "/Reservation/waiting", method = "get", operation_id = "waiting")]
    async fn waiting(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        /// Only tickets that want this resource.
        resource: Query<Option<String>>,
        /// Only those of this requester.
        requester: Query<Option<String>>,
        /// Most rows of a page, 1 to 1,000; a small page may have a few more.
        limit: Query<Option<i64>>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Answer<WaitingList>, ApiError> {
        let mut errors = FieldErrors::default();
        let query = ListQuery::parse(&mut errors, PAGE_SIZES, limit.0, cursor.0.as_deref(), PageCursor::decode);
        let query = errors.finish(|| query).map_err(ApiError::validation)?;
        let start = query.cursor.unwrap_or_else(PageCursor::start);
        let page = app_state.store().waiting(&caller.0, &start, query.limit).await?;
        let passes = |waiting: &WaitingTicket| {
            let requests = waiting.ticket.wish.requests();
            let wants = |wanted: &String| requests.iter().any(|request| request.resource == *wanted);
            let is_of = |asked: &String| requests.iter().any(|request| request.requester == *asked);
            resource.0.as_ref().is_none_or(wants) && requester.0.as_ref().is_none_or(is_of)
        };
        Ok(Answer(page.map(|page| WaitingList {
            as_of: page.as_of,
            next_cursor: page.next.as_ref().map(PageCursor::encode),
            waiting: page.tickets.into_iter().filter(passes).map(Into::into).collect(),
        })))
    }
}

/// Holds a ticket's answer back.
async fn held_ticket(
    app_state: AppState,
    caller: Caller,
    id: TicketId,
    hold: BegunHold,
) -> Result<Answer<TicketResult>, ApiError> {
    hold_for(&app_state, &caller, hold, vec![id]).await;
    shown(Box::pin(app_state.store().ticket(&caller, id, 0)).await?)
}

/// The answer that shows a ticket.
fn shown(found: Stamped<Option<Ticket>>) -> Result<Answer<TicketResult>, ApiError> {
    let now_us = found.now_us;
    let shown = found.try_map(|ticket| {
        ticket.map(|ticket| TicketResult::of(ticket, now_us)).ok_or_else(|| ApiError::not_found("ticket").at(now_us))
    });
    shown.map(Answer)
}

fn ticket_id(text: &str) -> Result<TicketId, ApiError> {
    TicketId::parse(text).ok_or_else(|| ApiError::not_found("ticket"))
}

/// Reads `hold` of a query.
///
/// # Errors
/// A message that gives the bounds.
pub(super) fn hold_time(seconds: Option<i64>) -> Result<Duration, ApiError> {
    let seconds = seconds.unwrap_or(0);
    u64::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_HOLD_S).map(Duration::from_secs).ok_or_else(|| {
        ApiError::field("hold", format!("is {seconds}; it must be a whole number of seconds from 0 to {MAX_HOLD_S}"))
    })
}

/// A call that may be held, and for how long.
pub(super) struct BegunHold {
    hold: Hold,
    time: Duration,
}

/// Notes a call that may be held for that time, and the tickets that may come of it; `None`: it waits for nothing.
pub(super) fn begin_hold(
    app_state: &AppState,
    caller: &Caller,
    time: Duration,
    tickets: impl FnOnce() -> Vec<TicketId>,
) -> Option<BegunHold> {
    let tickets = if time.is_zero() { Vec::new() } else { tickets() };
    (!tickets.is_empty()).then(|| BegunHold { hold: app_state.app().feed.begin_hold(caller, tickets), time })
}

/// Waits until none of these tickets waits any more, the time is over, or the replica drains: then the client goes on at another.
async fn hold_for(app_state: &AppState, caller: &Caller, begun: BegunHold, tickets: Vec<TicketId>) {
    let on_connection = app_state.hold_on_connection();
    let app = app_state.app();
    let BegunHold { hold, time } = begun;
    let is_crowded = on_connection.as_ref().is_some_and(|held| held.others >= MAX_HELD_LONG);
    let time = if is_crowded { time.min(CROWDED_HOLD) } else { time };
    let held = tokio::time::timeout(time, app.feed.hold(&app.store, caller, hold, tickets));
    // A hold whose time is over is answered as one that was served: by what its tickets say then.
    let _ = app.replica.drain.run_until_cancelled(held).await;
}

/// The place of a ticket by now. `seen`: what a look at what was in its way shows; `None`: nobody could look.
fn place_now(before: Place, ticket: &Ticket, seen: Option<&Checked>) -> Place {
    let place = ticket.place.unwrap_or(before.place);
    let requests = ticket.wish.requests();
    let asked = requests.iter().find(|request| request.resource == before.conflict.resource());
    let (requester, slots) = match (asked, requests.first()) {
        (Some(asked), _) => (asked.requester.as_str(), asked.quantity),
        (None, first) => (first.map_or("", |first| first.requester.as_str()), 1),
    };
    let conflict = match seen {
        Some(seen) => before.conflict.now(seen.clone(), requester, slots),
        None => before.conflict,
    };
    Place {
        ticket: before.ticket,
        place,
        // Where the line has moved, the first of it is another one.
        next_requester: before.next_requester.filter(|_| place > 1 && place == before.place),
        ends_ms: ticket.ends_ms,
        expected_ms: ticket.expected_ms,
        conflict,
    }
}

/// What was found once a hold was over: first come tickets, then looks at what is in the way of those that wait on. A later question that fails
/// takes nothing from what an earlier one has answered: that may be a grant, which only this answer shows.
struct AfterHold<'a> {
    store: &'a Store,
    caller: &'a Caller,
    now_us: i64,
    position: i64,
}

impl AfterHold<'_> {
    /// Reads tickets, as many as can be. The first piece is part of the call that was held, each further one is counted.
    ///
    /// # Errors
    /// Where nothing is known of any, and nothing else `has_got` something.
    async fn tickets(&mut self, ids: &[TicketId], has_got: bool) -> Result<Vec<Option<Ticket>>, StoreError> {
        let mut tickets = Vec::with_capacity(ids.len());
        while tickets.len() < ids.len() {
            let cost = u32::from(!tickets.is_empty());
            match self.store.first_tickets(self.caller, &ids[tickets.len()..], cost).await {
                Ok(found) => {
                    (self.now_us, self.position) = (found.now_us, found.position);
                    tickets.extend(found.answer);
                }
                Err(error) if tickets.is_empty() && !has_got => return Err(error),
                Err(_) => break,
            }
        }
        Ok(tickets)
    }

    /// Carries a call out anew of what waited in vain. `None`: that failed, and there `has_got` something that is to be answered all the same.
    ///
    /// # Errors
    /// Where there has not.
    async fn again<T>(
        &mut self,
        call: impl Future<Output = Result<Stamped<Outcome<T>>, StoreError>>,
        has_got: bool,
    ) -> Result<Option<T>, ApiError> {
        let caller = self.caller;
        let answered = call.await.map_err(Into::into);
        match answered.and_then(|stamped| with_tokens(stamped, caller, std::iter::empty())) {
            Ok(stamped) => {
                (self.now_us, self.position) = (stamped.now_us, stamped.position);
                Ok(Some(stamped.answer))
            }
            Err(_) if has_got => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks at what is in the way, each thing once; at nothing where that fails.
    async fn look_at<'p>(&self, places: impl Iterator<Item = &'p Place>) -> HashMap<String, Checked> {
        let names: BTreeSet<_> = places.map(|place| place.conflict.resource().to_owned()).collect();
        let names: Vec<_> = names.into_iter().collect();
        if names.is_empty() {
            return HashMap::new();
        }
        let checked = self.store.check_again(self.caller, &names).await.unwrap_or_default();
        names.into_iter().zip(checked).collect()
    }

    fn answer<T>(self, answer: T) -> Stamped<T> {
        Stamped { now_us: self.now_us, position: self.position, answer }
    }
}

/// Holds a reserve back: of each item that waits, the outcome that comes of it within the time.
pub(super) async fn held_items(
    app_state: AppState,
    caller: Caller,
    requests: Vec<ReserveRequest>,
    outcomes: Stamped<Vec<ReserveOutcome>>,
    hold: BegunHold,
) -> Result<Answer<Vec<ReserveResult>>, ApiError> {
    let tickets: Vec<_> = outcomes
        .answer
        .iter()
        .filter_map(|outcome| if let ReserveOutcome::Waiting(place) = outcome { Some(place.ticket) } else { None })
        .collect();
    hold_for(&app_state, &caller, hold, tickets).await;
    // Boxed, like what else comes after a hold: while it is held, a call has no room for it.
    Box::pin(items_now(app_state.store(), &caller, requests, outcomes)).await
}

async fn items_now(
    store: &Store,
    caller: &Caller,
    requests: Vec<ReserveRequest>,
    stamped: Stamped<Vec<ReserveOutcome>>,
) -> Result<Answer<Vec<ReserveResult>>, ApiError> {
    let Stamped { now_us, position, answer: mut outcomes } = stamped;
    let mut after = AfterHold { store, caller, now_us, position };
    let has_got = |outcomes: &[ReserveOutcome]| {
        outcomes.iter().any(|outcome| matches!(outcome, ReserveOutcome::Acquired(_) | ReserveOutcome::AlreadyHad(_)))
    };
    let places = outcomes.iter().enumerate().filter_map(|(at, outcome)| match outcome {
        ReserveOutcome::Waiting(place) => Some((at, place.clone())),
        _ => None,
    });
    let places: Vec<_> = places.collect();
    let ids: Vec<_> = places.iter().map(|(_, place)| place.ticket).collect();
    let (mut waiting, mut in_vain) = (Vec::new(), Vec::new());
    for ((at, place), found) in places.into_iter().zip(after.tickets(&ids, has_got(&outcomes)).await?) {
        match found {
            Some(ticket) if ticket.status == TicketStatus::Waiting => waiting.push((at, place, ticket)),
            Some(Ticket { wish: Wish::Item { outcome: Some(outcome), .. }, .. }) => outcomes[at] = outcome,
            _ => in_vain.push(at),
        }
    }
    if !in_vain.is_empty() {
        // The refusal that it would be now.
        let again: Vec<_> = in_vain.iter().map(|at| ReserveRequest { wait: None, ..requests[*at].clone() }).collect();
        let refused = after.again(store.reserve(caller, &again), has_got(&outcomes)).await?;
        in_vain.into_iter().zip(refused.into_iter().flatten()).for_each(|(at, outcome)| outcomes[at] = outcome);
    }
    let seen = after.look_at(waiting.iter().map(|(_, place, _)| place)).await;
    for (at, place, ticket) in waiting {
        let seen = seen.get(place.conflict.resource());
        outcomes[at] = ReserveOutcome::Waiting(place_now(place, &ticket, seen));
    }
    Ok(results(requests, after.answer(outcomes)))
}

/// Holds transactions back, likewise.
pub(super) async fn held_transactions(
    app_state: AppState,
    caller: Caller,
    transactions: Vec<Transaction>,
    results: Stamped<Vec<TransactionResult>>,
    places: Vec<Option<Place>>,
    hold: BegunHold,
) -> Result<Answer<Vec<TransactionResult>>, ApiError> {
    let waiting: Vec<_> = places.iter().flatten().map(|place| place.ticket).collect();
    hold_for(&app_state, &caller, hold, waiting).await;
    Box::pin(transactions_now(app_state.store(), &caller, &transactions, results, places)).await
}

async fn transactions_now(
    store: &Store,
    caller: &Caller,
    transactions: &[Transaction],
    stamped: Stamped<Vec<TransactionResult>>,
    places: Vec<Option<Place>>,
) -> Result<Answer<Vec<TransactionResult>>, ApiError> {
    let Stamped { now_us, position, answer: mut results } = stamped;
    let mut after = AfterHold { store, caller, now_us, position };
    let has_got = |results: &[TransactionResult]| results.iter().any(TransactionResult::is_applied);
    let places: Vec<_> = places.into_iter().enumerate().filter_map(|(at, place)| Some((at, place?))).collect();
    let ids: Vec<_> = places.iter().map(|(_, place)| place.ticket).collect();
    let (mut waiting, mut in_vain) = (Vec::new(), Vec::new());
    for ((at, place), found) in places.into_iter().zip(after.tickets(&ids, has_got(&results)).await?) {
        match found {
            Some(ticket) if ticket.status == TicketStatus::Waiting => waiting.push((at, place, ticket)),
            Some(Ticket { wish: Wish::Transaction { method, requests, outcomes: Some(got) }, .. }) => {
                results[at] = granted(method, requests, got);
            }
            _ => in_vain.push(at),
        }
    }
    if !in_vain.is_empty() {
        let again: Vec<_> = in_vain.iter().map(|at| Transaction { wait: None, ..transactions[*at].clone() }).collect();
        let refused = after.again(store.transactions(caller, &again), has_got(&results)).await?;
        for ((at, transaction), outcome) in in_vain.into_iter().zip(&again).zip(refused.into_iter().flatten()) {
            results[at] = TransactionResult::of(transaction, outcome);
        }
    }
    let seen = after.look_at(waiting.iter().map(|(_, place, _)| place)).await;
    for (at, place, ticket) in waiting {
        let seen = seen.get(place.conflict.resource());
        results[at].move_to(&place_now(place, &ticket, seen));
    }
    Ok(Answer(after.answer(results)))
}

/// What a transaction's ticket got.
fn granted(
    method: Method,
    requests: Vec<ReserveRequest>,
    (status, outcomes): (TransactionStatus, Vec<ItemOutcome<ReserveOutcome>>),
) -> TransactionResult {
    let results = Results::Reserve(requests.iter().zip(outcomes).collect());
    let outcome = TransactionOutcome { status, results, place: None, circle: Vec::new() };
    TransactionResult::of_parts(method, TransactionType::Reserve, outcome)
}

/// A ticket.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "TicketState", rename_all = "camelCase")]
struct TicketResult {
    ticket: String,
    status: Word<TicketStatus>,
    /// Its place while it waits; 1 is next.
    place: Option<i64>,
    /// When it is served if every holder keeps it to its deadline and everybody ahead for the whole time to live.
    #[serde(with = "wire_option")]
    expected_by: Option<DateTime<Utc>>,
    /// When its wait ends.
    #[serde(with = "wire")]
    wait_expires_at: DateTime<Utc>,
    /// Since when it waits.
    #[serde(with = "wire")]
    since: DateTime<Utc>,
    /// How long it has waited, in milliseconds.
    waited_ms: i64,
    /// Greater is served first.
    priority: i64,
    /// Who asked for it; null where its items have several requesters.
    requester: Option<String>,
    /// What it waits for.
    resources: Vec<String>,
    /// Of a reserve that was served: the item of its answer, token included.
    reservation: Option<ReserveResult>,
    /// Of a transaction that was served: its result.
    transaction: Option<TransactionResult>,
}

/// The requester of all items, if it is one.
fn shared_requester(requests: &[ReserveRequest]) -> Option<String> {
    let first = requests.first()?;
    requests.iter().all(|request| request.requester == first.requester).then(|| first.requester.clone())
}

impl TicketResult {
    fn of(ticket: Ticket, now_us: i64) -> Self {
        let requests = ticket.wish.requests();
        let (requester, resources) =
            (shared_requester(requests), requests.iter().map(|request| request.resource.clone()).collect());
        let (reservation, transaction) = match ticket.wish {
            Wish::Item { request, outcome } => {
                (outcome.map(|outcome| ReserveResult::of(request.resource, request.requester, outcome)), None)
            }
            Wish::Transaction { method, requests, outcomes } => {
                (None, outcomes.map(|outcomes| granted(method, requests, outcomes)))
            }
        };
        Self {
            ticket: ticket.id.to_string(),
            status: Word(ticket.status),
            place: ticket.place,
            expected_by: ticket.expected_ms.map(instant),
            wait_expires_at: instant(ticket.ends_ms),
            since: instant(ticket.since_ms),
            waited_ms: ticket.done_ms.unwrap_or(now_us / 1_000) - ticket.since_ms,
            priority: ticket.priority,
            requester,
            resources,
            reservation,
            transaction,
        }
    }
}

/// One who waits.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "WaitingTicket", rename_all = "camelCase")]
struct WaitingRow {
    ticket: String,
    /// Who asked for it; null where its items have several requesters.
    requester: Option<String>,
    /// What it waits for.
    resources: Vec<String>,
    /// Of a transaction: how it treats conflicts.
    method: Option<Word<Method>>,
    /// Greater is served first.
    priority: i64,
    /// 1 is next.
    place: Option<i64>,
    /// Since when it waits.
    #[serde(with = "wire")]
    since: DateTime<Utc>,
    /// When its wait ends.
    #[serde(with = "wire")]
    wait_expires_at: DateTime<Utc>,
    /// When it is expected to be served.
    #[serde(with = "wire_option")]
    expected_by: Option<DateTime<Utc>>,
    /// The note that it will be held with.
    note: Option<String>,
    /// Label of the key, or the end user, that asked for it.
    api_key_label: Option<String>,
}

impl From<WaitingTicket> for WaitingRow {
    fn from(WaitingTicket { ticket, label }: WaitingTicket) -> Self {
        let requests = ticket.wish.requests();
        Self {
            ticket: ticket.id.to_string(),
            requester: shared_requester(requests),
            resources: requests.iter().map(|request| request.resource.clone()).collect(),
            method: if let Wish::Transaction { method, .. } = &ticket.wish { Some(Word(*method)) } else { None },
            priority: ticket.priority,
            place: ticket.place,
            since: instant(ticket.since_ms),
            wait_expires_at: instant(ticket.ends_ms),
            expected_by: ticket.expected_ms.map(instant),
            note: requests.first().map(|request| request.note.clone()).filter(|note| !note.is_empty()),
            api_key_label: label,
        }
    }
}

/// Who waits.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct WaitingList {
    waiting: Vec<WaitingRow>,
    /// Position of the list; of all pages the first page's.
    as_of: i64,
    /// Cursor of the next page; null at the end.
    next_cursor: Option<String>,
}
