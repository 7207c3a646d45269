//! What a reservation can be besides one name until a time: several slots of a pool, with a note, within a tenant's times to live; and the names and
//! definitions that are refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    sse::EventStream,
    world::{Answer, Client, World, admin, until},
};

async fn register(at: &Client<'_>, definitions: Value) {
    let answer = at.post("/Resource/register", definitions).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Reserves slots of a pool; returns the item's result.
async fn reserve_slots(at: &Client<'_>, requester: &str, pool: &str, quantity: i64, ttl: Option<i64>) -> Value {
    let item = json!([{"requester": requester, "resource": pool, "quantity": quantity, "ttlSeconds": ttl}]);
    let answer = at.post("/Reservation/reserve", item).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body[0].clone()
}

fn parts<const N: usize>(value: &Value, keys: [&str; N]) -> [Value; N] {
    keys.map(|key| value[key].clone())
}

async fn opened(at: &Client<'_>) -> EventStream {
    let mut events = at.events("").await;
    events.head().await;
    events
}

#[tokio::test]
async fn several_slots_are_one_reservation() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "GPU", "capacity": 5}])).await;
    at.acquire("other", "GPU_1", None).await;
    let mut events = opened(&at).await;

    // The lowest, under one token, fence and time to live.
    let held = reserve_slots(&at, "w", "GPU", 3, Some(600)).await;
    let slots = json!(["GPU_0", "GPU_2", "GPU_3"]);
    assert_eq!(
        parts(&held, ["status", "acquiredSlots", "slots"]),
        [json!("ACQUIRED"), json!({"GPU": "GPU_0"}), slots.clone()]
    );
    let event = events.expect("RESERVED").await;
    assert_eq!(
        parts(&event, ["resource", "pool", "slots", "fencingToken", "expiresAt"]),
        [json!("GPU_0"), json!("GPU"), slots.clone(), held["fencingToken"].clone(), held["expiresAt"].clone()]
    );
    assert_eq!(at.listed().await, ["GPU_0", "GPU_1", "GPU_2", "GPU_3"]);
    let check = at.get("/Reservation/check/GPU").await.body;
    assert_eq!(parts(&check, ["available", "isReserved"]), [json!(1), json!(false)]);
    for slot in ["GPU_0", "GPU_3"] {
        assert_eq!(at.reserve("x", slot, None).await["holder"], "w", "{slot}");
        events.expect("RESERVE_FAILED").await;
        let body = json!({"resource": slot, "fencingToken": held["fencingToken"]});
        assert_eq!(at.post("/Reservation/verifyFence", body).await.body["valid"], true, "{slot}");
    }

    // What it had already is shown whole, whatever quantity is asked for, and nothing changes.
    for quantity in [3, 1, 5] {
        let again = reserve_slots(&at, "w", "GPU", quantity, None).await;
        assert_eq!(
            parts(&again, ["status", "slots", "acquiredSlots", "releaseToken", "fencingToken", "expiresAt"]),
            [
                json!("ALREADY_HAD"),
                slots.clone(),
                json!({"GPU": "GPU_0"}),
                held["releaseToken"].clone(),
                held["fencingToken"].clone(),
                held["expiresAt"].clone()
            ]
        );
    }

    // Renewed as one, by the pool's name or a slot's.
    for name in ["GPU", "GPU_0"] {
        let renewed = at.renew("w", name, &held["releaseToken"], 900).await;
        assert_eq!(renewed.statuses(), ["RENEWED"], "{name}");
        let event = events.expect("RENEWED").await;
        assert_eq!(
            parts(&event, ["pool", "slots", "expiresAt"]),
            [json!("GPU"), slots.clone(), renewed.body[0]["expiresAt"].clone()]
        );
    }

    // Given back as one.
    let given_back = at.unreserve("w", "GPU", &held["releaseToken"]).await;
    assert_eq!(given_back.statuses(), ["RELINQUISHED"]);
    assert_eq!(given_back.body[0]["released"], slots);
    let event = events.expect("UNRESERVED").await;
    assert_eq!(parts(&event, ["pool", "slots", "explanation"]), [json!("GPU"), slots, json!("RELINQUISHED")]);
    assert_eq!(at.listed().await, ["GPU_1"]);
}

#[tokio::test]
async fn more_slots_than_there_are_are_refused_and_nothing_is_taken() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    // Before anything is registered, and after.
    let refused = reserve_slots(&at, "w", "plain", 2, None).await;
    assert_eq!(refused["status"], "NOT_VALID");
    register(&at, json!([{"name": "GPU", "capacity": 3}, {"name": "alone"}])).await;
    let first = at.acquire("other", "GPU", Some(60)).await;

    let too_few = reserve_slots(&at, "w", "GPU", 3, None).await;
    assert_eq!(parts(&too_few, ["status", "holderExpiresAt"]), [json!("NOT_AVAILABLE"), first["expiresAt"].clone()]);
    for (name, quantity) in [("GPU", 4), ("plain", 2), ("alone", 2), ("GPU_1", 2)] {
        let refused = reserve_slots(&at, "w", name, quantity, None).await;
        assert_eq!(refused["status"], "NOT_VALID", "{name}");
        let explanation = refused["explanation"].as_str().unwrap();
        assert!(explanation.contains(name) && explanation.contains("quantity"), "{explanation}");
        assert_eq!(
            parts(&refused, ["slots", "acquiredSlots", "releaseToken"]),
            [Value::Null, Value::Null, Value::Null]
        );
    }
    for quantity in [0, -1, 1_001] {
        let body = json!([{"requester": "w", "resource": "GPU", "quantity": quantity}]);
        assert_eq!(at.post("/Reservation/reserve", body).await.paths(), ["[0].quantity"], "{quantity}");
    }
    assert_eq!(at.listed().await, ["GPU_0"]);
}

#[tokio::test]
async fn as_many_slots_as_may_be_wanted_are_taken_and_given_back() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "GPU", "capacity": 1_500}])).await;
    let held = reserve_slots(&at, "w", "GPU", 1_000, Some(60)).await;
    let slots = held["slots"].as_array().unwrap();
    assert_eq!((slots.len(), &slots[0], &slots[999]), (1_000, &json!("GPU_0"), &json!("GPU_999")));
    assert_eq!(at.get("/Reservation/check/GPU").await.body["available"], 500);
    let given_back = at.unreserve("w", "GPU", &held["releaseToken"]).await;
    assert_eq!(given_back.body[0]["released"].as_array().unwrap().len(), 1_000);
    assert_eq!(at.listed().await, Vec::<String>::new());
}

#[tokio::test]
async fn several_slots_end_as_one() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "GPU", "capacity": 4}])).await;
    let mut events = opened(&at).await;
    let slots = json!(["GPU_0", "GPU_1", "GPU_2"]);

    // By their deadline.
    let held = reserve_slots(&at, "w", "GPU", 3, Some(1)).await;
    events.expect("RESERVED").await;
    for kind in ["RESERVATION_EXPIRED", "UNRESERVED"] {
        let event = events.expect(kind).await;
        assert_eq!(
            parts(&event, ["explanation", "requester", "pool", "slots"]),
            [json!("EXPIRED"), json!("w"), json!("GPU"), slots.clone()]
        );
    }
    assert_eq!(at.listed().await, Vec::<String>::new());
    assert_eq!(at.unreserve("w", "GPU", &held["releaseToken"]).await.statuses(), ["NOT_RESERVED"]);

    // By force, of the pool or of one of them.
    for name in ["GPU", "GPU_1"] {
        reserve_slots(&at, "w", "GPU", 3, None).await;
        events.expect("RESERVED").await;
        let forced = at.post("/Reservation/forceRelease", json!({"resource": name})).await;
        assert_eq!(forced.body, json!({"released": slots}), "{name}");
        let event = events.expect("UNRESERVED").await;
        assert_eq!(parts(&event, ["explanation", "slots"]), [json!("FORCE_RELEASED"), slots.clone()], "{name}");
        assert_eq!(at.listed().await, Vec::<String>::new());
    }
    assert_eq!(at.get("/Reservation/check/GPU").await.body["available"], 4);
}

#[tokio::test]
async fn slots_are_listed_wherever_a_slot_was_taken() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "GPU", "capacity": 4}])).await;

    for (requester, name, slot) in
        [("a", "GPU", "GPU_0"), ("b", "GPU_3", "GPU_3"), ("a", "GPU", "GPU_0"), ("b", "GPU_3", "GPU_3")]
    {
        let had = at.reserve(requester, name, None).await;
        assert_eq!(parts(&had, ["slots", "acquiredSlots"]), [json!([slot]), json!({"GPU": slot})], "{had}");
    }
    assert_eq!(parts(&at.acquire("a", "plain", None).await, ["slots", "acquiredSlots"]), [Value::Null, Value::Null]);
    let wanted = json!([{"method": "ALL_OR_NONE", "requestType": "RESERVE",
        "requests": [{"requester": "c", "resource": "GPU", "quantity": 2}]}]);
    let item = at.post("/Reservation/transactions", wanted).await.body[0]["results"][0].clone();
    assert_eq!(parts(&item, ["slots", "acquiredSlots"]), [json!(["GPU_1", "GPU_2"]), json!({"GPU": "GPU_1"})]);
}

#[tokio::test]
async fn a_note_is_shown_by_every_event_of_its_reservation() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "GPU", "capacity": 4}])).await;
    let mut events = opened(&at).await;
    let reserve = async |name: &str, ttl: Option<i64>| {
        let item = json!([{"requester": "w", "resource": name, "ttlSeconds": ttl, "note": format!("why {name}")}]);
        at.post("/Reservation/reserve", item).await.body[0]["releaseToken"].clone()
    };
    for name in ["plain", "GPU"] {
        let note = json!(format!("why {name}"));
        let token = reserve(name, Some(60)).await;
        assert_eq!(events.expect("RESERVED").await["note"], note);
        at.renew("w", name, &token, 90).await;
        assert_eq!(events.expect("RENEWED").await["note"], note);
        at.unreserve("w", name, &token).await;
        assert_eq!(events.expect("UNRESERVED").await["note"], note);
        reserve(name, None).await;
        assert_eq!(events.expect("RESERVED").await["note"], note);
        at.post("/Reservation/forceRelease", json!({"resource": name})).await;
        assert_eq!(events.expect("UNRESERVED").await["note"], note);
        reserve(name, Some(1)).await;
        for kind in ["RESERVED", "RESERVATION_EXPIRED", "UNRESERVED"] {
            assert_eq!(events.expect(kind).await["note"], note, "{kind}");
        }
    }
}

async fn patch(world: &World<1>, tenant: &str, change: Value) -> Answer {
    admin(&world.replicas[0], Method::PATCH, &format!("/{tenant}"), Some(change)).await
}

#[tokio::test]
async fn a_tenants_times_to_live_hold_for_every_call() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let before = at.acquire("w", "before", None).await;
    let shown = async || {
        let body = admin(&world.replicas[0], Method::GET, &format!("/{}", tenant.id), None).await.body;
        parts(&body, ["defaultTtlSeconds", "maxTtlSeconds"])
    };
    assert_eq!(shown().await, [Value::Null, Value::Null]);

    // A default: who names none gets it, who names one gets that.
    assert_eq!(patch(&world, &tenant.id, json!({"defaultTtlSeconds": 1})).await.body["defaultTtlSeconds"], 1);
    assert_ne!(at.acquire("w", "lapses", None).await["expiresAt"], Value::Null);
    at.acquire("w", "stays", Some(600)).await;
    until("the default has passed", || async { at.listed().await == ["before", "stays"] }).await;

    // A bound: above it, or without an end, an item is refused by name, and nothing is taken.
    assert_eq!(patch(&world, &tenant.id, json!({"defaultTtlSeconds": 60, "maxTtlSeconds": 120})).await.status, 200);
    assert_eq!(shown().await, [json!(60), json!(120)]);
    let held = at.acquire("w", "held", Some(120)).await;
    let item = |name: &str, ttl: Option<i64>| json!({"requester": "w", "resource": name, "ttlSeconds": ttl});
    let group = |items: Value| json!([{"method": "ALL_OR_NONE", "requestType": "RESERVE", "requests": items}]);
    let too_long = at.post("/Reservation/reserve", json!([item("a", None), item("b", Some(121))])).await;
    assert_eq!(too_long.paths(), ["[1].ttlSeconds"]);
    assert!(too_long.body["error"]["details"][0]["message"].as_str().unwrap().contains("at most 120"), "{too_long:?}");
    let in_group = at.post("/Reservation/transactions", group(json!([item("a", Some(9)), item("b", Some(121))]))).await;
    assert_eq!(in_group.paths(), ["[0].requests[1].ttlSeconds"]);
    assert_eq!(at.renew("w", "held", &held["releaseToken"], 121).await.paths(), ["[0].ttlSeconds"]);
    let single = at.post("/Reservation/reserve", json!([item("a", Some(121))])).await;
    assert_eq!(single.paths(), ["[0].ttlSeconds"]);
    assert_eq!(at.listed().await, ["before", "held", "stays"]);
    assert_eq!(at.reserve("w", "held", None).await["expiresAt"], held["expiresAt"]);
    assert_eq!(at.reserve("w", "before", None).await["releaseToken"], before["releaseToken"], "what is held stays");

    // A default above the bound could never be kept.
    assert_eq!(patch(&world, &tenant.id, json!({"defaultTtlSeconds": 121})).await.paths(), ["defaultTtlSeconds"]);
    assert_eq!(patch(&world, &tenant.id, json!({"maxTtlSeconds": 59})).await.paths(), ["maxTtlSeconds"]);
    assert_eq!(patch(&world, &tenant.id, json!({"maxTtlSeconds": -1})).await.paths(), ["maxTtlSeconds"]);
    assert_eq!(shown().await, [json!(60), json!(120)]);

    // 0 removes.
    assert_eq!(patch(&world, &tenant.id, json!({"defaultTtlSeconds": 0})).await.status, 200);
    assert_eq!(shown().await, [Value::Null, json!(120)]);
    let endless = at.post("/Reservation/reserve", json!([item("a", None)])).await;
    assert_eq!(endless.paths(), ["[0].ttlSeconds"]);
    let endless = at.post("/Reservation/transactions", group(json!([item("a", None)]))).await;
    assert_eq!(endless.paths(), ["[0].requests[0].ttlSeconds"]);
    assert_eq!(patch(&world, &tenant.id, json!({"maxTtlSeconds": 0})).await.status, 200);
    assert_eq!(shown().await, [Value::Null, Value::Null]);
    assert_eq!(at.acquire("w", "a", None).await["expiresAt"], Value::Null);
}

#[tokio::test]
async fn a_name_that_spells_a_registered_path_names_the_right_one() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "Printers", "treePath": "Equipment>IT"}])).await;

    for (path, name) in [("Equipment>IT>Printers", "Printers"), ("Equipment>IT", "IT")] {
        let refused = at.reserve("w", path, None).await;
        assert_eq!(refused["status"], "NOT_VALID", "{path}");
        let explanation = refused["explanation"].as_str().unwrap();
        assert!(explanation.contains(&format!("\"{name}\"")), "{explanation}");
    }
    at.acquire("w", "Equipment>Printers", None).await;
    at.acquire("w", "IT>Printers", None).await;
    assert_eq!(at.acquire("w", "Printers", None).await["reservedAtPath"], "Equipment>IT>Printers");
}

#[tokio::test]
async fn a_lapsed_slot_is_not_reserved_and_never_a_strangers() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "GPU", "capacity": 2}])).await;
    let lost = at.acquire("w", "GPU", Some(1)).await;
    let lost_by_name = at.acquire("v", "GPU_1", Some(1)).await;
    until("they have lapsed", || async { at.listed().await.is_empty() }).await;
    let calls = async || {
        let mut statuses = Vec::new();
        for (who, lost) in [("w", &lost), ("v", &lost_by_name)] {
            for answer in [
                at.unreserve(who, "GPU", &lost["releaseToken"]).await,
                at.renew(who, "GPU", &lost["releaseToken"], 60).await,
            ] {
                statuses.push(answer.body[0]["status"].as_str().unwrap().to_owned());
                assert!(!answer.body.to_string().contains("stranger"), "{answer:?}");
            }
        }
        statuses
    };

    // While the slots are free, while strangers hold one, and while they hold all.
    assert_eq!(calls().await, ["NOT_RESERVED"; 4]);
    at.acquire("stranger", "GPU", None).await;
    assert_eq!(calls().await, ["NOT_RESERVED"; 4]);
    at.acquire("stranger 2", "GPU", None).await;
    assert_eq!(calls().await, ["NOT_RESERVED"; 4]);
    assert_eq!(at.listed().await, ["GPU_0", "GPU_1"]);
}

#[tokio::test]
async fn a_pool_is_named_once_per_requester_in_a_transaction() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "GPU", "capacity": 3}, {"name": "alone"}])).await;
    let item = |requester: &str, resource: &str| json!({"requester": requester, "resource": resource});
    let call = async |method: &str, groups: Value| {
        let groups: Vec<_> = groups
            .as_array()
            .unwrap()
            .iter()
            .map(|items| json!({"method": method, "requestType": "RESERVE", "requests": items}))
            .collect();
        at.post("/Reservation/transactions", json!(groups)).await
    };

    for method in ["ALL_OR_NONE", "AS_MANY_AS_POSSIBLE", "FIRST"] {
        let twice = json!([[item("w", "a")], [item("w", "GPU"), item("w", "b"), item("w", "GPU")]]);
        let refused = call(method, twice).await;
        assert_eq!(refused.paths(), ["[1].requests[2].resource"], "{method}");
        assert!(
            refused.body["error"]["details"][0]["message"].as_str().unwrap().contains("use quantity"),
            "{refused:?}"
        );
    }
    assert_eq!(at.listed().await, Vec::<String>::new());

    // By two requesters, in two transactions, or of what is no pool, it may stand twice.
    let two = json!([
        [item("w", "GPU"), item("x", "GPU"), item("w", "alone"), item("w", "alone"), item("w", "p"), item("w", "p")],
        [item("w", "GPU")]
    ]);
    assert_eq!(call("ALL_OR_NONE", two).await.statuses(), ["APPLIED", "APPLIED"]);
    assert_eq!(at.listed().await, ["GPU_0", "GPU_1", "alone", "p"]);
}

#[tokio::test]
async fn definitions_that_could_not_be_used_are_refused() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let long = |letter: &str| letter.repeat(1_000);
    let blocks: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(long).into();
    for (definition, path) in [
        (json!({"name": "n".repeat(1_022), "capacity": 11}), "[1].name"),
        (json!({"name": "n", "blocks": blocks}), "[1].blocks"),
        (json!({"name": "n", "treePath": blocks.join(">")}), "[1].treePath"),
        (json!({"name": "n", "blocks": ["m", "n"]}), "[1].blocks[1]"),
        (json!({"name": "n", "capacity": 2, "blocks": ["n_1"]}), "[1].blocks[0]"),
    ] {
        let refused = at.post("/Resource/register", json!([{"name": "fine"}, definition])).await;
        assert_eq!(refused.paths(), [path]);
    }
    assert_eq!(at.get("/Resource").await.body["resources"], json!([]));
    register(&at, json!([{"name": "n".repeat(1_022), "capacity": 10}, {"name": "n", "blocks": blocks[..8]}])).await;
    let slot = format!("{}_9", "n".repeat(1_022));
    at.acquire("w", &slot, None).await;
}
