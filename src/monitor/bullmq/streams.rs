//! Reader of BullMQ's event streams, one per queue, from the stored cursors on.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use redis::{
    Cmd, Pipeline, Value,
    streams::{StreamId, StreamKey, StreamReadReply},
};
use tokio::time::sleep;

use crate::{
    domain::queue::{GapReason, connection::BrokerError},
    monitor::{
        broker::Broker,
        bullmq::{
            job_hash::{FIELDS, JobHash},
            mapping::{self, UnstartedJobs, parse_stream_id},
            piece::{Piece, SHRINK},
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
/// Maximum number of streams of which the broker is asked at once what it says of them.
const MAX_INFOS: usize = 16;
/// Maximum number of jobs whose hashes are read at once.
const MAX_HASHES: usize = 100;
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
    /// What is passed over in streams whose next entry cannot be read.
    skipped: BTreeMap<String, Skipped>,
    /// Queues that nobody had read before this watch: entries trimmed until now are no gap.
    first_read: HashSet<String>,
}

/// What is passed over in a stream because it cannot be read.
struct Skipped {
    /// Where that begins, in milliseconds since the Unix epoch.
    from_ms: i64,
    /// How much is passed over next.
    step_ms: i64,
}

/// The streams of a reply of `XREAD`; none where it had nothing.
fn entries_of(reply: Value) -> Result<Vec<StreamKey>, BrokerError> {
    let reply: Option<StreamReadReply> = redis::from_redis_value(reply).map_err(|_| BrokerError::Protocol)?;
    Ok(reply.map(|reply| reply.keys).unwrap_or_default())
}

/// About how many bytes a stream's entries have.
fn size_of(stream: &StreamKey) -> usize {
    let of_value = |value: &Value| if let Value::BulkString(bytes) = value { bytes.len() } else { 0 };
    stream.ids.iter().flat_map(|entry| entry.map.values()).map(of_value).sum()
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
        let backlog = format!("{}-0", now_s.saturating_mul(1000).saturating_sub(BACKLOG_MS).max(0));
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
    ///
    /// What is there is read in rounds, some streams at a time, in pieces that fit. Only when a round found nothing, all streams are waited for at
    /// once: then the broker answers with the one that gets an entry first.
    pub(super) async fn read_loop(&self) -> Result<Infallible, WatchEnd> {
        let mut unstarted = UnstartedJobs::default();
        let mut piece = Piece::default();
        // Whether the broker has answered since one entry of one stream did not come.
        let mut has_answered = false;
        loop {
            let cursors: Vec<_> = self.state().read.clone().into_iter().collect();
            if cursors.is_empty() {
                sleep(NO_QUEUE_INTERVAL).await;
                continue;
            }
            let mut has_found = false;
            let mut rest = &cursors[..];
            while !rest.is_empty() {
                let (part, after) = rest.split_at(piece.streams.min(rest.len()));
                match self.broker.query(&self.xread(part, piece.entries, None)).await.and_then(entries_of) {
                    Ok(streams) => {
                        (rest, has_answered) = (after, false);
                        piece.note_size(streams.iter().map(size_of).sum(), Instant::now());
                        self.report_skipped(part).await?;
                        has_found |= !streams.is_empty();
                        self.take(streams, &mut unstarted).await?;
                    }
                    Err(BrokerError::TooLarge | BrokerError::Timeout) if piece.shrink(part.len(), Instant::now()) => {}
                    // A broker that is silent may only be busy. One entry is lost for good if it does not come although the broker answers.
                    Err(BrokerError::Timeout) if !std::mem::replace(&mut has_answered, true) => {
                        self.broker.query(&redis::cmd("PING")).await?;
                    }
                    Err(BrokerError::TooLarge | BrokerError::Timeout) => {
                        has_answered = false;
                        self.skip(part);
                        rest = after;
                        has_found = true;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if !has_found {
                let waiting = self.xread(&cursors, 1, Some(MAX_BLOCK));
                match self.broker.query_blocking(MAX_BLOCK, &waiting).await.and_then(entries_of) {
                    Ok(streams) => self.take(streams, &mut unstarted).await?,
                    // Several streams at once got great entries: the next round reads them in pieces.
                    Err(BrokerError::TooLarge | BrokerError::Timeout) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    fn xread(&self, cursors: &[(String, String)], entries: usize, block: Option<Duration>) -> Cmd {
        let mut xread = redis::cmd("XREAD");
        xread.arg("COUNT").arg(entries);
        if let Some(block) = block {
            xread.arg("BLOCK").arg(block.as_millis() as u64);
        }
        xread.arg("STREAMS");
        for (queue, _) in cursors {
            xread.arg(self.stream_key(queue));
        }
        for (_, cursor) in cursors {
            xread.arg(cursor);
        }
        xread
    }

    /// Reports entries that were read, and moves the cursors behind them.
    async fn take(&self, streams: Vec<StreamKey>, unstarted: &mut UnstartedJobs) -> Result<(), WatchEnd> {
        let mut entries: Vec<QueueEntry> = Vec::new();
        for stream in streams {
            let Some(queue) = mapping::queue_of_stream(self.prefix, &stream.key) else { continue };
            if let Some(last) = stream.ids.last() {
                self.state().read.insert(queue.to_owned(), last.id.clone());
            }
            entries.extend(stream.ids.into_iter().map(|entry| (queue.to_owned(), entry)));
        }
        // Each entry has at most one observation.
        for chunk in entries.chunks(MAX_OBSERVATIONS) {
            self.report(chunk, unstarted).await?;
        }
        Ok(())
    }

    /// Passes over what cannot be read even alone: first a millisecond of the stream, then ten times as much, and so on, until it can be read again.
    fn skip(&self, part: &[(String, String)]) {
        let mut state = self.state();
        for (queue, cursor) in part {
            let from_ms = parse_stream_id(cursor).0;
            let skipped = state.skipped.entry(queue.clone()).or_insert(Skipped { from_ms, step_ms: 1 });
            let next = format!("{}-0", skipped.from_ms.saturating_add(skipped.step_ms));
            skipped.step_ms = skipped.step_ms.saturating_mul(10).min(BACKLOG_MS);
            state.read.insert(queue.clone(), next.clone());
            state.stored.insert(queue.clone(), next);
        }
    }

    /// Reports a gap for what was passed over in streams that can be read again.
    async fn report_skipped(&self, part: &[(String, String)]) -> Result<(), WatchEnd> {
        let ended: Vec<_> = {
            let mut state = self.state();
            part.iter().filter_map(|(queue, cursor)| Some((state.skipped.remove(queue)?, cursor))).collect()
        };
        for (skipped, cursor) in ended {
            let to_ms = parse_stream_id(cursor).0;
            self.reporter.report_gap(skipped.from_ms, to_ms, GapReason::Overflow).await?;
        }
        Ok(())
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

    /// Hashes of the jobs of these entries, by external id, in pieces that fit. One that does not fit even alone is left out: its job has no details.
    async fn read_job_hashes(&self, entries: &[QueueEntry]) -> Result<HashMap<String, JobHash>, BrokerError> {
        let job_of = |(queue, entry): &'_ QueueEntry| Some((queue.clone(), mapping::field(entry, "jobId")?.to_owned()));
        let jobs: HashSet<(String, String)> = entries.iter().filter_map(job_of).collect();
        let jobs: Vec<_> = jobs.into_iter().collect();
        let mut hashes = HashMap::with_capacity(jobs.len());
        let (mut rest, mut at_once) = (&jobs[..], MAX_HASHES);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(at_once.min(rest.len()));
            let mut pipeline = Pipeline::new();
            for (queue, job) in part {
                pipeline.cmd("HMGET").arg(format!("{}:{queue}:{job}", self.prefix)).arg(&FIELDS);
            }
            match self.broker.query_all(&mut pipeline).await {
                Ok(replies) => {
                    for ((queue, job), reply) in part.iter().zip(replies) {
                        // What is not there or of another type is no job's.
                        let values: Vec<Option<Vec<u8>>> = redis::from_redis_value(reply).unwrap_or_default();
                        let hash = values.try_into().map(JobHash::decode).unwrap_or_default();
                        hashes.insert(mapping::external_id(queue, job), hash);
                    }
                    rest = after;
                }
                Err(BrokerError::TooLarge | BrokerError::Timeout) if at_once > 1 => at_once = at_once.div_ceil(SHRINK),
                Err(BrokerError::TooLarge | BrokerError::Timeout) => rest = after,
                Err(error) => return Err(error),
            }
        }
        Ok(hashes)
    }

    /// What the broker says of each stream, which has its first and its last entry with it; nil where these are too large.
    async fn stream_infos(&self, cursors: &[(String, String)]) -> Result<Vec<Value>, BrokerError> {
        let (mut infos, mut at_once) = (Vec::with_capacity(cursors.len()), MAX_INFOS);
        while infos.len() < cursors.len() {
            let rest = &cursors[infos.len()..];
            let mut pipeline = Pipeline::new();
            for (queue, _) in &rest[..at_once.min(rest.len())] {
                pipeline.cmd("XINFO").arg("STREAM").arg(self.stream_key(queue));
            }
            match self.broker.query_all(&mut pipeline).await {
                Ok(replies) => infos.extend(replies),
                Err(BrokerError::TooLarge | BrokerError::Timeout) if at_once > 1 => at_once = 1,
                Err(BrokerError::TooLarge | BrokerError::Timeout) => infos.push(Value::Nil),
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    /// Reports a gap for entries that the broker trimmed off its streams before they were read.
    ///
    /// Needs Redis 7 at the broker, whose streams have a `max-deleted-entry-id`; with older ones such gaps go unnoticed.
    pub(super) async fn report_trimmed(&self) -> Result<(), WatchEnd> {
        let cursors: Vec<_> = self.state().read.clone().into_iter().collect();
        if cursors.is_empty() {
            return Ok(());
        }
        let replies = self.stream_infos(&cursors).await?;
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
