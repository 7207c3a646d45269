//! Observations of workers and queues are folded into their state.

use holdfast::{
    domain::{
        queue::{ConsumersSource, Gap, GapReason, Observation, QueueChange, QueueObservation, WorkerState},
        tier::Tier,
    },
    store::{KeyKind, TenantHandle},
};

use crate::queues::observation_bench::{ObservationBench, worker};

#[tokio::test]
async fn a_worker_is_online_while_it_sends_heartbeats_and_goes_offline_once() {
    let mut bench = ObservationBench::start(Tier::Free).await;
    bench.observe(&[worker("celery@a", 1, WorkerState::Online), worker("celery@b", 1, WorkerState::Online)]).await;
    assert_eq!(bench.observe(&[worker("celery@a", 1, WorkerState::Online)]).await.duplicates, 1);
    bench.observe(&[worker("celery@b", 2, WorkerState::Offline)]).await;
    let mut published: Vec<_> = bench
        .published()
        .into_iter()
        .map(|change| match change {
            QueueChange::Worker { hostname, state, previous, .. } => {
                format!("{hostname} {} after {}", state.name(), previous.name())
            }
            QueueChange::Heartbeat { hostname, state, active_jobs, .. } => {
                format!("{hostname} {} {active_jobs}", state.name())
            }
            other => format!("{other:?}"),
        })
        .collect();
    published.sort();
    assert_eq!(
        published,
        [
            "celery@a online 3",
            "celery@a online after offline",
            "celery@b offline after online",
            "celery@b online 3",
            "celery@b online after offline"
        ]
    );

    // When it sends no heartbeat for six seconds, the first maintenance sets it offline, and no other.
    let tenant_handle = TenantHandle::new(bench.bench.tenant.id.clone());
    let heartbeats: Vec<(Vec<u8>, i64)> = {
        let mut command = redis::cmd("ZRANGE");
        command.arg(tenant_handle.key(KeyKind::Beats)).arg(0).arg(-1).arg("WITHSCORES");
        command.query(&mut bench.bench.redis.connection()).unwrap()
    };
    let [(member, last_heartbeat_ms)] = &heartbeats[..] else { panic!("{heartbeats:?}") };
    bench.bench.store.maintain_queues(&bench.bench.tenant.id).await.unwrap();
    assert!(bench.published().is_empty(), "its heartbeat is recent");
    redis::cmd("ZADD")
        .arg(tenant_handle.key(KeyKind::Beats))
        .arg(last_heartbeat_ms - 6_001)
        .arg(member)
        .query::<()>(&mut bench.bench.redis.connection())
        .unwrap();
    let (one, other) = tokio::join!(
        bench.bench.store.maintain_queues(&bench.bench.tenant.id),
        bench.bench.store.maintain_queues(&bench.bench.tenant.id)
    );
    one.and(other).unwrap();
    let published = bench.published();
    assert!(
        matches!(&published[..], [QueueChange::Worker { hostname, state: WorkerState::Offline, previous: WorkerState::Online, .. }] if hostname == "celery@a"),
        "{published:?}"
    );

    let workers = bench.bench.store.workers(&bench.bench.caller).await.unwrap().answer;
    assert!(
        workers.iter().all(|worker| worker.state == WorkerState::Offline && worker.active_jobs == 0),
        "{workers:?}"
    );
    assert_eq!(workers[0].metadata, [("software".into(), "\"py-celery\"".into())]);
}

#[tokio::test]
async fn a_queue_is_published_when_it_changes() {
    let mut bench = ObservationBench::start(Tier::Free).await;
    let queue = |us, depth, consumers| {
        Observation::Queue(QueueObservation {
            name: "emails".into(),
            at_us: us,
            depth: Some(depth),
            consumers: Some((Some(consumers), ConsumersSource::Exact)),
        })
    };
    bench.observe(&[queue(1, 5, 2), queue(2, 5, 2), queue(3, 6, 2)]).await;
    bench.observe(&[queue(2, 9, 9), Observation::Gap(Gap { from_ms: 1, to_ms: 2, reason: GapReason::Handover })]).await;

    let snapshot = |depth| QueueChange::Queue { name: "emails".into(), depth: Some(depth), consumers: Some(2) };
    assert_eq!(
        bench.published(),
        [snapshot(5), snapshot(6), QueueChange::Gap { from_ms: 1, to_ms: 2, reason: GapReason::Handover }]
    );
    let queues = bench.bench.store.queues(&bench.bench.caller).await.unwrap().answer;
    assert_eq!((queues[0].depth, queues[0].consumers), (Some(6), Some((2, ConsumersSource::Exact))));
}
