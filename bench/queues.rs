//! Cost of ingesting a queue's events: events per second through one connection to Redis, microseconds of Redis per event as Redis
//! itself counts them (`INFO commandstats`), and memory of the state of 100,000 jobs. Run it with `cargo bench --bench queues`.
//!
//! Each job is sent, received, started and completed, as Celery reports it, with arguments and a result; the events of 250 jobs are mixed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement that cannot go on is over")]

use std::{sync::Arc, time::Instant};

use holdfast::{
    domain::{
        names::TenantId,
        queue::{Framework, JobObservation, JobState, Observation},
        tier::Tier,
    },
    redis::{Address, PrivateRedis},
    store::{Callers, KeyKind, MAX_OBSERVATIONS, ObservationCounts, ObserveOutcome, Store, WatchLease},
};
use uuid::Uuid;

const JOBS: usize = 100_000;
const MIXED: usize = 250;
/// 2026-05-13T12:00:00Z.
const BEGIN_US: i64 = 1_778_673_600_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let redis = PrivateRedis::start(dir.path()).await.unwrap();
    let store = Store::open(Address::parse(&redis.url()).unwrap(), Arc::new(Callers::default()));
    store.redis().connected().await;
    let (tenant, _) = store.create_tenant(TenantId::random(), "bench", Tier::Enterprise).await.unwrap().unwrap();
    let lease = WatchLease { tenant: tenant.id.clone(), connection: Uuid::new_v4(), framework: Framework::Celery, fence: 1 };
    let place = store.tenant_handle(&tenant.id);
    let id = lease.connection.to_string();
    store.redis().send(redis::cmd("HSET").arg(place.key(KeyKind::Connections)).arg(&id).arg("bench")).await.unwrap();
    store.redis().send(redis::cmd("HSET").arg(place.key(KeyKind::Watches)).arg(format!("fence:{id}")).arg(1)).await.unwrap();

    let before = figure(&store, "memory", "used_memory:").await;
    store.redis().send(redis::cmd("CONFIG").arg("RESETSTAT")).await.unwrap();
    let (mut events, begun) = (0, Instant::now());
    for first in (0..JOBS).step_by(MIXED) {
        for batch in course(first).chunks(MAX_OBSERVATIONS) {
            let outcome = store.observe(&lease, batch, &[]).await.unwrap();
            assert_eq!(outcome, ObserveOutcome::Stored(ObservationCounts { accepted: batch.len(), duplicates: 0 }));
            events += batch.len();
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let redis_us = figure(&store, "commandstats", "cmdstat_fcall:calls=").await;
    let memory = figure(&store, "memory", "used_memory:").await - before;
    println!("{events} events of {JOBS} jobs, {MAX_OBSERVATIONS} at once: {:.0} events/s", events as f64 / took);
    println!("in Redis: {:.1} us per event", redis_us / events as f64);
    println!("in memory: {:.1} MB, {:.0} bytes per job", memory / 1e6, memory / JOBS as f64);
    redis.stop().await;
}

/// Events of some jobs, in the order of their times.
fn course(first: usize) -> Vec<Observation> {
    let steps = [JobState::Queued, JobState::Queued, JobState::Active, JobState::Completed];
    let event = |number: usize, step: usize| {
        let job = first + number;
        let text = |text: String| Some(text);
        let mut job_event = JobObservation {
            external_id: Uuid::from_u128(job as u128).to_string(),
            at_us: BEGIN_US + (job * 100 + step * 30_000) as i64,
            clock: step as i64,
            state: Some(steps[step]),
            ..JobObservation::default()
        };
        match step {
            0 | 1 => {
                job_event.name = text("app.tasks.send_email".into());
                job_event.attempt = Some(1);
                job_event.args = text(format!("('user-{job}@example.com', 'Welcome')"));
                job_event.kwargs = text("{'retries': 3}".into());
                job_event.root_id = Some(job_event.external_id.clone());
                job_event.queue = (step == 0).then(|| "emails".into());
                job_event.worker = (step == 1).then(|| format!("celery@worker-{}", job % 8));
            }
            2 => job_event.worker = text(format!("celery@worker-{}", job % 8)),
            _ => {
                job_event.result = text("True".into());
                job_event.runtime_ms = Some(30);
            }
        }
        Observation::Job(Box::new(job_event))
    };
    (0..steps.len()).flat_map(|step| (0..MIXED).map(move |number| (number, step))).map(|(number, step)| event(number, step)).collect()
}

/// A number of a section of INFO; of a command's statistics, its microseconds.
async fn figure(store: &Store, section: &str, after: &str) -> f64 {
    let value = store.redis().send(redis::cmd("INFO").arg(section)).await.unwrap();
    let text: String = redis::from_redis_value(value).unwrap();
    let line = text.lines().find(|line| line.starts_with(after)).unwrap();
    let number = line.split("usec=").nth(1).unwrap_or(&line[after.len()..]);
    number.chars().take_while(|char| char.is_ascii_digit()).collect::<String>().parse().unwrap()
}
