//! The subscription: batching of notifications, and delivery from its thread.

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
    world::{TIMEOUT, World, eventually},
};

/// Shorter than the time after which a stream sends a keepalive.
const BEFORE_KEEPALIVE: Duration = Duration::from_secs(10);

/// Payloads that arrived, and when each batch of them was drained.
#[derive(Default)]
struct Received {
    waiting: Vec<String>,
    batches: Vec<(Instant, Vec<String>)>,
}

fn listen(redis: &Redis) -> (Subscription, Arc<Mutex<Received>>) {
    let received = Arc::new(Mutex::new(Received::default()));
    let to = received.clone();
    let subscription = Subscription::open(Address::parse(&redis.url()).unwrap(), move |event| {
        let mut received = to.lock().unwrap();
        match event {
            SubscriptionEvent::Payload(bytes) => received.waiting.push(String::from_utf8(bytes.to_vec()).unwrap()),
            SubscriptionEvent::Drained => {
                let together = std::mem::take(&mut received.waiting);
                received.batches.push((Instant::now(), together));
            }
            SubscriptionEvent::Broken | SubscriptionEvent::Resubscribed => {}
        }
    });
    (subscription.unwrap(), received)
}

/// Well above the interval at which the subscription begins to batch.
const SILENCE: Duration = Duration::from_millis(10);

#[tokio::test]
async fn frequent_notifications_are_batched_and_single_ones_are_not_delayed() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path(), &[]);
    let (subscription, received) = listen(&redis);
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
