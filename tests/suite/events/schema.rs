//! Event data as it is sent, against the schemas of the OpenAPI document: every key, every type.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    sse::Seen,
    world::{Client, World, run},
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

/// The OpenAPI document, and the properties for which a value was seen.
struct Document {
    schemas: Value,
    seen: BTreeSet<String>,
}

impl Document {
    fn printed() -> Self {
        let document: Value = serde_json::from_str(&run(&["openapi"], &[]).unwrap()).unwrap();
        Self { schemas: document["components"]["schemas"].clone(), seen: BTreeSet::new() }
    }

    fn properties(&self, name: &str) -> BTreeSet<String> {
        let properties = self.schemas[name]["properties"].as_object().unwrap_or_else(|| panic!("no schema {name}"));
        properties.keys().cloned().collect()
    }

    /// Asserts that an object has the keys of a schema and no others, and values of their types.
    fn assert_object(&mut self, name: &str, object: &Value) {
        let keys: BTreeSet<String> = object.as_object().unwrap().keys().cloned().collect();
        assert_eq!(self.properties(name), keys, "{name}: {object}");
        for (key, value) in object.as_object().unwrap() {
            let place = format!("{name}.{key}");
            if !value.is_null() {
                self.seen.insert(place.clone());
            }
            let schema = self.schemas[name]["properties"][key].clone();
            self.assert_value(&place, &schema, value);
        }
    }

    fn assert_value(&mut self, place: &str, schema: &Value, value: &Value) {
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return self.assert_reference(place, reference, value);
        }
        if let Some(all) = schema["allOf"].as_array() {
            // A part that only describes, beside the reference of an optional field, matches anything.
            let mut parts = all.iter().filter(|part| part.as_object().unwrap().keys().ne(["description"])).peekable();
            assert!(parts.peek().is_some(), "{place} has no schema");
            return parts.for_each(|part| self.assert_value(place, part, value));
        }
        if let Some(words) = schema["enum"].as_array() {
            assert!(words.contains(value), "{place}: {value} is none of {words:?}");
        }
        match schema["type"].as_str() {
            Some("string") => {
                let text = value.as_str().unwrap_or_else(|| panic!("{place}: {value} is no string"));
                if schema["format"] == "date-time" {
                    chrono::DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{place}: {error}"));
                }
            }
            Some("integer") => assert!(value.is_i64(), "{place}: {value} is no integer"),
            Some("array") => {
                for item in value.as_array().unwrap_or_else(|| panic!("{place}: {value} is no array")) {
                    self.assert_value(place, &schema["items"], item);
                }
            }
            // JSON that clients publish, of any type.
            None => assert_eq!(place, "PlatformEvent.data"),
            other => panic!("{place}: the test does not know the type {other:?}"),
        }
    }

    fn assert_reference(&mut self, place: &str, reference: &str, value: &Value) {
        let name = reference.rsplit('/').next().unwrap();
        match self.schemas[name].get("properties") {
            Some(_) => self.assert_object(name, value),
            None => {
                let schema = self.schemas[name].clone();
                self.assert_value(place, &schema, value);
            }
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
    let (mut document, mut missing) = (Document::printed(), BTreeSet::from(TYPES));
    while !missing.is_empty() {
        if missing.len() == 1 && missing.contains("RESET") {
            assert_eq!(at.post("/Reservation/reset", json!({})).await.status, 200);
        }
        let (kind, event, _) = stream.event().await;
        assert_eq!(event["type"], kind);
        document.assert_object("ReservationEvent", &event);
        missing.remove(kind.as_str());
    }

    // Then none differed from its schema, and every field had a value in one of them.
    for schema in ["ReservationEvent", "EventChange"] {
        for property in document.properties(schema) {
            assert!(document.seen.contains(&format!("{schema}.{property}")), "{schema}.{property} was never sent");
        }
    }
}

#[tokio::test]
async fn every_other_event_is_as_described() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut document = Document::printed();

    let mut stream = at.events("").await;
    stream.head().await;
    let trade = json!({"side": "buy"});
    let published =
        json!([{"type": "trade", "companyId": "c-1", "data": trade}, {"type": "own", "data": [1, "a", null]}]);
    assert_eq!(at.post("/events", published).await.status, 202);
    for kind in ["trade", "own"] {
        document.assert_object("PlatformEvent", &stream.expect(kind).await);
    }
    for property in document.properties("PlatformEvent") {
        assert!(document.seen.contains(&format!("PlatformEvent.{property}")), "{property} was never sent");
    }

    let mut reset = at.events("?lastEventId=1").await;
    assert!(matches!(reset.next().await, Some(Seen::Retry(_))));
    assert!(matches!(reset.next().await, Some(Seen::Event { kind, .. }) if kind == "message"));
    document.assert_object("ResetCursor", &reset.expect("RESET_CURSOR").await);
}
