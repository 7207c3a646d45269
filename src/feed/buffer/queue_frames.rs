//! Frames of a connection's stream: live changes of its jobs, workers and queues. They are live only, without a
//! position.

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::{
    domain::{
        queue::{Queue, QueueChange, Worker, display_name},
        time::{instant, iso},
    },
    feed::buffer::frame::{Frame, Subject},
};

/// Event types that a filter can name: in full, or by the group before the colon.
pub(super) const KINDS: [&str; 4] = [JOB, HEARTBEAT, WORKER, QUEUE];
const JOB: &str = "job:state_change";
const HEARTBEAT: &str = "worker:heartbeat";
const WORKER: &str = "worker:state_change";
const QUEUE: &str = "queue:snapshot";

impl Frame {
    /// Encodes a change.
    #[must_use]
    pub fn queue_change(change: &QueueChange) -> Self {
        match change {
            QueueChange::Job { id, name, state, previous, at_ms } => Self::live(
                JOB,
                Subject::Tenant,
                &json!({
                    "id": id,
                    "name": display_name(name),
                    "state": state.name(),
                    "previousState": previous.map(|state| state.name()),
                    "timestamp": iso(instant(*at_ms)),
                }),
            ),
            QueueChange::Heartbeat { id, hostname, state, active_jobs } => Self::live(
                HEARTBEAT,
                Subject::Tenant,
                &json!({"id": id, "hostname": hostname, "state": state.name(), "activeJobs": active_jobs}),
            ),
            QueueChange::Worker { id, hostname, state, previous, at_ms } => Self::live(
                WORKER,
                Subject::Tenant,
                &json!({
                    "id": id,
                    "hostname": hostname,
                    "state": state.name(),
                    "previousState": previous.name(),
                    "timestamp": iso(instant(*at_ms)),
                }),
            ),
            QueueChange::Queue { name, depth, consumers } => {
                Self::live(QUEUE, Subject::Tenant, &json!({"name": name, "depth": depth, "consumers": consumers}))
            }
            QueueChange::Gap { from_ms, to_ms, reason } => Self::gap(instant(*from_ms), instant(*to_ms), reason.name()),
        }
    }

    /// `queue:snapshot`: a queue's present depth and consumers.
    #[must_use]
    pub fn queue_snapshot(queue: &Queue) -> Self {
        Self::queue_change(&QueueChange::Queue {
            name: queue.name.clone(),
            depth: queue.depth,
            consumers: queue.consumers.map(|(count, _)| count),
        })
    }

    /// `worker:heartbeat`: a worker's present state.
    #[must_use]
    pub fn worker_heartbeat(worker: &Worker) -> Self {
        let Worker { id, hostname, state, active_jobs, .. } = worker;
        Self::queue_change(&QueueChange::Heartbeat {
            id: *id,
            hostname: hostname.clone(),
            state: *state,
            active_jobs: *active_jobs,
        })
    }

    /// `gap`: changes between these instants may be missing. Matches every filter.
    #[must_use]
    pub fn gap(from: DateTime<Utc>, to: DateTime<Utc>, reason: &str) -> Self {
        Self::live("gap", Subject::Stream, &json!({"from": iso(from), "to": iso(to), "reason": reason}))
    }

    /// `heartbeat`: the stream is alive. Matches every filter.
    #[must_use]
    pub fn heartbeat(now: DateTime<Utc>) -> Self {
        Self::live("heartbeat", Subject::Stream, &json!({"timestamp": iso(now)}))
    }

    fn live(kind: &str, subject: Subject, data: &serde_json::Value) -> Self {
        Self::new(None, kind, subject, &[&data.to_string()])
    }
}
