//! What is known of jobs, workers and queues, on its way out of the store.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    domain::queue::{
        Best, Job, JobDetail, JobFilter, JobSort, Queue, SortKey, SortPosition, Tally, Worker, WorkerState, compare,
    },
    store::{
        Arg, Caller, Stamped, Store, StoreError, TenantHandle,
        queues::decode::{read_counts, read_detail, read_job, read_queue, read_worker},
        scripts::{self, Script},
    },
};

/// How many jobs one call of the script reads.
const PIECE: usize = 1_000;
/// How many fields of counts one call reads.
const FIELDS: usize = 2_000;
const MINUTE_MS: i64 = 60_000;

/// A page of jobs.
#[derive(Debug)]
pub struct JobPage {
    /// In the order that was asked for, with where they stand.
    pub jobs: Vec<(SortPosition, Job)>,
    /// How many there are on all pages.
    pub total: i64,
    /// Whether there are more after these.
    pub more: bool,
}

/// How far back counts of what ended are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The word as the API spells it.
    pub name: &'static str,
    ring: char,
    span_ms: i64,
    slots: i64,
    spans: i64,
    together: usize,
}

impl Range {
    /// Every one there is.
    pub const ALL: [Self; 4] = [
        Self { name: "1h", ring: 'm', span_ms: 5 * MINUTE_MS, slots: 13, spans: 12, together: 1 },
        Self { name: "6h", ring: 'h', span_ms: 30 * MINUTE_MS, slots: 13, spans: 12, together: 1 },
        Self { name: "24h", ring: 'd', span_ms: 60 * MINUTE_MS, slots: 169, spans: 24, together: 1 },
        Self { name: "7d", ring: 'd', span_ms: 60 * MINUTE_MS, slots: 169, spans: 168, together: 6 },
    ];

    /// How long it is.
    #[must_use]
    pub fn length_ms(self) -> i64 {
        self.span_ms * self.spans
    }
}

impl Store {
    /// The jobs that pass, sorted, from the one after `after` on.
    ///
    /// The last made first and no filter: one call that reads the page alone. Anything else reads all jobs, in pieces.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn jobs(
        &self,
        caller: &Caller,
        filter: &JobFilter,
        (sort, descending): (JobSort, bool),
        after: Option<&SortPosition>,
        limit: usize,
    ) -> Result<Stamped<JobPage>, StoreError> {
        if filter.is_open() && sort == JobSort::CreatedAt && descending {
            let place = match after {
                Some((SortKey::Number(made), id)) => Some((*made, *id)),
                _ => None,
            };
            let told = self.job_piece(1, caller, place, limit + 1).await?;
            return Ok(told.map(|piece| {
                let more = piece.jobs.len() > limit;
                let jobs = piece.jobs.into_iter().take(limit).map(|job| ((sort.key(&job), job.id), job)).collect();
                JobPage { jobs, total: piece.total, more }
            }));
        }
        let (mut best, mut total, mut place, mut cost) = (Best::of(limit + 1, descending), 0, None, 1);
        loop {
            let told = self.job_piece(cost, caller, place, PIECE).await?;
            cost = 0; // it is still the one call, and that was paid for
            let (now_us, position) = (told.now_us, told.position);
            place = told.answer.last;
            for job in told.answer.jobs.into_iter().filter(|job| filter.passes(job)) {
                total += 1;
                let standing = (sort.key(&job), job.id);
                if after.is_none_or(|after| compare(descending, after, &standing).is_lt()) {
                    best.offer(standing, job);
                }
            }
            if place.is_none() {
                let mut jobs = best.take();
                let more = jobs.len() > limit;
                jobs.truncate(limit);
                return Ok(Stamped { now_us, position, answer: JobPage { jobs, total, more } });
            }
        }
    }

    async fn job_piece(
        &self,
        cost: u32,
        caller: &Caller,
        after: Option<(i64, Uuid)>,
        count: usize,
    ) -> Result<Stamped<Piece>, StoreError> {
        let made = after.map(|(made, _)| made.to_string()).unwrap_or_default();
        let id = after.map(|(_, id)| id.as_bytes().to_vec()).unwrap_or_default();
        let args = [Arg::Text(&made), Arg::Bytes(&id), Arg::Number(count as i64)];
        let reply = self.ask_at_cost(cost, &scripts::JOB_LIST, caller, &args).await?;
        let piece = reply.whole(|reader| {
            let total = reader.int()?;
            let (mut jobs, mut last, mut seen) = (Vec::new(), None, 0);
            while reader.left() > 0 {
                let id = Uuid::from_slice(reader.bytes()?).ok()?;
                last = Some((reader.int()?, id));
                seen += 1;
                if !reader.absent() {
                    jobs.push(read_job(id, reader.bytes()?)?);
                }
            }
            Some(Piece { jobs, total, last: last.filter(|_| seen == count) })
        })?;
        Ok(reply.told(piece))
    }

    /// One job with its details; `None`: there is none of that id.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn job(&self, caller: &Caller, id: Uuid) -> Result<Stamped<Option<(Job, JobDetail)>>, StoreError> {
        let reply = self.ask(&scripts::JOB_READ, caller, &[Arg::Bytes(id.as_bytes())]).await?;
        let job = reply.whole(|reader| {
            let job = if reader.absent() { None } else { Some(read_job(id, reader.bytes()?)?) };
            let detail = if reader.absent() { JobDetail::default() } else { read_detail(reader.bytes()?)? };
            Some(job.map(|job| (job, detail)))
        })?;
        Ok(reply.told(job))
    }

    /// The last made jobs of that name, at most `most`, looked for among the last thousand.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn recent_jobs(&self, caller: &Caller, name: &str, most: usize) -> Result<Vec<Job>, StoreError> {
        let piece = self.job_piece(0, caller, None, PIECE).await?.answer;
        Ok(piece.jobs.into_iter().filter(|job| job.name == name).take(most).collect())
    }

    /// Every worker that is known, without counts.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn workers(&self, caller: &Caller) -> Result<Stamped<Vec<Worker>>, StoreError> {
        self.every(&scripts::WORKER_LIST, caller, read_worker, |worker| worker.id).await
    }

    /// Every queue that is known, without counts.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn queues(&self, caller: &Caller) -> Result<Stamped<Vec<Queue>>, StoreError> {
        self.every(&scripts::QUEUE_LIST, caller, read_queue, |queue| queue.id).await
    }

    async fn every<T>(
        &self,
        script: &'static Script,
        caller: &Caller,
        read: fn(&[u8]) -> Option<T>,
        id: fn(&T) -> Uuid,
    ) -> Result<Stamped<Vec<T>>, StoreError> {
        let (mut found, mut cursor, mut cost) = (HashMap::new(), "0".to_owned(), 1);
        loop {
            let reply =
                self.ask_at_cost(cost, script, caller, &[Arg::Text(&cursor), Arg::Number(PIECE as i64)]).await?;
            cost = 0;
            cursor = reply.whole(|reader| {
                let next = reader.text()?.to_owned();
                while reader.left() > 0 {
                    let one = read(reader.bytes()?)?;
                    found.insert(id(&one), one);
                }
                Some(next)
            })?;
            if cursor == "0" {
                return Ok(reply.told(found.into_values().collect()));
            }
        }
    }

    /// Puts into queues what ended in them within `range`.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn count_queues(
        &self,
        caller: &Caller,
        queues: &mut [Queue],
        range: Range,
        now_us: i64,
    ) -> Result<(), StoreError> {
        let who: Vec<_> = queues.iter().map(|queue| counted(queue.connection, b'q', &queue.name)).collect();
        let tallies = self.tallies(caller, &who, range, now_us).await?;
        queues.iter_mut().zip(tallies).for_each(|(queue, tallies)| queue.tallies = tallies);
        Ok(())
    }

    /// Puts into workers how many jobs ended on them within the last hour.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn count_workers(&self, caller: &Caller, workers: &mut [Worker], now_us: i64) -> Result<(), StoreError> {
        let who: Vec<_> = workers.iter().map(|worker| counted(worker.connection, b'w', &worker.external_id)).collect();
        let tallies = self.tallies(caller, &who, Range::ALL[0], now_us).await?;
        for (worker, tallies) in workers.iter_mut().zip(tallies) {
            worker.finished_in_hour = tallies.iter().map(|tally| tally.succeeded + tally.failed).sum();
        }
        Ok(())
    }

    async fn tallies(
        &self,
        caller: &Caller,
        who: &[Vec<u8>],
        range: Range,
        now_us: i64,
    ) -> Result<Vec<Vec<Tally>>, StoreError> {
        let last = now_us / 1000 / range.span_ms;
        let spans: Vec<_> = (last - range.spans + 1..=last).collect();
        let fields: Vec<_> = who
            .iter()
            .flat_map(|who| {
                spans.iter().map(|span| {
                    let mut field = who.clone();
                    field.extend_from_slice(format!("\0{}{}", range.ring, span % range.slots).as_bytes());
                    field
                })
            })
            .collect();
        let mut each = Vec::with_capacity(fields.len());
        for fields in fields.chunks(FIELDS) {
            let args: Vec<_> = fields.iter().map(|field| Arg::Bytes(field)).collect();
            let reply = self.ask_at_cost(0, &scripts::COUNTS_READ, caller, &args).await?;
            each.extend(reply.each(1, |reader| {
                if reader.absent() { Some(None) } else { Some(Some(read_counts(reader.bytes()?)?)) }
            })?);
        }
        let spanned = each.into_iter().zip(spans.iter().cycle()).map(|(counts, span)| {
            let start_ms = span * range.span_ms;
            let tally = Tally { start_ms, end_ms: start_ms + range.span_ms, ..Tally::default() };
            match counts {
                Some((at, [succeeded, failed, waited_ms, waited])) if at == *span => {
                    Tally { succeeded, failed, waited_ms, waited, ..tally }
                }
                _ => tally,
            }
        });
        let all: Vec<_> = spanned.collect();
        Ok(all.chunks(spans.len()).map(|tallies| tallies.chunks(range.together).map(together).collect()).collect())
    }

    /// How the queues of a connection stand, and its workers that are not offline: what a stream tells first.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn standing(
        &self,
        place: &TenantHandle,
        connection: Uuid,
    ) -> Result<(Vec<Queue>, Vec<Worker>), StoreError> {
        let keeper = &self.keeper(place.tenant()).await?.ok_or(StoreError::Unauthorized)?;
        let mut queues = self.queues(keeper).await?.answer;
        queues.retain(|queue| queue.connection == connection);
        queues.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut workers = self.workers(keeper).await?.answer;
        workers.retain(|worker| worker.connection == connection && worker.state != WorkerState::Offline);
        workers.sort_unstable_by(|a, b| a.hostname.cmp(&b.hostname));
        Ok((queues, workers))
    }

    /// Whether the tenant has that connection.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn has_connection(&self, place: &TenantHandle, connection: Uuid) -> Result<bool, StoreError> {
        let found =
            self.link.send(redis::cmd("HEXISTS").arg(place.key("connections")).arg(connection.to_string())).await?;
        redis::from_redis_value(found)
            .map_err(|_| StoreError::UnexpectedReply { script: "connections", got: "another shape".into() })
    }
}

struct Piece {
    jobs: Vec<Job>,
    total: i64,
    /// Where the next piece begins, if there may be one.
    last: Option<(i64, Uuid)>,
}

/// Under what somebody's counts stand.
fn counted(connection: Uuid, kind: u8, name: &str) -> Vec<u8> {
    [connection.as_bytes(), &[kind][..], name.as_bytes()].concat()
}

fn together(tallies: &[Tally]) -> Tally {
    let first = tallies.first().copied().unwrap_or_default();
    tallies.iter().skip(1).fold(first, |sum, next| Tally {
        start_ms: sum.start_ms,
        end_ms: next.end_ms,
        succeeded: sum.succeeded + next.succeeded,
        failed: sum.failed + next.failed,
        waited_ms: sum.waited_ms + next.waited_ms,
        waited: sum.waited + next.waited,
    })
}
