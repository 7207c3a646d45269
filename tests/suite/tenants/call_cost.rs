//! What a call costs of its tenant's rate.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    queues::push_connection::PushConnection,
    support::world::{Answer, until},
    tenants::limits::{rate, world_of},
};

#[tokio::test]
async fn a_call_costs_more_for_each_further_hundred_items() {
    // A rate so slow that nothing refills meanwhile.
    let (world, _file) =
        world_of::<1>("[Free]\nrequests_per_second = 1\nburst = 1000\nconcurrent_reservations = \"unlimited\"\n").await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let items = |count: usize| {
        Value::Array((0..count).map(|at| json!({"requester": "w", "resource": format!("r{at}")})).collect())
    };
    let mut left = rate(&at.get("/Reservation/check/a").await, "ratelimit", "r");
    let mut since = Instant::now();
    for (count, cost) in [(1, 1), (100, 1), (101, 2), (1_000, 10)] {
        let answer = at.post("/Reservation/reserve", items(count)).await;
        assert_eq!(answer.status, 200);
        let now = rate(&answer, "ratelimit", "r");
        let back = since.elapsed().as_secs() as i64 + 1;
        assert!((cost - back..=cost).contains(&(left - now)), "{count} items cost {} and should {cost}", left - now);
        (left, since) = (now, Instant::now());
    }
    // The whole list is streamed by several scripts, and is one call.
    let listed = at.get("/Reservation/activeReservations").await;
    assert_eq!(listed.body["reservations"].as_array().unwrap().len(), 1_000);
    assert!(left - rate(&listed, "ratelimit", "r") <= 1);
    // What is refused before it gets to Redis still says what is left.
    let bad = at.post("/Reservation/reserve", json!([])).await;
    assert_eq!(bad.status, 400);
    rate(&bad, "ratelimit", "r");
}

#[tokio::test]
async fn a_call_costs_more_for_each_further_100_kib_whatever_carries_them() {
    let (world, _file) = world_of::<1>(
        "[Free]\nrequests_per_second = 1\nburst = 1000\nconcurrent_reservations = \"unlimited\"\nstored_bytes = \"unlimited\"\n",
    )
    .await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let long = |head: usize| format!("{head:04}{}", "n".repeat(996));
    let list = |count: usize, item: &dyn Fn(usize) -> Value| Value::Array((0..count).map(item).collect());
    let event = |_| json!({"type": "x", "data": "z".repeat(10_000)});
    let item = |n| json!({"requester": "w", "resource": long(n)});
    let definition =
        |n| json!({"name": format!("d{n}"), "blocks": (0..8).map(|of| long(n * 8 + of)).collect::<Vec<_>>()});
    let connection = PushConnection::create(at).await;
    let job = |n| {
        json!({
            "type": "job:state_change", "timestamp": "2026-05-13T14:00:00.000Z", "framework": "celery",
            "job": {"externalId": format!("{n}"), "name": "long", "state": "failed", "error": "e".repeat(10_000)},
        })
    };
    let mut left = rate(&at.get("/Reservation/check/a").await, "ratelimit", "r");
    let mut since = Instant::now();
    // A unit comes back each second.
    let mut costs = |what: &str, answer: &Answer, cost: std::ops::RangeInclusive<i64>| {
        assert!(answer.status.is_success(), "{what}: {answer:?}");
        let now = rate(answer, "ratelimit", "r");
        let back = since.elapsed().as_secs() as i64 + 1;
        assert!((cost.start() - back..=*cost.end()).contains(&(left - now)), "{what} cost {}, {cost:?}", left - now);
        (left, since) = (now, Instant::now());
    };
    costs("an event", &at.post("/events", event(0)).await, 1..=1);
    costs("61 events of 10 kB", &at.post("/events", list(61, &event)).await, 6..=6);
    // More than one call of Redis may have, which goes on in others that are paid for.
    costs("1,000 events of 10 kB", &at.post("/events", list(1_000, &event)).await, 98..=98);
    costs("52 names of 1,000 bytes", &at.post("/Reservation/reserve", list(52, &item)).await, 1..=1);
    costs("310 names of 1,000 bytes", &at.post("/Reservation/reserve", list(310, &item)).await, 4..=4);
    let names: Vec<_> = (0..310).map(long).collect();
    costs("a check of 310 such names", &at.post("/Reservation/check", json!({"resources": names})).await, 4..=4);
    costs("40 definitions that block 8 such names", &at.post("/Resource/register", list(40, &definition)).await, 4..=4);
    costs("60 jobs of 10 kB", &connection.push(list(60, &job)).await, 6..=7);
}

#[tokio::test]
async fn a_call_that_costs_more_than_the_burst_costs_the_burst() {
    // Slow enough that the burst is not whole again before the next call, however busy the machine is.
    let (world, _file) = world_of::<1>("[Free]\nrequests_per_second = 1\nburst = 10\n").await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let events = Value::Array((0..110).map(|_| json!({"type": "x", "data": "z".repeat(10_000)})).collect());
    let begun = Instant::now();
    let published = at.post("/events", events.clone()).await;
    assert_eq!(published.status, 202, "{published:?}");
    let back = begun.elapsed().as_secs() as i64 + 1;
    assert!(rate(&published, "ratelimit", "r") <= back, "{published:?}");
    let refused = at.post("/events", events.clone()).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    // In time it is admitted again.
    until("the burst is whole", || async { at.post("/events", events.clone()).await.status == 202 }).await;
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
}
