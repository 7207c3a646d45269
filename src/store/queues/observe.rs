//! Observations on their way into the store: the function `observe` folds them into the state of jobs, workers and queues, and publishes what changed.

use uuid::Uuid;

use crate::{
    domain::{
        names::TenantId,
        queue::{Framework, JobObservation, Observation},
        rate::cost,
    },
    store::{
        Arg, Caller, KeyKind, Limited, Reply, Stamped, Store, StoreError,
        call::Call,
        codec::Reader,
        functions,
        queues::{
            encode::{encode, encode_cursors},
            watches::WatchLease,
        },
    },
};

/// Maximum number of observations per call of the function. More would block the partition's other callers for too long.
pub const MAX_OBSERVATIONS: usize = 300;
/// Maximum number of workers, jobs and queues of each kind that one call of [`Store::maintain_queues`] handles.
const MAINTENANCE_BATCH: i64 = 200;
/// Most bytes of observations per call: Redis goes through all of them before the function counts what it does.
const MAX_CALL_BYTES: usize = 512 << 10;

/// Outcome of [`Store::observe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObserveOutcome {
    /// The observations are part of the state, and so are the cursors.
    Stored(ObservationCounts),
    /// Another watcher holds the lease: nothing changed, and this one must stop.
    LeaseLost,
    /// The connection or its tenant is deleted: nothing changed.
    Gone,
}

/// Numbers of new and of known observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObservationCounts {
    /// New observations.
    pub accepted: usize,
    /// Known ones: the same state of a job within the same millisecond, or a worker or queue of which a later observation is stored.
    pub duplicates: usize,
}

impl ObservationCounts {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
    }
}

/// Where observations come from.
struct Source {
    connection: Uuid,
    framework: Framework,
    /// Fencing token of a watcher; `None`: a client pushed them.
    fence: Option<i64>,
    /// Limit of a pushing client's observations per day, where this call counts them.
    daily_limit: Option<u64>,
    /// Number of observations that further calls bring: the first call of a push counts all of it against the limit.
    remaining: usize,
    /// An earlier call of the same push stored some.
    is_begun: bool,
}

impl Store {
    /// Stores a watcher's observations, in any order, together with the cursors of the streams that they come from.
    ///
    /// More than [`MAX_OBSERVATIONS`] take several calls of the function; the last one stores the cursors. If that is interrupted, the next
    /// watcher observes some of them again, as duplicates.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: some may be stored; repeating is safe.
    pub async fn observe(
        &self,
        lease: &WatchLease,
        observations: &[Observation],
        cursors: &[(String, String)],
    ) -> Result<ObserveOutcome, StoreError> {
        let Some(system) = self.system_caller(&lease.tenant).await? else { return Ok(ObserveOutcome::Gone) };
        let source = Source {
            connection: lease.connection,
            framework: lease.framework,
            fence: Some(lease.fence),
            daily_limit: None,
            remaining: 0,
            is_begun: false,
        };
        let encoded = encode_by_time(lease.connection, observations);
        let (mut left, mut size) = (encoded.as_slice(), MAX_OBSERVATIONS);
        let mut counts = ObservationCounts::default();
        loop {
            let (batch, rest) = left.split_at(call_len(left, size));
            let cursors = if rest.is_empty() { cursors } else { &[] };
            let reply = match self.send_observations(0, &system, &source, batch, cursors).await {
                Err(StoreError::Unauthorized) => return Ok(ObserveOutcome::Gone),
                Err(StoreError::TooMuchWork) if batch.len() > 1 => {
                    size = batch.len() / 2;
                    continue;
                }
                reply => reply?,
            };
            match reply.status() {
                "OK" => counts.add(decode_counts(&reply)?),
                "OUTDATED" => return Ok(ObserveOutcome::LeaseLost),
                "GONE" => return Ok(ObserveOutcome::Gone),
                _ => return Err(reply.unexpected()),
            }
            if rest.is_empty() {
                break;
            }
            left = rest;
        }
        Ok(ObserveOutcome::Stored(counts))
    }

    /// Stores the observations that a client pushed with an ingest key, all or none, and counts them against the tier's day.
    ///
    /// More than [`MAX_OBSERVATIONS`] take several calls of the function; the first one checks that the day has room for all.
    ///
    /// # Errors
    /// [`StoreError::Unauthorized`]: the key or its connection is gone. [`StoreError::OutcomeUnknown`], [`StoreError::Interrupted`]: some may be
    /// stored; repeating is safe.
    pub async fn ingest(
        &self,
        caller: &Caller,
        framework: Framework,
        observations: &[Observation],
    ) -> Result<Stamped<Limited<ObservationCounts>>, StoreError> {
        let caller = &self.fresh(caller).await?;
        let connection = caller.connection().ok_or(StoreError::Unauthorized)?;
        self.check_stored(caller).await?;
        let encoded = encode_by_time(connection, observations);
        let (mut left, mut size) = (encoded.as_slice(), MAX_OBSERVATIONS);
        let bytes = encoded.iter().map(Vec::len).sum();
        let (mut counts, mut cost) = (ObservationCounts::default(), cost(observations.len(), bytes));
        let mut daily_limit = caller.limits().queue_events_per_day;
        let mut last = None;
        while !left.is_empty() {
            let (batch, rest) = left.split_at(call_len(left, size));
            let (remaining, is_begun) = (rest.len(), last.is_some());
            let source = Source { connection, framework, fence: None, daily_limit, remaining, is_begun };
            let reply = match self.send_observations(cost, caller, &source, batch, &[]).await {
                Err(StoreError::TooMuchWork) if batch.len() > 1 => {
                    size = batch.len() / 2;
                    cost = 0; // it was counted
                    continue;
                }
                reply => reply?,
            };
            if reply.status() == "GONE" {
                return Err(StoreError::Unauthorized);
            }
            let stamped = reply.limited(decode_counts)?;
            match &stamped.answer {
                Limited::Done(stored) => counts.add(*stored),
                Limited::Limit(_) => return Ok(stamped),
            }
            last = Some(stamped);
            (left, cost, daily_limit) = (rest, 0, None);
        }
        let last = last.ok_or(StoreError::UnexpectedReply {
            function: functions::OBSERVE.name,
            got: "nothing, as nothing was pushed".into(),
        })?;
        Ok(last.map(|_| Limited::Done(counts)))
    }

    async fn send_observations(
        &self,
        cost: u32,
        caller: &Caller,
        source: &Source,
        encoded: &[Vec<u8>],
        cursors: &[(String, String)],
    ) -> Result<Reply, StoreError> {
        let connection = source.connection.to_string();
        let fence = source.fence.map(|fence| fence.to_string()).unwrap_or_default();
        let cursors = if cursors.is_empty() { Vec::new() } else { encode_cursors(cursors) };
        let mut args = vec![
            Arg::Text(&connection),
            Arg::Bytes(source.connection.as_bytes()),
            Arg::Number(source.framework.code()),
            Arg::Text(&fence),
            Arg::Number(caller.limits().jobs as i64),
            Arg::Number(source.daily_limit.unwrap_or(0) as i64),
            Arg::Number(JobObservation::EXTENSIONS_BYTES as i64),
            Arg::Number(source.remaining as i64),
            Arg::Bytes(&cursors),
        ];
        args.extend(encoded.iter().map(|encoded| Arg::Bytes(encoded)));
        let call = Call::with_args(&functions::OBSERVE, &args).at_cost(cost);
        self.call(caller, call.weighing(encoded.len()).in_mid_change(source.is_begun)).await
    }

    /// Stored cursors of a connection's streams, as they were given to [`Store::observe`]: name, and id of the last entry that is part of the state.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn cursors(&self, tenant: &TenantId, connection: Uuid) -> Result<Vec<(String, String)>, StoreError> {
        let tenant_handle = self.callers.tenant_handle(tenant);
        let key = tenant_handle.key(KeyKind::Cursors);
        let reply = self.redis.send(redis::cmd("HGET").arg(key).arg(connection.to_string())).await?;
        let unexpected = || StoreError::UnexpectedReply { function: "cursors", got: "another shape".into() };
        let Some(packed) = redis::from_redis_value::<Option<Vec<u8>>>(reply).map_err(|_| unexpected())? else {
            return Ok(Vec::new());
        };
        let mut reader = Reader::new(&packed);
        let texts = reader.texts().ok_or_else(unexpected)?;
        Ok(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    }

    /// Maintains a tenant's queues: sets workers without a heartbeat offline, and evicts old jobs, workers and queues.
    ///
    /// Safe on every replica at once: each change is published once.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: some may be done; repeating is harmless.
    pub async fn maintain_queues(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let Some(system) = self.system_caller(tenant).await? else { return Ok(()) };
        let args = [Arg::Number(system.limits().jobs as i64), Arg::Number(MAINTENANCE_BATCH)];
        match self.ask(&functions::QUEUE_UPKEEP, &system, &args).await {
            Ok(_) | Err(StoreError::Unauthorized) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes everything that was observed through a deleted connection, in batches. If that is interrupted, the rest is evicted by its age.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: some may be deleted; repeating is safe.
    pub async fn delete_observations(&self, tenant: &TenantId, connection: Uuid) -> Result<(), StoreError> {
        let Some(system) = self.system_caller(tenant).await? else { return Ok(()) };
        let (id, mut cursor) = (connection.to_string(), "0".to_owned());
        loop {
            let args = [
                Arg::Text(&id),
                Arg::Bytes(connection.as_bytes()),
                Arg::Text(&cursor),
                Arg::Number(MAX_OBSERVATIONS as i64),
            ];
            let reply = self.ask(&functions::CONNECTION_FORGET, &system, &args).await?;
            if reply.status() != "OK" {
                return Ok(());
            }
            cursor = reply.whole(|reader| reader.text().map(str::to_owned))?;
            if cursor == "0" {
                return Ok(());
            }
        }
    }
}

fn decode_counts(reply: &Reply) -> Result<ObservationCounts, StoreError> {
    reply.whole(|reader| {
        Some(ObservationCounts { accepted: reader.int()? as usize, duplicates: reader.int()? as usize })
    })
}

/// How many of the observations that are left go in one call: at most `size`, and no more bytes than it may have, but one at least.
fn call_len(left: &[Vec<u8>], size: usize) -> usize {
    let mut bytes = 0;
    let fits = |observation: &&Vec<u8>| {
        bytes += observation.len();
        bytes <= MAX_CALL_BYTES
    };
    left.iter().take(size).take_while(fits).count().max(1).min(left.len())
}

/// Encodes observations in the order of their times, so that changes are published in that order as far as possible.
fn encode_by_time(connection: Uuid, observations: &[Observation]) -> Vec<Vec<u8>> {
    let mut sorted: Vec<_> = observations.iter().collect();
    sorted.sort_by_key(|observation| match observation {
        Observation::Job(job) => (job.at_us, job.clock),
        Observation::Worker(worker) => (worker.at_us, 0),
        Observation::Queue(queue) => (queue.at_us, 0),
        Observation::Gap(gap) => (gap.from_ms * 1000, 0),
    });
    sorted.into_iter().map(|observation| encode(connection, observation)).collect()
}
