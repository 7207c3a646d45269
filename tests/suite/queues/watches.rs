//! Who watches a connection: the lease, alone on a real Redis.

use holdfast::{
    domain::{
        queue::{
            Framework,
            connection::{Health, NewConnection, Options},
        },
        tier::Tier,
    },
    store::{Free, ReplicaId, Store, Take, Taken, Watched},
};

use crate::support::{script_bench::Bench, world::until};

async fn connection(bench: &Bench) -> String {
    let id = Store::new_connection_id();
    let new =
        NewConnection { name: "n".into(), framework: Framework::Celery, broker_url: None, options: Options::default() };
    bench.store.create_connection(&bench.caller, &id, &new, Some("sealed".into())).await.unwrap();
    id
}

async fn take(bench: &Bench, id: &str, replica: &ReplicaId) -> Taken {
    match bench.store.take_watch(&bench.tenant.id, id, replica).await.unwrap() {
        Take::Taken(taken) => *taken,
        other => panic!("{other:?}"),
    }
}

async fn free(bench: &Bench, id: &str) -> Free {
    bench.store.look_at_watches(&bench.tenant.id, &[id]).await.unwrap()[0]
}

#[tokio::test]
async fn a_connection_has_one_watcher_and_an_earlier_one_changes_nothing() {
    let bench = Bench::start(Tier::Pro).await;
    let (north, south) = (ReplicaId::random(), ReplicaId::random());
    let id = connection(&bench).await;
    assert_eq!(bench.store.watched_connections().await.unwrap(), [(bench.tenant.id.clone(), id.clone())]);
    assert_eq!((free(&bench, &id).await, free(&bench, "other").await), (Free::Now, Free::Never));

    let first = take(&bench, &id, &north).await;
    assert_eq!((first.watched.fence, first.watched_until_ms, first.given_back), (1, None, false));
    assert_eq!(first.connection.sealed_url.as_deref(), Some("sealed"));
    assert!(matches!(bench.store.take_watch(&bench.tenant.id, &id, &south).await.unwrap(), Take::Held));
    assert!(matches!(free(&bench, &id).await, Free::In(left) if left.as_secs() <= 6));
    let healthy = Health { connected_ms: Some(1_000), event_ms: Some(2_000), lag_ms: Some(3), ..Health::default() };
    let kept_us = bench.store.keep_watch(&first.watched, &healthy).await.unwrap().expect("it is ours");

    // Given back, it is free at once, and the next knows until when it was watched.
    bench.store.give_watch_back(&first.watched, &healthy).await.unwrap();
    assert_eq!(free(&bench, &id).await, Free::Now);
    let second = take(&bench, &id, &south).await;
    assert!(second.watched.fence == 2 && second.given_back && second.watched_until_ms.unwrap() >= kept_us / 1000);

    // The earlier one, woken late, is refused, and what it would have said is not there.
    let late = Health { trouble: Some("dns".into()), ..Health::default() };
    assert_eq!(bench.store.keep_watch(&first.watched, &late).await.unwrap(), None);
    bench.store.give_watch_back(&first.watched, &late).await.unwrap();
    assert!(matches!(bench.store.take_watch(&bench.tenant.id, &id, &north).await.unwrap(), Take::Held));
    let shown = bench.store.connections(&bench.caller).await.unwrap().answer.remove(0).1;
    assert_eq!((shown.watched, shown.trouble, shown.event_ms), (true, None, Some(2_000)));
}

#[tokio::test]
async fn a_lease_that_nobody_keeps_lapses_and_a_broker_that_is_not_reached_is_not_watched() {
    let bench = Bench::start(Tier::Pro).await;
    let (north, south) = (ReplicaId::random(), ReplicaId::random());
    let id = connection(&bench).await;
    let first = take(&bench, &id, &north).await;
    let connected = Health { connected_ms: Some(1_000), ..Health::default() };
    let kept_us = bench.store.keep_watch(&first.watched, &connected).await.unwrap().unwrap();
    let refused = Health { trouble: Some("refused".into()), ..Health::default() };
    bench.store.keep_watch(&first.watched, &refused).await.unwrap().unwrap();
    assert_eq!(bench.store.connections(&bench.caller).await.unwrap().answer[0].1.trouble.as_deref(), Some("refused"));
    until("the lease lapses", || async { free(&bench, &id).await == Free::Lapsed }).await;

    let second = take(&bench, &id, &south).await;
    assert!(!second.given_back);
    assert_eq!(second.watched_until_ms, Some(kept_us / 1000), "the gap begins when the broker was last reached");
}

#[tokio::test]
async fn what_is_gone_is_watched_by_nobody() {
    let bench = Bench::start(Tier::Pro).await;
    let replica = ReplicaId::random();
    let id = connection(&bench).await;
    let taken = take(&bench, &id, &replica).await;
    assert!(bench.store.delete_connection(&bench.caller, &id).await.unwrap().answer);
    assert_eq!(bench.store.keep_watch(&taken.watched, &Health::default()).await.unwrap(), None);
    assert!(matches!(bench.store.take_watch(&bench.tenant.id, &id, &replica).await.unwrap(), Take::Gone));
    assert!(bench.store.watched_connections().await.unwrap().is_empty());

    let left = connection(&bench).await;
    let taken = take(&bench, &left, &replica).await;
    assert!(bench.store.delete_tenant(&bench.tenant.id).await.unwrap());
    let Watched { tenant, .. } = &taken.watched;
    assert_eq!(bench.store.keep_watch(&taken.watched, &Health::default()).await.unwrap(), None);
    assert_eq!(bench.store.look_at_watches(tenant, &[&left]).await.unwrap(), [Free::Never]);
    let keys: Vec<String> = bench.redis.ask("KEYS *");
    assert!(
        keys.iter().all(|key| key == "hf:connections"),
        "a list of what is to be watched is mended by who looks: {keys:?}"
    );
}
