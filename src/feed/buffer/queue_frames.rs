//! What the stream of a connection tells, as frames. They have no position: nothing of it is kept, and nothing comes again.

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::{
    domain::{
        queue::{Queue, QueueChange, Worker, named},
        time::{instant, iso},
    },
    feed::buffer::frame::{About, Frame},
};

/// The names of what can be filtered, by the group that stands before the colon.
pub(in crate::feed) const KINDS: [&str; 4] = [JOB, HEARTBEAT, WORKER, QUEUE];
const JOB: &str = "job:state_change";
const HEARTBEAT: &str = "worker:heartbeat";
const WORKER: &str = "worker:state_change";
const QUEUE: &str = "queue:snapshot";

impl Frame {
    /// The frame of something that changed.
    #[must_use]
    pub fn of_news(news: &QueueChange) -> Self {
        match news {
            QueueChange::Job { id, name, state, previous, at_ms } => {
                let data = json!({"id": id, "name": named(name), "state": state.name(), "previousState": previous.map(|state| state.name()), "timestamp": iso(instant(*at_ms))});
                Self::live(JOB, About::Everything, &data)
            }
            QueueChange::Heartbeat { id, hostname, state, active_jobs } => Self::live(
                HEARTBEAT,
                About::Everything,
                &json!({"id": id, "hostname": hostname, "state": state.name(), "activeJobs": active_jobs}),
            ),
            QueueChange::Worker { id, hostname, state, previous, at_ms } => {
                let data = json!({"id": id, "hostname": hostname, "state": state.name(), "previousState": previous.name(), "timestamp": iso(instant(*at_ms))});
                Self::live(WORKER, About::Everything, &data)
            }
            QueueChange::Queue { name, depth, consumers } => {
                Self::live(QUEUE, About::Everything, &json!({"name": name, "depth": depth, "consumers": consumers}))
            }
            QueueChange::Gap { from_ms, to_ms, reason } => Self::gap(instant(*from_ms), instant(*to_ms), reason),
        }
    }

    /// How a queue stands.
    #[must_use]
    pub fn of_queue(queue: &Queue) -> Self {
        Self::of_news(&QueueChange::Queue {
            name: queue.name.clone(),
            depth: queue.depth,
            consumers: queue.consumers.map(|(count, _)| count),
        })
    }

    /// That a worker lives.
    #[must_use]
    pub fn of_worker(worker: &Worker) -> Self {
        let Worker { id, hostname, state, active_jobs, .. } = worker;
        Self::of_news(&QueueChange::Heartbeat {
            id: *id,
            hostname: hostname.clone(),
            state: *state,
            active_jobs: *active_jobs,
        })
    }

    /// That nothing is known of a time. Passes every filter.
    #[must_use]
    pub fn gap(from: DateTime<Utc>, to: DateTime<Utc>, reason: &str) -> Self {
        Self::live("gap", About::Stream, &json!({"from": iso(from), "to": iso(to), "reason": reason}))
    }

    /// That the stream lives. Passes every filter.
    #[must_use]
    pub fn heartbeat(now: DateTime<Utc>) -> Self {
        Self::live("heartbeat", About::Stream, &json!({"timestamp": iso(now)}))
    }

    fn live(kind: &str, about: About, data: &serde_json::Value) -> Self {
        Self::new(None, kind, about, &[&data.to_string()])
    }
}
