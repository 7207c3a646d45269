//! Watches a Celery broker: events from its channels as they come, queues and consumers by looking every second.

mod decode;
mod listener;
mod mapping;
mod queues;
mod remote_control;
mod tracker;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{
    domain::queue::{
        ConsumersFrom, Observation, QueueObservation,
        connection::{BrokerError, Options},
    },
    monitor::{
        broker::Broker,
        reporter::{Reporter, WatchEnd},
    },
    store::MAX_OBSERVATIONS,
};

use decode::{Event, Unreadable};
use listener::EventListener;
use queues::Queues;
use remote_control::{Answer, Pidbox};
use tracker::Tracker;

/// How many messages are read at once: a worker's message has up to 24 events.
const MESSAGES: usize = 64;
/// How many batches may wait for the store, beside the one on its way: while it works, the next are read.
const BATCHES: usize = 2;
/// How often queues are looked at; the walk over the broker's keys and its bindings, every so many looks; and queues that did not change.
const LOOK: Duration = Duration::from_secs(1);
const WALK_EVERY: u64 = 5;
const AGAIN_EVERY: u64 = 10;
/// Workers are asked every so many looks.
const ASK_EVERY: u64 = 10;

/// Watches until the broker is in trouble, or the watch is lost.
pub(super) async fn watch(
    broker: &Broker,
    options: &Options,
    database: i64,
    outlet: &Reporter,
) -> Result<Infallible, WatchEnd> {
    let ear = EventListener::open(broker, options, database).await?;
    outlet.connected(false).await?;
    let celery = Celery { broker, outlet, known: Mutex::default() };
    let (batches, to_tell) = mpsc::channel(BATCHES);
    let pidbox = options.exact_consumers.then(|| Pidbox::new(options, database, outlet.watched().connection));
    let ended = tokio::select! {
        trouble = ear.beat(broker) => WatchEnd::BrokerError(trouble),
        halt = celery.read(&ear, batches) => halt,
        halt = celery.tell(to_tell) => halt,
        halt = celery.look(Queues::new(options.clone()), pidbox.as_ref()) => halt,
    };
    if let WatchEnd::BrokerError(trouble) = ended {
        outlet.disconnected(trouble, Some(ear.heard_ms(outlet)));
    }
    Err(ended)
}

struct Celery<'a> {
    broker: &'a Broker,
    outlet: &'a Reporter,
    known: Mutex<Known>,
}

/// What is known of the broker's queues and workers.
#[derive(Default)]
struct Known {
    tracker: Tracker,
    /// What workers said when they were asked.
    answers: BTreeMap<String, Answer>,
}

impl Celery<'_> {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the ear heard.
    async fn read(&self, ear: &EventListener, batches: mpsc::Sender<Batch>) -> WatchEnd {
        loop {
            let heard = ear.take(MESSAGES).await;
            let mut sightings = Vec::with_capacity(MAX_OBSERVATIONS);
            let now = Instant::now();
            for message in &heard.messages {
                let read = decode::body_of(message)
                    .and_then(|body| decode::events_in(&body, |event| self.hear(&event, now, &mut sightings)));
                match read {
                    Ok(0) => {}
                    Ok(broken) => note_unreadable(Unreadable::Broken, broken),
                    Err(reason) => note_unreadable(reason, 1),
                }
            }
            let dropped_ms =
                heard.dropped.map(|since| (self.outlet.now_us() - since.elapsed().as_micros() as i64) / 1000);
            if batches.send(Batch { sightings, dropped_ms }).await.is_err() {
                return WatchEnd::Lost;
            }
        }
    }

    fn hear(&self, event: &Event<'_>, now: Instant, sightings: &mut Vec<Observation>) {
        let mut known = self.known();
        known.tracker.hear(event, now);
        let Some(mut sighting) = mapping::sighting(event) else { return };
        if let Observation::Worker(worker) = &mut sighting {
            match known.answers.get(&worker.external_id) {
                Some(answer) => (worker.concurrency, worker.queues) = (answer.concurrency, Some(answer.queues.clone())),
                None => worker.queues = known.tracker.queues_of(&worker.external_id, now),
            }
        }
        sightings.push(sighting);
    }

    /// Tells the store, one batch after the other.
    async fn tell(&self, mut batches: mpsc::Receiver<Batch>) -> WatchEnd {
        while let Some(batch) = batches.recv().await {
            for piece in batch.sightings.chunks(MAX_OBSERVATIONS) {
                if let Err(halt) = self.outlet.tell(piece, &[]).await {
                    return halt;
                }
            }
            if let Some(from_ms) = batch.dropped_ms
                && let Err(halt) = self.outlet.gap(from_ms, self.outlet.now_us() / 1000, "overflow").await
            {
                return halt;
            }
        }
        WatchEnd::Lost
    }

    /// Looks at queues and consumers, for good.
    async fn look(&self, queues: Queues, pidbox: Option<&Pidbox>) -> WatchEnd {
        match self.looking(queues, pidbox).await {
            Ok(never) => match never {},
            Err(halt) => halt,
        }
    }

    async fn looking(&self, mut queues: Queues, pidbox: Option<&Pidbox>) -> Result<Infallible, WatchEnd> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut nodes) = (HashMap::new(), HashSet::new());
        for number in 0_u64.. {
            looks.tick().await;
            if number % WALK_EVERY == 0 {
                queues.walk(self.broker).await?;
                nodes = queues.nodes(self.broker).await?;
            }
            if let Some(pidbox) = pidbox
                && number % ASK_EVERY == 0
            {
                let expected = self.known().tracker.alive(Instant::now()).max(nodes.len());
                let answers = pidbox.ask(self.broker, expected).await?;
                pidbox.clear(self.broker).await?;
                self.known().answers = answers;
            }
            let names: Vec<String> =
                queues.names(self.known().tracker.queues()).into_iter().map(str::to_owned).collect();
            let depths = queues.depths(self.broker, &names).await?;
            let consumers = self.consumers(pidbox.is_some(), &nodes);
            let from = if pidbox.is_some() { ConsumersFrom::Exact } else { ConsumersFrom::Inferred };
            let at_us = self.outlet.now_us();
            let mut changed = Vec::new();
            for (name, depth) in names.into_iter().zip(depths) {
                let stands = (depth, consumers.get(&name).copied().unwrap_or(0));
                if told.insert(name.clone(), stands) != Some(stands) || number % AGAIN_EVERY == 0 {
                    changed.push(Observation::Queue(QueueObservation {
                        name,
                        at_us,
                        depth: Some(depth),
                        consumers: Some((stands.1, from)),
                    }));
                }
            }
            for piece in changed.chunks(MAX_OBSERVATIONS) {
                self.outlet.tell(piece, &[]).await?;
            }
        }
        Err(BrokerError::Protocol.into())
    }

    fn consumers(&self, exact: bool, nodes: &HashSet<String>) -> HashMap<String, u32> {
        let known = self.known();
        if !exact {
            return known
                .tracker
                .consumers(nodes, Instant::now())
                .into_iter()
                .map(|(queue, count)| (queue.to_owned(), count))
                .collect();
        }
        let mut consumers = HashMap::new();
        known
            .answers
            .values()
            .flat_map(|answer| &answer.queues)
            .for_each(|queue| *consumers.entry(queue.clone()).or_default() += 1);
        consumers
    }
}

/// What was read at once.
struct Batch {
    sightings: Vec<Observation>,
    /// Since when messages were dropped before these, in milliseconds since the Unix epoch.
    dropped_ms: Option<i64>,
}

fn note_unreadable(reason: Unreadable, count: usize) {
    let why = match reason {
        Unreadable::Packed => "packed",
        Unreadable::Broken => "broken",
    };
    metrics::counter!("holdfast_queue_messages_unreadable_total", "why" => why).increment(count as u64);
}
