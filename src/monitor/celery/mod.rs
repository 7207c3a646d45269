//! Watch of a Celery broker: its events are received as they are published, its queues and consumers are polled once a second.
//!
//! Four loops run at once: the listener pings the broker, [`CeleryWatch::decode_loop`] turns buffered messages into observations,
//! [`CeleryWatch::report_loop`] stores them, and [`CeleryWatch::poll_loop`] polls queues. The first that ends, ends the watch.

mod decode;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod known_workers;
mod lenient;
mod listener;
mod mapping;
mod queues;
mod remote_control;
mod tracker;

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{
    domain::queue::{
        GapReason, Observation, QueueObservation,
        connection::{BrokerError, ConnectionOptions},
    },
    monitor::{
        broker::Broker,
        reporter::{Reporter, WatchEnd},
    },
    store::MAX_OBSERVATIONS,
    sync::lock,
};

use decode::{CeleryEvent, DecodeError};
use known_workers::KnownWorkers;
use listener::EventListener;
use queues::CeleryQueues;
use remote_control::Pidbox;

/// Maximum number of messages decoded into one batch. A worker's message has up to 24 events.
const BATCH_MESSAGES: usize = 64;
/// Number of decoded batches that may wait for the store, besides the one being stored; then decoding waits.
const MAX_WAITING_BATCHES: usize = 2;
/// Interval at which queues and consumers are polled.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Every how many polls new queues and bound workers are looked for.
const DISCOVER_EVERY: u64 = 5;
/// Every how many polls unchanged queues are reported, too, so that the store keeps them.
const REPORT_ALL_EVERY: u64 = 10;
/// Every how many polls workers are asked by remote control.
const QUERY_WORKERS_EVERY: u64 = 10;

/// Watches until the broker fails or the lease is lost.
pub(super) async fn watch(
    broker: &Broker,
    options: &ConnectionOptions,
    database: i64,
    reporter: &Reporter,
) -> Result<Infallible, WatchEnd> {
    let (listener, mut connection) = EventListener::subscribe(broker, options, database).await?;
    reporter.connected(false).await?;
    let pidbox = options.exact_consumers.then(|| Pidbox::new(options, database, reporter.lease().connection));
    let watch = CeleryWatch { broker, reporter, pidbox, workers: Mutex::default() };
    let (sender, batches) = mpsc::channel(MAX_WAITING_BATCHES);
    let end = tokio::select! {
        error = listener.ping_until_lost(&mut connection) => WatchEnd::Broker(error),
        end = watch.decode_loop(&listener, sender) => end,
        Err(end) = watch.report_loop(batches) => end,
        Err(end) = watch.poll_loop(CeleryQueues::new(options.clone())) => end,
    };
    if let WatchEnd::Broker(error) = end {
        reporter.disconnected(error, Some(reporter.time_of_ms(listener.last_seen())));
    }
    Err(end)
}

struct CeleryWatch<'a> {
    broker: &'a Broker,
    reporter: &'a Reporter,
    /// For connections that request exact consumers.
    pidbox: Option<Pidbox>,
    workers: Mutex<KnownWorkers>,
}

/// Observations of the messages decoded together.
struct Batch {
    observations: Vec<Observation>,
    /// Since when messages before these were dropped, in milliseconds since the Unix epoch.
    dropped_since_ms: Option<i64>,
}

impl CeleryWatch<'_> {
    fn workers(&self) -> MutexGuard<'_, KnownWorkers> {
        lock(&self.workers)
    }

    async fn decode_loop(&self, listener: &EventListener, batches: mpsc::Sender<Batch>) -> WatchEnd {
        loop {
            let received = listener.receive(BATCH_MESSAGES).await;
            let mut observations = Vec::with_capacity(MAX_OBSERVATIONS);
            let now = Instant::now();
            for message in &received.messages {
                let decoded = decode::decode_body(message).and_then(|body| {
                    decode::decode_events(&body, |event| observations.extend(self.observe(&event, now)))
                });
                match decoded {
                    Ok(0) => {}
                    Ok(malformed) => count_undecoded(DecodeError::Malformed, malformed),
                    Err(error) => count_undecoded(error, 1),
                }
            }
            let dropped_since_ms = received.dropped_since.map(|since| self.reporter.time_of_ms(since));
            if batches.send(Batch { observations, dropped_since_ms }).await.is_err() {
                return WatchEnd::LeaseLost;
            }
        }
    }

    fn observe(&self, event: &CeleryEvent<'_>, now: Instant) -> Option<Observation> {
        let mut workers = self.workers();
        workers.has_events = true;
        workers.tracker.apply(event, now);
        let mut observation = mapping::observation(event)?;
        if let Observation::Worker(worker) = &mut observation {
            match workers.reply_of(&worker.external_id) {
                Some(reply) => (worker.concurrency, worker.queues) = (reply.concurrency, Some(reply.queues.clone())),
                None => worker.queues = workers.tracker.queues_of(&worker.external_id, now),
            }
        }
        Some(observation)
    }

    /// Stores batches in order; a gap is stored after the observations that follow it.
    async fn report_loop(&self, mut batches: mpsc::Receiver<Batch>) -> Result<Infallible, WatchEnd> {
        while let Some(batch) = batches.recv().await {
            for chunk in batch.observations.chunks(MAX_OBSERVATIONS) {
                self.reporter.report(chunk, &[]).await?;
            }
            if let Some(from_ms) = batch.dropped_since_ms {
                self.reporter.report_gap(from_ms, self.reporter.now_us() / 1000, GapReason::Overflow).await?;
            }
        }
        Err(WatchEnd::LeaseLost)
    }

    async fn poll_loop(&self, mut queues: CeleryQueues) -> Result<Infallible, WatchEnd> {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = HashMap::new();
        let mut poll = 0_u64;
        loop {
            ticks.tick().await;
            let mut changed = self.look_for_workers(&mut queues, poll).await?;
            let names: Vec<String> =
                queues.names(self.workers().tracker.queues()).into_iter().map(str::to_owned).collect();
            let depths = queues.depths(self.broker, &names).await?;
            let consumers_of = self.workers().consumers();
            let at_us = self.reporter.now_us();
            for (name, depth) in names.into_iter().zip(depths) {
                let consumers = consumers_of(&name);
                let is_unchanged = reported.insert(name.clone(), (depth, consumers)) == Some((depth, consumers));
                if !is_unchanged || poll.is_multiple_of(REPORT_ALL_EVERY) {
                    let (depth, consumers) = (Some(depth), Some(consumers));
                    changed.push(Observation::Queue(QueueObservation { name, at_us, depth, consumers }));
                }
            }
            for chunk in changed.chunks(MAX_OBSERVATIONS) {
                self.reporter.report(chunk, &[]).await?;
            }
            poll += 1;
        }
    }

    /// Looks for queues and workers, as far as that is due, and asks the workers. Returns what it found of those without heartbeats.
    async fn look_for_workers(&self, queues: &mut CeleryQueues, poll: u64) -> Result<Vec<Observation>, BrokerError> {
        let mut bound_before = HashSet::new();
        if poll.is_multiple_of(DISCOVER_EVERY) {
            queues.discover(self.broker).await?;
            let bound = queues.bound_workers(self.broker).await?;
            let mut workers = self.workers();
            bound_before = std::mem::replace(&mut workers.bound, bound);
            let is_elsewhere = !workers.has_events && workers.bound.is_empty() && queues.has_other_workers();
            self.reporter.note_nothing_seen(is_elsewhere.then_some(BrokerError::OtherExchanges));
        }
        let mut has_asked = false;
        if let Some(pidbox) = &self.pidbox
            && poll.is_multiple_of(QUERY_WORKERS_EVERY)
        {
            let expected = {
                let workers = self.workers();
                workers.tracker.live_workers(Instant::now()).max(workers.bound.len())
            };
            let replies = pidbox.query_workers(self.broker, expected).await?;
            let mut workers = self.workers();
            workers.has_replied |= replies.as_ref().is_some_and(|replies| !replies.is_empty());
            workers.replies = replies;
            has_asked = true;
        }
        Ok(self.workers().found(&bound_before, has_asked, self.reporter.now_us()))
    }
}

fn count_undecoded(error: DecodeError, count: usize) {
    let why = match error {
        DecodeError::UnsupportedEncoding => "packed",
        DecodeError::Malformed => "broken",
    };
    metrics::counter!("holdfast_queue_messages_unreadable_total", "why" => why).increment(count as u64);
}
