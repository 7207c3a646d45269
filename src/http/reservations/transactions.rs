//! Transactions over HTTP.

use poem_openapi::{Object, OpenApi, Union};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        fault::FieldErrors,
        reservation::{ReleaseRequest, ReserveRequest, batch},
        transaction::{Items, Method, Results, Transaction, TransactionOutcome, bound, within},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Write},
        reservations::{ReserveItem, ReserveResult, UnreserveItem, UnreserveResult, done_with_tokens},
        wire::{error::ApiError, request::Body, response::Answer},
    },
};

pub(in crate::http) struct Transactions;

#[OpenApi(tag = "Tag::Reservations")]
impl Transactions {
    /// Reserve or release groups, each atomic.
    ///
    /// They run in order. `ALL_OR_NONE`: everything or nothing. `AS_MANY_AS_POSSIBLE`: what is free. `FIRST`: the first that is free, and
    /// if the requester already has one of them, that one. A bad token or a passed limit anywhere refuses the whole call, and nothing
    /// changes. Repeating a RESERVE is safe, and emits no event when it changes nothing.
    #[oai(path = "/Reservation/transactions", method = "post", operation_id = "transactions")]
    async fn transactions(
        &self,
        caller: Authorized<Write>,
        here: AppState,
        body: Body<Vec<TransactionRequest>>,
    ) -> Result<Answer<Vec<TransactionResult>>, ApiError> {
        let transactions = parse(body.0)?;
        let told = here.store().transactions(&caller.0, &transactions).await?;
        let claims = claims_of(&transactions);
        let outcomes = done_with_tokens(told, &caller.0, claims.iter())?;
        Ok(Answer(outcomes.map(|outcomes| {
            transactions
                .into_iter()
                .zip(outcomes)
                .map(|(transaction, outcome)| TransactionResult::of(transaction, outcome))
                .collect()
        })))
    }
}

fn parse(raw: Vec<TransactionRequest>) -> Result<Vec<Transaction>, ApiError> {
    let mut faults = FieldErrors::default();
    bound(&mut faults, &raw.iter().map(|raw| raw.requests.as_ref().map_or(0, Vec::len)).collect::<Vec<_>>());
    let mut transactions = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let method = faults.keep(|| format!("[{at}].method"), Method::parse(raw.method.as_deref()));
        let requests = raw.requests.unwrap_or_default();
        let prefix = format!("[{at}].requests");
        let items = match raw.request_type.as_deref() {
            Some("RESERVE") => batch(requests, TransactionItem::parse_reserve).map(Items::Reserve),
            Some("UNRESERVE") => batch(requests, TransactionItem::parse_unreserve).map(Items::Unreserve),
            Some(other) => {
                faults.add(format!("[{at}].requestType"), format!("is \"{other}\"; it must be RESERVE or UNRESERVE"));
                continue;
            }
            None => {
                faults.add(format!("[{at}].requestType"), "is required: RESERVE or UNRESERVE");
                continue;
            }
        };
        match (items, method) {
            (Ok(items), Some(method)) => transactions.push(Transaction { method, items }),
            // What concerns the list as a whole has been said already.
            (Err(found), _) => {
                within(found.into_iter().filter(|fault| !fault.path.is_empty()).collect(), &prefix, &mut faults)
            }
            (Ok(_), None) => {}
        }
    }
    faults.or(transactions).map_err(ApiError::validation)
}

/// The claims of all items in order, so that a refusal for wrong tokens can name each; a wanted resource carries no token.
fn claims_of(transactions: &[Transaction]) -> Vec<ReleaseRequest> {
    let of_one = |transaction: &Transaction| match &transaction.items {
        Items::Unreserve(claims) => claims.clone(),
        Items::Reserve(wanted) => wanted
            .iter()
            .map(|item| ReleaseRequest {
                requester: item.requester.clone(),
                resource: item.resource.clone(),
                token: None,
            })
            .collect(),
    };
    transactions.iter().flat_map(of_one).collect()
}

/// A group of requests.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct TransactionRequest {
    /// `ALL_OR_NONE`, `AS_MANY_AS_POSSIBLE` or `FIRST`.
    method: Option<String>,
    /// `RESERVE` or `UNRESERVE`.
    request_type: Option<String>,
    /// Items as in reserve, or as in unreserve. All transactions of a call together have 1 to 1,000.
    requests: Option<Vec<TransactionItem>>,
}

/// An item as in reserve (without `releaseToken`), or as in unreserve.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct TransactionItem {
    /// Who wants it, or holds it: unique per holder.
    requester: Option<String>,
    /// What is wanted, or given back.
    resource: Option<String>,
    /// RESERVE: after so many seconds it is free again by itself.
    ttl_seconds: Option<i64>,
    /// RESERVE: a tag of yours, shown in events.
    resource_type: Option<String>,
    /// RESERVE: shown wherever the holder is shown.
    note: Option<String>,
    /// UNRESERVE: the token that reserve answered with.
    release_token: Option<String>,
}

impl TransactionItem {
    fn parse_reserve(faults: &mut FieldErrors, at: usize, raw: Self) -> Option<ReserveRequest> {
        let Self { requester, resource, ttl_seconds, resource_type, note, .. } = raw;
        ReserveItem::parse(faults, at, ReserveItem { requester, resource, ttl_seconds, resource_type, note })
    }

    fn parse_unreserve(faults: &mut FieldErrors, at: usize, raw: Self) -> Option<ReleaseRequest> {
        let Self { requester, resource, release_token, .. } = raw;
        UnreserveItem::parse(faults, at, UnreserveItem { requester, resource, release_token })
    }
}

/// What became of a group.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct TransactionResult {
    method: String,
    request_type: String,
    /// `APPLIED` or `ROLLED_BACK`.
    status: String,
    /// The status word, or why it was rolled back.
    explanation: String,
    /// What became of its items, in order. Beside the statuses of reserve and unreserve: `ROLLED_BACK`, `SKIPPED`.
    results: Vec<TransactionItemResult>,
}

/// What became of an item: as reserve or unreserve answers it.
#[derive(Debug, Serialize, Union)]
#[serde(untagged)]
pub(in crate::http) enum TransactionItemResult {
    Reserve(ReserveResult),
    Unreserve(UnreserveResult),
}

impl TransactionResult {
    fn of(transaction: Transaction, outcome: TransactionOutcome) -> Self {
        let method = transaction.method.name().to_owned();
        let request_type = transaction.items.request_type().to_owned();
        let results: Vec<_> = match (transaction.items, outcome.results) {
            (Items::Reserve(wanted), Results::Reserve(granted)) => wanted
                .into_iter()
                .zip(granted)
                .map(|(wanted, granted)| TransactionItemResult::Reserve(ReserveResult::of(wanted, granted)))
                .collect(),
            (Items::Unreserve(claims), Results::Unreserve(released)) => claims
                .into_iter()
                .zip(released)
                .map(|(claim, released)| TransactionItemResult::Unreserve(UnreserveResult::of(claim, released)))
                .collect(),
            _ => Vec::new(),
        };
        let status = if outcome.applied { "APPLIED" } else { "ROLLED_BACK" };
        let conflict = results.iter().find_map(|result| match result {
            TransactionItemResult::Reserve(result) => result.conflict(),
            TransactionItemResult::Unreserve(result) => result.conflict(),
        });
        let explanation = match conflict {
            Some(conflict) if !outcome.applied => format!("Nothing was changed. {conflict}"),
            _ => status.to_owned(),
        };
        Self { method, request_type, status: status.into(), explanation, results }
    }
}
