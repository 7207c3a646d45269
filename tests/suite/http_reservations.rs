//! Reserve, unreserve, renew, check and the listing, through HTTP.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_free_thing_is_acquired_and_every_key_is_there() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);

    let answer = at.post("/Reservation/reserve", json!([{"requester": "w1", "resource": "job-42", "ttlSeconds": 60, "note": "why"}])).await;

    assert_eq!(answer.status, 200);
    let granted = &answer.body[0];
    let keys: Vec<_> = granted.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        [
            "resource",
            "requester",
            "status",
            "explanation",
            "releaseToken",
            "expiresAt",
            "acquiredSlots",
            "acquiredBlockers",
            "reservedAtPath",
            "fencingToken",
            "holder",
            "holderExpiresAt"
        ]
    );
    assert_eq!((granted["status"].as_str(), granted["explanation"].as_str()), (Some("ACQUIRED"), Some("ACQUIRED")));
    uuid::Uuid::parse_str(granted["releaseToken"].as_str().unwrap()).unwrap();
    assert_eq!(granted["fencingToken"].as_i64().unwrap(), answer.number("holdfast-position"));
    let now_us = answer.number("holdfast-time");
    let expires = chrono::DateTime::parse_from_rfc3339(granted["expiresAt"].as_str().unwrap()).unwrap().timestamp_micros();
    assert!((60_000_000..60_002_000).contains(&(expires - now_us)), "never early, and at once: {}", expires - now_us);
    assert_eq!(granted["acquiredSlots"], Value::Null);
}

#[tokio::test]
async fn what_is_held_stays_with_its_holder() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let first = north.acquire("w1", "printer", Some(60)).await;

    let again = south.reserve("w1", "printer", Some(600)).await;
    assert_eq!(again["status"], "ALREADY_HAD");
    assert_eq!(again["releaseToken"], first["releaseToken"]);
    assert_eq!(again["fencingToken"], first["fencingToken"]);
    assert_eq!(again["expiresAt"], first["expiresAt"], "the expiry is not moved");

    let other = south.reserve("w2", "printer", None).await;
    assert_eq!(other["status"], "ALREADY_HELD");
    assert_eq!(other["holder"], "w1");
    assert_eq!(other["holderExpiresAt"], first["expiresAt"]);
    assert_eq!(other["releaseToken"], Value::Null);
    let sentence = other["explanation"].as_str().unwrap();
    assert!(sentence.contains("printer") && sentence.contains("w1"), "{sentence}");
}
