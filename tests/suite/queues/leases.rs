//! Leases of watchers, at the store alone.

use holdfast::{
    domain::{
        queue::{
            Framework,
            connection::{BrokerError, ConnectionOptions, NewConnection, WatchHealth},
        },
        tier::Tier,
    },
    store::{AcquireOutcome, AcquiredWatch, Availability, ReplicaId, Store},
};

use crate::support::{store_bench::Bench, world::until};

async fn connection(bench: &Bench) -> String {
    let id = Store::new_connection_id();
    let new = NewConnection {
        name: "n".into(),
        framework: Framework::Celery,
        broker_url: None,
        options: ConnectionOptions::default(),
    };
    bench.store.create_connection(&bench.caller, &id, &new, Some("sealed".into())).await.unwrap();
    id
}

async fn acquire(bench: &Bench, id: &str, replica: &ReplicaId) -> AcquiredWatch {
    match bench.store.acquire_watch(&bench.tenant.id, id, replica).await.unwrap() {
        AcquireOutcome::Acquired(acquired) => *acquired,
        other => panic!("{other:?}"),
    }
}

async fn availability(bench: &Bench, id: &str) -> Availability {
    bench.store.watch_availability(&bench.tenant.id, &[id]).await.unwrap()[0]
}

#[tokio::test]
async fn a_connection_has_one_lease_and_an_earlier_holder_changes_nothing() {
    let bench = Bench::start(Tier::Pro).await;
    let (north, south) = (ReplicaId::random(), ReplicaId::random());
    let id = connection(&bench).await;
    assert_eq!(bench.store.connections_to_watch().await.unwrap(), [(bench.tenant.id.clone(), id.clone())]);
    assert_eq!(
        (availability(&bench, &id).await, availability(&bench, "other").await),
        (Availability::Free, Availability::Gone)
    );

    let first = acquire(&bench, &id, &north).await;
    assert_eq!((first.lease.fence, first.watched_until_ms, first.was_released), (1, None, false));
    assert_eq!(first.connection.sealed_url.as_deref(), Some("sealed"));
    assert!(matches!(bench.store.acquire_watch(&bench.tenant.id, &id, &south).await.unwrap(), AcquireOutcome::Held));
    assert!(matches!(availability(&bench, &id).await, Availability::HeldFor(left) if left.as_secs() <= 6));
    let healthy = WatchHealth {
        connected_ms: Some(1_000),
        last_event_ms: Some(2_000),
        lag_ms: Some(3),
        ..WatchHealth::default()
    };
    let renewed_us = bench.store.renew_watch(&first.lease, &healthy).await.unwrap().expect("it is ours");

    // Released, it is free at once, and the next holder learns until when the broker was watched.
    bench.store.release_watch(&first.lease, &healthy).await.unwrap();
    assert_eq!(availability(&bench, &id).await, Availability::Free);
    let second = acquire(&bench, &id, &south).await;
    assert!(second.lease.fence == 2 && second.was_released && second.watched_until_ms.unwrap() >= renewed_us / 1000);

    // The earlier holder, woken late, is refused, and its health is not stored.
    let late = WatchHealth { error: Some(BrokerError::Dns), ..WatchHealth::default() };
    assert_eq!(bench.store.renew_watch(&first.lease, &late).await.unwrap(), None);
    bench.store.release_watch(&first.lease, &late).await.unwrap();
    assert!(matches!(bench.store.acquire_watch(&bench.tenant.id, &id, &north).await.unwrap(), AcquireOutcome::Held));
    let listed = bench.store.connections(&bench.caller).await.unwrap().answer.remove(0).1;
    assert_eq!((listed.watched, listed.error, listed.last_event_ms), (true, None, Some(2_000)));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_expires_and_the_gap_begins_at_the_last_contact_with_the_broker() {
    let bench = Bench::start(Tier::Pro).await;
    let (north, south) = (ReplicaId::random(), ReplicaId::random());
    let id = connection(&bench).await;
    let first = acquire(&bench, &id, &north).await;
    let connected = WatchHealth { connected_ms: Some(1_000), ..WatchHealth::default() };
    let renewed_us = bench.store.renew_watch(&first.lease, &connected).await.unwrap().unwrap();
    let refused = WatchHealth { error: Some(BrokerError::Refused), ..WatchHealth::default() };
    bench.store.renew_watch(&first.lease, &refused).await.unwrap().unwrap();
    assert_eq!(bench.store.connections(&bench.caller).await.unwrap().answer[0].1.error, Some(BrokerError::Refused));
    until("the lease expires", || async { availability(&bench, &id).await == Availability::Expired }).await;

    let second = acquire(&bench, &id, &south).await;
    assert!(!second.was_released);
    assert_eq!(
        second.watched_until_ms,
        Some(renewed_us / 1000),
        "the gap begins with the last renewal while the broker was connected"
    );
}

#[tokio::test]
async fn a_deleted_connection_has_no_lease() {
    let bench = Bench::start(Tier::Pro).await;
    let replica = ReplicaId::random();
    let id = connection(&bench).await;
    let acquired = acquire(&bench, &id, &replica).await;
    assert!(bench.store.delete_connection(&bench.caller, &id).await.unwrap().answer);
    assert_eq!(bench.store.renew_watch(&acquired.lease, &WatchHealth::default()).await.unwrap(), None);
    assert!(matches!(bench.store.acquire_watch(&bench.tenant.id, &id, &replica).await.unwrap(), AcquireOutcome::Gone));
    assert!(bench.store.connections_to_watch().await.unwrap().is_empty());

    let left = connection(&bench).await;
    let acquired = acquire(&bench, &left, &replica).await;
    assert!(bench.store.delete_tenant(&bench.tenant.id).await.unwrap());
    assert_eq!(bench.store.renew_watch(&acquired.lease, &WatchHealth::default()).await.unwrap(), None);
    assert_eq!(bench.store.watch_availability(&acquired.lease.tenant, &[&left]).await.unwrap(), [Availability::Gone]);
    let keys: Vec<String> = bench.redis.ask("KEYS *");
    assert!(
        keys.iter().all(|key| key == "hf:connections"),
        "only the list of connections to watch is left, and whoever polls it repairs it: {keys:?}"
    );
}
