//! Tickets of those who wait.

use uuid::Uuid;

use crate::{
    domain::{
        closed_set::ClosedSet,
        reservation::ReserveRequest,
        transaction::{Method, TransactionStatus},
        waiting::{Ticket, TicketId, TicketStatus, Wish},
    },
    store::{
        Caller, PageCursor, Reply, Stamped, Store, StoreError,
        call::Call,
        codec::{Reader, Writer},
        functions,
        reservations::decode::{decided, read_reserve_item},
    },
};

/// What became of cancelling a ticket.
#[derive(Debug, Clone)]
pub enum CancelOutcome {
    /// It waits no longer, or what it got and nobody had seen was given back.
    Done(Box<Ticket>),
    /// It was served, and who asked has seen it.
    Claimed,
    /// There is no such ticket.
    NotFound,
}

/// A ticket in the list of those who wait.
#[derive(Debug, Clone)]
pub struct WaitingTicket {
    /// The ticket.
    pub ticket: Ticket,
    /// Label of the key, or the end user, that made it.
    pub label: Option<String>,
}

/// A page of the list of those who wait.
#[derive(Debug)]
pub struct WaitingPage {
    /// The tickets, in no order that means anything.
    pub tickets: Vec<WaitingTicket>,
    /// The position as of which the list holds: the first page's.
    pub as_of: i64,
    /// Where the next page begins; `None` at the end.
    pub next: Option<PageCursor>,
}

impl Store {
    /// A ticket, at that cost; asking for it keeps it alive, and what it got is claimed by it. `None`: there is no such ticket.
    ///
    /// # Errors
    /// As [`StoreError`] says; asking again is safe.
    pub async fn ticket(
        &self,
        caller: &Caller,
        id: TicketId,
        cost: u32,
    ) -> Result<Stamped<Option<Ticket>>, StoreError> {
        Ok(self.first_tickets(caller, &[id], cost).await?.map(|tickets| tickets.into_iter().next().flatten()))
    }

    /// The same of the first ones of many tickets, in their order: as many as one call may read, at least one.
    ///
    /// # Errors
    /// As [`StoreError`] says; asking again is safe.
    pub async fn first_tickets(
        &self,
        caller: &Caller,
        ids: &[TicketId],
        cost: u32,
    ) -> Result<Stamped<Vec<Option<Ticket>>>, StoreError> {
        let packed = ids.iter().fold(Writer::default().array(ids.len()), |to, id| to.text(&id.digits())).done();
        let reply =
            self.call(caller, Call::packed(&functions::TICKET_READ, packed).at_cost(cost).weighing(ids.len())).await?;
        let mut of = ids.iter();
        let tickets = reply.each(|reader| {
            let id = *of.next()?;
            if reader.absent() { Some(None) } else { read_ticket(reader, id).map(Some) }
        })?;
        if tickets.is_empty() && !ids.is_empty() {
            return Err(reply.unexpected());
        }
        Ok(reply.stamped(tickets))
    }

    /// Cancels a ticket.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn cancel_ticket(&self, caller: &Caller, id: TicketId) -> Result<Stamped<CancelOutcome>, StoreError> {
        let packed = Writer::default().text(&id.digits()).done();
        let reply = self.call(caller, Call::packed(&functions::TICKET_CANCEL, packed)).await?;
        let outcome = match reply.status() {
            "NOT_FOUND" => CancelOutcome::NotFound,
            "CLAIMED" => CancelOutcome::Claimed,
            _ => CancelOutcome::Done(Box::new(read(&reply, id)?)),
        };
        Ok(reply.stamped(outcome))
    }

    /// Keeps tickets alive for which calls are held open; which of them still wait, in their order. It costs the tenant nothing.
    ///
    /// # Errors
    /// As [`StoreError`] says; repeating is safe.
    pub async fn touch_tickets(&self, caller: &Caller, ids: &[TicketId]) -> Result<Vec<bool>, StoreError> {
        let mut waiting = Vec::with_capacity(ids.len());
        // One call looks at as many as fit its bound, at least one.
        while let Some(rest) = ids.get(waiting.len()..).filter(|rest| !rest.is_empty()) {
            let packed = rest.iter().fold(Writer::default().array(rest.len()), |to, id| to.text(&id.digits())).done();
            let reply = self.call(caller, Call::packed(&functions::TICKET_TOUCH, packed).at_cost(0)).await?;
            let touched = reply.each(Reader::boolean)?;
            if touched.is_empty() || touched.len() > rest.len() {
                return Err(reply.unexpected());
            }
            waiting.extend(touched);
        }
        Ok(waiting)
    }

    /// A page of those who wait: from `cursor` on, at most `limit`, perhaps fewer.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn waiting(
        &self,
        caller: &Caller,
        cursor: &PageCursor,
        limit: usize,
    ) -> Result<Stamped<WaitingPage>, StoreError> {
        let (reply, next, tickets) = self.rows(&functions::WAITING_LIST, 1, caller, cursor, limit, read_row).await?;
        let as_of = cursor.as_of().unwrap_or(reply.position);
        Ok(reply.stamped(WaitingPage { tickets, as_of, next }))
    }
}

fn read(reply: &Reply, id: TicketId) -> Result<Ticket, StoreError> {
    reply.whole(|reader| read_ticket(reader, id))
}

fn read_row(reader: &mut Reader<'_>) -> Option<WaitingTicket> {
    let id = TicketId::parse(reader.text()?)?;
    Some(WaitingTicket { ticket: read_ticket(reader, id)?, label: reader.maybe_text()? })
}

/// Decodes a ticket; the layout stands in `lua/waiting/ticket_read.lua`.
fn read_ticket(reader: &mut Reader<'_>, id: TicketId) -> Option<Ticket> {
    let status = match reader.text()? {
        "W" => TicketStatus::Waiting,
        "A" | "G" => TicketStatus::Acquired,
        "T" => TicketStatus::TimedOut,
        "L" => TicketStatus::Lapsed,
        "C" => TicketStatus::Cancelled,
        _ => return None,
    };
    let (since_ms, ends_ms, priority) = (reader.int()?, reader.int()?, reader.int()?);
    let method = reader.maybe_text()?;
    let (done_ms, place, expected_ms) = (reader.maybe_int()?, reader.maybe_int()?, reader.maybe_int()?);
    let count = reader.array()?;
    let requests = (0..count).map(|_| read_request(reader)).collect::<Option<Vec<_>>>()?;
    let answers = reader.maybe_bytes()?.filter(|_| status == TicketStatus::Acquired);
    let mut answers = answers.map(Reader::new);
    let wish = match method {
        None => {
            let request = requests.into_iter().next()?;
            let outcome = match &mut answers {
                Some(answers) => Some(decided(read_reserve_item(answers, &request)?)?),
                None => None,
            };
            Wish::Item { request: Box::new(request), outcome }
        }
        Some(method) => {
            let outcomes = match &mut answers {
                Some(answers) => {
                    let status = TransactionStatus::of_name(answers.text()?)?;
                    let items = requests.iter().map(|request| read_reserve_item(answers, request));
                    Some((status, items.collect::<Option<Vec<_>>>()?))
                }
                None => None,
            };
            Wish::Transaction { method: Method::of_name(&method)?, requests, outcomes }
        }
    };
    Some(Ticket { id, status, since_ms, ends_ms, priority, done_ms, place, expected_ms, wish })
}

/// Decodes an item of a ticket: name, token, what is known of it, time to live, quantity.
fn read_request(reader: &mut Reader<'_>) -> Option<ReserveRequest> {
    (reader.array()? == 5).then_some(())?;
    let resource = reader.text()?.to_owned();
    let token = Uuid::from_slice(reader.bytes()?).ok()?;
    let mut known = Reader::new(reader.bytes()?);
    let (requester, resource_type) = (known.text()?.to_owned(), known.text()?.to_owned());
    let (_label, _end_user, note) = (known.maybe_text()?, known.maybe_text()?, known.maybe_text()?);
    let (ttl_ms, quantity) = (reader.int()?, reader.int()?);
    Some(ReserveRequest {
        requester,
        resource,
        token,
        ttl_ms: (ttl_ms > 0).then_some(ttl_ms),
        resource_type,
        note: note.unwrap_or_default(),
        quantity,
        wait: None,
    })
}
