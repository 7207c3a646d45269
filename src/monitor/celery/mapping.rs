//! What Celery's events mean in the monitor's words.
//!
//! Order is not looked at here: an event says what it says at its own time, and the store makes the one story of it.

use chrono::{DateTime, NaiveDateTime};

use crate::{
    domain::queue::{JobObservation, JobState, Observation, WorkerObservation, WorkerState},
    monitor::celery::decode::Event,
};

/// What an event says; `None` for kinds that say nothing about jobs and workers (a tenant's own events).
pub(super) fn sighting(event: &Event<'_>) -> Option<Observation> {
    match event.kind.split_once('-')? {
        ("task", kind) => job(kind, event).map(|job| Observation::Job(Box::new(job))),
        ("worker", kind) => worker(kind, event).map(|worker| Observation::Worker(Box::new(worker))),
        _ => None,
    }
}

fn at_us(event: &Event<'_>) -> i64 {
    (event.timestamp * 1e6).round() as i64
}

fn job(kind: &str, event: &Event<'_>) -> Option<JobObservation> {
    let at_us = at_us(event);
    let eta_ms = event.eta.said().and_then(milliseconds);
    let mut job = JobObservation {
        external_id: event.uuid.said()?.to_owned(),
        at_us,
        clock: event.clock.whole().unwrap_or(0),
        attempt: event.retries.whole().and_then(|retries| u32::try_from(retries + 1).ok()),
        name: event.name.owned(),
        args: event.args.owned(),
        kwargs: event.kwargs.owned(),
        parent_id: event.parent_id.owned(),
        root_id: event.root_id.owned(),
        scheduled_ms: eta_ms,
        ..JobObservation::default()
    };
    let waits = if eta_ms.is_some_and(|eta_ms| eta_ms * 1000 > at_us) { JobState::Scheduled } else { JobState::Queued };
    match kind {
        "sent" => {
            // A retry is sent before it is told: then it only names the attempt to come, and the retry itself tells the state.
            let is_retry = event.retries.whole().unwrap_or(0) > 0;
            job.state = (!is_retry).then_some(waits);
            job.queue = event.queue.said().or(event.routing_key.said()).map(str::to_owned);
            let facts = [
                ("eta", &event.eta),
                ("expires", &event.expires),
                ("exchange", &event.exchange),
                ("routing_key", &event.routing_key),
            ];
            job.extensions =
                facts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), quoted(text.said()?)))).collect();
        }
        "received" => {
            job.state = Some(waits);
            job.worker = event.hostname.owned();
        }
        "started" => {
            job.state = Some(JobState::HeldReservation);
            job.worker = event.hostname.owned();
        }
        "succeeded" => {
            job.state = Some(JobState::Completed);
            job.worker = event.hostname.owned();
            job.result = event.result.owned();
            job.runtime_ms =
                event.runtime.0.filter(|runtime| runtime.is_finite()).map(|runtime| (runtime * 1e3).round() as i64);
        }
        "failed" => {
            job.state = Some(JobState::Failed);
            job.worker = event.hostname.owned();
            job.error = event.exception.owned();
            job.stacktrace = event.traceback.owned();
        }
        "retried" => {
            job.state = Some(JobState::Retrying);
            job.worker = event.hostname.owned();
            job.error = event.exception.owned();
            job.stacktrace = event.traceback.owned();
        }
        "revoked" => {
            job.state = Some(JobState::Cancelled);
            job.extensions = vec![
                ("terminated".into(), event.terminated.0.to_string()),
                ("expired".into(), event.expired.0.to_string()),
            ];
            if let Some(signum) = event.signum.said() {
                job.extensions.push(("signum".into(), quoted(signum)));
            }
        }
        "rejected" => {
            // Requeued, it lies in the queue again; else nobody will run it.
            job.again = event.requeue.0;
            job.state = Some(if event.requeue.0 { JobState::Queued } else { JobState::Failed });
            job.worker = event.hostname.owned();
            job.extensions = vec![("celeryState".into(), quoted("REJECTED"))];
        }
        _ => return None,
    }
    Some(job)
}

fn worker(kind: &str, event: &Event<'_>) -> Option<WorkerObservation> {
    let state = match kind {
        "online" | "heartbeat" => WorkerState::Online,
        "offline" => WorkerState::Offline,
        _ => return None,
    };
    let hostname = event.hostname.said()?.to_owned();
    let texts = [("software", &event.sw_ident), ("softwareVersion", &event.sw_ver), ("system", &event.sw_sys)];
    let mut metadata: Vec<_> =
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), quoted(text.said()?)))).collect();
    metadata.extend(
        event.freq.0.filter(|freq| freq.is_finite()).map(|freq| ("heartbeatFreq".to_owned(), freq.to_string())),
    );
    metadata.extend(event.loadavg.map(|loadavg| ("loadavg".to_owned(), loadavg.get().to_owned())));
    Some(WorkerObservation {
        external_id: hostname.clone(),
        at_us: at_us(event),
        state,
        hostname,
        pid: event.pid.whole(),
        active_jobs: event.active.whole().and_then(|active| u32::try_from(active).ok()),
        processed: event.processed.whole(),
        concurrency: None,
        queues: None,
        metadata,
    })
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Python's `isoformat`, with or without an offset; without one it is UTC.
fn milliseconds(iso: &str) -> Option<i64> {
    let with_offset = DateTime::parse_from_rfc3339(iso).map(|at| at.timestamp_millis());
    with_offset
        .or_else(|_| {
            NaiveDateTime::parse_from_str(iso, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.and_utc().timestamp_millis())
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::celery::decode::events_in;

    fn seen(event: &str) -> Option<Observation> {
        let mut seen = None;
        events_in(event.as_bytes(), |event| seen = sighting(&event)).unwrap();
        seen
    }

    fn job_seen(event: &str) -> JobObservation {
        match seen(event) {
            Some(Observation::Job(job)) => *job,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_retry_is_sent_before_it_is_told() {
        let first = job_seen(r#"{"type":"task-sent","timestamp":10,"uuid":"u","retries":0,"queue":"q","clock":3}"#);
        assert_eq!((first.state, first.attempt, first.queue.as_deref()), (Some(JobState::Queued), Some(1), Some("q")));
        assert_eq!((first.at_us, first.clock), (10_000_000, 3));
        let second = job_seen(r#"{"type":"task-sent","timestamp":10,"uuid":"u","retries":1,"queue":"q"}"#);
        assert_eq!((second.state, second.attempt), (None, Some(2)));
    }

    #[test]
    fn what_is_due_later_is_scheduled() {
        let at =
            |eta: &str| job_seen(&format!(r#"{{"type":"task-received","timestamp":1000,"uuid":"u","eta":{eta}}}"#));
        assert_eq!(at(r#""1970-01-01T00:16:41.500000+00:00""#).state, Some(JobState::Scheduled));
        assert_eq!(at(r#""1970-01-01T00:16:41.500""#).scheduled_ms, Some(1_001_500));
        assert_eq!(at(r#""1970-01-01T00:16:39+00:00""#).state, Some(JobState::Queued));
        assert_eq!(at("null").state, Some(JobState::Queued));
    }

    #[test]
    fn a_rejection_fails_or_puts_back() {
        assert_eq!(
            job_seen(r#"{"type":"task-rejected","timestamp":1,"uuid":"u","requeue":false}"#).state,
            Some(JobState::Failed)
        );
        let back = job_seen(r#"{"type":"task-rejected","timestamp":1,"uuid":"u","requeue":true}"#);
        assert_eq!((back.state, back.again), (Some(JobState::Queued), true));
    }

    #[test]
    fn other_events_say_nothing() {
        assert_eq!(seen(r#"{"type":"task-custom","timestamp":1,"uuid":"u"}"#), None);
        assert_eq!(seen(r#"{"type":"deploy","timestamp":1}"#), None);
        assert_eq!(seen(r#"{"type":"worker-offline","timestamp":1}"#), None, "nobody is named");
    }
}
