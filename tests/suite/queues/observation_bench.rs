//! Harness: a store, and a connection that the test itself watches.

use std::time::Duration;

use holdfast::{
    domain::{
        queue::{
            Job, JobFilter, JobObservation, JobQuery, JobSort, JobState, Observation, QueueChange, SortOrder,
            WorkerObservation, WorkerState, job_id,
        },
        tier::Tier,
    },
    store::{JobPage, Namespace, Notification, ObservationCounts, ObserveOutcome, Partition, Payload, WatchLease},
};

use crate::support::store_bench::Bench;

/// Time of the observations of these tests: 2026-05-13T12:00:00Z, in microseconds since the Unix epoch.
pub const NOON_US: i64 = 1_778_673_600_000_000;

/// A tenant with a connection of which the test itself is the watcher, and a subscription to what is published.
pub struct ObservationBench {
    pub bench: Bench,
    pub lease: WatchLease,
    subscription: redis::Connection,
}

impl ObservationBench {
    pub async fn start(tier: Tier) -> Self {
        let bench = Bench::start(tier).await;
        let lease = bench.connection();
        let mut subscription = bench.redis.connection();
        let channel = Namespace::default().channel(Partition::of(&bench.tenant.id));
        // By hand: the library's own guard unsubscribes when it is dropped.
        redis::cmd("SUBSCRIBE").arg(channel).query::<redis::Value>(&mut subscription).unwrap();
        subscription.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { bench, lease, subscription }
    }

    pub async fn observe(&self, observations: &[Observation]) -> ObservationCounts {
        match self.bench.store.observe(&self.lease, observations, &[]).await.unwrap() {
            ObserveOutcome::Stored(counts) => counts,
            refused => panic!("{refused:?}"),
        }
    }

    pub async fn job(&self, external_id: &str) -> Job {
        let id = job_id(self.lease.connection, external_id);
        self.bench.store.job(&self.bench.caller, id).await.unwrap().answer.expect("a job").0
    }

    /// Changes published up to now, and not yet returned.
    pub fn published(&mut self) -> Vec<QueueChange> {
        let mut published = Vec::new();
        let end = "end of the published changes";
        let channel = Namespace::default().channel(Partition::of(&self.bench.tenant.id));
        redis::cmd("PUBLISH").arg(channel).arg(end).query::<()>(&mut self.bench.redis.connection()).unwrap();
        loop {
            let (_, _, payload): (String, String, Vec<u8>) =
                redis::from_redis_value(self.subscription.recv_response().unwrap()).unwrap();
            if payload == end.as_bytes() {
                return published;
            }
            for notification in Notification::read_all(&payload) {
                if let Payload::Queues { connection, changes } = notification.payload {
                    assert_eq!(connection, self.lease.connection);
                    published.extend(changes);
                }
            }
        }
    }

    /// The published changes of jobs: state, and state before.
    pub fn published_job_states(&mut self) -> Vec<(JobState, Option<JobState>)> {
        let jobs = self.published().into_iter().filter_map(|change| match change {
            QueueChange::Job { state, previous, .. } => Some((state, previous)),
            _ => None,
        });
        jobs.collect()
    }

    /// All jobs, the newest first.
    pub async fn jobs(&self) -> Vec<Job> {
        let mut query = JobQuery {
            filter: JobFilter::default(),
            sort: JobSort::CreatedAt,
            order: SortOrder::Descending,
            after: None,
            limit: 1_000,
        };
        let mut jobs = Vec::new();
        loop {
            let page = self.page(&query).await;
            query.after = page.jobs.last().map(|(position, _)| position.clone());
            jobs.extend(page.jobs.into_iter().map(|(_, job)| job));
            if !page.has_more {
                return jobs;
            }
        }
    }

    pub async fn page(&self, query: &JobQuery) -> JobPage {
        self.bench.store.jobs(&self.bench.caller, query).await.unwrap().answer
    }
}

/// Observation of a job, `ms` after [`NOON_US`].
pub fn at(ms: i64, external_id: &str, state: Option<JobState>) -> JobObservation {
    JobObservation { external_id: external_id.into(), at_us: NOON_US + ms * 1000, state, ..JobObservation::default() }
}

pub fn job(observation: JobObservation) -> Observation {
    Observation::Job(Box::new(observation))
}

pub fn worker(name: &str, ms: i64, state: WorkerState) -> Observation {
    Observation::Worker(Box::new(WorkerObservation {
        external_id: name.into(),
        at_us: NOON_US + ms * 1000,
        state,
        hostname: name.into(),
        pid: Some(7),
        active_jobs: Some(3),
        processed: None,
        concurrency: None,
        queues: None,
        metadata: vec![("software".into(), "\"py-celery\"".into())],
        is_found: false,
    }))
}
