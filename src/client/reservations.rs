//! The reservation calls.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::client::{
    call::{Call, Repeat, Reply, encode},
    error::ClientError,
    shapes::{ReleaseItem, RenewItem, ReserveItem, Transaction},
    transport::Transport,
};

/// Time beyond a held answer's own before the attempt is given up.
pub(super) const HOLD_SLACK: Duration = Duration::from_secs(10);
/// Rows of a page of a listing.
const PAGE_ROWS: usize = 1_000;
/// Pages of one listing: a bound on a server that never ends it. A billion rows.
const MOST_PAGES: usize = 1_000_000;

/// The API's calls. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(super) transport: Transport,
}

impl Client {
    /// A client over a transport.
    #[must_use]
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// The service's address as people write it.
    #[must_use]
    pub fn url(&self) -> String {
        self.transport.url()
    }

    /// Reserves resources, each on its own. The answer is held back for up to `hold`, rounded up to whole seconds, while something waits.
    /// Safe to repeat.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reserve(&self, items: &[ReserveItem], hold: Duration) -> Result<Reply, ClientError> {
        self.held("/api/v1/Reservation/reserve", items, hold).await
    }

    /// Reserves resources in one transaction. The answer is held back for up to `hold`, rounded up, while it waits. Safe to repeat.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn transact(&self, transaction: &Transaction, hold: Duration) -> Result<Reply, ClientError> {
        self.held("/api/v1/Reservation/transactions", std::slice::from_ref(transaction), hold).await
    }

    async fn held<T: Serialize>(&self, path: &str, body: &[T], hold: Duration) -> Result<Reply, ClientError> {
        let seconds = whole_seconds(hold);
        if seconds == 0 {
            return self.transport.call(Call::post(path, &body, Repeat::Safe)?).await;
        }
        let call = Call::post(format!("{path}?hold={seconds}"), &body, Repeat::Safe)?;
        self.transport.call(call.attempt_timeout(Duration::from_secs(seconds) + HOLD_SLACK)).await
    }

    /// Gives reservations back. All attempts end within `timeout`. Safe to repeat: what nobody holds is a success.
    ///
    /// # Errors
    /// [`ClientError`]; a wrong release token refuses the whole call.
    pub async fn release(&self, items: &[ReleaseItem], timeout: Option<Duration>) -> Result<Reply, ClientError> {
        let call = Call::post("/api/v1/Reservation/unreserve", &items, Repeat::Safe)?;
        self.transport.call(within(call, timeout)).await
    }

    /// Prolongs reservations. All attempts end within `timeout`. Safe to repeat.
    ///
    /// # Errors
    /// [`ClientError`]; a wrong release token refuses the whole call.
    pub async fn renew(&self, items: &[RenewItem], timeout: Option<Duration>) -> Result<Reply, ClientError> {
        let call = Call::post("/api/v1/Reservation/renew", &items, Repeat::Safe)?;
        self.transport.call(within(call, timeout)).await
    }

    /// Looks who holds resources; one row per name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn check(&self, resources: &[String]) -> Result<Reply, ClientError> {
        let call = Call::post("/api/v1/Reservation/check", &json!({"resources": resources}), Repeat::Safe)?;
        self.transport.call(call).await
    }

    /// Lists the active reservations, page by page, and joins the pages into one body like the listing's own:
    /// `{reservations, asOf, nextCursor}`. A name that recurs keeps the row of the greater fence.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(&self, prefix: Option<&str>, requester: Option<&str>) -> Result<Value, ClientError> {
        let mut query = String::new();
        for (name, value) in [("prefix", prefix), ("requester", requester)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        let (rows, as_of) = self.pages("/api/v1/Reservation/activeReservations", &query, "reservations").await?;
        let mut newest: Map<String, Value> = Map::new();
        let fence = |row: &Value| row["fencingToken"].as_i64().unwrap_or_default();
        for row in rows {
            let name = row["resource"].as_str().unwrap_or_default().to_owned();
            if newest.get(&name).is_none_or(|known| fence(known) < fence(&row)) {
                newest.insert(name, row);
            }
        }
        let rows: Vec<Value> = newest.into_iter().map(|(_, row)| row).collect();
        Ok(json!({"reservations": rows, "asOf": as_of, "nextCursor": null}))
    }

    /// Every row of a paged listing, and the first page's position.
    pub(super) async fn pages(&self, path: &str, query: &str, field: &str) -> Result<(Vec<Value>, Value), ClientError> {
        let (mut rows, mut as_of, mut cursor) = (Vec::new(), Value::Null, String::new());
        for page in 0..MOST_PAGES {
            let reply = self.transport.call(Call::get(format!("{path}?limit={PAGE_ROWS}{query}{cursor}"))).await?;
            let mut body: Map<String, Value> = reply.parse()?;
            if page == 0 {
                as_of = body.remove("asOf").unwrap_or_default();
            }
            if let Some(Value::Array(found)) = body.remove(field) {
                rows.extend(found);
            }
            match body.remove("nextCursor") {
                Some(Value::String(next)) => cursor = format!("&cursor={}", encode(&next)),
                _ => break,
            }
        }
        Ok((rows, as_of))
    }

    /// Ends a reservation whoever holds it. Needs the scope admin. Not repeated where its outcome is unknown: by then somebody else may
    /// hold it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn force_release(&self, resource: &str, reason: Option<&str>) -> Result<Reply, ClientError> {
        let body = json!({"resource": resource, "reason": reason});
        self.transport.call(Call::post("/api/v1/Reservation/forceRelease", &body, Repeat::OnlyUnsent)?).await
    }

    /// Publishes one event. With a `dedupeId` it is safe to repeat, else an unknown outcome is not tried again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn publish(&self, event: &Value) -> Result<Reply, ClientError> {
        let repeat = if event.get("dedupeId").is_some() { Repeat::Safe } else { Repeat::OnlyUnsent };
        self.transport.call(Call::post("/api/v1/events", event, repeat)?).await
    }
}

/// A duration as the wire takes it, rounded up: nothing is given up before the caller's time is over.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn within(call: Call, timeout: Option<Duration>) -> Call {
    match timeout {
        Some(timeout) => call.within(timeout),
        None => call,
    }
}
