//! Mapping of Celery's events to observations.
//!
//! Each event is mapped by itself, whatever came before: the store orders observations by their time.

use chrono::{DateTime, NaiveDateTime};

use crate::{
    domain::queue::{Extensions, JobObservation, JobState, Observation, WorkerObservation, WorkerState},
    monitor::celery::{decode::CeleryEvent, lenient::Text},
};

/// The observation of an event; `None` for events that are not about jobs or workers (a tenant's own kinds).
pub(super) fn observation(event: &CeleryEvent<'_>) -> Option<Observation> {
    match event.kind.split_once('-')? {
        ("task", kind) => job(kind, event).map(|job| Observation::Job(Box::new(job))),
        ("worker", kind) => worker(kind, event).map(|worker| Observation::Worker(Box::new(worker))),
        _ => None,
    }
}

fn at_us(event: &CeleryEvent<'_>) -> i64 {
    (event.timestamp * 1e6).round() as i64
}

fn job(kind: &str, event: &CeleryEvent<'_>) -> Option<JobObservation> {
    let at_us = at_us(event);
    let eta_ms = event.eta.non_empty().and_then(parse_isoformat_ms);
    let is_due = eta_ms.is_none_or(|eta_ms| eta_ms * 1000 <= at_us);
    let waiting_state = if is_due { JobState::Queued } else { JobState::Scheduled };
    let mut job = JobObservation {
        external_id: event.uuid.non_empty()?.to_owned(),
        at_us,
        clock: event.clock.integer().unwrap_or(0),
        attempt: event.retries.integer().and_then(|retries| u32::try_from(retries.saturating_add(1)).ok()),
        name: event.name.owned(),
        args: event.args.owned(),
        kwargs: event.kwargs.owned(),
        parent_id: event.parent_id.owned(),
        root_id: event.root_id.owned(),
        scheduled_ms: eta_ms,
        ..JobObservation::default()
    };
    // `sent` comes from the producer, and `revoked` may come from a worker that never had the job.
    if kind != "sent" && kind != "revoked" {
        job.worker = event.hostname.owned();
    }
    match kind {
        "sent" => {
            // The message of a retry is sent before `task-retried`, which reports the state: `task-sent` only has the number of the attempt.
            let is_retry = event.retries.integer().unwrap_or(0) > 0;
            job.state = (!is_retry).then_some(waiting_state);
            job.queue = event.queue.non_empty().or(event.routing_key.non_empty()).map(str::to_owned);
            let facts = [
                ("eta", &event.eta),
                ("expires", &event.expires),
                ("exchange", &event.exchange),
                ("routing_key", &event.routing_key),
            ];
            job.extensions = json_strings(facts);
        }
        "received" => job.state = Some(waiting_state),
        "started" => job.state = Some(JobState::Active),
        "succeeded" => {
            job.state = Some(JobState::Completed);
            job.result = event.result.owned();
            job.runtime_ms = event.runtime.finite().map(|runtime_s| (runtime_s * 1e3).round() as i64);
        }
        "failed" | "retried" => {
            job.state = Some(if kind == "failed" { JobState::Failed } else { JobState::Retrying });
            job.error = event.exception.owned();
            job.stacktrace = event.traceback.owned();
        }
        "revoked" => {
            job.state = Some(JobState::Cancelled);
            job.extensions = vec![
                ("terminated".into(), event.terminated.0.to_string()),
                ("expired".into(), event.expired.0.to_string()),
            ];
            if let Some(signum) = event.signum.non_empty() {
                job.extensions.push(("signum".into(), json_string(signum)));
            }
        }
        "rejected" => {
            // A requeued job waits in its queue again; any other will never run.
            job.restarted = event.requeue.0;
            job.state = Some(if event.requeue.0 { JobState::Queued } else { JobState::Failed });
            job.extensions = vec![("celeryState".into(), json_string("REJECTED"))];
        }
        _ => return None,
    }
    Some(job)
}

fn worker(kind: &str, event: &CeleryEvent<'_>) -> Option<WorkerObservation> {
    let state = match kind {
        "online" | "heartbeat" => WorkerState::Online,
        "offline" => WorkerState::Offline,
        _ => return None,
    };
    let hostname = event.hostname.non_empty()?.to_owned();
    let texts = [("software", &event.sw_ident), ("softwareVersion", &event.sw_ver), ("system", &event.sw_sys)];
    let mut metadata = json_strings(texts);
    metadata.extend(event.freq.finite().map(|freq_s| ("heartbeatFreq".to_owned(), freq_s.to_string())));
    metadata.extend(event.loadavg.map(|loadavg| ("loadavg".to_owned(), loadavg.get().to_owned())));
    Some(WorkerObservation {
        external_id: hostname.clone(),
        at_us: at_us(event),
        state,
        hostname,
        pid: event.pid.integer(),
        active_jobs: event.active.integer().and_then(|active| u32::try_from(active).ok()),
        processed: event.processed.integer(),
        concurrency: None,
        queues: None,
        metadata,
        is_found: false,
    })
}

/// Those texts that are not empty, as JSON strings.
fn json_strings<const N: usize>(texts: [(&str, &Text<'_>); N]) -> Extensions {
    texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json_string(text.non_empty()?)))).collect()
}

/// A text as a JSON string.
fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Milliseconds since the Unix epoch of Python's `isoformat`; UTC where it has no offset.
fn parse_isoformat_ms(text: &str) -> Option<i64> {
    if let Ok(with_offset) = DateTime::parse_from_rfc3339(text) {
        return Some(with_offset.timestamp_millis());
    }
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(naive.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::celery::decode::decode_events;

    fn observed(event: &str) -> Option<Observation> {
        let mut observed = None;
        decode_events(event.as_bytes(), |event| observed = observation(&event)).unwrap();
        observed
    }

    fn observed_job(event: &str) -> JobObservation {
        match observed(event) {
            Some(Observation::Job(job)) => *job,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_sending_of_a_retry_reports_no_state() {
        let first = observed_job(r#"{"type":"task-sent","timestamp":10,"uuid":"u","retries":0,"queue":"q","clock":3}"#);
        assert_eq!((first.state, first.attempt, first.queue.as_deref()), (Some(JobState::Queued), Some(1), Some("q")));
        assert_eq!((first.at_us, first.clock), (10_000_000, 3));
        let second = observed_job(r#"{"type":"task-sent","timestamp":10,"uuid":"u","retries":1,"queue":"q"}"#);
        assert_eq!((second.state, second.attempt), (None, Some(2)));
    }

    #[test]
    fn a_job_with_a_later_due_time_is_scheduled() {
        let at =
            |eta: &str| observed_job(&format!(r#"{{"type":"task-received","timestamp":1000,"uuid":"u","eta":{eta}}}"#));
        assert_eq!(at(r#""1970-01-01T00:16:41.500000+00:00""#).state, Some(JobState::Scheduled));
        assert_eq!(at(r#""1970-01-01T00:16:41.500""#).scheduled_ms, Some(1_001_500));
        assert_eq!(at(r#""1970-01-01T00:16:39+00:00""#).state, Some(JobState::Queued));
        assert_eq!(at("null").state, Some(JobState::Queued));
    }

    #[test]
    fn a_rejected_job_fails_or_is_queued_again() {
        assert_eq!(
            observed_job(r#"{"type":"task-rejected","timestamp":1,"uuid":"u","requeue":false}"#).state,
            Some(JobState::Failed)
        );
        let requeued = observed_job(r#"{"type":"task-rejected","timestamp":1,"uuid":"u","requeue":true}"#);
        assert_eq!((requeued.state, requeued.restarted), (Some(JobState::Queued), true));
    }

    #[test]
    fn the_worker_is_named_by_its_own_events_alone() {
        let worker = |kind: &str| {
            observed_job(&format!(r#"{{"type":"task-{kind}","timestamp":1,"uuid":"u","hostname":"w"}}"#)).worker
        };
        assert_eq!((worker("sent"), worker("revoked")), (None, None));
        for kind in ["received", "started", "succeeded", "failed", "retried", "rejected"] {
            assert_eq!(worker(kind).as_deref(), Some("w"), "{kind}");
        }
    }

    #[test]
    fn other_events_have_no_observation() {
        assert_eq!(observed(r#"{"type":"task-custom","timestamp":1,"uuid":"u"}"#), None);
        assert_eq!(observed(r#"{"type":"deploy","timestamp":1}"#), None);
        assert_eq!(observed(r#"{"type":"worker-offline","timestamp":1}"#), None, "no worker is named");
    }
}
