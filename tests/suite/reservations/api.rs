//! Reserve, unreserve and renew, and what an administrator and a reset end, through HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::world::{World, call};

#[tokio::test]
async fn a_free_thing_is_acquired_and_every_key_is_there() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);

    let answer = at
        .post(
            "/Reservation/reserve",
            json!([{"requester": "w1", "resource": "job-42", "ttlSeconds": 60, "note": "why"}]),
        )
        .await;

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
            "slots",
            "acquiredBlockers",
            "reservedAtPath",
            "fencingToken",
            "holder",
            "holderExpiresAt",
            "ticket",
            "place",
            "waitExpiresAt",
            "expectedBy"
        ]
    );
    assert_eq!((granted["status"].as_str(), granted["explanation"].as_str()), (Some("ACQUIRED"), Some("ACQUIRED")));
    uuid::Uuid::parse_str(granted["releaseToken"].as_str().unwrap()).unwrap();
    assert_eq!(granted["fencingToken"].as_i64().unwrap(), answer.number("holdfast-position"));
    let now_us = answer.number("holdfast-time");
    let expires =
        chrono::DateTime::parse_from_rfc3339(granted["expiresAt"].as_str().unwrap()).unwrap().timestamp_micros();
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

#[tokio::test]
async fn what_is_given_back_is_free_and_giving_back_twice_is_no_failure() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w1", "printer", None).await;
    assert_eq!(held["expiresAt"], Value::Null, "without a TTL it has no end");

    let back = at.unreserve("w1", "printer", &held["releaseToken"]).await;
    assert_eq!(back.status, 200);
    let all = json!([{"resource": "printer", "requester": "w1", "status": "RELINQUISHED", "explanation": "RELINQUISHED", "released": ["printer"]}]);
    assert_eq!(back.body, all);
    assert!(at.listed().await.is_empty());

    let again = at.unreserve("w1", "printer", &held["releaseToken"]).await;
    assert_eq!((again.statuses(), &again.body[0]["released"]), (vec!["NOT_RESERVED"], &json!([])));
    assert_eq!(
        again.number("holdfast-position"),
        back.number("holdfast-position"),
        "nothing changed, so no position was taken"
    );

    let next = at.acquire("w2", "printer", None).await;
    assert!(next["fencingToken"].as_i64() > held["fencingToken"].as_i64(), "a later grant has a greater fence");
}

#[tokio::test]
async fn only_the_holder_gives_back() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w1", "printer", Some(60)).await;

    let other = at.unreserve("w2", "printer", &held["releaseToken"]).await;

    assert_eq!(other.statuses(), ["DOESNT_OWN_RESERVATION"], "the right token does not help another requester");
    assert_eq!(other.body[0]["released"], json!([]));
    let renewal =
        json!([{"requester": "w2", "resource": "printer", "releaseToken": held["releaseToken"], "ttlSeconds": 60}]);
    let renewal = at.post("/Reservation/renew", renewal).await;
    assert_eq!(renewal.statuses(), ["DOESNT_OWN_RESERVATION"]);
    let group = json!([{"method": "ALL_OR_NONE", "requestType": "UNRESERVE", "requests": [
        {"requester": "w2", "resource": "printer", "releaseToken": held["releaseToken"]}]}]);
    let group = at.post("/Reservation/transactions", group).await;
    for answer in [&other, &renewal, &group] {
        let sentence = answer.body[0]["explanation"].as_str().unwrap();
        assert!(sentence.contains("\"printer\" is held by \"w1\""), "{sentence}");
        assert!(sentence.contains("not by \"w2\"; send the requester that reserved it"), "{sentence}");
        assert!(!sentence.to_lowercase().contains("wait"), "who gives back is not to wait for it: {sentence}");
    }
    assert_eq!(at.listed().await, ["printer"]);
}

#[tokio::test]
async fn one_wrong_token_and_nothing_is_freed_or_moved() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mine = at.acquire("w1", "mine", Some(60)).await;
    at.acquire("w1", "locked", Some(60)).await;
    at.acquire("w2", "theirs", Some(60)).await;
    let before = world.redis.snapshot();

    for wrong in [json!("00000000-0000-4000-8000-000000000000"), json!(""), Value::Null] {
        for (call, ttl) in [("unreserve", None), ("renew", Some(90))] {
            let mut items = json!([
                {"requester": "w1", "resource": "mine", "releaseToken": mine["releaseToken"]},
                {"requester": "w1", "resource": "theirs", "releaseToken": wrong},
                {"requester": "w1", "resource": "locked", "releaseToken": wrong},
                {"requester": "w1", "resource": "free", "releaseToken": wrong},
            ]);
            for (item, ttl) in items.as_array_mut().unwrap().iter_mut().zip(std::iter::repeat(ttl)) {
                item.as_object_mut().unwrap().extend(ttl.map(|ttl| ("ttlSeconds".to_owned(), json!(ttl))));
            }
            let answer = at.post(&format!("/Reservation/{call}"), items).await;
            answer.fails(403, "INVALID_RELEASE_TOKEN");
            let results: Vec<_> = answer.body["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|result| result["status"].as_str().unwrap())
                .collect();
            assert_eq!(results, ["UNCHANGED", "UNCHANGED", "INVALID_RELEASE_TOKEN", "UNCHANGED"], "{call}");
            assert_eq!(answer.body["results"][2]["resource"], "locked");
        }
    }

    assert_eq!(world.redis.snapshot(), before, "byte for byte");
}

#[tokio::test]
async fn a_renewal_moves_the_end_and_keeps_the_fence() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w1", "printer", None).await;
    at.acquire("w2", "plotter", Some(60)).await;

    let items = json!([
        {"requester": "w1", "resource": "printer", "releaseToken": held["releaseToken"], "ttlSeconds": 120},
        {"requester": "w1", "resource": "plotter", "releaseToken": "x", "ttlSeconds": 120},
        {"requester": "w1", "resource": "nothing", "releaseToken": "x", "ttlSeconds": 120},
    ]);
    let answer = at.post("/Reservation/renew", items).await;

    assert_eq!(answer.statuses(), ["RENEWED", "DOESNT_OWN_RESERVATION", "NOT_RESERVED"]);
    let keys: Vec<_> = answer.body[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["resource", "requester", "status", "explanation", "expiresAt", "fencingToken", "waiting"]);
    let renewed = &answer.body[0];
    assert_eq!(renewed["fencingToken"], held["fencingToken"]);
    let expires =
        chrono::DateTime::parse_from_rfc3339(renewed["expiresAt"].as_str().unwrap()).unwrap().timestamp_micros();
    assert!((120_000_000..120_002_000).contains(&(expires - answer.number("holdfast-time"))));
    let seen = at.get("/Reservation/check/printer").await;
    assert_eq!(seen.body["expiresAt"], renewed["expiresAt"], "what had no end has one now");
}

#[tokio::test]
async fn the_items_of_a_call_see_what_earlier_items_did() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);

    let items = json!([
        {"requester": "w1", "resource": "a", "ttlSeconds": 60},
        {"requester": "w2", "resource": "b"},
        {"requester": "w1", "resource": "a", "ttlSeconds": 600},
        {"requester": "w2", "resource": "a"},
    ]);
    let answer = at.post("/Reservation/reserve", items).await;

    assert_eq!(answer.statuses(), ["ACQUIRED", "ACQUIRED", "ALREADY_HAD", "ALREADY_HELD"]);
    let order: Vec<_> =
        answer.body.as_array().unwrap().iter().map(|result| result["resource"].as_str().unwrap()).collect();
    assert_eq!(order, ["a", "b", "a", "a"], "in the order of the request");
    assert_eq!(answer.body[2]["releaseToken"], answer.body[0]["releaseToken"]);
    assert!(answer.body[1]["fencingToken"].as_i64() > answer.body[0]["fencingToken"].as_i64());

    let token = &answer.body[0]["releaseToken"];
    let items = json!([
        {"requester": "w1", "resource": "a", "releaseToken": token},
        {"requester": "w1", "resource": "a", "releaseToken": token},
    ]);
    assert_eq!(at.post("/Reservation/unreserve", items).await.statuses(), ["RELINQUISHED", "NOT_RESERVED"]);
    assert_eq!(at.listed().await, ["b"]);
}

#[tokio::test]
async fn a_whole_batch_is_validated_before_anything_is_taken() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let good = json!({"requester": "w", "resource": "r", "ttlSeconds": 60});

    let answer = at
        .post(
            "/Reservation/reserve",
            json!([good, {"resource": "r"}, {"requester": "", "resource": "x".repeat(1025)}, {"requester": "w", "resource": "r", "ttlSeconds": 0}]),
        )
        .await;
    assert_eq!(answer.paths(), ["[1].requester", "[2].requester", "[2].resource", "[3].ttlSeconds"]);
    let answer = at
        .post(
            "/Reservation/reserve",
            json!([good, {"requester": "w", "resource": "r", "ttlSeconds": "soon"}, good, {"requester": 7}]),
        )
        .await;
    assert_eq!(answer.paths(), ["[1].ttlSeconds", "[3].requester"]);
    for ttl in [json!(0), json!(-1), json!(2_147_483_648_i64), json!(1.5), json!("60"), json!(true)] {
        let answer = at
            .post("/Reservation/reserve", json!([good, {"requester": "w", "resource": "r2", "ttlSeconds": ttl}]))
            .await;
        assert_eq!(answer.paths(), ["[1].ttlSeconds"], "{ttl}");
    }
    for (field, bad) in [
        ("resourceType", json!("")),
        ("resourceType", json!("a\nb")),
        ("note", json!("n".repeat(1025))),
        ("resource", json!("a\0b")),
    ] {
        let mut item = json!({"requester": "w", "resource": "r2"});
        item[field] = bad;
        assert_eq!(at.post("/Reservation/reserve", json!([good, item])).await.paths(), [format!("[1].{field}")]);
    }
    let answer = at.post("/Reservation/renew", json!([{"requester": "w", "resource": "r", "releaseToken": "x"}])).await;
    assert_eq!(answer.paths(), ["[0].ttlSeconds"], "a renewal without a TTL would renew for nothing");
    let answer = at.post("/Reservation/unreserve", json!([{"requester": "w"}])).await;
    assert_eq!(answer.paths(), ["[0].resource"]);

    assert!(at.listed().await.is_empty());
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_items() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let items =
        |many: usize| (0..many).map(|at| json!({"requester": "w", "resource": format!("r{at}")})).collect::<Value>();

    at.post("/Reservation/reserve", items(0)).await.fails(400, "VALIDATION_ERROR");
    at.post("/Reservation/reserve", items(1001)).await.fails(400, "VALIDATION_ERROR");
    assert!(at.listed().await.is_empty());

    let answer = at.post("/Reservation/reserve", items(1000)).await;
    assert_eq!(answer.statuses(), vec!["ACQUIRED"; 1000]);
    let fences: Vec<_> =
        answer.body.as_array().unwrap().iter().map(|result| result["fencingToken"].as_i64().unwrap()).collect();
    assert!(fences.is_sorted_by(|a, b| a < b), "each item took a position of its own");
    assert_eq!(at.listed().await.len(), 1000);
}

#[tokio::test]
async fn null_is_absent_and_a_whole_number_may_have_a_point() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let item = json!({"requester": "w", "resource": "r", "ttlSeconds": null, "resourceType": null, "note": null});

    let answer = at.post("/Reservation/reserve", json!([item])).await;

    assert_eq!(answer.statuses(), ["ACQUIRED"]);
    let row = &at.get("/Reservation").await.body["reservations"][0];
    assert_eq!(
        (&row["expiresAt"], &row["note"], row["resourceType"].as_str()),
        (&Value::Null, &Value::Null, Some("UserDefined"))
    );
    let with_point =
        at.post("/Reservation/reserve", json!([{"requester": "w", "resource": "p", "ttlSeconds": 60.0}])).await;
    assert_eq!(with_point.statuses(), ["ACQUIRED"]);
    assert!(with_point.body[0]["expiresAt"].is_string());
    let longest = at.reserve("w", "long", Some(2_147_483_647)).await;
    assert_eq!(longest["status"], "ACQUIRED");
}

#[tokio::test]
async fn an_administrator_ends_a_reservation_and_says_why() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w1", "printer", Some(60)).await;
    let mut events = at.events("").await;
    events.head().await;

    let answer = at.post("/Reservation/forceRelease", json!({"resource": "printer", "reason": "on fire"})).await;

    assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({"released": ["printer"]})));
    let event = events.expect("UNRESERVED").await;
    assert_eq!(
        (event["explanation"].as_str(), event["reason"].as_str(), event["requester"].as_str()),
        (Some("FORCE_RELEASED"), Some("on fire"), Some("w1"))
    );
    assert_eq!((&event["requestType"], &event["fencingToken"]), (&Value::Null, &held["fencingToken"]));
    assert_eq!(
        at.unreserve("w1", "printer", &held["releaseToken"]).await.statuses(),
        ["NOT_RESERVED"],
        "the holder learns that it is lost"
    );

    let nothing = at.post("/Reservation/forceRelease", json!({"resource": "printer"})).await;
    assert_eq!((nothing.status.as_u16(), &nothing.body), (200, &json!({"released": []})));
    assert_eq!(at.post("/Reservation/forceRelease", json!({})).await.paths(), ["resource"]);
}

#[tokio::test]
async fn a_reset_ends_everything_at_once() {
    let world = World::<1>::start().await;
    let (tenant, neighbour) = (world.tenant().await, world.tenant().await);
    let at = world.at(&tenant);
    for number in 0..3 {
        at.acquire("w", &format!("r{number}"), (number > 0).then_some(60)).await;
    }
    world.at(&neighbour).acquire("w", "r0", None).await;
    let mut events = at.events("").await;
    events.head().await;

    // No body, and no content type, as curl -X POST sends it.
    let url = format!("{}/api/v1/Reservation/reset", world.replicas[0].url);
    let answer = call(Method::POST, &url, Some(&tenant.key), None).await;

    assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({"released": 3})));
    let event = events.expect("RESET").await;
    assert_eq!(
        (&event["resource"], event["id"].as_str()),
        (&Value::Null, Some(&*answer.number("holdfast-position").to_string()))
    );
    assert!(at.listed().await.is_empty());
    assert_eq!(world.at(&neighbour).listed().await, ["r0"], "another tenant's stay");
    assert_eq!(at.post("/Reservation/reset", json!({})).await.body, json!({"released": 0}));
    at.acquire("w2", "r0", Some(60)).await;
}

#[tokio::test]
async fn a_fence_is_valid_while_its_holder_holds() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w1", "printer", Some(60)).await;
    let fence = held["fencingToken"].as_i64().unwrap();
    let verify = |fence: i64| async move {
        at.post("/Reservation/verifyFence", json!({"resource": "printer", "fencingToken": fence})).await.body
    };

    assert_eq!(verify(fence).await, json!({"valid": true, "currentFencingToken": fence}));
    assert_eq!(verify(fence - 1).await, json!({"valid": false, "currentFencingToken": fence}));
    at.unreserve("w1", "printer", &held["releaseToken"]).await;
    assert_eq!(verify(fence).await, json!({"valid": false, "currentFencingToken": null}));
    let next = at.acquire("w2", "printer", None).await["fencingToken"].as_i64().unwrap();
    assert_eq!(
        verify(fence).await,
        json!({"valid": false, "currentFencingToken": next}),
        "the earlier holder was paused past its lease"
    );

    assert_eq!(at.post("/Reservation/verifyFence", json!({"resource": "printer"})).await.paths(), ["fencingToken"]);
    at.post("/Reservation/verifyFence", json!({"resource": "printer", "fencingToken": "1"}))
        .await
        .fails(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn beyond_the_tiers_limit_nothing_is_taken() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let items = |from: usize, to: usize| {
        (from..to)
            .map(|at| json!({"requester": "w", "resource": format!("r{at}"), "ttlSeconds": 40}))
            .collect::<Value>()
    };
    assert_eq!(at.post("/Reservation/reserve", items(0, 49)).await.statuses().len(), 49);
    let before = world.redis.snapshot();

    // Two more would be 51, one of them already held: nothing is taken.
    let answer = at.post("/Reservation/reserve", items(48, 51)).await;

    answer.fails(429, "RATE_LIMITED");
    let beside =
        (&answer.body["upgradeRequired"], &answer.body["limitType"], &answer.body["limit"], &answer.body["tier"]);
    assert_eq!(beside, (&json!(true), &json!("ConcurrentReservations"), &json!(50), &json!("Free")));
    assert!((30..=41).contains(&answer.number("retry-after")), "until the earliest expiry: {answer:?}");
    assert_eq!(world.redis.snapshot(), before, "byte for byte");

    // What fits, fits; what is held already costs nothing.
    assert_eq!(at.post("/Reservation/reserve", items(48, 50)).await.statuses(), ["ALREADY_HAD", "ACQUIRED"]);
    at.post("/Reservation/reserve", items(50, 51)).await.fails(429, "RATE_LIMITED");
    assert_eq!(at.post("/Reservation/reserve", items(0, 50)).await.statuses(), vec!["ALREADY_HAD"; 50]);
}

#[tokio::test]
async fn of_many_who_ask_at_once_on_two_replicas_one_gets_it() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;

    let asking =
        (0..20).map(|number| {
            let at = world.at_replica(number % 2, &tenant);
            async move {
                at.reserve(&format!("w{number}"), "the one", Some(60)).await["status"].as_str().unwrap().to_owned()
            }
        });
    let mut answers = futures_util::future::join_all(asking).await;

    answers.sort();
    assert_eq!((&*answers[0], &answers[1..]), ("ACQUIRED", &vec!["ALREADY_HELD".to_owned(); 19][..]));
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let world = World::<1>::start().await;
    let (ours, theirs) = (world.tenant().await, world.tenant().await);
    let held = world.at(&theirs).acquire("w", "printer", None).await;

    let at = world.at(&ours);
    assert!(at.listed().await.is_empty());
    assert_eq!(at.get("/Reservation/check/printer").await.body["isReserved"], false);
    assert_eq!(at.unreserve("w", "printer", &held["releaseToken"]).await.statuses(), ["NOT_RESERVED"]);
    at.acquire("w", "printer", None).await;
    assert_eq!(world.at(&theirs).reserve("w", "printer", None).await["fencingToken"], held["fencingToken"]);
}
