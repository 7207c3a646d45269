//! Describing types: how the OpenAPI document shows JSON that is not written or read through a derived type.
//!
//! [`domain::event`](crate::domain::event) writes events, and `PublishItem` reads them with their data untouched. Nothing
//! here is ever constructed; the test below, and `tests/suite/events/schema.rs` on the wire, hold these types equal to
//! the real ones.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, Union,
    registry::{MetaSchema, Registry},
    types::{Any, Type},
};

/// The schemas of event data. The document needs them added: no route refers to them, since the body of a stream is text.
pub(in crate::http) fn event_schemas() -> BTreeMap<String, MetaSchema> {
    let mut registry = Registry::new();
    StreamEvent::register(&mut registry);
    registry.schemas
}

use crate::{
    domain::{
        event::{EventType, Explanation, RequestType},
        tier::LimitType,
        transaction::Method,
    },
    http::wire::word::Word,
};

/// The data of a reservation's event. Every key is always there, null where it does not apply.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct ReservationEvent {
    /// The position as a string; null in a refusal, which is live only.
    id: Option<String>,
    r#type: Word<EventType>,
    tenant_id: String,
    /// The physical name: of a pool, the slot's.
    resource: Option<String>,
    requester: Option<String>,
    explanation: Option<Word<Explanation>>,
    /// A sentence, where the word is not enough.
    reason: Option<String>,
    resource_type: Option<String>,
    api_key_label: Option<String>,
    /// Null where no call asked for it: expiry, reset, force release.
    request_type: Option<Word<RequestType>>,
    timestamp: DateTime<Utc>,
    /// Of a transaction.
    method: Option<Word<Method>>,
    /// Of a transaction: every item.
    changes: Option<Vec<EventChange>>,
    limit_type: Option<Word<LimitType>>,
    limit: Option<i64>,
    fencing_token: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
    /// The pool that the resource is a slot of.
    pool: Option<String>,
    /// Of a pool: every slot of the reservation.
    slots: Option<Vec<String>>,
    blockers: Option<Vec<String>>,
    /// The holder's note.
    note: Option<String>,
    /// Of a wait, and of what was granted to it: the ticket.
    ticket: Option<String>,
    /// How long it was waited for, in milliseconds.
    waited_ms: Option<i64>,
    /// Of `WAITING`: the place in line; 1 is next.
    place: Option<i64>,
    /// Of `WAITING`: when the wait ends.
    wait_expires_at: Option<DateTime<Utc>>,
}

/// One item of a transaction's event.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct EventChange {
    resource: String,
    requester: String,
    request_type: Word<RequestType>,
    explanation: Word<Explanation>,
    fencing_token: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
    pool: Option<String>,
}

/// The data of an event of the tenant's own platform: see `POST /api/v1/events`.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct PlatformEvent {
    /// The string of the frame's id.
    id: String,
    r#type: String,
    company_id: Option<String>,
    /// As it was published: any JSON. `PublishItem` says what is usual for `decision`, `trade`, `score` and `season`.
    data: Any<serde_json::Value>,
    timestamp: DateTime<Utc>,
}

/// The data of `RESET_CURSOR`: what came between is not known here; read activeReservations again.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct ResetCursor {
    /// `unknown`: there never was such a position. `too_old`: what followed it is kept no more. `lost`: Redis lost published events.
    reason: String,
    /// Where the stream goes on.
    as_of: i64,
}

/// The data of the first event of a stream, which has no type (`message` to a browser).
#[derive(Object)]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct Connected {
    /// `connected`.
    r#type: String,
    /// Redis' clock as the stream was opened.
    timestamp: DateTime<Utc>,
}

/// The data of an event of `GET /api/v1/events`, one line of JSON; the line `event:` says which it is.
#[derive(Union)]
#[allow(dead_code, clippy::large_enum_variant, reason = "it only describes")]
pub(super) enum StreamEvent {
    Reservation(ReservationEvent),
    Platform(PlatformEvent),
    Reset(ResetCursor),
    Connected(Connected),
}

/// An event to publish.
#[derive(Object)]
#[oai(rename = "PublishItem", rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct PublishItemDescribed {
    /// A small letter, then up to 63 of small letters, digits, `.`, `_`, `:` and `-`. Not `open`, `error`, `message`, `connected` or
    /// `heartbeat`. `decision`, `trade`, `score` and `season` are described in `data`; others are your own.
    r#type: String,
    /// The company's id, registered or not; null where none is meant.
    company_id: Option<String>,
    /// Instead of the id: the slug of a registered company.
    company: Option<String>,
    /// Any JSON of at most 16 KiB, handed on as it is.
    ///
    /// Four types have a usual shape, which is not checked:
    ///
    /// | type | data |
    /// | --- | --- |
    /// | `decision` | a round of decisions was completed: `round` (a number), `agent`, `action`, `reasoning` |
    /// | `trade` | something was bought or sold: `tokenSymbol`, `side` (`buy`, `sell`), `amount` and `price` (decimal numbers as text) |
    /// | `score` | a score was updated: `score`, `previousScore`, `rank` (numbers) |
    /// | `season` | a season or an epoch began or ended: `season`, `epoch` (numbers), `phase` (`started`, `ended`) |
    data: Any<serde_json::Value>,
    /// When it happened; without it the moment of publishing.
    timestamp: Option<DateTime<Utc>>,
    /// 1 to 256 bytes: within an hour the same id publishes once.
    dedupe_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        domain::{
            event::{self, Change},
            platform,
        },
        feed::{Frame, ResetReason},
        http::events::publish::PublishItem,
    };

    fn described<T: Type>() -> BTreeSet<String> {
        let mut registry = Registry::new();
        T::register(&mut registry);
        let schema = registry.schemas.remove(&*T::name()).unwrap();
        schema.properties.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    /// The JSON of a frame's `data` line.
    fn data(frame: &Frame) -> Value {
        let text = std::str::from_utf8(frame.bytes()).unwrap();
        serde_json::from_str(text.split_once("data: ").unwrap().1).unwrap()
    }

    #[test]
    fn described_events_have_the_keys_of_the_real_ones() {
        let change = Change {
            resource: "r".into(),
            requester: "w".into(),
            request_type: RequestType::Reserve,
            explanation: Explanation::Acquired,
            fencing_token: None,
            expires_at: None,
            pool: None,
        };
        let event = event::ReservationEvent {
            changes: Some(vec![change]),
            ..event::ReservationEvent::bare(EventType::TransactionApplied, "t", DateTime::UNIX_EPOCH)
        };
        let event = data(&Frame::reservation(None, &event).unwrap());
        assert_eq!(described::<ReservationEvent>(), keys(&event));
        assert_eq!(described::<EventChange>(), keys(&event["changes"][0]));

        let event = platform::PlatformEvent {
            kind: "trade".into(),
            company_id: None,
            company_slug: None,
            data: "1".into(),
            timestamp: DateTime::UNIX_EPOCH,
        };
        assert_eq!(described::<PlatformEvent>(), keys(&data(&Frame::platform(1, &event).unwrap())));
        assert_eq!(described::<ResetCursor>(), keys(&data(&Frame::reset_cursor(ResetReason::Lost, 1))));
    }

    #[test]
    fn described_fields_of_an_event_to_publish_are_those_that_are_read() {
        let parse = |key: &str, value: Value| serde_json::from_value::<PublishItem>(json!({ key: value }));
        let read = |key: &str| parse(key, json!(["no field is a list"])).is_err() || key == "data";
        for key in described::<PublishItemDescribed>() {
            assert!(read(&key), "{key} is described and not read");
        }
        let all = ["type", "companyId", "company", "data", "timestamp", "dedupeId"];
        assert_eq!(described::<PublishItemDescribed>(), all.map(String::from).into());
    }
}
