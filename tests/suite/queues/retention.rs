//! Eviction of jobs, by number and by age.

use holdfast::{
    domain::{
        queue::{JobState, Observation},
        tier::Tier,
    },
    store::{KeyKind, TenantHandle},
};

use crate::{
    queues::observation_bench::{ObservationBench, at, job},
    support::world::until,
};

#[tokio::test]
async fn no_more_jobs_are_kept_than_the_tier_allows_and_the_oldest_finished_are_evicted_first() {
    let bench = ObservationBench::start(Tier::Free).await; // 10,000
    let batch = |from: usize, state: JobState| -> Vec<Observation> {
        (from..from + 500).map(|number| job(at(number as i64, &format!("{state:?}-{number}"), Some(state)))).collect()
    };
    for from in (0..1_000).step_by(500) {
        bench.observe(&batch(from, JobState::Active)).await;
    }
    for from in (0..10_000).step_by(500) {
        bench.observe(&batch(from, JobState::Completed)).await;
    }

    let jobs = bench.jobs().await;
    assert_eq!(jobs.len(), 10_000);
    assert_eq!(jobs.iter().filter(|job| job.state == JobState::Active).count(), 1_000, "jobs that have not ended stay");
    let tenant_handle = TenantHandle::new(bench.bench.tenant.id.clone());
    assert_eq!(bench.bench.redis.ask::<usize>(&format!("HLEN {}", tenant_handle.key(KeyKind::Jobs))), 10_000);
    assert_eq!(bench.bench.redis.ask::<usize>(&format!("ZCARD {}", tenant_handle.key(KeyKind::JobsFinished))), 9_000);

    // And after a day all are evicted.
    for index in [KeyKind::JobsOpen, KeyKind::JobsFinished] {
        let members: Vec<(Vec<u8>, i64)> = redis::cmd("ZRANGE")
            .arg(tenant_handle.key(index))
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query(&mut bench.bench.redis.connection())
            .unwrap();
        let mut aged = redis::cmd("ZADD");
        aged.arg(tenant_handle.key(index));
        members.iter().for_each(|(member, ms)| {
            aged.arg(ms - 24 * 3_600_000 - 1).arg(member);
        });
        aged.query::<()>(&mut bench.bench.redis.connection()).unwrap();
    }
    until("all are evicted", async || {
        bench.bench.store.maintain_queues(&bench.bench.tenant.id).await.unwrap();
        bench.bench.redis.ask::<usize>(&format!(
            "EXISTS {} {} {} {}",
            tenant_handle.key(KeyKind::Jobs),
            tenant_handle.key(KeyKind::JobDetails),
            tenant_handle.key(KeyKind::JobsCreated),
            tenant_handle.key(KeyKind::JobsOpen)
        )) == 0
    })
    .await;
}
