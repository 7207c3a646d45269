//! Waiting while servers, replicas and clients go, and while the tenant may hold nothing more.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::world::{Answer, Client, World, until};

fn item(requester: &str, resource: &str, keep_alive_s: i64) -> Value {
    json!({"requester": requester, "resource": resource, "waitSeconds": 120, "keepAliveSeconds": keep_alive_s})
}

/// A reserve whose answer is held back.
async fn held_call(at: Client<'_>, requester: &str, resource: &str) -> Answer {
    at.post("/Reservation/reserve?hold=60", json!([item(requester, resource, 600)])).await
}

async fn waits(at: &Client<'_>, requester: &str, resource: &str, keep_alive_s: i64) -> Value {
    let answer = at.post("/Reservation/reserve", json!([item(requester, resource, keep_alive_s)])).await;
    assert_eq!(answer.statuses(), ["WAITING"]);
    answer.body[0].clone()
}

async fn status(at: &Client<'_>, ticket: &Value) -> Answer {
    at.get(&format!("/Reservation/tickets/{}", ticket.as_str().unwrap())).await
}

async fn until_waiting(at: &Client<'_>, resource: &str, count: i64) {
    until("so many wait", || async {
        at.get(&format!("/Reservation/check/{resource}")).await.body["waiting"] == json!(count)
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_keeps_every_place() {
    // With one connection to Redis, a replica that serves again serves every call.
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut world = World::<2>::with(&durable, &[("WORKERS", "1")]).await;
    let tenant = world.tenant().await;
    let held = world.at(&tenant).acquire("w0", "r", None).await;
    let url = world.replicas[1].url.clone();
    let key = tenant.key.clone();
    let first = tokio::spawn(async move {
        let body = json!([item("w1", "r", 600)]);
        let request = reqwest::Client::new().post(format!("{url}/api/v1/Reservation/reserve?hold=60"));
        let answer = request.header("x-api-key", key).json(&body).send().await.unwrap();
        crate::support::world::answer(answer).await
    });
    until_waiting(&world.at(&tenant), "r", 1).await;
    let second = waits(&world.at(&tenant), "w2", "r", 600).await;

    world.redis.kill();
    world.redis.restart();

    let at = world.at(&tenant);
    at.serves().await;
    assert_eq!(status(&at, &second["ticket"]).await.body["place"], 2);
    at.unreserve("w0", "r", &held["releaseToken"]).await;
    let first = first.await.unwrap();
    assert_eq!(first.statuses(), ["ACQUIRED"], "its call is held over the restart");
    at.unreserve("w1", "r", &first.body[0]["releaseToken"]).await;
    assert_eq!(status(&at, &second["ticket"]).await.body["status"], "ACQUIRED");
}

#[tokio::test]
async fn a_replica_that_is_killed_takes_no_place_with_it() {
    let mut world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let held = world.at(&tenant).acquire("w0", "r", None).await;
    let url = format!("{}/api/v1/Reservation/reserve?hold=60", world.replicas[1].url);
    let request = reqwest::Client::new().post(url).header("x-api-key", &tenant.key);
    let lost = tokio::spawn(request.json(&json!([item("w1", "r", 600)])).send());
    until_waiting(&world.at(&tenant), "r", 1).await;
    let second = waits(&world.at(&tenant), "w2", "r", 600).await;

    world.replicas[1].kill();
    assert!(lost.await.unwrap().is_err());

    // The client goes on at the other replica, in its place.
    let at = world.at(&tenant);
    let again = at.post("/Reservation/reserve", json!([item("w1", "r", 600)])).await;
    assert_eq!((&again.body[0]["status"], &again.body[0]["place"]), (&json!("WAITING"), &json!(1)));
    let (answer, _) = tokio::join!(held_call(at, "w1", "r"), at.unreserve("w0", "r", &held["releaseToken"]));
    assert!(["ACQUIRED", "ALREADY_HAD"].contains(&answer.statuses()[0]), "{answer:?}");
    assert_eq!(status(&at, &second["ticket"]).await.body["place"], 1);
}

#[tokio::test]
async fn a_replica_that_drains_ends_held_calls_with_their_tickets_at_once() {
    let mut world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let held = world.at(&tenant).acquire("w0", "r", None).await;
    let (answer, took) = {
        let (at, draining) = (world.at(&tenant), world.at_replica(1, &tenant));
        let drain = async {
            until_waiting(&at, "r", 1).await;
            draining.replica.signal("-TERM");
            Instant::now()
        };
        let call = async { (held_call(draining, "w1", "r").await, Instant::now()) };
        let ((answer, answered), began) = tokio::join!(call, drain);
        (answer, answered.saturating_duration_since(began))
    };
    assert_eq!(answer.statuses(), ["WAITING"]);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(world.replicas[1].ended(), 0);

    let at = world.at(&tenant);
    at.unreserve("w0", "r", &held["releaseToken"]).await;
    assert_eq!(status(&at, &answer.body[0]["ticket"]).await.body["status"], "ACQUIRED");
}

#[tokio::test]
async fn a_thousand_dead_tickets_cost_the_next_live_one_less_than_a_second() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w0", "r", None).await;
    let mut last = item("live", "r", 600);
    last["priority"] = json!(-1);
    let live = at.post("/Reservation/reserve", json!([last])).await.body[0].clone();
    let mut dead_us = 0;
    for hundred in 0..10 {
        let dead: Vec<_> = (0..100).map(|number| item(&format!("dead {hundred} {number}"), "r", 5)).collect();
        let answer = at.post("/Reservation/reserve", json!(dead)).await;
        assert_eq!(answer.statuses(), ["WAITING"; 100]);
        dead_us = answer.number("holdfast-time") + 5_000_000;
    }
    let now_us = || {
        let (s, us): (i64, i64) = world.redis.ask("TIME");
        s * 1_000_000 + us
    };
    until("all but one are dead", || async { now_us() > dead_us }).await;
    let began = Instant::now();
    at.unreserve("w0", "r", &held["releaseToken"]).await;
    until("it is served", || async { status(&at, &live["ticket"]).await.body["status"] == "ACQUIRED" }).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_server_without_functions_hands_over_by_scripts() {
    let world = World::<2>::with(&["--rename-command", "FUNCTION", "hidden"], &[]).await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let held = north.acquire("w0", "r", None).await;
    let (answer, _) = tokio::join!(held_call(south, "w1", "r"), async {
        until_waiting(&north, "r", 1).await;
        north.unreserve("w0", "r", &held["releaseToken"]).await;
    });
    assert_eq!(answer.statuses(), ["ACQUIRED"]);
    // Now and then a replica tries whether the server has functions by now.
    assert_eq!(world.redis.function_successes(), 0);
}

#[tokio::test]
async fn who_waits_for_more_than_the_tenant_may_hold_is_served_once_there_is_room() {
    let tiers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tiers.path(), "[Pro]\nconcurrent_reservations = 3\n").unwrap();
    let world = World::<1>::with(&[], &[("TIERS_FILE", tiers.path().to_str().unwrap())]).await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let held = at.acquire("w0", "a", None).await;
    let (x, _) = (at.acquire("w0", "x", None).await, at.acquire("w0", "y", None).await);
    let group = json!([{"method": "ALL_OR_NONE", "requestType": "RESERVE", "waitSeconds": 60, "requests": [
        {"requester": "w1", "resource": "a"}, {"requester": "w1", "resource": "b"}]}]);
    let waiting = at.post("/Reservation/transactions", group).await.body[0].clone();
    assert_eq!(waiting["status"], "WAITING", "{waiting}");

    // Two more than are held would be one too many.
    assert_eq!(at.unreserve("w0", "a", &held["releaseToken"]).await.statuses(), ["RELINQUISHED"]);
    assert_eq!(status(&at, &waiting["ticket"]).await.body["status"], "WAITING");
    assert_eq!(at.reserve("w2", "a", None).await["status"], "ALREADY_HELD", "it stays kept");
    // What makes room is none of what is waited for.
    at.unreserve("w0", "x", &x["releaseToken"]).await;
    assert_eq!(status(&at, &waiting["ticket"]).await.body["status"], "ACQUIRED");
    assert_eq!(at.listed().await, ["a", "b", "y"]);
}
