//! Transactions over HTTP.

use std::{borrow::Cow, collections::HashSet};

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, OpenApi, Union,
    param::Query,
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    domain::{
        field_errors::FieldErrors,
        reservation::{
            MAX_BATCH, ReleaseOutcome, ReleaseRequest, ReleaseStatus, ReserveOutcome, ReserveRequest, ReserveStatus,
            batch,
        },
        time::{instant, wire_option},
        transaction::{
            ItemOutcome, Items, Method, Results, Transaction, TransactionOutcome, TransactionStatus, TransactionType,
            check_sizes,
        },
        waiting::Place,
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Write},
        reservations::{
            held_answers::{begin_hold, held_transactions, hold_time},
            refused_ttl,
            release::{UnreserveItem, UnreserveResult},
            reserve::{ReserveItem, ReserveResult, WaitFields, explain_circle, explain_place},
        },
        wire::{
            error::ApiError,
            held::Held,
            outcome::with_tokens,
            request::{Body, List, whole_number},
            response::Answer,
            word::{UncheckedWord, Word},
        },
    },
    store::{Caller, Store},
};

pub(in crate::http) struct Transactions;

#[OpenApi(tag = "Tag::Reservations")]
impl Transactions {
    /// Reserve or release in transactions, each atomic.
    ///
    /// They run in order. `ALL_OR_NONE`: everything or nothing. `AS_MANY_AS_POSSIBLE`: what is free. `FIRST`: the first that is free, and
    /// if the requester already has one of them, that one. A bad token or a passed limit anywhere refuses the whole call, and nothing
    /// changes. Repeating a RESERVE is safe, and emits no event when it changes nothing. One requester names a pool once in a transaction
    /// (400): several of its slots are one item with `quantity`.
    #[oai(path = "/Reservation/transactions", method = "post", operation_id = "transactions")]
    async fn transactions(
        &self,
        caller: Authorized<Write>,
        app_state: AppState,
        /// Seconds for which the answer may be held back until nothing in it waits any more, 0 to 60.
        hold: Query<Option<i64>>,
        body: Body<TransactionList>,
    ) -> Result<Held<Vec<TransactionResult>>, ApiError> {
        let time = hold_time(hold.0)?;
        let transactions = parse(body.0.0)?;
        refuse_repeated_pools(app_state.store(), &caller.0, &transactions).await?;
        let hold = begin_hold(&app_state, &caller.0, time, || {
            transactions.iter().filter_map(|transaction| Some(transaction.wait.as_ref()?.ticket)).collect()
        });
        let stamped = app_state.store().transactions(&caller.0, &transactions).await.map_err(|error| {
            refused_ttl(
                error,
                app_state.store(),
                &caller.0,
                transactions.iter().enumerate().flat_map(|(at, transaction)| ttls(at, &transaction.items)),
            )
        })?;
        let names = transactions.iter().flat_map(|transaction| transaction.items.names());
        let outcomes = with_tokens(stamped, &caller.0, names)?;
        let places: Vec<_> = outcomes.answer.iter().map(|outcome| outcome.place.clone()).collect();
        let results = outcomes.map(|outcomes| {
            let items = transactions.iter().zip(outcomes);
            items.map(|(transaction, outcome)| TransactionResult::of(transaction, outcome)).collect()
        });
        let Some(hold) = hold.filter(|_| places.iter().any(Option::is_some)) else {
            return Ok(Held::Now(Answer(results)));
        };
        let answer = held_transactions(app_state.clone(), caller.0, transactions, results, places, hold);
        Ok(Held::later(&app_state, answer))
    }
}

/// The items of the transaction at `at` that have times to live: paths and times to live in milliseconds.
fn ttls(at: usize, items: &Items) -> impl Iterator<Item = (String, Option<i64>)> {
    let requests = if let Items::Reserve(requests) = items { requests.as_slice() } else { &[] };
    requests.iter().enumerate().map(move |(item, request)| (format!("[{at}].requests[{item}]"), request.ttl_ms))
}

/// Refuses a transaction that names the same pool twice for the same requester. Only Redis knows what is a pool; it is asked where a name is
/// repeated, which few calls do.
async fn refuse_repeated_pools(store: &Store, caller: &Caller, transactions: &[Transaction]) -> Result<(), ApiError> {
    let mut repeated: Vec<(String, String)> = Vec::new(); // path of the item, resource
    for (at, transaction) in transactions.iter().enumerate() {
        let Items::Reserve(requests) = &transaction.items else { continue };
        let mut seen = HashSet::new();
        let again =
            requests.iter().enumerate().filter(|(_, wanted)| !seen.insert((&wanted.requester, &wanted.resource)));
        repeated
            .extend(again.map(|(item, wanted)| (format!("[{at}].requests[{item}].resource"), wanted.resource.clone())));
    }
    if repeated.is_empty() {
        return Ok(());
    }
    let (paths, names): (Vec<_>, Vec<_>) = repeated.into_iter().unzip();
    let mut errors = FieldErrors::default();
    for ((path, name), checked) in paths.into_iter().zip(&names).zip(store.check(caller, &names).await?.answer) {
        if checked.capacity > 1 {
            errors.add(path, format!("names the pool \"{name}\" again for the same requester; use quantity"));
        }
    }
    errors.finish(|| Some(())).map_err(ApiError::validation)
}

fn parse(raw: Vec<TransactionRequest>) -> Result<Vec<Transaction>, ApiError> {
    let mut errors = FieldErrors::default();
    check_sizes(&mut errors, &raw.iter().map(|raw| raw.len()).collect::<Vec<_>>());
    let mut transactions = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let method = raw.method.as_ref().map(UncheckedWord::as_str);
        let method = errors.check(|| format!("[{at}].method"), Method::parse(method));
        let request_type = raw.request_type.as_ref().map(UncheckedWord::as_str);
        let request_type = errors.check(|| format!("[{at}].requestType"), TransactionType::parse(request_type));
        let wait = WaitFields {
            wait_seconds: raw.wait_seconds,
            priority: raw.priority,
            keep_alive_seconds: raw.keep_alive_seconds,
            overtake: raw.overtake,
        };
        let wait = wait.parse(&mut errors, &format!("[{at}].")).flatten();
        if wait.is_some() && request_type == Some(TransactionType::Unreserve) {
            errors.add(format!("[{at}].waitSeconds"), "is for RESERVE; nobody waits to give something back");
        }
        let requests = raw.requests.unwrap_or_default().0;
        let items = request_type.map(|request_type| match request_type {
            TransactionType::Reserve => batch(requests, TransactionItem::parse_reserve).map(Items::Reserve),
            TransactionType::Unreserve => batch(requests, TransactionItem::parse_unreserve).map(Items::Unreserve),
        });
        match items {
            Some(Ok(items)) => {
                transactions.extend(method.map(|method| Transaction { method, items, wait }));
            }
            // Errors of the list as a whole have no path; `check_sizes` has added them.
            Some(Err(found)) => errors.add_nested(
                &format!("[{at}].requests"),
                found.into_iter().filter(|error| !error.path.is_empty()).collect(),
            ),
            None => {}
        }
    }
    errors.finish(|| Some(transactions)).map_err(ApiError::validation)
}

/// Transactions of one call. It is refused at its first request too many while it is read, as a [`List`] is.
struct TransactionList(Vec<TransactionRequest>);

impl<'de> Deserialize<'de> for TransactionList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Transactions;
        impl<'de> de::Visitor<'de> for Transactions {
            type Value = TransactionList;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("a list")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<TransactionList, A::Error> {
                let (mut transactions, mut requests) = (Vec::new(), 0);
                while let Some(transaction) = items.next_element::<TransactionRequest>()? {
                    requests += transaction.len().max(1);
                    if requests > MAX_BATCH {
                        let message = format!("the transactions have more than {MAX_BATCH} requests together");
                        return Err(de::Error::custom(message));
                    }
                    transactions.push(transaction);
                }
                Ok(TransactionList(transactions))
            }
        }
        from.deserialize_seq(Transactions)
    }
}

impl Type for TransactionList {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        Vec::<TransactionRequest>::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        List::<TransactionRequest, MAX_BATCH>::schema_ref()
    }

    fn register(registry: &mut Registry) {
        TransactionRequest::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// Requests that are carried out together.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
struct TransactionRequest {
    method: Option<UncheckedWord<Method>>,
    request_type: Option<UncheckedWord<TransactionType>>,
    /// Items as in reserve, or as in unreserve. All transactions of a call together have 1 to 1,000.
    requests: Option<List<TransactionItem, MAX_BATCH>>,
    /// RESERVE: seconds to wait where it cannot be carried out now, 1 to 86,400.
    #[serde(default, deserialize_with = "whole_number")]
    wait_seconds: Option<i64>,
    /// Of a wait: -1,000 to 1,000, greater is served first. 0 without it.
    #[serde(default, deserialize_with = "whole_number")]
    priority: Option<i64>,
    /// Of a wait: seconds for which the ticket lives while nobody asks for it, 5 to 3,600. 30 without it.
    #[serde(default, deserialize_with = "whole_number")]
    keep_alive_seconds: Option<i64>,
    /// Of a wait: nothing is kept for it; others may pass until all it wants is free at once.
    overtake: Option<bool>,
}

impl TransactionRequest {
    /// Number of its requests.
    fn len(&self) -> usize {
        self.requests.as_ref().map_or(0, |requests| requests.0.len())
    }
}

/// An item as in reserve (without `releaseToken`), or as in unreserve.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
struct TransactionItem {
    /// The requester: unique per holder.
    requester: Option<String>,
    /// The resource, or what is given back.
    resource: Option<String>,
    /// RESERVE: after so many seconds it is free again by itself.
    #[serde(default, deserialize_with = "whole_number")]
    ttl_seconds: Option<i64>,
    /// RESERVE: a tag of yours, shown in events.
    resource_type: Option<String>,
    /// RESERVE: shown wherever the holder is shown.
    note: Option<String>,
    /// RESERVE: slots of a pool.
    #[serde(default, deserialize_with = "whole_number")]
    quantity: Option<i64>,
    /// UNRESERVE: the token that reserve answered with.
    release_token: Option<String>,
}

impl TransactionItem {
    fn parse_reserve(errors: &mut FieldErrors, at: usize, raw: Self) -> Option<ReserveRequest> {
        let Self { requester, resource, ttl_seconds, resource_type, note, quantity, .. } = raw;
        let (wait_seconds, priority, keep_alive_seconds) = (None, None, None);
        ReserveItem::parse(
            errors,
            at,
            ReserveItem {
                requester,
                resource,
                ttl_seconds,
                resource_type,
                note,
                quantity,
                wait_seconds,
                priority,
                keep_alive_seconds,
            },
        )
    }

    fn parse_unreserve(errors: &mut FieldErrors, at: usize, raw: Self) -> Option<ReleaseRequest> {
        let Self { requester, resource, release_token, .. } = raw;
        UnreserveItem::parse(errors, at, UnreserveItem { requester, resource, release_token })
    }
}

/// Outcome of one transaction.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct TransactionResult {
    method: Word<Method>,
    request_type: Word<TransactionType>,
    status: Word<TransactionStatus>,
    /// The status word, or why it was rolled back.
    explanation: String,
    /// Outcomes of its items, in order; where it waits, as if it had been rolled back: who is in the way of which.
    results: Vec<TransactionItemResult>,
    /// Of `WAITING`: the ticket; ask for it at least every `keepAliveSeconds`.
    ticket: Option<String>,
    /// Of `WAITING`: the place in line; 1 is next.
    place: Option<i64>,
    /// Of `WAITING`: when the wait ends.
    #[serde(with = "wire_option")]
    wait_expires_at: Option<DateTime<Utc>>,
    /// Of `WAITING`: when it is expected to be served; null where a holder or somebody ahead has no end.
    #[serde(with = "wire_option")]
    expected_by: Option<DateTime<Utc>>,
}

/// Outcome of one item, as reserve or unreserve answers it.
#[derive(Debug, Serialize, Union)]
#[serde(untagged)]
#[oai(one_of)]
enum TransactionItemResult {
    Reserve(Box<ReserveResult>),
    Unreserve(UnreserveResult),
}

impl TransactionResult {
    pub(super) fn of(transaction: &Transaction, outcome: TransactionOutcome<'_>) -> Self {
        Self::of_parts(transaction.method, transaction.items.request_type(), outcome)
    }

    pub(super) fn of_parts(method: Method, request_type: TransactionType, outcome: TransactionOutcome<'_>) -> Self {
        let conflict = match &outcome.results {
            Results::Reserve(results) => results.iter().find_map(|(_, outcome)| match outcome {
                ItemOutcome::Decided(ReserveOutcome::Refused(conflict)) => Some(conflict.explain()),
                _ => None,
            }),
            Results::Unreserve(results) => results.iter().find_map(|(claim, outcome)| match outcome {
                ItemOutcome::Decided(ReleaseOutcome::NotOwner(holder)) => {
                    Some(holder.explain_to(&claim.requester, &claim.resource))
                }
                _ => None,
            }),
        };
        let explanation = match (outcome.status, conflict) {
            (TransactionStatus::RolledBack, Some(conflict)) => format!("Nothing was changed. {conflict}"),
            (TransactionStatus::WouldDeadlock, _) => explain_circle(&outcome.circle),
            (status, _) => status.name().into(),
        };
        let mut result = Self {
            ticket: None,
            wait_expires_at: None,
            expected_by: None,
            place: None,
            method: Word(method),
            request_type: Word(request_type),
            status: Word(outcome.status),
            explanation,
            results: match outcome.results {
                Results::Reserve(results) => results.into_iter().map(reserve_result).collect(),
                Results::Unreserve(results) => results.into_iter().map(unreserve_result).collect(),
            },
        };
        outcome.place.iter().for_each(|place| result.move_to(place));
        result
    }

    /// Whether it was carried out.
    pub(super) fn is_applied(&self) -> bool {
        self.status.0 == TransactionStatus::Applied
    }

    /// It waits at this place.
    pub(super) fn move_to(&mut self, place: &Place) {
        self.explanation = explain_place(place);
        self.ticket = Some(place.ticket.to_string());
        self.place = Some(place.place);
        self.wait_expires_at = Some(instant(place.ends_ms));
        self.expected_by = place.expected_ms.map(instant);
    }
}

fn reserve_result((request, outcome): (&ReserveRequest, ItemOutcome<ReserveOutcome>)) -> TransactionItemResult {
    TransactionItemResult::Reserve(Box::new(match outcome {
        ItemOutcome::Decided(outcome) => {
            ReserveResult::of(request.resource.clone(), request.requester.clone(), outcome)
        }
        ItemOutcome::Skipped => ReserveResult::not_carried_out(request, ReserveStatus::Skipped),
        ItemOutcome::RolledBack => ReserveResult::not_carried_out(request, ReserveStatus::RolledBack),
    }))
}

fn unreserve_result((claim, outcome): (&ReleaseRequest, ItemOutcome<ReleaseOutcome>)) -> TransactionItemResult {
    TransactionItemResult::Unreserve(match outcome {
        ItemOutcome::Decided(outcome) => UnreserveResult::of(claim.resource.clone(), claim.requester.clone(), outcome),
        ItemOutcome::Skipped => UnreserveResult::not_carried_out(claim, ReleaseStatus::Skipped),
        ItemOutcome::RolledBack => UnreserveResult::not_carried_out(claim, ReleaseStatus::RolledBack),
    })
}

/// Parses a body of `POST /Reservation/transactions`, as far as that needs no Redis.
#[cfg(any(test, fuzzing))]
pub(in crate::http) fn parse_transactions(bytes: &[u8]) -> Result<(), ApiError> {
    let list: TransactionList = crate::http::wire::request::parse(bytes)?;
    parse(list.0).map(drop)
}
