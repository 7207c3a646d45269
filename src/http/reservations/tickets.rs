//! Tickets over HTTP.

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;

use crate::{
    domain::{
        field_errors::FieldErrors,
        reservation::{MAX_BATCH, ReserveRequest},
        time::{instant, wire, wire_option},
        transaction::Method,
        waiting::{Ticket, TicketId, TicketStatus, Wish},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Read, Write},
        reservations::{
            held_answers::{BegunHold, begin_hold, granted, hold_for, hold_time},
            reserve::ReserveResult,
            transactions::TransactionResult,
        },
        wire::{
            error::{ApiError, Code},
            held::Held,
            pagination::{ListQuery, PageSizes},
            response::Answer,
            word::Word,
        },
    },
    store::{Caller, CancelOutcome, PageCursor, Stamped, WaitingTicket},
};

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
