//! List of jobs, and single jobs.

use uuid::Uuid;

use crate::{
    domain::queue::{Job, JobDetail, JobQuery, JobSort, SortKey, SortOrder, SortPosition, TopK},
    store::{
        Arg, Caller, Stamped, Store, StoreError, functions,
        queues::decode::{decode_detail, decode_job},
    },
};

/// Number of jobs that one call of the function reads.
const BATCH_JOBS: usize = 1_000;

/// A page of jobs.
#[derive(Debug)]
pub struct JobPage {
    /// Jobs in the requested order, each with its position.
    pub jobs: Vec<(SortPosition, Job)>,
    /// Number of jobs on all pages.
    pub total: i64,
    /// Whether another page follows.
    pub has_more: bool,
}

/// Consecutive jobs in the order of the index: the newest first.
struct JobBatch {
    jobs: Vec<Job>,
    total: i64,
    /// Creation time and id of the last job; `None` where no further batch follows.
    next: Option<(i64, Uuid)>,
}

impl Store {
    /// Reads a page of jobs.
    ///
    /// The newest first without a filter is the order of the index: one call of the function reads just the page. Any other query reads all
    /// jobs in batches and keeps the best.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn jobs(&self, caller: &Caller, query: &JobQuery) -> Result<Stamped<JobPage>, StoreError> {
        let is_index_order = query.sort == JobSort::CreatedAt && query.order == SortOrder::Descending;
        if is_index_order && query.filter.is_empty() {
            self.newest_jobs(caller, query).await
        } else {
            let _turn = self.whole_read(caller).await?;
            self.sorted_jobs(caller, query).await
        }
    }

    async fn newest_jobs(&self, caller: &Caller, query: &JobQuery) -> Result<Stamped<JobPage>, StoreError> {
        let after = match &query.after {
            Some(SortPosition { key: SortKey::Number(created_ms), id }) => Some((*created_ms, *id)),
            _ => None,
        };
        // One more than the page, to know whether another follows. A piece that has become long ends early.
        let wanted = query.limit + 1;
        let mut stamped = self.read_jobs(1, caller, after, wanted).await?;
        while let Some(after) = stamped.answer.next.take()
            && stamped.answer.jobs.len() < wanted
        {
            let more = self.read_jobs(0, caller, Some(after), wanted - stamped.answer.jobs.len()).await?.answer;
            stamped.answer.jobs.extend(more.jobs);
            stamped.answer.next = more.next;
        }
        Ok(stamped.map(|batch| {
            let has_more = batch.jobs.len() > query.limit;
            let jobs = batch.jobs.into_iter().take(query.limit);
            JobPage { jobs: jobs.map(|job| (query.sort.position(&job), job)).collect(), total: batch.total, has_more }
        }))
    }

    async fn sorted_jobs(&self, caller: &Caller, query: &JobQuery) -> Result<Stamped<JobPage>, StoreError> {
        // One more than the page, to know whether another follows.
        let (mut top, mut total) = (TopK::new(query.limit + 1, query.order), 0);
        let (mut after, mut cost) = (None, 1);
        loop {
            let Stamped { now_us, position, answer: batch } = self.read_jobs(cost, caller, after, BATCH_JOBS).await?;
            // Further batches belong to the same call, which is paid.
            cost = 0;
            after = batch.next;
            for job in batch.jobs.into_iter().filter(|job| query.filter.matches(job)) {
                total += 1;
                let position = query.sort.position(&job);
                if query.after.as_ref().is_none_or(|after| after.compare(&position, query.order).is_lt()) {
                    top.insert(position, job);
                }
            }
            if after.is_none() {
                let mut jobs = top.into_sorted();
                let has_more = jobs.len() > query.limit;
                jobs.truncate(query.limit);
                return Ok(Stamped { now_us, position, answer: JobPage { jobs, total, has_more } });
            }
        }
    }

    async fn read_jobs(
        &self,
        cost: u32,
        caller: &Caller,
        after: Option<(i64, Uuid)>,
        count: usize,
    ) -> Result<Stamped<JobBatch>, StoreError> {
        let created = after.map(|(created_ms, _)| created_ms.to_string()).unwrap_or_default();
        let id = after.map(|(_, id)| id.as_bytes().to_vec()).unwrap_or_default();
        let args = [Arg::Text(&created), Arg::Bytes(&id), Arg::Number(count as i64)];
        let reply = self.ask_at_cost(cost, &functions::JOB_LIST, caller, &args).await?;
        let batch = reply.whole(|reader| {
            let total = reader.int()?;
            let (mut jobs, mut last, mut entries) = (Vec::new(), None, 0);
            while reader.left() > 0 {
                let id = Uuid::from_slice(reader.bytes()?).ok()?;
                last = Some((reader.int()?, id));
                entries += 1;
                if !reader.absent() {
                    jobs.push(decode_job(id, reader.bytes()?)?);
                }
            }
            // A piece that has become long ends early.
            let has_more = entries == count || reply.status() == "MORE";
            Some(JobBatch { jobs, total, next: last.filter(|_| has_more) })
        })?;
        Ok(reply.stamped(batch))
    }

    /// Reads one job with its details; `None`: there is no job of that id.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn job(&self, caller: &Caller, id: Uuid) -> Result<Stamped<Option<(Job, JobDetail)>>, StoreError> {
        let reply = self.ask(&functions::JOB_READ, caller, &[Arg::Bytes(id.as_bytes())]).await?;
        let job = reply.whole(|reader| {
            let job = if reader.absent() { None } else { Some(decode_job(id, reader.bytes()?)?) };
            let detail = if reader.absent() { JobDetail::default() } else { decode_detail(reader.bytes()?)? };
            Some(job.map(|job| (job, detail)))
        })?;
        Ok(reply.stamped(job))
    }

    /// Reads the newest jobs of a name, at most `limit`, among the newest 1,000 of all.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn recent_jobs(&self, caller: &Caller, name: &str, limit: usize) -> Result<Vec<Job>, StoreError> {
        let batch = self.read_jobs(0, caller, None, BATCH_JOBS).await?.answer;
        Ok(batch.jobs.into_iter().filter(|job| job.name == name).take(limit).collect())
    }
}
