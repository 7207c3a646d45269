//! What BullMQ's events mean in the monitor's words.
//!
//! The stream of a queue is in the one true order, so its ids are the times. An event names the job and little else: the job's hash
//! says the rest, as it is when we look.

use std::collections::{HashMap, HashSet, VecDeque};

use redis::{Value, streams::StreamId};
use serde_json::Value as Json;

use crate::domain::queue::{JobObservation, JobState, Observation};

/// The fields of a job's hash that are read.
pub(super) const FIELDS: [&str; 8] =
    ["name", "timestamp", "opts", "pb", "ats", "stacktrace", "processedOn", "parentKey"];
/// The most jobs that are remembered as not having begun.
const FRESH: usize = 100_000;

/// What a job's hash says, as far as it is still there.
#[derive(Debug, Clone, Default)]
pub(super) struct Details {
    pub(super) name: Option<String>,
    created_ms: Option<i64>,
    max_retries: Option<u32>,
    worker: Option<String>,
    begun: bool,
    stacktrace: Option<String>,
    started_ms: Option<i64>,
    parent: Option<String>,
}

impl Details {
    /// Reads the values of [`FIELDS`].
    pub(super) fn read(fields: Vec<Option<Vec<u8>>>) -> Self {
        let fields: Vec<_> =
            fields.into_iter().map(|field| field.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())).collect();
        let [name, timestamp, opts, worker, begun, stacktrace, processed, parent] =
            <[Option<String>; 8]>::try_from(fields).unwrap_or_default();
        let number = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok());
        let options: Json = opts.and_then(|opts| serde_json::from_str(&opts).ok()).unwrap_or_default();
        let attempts = options["attempts"].as_u64();
        // The latest attempt comes last.
        let traces: Vec<String> = stacktrace.and_then(|traces| serde_json::from_str(&traces).ok()).unwrap_or_default();
        Self {
            name,
            created_ms: number(timestamp),
            max_retries: attempts.and_then(|attempts| u32::try_from(attempts.max(1) - 1).ok()),
            worker,
            begun: number(begun).is_some_and(|begun| begun > 0),
            stacktrace: traces.into_iter().next_back(),
            started_ms: number(processed),
            parent,
        }
    }
}

/// Which jobs have not begun yet, as far as the streams were followed: a delay before the first attempt is a schedule, one after it a retry.
#[derive(Default)]
pub(super) struct Fresh {
    jobs: HashSet<String>,
    order: VecDeque<String>,
}

impl Fresh {
    fn add(&mut self, job: &str) {
        if self.jobs.insert(job.to_owned()) {
            self.order.push_back(job.to_owned());
        }
        while self.order.len() > FRESH {
            if let Some(oldest) = self.order.pop_front() {
                self.jobs.remove(&oldest);
            }
        }
    }
}

/// A job's id in the monitor: BullMQ counts them per queue.
pub(super) fn external_id(queue: &str, job: &str) -> String {
    format!("{queue}:{job}")
}

/// A field of an event.
pub(super) fn field<'a>(entry: &'a StreamId, name: &str) -> Option<&'a str> {
    match entry.map.get(name)? {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Milliseconds and number of a stream's id.
pub(super) fn parts(id: &str) -> (i64, i64) {
    let (ms, number) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

/// What an entry of a queue's stream says of a job; `None` when it says nothing of one.
pub(super) fn sighting(
    prefix: &str,
    queue: &str,
    entry: &StreamId,
    details: &HashMap<String, Details>,
    fresh: &mut Fresh,
) -> Option<Observation> {
    let (event, job_id) = (field(entry, "event")?, field(entry, "jobId")?);
    let external_id = external_id(queue, job_id);
    let nothing = Details::default();
    let known = details.get(&external_id).unwrap_or(&nothing);
    let prev = field(entry, "prev");
    let (ms, number) = parts(&entry.id);
    let mut job = JobObservation {
        at_us: ms * 1000 + number.min(999),
        clock: number,
        name: field(entry, "name").map(str::to_owned).or_else(|| known.name.clone()),
        queue: Some(queue.to_owned()),
        created_ms: known.created_ms,
        max_retries: known.max_retries,
        parent_id: known.parent.as_deref().and_then(|key| parent(prefix, key)),
        ..JobObservation::default()
    };
    match event {
        "added" => {
            fresh.add(&external_id);
            // What is not in the hash any more was made when it was added.
            job.created_ms = job.created_ms.or(Some(ms));
        }
        "waiting" | "prioritized" => {
            job.state = Some(JobState::Queued);
            // Stalled, limited, tried again at once, or again by hand: it begins anew.
            job.again = matches!(prev, Some("active" | "failed" | "completed"));
        }
        "waiting-children" => {
            job.state = Some(JobState::Scheduled);
            job.again = prev == Some("active");
        }
        "delayed" => {
            let first = fresh.jobs.contains(&external_id) || !known.begun;
            job.state = Some(if first { JobState::Scheduled } else { JobState::Retrying });
            job.scheduled_ms = field(entry, "delay").and_then(|due| due.parse().ok());
        }
        "active" => {
            fresh.jobs.remove(&external_id);
            job.state = Some(JobState::HeldReservation);
            job.worker = known.worker.clone();
        }
        "progress" => {
            job.progress = field(entry, "data")
                .and_then(|progress| progress.parse::<f64>().ok())
                .map(|percent| (percent / 100.0).clamp(0.0, 1.0))
        }
        "completed" => {
            job.state = Some(JobState::Completed);
            job.result = field(entry, "returnvalue").map(str::to_owned);
            job.worker = known.worker.clone();
            job.started_ms = known.started_ms;
        }
        "failed" => {
            job.state = Some(JobState::Failed);
            job.error = field(entry, "failedReason").map(str::to_owned);
            job.stacktrace = known.stacktrace.clone();
            job.worker = known.worker.clone();
            job.started_ms = known.started_ms;
        }
        // What was done is tidied away; anything else is called off.
        "removed" if !matches!(prev, Some("completed" | "failed")) => job.state = Some(JobState::Cancelled),
        _ => return None,
    }
    job.external_id = external_id;
    Some(Observation::Job(Box::new(job)))
}

/// `bull:<queue>:<id>` is the parent `<queue>:<id>`.
fn parent(prefix: &str, key: &str) -> Option<String> {
    key.strip_prefix(prefix)?.strip_prefix(':').map(str::to_owned)
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

    fn state(
        entry: &StreamId,
        details: &HashMap<String, Details>,
        fresh: &mut Fresh,
    ) -> Option<(Option<JobState>, bool)> {
        match sighting("bull", "q", entry, details, fresh)? {
            Observation::Job(job) => Some((job.state, job.again)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_delay_is_a_schedule_before_the_first_attempt_and_a_retry_after_it() {
        let (nothing, mut fresh) = (HashMap::new(), Fresh::default());
        let delayed = |id: &str| entry(id, &[("event", "delayed"), ("jobId", "1"), ("delay", "5000")]);
        assert_eq!(
            state(&entry("1-0", &[("event", "added"), ("jobId", "1"), ("name", "n")]), &nothing, &mut fresh),
            Some((None, false))
        );
        // Also when its hash, looked at later, says that it has begun meanwhile.
        let begun = HashMap::from([("q:1".to_owned(), Details { begun: true, ..Details::default() })]);
        assert_eq!(state(&delayed("1-1"), &begun, &mut fresh), Some((Some(JobState::Scheduled), false)));
        state(&entry("2-0", &[("event", "active"), ("jobId", "1"), ("prev", "waiting")]), &nothing, &mut fresh);
        assert_eq!(state(&delayed("3-0"), &begun, &mut fresh), Some((Some(JobState::Retrying), false)));
        assert_eq!(
            state(&delayed("3-0"), &begun, &mut Fresh::default()),
            Some((Some(JobState::Retrying), false)),
            "after a hand-over"
        );
    }

    #[test]
    fn what_goes_back_begins_again_and_what_is_tidied_away_stays() {
        let (nothing, mut fresh) = (HashMap::new(), Fresh::default());
        let with_prev = |event: &str, prev: &str| entry("1-0", &[("event", event), ("jobId", "1"), ("prev", prev)]);
        assert_eq!(
            state(&with_prev("waiting", "delayed"), &nothing, &mut fresh),
            Some((Some(JobState::Queued), false))
        );
        assert_eq!(state(&with_prev("waiting", "active"), &nothing, &mut fresh), Some((Some(JobState::Queued), true)));
        assert_eq!(state(&with_prev("removed", "completed"), &nothing, &mut fresh), None);
        assert_eq!(
            state(&with_prev("removed", "wait"), &nothing, &mut fresh),
            Some((Some(JobState::Cancelled), false))
        );
        assert_eq!(state(&entry("1-0", &[("event", "drained")]), &nothing, &mut fresh), None);
    }

    #[test]
    fn a_hash_is_read_as_far_as_it_goes() {
        let fields = [
            Some("n"),
            Some("7"),
            Some(r#"{"attempts":3}"#),
            None,
            Some("2"),
            Some(r#"["first","last"]"#),
            Some("9"),
            Some("bull:p:4"),
        ];
        let details = Details::read(fields.map(|field| field.map(|text| text.as_bytes().to_vec())).to_vec());
        assert_eq!(
            (details.created_ms, details.max_retries, details.begun, details.stacktrace.as_deref()),
            (Some(7), Some(2), true, Some("last"))
        );
        assert_eq!(parent("bull", details.parent.as_deref().unwrap()).as_deref(), Some("p:4"));
        assert!(!Details::read(vec![None; 8]).begun);
    }
}
