//! Reader of BullMQ's event streams, one per queue, from the stored cursors on.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use redis::{
    Pipeline,
    streams::{StreamId, StreamReadReply},
};
use tokio::time::sleep;

use crate::{
    domain::queue::{GapReason, connection::BrokerError},
    monitor::{
        broker::Broker,
        bullmq::{
            job_hash::{FIELDS, JobHash},
            mapping::{self, UnstartedJobs, parse_stream_id},
        },
        reporter::{Reporter, WatchEnd},
    },
    store::MAX_OBSERVATIONS,
    sync::lock,
};

/// Maximum time that one `XREAD` blocks. A queue found meanwhile joins the next one.
const MAX_BLOCK: Duration = Duration::from_millis(1_000);
/// Interval at which new queues are waited for while there is none.
const NO_QUEUE_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of entries of one stream per `XREAD`.
const MAX_ENTRIES: usize = 200;
/// How far back a stream without a cursor is read: as long as the store keeps jobs.
const BACKLOG_MS: i64 = 24 * 3_600 * 1_000;

/// Reads the streams of all queues of one broker.
pub(super) struct StreamReader<'a> {
    broker: &'a Broker,
    reporter: &'a Reporter,
    prefix: &'a str,
    state: Mutex<ReadState>,
}

/// Positions in the streams: ids of entries, by queue.
#[derive(Default)]
struct ReadState {
    /// Last entry that is part of the stored state; also of queues that are not read now.
    stored: BTreeMap<String, String>,
    /// Last entry that was read.
    read: BTreeMap<String, String>,
    /// Last trimmed entry of which a gap was reported.
    reported_trims: BTreeMap<String, String>,
    /// Queues that nobody had read before this watch: entries trimmed until now are no gap.
    first_read: HashSet<String>,
}

/// An entry, and the queue of its stream.
type QueueEntry = (String, StreamId);

impl<'a> StreamReader<'a> {
    /// `cursors` are those stored by the last watch.
    pub(super) fn new(
        broker: &'a Broker,
        reporter: &'a Reporter,
        prefix: &'a str,
        cursors: Vec<(String, String)>,
    ) -> Self {
        let state = ReadState { stored: cursors.into_iter().collect(), ..ReadState::default() };
        Self { broker, reporter, prefix, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, ReadState> {
        lock(&self.state)
    }

    fn stream_key(&self, queue: &str) -> String {
        format!("{}:{queue}:events", self.prefix)
    }

    /// Adds the streams of these queues, as far as they are new: from the stored cursor, or [`BACKLOG_MS`] back.
    pub(super) async fn add(&self, queues: &[String]) -> Result<(), BrokerError> {
        let is_new = |queue: &&String| !self.state().read.contains_key(*queue);
        let new: Vec<_> = queues.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let time = self.broker.query(&redis::cmd("TIME")).await?;
        let (now_s, _now_us): (i64, i64) = redis::from_redis_value(time).map_err(|_| BrokerError::Protocol)?;
        let backlog = format!("{}-0", (now_s * 1000 - BACKLOG_MS).max(0));
        let mut state = self.state();
        for queue in new {
            let cursor = match state.stored.get(queue) {
                Some(cursor) => cursor.clone(),
                None => {
                    state.first_read.insert(queue.clone());
                    state.stored.insert(queue.clone(), backlog.clone());
                    backlog.clone()
                }
            };
            state.read.insert(queue.clone(), cursor);
        }
        Ok(())
    }

    /// Reads the streams and reports their entries, until the watch ends.
    pub(super) async fn read_loop(&self) -> Result<Infallible, WatchEnd> {
        let mut connection = self.broker.blocking_connection(MAX_BLOCK).await?;
        let mut unstarted = UnstartedJobs::default();
        loop {
            let cursors: Vec<_> = self.state().read.clone().into_iter().collect();
            if cursors.is_empty() {
                sleep(NO_QUEUE_INTERVAL).await;
                continue;
            }
            let mut xread = redis::cmd("XREAD");
            xread.arg("COUNT").arg(MAX_ENTRIES).arg("BLOCK").arg(MAX_BLOCK.as_millis() as u64).arg("STREAMS");
            for (queue, _) in &cursors {
                xread.arg(self.stream_key(queue));
            }
            for (_, cursor) in &cursors {
                xread.arg(cursor);
            }
            let reply: Option<StreamReadReply> =
                xread.query_async(&mut connection).await.map_err(|error| self.broker.classify(&error))?;
            let mut entries: Vec<QueueEntry> = Vec::new();
            for stream in reply.into_iter().flat_map(|reply| reply.keys) {
                let Some(queue) = mapping::queue_of_stream(self.prefix, &stream.key) else { continue };
                if let Some(last) = stream.ids.last() {
                    self.state().read.insert(queue.to_owned(), last.id.clone());
                }
                entries.extend(stream.ids.into_iter().map(|entry| (queue.to_owned(), entry)));
            }
            // Each entry has at most one observation.
            for chunk in entries.chunks(MAX_OBSERVATIONS) {
                self.report(chunk, &mut unstarted).await?;
            }
        }
    }

    /// Reports the observations of entries together with the cursors that they lead to, so that state and cursors never differ.
    async fn report(&self, entries: &[QueueEntry], unstarted: &mut UnstartedJobs) -> Result<(), WatchEnd> {
        let hashes = self.read_job_hashes(entries).await?;
        let observation =
            |(queue, entry): &QueueEntry| mapping::observation(self.prefix, queue, entry, &hashes, unstarted);
        let observations: Vec<_> = entries.iter().filter_map(observation).collect();
        let mut stored = self.state().stored.clone();
        for (queue, entry) in entries {
            stored.insert(queue.clone(), entry.id.clone());
        }
        let cursors: Vec<_> = stored.iter().map(|(queue, cursor)| (queue.clone(), cursor.clone())).collect();
        self.reporter.report(&observations, &cursors).await?;
        self.state().stored = stored;
        Ok(())
    }

    /// Hashes of the jobs of these entries, by external id.
    async fn read_job_hashes(&self, entries: &[QueueEntry]) -> Result<HashMap<String, JobHash>, BrokerError> {
        let job_of = |(queue, entry): &'_ QueueEntry| Some((queue.clone(), mapping::field(entry, "jobId")?.to_owned()));
        let jobs: HashSet<(String, String)> = entries.iter().filter_map(job_of).collect();
        let jobs: Vec<_> = jobs.into_iter().collect();
        if jobs.is_empty() {
            return Ok(HashMap::new());
        }
        let mut pipeline = Pipeline::new();
        for (queue, job) in &jobs {
            pipeline.cmd("HMGET").arg(format!("{}:{queue}:{job}", self.prefix)).arg(&FIELDS);
        }
        let replies: Vec<Vec<Option<Vec<u8>>>> = self.broker.query_all(&pipeline).await?;
        let mut hashes = HashMap::with_capacity(jobs.len());
        for ((queue, job), values) in jobs.iter().zip(replies) {
            let values = values.try_into().map_err(|_| BrokerError::Protocol)?;
            hashes.insert(mapping::external_id(queue, job), JobHash::decode(values));
        }
        Ok(hashes)
    }

    /// Reports a gap for entries that the broker trimmed off its streams before they were read.
    ///
    /// Needs Redis 7 at the broker, whose streams have a `max-deleted-entry-id`; with older ones such gaps go unnoticed.
    pub(super) async fn report_trimmed(&self) -> Result<(), WatchEnd> {
        let cursors: Vec<_> = self.state().read.clone().into_iter().collect();
        if cursors.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        pipeline.ignore_errors();
        for (queue, _) in &cursors {
            pipeline.cmd("XINFO").arg("STREAM").arg(self.stream_key(queue));
        }
        let replies: Vec<redis::Value> = self.broker.query_all(&pipeline).await?;
        for ((queue, cursor), reply) in cursors.into_iter().zip(replies) {
            let Ok(info) = redis::from_redis_value::<HashMap<String, redis::Value>>(reply) else { continue };
            let Some(redis::Value::BulkString(trimmed)) = info.get("max-deleted-entry-id") else { continue };
            let trimmed = String::from_utf8_lossy(trimmed).into_owned();
            let (reported, is_first_read) = {
                let mut state = self.state();
                let is_first_read = state.first_read.remove(&queue);
                (state.reported_trims.insert(queue, trimmed.clone()), is_first_read)
            };
            if is_first_read {
                continue;
            }
            let trimmed = parse_stream_id(&trimmed);
            let cursor = parse_stream_id(&cursor);
            let known = reported.map_or(cursor, |reported| parse_stream_id(&reported).max(cursor));
            if trimmed > known {
                self.reporter.report_gap(known.0, trimmed.0, GapReason::Trimmed).await?;
            }
        }
        Ok(())
    }
}
