//! What happens in the demo tenant: a few things that come and go, so that the first sight of the dashboard is alive.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    domain::{
        queue::{
            ConsumersSource, Framework, JobObservation, JobState, Observation, QueueObservation, WorkerObservation,
            WorkerState,
            connection::{ConnectionOptions, NewConnection},
        },
        reservation::ReserveRequest,
        resource::Definition,
        waiting::{TicketId, Wait},
    },
    replica::Replica,
    store::{Bearer, Caller, Limited, Secret, Store, StoreError},
};

/// Interval of what happens.
const TICK: Duration = Duration::from_millis(1_500);
/// Connection whose jobs are shown.
const CONNECTION: &str = "shop (demo)";
const QUEUE: &str = "mail";
/// How long those wait who wait, in milliseconds.
const WAIT_MS: i64 = 120_000;
const SECOND_MS: i64 = 1_000;

/// Lets things happen until the replica drains. What fails is left out: the next tick does something else.
pub(super) async fn keep_alive(store: Store, key: String, replica: Arc<Replica>) {
    let mut demo = Demo { store, key: Bearer::Key(Secret::of(&key)), ingest: None, tick: 0 };
    if let Err(error) = demo.begin().await {
        tracing::debug!(%error, "the demo has no pools and no queue");
    }
    loop {
        tokio::select! {
            () = replica.drain.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        if let Err(error) = demo.step().await {
            tracing::debug!(%error, "a step of the demo failed");
        }
        demo.tick += 1;
    }
}

struct Demo {
    store: Store,
    key: Bearer,
    /// Ingest key of the connection.
    ingest: Option<Bearer>,
    tick: u32,
}

impl Demo {
    /// Registers a pool and a tree, and makes the connection anew: its ingest key is known to its maker alone.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let caller = self.caller(&self.key).await?;
        let definition = |name: &str, capacity, blocks: &[&str], ancestors: &[&str]| Definition {
            name: name.into(),
            capacity,
            blocks: blocks.iter().map(|name| (*name).to_owned()).collect(),
            ancestors: ancestors.iter().map(|name| (*name).to_owned()).collect(),
        };
        let definitions = [
            definition("demo-gpu", 4, &[], &[]),
            definition("demo-press", 1, &["demo-light"], &["demo-plant", "demo-hall"]),
            definition("demo-robot", 1, &[], &["demo-plant", "demo-hall"]),
            definition("demo-stage", 1, &[], &[]),
        ];
        self.store.register(&caller, &definitions).await?;
        for (connection, _) in self.store.connections(&caller).await?.answer {
            if connection.name == CONNECTION {
                self.store.delete_connection(&caller, &connection.id).await?;
            }
        }
        let new = NewConnection {
            name: CONNECTION.into(),
            framework: Framework::Celery,
            broker_url: None,
            options: ConnectionOptions::default(),
        };
        let made = self.store.create_connection(&caller, &Store::new_connection_id(), &new, None).await?;
        if let Limited::Done(made) = made.answer {
            self.ingest = Some(Bearer::Ingest(Secret::of(&made.ingest_key)));
        }
        Ok(())
    }

    async fn step(&self) -> Result<(), StoreError> {
        let tick = self.tick;
        let caller = self.caller(&self.key).await?;
        // All names begin with `demo-`: those in the documents are for who reads them.
        // A hold without an end, workers that share a pool, a queue before a lock, an operator in a tree.
        let mut items = vec![hold("demo-report", "cron@db-1", None, "kept until somebody looks at it")];
        if tick.is_multiple_of(2) {
            let seconds = i64::from(6 + tick * 7 % 12);
            items.push(hold("demo-gpu", &format!("train-{}", tick % 9), Some(seconds), &format!("epoch {tick}")));
        }
        if tick.is_multiple_of(4) {
            let deploy = hold("demo-deploy", &format!("ci@runner-{}", tick / 4 % 5), Some(9), "rolling out");
            items.push(ReserveRequest { wait: Some(long_wait()), ..deploy });
        }
        if tick.is_multiple_of(9) {
            items.push(hold("demo-press", "operator", Some(8), ""));
        }
        let now_us = self.store.reserve(&caller, &items).await?.now_us;
        match &self.ingest {
            Some(ingest) => self.push_jobs(&self.caller(ingest).await?, now_us).await,
            None => Ok(()),
        }
    }

    /// A job is queued, starts a tick later, and ends two ticks after that; each eleventh fails.
    async fn push_jobs(&self, ingest: &Caller, now_us: i64) -> Result<(), StoreError> {
        let job = |age: u32, state| {
            self.tick.checked_sub(age).map(|number| {
                Observation::Job(Box::new(JobObservation {
                    external_id: format!("demo-{number}"),
                    at_us: now_us,
                    state: Some(state),
                    name: Some("shop.send_mail".into()),
                    queue: Some(QUEUE.into()),
                    worker: (age > 0).then(|| "worker@demo".to_owned()),
                    ..JobObservation::default()
                }))
            })
        };
        let failure = |observation: Observation| match observation {
            Observation::Job(job) if self.tick.is_multiple_of(11) => Observation::Job(Box::new(JobObservation {
                state: Some(JobState::Failed),
                error: Some("SMTPServerDisconnected: Connection unexpectedly closed".into()),
                stacktrace: Some(
                    "Traceback (most recent call last):\n  File \"shop.py\", line 12, in send_mail\n".into(),
                ),
                ..*job
            })),
            other => other,
        };
        let worker = WorkerObservation {
            external_id: "worker@demo".into(),
            at_us: now_us,
            state: WorkerState::Busy,
            hostname: "demo".into(),
            pid: Some(1),
            active_jobs: Some(2),
            processed: Some(i64::from(self.tick)),
            concurrency: Some(4),
            queues: Some(vec![QUEUE.into()]),
            metadata: Vec::new(),
            is_found: false,
        };
        let queue = QueueObservation {
            name: QUEUE.into(),
            at_us: now_us,
            depth: Some(u64::from(self.tick % 5)),
            consumers: Some((Some(1), ConsumersSource::Pushed)),
        };
        let observations: Vec<_> = [
            Some(Observation::Worker(Box::new(worker))),
            Some(Observation::Queue(queue)),
            job(0, JobState::Queued),
            job(1, JobState::Active),
            job(3, JobState::Completed).map(failure),
        ]
        .into_iter()
        .flatten()
        .collect();
        self.store.ingest(ingest, Framework::Celery, &observations).await.map(|_| ())
    }

    async fn caller(&self, bearer: &Bearer) -> Result<Caller, StoreError> {
        self.store.caller(bearer).await?.ok_or(StoreError::Unauthorized)
    }
}

fn hold(resource: &str, requester: &str, seconds: Option<i64>, note: &str) -> ReserveRequest {
    ReserveRequest {
        requester: requester.into(),
        resource: resource.into(),
        token: Uuid::new_v4(),
        ttl_ms: seconds.map(|seconds| seconds * SECOND_MS),
        resource_type: "Demo".into(),
        note: note.into(),
        quantity: 1,
        wait: None,
    }
}

/// Nobody asks for these tickets again, so they live as long as they wait.
fn long_wait() -> Wait {
    Wait { ticket: TicketId::random(), wait_ms: WAIT_MS, priority: 0, keep_alive_ms: WAIT_MS, overtake: false }
}
