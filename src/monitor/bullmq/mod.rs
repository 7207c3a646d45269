//! Watch of a BullMQ broker: events are read from each queue's stream, queues and workers are polled once a second.
//!
//! The broker keeps its streams, and the store keeps their cursors together with the state, so the next watcher resumes exactly where this
//! one ends. Only entries that the broker trimmed unread are lost; they are reported as a gap.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod job_hash;
mod mapping;
mod piece;
mod queues;
mod streams;

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use crate::{
    domain::queue::{
        ConsumersSource, Framework, Observation, QueueObservation, WorkerObservation, WorkerState,
        connection::ConnectionOptions,
    },
    monitor::{
        broker::Broker,
        reporter::{Reporter, WatchEnd},
    },
    store::MAX_OBSERVATIONS,
};

use queues::{BullMqQueues, ConnectedWorkers};
use streams::StreamReader;

/// Interval at which queues and workers are polled.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Every how many polls new queues and trimmed entries are looked for.
const DISCOVER_EVERY: u64 = 2;
/// Every how many polls unchanged queues are reported, too, so that the store keeps them.
const REPORT_ALL_EVERY: u64 = 10;

/// Watches until the broker fails or the lease is lost.
pub(super) async fn watch(
    broker: &Broker,
    options: &ConnectionOptions,
    reporter: &Reporter,
) -> Result<Infallible, WatchEnd> {
    let mut queues = BullMqQueues::new(options);
    let prefix = options.prefix(Framework::BullMq);
    let streams = StreamReader::new(broker, reporter, prefix, reporter.cursors().await);
    queues.discover(broker).await?;
    streams.add(&queues.names()).await?;
    reporter.connected(true).await?;
    tokio::select! {
        end = streams.read_loop() => end,
        end = poll_loop(broker, reporter, &streams, queues) => end,
    }
}

async fn poll_loop(
    broker: &Broker,
    reporter: &Reporter,
    streams: &StreamReader<'_>,
    mut queues: BullMqQueues,
) -> Result<Infallible, WatchEnd> {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut reported, mut last_workers) = (HashMap::new(), ConnectedWorkers::default());
    let mut poll = 0_u64;
    loop {
        ticks.tick().await;
        if poll.is_multiple_of(DISCOVER_EVERY) {
            queues.discover(broker).await?;
            streams.add(&queues.names()).await?;
            streams.report_trimmed().await?;
        }
        let workers = queues.workers(broker).await?;
        let names = queues.names();
        let depths = queues.depths(broker, &names).await?;
        let at_us = reporter.now_us();
        let mut observations = Vec::new();
        for (name, depth) in names.into_iter().zip(depths) {
            let count = workers.as_ref().map(|workers| workers.consumers.get(&name).copied().unwrap_or(0));
            let is_unchanged = reported.insert(name.clone(), (depth, count)) == Some((depth, count));
            if !is_unchanged || poll.is_multiple_of(REPORT_ALL_EVERY) {
                let consumers = Some((count, ConsumersSource::Connected));
                observations.push(Observation::Queue(QueueObservation { name, at_us, depth: Some(depth), consumers }));
            }
        }
        if let Some(workers) = workers {
            let is_gone = |(name, _): &(&String, _)| !workers.queues.contains_key(*name);
            let gone = last_workers.queues.iter().filter(is_gone);
            observations.extend(gone.map(|(name, queues)| worker(name, queues, WorkerState::Offline, at_us)));
            let online = workers.queues.iter();
            observations.extend(online.map(|(name, queues)| worker(name, queues, WorkerState::Online, at_us)));
            last_workers = workers;
        }
        for chunk in observations.chunks(MAX_OBSERVATIONS) {
            reporter.report(chunk, &[]).await?;
        }
        poll += 1;
    }
}

fn worker(name: &str, queues: &BTreeSet<String>, state: WorkerState, at_us: i64) -> Observation {
    Observation::Worker(Box::new(WorkerObservation {
        external_id: name.to_owned(),
        at_us,
        state,
        hostname: name.to_owned(),
        pid: None,
        active_jobs: None,
        processed: None,
        concurrency: None,
        queues: Some(queues.iter().cloned().collect()),
        metadata: vec![("software".into(), "\"bullmq\"".into())],
        is_found: false,
    }))
}
