//! Tickets: what waits on the server.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{
    call::{Call, Reply, encode},
    error::ClientError,
    reservations::{Client, HOLD_SLACK, whole_seconds},
    shapes::{ReleaseItem, ReserveResult, TransactionResult},
};

/// Time for giving up a ticket: whoever waits for it is about to leave, and the ticket lapses by itself.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TicketStatus {
    /// In the queue.
    Waiting,
    /// Served.
    Acquired,
    /// The wait ended first.
    TimedOut,
    /// Given up by its owner, or by a reset.
    Cancelled,
    /// Nobody asked for it for too long.
    Lapsed,
    /// A status of a later version of the service.
    #[serde(other)]
    Other,
}

/// A ticket as the service shows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// Its name, a UUID.
    pub ticket: String,
    /// Where it stands.
    pub status: TicketStatus,
    /// Place in the queue; 1 is next.
    pub place: Option<u64>,
    /// When it is expected to be served.
    pub expected_by: Option<DateTime<Utc>>,
    /// When the wait ends.
    pub wait_expires_at: Option<DateTime<Utc>>,
    /// The grant, of an item of reserve.
    pub reservation: Option<ReserveResult>,
    /// The result, of a transaction.
    pub transaction: Option<TransactionResult>,
}

impl Client {
    /// Shows a ticket, held back for up to `hold`, rounded up to whole seconds, while it waits. What it shows as served is claimed by it.
    ///
    /// # Errors
    /// [`ClientError`]; 404 once a ticket has ended 10 minutes ago.
    pub async fn ticket(&self, ticket: &str, hold: Duration) -> Result<Reply, ClientError> {
        let path = format!("/api/v1/Reservation/tickets/{}", encode(ticket));
        let call = match whole_seconds(hold) {
            0 => Call::get(path),
            seconds => {
                Call::get(format!("{path}?hold={seconds}")).attempt_timeout(Duration::from_secs(seconds) + HOLD_SLACK)
            }
        };
        self.transport.call(call).await
    }

    /// Cancels a ticket. One that was served and claimed is 409: it is released by its token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel(&self, ticket: &str) -> Result<Reply, ClientError> {
        self.transport.call(Call::delete(format!("/api/v1/Reservation/tickets/{}", encode(ticket)))).await
    }

    /// Lists who waits: `{waiting, asOf, nextCursor}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn waiting(&self, resource: Option<&str>, requester: Option<&str>) -> Result<Value, ClientError> {
        let mut query = String::new();
        for (name, value) in [("resource", resource), ("requester", requester)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        let (rows, as_of) = self.pages("/api/v1/Reservation/waiting", &query, "waiting").await?;
        Ok(json!({"waiting": rows, "asOf": as_of, "nextCursor": null}))
    }

    /// Gives up a ticket whatever became of it: cancels it, or releases what it was served with.
    ///
    /// # Errors
    /// [`ClientError`]: it lapses by itself, or what it got expires.
    pub(super) async fn abandon(&self, ticket: &str) -> Result<(), ClientError> {
        let path = format!("/api/v1/Reservation/tickets/{}", encode(ticket));
        match self.transport.call(Call::delete(&*path).within(ABANDON_TIMEOUT)).await {
            Ok(_) => Ok(()),
            Err(ClientError::Refused(refusal)) if refusal.status == StatusCode::CONFLICT => {
                let shown: Ticket = self.transport.call(Call::get(path).within(ABANDON_TIMEOUT)).await?.parse()?;
                let results: Vec<ReserveResult> =
                    shown.transaction.map(|transaction| transaction.results).unwrap_or_default();
                let held = release_items(results.iter().chain(&shown.reservation));
                if !held.is_empty() {
                    self.release(&held, Some(ABANDON_TIMEOUT)).await?;
                }
                Ok(())
            }
            Err(ClientError::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a release of these results asks for: those that are held.
pub(super) fn release_items<'r>(results: impl Iterator<Item = &'r ReserveResult>) -> Vec<ReleaseItem> {
    results
        .filter(|result| result.status.is_held())
        .map(|result| ReleaseItem {
            requester: result.requester.clone(),
            resource: result.resource.clone(),
            release_token: result.release_token.clone(),
        })
        .collect()
}
