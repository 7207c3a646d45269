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
    ReservationEvent::register(&mut registry);
    PlatformEvent::register(&mut registry);
    ResetCursor::register(&mut registry);
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

/// The data of an event of the tenant's own platform: see `POST /events`.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct PlatformEvent {
    /// The string of the frame's id.
    id: String,
    r#type: String,
    company_id: Option<String>,
    /// As it was published: of `decision`, `trade`, `score` and `season` usually a `DecisionData`, `TradeData`, `ScoreData` or
    /// `SeasonData`.
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

/// An event to publish.
#[derive(Object)]
#[oai(rename = "PublishItem", rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct PublishItemDescribed {
    /// A small letter, then up to 63 of small letters, digits, `.`, `_`, `:` and `-`. Not `open`, `error`, `message`, `connected` or
    /// `heartbeat`. `decision`, `trade`, `score` and `season` are described; others are your own.
    r#type: String,
    /// The company's id, registered or not; null where none is meant.
    company_id: Option<String>,
    /// Instead of the id: the slug of a registered company.
    company: Option<String>,
    /// At most 16 KiB of JSON, handed on as it is. For the described types one of those shapes, which is not checked.
    data: KnownData,
    /// When it happened; without it the moment of publishing.
    timestamp: Option<DateTime<Utc>>,
    /// 1 to 256 bytes: within an hour the same id publishes once.
    dedupe_id: Option<String>,
}

/// The data of a described type, or anything else.
#[derive(Union)]
#[allow(dead_code, reason = "it only describes")]
pub(super) enum KnownData {
    Decision(DecisionData),
    Trade(TradeData),
    Score(ScoreData),
    Season(SeasonData),
    Own(OwnData),
}

/// `decision`: an agent's round of decisions was completed.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct DecisionData {
    /// Which round.
    round: Option<i64>,
    /// Who decided.
    agent: Option<String>,
    /// What was decided.
    action: Option<String>,
    /// Why, in words.
    reasoning: Option<String>,
}

/// `trade`: a token was bought or sold.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct TradeData {
    /// `$ALPHA`
    token_symbol: Option<String>,
    /// `buy` or `sell`.
    side: Option<String>,
    /// A decimal number as a string.
    amount: Option<String>,
    /// A decimal number as a string.
    price: Option<String>,
}

/// `score`: a company's score was updated.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct ScoreData {
    /// The new score.
    score: Option<f64>,
    /// The one before.
    previous_score: Option<f64>,
    /// Its place among all.
    rank: Option<i64>,
}

/// `season`: a season or epoch began or ended.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct SeasonData {
    /// Which season.
    season: Option<i64>,
    /// Which epoch of it.
    epoch: Option<i64>,
    /// `started` or `ended`.
    phase: Option<String>,
}

/// Your own shape: any JSON.
#[derive(Object)]
#[allow(dead_code, reason = "it only describes")]
pub(super) struct OwnData {}

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
