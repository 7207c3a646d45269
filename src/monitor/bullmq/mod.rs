//! Watches a BullMQ broker: each queue's stream of events from where the state stands, queues and workers by looking every second.
//!
//! The streams are kept by the broker, and how far they are part of the state is stored with the state itself. So whoever takes a
//! connection over goes on exactly there. Only what the broker has trimmed in between is lost, and told as a gap.

mod mapping;
mod queues;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    Pipeline,
    streams::{StreamId, StreamReadReply},
};
use tokio::time::{MissedTickBehavior, sleep};

use crate::{
    domain::queue::{
        ConsumersFrom, Observation, QueueObservation, WorkerObservation, WorkerState,
        connection::{BrokerError, Options},
    },
    monitor::{
        broker::Broker,
        reporter::{Reporter, WatchEnd},
    },
    store::MAX_OBSERVATIONS,
};

use mapping::{Details, FIELDS, Fresh, parts};
use queues::{Queues, Workers};

/// How long a read waits for something to come; a queue that was found meanwhile joins then.
const BLOCK: Duration = Duration::from_millis(1_000);
/// How many entries of a stream are read at once.
const ENTRIES: usize = 200;
/// How many entries are told at once: each may say something of one job.
const AT_ONCE: usize = MAX_OBSERVATIONS;
/// How far back a stream is read that nobody has read before: as long as jobs are kept.
const BACK_MS: i64 = 24 * 3_600 * 1_000;
/// How often queues and workers are looked at; the walk over the broker's keys, every so many looks; and queues that did not change.
const LOOK: Duration = Duration::from_secs(1);
const WALK_EVERY: u64 = 2;
const AGAIN_EVERY: u64 = 10;

/// Watches until the broker is in trouble, or the watch is lost.
pub(super) async fn watch(broker: &Broker, options: &Options, outlet: &Reporter) -> Result<Infallible, WatchEnd> {
    let bullmq = BullMq { broker, outlet, streams: Mutex::default() };
    let mut queues = Queues::new(options);
    let cursors = outlet.cursors().await;
    bullmq.streams().cursors = cursors.into_iter().collect();
    queues.walk(broker).await?;
    bullmq.join(&queues).await?;
    outlet.connected(true).await?;
    let prefix = queues.prefix().to_owned();
    let ended = tokio::select! {
        halt = bullmq.read(&prefix) => halt,
        halt = bullmq.look(queues) => halt,
    };
    Err(match ended {
        Err(halt) => halt,
        Ok(never) => match never {},
    })
}

struct BullMq<'a> {
    broker: &'a Broker,
    outlet: &'a Reporter,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    /// Up to where each queue's stream is part of the state; also of queues that are not followed now.
    cursors: BTreeMap<String, String>,
    /// Up to where it was read.
    read: BTreeMap<String, String>,
    /// Up to where what was trimmed unread has been told.
    trimmed: BTreeMap<String, String>,
    /// Those that nobody has read before: what they lost until now was never promised.
    unread: HashSet<String>,
}

/// An entry, and the queue that it is of.
type Entry = (String, StreamId);

impl BullMq<'_> {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to follow the queues that were found.
    async fn join(&self, queues: &Queues) -> Result<(), BrokerError> {
        let names = queues.names();
        let new: Vec<_> = names.into_iter().filter(|name| !self.streams().read.contains_key(name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let (seconds, _): (i64, i64) =
            redis::from_redis_value(self.broker.ask(&redis::cmd("TIME")).await?).map_err(|_| BrokerError::Protocol)?;
        let begin = format!("{}-0", (seconds * 1000 - BACK_MS).max(0));
        let mut streams = self.streams();
        for name in new {
            if !streams.cursors.contains_key(&name) {
                streams.unread.insert(name.clone());
            }
            let cursor = streams.cursors.entry(name.clone()).or_insert_with(|| begin.clone()).clone();
            streams.read.insert(name, cursor);
        }
        Ok(())
    }

    /// Reads the streams, for good.
    async fn read(&self, prefix: &str) -> Result<Infallible, WatchEnd> {
        let mut waiting = self.broker.waiting(BLOCK).await?;
        let mut fresh = Fresh::default();
        loop {
            let from: Vec<_> = self.streams().read.clone().into_iter().collect();
            if from.is_empty() {
                sleep(BLOCK / 4).await;
                continue;
            }
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(ENTRIES).arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS");
            from.iter().for_each(|(queue, _)| {
                read.arg(format!("{prefix}:{queue}:events"));
            });
            from.iter().for_each(|(_, cursor)| {
                read.arg(cursor);
            });
            let reply: Option<StreamReadReply> =
                read.query_async(&mut waiting).await.map_err(|error| self.broker.trouble(&error))?;
            let mut entries: Vec<Entry> = Vec::new();
            for stream in reply.into_iter().flat_map(|reply| reply.keys) {
                let queue = stream
                    .key
                    .strip_prefix(prefix)
                    .and_then(|rest| rest.strip_prefix(':'))
                    .and_then(|rest| rest.strip_suffix(":events"));
                let Some(queue) = queue else { continue };
                if let Some(last) = stream.ids.last() {
                    self.streams().read.insert(queue.to_owned(), last.id.clone());
                }
                entries.extend(stream.ids.into_iter().map(|entry| (queue.to_owned(), entry)));
            }
            for piece in entries.chunks(AT_ONCE) {
                self.tell(prefix, piece, &mut fresh).await?;
            }
        }
    }

    /// Tells what entries say, and with it up to where they lead.
    async fn tell(&self, prefix: &str, entries: &[Entry], fresh: &mut Fresh) -> Result<(), WatchEnd> {
        let details = self.details(prefix, entries).await?;
        let sightings: Vec<_> = entries
            .iter()
            .filter_map(|(queue, entry)| mapping::sighting(prefix, queue, entry, &details, fresh))
            .collect();
        let mut cursors = self.streams().cursors.clone();
        entries.iter().for_each(|(queue, entry)| {
            cursors.insert(queue.clone(), entry.id.clone());
        });
        let list: Vec<_> = cursors.iter().map(|(queue, cursor)| (queue.clone(), cursor.clone())).collect();
        self.outlet.tell(&sightings, &list).await?;
        self.streams().cursors = cursors;
        Ok(())
    }

    /// What the jobs of entries say of themselves.
    async fn details(&self, prefix: &str, entries: &[Entry]) -> Result<HashMap<String, Details>, BrokerError> {
        let jobs: HashSet<(&str, &str)> = entries
            .iter()
            .filter_map(|(queue, entry)| Some((queue.as_str(), mapping::field(entry, "jobId")?)))
            .collect();
        let jobs: Vec<_> = jobs.into_iter().collect();
        if jobs.is_empty() {
            return Ok(HashMap::new());
        }
        let mut ask = Pipeline::new();
        for (queue, job) in &jobs {
            ask.cmd("HMGET").arg(format!("{prefix}:{queue}:{job}")).arg(&FIELDS);
        }
        let found: Vec<Vec<Option<Vec<u8>>>> = self.broker.ask_all(&ask).await?;
        Ok(jobs
            .iter()
            .zip(found)
            .map(|((queue, job), fields)| (mapping::external_id(queue, job), Details::read(fields)))
            .collect())
    }

    /// Looks at queues and workers, for good.
    async fn look(&self, mut queues: Queues) -> Result<Infallible, WatchEnd> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut known) = (HashMap::new(), Workers::default());
        for number in 0_u64.. {
            looks.tick().await;
            if number % WALK_EVERY == 0 {
                queues.walk(self.broker).await?;
                self.join(&queues).await?;
                self.tell_what_was_trimmed(&queues).await?;
            }
            let workers = queues.workers(self.broker).await?;
            let names = queues.names();
            let depths = queues.depths(self.broker, &names).await?;
            let at_us = self.outlet.now_us();
            let mut seen = Vec::new();
            for (name, depth) in names.into_iter().zip(depths) {
                let consumers = workers
                    .as_ref()
                    .map(|workers| (workers.consumers.get(&name).copied().unwrap_or(0), ConsumersFrom::Connected));
                if told.insert(name.clone(), (depth, consumers)) != Some((depth, consumers))
                    || number % AGAIN_EVERY == 0
                {
                    seen.push(Observation::Queue(QueueObservation { name, at_us, depth: Some(depth), consumers }));
                }
            }
            if let Some(workers) = workers {
                let left = known.queues.iter().filter(|(name, _)| !workers.queues.contains_key(*name));
                seen.extend(
                    left.map(|(name, queues)| {
                        worker(name, queues.iter().cloned().collect(), WorkerState::Offline, at_us)
                    }),
                );
                seen.extend(
                    workers.queues.iter().map(|(name, queues)| {
                        worker(name, queues.iter().cloned().collect(), WorkerState::Online, at_us)
                    }),
                );
                known = workers;
            }
            for piece in seen.chunks(MAX_OBSERVATIONS) {
                self.outlet.tell(piece, &[]).await?;
            }
        }
        Err(BrokerError::Protocol.into())
    }

    /// Tells what the broker trimmed off its streams before it was read.
    async fn tell_what_was_trimmed(&self, queues: &Queues) -> Result<(), WatchEnd> {
        let read: Vec<_> = self.streams().read.clone().into_iter().collect();
        if read.is_empty() {
            return Ok(());
        }
        let mut ask = Pipeline::new();
        ask.ignore_errors();
        read.iter().for_each(|(queue, _)| {
            ask.cmd("XINFO").arg("STREAM").arg(queues.key(queue, "events"));
        });
        let streams: Vec<redis::Value> = self.broker.ask_all(&ask).await?;
        for ((queue, cursor), stream) in read.into_iter().zip(streams) {
            // Before Redis 7 a stream does not say what it lost.
            let Ok(facts) = redis::from_redis_value::<HashMap<String, redis::Value>>(stream) else { continue };
            let Some(redis::Value::BulkString(deleted)) = facts.get("max-deleted-entry-id") else { continue };
            let deleted = String::from_utf8_lossy(deleted).into_owned();
            let (told, unread) = {
                let mut streams = self.streams();
                let unread = streams.unread.remove(&queue);
                (streams.trimmed.insert(queue, deleted.clone()), unread)
            };
            if unread {
                continue;
            }
            let since = told.filter(|told| parts(told) > parts(&cursor)).unwrap_or(cursor);
            if parts(&deleted) > parts(&since) {
                self.outlet.gap(parts(&since).0, parts(&deleted).0, "trimmed").await?;
            }
        }
        Ok(())
    }
}

fn worker(name: &str, queues: Vec<String>, state: WorkerState, at_us: i64) -> Observation {
    Observation::Worker(Box::new(WorkerObservation {
        external_id: name.to_owned(),
        at_us,
        state,
        hostname: name.to_owned(),
        pid: None,
        active_jobs: None,
        processed: None,
        concurrency: None,
        queues: Some(queues),
        metadata: vec![("software".into(), "\"bullmq\"".into())],
    }))
}
