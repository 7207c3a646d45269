//! Waiting: tickets, their order, hand-over, and what ends them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::world::{Client, World, until};

/// A reserve of one item that waits.
async fn wait_for(at: &Client<'_>, requester: &str, resource: &str, more: Value) -> Value {
    let mut item = json!({"requester": requester, "resource": resource, "ttlSeconds": 600, "waitSeconds": 60});
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = at.post("/Reservation/reserve", json!([item])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body[0].clone()
}

async fn ticket(at: &Client<'_>, waiting: &Value) -> Value {
    let answer = at.get(&format!("/Reservation/tickets/{}", waiting["ticket"].as_str().unwrap())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

async fn waiting_count(at: &Client<'_>, resource: &str) -> i64 {
    at.get(&format!("/Reservation/check/{resource}")).await.body["waiting"].as_i64().unwrap()
}

#[tokio::test]
async fn who_waits_is_served_in_order_on_any_replica() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let mut events = north.events("").await;
    events.head().await;
    let held = north.acquire("w0", "r", Some(600)).await;
    events.expect("RESERVED").await;

    let first = wait_for(&north, "w1", "r", json!({"note": "mine"})).await;
    let second = wait_for(&south, "w2", "r", json!({})).await;
    assert_eq!((&first["status"], &first["place"], &first["holder"]), (&json!("WAITING"), &json!(1), &json!("w0")));
    assert_eq!((&second["status"], &second["place"]), (&json!("WAITING"), &json!(2)));
    assert!(first["explanation"].as_str().unwrap().contains("\"w0\""), "{first}");
    assert!(second["explanation"].as_str().unwrap().contains("1 is before you"), "{second}");
    assert_eq!(first["expectedBy"], held["expiresAt"]);
    let waiting = events.expect("WAITING").await;
    assert_eq!((&waiting["ticket"], &waiting["place"]), (&first["ticket"], &json!(1)));
    assert_eq!(waiting["waitExpiresAt"], first["waitExpiresAt"]);
    events.expect("WAITING").await;
    assert_eq!(waiting_count(&south, "r").await, 2);
    let renewal =
        json!([{"requester": "w0", "resource": "r", "releaseToken": held["releaseToken"], "ttlSeconds": 600}]);
    assert_eq!(north.post("/Reservation/renew", renewal).await.body[0]["waiting"], 2);
    events.expect("RENEWED").await;

    // The same wish is the same ticket.
    let again = wait_for(&south, "w1", "r", json!({})).await;
    assert_eq!((&again["ticket"], &again["place"]), (&first["ticket"], &json!(1)));

    // What is given back is the first one's in the same call.
    south.unreserve("w0", "r", &held["releaseToken"]).await;
    events.expect("UNRESERVED").await;
    let reserved = events.expect("RESERVED").await;
    assert_eq!((&reserved["requester"], &reserved["ticket"]), (&json!("w1"), &first["ticket"]));
    assert!(reserved["waitedMs"].as_i64().unwrap() >= 0);
    assert_eq!(north.reserve("w3", "r", None).await["status"], "ALREADY_HELD");
    let served = ticket(&south, &first).await;
    assert_eq!((&served["status"], &served["reservation"]["status"]), (&json!("ACQUIRED"), &json!("ACQUIRED")));
    assert_eq!(served["reservation"]["fencingToken"].to_string(), reserved["id"].as_str().unwrap());
    assert_eq!(ticket(&north, &second).await["place"], 1);

    // With its token it is given back as any other.
    let token = &served["reservation"]["releaseToken"];
    assert_eq!(north.unreserve("w1", "r", token).await.statuses(), ["RELINQUISHED"]);
    assert_eq!(ticket(&north, &second).await["status"], "ACQUIRED");
    assert_eq!(waiting_count(&north, "r").await, 0);
}

#[tokio::test]
async fn a_held_call_is_answered_when_its_turn_comes() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let held = north.acquire("w0", "r", Some(600)).await;
    let item = json!([{"requester": "w1", "resource": "r", "ttlSeconds": 60, "waitSeconds": 60}]);
    let began = Instant::now();
    let (answer, _) = tokio::join!(south.post("/Reservation/reserve?hold=30", item), async {
        until("somebody waits", || async { waiting_count(&north, "r").await == 1 }).await;
        north.unreserve("w0", "r", &held["releaseToken"]).await;
    });
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(answer.statuses(), ["ACQUIRED"]);
    let got = &answer.body[0];
    assert_eq!(north.unreserve("w1", "r", &got["releaseToken"]).await.statuses(), ["RELINQUISHED"]);

    // A wait that ends in vain is answered with the refusal that it would be.
    north.acquire("w0", "r", Some(600)).await;
    let item = json!([{"requester": "w1", "resource": "r", "waitSeconds": 1}]);
    let answer = south.post("/Reservation/reserve?hold=30", item).await;
    assert_eq!(answer.statuses(), ["ALREADY_HELD"]);

    // A hold that is over leaves the place, and says what is in the way by then.
    let first = wait_for(&north, "w2", "r", json!({})).await;
    let (item, waiting) =
        (json!([{"requester": "w1", "resource": "r", "waitSeconds": 60}]), waiting_count(&north, "r").await);
    let (answer, _) = tokio::join!(south.post("/Reservation/reserve?hold=3", item), async {
        until("one more waits", || async { waiting_count(&north, "r").await == waiting + 1 }).await;
        assert_eq!(north.post("/Reservation/forceRelease", json!({"resource": "r"})).await.status, 200);
    });
    assert_eq!(answer.statuses(), ["WAITING"]);
    assert_eq!(ticket(&north, &first).await["status"], "ACQUIRED");
    assert_eq!((&answer.body[0]["holder"], &answer.body[0]["place"]), (&json!("w2"), &json!(1)), "{answer:?}");
    let explanation = answer.body[0]["explanation"].as_str().unwrap();
    assert!(explanation.starts_with("\"r\" is held by \"w2\""), "{explanation}");
    assert!(explanation.ends_with("nobody is before you."), "{explanation}");
    south.post("/Reservation/reserve?hold=61", json!([])).await.fails(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn priority_comes_before_age_and_nobody_overtakes() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let (a, b) = (at.acquire("w0", "a", None).await, at.acquire("w0", "b", None).await);
    let late = wait_for(&at, "w1", "a", json!({})).await;
    let early = wait_for(&at, "w2", "a", json!({"priority": 5})).await;
    assert_eq!((&late["place"], &early["place"]), (&json!(1), &json!(1)));
    assert_eq!(ticket(&at, &late).await["place"], 2);

    // A group waits for both; what comes free of it is kept for it.
    let group = json!([{"method": "ALL_OR_NONE", "requestType": "RESERVE", "waitSeconds": 60, "requests": [
        {"requester": "g", "resource": "b"}, {"requester": "g", "resource": "c"}]}]);
    let waiting = at.post("/Reservation/transactions", group.clone()).await.body[0].clone();
    assert_eq!((&waiting["status"], &waiting["place"]), (&json!("WAITING"), &json!(1)), "{waiting}");
    let kept = at.reserve("w3", "c", None).await;
    assert_eq!((&kept["status"], &kept["holder"]), (&json!("ALREADY_HELD"), &Value::Null), "{kept}");
    assert!(kept["explanation"].as_str().unwrap().contains("kept for one who waits"), "{kept}");
    // Who has a greater priority comes before the group.
    let first = wait_for(&at, "w4", "c", json!({"priority": 1})).await;
    assert_eq!(first["status"], "ACQUIRED", "{first}");
    at.unreserve("w4", "c", &first["releaseToken"]).await;

    at.unreserve("w0", "b", &b["releaseToken"]).await;
    let got = ticket(&at, &waiting).await;
    assert_eq!((&got["status"], &got["transaction"]["status"]), (&json!("ACQUIRED"), &json!("APPLIED")), "{got}");
    assert_eq!(got["transaction"]["results"].as_array().unwrap().len(), 2);
    at.unreserve("w0", "a", &a["releaseToken"]).await;
    assert_eq!(ticket(&at, &early).await["status"], "ACQUIRED");
    assert_eq!(ticket(&at, &late).await["status"], "WAITING");
}

#[tokio::test]
async fn what_nobody_asks_for_lapses_and_what_nobody_sees_goes_to_the_next() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut events = at.events("?types=WAIT_ENDED,RESERVED,UNRESERVED").await;
    events.head().await;
    let held = at.acquire("w0", "r", None).await;
    let dead = wait_for(&at, "dead", "r", json!({"keepAliveSeconds": 5})).await;
    let gone = wait_for(&at, "gone", "r", json!({"keepAliveSeconds": 5})).await;
    let live = wait_for(&at, "live", "r", json!({"keepAliveSeconds": 600})).await;
    events.expect("RESERVED").await;
    let ended = events.expect("WAIT_ENDED").await;
    assert_eq!((&ended["explanation"], &ended["ticket"]), (&json!("LAPSED"), &dead["ticket"]), "{ended}");
    assert_eq!(events.expect("WAIT_ENDED").await["ticket"], gone["ticket"]);
    assert_eq!(ticket(&at, &dead).await["status"], "LAPSED");

    let unseen = wait_for(&at, "unseen", "r", json!({"keepAliveSeconds": 5, "priority": 1})).await;
    at.unreserve("w0", "r", &held["releaseToken"]).await;
    events.expect("UNRESERVED").await;
    assert_eq!(events.expect("RESERVED").await["ticket"], unseen["ticket"]);
    let back = events.expect("UNRESERVED").await;
    assert_eq!((&back["explanation"], &back["requester"]), (&json!("UNCLAIMED"), &json!("unseen")), "{back}");
    let mut next = events.event().await.1;
    if next["type"] == "WAIT_ENDED" {
        next = events.event().await.1;
    }
    assert_eq!((&next["type"], &next["ticket"]), (&json!("RESERVED"), &live["ticket"]), "{next}");
    assert_eq!(ticket(&at, &live).await["status"], "ACQUIRED");
}

#[tokio::test]
async fn a_wait_is_cancelled_and_a_reset_cancels_all() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w0", "r", None).await;
    let first = wait_for(&at, "w1", "r", json!({})).await;
    let second = wait_for(&at, "w2", "r", json!({})).await;
    let path = |waiting: &Value| format!("/Reservation/tickets/{}", waiting["ticket"].as_str().unwrap());
    let cancelled = at.delete(&path(&first)).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.body["status"]), (200, &json!("CANCELLED")));
    assert_eq!(ticket(&at, &second).await["place"], 1);
    let listed = at.get("/Reservation/waiting?resource=r").await.body;
    assert_eq!(listed["waiting"][0]["ticket"], second["ticket"], "{listed}");
    at.unreserve("w0", "r", &held["releaseToken"]).await;
    ticket(&at, &second).await;
    at.delete(&path(&second)).await.fails(409, "CONFLICT");
    let third = wait_for(&at, "w3", "r", json!({})).await;
    assert_eq!(at.post("/Reservation/reset", json!({})).await.status, 200);
    assert_eq!(ticket(&at, &third).await["status"], "CANCELLED");
    assert_eq!(at.get("/Reservation/waiting").await.body["waiting"], json!([]));
    assert_eq!(at.reserve("w4", "r", None).await["status"], "ACQUIRED");
    at.get("/Reservation/tickets/0f8fad5b-d9cb-469f-a165-70867728950e").await.fails(404, "NOT_FOUND");
    at.get("/Reservation/tickets/nonsense").await.fails(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_circle_of_waits_is_told_and_a_limit_holds() {
    let tiers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tiers.path(), "[Pro]\nwaiting_tickets = 2\n").unwrap();
    let world = World::<1>::with(&[], &[("TIERS_FILE", tiers.path().to_str().unwrap())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.acquire("x", "a", None).await;
    at.acquire("y", "b", None).await;
    assert_eq!(wait_for(&at, "x", "b", json!({})).await["status"], "WAITING");
    let circle = wait_for(&at, "y", "a", json!({})).await;
    assert_eq!((&circle["status"], &circle["ticket"]), (&json!("WOULD_DEADLOCK"), &Value::Null), "{circle}");
    assert!(circle["explanation"].as_str().unwrap().contains("\"x\""), "{circle}");
    assert_eq!(wait_for(&at, "z", "b", json!({})).await["place"], 2);
    let item = json!([{"requester": "q", "resource": "a", "waitSeconds": 5}]);
    let refused = at.post("/Reservation/reserve", item).await;
    assert_eq!((refused.status.as_u16(), &refused.body["limitType"]), (429, &json!("WaitingTickets")), "{refused:?}");
}

#[tokio::test]
async fn a_circle_of_thirty_two_is_told_with_all_their_names() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let (who, what) = (|number: usize| format!("who-{number}"), |number: usize| format!("what-{}", number % 32));
    for number in 0..32 {
        at.acquire(&who(number), &what(number), None).await;
    }
    // Each waits for what the next one holds; the last one would close the circle.
    for number in 0..31 {
        assert_eq!(wait_for(&at, &who(number), &what(number + 1), json!({})).await["status"], "WAITING");
    }
    let circle = wait_for(&at, &who(31), &what(32), json!({})).await;
    assert_eq!((&circle["status"], &circle["ticket"]), (&json!("WOULD_DEADLOCK"), &Value::Null), "{circle}");
    let explanation = circle["explanation"].as_str().unwrap();
    assert!((0..32).all(|number| explanation.contains(&format!("\"{}\"", who(number)))), "{explanation}");
    assert_eq!(waiting_count(&at, &what(32)).await, 0, "nothing is queued");
    // Whoever is part of none may wait for any of it.
    assert_eq!(wait_for(&at, "stranger", &what(32), json!({})).await["place"], 1);
}

#[tokio::test]
async fn pools_trees_and_blockers_are_waited_for() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let definitions = json!([{"name": "P", "capacity": 2}, {"name": "leaf", "treePath": "root>mid"},
        {"name": "other", "treePath": "root"}, {"name": "X", "blocks": ["Y"]}]);
    assert_eq!(at.post("/Resource/register", definitions).await.status, 200);

    // Two slots, of which one is held: what is free is kept for who wants both.
    let slot = at.acquire("w0", "P", Some(600)).await;
    let both = wait_for(&at, "w1", "P", json!({"quantity": 2})).await;
    assert_eq!(both["status"], "WAITING", "{both}");
    assert_eq!(at.reserve("w2", "P", None).await["status"], "ALREADY_HELD");
    let one = wait_for(&at, "w2", "P", json!({})).await;
    assert_eq!(one["place"], 2, "{one}");
    at.unreserve("w0", "P", &slot["releaseToken"]).await;
    let got = ticket(&at, &both).await;
    assert_eq!(got["reservation"]["slots"], json!(["P_0", "P_1"]), "{got}");
    at.unreserve("w1", "P", &got["reservation"]["releaseToken"]).await;
    assert_eq!(ticket(&at, &one).await["reservation"]["slots"], json!(["P_0"]));

    // A node above is held: both below are served when it is given back.
    let root = at.acquire("w0", "root", None).await;
    let (leaf, other) = (wait_for(&at, "w1", "leaf", json!({})).await, wait_for(&at, "w2", "other", json!({})).await);
    assert_eq!((&leaf["status"], &other["status"]), (&json!("WAITING"), &json!("WAITING")));
    at.unreserve("w0", "root", &root["releaseToken"]).await;
    assert_eq!(ticket(&at, &leaf).await["status"], "ACQUIRED");
    assert_eq!(ticket(&at, &other).await["status"], "ACQUIRED");
    // And one above is served when the last below is given back.
    let above = wait_for(&at, "w3", "root", json!({})).await;
    assert_eq!(above["status"], "WAITING");
    for (who, name, waiting) in [("w1", "leaf", &leaf), ("w2", "other", &other)] {
        let token = ticket(&at, waiting).await["reservation"]["releaseToken"].clone();
        at.unreserve(who, name, &token).await;
    }
    assert_eq!(ticket(&at, &above).await["status"], "ACQUIRED");

    // What blocks is held.
    let blocker = at.acquire("w0", "Y", None).await;
    let blocked = wait_for(&at, "w1", "X", json!({})).await;
    assert_eq!(blocked["status"], "WAITING");
    assert_eq!(at.reserve("w2", "X", None).await["status"], "ALREADY_HELD");
    at.unreserve("w0", "Y", &blocker["releaseToken"]).await;
    assert_eq!(ticket(&at, &blocked).await["reservation"]["acquiredBlockers"], json!(["Y"]));

    // A changed definition serves, too.
    at.post("/Reservation/reset", json!({})).await;
    at.acquire("w0", "P", None).await;
    at.acquire("w1", "P", None).await;
    let third = wait_for(&at, "w2", "P", json!({})).await;
    assert_eq!(third["status"], "WAITING");
    at.post("/Resource/register", json!([{"name": "P", "capacity": 3}])).await;
    assert_eq!(ticket(&at, &third).await["reservation"]["slots"], json!(["P_2"]));
}

#[tokio::test]
async fn what_expires_or_is_ended_by_force_is_handed_over() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    at.acquire("w0", "short", Some(1)).await;
    at.acquire("w0", "forced", None).await;
    let item = json!([{"requester": "w1", "resource": "short", "waitSeconds": 30}]);
    assert_eq!(at.post("/Reservation/reserve?hold=20", item).await.statuses(), ["ACQUIRED"]);
    let forced = wait_for(&at, "w1", "forced", json!({})).await;
    at.post("/Reservation/forceRelease", json!({"resource": "forced"})).await;
    assert_eq!(ticket(&at, &forced).await["status"], "ACQUIRED");
}

#[tokio::test]
async fn first_and_as_many_wait_and_a_group_that_overtakes_keeps_nothing() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let (a, b) = (at.acquire("w0", "a", None).await, at.acquire("w0", "b", None).await);
    let group = |method: &str, who: &str, more: Value| {
        let mut group = json!({"method": method, "requestType": "RESERVE", "waitSeconds": 60,
            "requests": [{"requester": who, "resource": "a"}, {"requester": who, "resource": "b"}]});
        group.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([group])
    };
    let post = async |body: Value| at.post("/Reservation/transactions", body).await.body[0].clone();
    let passes = post(group("ALL_OR_NONE", "g0", json!({"overtake": true}))).await;
    assert_eq!(passes["status"], "WAITING", "{passes}");
    at.unreserve("w0", "a", &a["releaseToken"]).await;
    let free = at.reserve("w1", "a", None).await;
    assert_eq!(free["status"], "ACQUIRED", "{free}");
    let first = post(group("FIRST", "g1", json!({}))).await;
    assert_eq!(first["status"], "WAITING", "{first}");
    at.unreserve("w1", "a", &free["releaseToken"]).await;
    let got = ticket(&at, &first).await;
    let statuses: Vec<_> =
        got["transaction"]["results"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, ["ACQUIRED", "SKIPPED"], "{got}");
    at.unreserve("g1", "a", &got["transaction"]["results"][0]["releaseToken"]).await;
    assert_eq!(ticket(&at, &passes).await["status"], "WAITING");
    at.unreserve("w0", "b", &b["releaseToken"]).await;
    assert_eq!(ticket(&at, &passes).await["status"], "ACQUIRED");
}

#[tokio::test]
async fn what_can_no_longer_be_had_is_waited_for_no_longer() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let register = async |capacity: i64| {
        let definition = json!([{"name": "P", "capacity": capacity}]);
        assert_eq!(at.post("/Resource/register", definition).await.status, 200);
    };
    register(3).await;
    at.acquire("w0", "P_0", None).await;
    at.acquire("w0", "P_2", None).await;
    let mut events = at.events("?types=WAIT_ENDED").await;
    events.head().await;
    // Behind one who can be served later stand those who never can once the pool is smaller.
    let first = wait_for(&at, "w1", "P_0", json!({})).await;
    let slot = wait_for(&at, "w2", "P_2", json!({})).await;
    let all = json!([{"requester": "w3", "resource": "P", "quantity": 3, "waitSeconds": 60}]);
    let (answer, _) = tokio::join!(at.post("/Reservation/reserve?hold=30", all), async {
        until("all wait", || async {
            at.get("/Reservation/waiting").await.body["waiting"].as_array().unwrap().len() == 3
        })
        .await;
        register(2).await;
    });
    assert_eq!(answer.statuses(), ["NOT_VALID"]);
    for _ in 0..2 {
        let ended = events.expect("WAIT_ENDED").await;
        assert_eq!(ended["explanation"], "CANCELLED", "{ended}");
        assert!(ended["reason"].as_str().unwrap().contains("registered"), "{ended}");
    }
    assert_eq!(ticket(&at, &slot).await["status"], "CANCELLED");
    assert_eq!(ticket(&at, &first).await["status"], "WAITING");
    // What they kept is for others now, and nobody waits for what he cannot have.
    assert_eq!(at.reserve("w4", "P", None).await["status"], "ACQUIRED");
    assert_eq!(wait_for(&at, "w2", "P_2", json!({})).await["status"], "ALREADY_HELD");
}

#[tokio::test]
async fn who_is_in_the_way_is_said_of_each_thing_that_a_transaction_waits_for() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut events = at.events("?types=RESERVE_FAILED").await;
    events.head().await;
    let item = json!([{"requester": "w0", "resource": "a", "ttlSeconds": 600, "note": "moves the data"}]);
    let held = at.post("/Reservation/reserve", item).await.body[0].clone();
    let had = at.acquire("g", "b", None).await;
    wait_for(&at, "w1", "a", json!({})).await;
    let group = json!([{"method": "ALL_OR_NONE", "requestType": "RESERVE", "waitSeconds": 60, "requests": [
        {"requester": "g", "resource": "a"}, {"requester": "g", "resource": "b"}, {"requester": "g", "resource": "c"}]}]);
    for hold in ["", "?hold=1"] {
        let waiting = at.post(&format!("/Reservation/transactions{hold}"), group.clone()).await.body[0].clone();
        assert_eq!((&waiting["status"], &waiting["place"]), (&json!("WAITING"), &json!(2)), "{waiting}");
        let explanation = waiting["explanation"].as_str().unwrap();
        let start = "\"a\" is held by \"w0\" (moves the data) until ";
        assert!(explanation.starts_with(start), "{explanation}");
        assert!(explanation.ends_with(" You wait for it; 1 is before you: \"w1\"."), "{explanation}");
        let results = waiting["results"].as_array().unwrap();
        let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["ALREADY_HELD", "ALREADY_HAD", "ROLLED_BACK"]);
        assert_eq!((&results[0]["holder"], &results[0]["holderExpiresAt"]), (&json!("w0"), &held["expiresAt"]));
        assert_eq!((&results[1]["releaseToken"], &results[2]["releaseToken"]), (&had["releaseToken"], &Value::Null));
    }
    // Who does not wait is told how many do.
    let item = json!([{"requester": "w2", "resource": "a", "note": "in vain"}]);
    let refused = at.post("/Reservation/reserve", item).await.body[0].clone();
    assert!(refused["explanation"].as_str().unwrap().ends_with(" 2 wait already."), "{refused}");
    let failed = events.expect("RESERVE_FAILED").await;
    assert_eq!((&failed["requester"], &failed["note"]), (&json!("w2"), &json!("in vain")), "{failed}");
}
