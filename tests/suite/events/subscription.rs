//! The subscription: batching of notifications, delivery from its thread, pings, and what shows that it is silent.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use holdfast::{
    domain::names::TenantId,
    redis::{Address, Subscription, SubscriptionEvent},
    store::{Namespace, Partition},
};
use serde_json::json;

use crate::support::{
    redis_server::Redis,
    silent_proxy::SilentProxy,
    world::{Client, TIMEOUT, World, eventually},
};

/// Shorter than the time after which a stream sends a keepalive.
const BEFORE_KEEPALIVE: Duration = Duration::from_secs(10);

/// Payloads that arrived, and when each batch of them was drained.
#[derive(Default)]
struct Received {
    waiting: Vec<String>,
    batches: Vec<(Instant, Vec<String>)>,
}

fn listen(redis: &Redis, is_awaited: bool) -> (Subscription, Arc<Mutex<Received>>) {
    let received = Arc::new(Mutex::new(Received::default()));
    let to = received.clone();
    let subscription = Subscription::open(
        Address::parse(&redis.url()).unwrap(),
        move || is_awaited,
        move |event| {
            let mut received = to.lock().unwrap();
            match event {
                SubscriptionEvent::Payload(bytes) => received.waiting.push(String::from_utf8(bytes.to_vec()).unwrap()),
                SubscriptionEvent::Drained => {
                    let together = std::mem::take(&mut received.waiting);
                    received.batches.push((Instant::now(), together));
                }
                SubscriptionEvent::Broken | SubscriptionEvent::Resubscribed => {}
            }
        },
    );
    (subscription.unwrap(), received)
}

/// How long a chain takes of messages that are each published once the one before has been drained.
async fn chain(redis: &Redis, is_awaited: bool) -> Duration {
    let (subscription, received) = listen(redis, is_awaited);
    let channel = Namespace::default().channel(Partition::of(&TenantId::random()));
    subscription.subscribe(&channel).await.unwrap();
    let mut connection = redis.connection();
    let begun = Instant::now();
    for number in 0..50 {
        redis::cmd("PUBLISH").arg(&channel).arg(number).exec(&mut connection).unwrap();
        let is_drained =
            || received.lock().unwrap().batches.iter().any(|(_, together)| together.contains(&number.to_string()));
        // Looked at more often than `eventually` does, whose interval is longer than what is measured.
        while !is_drained() {
            assert!(begun.elapsed() < TIMEOUT, "message {number} is not drained");
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    begun.elapsed()
}

#[tokio::test]
async fn what_somebody_waits_for_is_not_collected_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path(), &[]);
    // A busy machine may delay some chains, not all of them.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (awaited, collected) = (chain(&redis, true).await, chain(&redis, false).await);
        if awaited * 3 < collected * 2 {
            return;
        }
        seen.push((awaited, collected));
    }
    panic!("awaited and not: {seen:?}");
}

/// Well above the interval at which the subscription begins to batch.
const SILENCE: Duration = Duration::from_millis(10);

#[tokio::test]
async fn frequent_notifications_are_batched_and_single_ones_are_not_delayed() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path(), &[]);
    let (subscription, received) = listen(&redis, false);
    let partition = Partition::of(&TenantId::random());
    subscription.subscribe(&Namespace::default().channel(partition)).await.unwrap();
    let mut connection = redis.connection();
    let mut publish = |what: usize| {
        redis::cmd("PUBLISH").arg(Namespace::default().channel(partition)).arg(what).exec(&mut connection).unwrap()
    };

    // Single notifications, each after a silence. A busy machine may delay some, not all of them.
    let delays = (0..20).map(|number| {
        eventually("it is silent", || {
            received.lock().unwrap().batches.last().is_none_or(|(at, _)| at.elapsed() > SILENCE)
        });
        let sent = Instant::now();
        publish(number);
        eventually("it is drained", || received.lock().unwrap().batches.len() > number);
        received.lock().unwrap().batches[number].0.duration_since(sent)
    });
    let quickest = delays.min().unwrap();
    assert!(quickest < Duration::from_millis(2), "{quickest:?}");

    // Notifications without a pause between them.
    let begun = Instant::now();
    (20..3_020).for_each(&mut publish);
    let took = begun.elapsed();
    let all = || received.lock().unwrap().batches.iter().map(|(_, together)| together.len()).sum::<usize>();
    eventually("all are drained", || all() == 3_020);

    let received = received.lock().unwrap();
    let order: Vec<_> =
        received.batches.iter().flat_map(|(_, together)| together).map(|text| text.parse::<usize>().unwrap()).collect();
    assert_eq!(order, (0..3_020).collect::<Vec<_>>(), "in order, once each");
    let batches = received.batches.len() - 20;
    assert!(batches < 3_000 / 3, "{batches} batches in {took:?}");
}

#[tokio::test]
async fn small_and_large_groups_of_one_tenant_get_their_events_in_order() {
    // A group so large that the subscription's thread leaves it to the runtimes, beside small ones that it writes to itself.
    const MANY: usize = 40;
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let filters = (0..MANY).map(|_| "").chain(["?types=score", "?types=trade", "?types=trade", "?types=none"]);
    let mut streams = join_all(filters.map(|filter| async move { (filter, at.events(filter).await) })).await;
    for (_, stream) in &mut streams {
        stream.head().await;
    }

    let publish = async |kind: &str| {
        for _ in 0..100 {
            assert_eq!(
                at.post("/events", json!([{"type": kind, "data": 1}, {"type": kind, "data": 2}])).await.status,
                202
            );
        }
    };
    // Meanwhile streams are opened and closed.
    let visits = async {
        for _ in 0..20 {
            at.events("").await.head().await;
        }
    };
    tokio::join!(publish("score"), publish("trade"), publish("score"), visits);
    let mut ids_by_filter = Vec::new();
    for (filter, stream) in &mut streams {
        let wanted = match *filter {
            "" => 600,
            "?types=score" => 400,
            "?types=trade" => 200,
            _ => 0,
        };
        let mut ids: Vec<i64> = Vec::new();
        for _ in 0..wanted {
            ids.push(tokio::time::timeout(TIMEOUT, stream.event()).await.expect("it comes").2.parse().unwrap());
        }
        assert!(ids.is_sorted_by(|one, next| one < next), "{filter}: in order, once each");
        ids_by_filter.push((*filter, ids));
    }
    let all = &ids_by_filter[0].1;
    assert!(
        ids_by_filter.iter().filter(|(filter, _)| filter.is_empty()).all(|(_, ids)| ids == all),
        "all get the same"
    );
    assert!(
        ids_by_filter.iter().all(|(_, ids)| ids.iter().all(|id| all.binary_search(id).is_ok())),
        "and none anything else"
    );

    // The next event is delivered at once, not with a keepalive.
    assert_eq!(at.post("/events", json!({"type": "none", "data": 3})).await.status, 202);
    for (_, stream) in streams.iter_mut().filter(|(filter, _)| filter.is_empty() || *filter == "?types=none") {
        let (kind, ..) = tokio::time::timeout(BEFORE_KEEPALIVE, stream.event()).await.expect("it comes at once");
        assert_eq!(kind, "none");
    }
}

/// How long a lost message may stay unnoticed, and what a busy machine adds.
const NOTICED_WITHIN: Duration = Duration::from_secs(2 + 3);

/// How often Redis was pinged.
fn pings(redis: &Redis) -> u64 {
    let stats = redis.info("commandstats", "cmdstat_ping").unwrap_or_default();
    stats.strip_prefix("calls=").and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_connection_on_which_channels_come_and_go_is_pinged() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path(), &[]);
    let (subscription, _) = listen(&redis, false);
    let partitions: Vec<_> = Partition::all().map(|partition| Namespace::default().channel(partition)).collect();
    subscription.subscribe(&partitions[0]).await.unwrap();
    let before = pings(&redis);

    // A change every 100 ms, for three intervals of the pings.
    for channel in &partitions[1..32] {
        subscription.subscribe(channel).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(pings(&redis) > before, "it was never pinged while channels came");
}

#[tokio::test]
async fn a_subscription_that_delivers_nothing_is_made_anew() {
    // Given a replica whose connections to Redis can be made silent, a stream, and one of a second key.
    let world = World::<1>::start().await;
    let (proxy, replica) = SilentProxy::with_replica(&world).await;
    let tenant = world.tenant().await;
    let (here, elsewhere) = (Client { replica: &replica, key: &tenant.key }, world.at(&tenant));
    let made = elsewhere.post("/keys", json!({"label": "second"})).await;
    let second = made.body["apiKey"].as_str().unwrap().to_owned();
    let mut stream = here.events("").await;
    let mut ends = Client { replica: &replica, key: &second }.events("").await;
    stream.head().await;
    ends.head().await;
    elsewhere.acquire("w", "before", None).await;
    stream.expect("RESERVED").await;

    // When messages are swallowed, and pings are answered as ever.
    proxy.silence();
    let silent_since = Instant::now();
    assert_eq!(elsewhere.delete(&format!("/keys/{}", made.body["id"].as_str().unwrap())).await.status, 204);
    ends.rest().await;
    let took = silent_since.elapsed();
    assert!(proxy.has_swallowed() && took < NOTICED_WITHIN, "the end of the key was noticed after {took:?}");

    // Then what is kept comes from the history; and once that had to be looked for twice, refusals come again.
    for name in ["one", "two"] {
        elsewhere.acquire("w", name, None).await;
        assert_eq!(stream.expect("RESERVED").await["resource"], name);
    }
    let begun = Instant::now();
    loop {
        assert_eq!(elsewhere.reserve("other", "one", None).await["status"], "ALREADY_HELD");
        // A refusal that is lost before that is reported as lost.
        let received = tokio::time::timeout(Duration::from_millis(500), stream.event()).await;
        if received.is_ok_and(|(kind, ..)| kind == "RESERVE_FAILED") {
            break;
        }
        assert!(begun.elapsed() < TIMEOUT, "timeout: the subscription is made anew");
    }
    assert!(replica.log().contains("subscribing anew"), "{}", replica.log());
    elsewhere.acquire("w", "three", None).await;
    loop {
        let (kind, event, _) = stream.event().await;
        if kind == "RESERVED" {
            assert_eq!(event["resource"], "three");
            break;
        }
    }
}
