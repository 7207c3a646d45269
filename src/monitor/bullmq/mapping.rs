//! Mapping of BullMQ's events to observations.
//!
//! A queue's stream has the true order of its events, and the id of an entry is its time. An entry names the job and little else; the details
//! come from the job's hash, as it is when the entry is read.

use std::collections::{HashMap, HashSet, VecDeque};

use redis::{Value, streams::StreamId};

use crate::{
    domain::queue::{JobObservation, JobState, Observation},
    monitor::bullmq::job_hash::JobHash,
};

/// Maximum number of jobs remembered as not yet started; the oldest are evicted.
const MAX_UNSTARTED_JOBS: usize = 100_000;

/// Jobs that have not started, as far as the streams were read. A delay before the first attempt is a schedule, a delay after it a retry.
#[derive(Default)]
pub(super) struct UnstartedJobs {
    ids: HashSet<String>,
    /// The same in order of arrival, for eviction.
    arrivals: VecDeque<String>,
}

impl UnstartedJobs {
    fn insert(&mut self, id: &str) {
        if self.ids.insert(id.to_owned()) {
            self.arrivals.push_back(id.to_owned());
        }
        while self.arrivals.len() > MAX_UNSTARTED_JOBS {
            if let Some(oldest) = self.arrivals.pop_front() {
                self.ids.remove(&oldest);
            }
        }
    }
}

/// External id of a job. BullMQ's ids are unique within a queue only.
pub(super) fn external_id(queue: &str, job: &str) -> String {
    format!("{queue}:{job}")
}

/// Queue of a stream's key, `<prefix>:<queue>:events`.
pub(super) fn queue_of_stream<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(prefix)?.strip_prefix(':')?.strip_suffix(":events")
}

/// A field of a stream entry.
pub(super) fn field<'a>(entry: &'a StreamId, name: &str) -> Option<&'a str> {
    match entry.map.get(name)? {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Milliseconds and sequence number of a stream id, comparable in the order of the stream.
pub(super) fn parse_stream_id(id: &str) -> (i64, i64) {
    let (ms, sequence) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), sequence.parse().unwrap_or(0))
}

/// The observation of an entry of a queue's stream; `None` for entries that are not about a job. `hashes` is by external id.
pub(super) fn observation(
    prefix: &str,
    queue: &str,
    entry: &StreamId,
    hashes: &HashMap<String, JobHash>,
    unstarted: &mut UnstartedJobs,
) -> Option<Observation> {
    let (event, job_id) = (field(entry, "event")?, field(entry, "jobId")?);
    let external_id = external_id(queue, job_id);
    let no_hash = JobHash::default();
    let hash = hashes.get(&external_id).unwrap_or(&no_hash);
    let previous = field(entry, "prev");
    let (ms, sequence) = parse_stream_id(&entry.id);
    let mut job = JobObservation {
        // The sequence number orders the entries of one millisecond.
        at_us: ms.saturating_mul(1000).saturating_add(sequence.min(999)),
        clock: sequence,
        name: field(entry, "name").map(str::to_owned).or_else(|| hash.name.clone()),
        queue: Some(queue.to_owned()),
        created_ms: hash.created_ms,
        max_retries: hash.max_retries,
        parent_id: hash.parent_id(prefix),
        ..JobObservation::default()
    };
    match event {
        "added" => {
            unstarted.insert(&external_id);
            job.created_ms = job.created_ms.or(Some(ms));
        }
        "waiting" | "prioritized" => {
            job.state = Some(JobState::Queued);
            // Stalled, rate limited, or retried without delay or by hand.
            job.restarted = matches!(previous, Some("active" | "failed" | "completed"));
        }
        "waiting-children" => {
            job.state = Some(JobState::Scheduled);
            job.restarted = previous == Some("active");
        }
        "delayed" => {
            let is_first_attempt = unstarted.ids.contains(&external_id) || !hash.has_started;
            job.state = Some(if is_first_attempt { JobState::Scheduled } else { JobState::Retrying });
            job.scheduled_ms = field(entry, "delay").and_then(|due| due.parse().ok());
        }
        "active" => {
            unstarted.ids.remove(&external_id);
            job.state = Some(JobState::Active);
            job.worker = hash.worker.clone();
        }
        "progress" => {
            let percent = field(entry, "data").and_then(|progress| progress.parse::<f64>().ok());
            job.progress = percent.map(|percent| (percent / 100.0).clamp(0.0, 1.0));
        }
        "completed" => {
            job.state = Some(JobState::Completed);
            job.result = field(entry, "returnvalue").map(str::to_owned);
            job.worker = hash.worker.clone();
            job.started_ms = hash.started_ms;
        }
        "failed" => {
            job.state = Some(JobState::Failed);
            job.error = field(entry, "failedReason").map(str::to_owned);
            job.stacktrace = hash.stacktrace.clone();
            job.worker = hash.worker.clone();
            job.started_ms = hash.started_ms;
        }
        // The removal of an ended job is cleaning up, not a cancellation.
        "removed" if !matches!(previous, Some("completed" | "failed")) => job.state = Some(JobState::Cancelled),
        _ => return None,
    }
    job.external_id = external_id;
    Some(Observation::Job(Box::new(job)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, fields: &[(&str, &str)]) -> StreamId {
        let map = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::BulkString(value.as_bytes().to_vec())))
            .collect();
        StreamId { id: id.into(), map, ..StreamId::default() }
    }

    /// State of the observed job, and whether it restarted.
    fn observed(
        entry: &StreamId,
        hashes: &HashMap<String, JobHash>,
        unstarted: &mut UnstartedJobs,
    ) -> Option<(Option<JobState>, bool)> {
        match observation("bull", "q", entry, hashes, unstarted)? {
            Observation::Job(job) => Some((job.state, job.restarted)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_delay_is_a_schedule_before_the_first_attempt_and_a_retry_after_it() {
        let (no_hashes, mut unstarted) = (HashMap::new(), UnstartedJobs::default());
        let delayed = |id: &str| entry(id, &[("event", "delayed"), ("jobId", "1"), ("delay", "5000")]);
        let added = entry("1-0", &[("event", "added"), ("jobId", "1"), ("name", "n")]);
        assert_eq!(observed(&added, &no_hashes, &mut unstarted), Some((None, false)));
        // Also when its hash, read later, says that it has started meanwhile.
        let started = HashMap::from([("q:1".to_owned(), JobHash { has_started: true, ..JobHash::default() })]);
        assert_eq!(observed(&delayed("1-1"), &started, &mut unstarted), Some((Some(JobState::Scheduled), false)));
        let active = entry("2-0", &[("event", "active"), ("jobId", "1"), ("prev", "waiting")]);
        observed(&active, &no_hashes, &mut unstarted);
        assert_eq!(observed(&delayed("3-0"), &started, &mut unstarted), Some((Some(JobState::Retrying), false)));
        assert_eq!(
            observed(&delayed("3-0"), &started, &mut UnstartedJobs::default()),
            Some((Some(JobState::Retrying), false)),
            "after a handover"
        );
    }

    #[test]
    fn a_job_that_goes_back_restarts_and_cleaning_up_is_no_cancellation() {
        let (no_hashes, mut unstarted) = (HashMap::new(), UnstartedJobs::default());
        let mut observed_after = |event: &str, previous: &str| {
            let entry = entry("1-0", &[("event", event), ("jobId", "1"), ("prev", previous)]);
            observed(&entry, &no_hashes, &mut unstarted)
        };
        assert_eq!(observed_after("waiting", "delayed"), Some((Some(JobState::Queued), false)));
        assert_eq!(observed_after("waiting", "active"), Some((Some(JobState::Queued), true)));
        assert_eq!(observed_after("removed", "completed"), None);
        assert_eq!(observed_after("removed", "wait"), Some((Some(JobState::Cancelled), false)));
        assert_eq!(observed(&entry("1-0", &[("event", "drained")]), &no_hashes, &mut unstarted), None);
    }
}
