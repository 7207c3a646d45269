//! Turns: however many connections send large calls of a tenant, Redis is given few of them at once, so that others' calls come between.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    neighbours::frame::{NEIGHBOUR, RawConnection, blocking, request},
    support::world::{TIMEOUT, World},
};

const LARGE_CALLS: usize = 12;
/// How long Redis stands still, in which the calls arrive at the replica one after the other.
const STANDSTILL: Duration = Duration::from_millis(400);

/// Sends large calls, and then one of somebody else, while Redis stands still; how many of them are answered when that one is.
async fn answered_before_the_others(path: &'static str, body: Value) -> usize {
    // One thread, so that the calls reach Redis in the order in which they were sent.
    let world = World::<1>::with(&[], &[("WORKERS", "1")]).await;
    let (neighbour, victim) = (world.tenant_of("Enterprise").await, world.tenant().await);
    assert!(world.at(&neighbour).post("/Resource/register", json!([{"name": "known"}])).await.status.is_success());
    // Both are known to the replica as they are now.
    for tenant in [&neighbour, &victim] {
        assert_eq!(world.at(tenant).get("/Reservation/check/a").await.status, 200);
    }
    let address = world.replicas[0].address().to_owned();
    let large = request("POST", path, &[("x-api-key", &neighbour.key)], &body.to_string());
    let small = request("GET", "/api/v1/Reservation/check/a", &[("x-api-key", &victim.key)], "");
    let send = |call: &str| {
        let mut connection = RawConnection::open_at(&address, NEIGHBOUR);
        connection.send(call.as_bytes());
        connection
    };
    world.redis.signal("-STOP");
    let mut calls: Vec<_> = (0..LARGE_CALLS).map(|_| send(&large)).collect();
    std::thread::sleep(STANDSTILL / 2);
    let mut of_victim = send(&small);
    std::thread::sleep(STANDSTILL / 2);
    assert!(of_victim.is_silent() && calls.iter().all(RawConnection::is_silent), "redis stands still");
    world.redis.signal("-CONT");
    blocking(move || {
        assert_eq!(of_victim.answer().0, 200);
        let answered = calls.iter().filter(|call| !call.is_silent()).count();
        let begun = Instant::now();
        for call in &mut calls {
            let (status, body) = call.answer();
            assert!(status < 300, "{status} {body}");
        }
        assert!(begun.elapsed() < TIMEOUT);
        answered
    })
    .await
}

fn items(count: usize, item: impl Fn(usize) -> Value) -> Value {
    Value::Array((0..count).map(item).collect())
}

#[tokio::test]
async fn a_small_call_of_another_tenant_waits_for_few_large_ones() {
    let names: Vec<_> = (0..1_000).map(|n| format!("name-{n}")).collect();
    for (path, body) in [
        ("/api/v1/Reservation/check", json!({"resources": names})),
        ("/api/v1/Reservation/reserve", items(300, |n| json!({"requester": "w", "resource": format!("r{n}")}))),
        (
            "/api/v1/Resource/register",
            items(40, |n| json!({"name": "known", "treePath": if n % 2 == 0 { "A" } else { "B" }})),
        ),
        ("/api/v1/events", items(500, |n| json!({"type": "x", "data": n}))),
    ] {
        let answered = answered_before_the_others(path, body).await;
        assert!(answered <= 3, "{path}: {answered} of {LARGE_CALLS} large calls came first");
    }
}
