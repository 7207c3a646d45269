//! Observations of jobs are folded into their state, in whatever order they arrive.

use holdfast::{
    domain::{
        queue::{JobObservation, JobState},
        tier::Tier,
    },
    store::{KeyKind, ObservationCounts, ObserveOutcome, TenantHandle},
};

use crate::queues::observation_bench::{NOON_US, ObservationBench, at, job};

#[tokio::test]
async fn a_late_event_moves_no_job_back() {
    let mut bench = ObservationBench::start(Tier::Free).await;
    bench.observe(&[job(at(10, "a", Some(JobState::Queued)))]).await;
    bench.observe(&[job(at(20, "a", Some(JobState::Active)))]).await;

    // When the event of the sending arrives last, with details that only it has.
    bench
        .observe(&[job(JobObservation {
            queue: Some("emails".into()),
            name: Some("send".into()),
            ..at(5, "a", Some(JobState::Queued))
        })])
        .await;

    let a = bench.job("a").await;
    assert_eq!(
        (a.state, a.previous, a.queue.as_deref(), a.name.as_str()),
        (JobState::Active, Some(JobState::Queued), Some("emails"), "send")
    );
    assert_eq!(a.created_ms, NOON_US / 1000 + 5);
    assert_eq!(a.started_ms, Some(NOON_US / 1000 + 20));
    assert_eq!(a.history.iter().map(|transition| transition.at_ms - NOON_US / 1000).collect::<Vec<_>>(), [5, 20]);
    use JobState::{Active, Queued};
    assert_eq!(bench.published_job_states(), [(Queued, None), (Active, Some(Queued))]);
}

#[tokio::test]
async fn a_retry_starts_over_and_publishes_each_state() {
    use JobState::{Active, Completed, Queued, Retrying};
    let mut bench = ObservationBench::start(Tier::Free).await;
    let of = |ms, state, attempt| job(JobObservation { attempt, ..at(ms, "a", state) });
    bench
        .observe(&[
            of(1, Some(Queued), Some(1)),
            of(2, Some(Active), None),
            of(3, None, Some(2)),
            of(4, Some(Retrying), None),
        ])
        .await;
    bench.observe(&[of(5, Some(Queued), Some(2)), of(6, Some(Active), None), of(7, Some(Completed), None)]).await;

    let a = bench.job("a").await;
    assert_eq!((a.state, a.previous, a.attempt), (Completed, Some(Active), Some(2)));
    assert_eq!((a.started_ms, a.completed_ms), (Some(NOON_US / 1000 + 6), Some(NOON_US / 1000 + 7)));
    let states = [Queued, Active, Retrying, Queued, Active, Completed];
    assert_eq!(a.history.iter().map(|transition| transition.state).collect::<Vec<_>>(), states);
    let expected: Vec<_> = states.iter().copied().zip(std::iter::once(None).chain(states.map(Some))).collect();
    assert_eq!(bench.published_job_states(), expected);
}

#[tokio::test]
async fn a_retry_reported_after_the_next_attempt_counts_once() {
    use JobState::{Active, Completed, Queued, Retrying};
    let mut bench = ObservationBench::start(Tier::Free).await;
    let of = |ms, state, attempt| job(JobObservation { attempt, ..at(ms, "a", Some(state)) });
    bench
        .observe(&[
            of(1, Queued, Some(1)),
            of(2, Active, None),
            of(3, Queued, Some(2)),
            of(4, Retrying, None),
            of(5, Active, None),
        ])
        .await;
    bench.observe(&[of(6, Completed, None)]).await;

    let states = [Queued, Active, Retrying, Queued, Active, Completed];
    assert_eq!(bench.job("a").await.history.iter().map(|transition| transition.state).collect::<Vec<_>>(), states);
    let expected: Vec<_> = states.iter().copied().zip(std::iter::once(None).chain(states.map(Some))).collect();
    assert_eq!(bench.published_job_states(), expected);
}

#[tokio::test]
async fn a_job_that_the_framework_restarts_is_queued_again() {
    use JobState::{Failed, Queued, Retrying};
    let mut bench = ObservationBench::start(Tier::Free).await;
    bench.observe(&[job(at(1, "a", Some(Failed)))]).await;
    bench.observe(&[job(at(2, "a", Some(Queued)))]).await;
    assert_eq!(bench.job("a").await.state, Failed);

    bench.observe(&[job(JobObservation { restarted: true, ..at(3, "a", Some(Queued)) })]).await;

    let a = bench.job("a").await;
    assert_eq!((a.state, a.previous, a.completed_ms), (Queued, Some(Retrying), None));
    assert_eq!(bench.published_job_states(), [(Failed, None), (Retrying, Some(Failed)), (Queued, Some(Retrying))]);
}

#[tokio::test]
async fn a_duplicate_event_is_published_once() {
    let mut bench = ObservationBench::start(Tier::Free).await;
    let event = job(at(1, "a", Some(JobState::Active)));
    assert_eq!(bench.observe(std::slice::from_ref(&event)).await, ObservationCounts { accepted: 1, duplicates: 0 });
    let again = bench
        .observe(&[event.clone(), job(JobObservation { at_us: NOON_US + 1_900, ..at(1, "a", Some(JobState::Active)) })])
        .await;
    assert_eq!(again, ObservationCounts { accepted: 0, duplicates: 2 });
    assert_eq!(bench.published_job_states(), [(JobState::Active, None)]);
    assert_eq!(bench.job("a").await.history.len(), 1);
}

#[tokio::test]
async fn an_observation_without_the_lease_changes_nothing() {
    let mut bench = ObservationBench::start(Tier::Free).await;
    bench.bench.store.observe(&bench.lease, &[], &[("emails".into(), "5-0".into())]).await.unwrap();
    let tenant_handle = TenantHandle::new(bench.bench.tenant.id.clone());
    bench.bench.redis.ask::<()>(&format!(
        "HSET {} fence:{} 2",
        tenant_handle.key(KeyKind::Watches),
        bench.lease.connection
    ));
    let before = bench.bench.redis.snapshot();

    let late = bench
        .bench
        .store
        .observe(&bench.lease, &[job(at(1, "a", Some(JobState::Active)))], &[("emails".into(), "6-0".into())])
        .await;

    assert_eq!(late.unwrap(), ObserveOutcome::LeaseLost);
    assert_eq!(bench.bench.redis.snapshot(), before);
    assert!(bench.published().is_empty());

    // The next watcher resumes at the cursors of the state.
    let cursors = bench.bench.store.cursors(&bench.bench.tenant.id, bench.lease.connection).await.unwrap();
    assert_eq!(cursors, [("emails".into(), "5-0".into())]);
    bench.lease.fence = 2;
    let cursors = [("other".into(), "1-0".into()), ("emails".into(), "7-0".into())];
    bench.bench.store.observe(&bench.lease, &[], &cursors).await.unwrap();
    let cursors = bench.bench.store.cursors(&bench.bench.tenant.id, bench.lease.connection).await.unwrap();
    assert_eq!(cursors, [("emails".into(), "7-0".into()), ("other".into(), "1-0".into())]);

    // A deleted connection stores nothing.
    bench.bench.redis.ask::<()>(&format!("DEL {}", tenant_handle.key(KeyKind::Connections)));
    assert_eq!(bench.bench.store.observe(&bench.lease, &[], &[]).await.unwrap(), ObserveOutcome::Gone);
}
