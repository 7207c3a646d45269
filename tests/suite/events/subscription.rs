//! The replica's ear, and what is written from its thread.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use holdfast::{
    domain::names::TenantId,
    store::{Address, Partition, Subscription, SubscriptionEvent},
};
use serde_json::json;

use crate::support::{
    redis_server::Redis,
    world::{TIMEOUT, World, eventually},
};

/// A stream that was written to says nothing by itself for longer than this.
const BEFORE_A_BEAT: Duration = Duration::from_secs(10);

/// What was heard: when it was passed on, and how much at once.
#[derive(Default)]
struct EventListener {
    waiting: Vec<String>,
    passed_on: Vec<(Instant, Vec<String>)>,
}

fn listen(redis: &Redis) -> (Subscription, Arc<Mutex<EventListener>>) {
    let ear = Arc::new(Mutex::new(EventListener::default()));
    let to = ear.clone();
    let subscription = Subscription::open(Address::parse(&redis.url()).unwrap(), move |heard| {
        let mut ear = to.lock().unwrap();
        match heard {
            SubscriptionEvent::Payload(bytes) => ear.waiting.push(String::from_utf8(bytes.to_vec()).unwrap()),
            SubscriptionEvent::Drained => {
                let together = std::mem::take(&mut ear.waiting);
                ear.passed_on.push((Instant::now(), together));
            }
            SubscriptionEvent::Broken | SubscriptionEvent::Resubscribed => {}
        }
    });
    (subscription.unwrap(), ear)
}

/// Well above what counts as often.
const SILENCE: Duration = Duration::from_millis(10);

#[tokio::test]
async fn what_comes_often_is_passed_on_together_and_what_comes_alone_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path(), &[]);
    let (subscription, ear) = listen(&redis);
    let partition = Partition::of(&TenantId::random());
    subscription.join(partition).await.unwrap();
    let mut connection = redis.connection();
    let mut publish =
        |what: usize| redis::cmd("PUBLISH").arg(partition.channel()).arg(what).exec(&mut connection).unwrap();

    // Alone, each with silence before it. The machine may be busy now and then, not every time.
    let delays = (0..20).map(|number| {
        eventually("it is silent", || {
            ear.lock().unwrap().passed_on.last().is_none_or(|(at, _)| at.elapsed() > SILENCE)
        });
        let sent = Instant::now();
        publish(number);
        eventually("it is passed on", || ear.lock().unwrap().passed_on.len() > number);
        ear.lock().unwrap().passed_on[number].0.duration_since(sent)
    });
    let quickest = delays.min().unwrap();
    assert!(quickest < Duration::from_millis(2), "{quickest:?}");

    // One after the other without a pause.
    let begun = Instant::now();
    (20..3_020).for_each(&mut publish);
    let took = begun.elapsed();
    let all = || ear.lock().unwrap().passed_on.iter().map(|(_, together)| together.len()).sum::<usize>();
    eventually("all are passed on", || all() == 3_020);

    let ear = ear.lock().unwrap();
    let order: Vec<_> =
        ear.passed_on.iter().flat_map(|(_, together)| together).map(|text| text.parse::<usize>().unwrap()).collect();
    assert_eq!(order, (0..3_020).collect::<Vec<_>>(), "in order, once each");
    let rounds = ear.passed_on.len() - 20;
    assert!(rounds < 3_000 / 3, "{rounds} rounds in {took:?}");
}

#[tokio::test]
async fn few_and_many_readers_of_one_tenant_hear_what_is_theirs_in_order() {
    // So many that the thread that hears leaves them to the runtimes, and beside them filters with few, to whom it writes itself.
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
    // One comes and goes all the while.
    let visits = async {
        for _ in 0..20 {
            at.events("").await.head().await;
        }
    };
    tokio::join!(publish("score"), publish("trade"), publish("score"), visits);
    let mut told = Vec::new();
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
        told.push((*filter, ids));
    }
    let all = &told[0].1;
    assert!(told.iter().filter(|(filter, _)| filter.is_empty()).all(|(_, ids)| ids == all), "all hear the same");
    assert!(told.iter().all(|(_, ids)| ids.iter().all(|id| all.binary_search(id).is_ok())), "and nobody anything else");

    // The next one comes by itself, not with a sign of life.
    assert_eq!(at.post("/events", json!({"type": "none", "data": 3})).await.status, 202);
    for (_, stream) in streams.iter_mut().filter(|(filter, _)| filter.is_empty() || *filter == "?types=none") {
        let (kind, ..) = tokio::time::timeout(BEFORE_A_BEAT, stream.event()).await.expect("it comes at once");
        assert_eq!(kind, "none");
    }
}
