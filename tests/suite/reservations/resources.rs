//! Pools, blockers, trees and the registry, as a user meets them.

use serde_json::{Value, json};

use crate::support::world::{Client, World};

async fn register(at: &Client<'_>, definitions: Value) {
    let answer = at.post("/Resource/register", definitions).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn the_last_slot_is_given_once_across_two_replicas() {
    // Given a pool of two with one slot taken, and two replicas on one Redis.
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    register(&north, json!([{"name": "GPU", "capacity": 2}])).await;
    let first = north.acquire("w0", "GPU", Some(30)).await;
    assert_eq!(first["acquiredSlots"], json!({"GPU": "GPU_0"}));

    // When both are asked for the last one at the same moment.
    let (one, other) = tokio::join!(north.reserve("w1", "GPU", None), south.reserve("w2", "GPU", None));

    // Then one has it, the other is told that there is none and when the earliest ends, and the listing agrees.
    let mut statuses = [one["status"].as_str().unwrap(), other["status"].as_str().unwrap()];
    statuses.sort_unstable();
    assert_eq!(statuses, ["ACQUIRED", "NOT_AVAILABLE"]);
    let refused = if one["status"] == "NOT_AVAILABLE" { one } else { other };
    assert_eq!(refused["holderExpiresAt"], first["expiresAt"]);
    assert!(refused["explanation"].as_str().unwrap().contains("GPU"));
    assert_eq!(north.listed().await, ["GPU_0", "GPU_1"]);
    let check = south.get("/Reservation/check/GPU").await.body;
    assert_eq!(
        (&check["isReserved"], &check["holder"], &check["capacity"], &check["available"]),
        (&json!(true), &Value::Null, &json!(2), &json!(0))
    );
    assert_eq!(check["expiresAt"], first["expiresAt"]);
}

#[tokio::test]
async fn a_pool_gives_one_slot_per_requester_and_the_lowest_first() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "Printer", "capacity": 3}])).await;

    let by_pool = at.acquire("w1", "Printer", None).await;
    let again = at.reserve("w1", "Printer", None).await;
    assert_eq!(
        (again["status"].as_str(), &again["acquiredSlots"]),
        (Some("ALREADY_HAD"), &json!({"Printer": "Printer_0"}))
    );
    let by_name = at.acquire("w1", "Printer_2", None).await;
    assert_eq!(by_name["acquiredSlots"], json!({"Printer": "Printer_2"}));
    assert_eq!(at.reserve("w2", "Printer_9", None).await["status"], "NOT_VALID");

    // A slot is found by its token under the pool's name, and freed; the lowest free one comes next.
    let released = at.unreserve("w1", "Printer", &by_name["releaseToken"]).await;
    assert_eq!(released.body[0]["released"], json!(["Printer_2"]));
    let wrong = at.unreserve("w1", "Printer", &json!("nonsense")).await;
    assert_eq!((wrong.status.as_u16(), wrong.code()), (403, "INVALID_RELEASE_TOKEN"));
    at.unreserve("w1", "Printer", &by_pool["releaseToken"]).await;
    assert_eq!(at.acquire("w3", "Printer", None).await["acquiredSlots"], json!({"Printer": "Printer_0"}));

    // The event names the slot and its pool.
    let mut stream = at.events("").await;
    stream.head().await;
    at.acquire("w4", "Printer", None).await;
    let event = stream.expect("RESERVED").await;
    assert_eq!((&event["resource"], &event["pool"]), (&json!("Printer_1"), &json!("Printer")));
}

#[tokio::test]
async fn a_pool_shrinks_and_grows_while_it_is_held() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "P", "capacity": 4}])).await;
    let mut held = Vec::new();
    for worker in ["w0", "w1", "w2", "w3"] {
        held.push(at.acquire(worker, "P", None).await);
    }

    register(&at, json!([{"name": "P", "capacity": 2}])).await;
    assert_eq!(at.listed().await, ["P_0", "P_1", "P_2", "P_3"], "held slots stay held");
    at.unreserve("w3", "P_3", &held[3]["releaseToken"]).await;
    assert_eq!(at.reserve("w9", "P", None).await["status"], "NOT_AVAILABLE", "a removed slot is never granted again");
    at.unreserve("w1", "P", &held[1]["releaseToken"]).await;
    assert_eq!(at.acquire("w9", "P", None).await["acquiredSlots"], json!({"P": "P_1"}));

    register(&at, json!([{"name": "P", "capacity": 5}])).await;
    assert_eq!(at.acquire("w5", "P", None).await["acquiredSlots"], json!({"P": "P_3"}), "P_2 is still held");
    assert_eq!(at.get("/Reservation/check/P").await.body["available"], 1);
}

#[tokio::test]
async fn the_last_slot_beyond_a_shrunken_pool_leaves_nothing_behind() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "P", "capacity": 3}])).await;
    let held = at.acquire("w1", "P_2", None).await;
    register(&at, json!([{"name": "P", "capacity": 2}])).await;
    at.unreserve("w1", "P_2", &held["releaseToken"]).await;
    let keys: Vec<_> = world.redis.snapshot().into_keys().filter(|key| key.contains(&tenant.id)).collect();
    assert!(!keys.iter().any(|key| key.ends_with(":held")), "{keys:?}");
    let slots = keys.iter().find(|key| key.ends_with(":slots")).expect("the bitmap of slots");
    assert_eq!(world.redis.ask::<i64>(&format!("BITCOUNT {slots}")), 0);
}

#[tokio::test]
async fn a_large_pool_is_as_quick_as_a_small_one() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "Big", "capacity": 99_990}])).await;
    assert_eq!(at.get("/Resource/Big").await.body["slots"], Value::Null);

    // A thousand requesters, in one call: the lowest slots, each once.
    let wanted: Value = (0..1000).map(|n| json!({"requester": format!("w{n}"), "resource": "Big"})).collect();
    let answer = at.post("/Reservation/reserve", wanted).await;
    for (n, granted) in answer.body.as_array().unwrap().iter().enumerate() {
        assert_eq!(granted["acquiredSlots"], json!({"Big": format!("Big_{n}")}));
    }
    assert_eq!(at.get("/Reservation/check/Big").await.body["available"], 98_990);
}

#[tokio::test]
async fn blockers_are_taken_and_freed_with_their_users() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "deploy", "blocks": ["database", "Seat"]}, {"name": "backup", "blocks": ["database"]}, {"name": "Seat", "capacity": 2}]))
        .await;

    let deploy = at.acquire("w1", "deploy", Some(60)).await;
    assert_eq!(deploy["acquiredBlockers"], json!(["database", "Seat_0"]));
    let backup = at.acquire("w1", "backup", Some(600)).await;

    // Another requester is refused what is blocked, and told by what; the listing shows the blocker and whom it is for.
    let refused = at.reserve("w2", "backup", None).await;
    assert_eq!(refused["status"], "ALREADY_HELD");
    let other = at.reserve("w2", "database", None).await;
    assert_eq!((other["status"].as_str(), other["holder"].as_str()), (Some("ALREADY_HELD"), Some("w1")));
    assert_eq!(other["holderExpiresAt"], backup["expiresAt"], "a blocker ends with its latest user");
    let rows = at.get("/Reservation?prefix=database").await.body;
    assert_eq!(rows["reservations"][0]["blockerOf"], json!(["deploy", "backup"]));

    // Its first user frees what only it used; the last one frees the rest.
    let released = at.unreserve("w1", "backup", &backup["releaseToken"]).await;
    assert_eq!(released.body[0]["released"], json!(["backup"]));
    let released = at.unreserve("w1", "deploy", &deploy["releaseToken"]).await;
    assert_eq!(released.body[0]["released"], json!(["deploy", "database", "Seat_0"]));
    assert!(at.listed().await.is_empty());

    // A blocker that somebody else has keeps its users from being taken, whole: nothing is half taken.
    at.acquire("w9", "database", None).await;
    let refused = at.reserve("w1", "deploy", None).await;
    assert_eq!((refused["status"].as_str(), refused["holder"].as_str()), (Some("ALREADY_HELD"), Some("w9")));
    assert!(refused["explanation"].as_str().unwrap().contains("database"));
    assert_eq!(at.listed().await, ["database"]);
}

#[tokio::test]
async fn two_may_block_each_other_but_none_itself() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let own = at.post("/Resource/register", json!([{"name": "A", "blocks": ["A"]}])).await;
    assert_eq!((own.status.as_u16(), own.body["error"]["details"][0]["path"].as_str()), (400, Some("[0].blocks[0]")));

    register(&at, json!([{"name": "A", "blocks": ["B"]}, {"name": "B", "blocks": ["A"]}])).await;
    let a = at.acquire("w1", "A", None).await;
    let b = at.acquire("w1", "B", None).await;
    assert_eq!(
        at.unreserve("w1", "A", &a["releaseToken"]).await.body[0]["released"],
        json!([]),
        "A still blocks for B"
    );
    assert_eq!(at.reserve("w2", "A", None).await["status"], "ALREADY_HELD");
    let freed = at.unreserve("w1", "B", &b["releaseToken"]).await.body[0]["released"].clone();
    assert_eq!(freed, json!(["B", "A"]));
}

#[tokio::test]
async fn a_held_node_refuses_what_stands_above_and_below_to_others() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let answer = at
        .post(
            "/Resource/register",
            json!([{"name": "Printers", "treePath": "Equipment>IT"}, {"name": "Cables", "treePath": "Equipment>IT"}]),
        )
        .await;
    assert_eq!(answer.body[0]["ancestors"], json!(["Equipment", "IT"]));
    assert_eq!(at.get("/Resource/IT").await.body["treePath"], "Equipment");

    let held = at.acquire("w1", "Printers", None).await;
    assert_eq!(held["reservedAtPath"], "Equipment>IT>Printers");
    let above = at.reserve("w2", "Equipment", None).await;
    assert_eq!(above["status"], "ALREADY_HELD");
    let sentence = above["explanation"].as_str().unwrap();
    assert!(sentence.contains("Printers") && sentence.contains("w1"), "{sentence}");
    assert_eq!(at.get("/Reservation/check/Equipment").await.body["isAvailable"], false);
    at.acquire("w2", "Cables", None).await; // siblings stay free
    assert_eq!(at.reserve("w1", "IT", None).await["status"], "ALREADY_HELD", "the sibling is w2's now");

    let moving = at.post("/Resource/register", json!([{"name": "Printers", "treePath": "Rooms"}])).await;
    assert_eq!((moving.status.as_u16(), moving.code()), (409, "CONFLICT"));
    let same = at.post("/Resource/register", json!([{"name": "Printers", "treePath": "Equipment>IT"}])).await;
    assert_eq!(same.status, 200, "an equal definition is no move");
    let contradiction = at.post("/Resource/register", json!([{"name": "Toner", "treePath": "IT"}])).await;
    assert_eq!(contradiction.status, 409, "IT stands under Equipment");
    assert_eq!(at.get("/Resource/Toner").await.status, 404, "nothing of a refused call is done");
}

#[tokio::test]
async fn a_subtree_moves_with_its_root() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "leaf", "treePath": "a>b"}])).await;
    register(&at, json!([{"name": "b", "treePath": "c"}])).await;
    assert_eq!(at.get("/Resource/leaf").await.body["treePath"], "c>b");
    assert_eq!(at.acquire("w1", "leaf", None).await["reservedAtPath"], "c>b>leaf");
    assert_eq!(at.reserve("w2", "c", None).await["status"], "ALREADY_HELD");
    at.acquire("w2", "a", None).await;
}

#[tokio::test]
async fn the_registry_lists_shows_and_forgets() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "a/b", "blocks": ["x"]}, {"name": "x"}, {"name": "P", "capacity": 3}, {"name": "kid", "treePath": "top"}])).await;
    assert_eq!(at.get("/Resource/P").await.body["slots"], json!(["P_0", "P_1", "P_2"]));
    let mut names = Vec::new();
    let mut path = "/Resource?limit=2".to_owned();
    loop {
        let page = at.get(&path).await.body;
        names.extend(page["resources"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/Resource?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    names.sort();
    assert_eq!(names, ["P", "a/b", "kid", "top", "x"]);

    assert_eq!(at.delete("/Resource/x").await.status, 409, "a/b blocks it");
    assert_eq!(at.delete("/Resource/top").await.status, 409, "it has a child");
    let slot = at.acquire("w1", "P", None).await;
    assert_eq!(at.delete("/Resource/P").await.status, 409, "one slot is held");
    at.unreserve("w1", "P", &slot["releaseToken"]).await;
    for name in ["P", "a%2Fb", "x", "kid", "top"] {
        assert_eq!(at.delete(&format!("/Resource/{name}")).await.status, 204, "{name}");
    }
    assert_eq!(at.delete("/Resource/x").await.status, 404);

    // Even one that is called as the operation is.
    register(&at, json!([{"name": "register"}])).await;
    assert_eq!(at.get("/Resource/register").await.body["name"], "register");
    assert_eq!(at.delete("/Resource/register").await.status, 204);
}

#[tokio::test]
async fn where_registration_is_required_an_unknown_name_is_not_valid() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.acquire("w1", "free", None).await;
    let changed = crate::support::world::admin(
        &world.replicas[1],
        reqwest::Method::PATCH,
        &format!("/{}", tenant.id),
        Some(json!({"requireRegistration": true})),
    )
    .await;
    assert_eq!(changed.body["requireRegistration"], true);
    assert_eq!(at.reserve("w2", "other", None).await["status"], "NOT_VALID");
    register(&at, json!([{"name": "other"}])).await;
    assert_eq!(at.reserve("w2", "other", None).await["status"], "ACQUIRED");
}

#[tokio::test]
async fn a_tier_bounds_what_is_registered() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "P", "capacity": 99}])).await;
    let beyond = at.post("/Resource/register", json!([{"name": "Q", "capacity": 2}])).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.body["limitType"].as_str(), beyond.body["limit"].as_i64()),
        (429, Some("Resources"), Some(100))
    );
    register(&at, json!([{"name": "Q"}])).await;
}

#[tokio::test]
async fn force_release_and_reset_end_all_kinds() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "P", "capacity": 3}, {"name": "job", "blocks": ["site"]}])).await;
    at.acquire("w1", "P", None).await;
    at.acquire("w2", "P", None).await;
    at.acquire("w1", "job", None).await;
    let released = at.post("/Reservation/forceRelease", json!({"resource": "P", "reason": "maintenance"})).await;
    assert_eq!(released.body["released"], json!(["P_0", "P_1"]));
    let released = at.post("/Reservation/forceRelease", json!({"resource": "site"})).await;
    assert_eq!(released.body["released"], json!(["job", "site"]), "a blocker's users go with it");
    at.acquire("w1", "P", None).await;
    at.acquire("w1", "job", None).await;
    assert_eq!(at.post("/Reservation/reset", json!({})).await.body["released"], 3);
    assert!(at.listed().await.is_empty());
    assert_eq!(at.acquire("w9", "P", None).await["acquiredSlots"], json!({"P": "P_0"}));
}

#[tokio::test]
async fn forced_release_of_a_large_pool_goes_on_in_pieces() {
    const SLOTS: usize = 5_000;
    // Steps of the budget that a slot takes at least, and those after which a piece ends (lua/core/budget.lua).
    const MIN_PIECES: u64 = SLOTS as u64 * 4 / 1_500;
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "P", "capacity": SLOTS}])).await;
    for part in 0..SLOTS / 500 {
        let items: Vec<_> = (0..500).map(|n| json!({"requester": format!("{part}-{n}"), "resource": "P"})).collect();
        let taken = at.post("/Reservation/reserve", json!(items)).await;
        assert!(taken.body.as_array().unwrap().iter().all(|item| item["status"] == "ACQUIRED"), "{taken:?}");
    }
    let before = world.redis.function_calls();
    let released = at.post("/Reservation/forceRelease", json!({"resource": "P"})).await;
    assert_eq!(released.body["released"].as_array().unwrap().len(), SLOTS);
    let pieces = world.redis.function_calls() - before;
    assert!(pieces >= MIN_PIECES, "{pieces} calls of Redis for all of it, {MIN_PIECES} at least");
    assert!(at.listed().await.is_empty());
}

#[tokio::test]
async fn the_fence_of_a_pool_is_one_of_its_slots() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    register(&at, json!([{"name": "P", "capacity": 3}])).await;
    let verify = async |fence: &Value| {
        at.post("/Reservation/verifyFence", json!({"resource": "P", "fencingToken": fence})).await.body
    };
    assert_eq!(verify(&json!(1)).await, json!({"valid": false, "currentFencingToken": null}));
    let first = at.acquire("w1", "P", None).await;
    let second = at.acquire("w2", "P", None).await;
    assert_eq!(
        verify(&first["fencingToken"]).await,
        json!({"valid": true, "currentFencingToken": first["fencingToken"]})
    );
    at.unreserve("w1", "P", &first["releaseToken"]).await;
    assert_eq!(
        verify(&first["fencingToken"]).await,
        json!({"valid": false, "currentFencingToken": second["fencingToken"]})
    );
}
