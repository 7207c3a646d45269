//! What was seen of queues and their jobs, on its way into the store.

use uuid::Uuid;

use crate::{
    domain::{
        names::TenantId,
        queue::{Framework, JobObservation, Observation, bounded, job_id, worker_id},
        rate::cost,
    },
    store::{
        Arg, Caller, Limited, Reply, Stamped, Store, StoreError,
        codec::{Reader, Writer},
        scripts,
    },
};

/// The most sightings of one call of the script: more would keep other callers of the partition waiting for long.
pub const MAX_OBSERVATIONS: usize = 500;
/// How many silent workers, and old jobs, workers and queues, are taken on by one look after them.
const TENDED: i64 = 200;

/// A connection that this replica watches.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which.
    pub connection: Uuid,
    /// What runs behind it.
    pub framework: Framework,
    /// The number that its watcher got when it took it over: the field `fence:<connection>` of the tenant's `watches`.
    pub fence: i64,
}

/// What became of sightings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// They are part of the state, and so are the cursors.
    Done(Intake),
    /// Another watcher has taken the connection over: nothing changed, and this one must stop.
    Outdated,
    /// The connection, or its tenant, is gone: nothing changed.
    Gone,
}

/// How many sightings were new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Intake {
    /// New ones.
    pub accepted: usize,
    /// Those that were known: the same state of a job within the same millisecond, or of a worker or queue of which something later is
    /// known.
    pub duplicates: usize,
}

impl Store {
    /// Takes what a watcher saw: state and cursors move together, and what changed is told.
    ///
    /// Sightings may be in any order. More than [`MAX_OBSERVATIONS`] are taken in several steps, the cursors with the last one: who is cut off
    /// in between sees some of them again, which changes nothing.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: some may have been taken; repeating is safe.
    pub async fn observe(
        &self,
        watched: &Watched,
        sightings: &[Observation],
        cursors: &[(String, String)],
    ) -> Result<Observed, StoreError> {
        let Some(keeper) = self.keeper(&watched.tenant).await? else { return Ok(Observed::Gone) };
        let source = Source {
            connection: watched.connection,
            framework: watched.framework,
            fence: Some(watched.fence),
            beyond: 0,
        };
        let ordered = in_order(sightings);
        let mut steps: Vec<&[&Observation]> = ordered.chunks(MAX_OBSERVATIONS).collect();
        if steps.is_empty() {
            steps.push(&[]);
        }
        let last = steps.len() - 1;
        let mut intake = Intake::default();
        for (at, step) in steps.into_iter().enumerate() {
            let cursors = if at == last { cursors } else { &[] };
            let reply = match self.send_sightings(0, &keeper, &source, None, step, cursors).await {
                Err(StoreError::Unauthorized) => return Ok(Observed::Gone),
                reply => reply?,
            };
            match reply.verdict() {
                "OK" => intake.add(read_intake(&reply)?),
                "OUTDATED" => return Ok(Observed::Outdated),
                "GONE" => return Ok(Observed::Gone),
                _ => return Err(reply.unexpected()),
            }
        }
        Ok(Observed::Done(intake))
    }

    /// Takes what a client pushed with an ingest key, all or nothing; counts it against the tier's day.
    ///
    /// More than [`MAX_OBSERVATIONS`] are taken in several steps, the first of which sees that the day holds all of them.
    ///
    /// # Errors
    /// [`StoreError::Unauthorized`] when the key or its connection is gone. [`StoreError::OutcomeUnknown`]: it may have been taken;
    /// repeating is safe.
    pub async fn ingest(
        &self,
        caller: &Caller,
        framework: Framework,
        sightings: &[Observation],
    ) -> Result<Stamped<Limited<Intake>>, StoreError> {
        let caller = &self.fresh(caller).await?;
        let connection = caller.connection().ok_or(StoreError::Unauthorized)?;
        let ordered = in_order(sightings);
        let (mut intake, mut cost, mut left) = (Intake::default(), cost(sightings.len()), sightings.len());
        let mut told = None;
        for step in ordered.chunks(MAX_OBSERVATIONS) {
            left -= step.len();
            // Once the first step is taken the others are: they were counted with it.
            let source = Source { connection, framework, fence: None, beyond: left as i64 };
            let limit = if told.is_none() { caller.limits().queue_events_per_day } else { None };
            let reply = self.send_sightings(std::mem::take(&mut cost), caller, &source, limit, step, &[]).await?;
            if reply.verdict() == "GONE" {
                return Err(StoreError::Unauthorized);
            }
            let taken = reply.limited(read_intake)?;
            match &taken.answer {
                Limited::Done(more) => intake.add(*more),
                Limited::Limit(_) => return Ok(taken),
            }
            told = Some(taken.map(|_| ()));
        }
        let told = told
            .ok_or(StoreError::UnexpectedReply { script: scripts::OBSERVE.name, got: "nothing was pushed".into() })?;
        Ok(told.map(|()| Limited::Done(intake)))
    }

    async fn send_sightings(
        &self,
        cost: u32,
        caller: &Caller,
        source: &Source,
        day: Option<u64>,
        sightings: &[&Observation],
        cursors: &[(String, String)],
    ) -> Result<Reply, StoreError> {
        let connection = source.connection.to_string();
        let fence = source.fence.map(|fence| fence.to_string()).unwrap_or_default();
        let cursors = if cursors.is_empty() { Vec::new() } else { pack_cursors(cursors) };
        let packed: Vec<_> = sightings.iter().map(|sighting| pack(source.connection, sighting)).collect();
        let mut args = vec![
            Arg::Text(&connection),
            Arg::Bytes(source.connection.as_bytes()),
            Arg::Number(source.framework.code()),
            Arg::Text(&fence),
            Arg::Number(caller.limits().jobs as i64),
            Arg::Number(day.unwrap_or(0) as i64),
            Arg::Number(JobObservation::EXTENSIONS_BYTES as i64),
            Arg::Number(source.beyond),
            Arg::Bytes(&cursors),
        ];
        args.extend(packed.iter().map(|packed| Arg::Bytes(packed)));
        self.ask_at_cost(cost, &scripts::OBSERVE, caller, &args).await
    }

    /// Up to where the streams of a connection's broker are part of the state: names and cursors, as they were given to
    /// [`Store::observe`].
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn cursors(&self, tenant: &TenantId, connection: Uuid) -> Result<Vec<(String, String)>, StoreError> {
        let place = self.callers.place(tenant);
        let found = self.link.send(redis::cmd("HGET").arg(place.key("cursors")).arg(connection.to_string())).await?;
        let unexpected = || StoreError::UnexpectedReply { script: "cursors", got: "another shape".into() };
        let Some(packed) = redis::from_redis_value::<Option<Vec<u8>>>(found).map_err(|_| unexpected())? else {
            return Ok(Vec::new());
        };
        let mut reader = Reader::new(&packed);
        let texts = reader.texts().ok_or_else(unexpected)?;
        Ok(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    }

    /// Looks after a tenant's queues: tells workers that have fallen silent, lets go of what was kept for long enough. Safe on every
    /// replica at once: each is told once.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: some may be done; calling again is harmless.
    pub async fn tend_queues(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let Some(keeper) = self.keeper(tenant).await? else { return Ok(()) };
        match self
            .ask(&scripts::QUEUE_UPKEEP, &keeper, &[Arg::Number(keeper.limits().jobs as i64), Arg::Number(TENDED)])
            .await
        {
            Ok(_) | Err(StoreError::Unauthorized) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Store {
    /// Lets go of everything that was seen through a connection that is gone, piece by piece. What is left when this is interrupted goes
    /// when it is old.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: some may be gone; repeating is safe.
    pub async fn forget_seen(&self, tenant: &TenantId, connection: Uuid) -> Result<(), StoreError> {
        let Some(keeper) = self.keeper(tenant).await? else { return Ok(()) };
        let (id, mut cursor) = (connection.to_string(), "0".to_owned());
        loop {
            let args = [
                Arg::Text(&id),
                Arg::Bytes(connection.as_bytes()),
                Arg::Text(&cursor),
                Arg::Number(MAX_OBSERVATIONS as i64),
            ];
            let reply = self.ask(&scripts::CONNECTION_FORGET, &keeper, &args).await?;
            if reply.verdict() != "OK" {
                return Ok(());
            }
            cursor = reply.whole(|reader| reader.text().map(str::to_owned))?;
            if cursor == "0" {
                return Ok(());
            }
        }
    }
}

impl Intake {
    fn add(&mut self, more: Self) {
        self.accepted += more.accepted;
        self.duplicates += more.duplicates;
    }
}

/// Where sightings come from.
struct Source {
    connection: Uuid,
    framework: Framework,
    fence: Option<i64>,
    /// How many more sightings of the same push follow.
    beyond: i64,
}

fn read_intake(reply: &Reply) -> Result<Intake, StoreError> {
    reply.whole(|reader| Some(Intake { accepted: reader.int()? as usize, duplicates: reader.int()? as usize }))
}

/// In the order in which it happened, so that what is told comes in that order as far as it can.
fn in_order(sightings: &[Observation]) -> Vec<&Observation> {
    let mut ordered: Vec<_> = sightings.iter().collect();
    ordered.sort_by_key(|sighting| match sighting {
        Observation::Job(job) => (job.at_us, job.clock),
        Observation::Worker(worker) => (worker.at_us, 0),
        Observation::Queue(queue) => (queue.at_us, 0),
        Observation::Gap(silence) => (silence.from_ms * 1000, 0),
    });
    ordered
}

fn pack_cursors(cursors: &[(String, String)]) -> Vec<u8> {
    let head = Writer::default().array(cursors.len() * 2);
    cursors.iter().fold(head, |writer, (name, cursor)| writer.text(name).text(cursor)).done()
}

/// As `lua/README.md` says.
fn pack(connection: Uuid, sighting: &Observation) -> Vec<u8> {
    let writer = Writer::default();
    match sighting {
        Observation::Job(job) => pack_job(writer.array(19), connection, job),
        Observation::Worker(worker) => {
            let external = bounded(&worker.external_id, JobObservation::ID_BYTES);
            let writer = writer
                .array(12)
                .text("W")
                .binary(worker_id(connection, external).as_bytes())
                .text(external)
                .int(worker.at_us)
                .int(worker.state.code())
                .text(bounded(&worker.hostname, JobObservation::ID_BYTES))
                .maybe_int(worker.pid)
                .maybe_int(worker.active_jobs.map(Into::into))
                .maybe_int(worker.processed)
                .maybe_int(worker.concurrency.map(Into::into));
            let writer = match &worker.queues {
                Some(queues) => {
                    let queues: Vec<_> = queues.iter().take(WORKER_QUEUES).collect();
                    queues.iter().fold(writer.array(queues.len()), |writer, name| {
                        writer.text(bounded(name, JobObservation::QUEUE_BYTES))
                    })
                }
                None => writer.boolean(false),
            };
            if worker.metadata.is_empty() { writer.boolean(false) } else { pack_extensions(writer, &worker.metadata) }
                .done()
        }
        Observation::Queue(queue) => writer
            .array(7)
            .text("Q")
            .boolean(false)
            .text(bounded(&queue.name, JobObservation::QUEUE_BYTES))
            .int(queue.at_us)
            .maybe_int(queue.depth.map(|depth| depth as i64))
            .maybe_int(queue.consumers.map(|(count, _)| count.into()))
            .maybe_int(queue.consumers.map(|(_, from)| from.code()))
            .done(),
        Observation::Gap(silence) => {
            writer.array(4).text("G").int(silence.from_ms).int(silence.to_ms).text(bounded(&silence.reason, 64)).done()
        }
    }
}

/// The most queues that a worker is remembered to take from.
const WORKER_QUEUES: usize = 100;

fn pack_job(writer: Writer, connection: Uuid, job: &JobObservation) -> Vec<u8> {
    let text = |text: &Option<String>, most| text.as_deref().map(|text| bounded(text, most).to_owned());
    let external = bounded(&job.external_id, JobObservation::ID_BYTES);
    let writer = writer
        .text("J")
        .binary(job_id(connection, external).as_bytes())
        .text(external)
        .int(job.at_us)
        .int(job.clock)
        .maybe_int(job.state.map(|state| state.code()))
        .boolean(job.again)
        .int(job.attempt.unwrap_or(0).into())
        .maybe_text(text(&job.name, JobObservation::NAME_BYTES).as_deref())
        .maybe_text(text(&job.queue, JobObservation::QUEUE_BYTES).as_deref())
        .maybe_text(text(&job.worker, JobObservation::ID_BYTES).as_deref())
        .maybe_text(text(&job.error, JobObservation::ERROR_BYTES).as_deref())
        .maybe_int(job.created_ms)
        .maybe_int(job.started_ms)
        .maybe_int(job.completed_ms)
        .maybe_int(job.scheduled_ms)
        .maybe_int(job.runtime_ms)
        .boolean(false);
    let texts = [&job.args, &job.kwargs, &job.result, &job.stacktrace, &job.parent_id, &job.root_id];
    let plain = texts.iter().all(|text| text.is_none())
        && job.max_retries.is_none()
        && job.progress.is_none()
        && job.extensions.is_empty();
    if plain {
        return writer.boolean(false).done();
    }
    let writer = writer.array(9).maybe_int(job.max_retries.map(Into::into));
    let writer = match job.progress {
        Some(progress) => writer.float(progress),
        None => writer.boolean(false),
    };
    let writer = writer
        .maybe_text(text(&job.args, JobObservation::TEXT_BYTES).as_deref())
        .maybe_text(text(&job.kwargs, JobObservation::TEXT_BYTES).as_deref())
        .maybe_text(text(&job.result, JobObservation::TEXT_BYTES).as_deref())
        .maybe_text(text(&job.stacktrace, JobObservation::STACKTRACE_BYTES).as_deref())
        .maybe_text(text(&job.parent_id, JobObservation::ID_BYTES).as_deref())
        .maybe_text(text(&job.root_id, JobObservation::ID_BYTES).as_deref());
    pack_extensions(writer, &job.extensions).done()
}

/// Names and values in turn, as many as fit.
fn pack_extensions(writer: Writer, extensions: &[(String, String)]) -> Writer {
    let mut bytes = 0;
    let fit: Vec<_> = extensions
        .iter()
        .filter(|(name, value)| {
            let fits = bytes + name.len() + value.len() <= JobObservation::EXTENSIONS_BYTES;
            bytes += if fits { name.len() + value.len() } else { 0 };
            fits
        })
        .collect();
    fit.iter().fold(writer.array(fit.len() * 2), |writer, (name, value)| writer.text(name).text(value))
}
