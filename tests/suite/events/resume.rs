//! Resuming of streams: on any replica, after broken connections, restarts and losses; and `RESET_CURSOR` where it is impossible.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    redis_server::Redis,
    sse::{EventStream, Seen},
    world::{Client, Tenant, World, until},
};

/// Opens a stream as a reconnecting client does.
async fn resume(at: &Client<'_>, id: &str) -> EventStream {
    EventStream::open(&format!("{}/api/v1/events", at.replica.url), &[("x-api-key", at.key), ("last-event-id", id)])
        .await
}

/// Reads the head of a stream that cannot resume: the reason, and the position from which it continues.
async fn reset_head(stream: &mut EventStream) -> (String, i64) {
    assert_eq!(stream.status, 200);
    assert!(matches!(stream.next().await, Some(Seen::Retry(_))));
    assert!(matches!(stream.next().await, Some(Seen::Event { kind, .. }) if kind == "message"));
    let (kind, data, id) = stream.event().await;
    assert_eq!(kind, "RESET_CURSOR", "{data}");
    assert_eq!(data["asOf"].as_i64().unwrap().to_string(), id);
    (data["reason"].as_str().unwrap().to_owned(), data["asOf"].as_i64().unwrap())
}

/// The names of the next `count` events' resources.
async fn resources(stream: &mut EventStream, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < count {
        names.push(stream.event().await.1["resource"].as_str().unwrap().to_owned());
    }
    names
}

/// Runs a script on the tenant's state and history; in it `move(n)` moves the position of its last event.
fn tamper(redis: &Redis, tenant: &Tenant, script: &str) {
    const MOVE: &str = "local function move(by) local state = { struct.unpack('<dddddddddddddd', redis.call('HGET', KEYS[1], 'state')) } \
                        state[1] = state[1] + by redis.call('HSET', KEYS[1], 'state', struct.pack('<dddddddddddddd', unpack(state, 1, 14))) end ";
    let mut connection = redis.connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("*:{}:meta", tenant.id)).query(&mut connection).unwrap();
    let meta = &keys[0];
    let history = meta.replace(":meta", ":history");
    let _: redis::Value =
        redis::cmd("EVAL").arg(format!("{MOVE}{script}")).arg(2).arg(meta).arg(history).query(&mut connection).unwrap();
}

#[tokio::test]
async fn a_stream_resumes_on_another_replica() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let mut stream = north.events("").await;
    stream.head().await;
    north.acquire("w", "first", None).await;
    let (_, _, id) = stream.event().await;
    drop(stream);
    for name in ["second", "third"] {
        south.acquire("w", name, None).await;
    }

    let mut resumed = resume(&south, &id).await;

    assert_eq!(resumed.head().await.to_string(), id);
    assert_eq!(resources(&mut resumed, 2).await, ["second", "third"]);
    north.acquire("w", "fourth", None).await;
    assert_eq!(resources(&mut resumed, 1).await, ["fourth"]);
    // And again, now from the ring, by the query parameter.
    let mut again = north.events(&format!("?lastEventId={id}")).await;
    again.head().await;
    assert_eq!(resources(&mut again, 3).await, ["second", "third", "fourth"]);
}

#[tokio::test]
async fn a_stream_resumes_at_the_as_of_of_any_read() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let empty = at.get("/Reservation/activeReservations").await.body["asOf"].as_i64().unwrap();
    at.acquire("w", "a", None).await;
    let checked = at.get("/Reservation/check/a").await.number("holdfast-position");
    at.acquire("w", "b", None).await;
    let refused = at
        .post("/Reservation/reserve", serde_json::json!([{"requester": "x", "resource": "a"}]))
        .await
        .number("holdfast-position");

    for (as_of, after) in [(empty, &["a", "b"][..]), (checked, &["b"]), (refused, &[])] {
        let mut stream = resume(&at, &as_of.to_string()).await;
        assert_eq!(stream.head().await, as_of);
        assert_eq!(resources(&mut stream, after.len()).await, after);
    }
}

#[tokio::test]
async fn a_position_that_cannot_be_resumed_says_why() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let first = at.acquire("w", "a", None).await["fencingToken"].as_i64().unwrap();
    let second = at.acquire("w", "b", None).await["fencingToken"].as_i64().unwrap();

    let cases = [
        ("nonsense".to_owned(), "unknown"),
        ("-1".into(), "unknown"),
        ("99999999999999999999".into(), "unknown"),
        ((second + 3_600_000_000).to_string(), "unknown"),
        ((first + 1).to_string(), "unknown"),
        ("1".into(), "too_old"),
        ((second + 1).to_string(), "lost"),
    ];
    for (id, reason) in cases {
        let mut stream = resume(&at, &id).await;
        assert_eq!(reset_head(&mut stream).await, (reason.to_owned(), second), "{id}");
        // The filter does not hide RESET_CURSOR.
        let mut filtered = at.events(&format!("?lastEventId={id}&types=RENEWED")).await;
        assert_eq!(reset_head(&mut filtered).await.0, reason);
    }
}

#[tokio::test]
async fn positions_before_the_history_or_older_than_an_hour_are_too_old() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let first = at.acquire("w", "a", None).await["fencingToken"].as_i64().unwrap();
    let second = at.acquire("w", "b", None).await["fencingToken"].as_i64().unwrap();
    at.acquire("w", "c", None).await;
    tamper(&world.redis, &tenant, "return redis.call('LTRIM', KEYS[2], -1, -1)");
    assert_eq!(reset_head(&mut resume(&at, &first.to_string()).await).await.0, "too_old");
    resume(&at, &second.to_string()).await.head().await;

    // An event of two hours ago; the client resumes at the position before it.
    let old = world.tenant().await;
    let at = world.at(&old);
    at.acquire("w", "a", None).await;
    let script = "local e = {cmsgpack.unpack(redis.call('LINDEX', KEYS[2], 0))} local t = redis.call('TIME')[1] - 7200 \
                  e[3] = t * 1000000 - 5 e[4] = t * 1000000 \
                  redis.call('LSET', KEYS[2], 0, cmsgpack.pack(unpack(e))) \
                  redis.call('SET', 'test:old', string.format('%d', e[3]))";
    tamper(&world.redis, &old, script);
    let id: String = redis::cmd("GET").arg("test:old").query(&mut world.redis.connection()).unwrap();
    assert_eq!(reset_head(&mut resume(&at, &id).await).await.0, "too_old");
}

#[tokio::test]
async fn a_subscription_that_breaks_loses_and_repeats_no_event() {
    let world = World::<2>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    let (mut near, mut far) = (north.events("").await, south.events("").await);
    near.head().await;
    far.head().await;
    let rounds = if std::env::var("HOLDFAST_LONG").is_ok() { 2_000 } else { 150 };

    let writing = async {
        let mut fences = Vec::new();
        for round in 0..rounds {
            fences.push(north.acquire("w", &format!("r{round}"), None).await["fencingToken"].as_i64().unwrap());
            if round % 5 == 0 {
                let _: i64 = redis::cmd("CLIENT")
                    .arg("KILL")
                    .arg("TYPE")
                    .arg("pubsub")
                    .query(&mut world.redis.connection())
                    .unwrap();
            }
        }
        fences
    };
    let ids = async |stream: &mut EventStream| {
        let mut ids = Vec::new();
        while ids.len() < rounds {
            let (kind, data, id) = stream.event().await;
            assert_eq!(kind, "RESERVED", "{data}");
            ids.push(id.parse::<i64>().unwrap());
        }
        ids
    };
    let (fences, near, far) = tokio::join!(writing, ids(&mut near), ids(&mut far));

    assert_eq!(near, fences);
    assert_eq!(far, fences);
}

#[tokio::test]
async fn a_lost_last_notification_is_repaired_within_two_seconds() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut stream = at.events("").await;
    stream.head().await;
    at.acquire("w", "a", None).await;
    stream.expect("RESERVED").await;

    // An event that is in the history and was never published.
    let script = "local e = {cmsgpack.unpack(redis.call('LINDEX', KEYS[2], -1))} e[3] = e[4] e[4] = e[4] + 7 e[20] = 'silent' \
                  redis.call('RPUSH', KEYS[2], cmsgpack.pack(unpack(e))) move(7)";
    tamper(&world.redis, &tenant, script);
    let begun = Instant::now();

    assert_eq!(stream.expect("RESERVED").await["resource"], "silent");
    // The promise is 2 s; the machine that this runs on may be busy.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    at.acquire("w", "b", None).await;
    assert_eq!(stream.expect("RESERVED").await["resource"], "b");
}

#[tokio::test]
async fn a_gap_that_cannot_be_repaired_resets_the_stream() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let (mut stream, mut filtered) = (at.events("").await, at.events("?types=RENEWED").await);
    stream.head().await;
    filtered.head().await;
    at.acquire("w", "a", None).await;
    let known: i64 = stream.event().await.2.parse().unwrap();

    // The events after it are gone before this replica has read them.
    tamper(&world.redis, &tenant, "redis.call('DEL', KEYS[2]) move(5)");
    for stream in [&mut stream, &mut filtered] {
        let reset = stream.expect("RESET_CURSOR").await;
        assert_eq!((reset["reason"].as_str(), reset["asOf"].as_i64()), (Some("too_old"), Some(known + 5)));
    }
    at.acquire("w", "b", None).await;
    assert_eq!(stream.expect("RESERVED").await["resource"], "b");

    // Redis loses published events, as in a fail-over to a replica that lagged.
    tamper(&world.redis, &tenant, "redis.call('DEL', KEYS[2]) move(-1000)");
    assert_eq!(stream.expect("RESET_CURSOR").await["reason"], "lost");
    let c = at.acquire("w", "c", None).await["fencingToken"].as_i64().unwrap();
    assert!(c > known + 5, "positions only grow");
    assert_eq!(stream.expect("RESERVED").await["resource"], "c");
}

#[tokio::test]
async fn streams_stay_open_while_redis_is_down_and_continue_when_it_is_back() {
    let mut world = World::<2>::with(&["--appendonly", "yes", "--appendfsync", "always"], &[]).await;
    let tenant = world.tenant().await;
    let mut stream = world.at_replica(1, &tenant).events("").await;
    stream.head().await;
    world.at(&tenant).acquire("w", "before", None).await;
    stream.expect("RESERVED").await;

    world.redis.kill();
    let refused = world.at(&tenant).events("").await;
    assert!(matches!(refused.status, 503 | 504), "{}", refused.status);
    let mut reconnecting = resume(&world.at(&tenant), "1").await;
    assert_eq!(reconnecting.status, 200, "a browser would never reconnect after a 503");
    assert!(matches!(reconnecting.rest().await.as_slice(), [Seen::Retry(_)]));
    world.redis.restart();

    let at = world.at(&tenant);
    let after = serde_json::json!([{"requester": "w", "resource": "after"}]);
    until("every runtime of the replica is connected again", || async {
        at.post("/Reservation/reserve", after.clone()).await.status == 200
    })
    .await;
    until("one more is granted", || async {
        at.post("/Reservation/reserve", serde_json::json!([{"requester": "w", "resource": "last"}])).await.status == 200
    })
    .await;
    assert_eq!(stream.expect("RESERVED").await["resource"], "after");
    assert_eq!(stream.expect("RESERVED").await["resource"], "last");
}

#[tokio::test]
async fn a_revocation_whose_notification_is_lost_ends_the_stream() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let made = at.post("/keys", serde_json::json!({"label": "second"})).await.body;
    let second = Tenant { id: tenant.id.clone(), key: made["apiKey"].as_str().unwrap().into() };
    let (mut ends, mut stays) = (world.at(&second).events("").await, at.events("").await);
    ends.head().await;
    stays.head().await;

    // The key is removed without a notification, and the subscription breaks, as if the notification was lost with it.
    let id = made["id"].as_str().unwrap();
    let script = format!(
        "for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do if redis.call('HGET', KEYS[1], field) == '{id}' then redis.call('HDEL', KEYS[1], field) end end"
    );
    tamper(&world.redis, &tenant, &script);
    let _: i64 =
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query(&mut world.redis.connection()).unwrap();

    ends.rest().await;
    at.acquire("w", "a", None).await;
    stays.expect("RESERVED").await;
}

#[tokio::test]
async fn a_long_absence_is_replayed_page_by_page() {
    let world = World::<2>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let from = at.get("/Reservation/activeReservations").await.body["asOf"].as_i64().unwrap();
    let batches = 3;
    for batch in 0..batches {
        let items: Vec<Value> =
            (0..300).map(|at| serde_json::json!({"requester": "w", "resource": format!("r{batch}-{at}")})).collect();
        assert_eq!(at.post("/Reservation/reserve", Value::Array(items)).await.status, 200);
    }
    let mut stream = resume(&world.at_replica(1, &tenant), &from.to_string()).await;
    stream.head().await;
    let mut last = from;
    for _ in 0..batches * 300 {
        let id: i64 = stream.event().await.2.parse().unwrap();
        assert!(id > last);
        last = id;
    }
    at.acquire("w", "live", None).await;
    assert_eq!(stream.expect("RESERVED").await["resource"], "live");
    until("the listing agrees", || async { at.listed().await.len() == batches * 300 + 1 }).await;
}
