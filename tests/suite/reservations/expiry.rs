//! What lapses is free at once and never earlier, and is told exactly once, whoever is alive to tell it.

use std::time::{Duration, Instant};

use chrono::DateTime;
use holdfast::{
    domain::{names::TenantId, tier::Tier},
    store::{DueTenants, Namespace, Partition},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    sse::Seen,
    store_bench::Bench,
    world::{Replica, TIMEOUT, World, admin},
};

fn ms(time: &Value) -> i64 {
    DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap().timestamp_millis()
}

/// Asks again and again as another requester until the thing is granted. By Redis' own clock, every refusal was before the holder's
/// end, and the grant was not.
async fn taken_as_soon_as_free(world: &World<1>, tenant: &crate::support::world::Tenant, resource: &str, ends_ms: i64) {
    let begun = Instant::now();
    loop {
        let item = json!([{"requester": "next", "resource": resource}]);
        let answer = world.at(tenant).post("/Reservation/reserve", item).await;
        let early_us = ends_ms * 1000 - answer.number("holdfast-time");
        if answer.body[0]["status"] == "ACQUIRED" {
            assert!(early_us <= 0, "granted {early_us} us too early");
            return;
        }
        assert_eq!(answer.body[0]["status"], "ALREADY_HELD");
        assert!(early_us > 0, "refused {} us too late", -early_us);
        assert!(begun.elapsed() < TIMEOUT, "in vain");
    }
}

#[tokio::test]
async fn a_lapsed_thing_is_free_at_once_and_never_earlier() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    for round in 0..3 {
        let resource = format!("r{round}");
        let held = world.at(&tenant).acquire("first", &resource, Some(1)).await;

        taken_as_soon_as_free(&world, &tenant, &resource, ms(&held["expiresAt"])).await;
    }
}

#[tokio::test]
async fn each_expiry_is_told_exactly_once_by_three_replicas_to_all() {
    let world = World::<3>::start().await;
    let tenant = world.tenant().await;
    let mut streams = Vec::new();
    for number in 0..3 {
        let mut stream = world.at_replica(number, &tenant).events("").await;
        stream.head().await;
        streams.push(stream);
    }
    let items = (0..100)
        .map(|number| json!({"requester": "w", "resource": format!("r{number}"), "ttlSeconds": 1}))
        .collect::<Value>();
    let granted = world.at(&tenant).post("/Reservation/reserve", items).await;
    let fence_of = |name: &str| {
        granted.body.as_array().unwrap().iter().find(|grant| grant["resource"] == name).unwrap()["fencingToken"].clone()
    };

    let mut told = Vec::new();
    for stream in &mut streams {
        let (mut expired, mut unreserved, mut last_id) = (Vec::new(), Vec::new(), 0_i64);
        for _ in 0..100 {
            stream.expect("RESERVED").await;
        }
        while unreserved.len() < 100 {
            let (kind, event, id) = stream.event().await;
            let id: i64 = id.parse().unwrap();
            assert!(id > last_id, "ids only grow");
            last_id = id;
            let name = event["resource"].as_str().unwrap().to_owned();
            assert_eq!((event["explanation"].as_str(), event["requester"].as_str()), (Some("EXPIRED"), Some("w")));
            assert_eq!((&event["fencingToken"], &event["requestType"]), (&fence_of(&name), &Value::Null));
            assert!(ms(&event["timestamp"]) >= ms(&event["expiresAt"]), "told before its time");
            match kind.as_str() {
                "RESERVATION_EXPIRED" => expired.push(name),
                "UNRESERVED" => {
                    assert_eq!(expired.last(), Some(&name), "RESERVATION_EXPIRED comes before its UNRESERVED");
                    unreserved.push(name);
                }
                other => panic!("{other}"),
            }
        }
        let mut names = expired.clone();
        names.sort();
        names.dedup();
        assert_eq!((names.len(), &expired), (100, &unreserved));
        told.push(expired);
    }
    assert!(told.iter().all(|one| *one == told[0]), "all replicas tell the same");

    // And no further word of any of them: the next thing on each stream is the next thing that happens.
    world.at(&tenant).acquire("w", "after", None).await;
    for stream in &mut streams {
        assert_eq!(stream.expect("RESERVED").await["resource"], "after");
    }
}

/// How many milliseconds after its time each of twenty expiries was told, of a thing that nobody asked for.
async fn lateness(world: &World<1>) -> Vec<i64> {
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut events = at.events("?types=RESERVATION_EXPIRED").await;
    events.head().await;
    for batch in 0..4 {
        let items = (0..5)
            .map(|number| json!({"requester": "w", "resource": format!("{batch}/{number}"), "ttlSeconds": 1}))
            .collect::<Value>();
        at.post("/Reservation/reserve", items).await;
        // Not waiting for anything: this is how the deadlines come to lie apart.
        tokio::time::sleep(Duration::from_millis(130)).await;
    }
    let mut late = Vec::new();
    while late.len() < 20 {
        let event = events.expect("RESERVATION_EXPIRED").await;
        late.push(ms(&event["timestamp"]) - ms(&event["expiresAt"]));
    }
    late
}

#[tokio::test]
async fn nobody_asking_an_expiry_is_told_soon_after_its_time() {
    let world = World::<1>::start().await;
    let mut rounds = Vec::new();
    // A busy machine may spoil a round; a fault of ours spoils all.
    while rounds.len() < 8 {
        let late = lateness(&world).await;
        assert!(late.iter().all(|late| *late >= 0), "told before its time: {late:?}");
        if late.iter().all(|late| *late <= 100) {
            return;
        }
        rounds.push(late);
    }
    panic!("never all within 100 ms: {rounds:?}");
}

#[tokio::test]
async fn deadlines_hold_while_no_replica_lives() {
    let mut world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let (lost, kept) = (
        world.at(&tenant).acquire("w", "short", Some(1)).await,
        world.at(&tenant).acquire("w", "long", Some(600)).await,
    );

    world.replicas[0].kill();
    let clock = || {
        let (seconds, micros): (i64, i64) = world.redis.ask("TIME");
        seconds * 1000 + micros / 1000
    };
    crate::support::world::eventually("its time is over", || clock() > ms(&lost["expiresAt"]));
    let replica = Replica::start(&[("REDIS_URL", &world.redis.url())]);
    world.replicas[0] = replica;
    world.replicas[0].ready().await;

    let at = world.at(&tenant);
    assert_eq!(
        at.renew("w", "short", &lost["releaseToken"], 60).await.statuses(),
        ["NOT_RESERVED"],
        "a lapsed reservation is never revived"
    );
    assert_eq!(at.listed().await, ["long"]);
    assert_eq!(at.reserve("w", "long", None).await["releaseToken"], kept["releaseToken"]);
    let next = at.acquire("other", "short", None).await;
    assert!(next["fencingToken"].as_i64() > lost["fencingToken"].as_i64());
}

#[tokio::test]
async fn a_renewal_in_time_keeps_it() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut events = at.events("").await;
    events.head().await;
    let held = at.acquire("w", "kept", Some(1)).await;
    let witness = at.acquire("w", "witness", Some(1)).await;
    assert_eq!(at.renew("w", "kept", &held["releaseToken"], 600).await.statuses(), ["RENEWED"]);

    // When the witness has lapsed, the other would have, too.
    for wanted in ["RESERVED", "RESERVED", "RENEWED"] {
        events.expect(wanted).await;
    }
    for wanted in ["RESERVATION_EXPIRED", "UNRESERVED"] {
        assert_eq!(events.expect(wanted).await["resource"], "witness");
    }
    assert!(ms(&witness["expiresAt"]) >= ms(&held["expiresAt"]));
    assert_eq!(at.listed().await, ["kept"]);
    let seen = at.get("/Reservation/check/kept").await;
    assert_eq!((seen.body["holder"].as_str(), seen.body["isReserved"].as_bool()), (Some("w"), Some(true)));
    assert_eq!(at.renew("w", "witness", &witness["releaseToken"], 60).await.statuses(), ["NOT_RESERVED"]);
}

#[tokio::test]
async fn the_words_of_the_end_come_before_those_of_the_next_grant() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let mut events = world.at(&tenant).events("").await;
    events.head().await;
    let held = world.at(&tenant).acquire("first", "r", Some(1)).await;

    taken_as_soon_as_free(&world, &tenant, "r", ms(&held["expiresAt"])).await;

    let mut told = Vec::new();
    while told.len() < 4 {
        let (kind, event, id) = events.event().await;
        if kind != "RESERVE_FAILED" {
            told.push((kind, event["requester"].as_str().unwrap().to_owned(), id));
        }
    }
    let order: Vec<_> = told.iter().map(|(kind, requester, _)| (kind.as_str(), requester.as_str())).collect();
    assert_eq!(
        order,
        [("RESERVED", "first"), ("RESERVATION_EXPIRED", "first"), ("UNRESERVED", "first"), ("RESERVED", "next")]
    );
    assert!(told.is_sorted_by(|a, b| a.2.parse::<i64>().unwrap() < b.2.parse::<i64>().unwrap()));
}

#[tokio::test]
async fn hundreds_that_lapse_together_all_go_and_a_caller_waits_for_none_of_them() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let mut events = at.events("?types=UNRESERVED,RESERVED").await;
    events.head().await;
    let items = (0..1000)
        .map(|number| json!({"requester": "w", "resource": format!("r{number}"), "ttlSeconds": 1}))
        .collect::<Value>();
    let granted = at.post("/Reservation/reserve", items).await;
    assert_eq!(granted.statuses().len(), 1000);
    for _ in 0..1000 {
        events.expect("RESERVED").await;
    }

    taken_as_soon_as_free(&world, &tenant, "r999", ms(&granted.body[999]["expiresAt"])).await;

    let mut ended = std::collections::BTreeSet::new();
    while ended.len() < 1000 {
        let (kind, event, _) = events.event().await;
        if kind == "UNRESERVED" {
            assert!(ended.insert(event["resource"].as_str().unwrap().to_owned()), "told twice: {event}");
        }
    }
    assert_eq!(at.listed().await, ["r999"]);
}

#[tokio::test]
async fn what_was_granted_by_a_replica_that_is_gone_is_told_by_another() {
    let mut world = World::<2>::start().await;
    let tenant = world.tenant().await;
    world.at(&tenant).acquire("w", "r", Some(1)).await;
    world.replicas[0].kill();
    let mut events = world.at_replica(1, &tenant).events("").await;
    events.head().await;

    let event = events.expect("RESERVATION_EXPIRED").await;

    assert!(ms(&event["timestamp"]) - ms(&event["expiresAt"]) < 5_000);
    assert_eq!(events.expect("UNRESERVED").await["resource"], "r");
}

#[tokio::test]
async fn a_deleted_tenants_deadlines_bother_nobody() {
    let world = World::<1>::start().await;
    let (gone, stays) = (world.tenant().await, world.tenant().await);
    world.at(&gone).acquire("w", "r", Some(1)).await;
    world.at(&stays).acquire("w", "r", Some(1)).await;
    let mut events = world.at(&stays).events("").await;
    events.head().await;
    assert_eq!(admin(&world.replicas[0], Method::DELETE, &format!("/{}", gone.id), None).await.status, 204);

    events.expect("RESERVATION_EXPIRED").await;
    events.expect("UNRESERVED").await;
    assert!(!matches!(events.next_within(Duration::from_millis(300)).await, Ok(Some(Seen::Event { .. }))));
    let keys: Vec<String> = world.redis.snapshot().into_keys().filter(|key| key.contains(&gone.id)).collect();
    assert!(keys.is_empty(), "{keys:?}");
    let log = world.replicas[0].log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn what_is_not_due_is_not_read() {
    const AT_MOST: usize = 100;
    let bench = Bench::start(Tier::Pro).await;
    let partition = Partition::of(&bench.tenant.id);
    let clock = bench.store.clock().await.unwrap();
    let put = |deadline_ms: i64| {
        bench.redis.ask::<()>(&format!(
            "ZADD {} {deadline_ms} {}",
            Namespace::default().due(partition),
            TenantId::random().as_str()
        ))
    };
    let told = || bench.redis.info("stats", "total_net_output_bytes").unwrap().parse::<i64>().unwrap();
    let look = async || {
        let before = told();
        let due = bench.store.due_tenants(partition, AT_MOST, clock).await.unwrap();
        (due, told() - before)
    };
    let seen = |due: &DueTenants| (due.lapsed.len(), due.next_ms);
    let (nothing, bytes) = look().await;
    assert_eq!(seen(&nothing), (0, None));

    (0..500).for_each(|number| put(clock.now_ms + 600_000 + number));
    let (later, more_bytes) = look().await;
    assert_eq!(seen(&later), (0, Some(clock.now_ms + 600_000)));
    assert!(more_bytes < bytes + 200, "{more_bytes} bytes where nothing is due, {bytes} where nothing ever will be");
    (0..90).for_each(|number| put(clock.now_ms - 90 + number));
    assert_eq!(seen(&look().await.0), (90, Some(clock.now_ms + 600_000)));
    (0..90).for_each(|number| put(clock.now_ms - 200 + number));
    assert_eq!(
        seen(&look().await.0),
        (AT_MOST, Some(clock.now_ms - 90 + 10)),
        "the next follows those that are taken on"
    );
}
