//! Event data as it is sent, against the schemas of the OpenAPI document: every key, every type.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    document,
    sse::Seen,
    world::{Client, World},
};

/// Types that a reservation's event can have.
const TYPES: [&str; 12] = [
    "RESERVED",
    "UNRESERVED",
    "RENEWED",
    "RESERVATION_EXPIRED",
    "RESERVE_FAILED",
    "UNRESERVE_FAILED",
    "TRANSACTION_APPLIED",
    "TRANSACTION_ROLLED_BACK",
    "RESET",
    "TIER_LIMIT_REACHED",
    "WAITING",
    "WAIT_ENDED",
];

/// Properties of the document's schemas for which a value was seen.
#[derive(Default)]
struct Properties {
    seen: BTreeSet<String>,
}

impl Properties {
    /// Asserts that an object is as a schema says, and remembers which keys had a value.
    fn assert_object(&mut self, schema: &str, object: &Value) {
        document::assert_is(schema, object, "the event");
        let valued = object.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
        self.seen.extend(valued.map(|(key, _)| format!("{schema}.{key}")));
    }

    /// Asserts that each key of a schema had a value once.
    fn assert_all_seen(&self, schema: &str) {
        for key in document::DOCUMENT["components"]["schemas"][schema]["properties"].as_object().unwrap().keys() {
            assert!(self.seen.contains(&format!("{schema}.{key}")), "{schema}.{key} was never sent");
        }
    }
}

/// A transaction that takes everything or nothing.
fn transaction(requester: &str, resources: &[&str]) -> Value {
    let requests: Value =
        resources.iter().map(|name| json!({"requester": requester, "resource": name, "ttlSeconds": 600})).collect();
    json!([{"method": "ALL_OR_NONE", "requestType": "RESERVE", "requests": requests}])
}

/// Causes every type of event, and between them a value in every field.
async fn cause_every_event(at: &Client<'_>) {
    let definitions = json!([{"name": "GPU", "capacity": 3}, {"name": "deploy", "blocks": ["database"]}]);
    assert_eq!(at.post("/Resource/register", definitions).await.status, 200);
    let job =
        json!([{"requester": "w1", "resource": "expires", "resourceType": "Job", "ttlSeconds": 1, "note": "nightly"}]);
    assert_eq!(at.post("/Reservation/reserve", job).await.statuses(), ["ACQUIRED"]);
    at.acquire("w1", "GPU", None).await;
    let held = at.acquire("w1", "deploy", Some(600)).await;
    at.renew("w1", "deploy", &held["releaseToken"], 900).await;
    at.reserve("w2", "deploy", None).await;
    at.unreserve("w2", "deploy", &json!("wrong")).await;
    at.post("/Reservation/transactions", transaction("w1", &["GPU_1", "a"])).await;
    at.post("/Reservation/transactions", transaction("w2", &["b", "deploy"])).await;
    let waits = json!([{"requester": "w3", "resource": "deploy", "waitSeconds": 60}]);
    let waiting = at.post("/Reservation/reserve", waits).await.body[0]["ticket"].clone();
    assert_eq!(at.delete(&format!("/Reservation/tickets/{}", waiting.as_str().unwrap())).await.status, 200);
    at.unreserve("w1", "deploy", &held["releaseToken"]).await;
    for number in 0.. {
        let item = json!([{"requester": "w1", "resource": format!("more-{number}")}]);
        if at.post("/Reservation/reserve", item).await.status == 429 {
            break;
        }
    }
}

#[tokio::test]
async fn every_reservation_event_is_as_described() {
    // Given a tenant that may hold twenty reservations.
    let tiers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tiers.path(), "[Pro]\nconcurrent_reservations = 20\n").unwrap();
    let world = World::<1>::with(&[], &[("TIERS_FILE", tiers.path().to_str().unwrap())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut stream = at.events("").await;
    stream.head().await;

    // When every type of event was sent; the reset comes once the short reservation has expired.
    cause_every_event(&at).await;
    let (mut properties, mut missing) = (Properties::default(), BTreeSet::from(TYPES));
    while !missing.is_empty() {
        if missing.len() == 1 && missing.contains("RESET") {
            assert_eq!(at.post("/Reservation/reset", json!({})).await.status, 200);
        }
        let (kind, event, _) = stream.event().await;
        assert_eq!(event["type"], kind);
        properties.assert_object("ReservationEvent", &event);
        for change in event["changes"].as_array().into_iter().flatten() {
            properties.assert_object("EventChange", change);
        }
        missing.remove(kind.as_str());
    }

    // Then none differed from its schema, and every field had a value in one of them.
    properties.assert_all_seen("ReservationEvent");
    properties.assert_all_seen("EventChange");
}

#[tokio::test]
async fn every_other_event_is_as_described() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut properties = Properties::default();

    let mut stream = at.events("").await;
    stream.head().await;
    let trade = json!({"side": "buy"});
    let published =
        json!([{"type": "trade", "companyId": "c-1", "data": trade}, {"type": "own", "data": [1, "a", null]}]);
    assert_eq!(at.post("/events", published).await.status, 202);
    for kind in ["trade", "own"] {
        properties.assert_object("PlatformEvent", &stream.expect(kind).await);
    }
    properties.assert_all_seen("PlatformEvent");

    let mut reset = at.events("?lastEventId=1").await;
    assert!(matches!(reset.next().await, Some(Seen::Retry(_))));
    assert!(matches!(reset.next().await, Some(Seen::Event { kind, .. }) if kind == "message"));
    properties.assert_object("ResetCursor", &reset.expect("RESET_CURSOR").await);
}
