//! Answers that are held back until what they wait for is handed over, or their time is over.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    domain::{
        reservation::{Checked, ReserveOutcome, ReserveRequest},
        transaction::{
            ItemOutcome, Method, Results, Transaction, TransactionOutcome, TransactionStatus, TransactionType,
        },
        waiting::{MAX_HOLD_S, Place, Ticket, TicketId, TicketStatus, Wish},
    },
    feed::Hold,
    http::{
        app_state::AppState,
        reservations::{reserve::ReserveResult, results, transactions::TransactionResult},
        wire::{error::ApiError, outcome::with_tokens, response::Answer},
    },
    store::{Caller, Outcome, Stamped, Store, StoreError},
};

/// Calls of one connection that are held for as long as they ask. An HTTP/2 connection has 100 streams: the others stay for calls that free
/// what is waited for.
const MAX_HELD_LONG: usize = 90;
/// How long further ones are held, and those for whose bodies there is no room, 1 s.
const CROWDED_HOLD: Duration = Duration::from_secs(1);

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
pub(super) async fn hold_for(app_state: &AppState, caller: &Caller, begun: BegunHold, tickets: Vec<TicketId>) {
    let on_connection = app_state.hold_on_connection();
    let app = app_state.app();
    let BegunHold { hold, time } = begun;
    let is_crowded = on_connection.as_ref().is_some_and(|held| held.others >= MAX_HELD_LONG) || !app_state.hold_body();
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
pub(super) fn granted(
    method: Method,
    requests: Vec<ReserveRequest>,
    (status, outcomes): (TransactionStatus, Vec<ItemOutcome<ReserveOutcome>>),
) -> TransactionResult {
    let results = Results::Reserve(requests.iter().zip(outcomes).collect());
    let outcome = TransactionOutcome { status, results, place: None, circle: Vec::new() };
    TransactionResult::of_parts(method, TransactionType::Reserve, outcome)
}
