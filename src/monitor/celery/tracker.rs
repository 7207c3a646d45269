//! Tracker: infers queues and their consumers from Celery's events alone.
//!
//! Only `task-sent` names a queue, and only a worker's own events name the worker. The tracker joins the two by the task's id (a symmetric hash
//! join with a bounded table). A worker counts as a consumer of every queue from which it received a task lately, while it is alive.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use crate::monitor::celery::decode::CeleryEvent;

/// Maximum number of tasks with only one of the two events; the oldest are evicted.
const MAX_UNMATCHED: usize = 50_000;
/// Maximum number of queues, in all and per worker.
const MAX_QUEUES: usize = 1_000;
/// Number of workers beyond which those that are not alive are evicted.
const MAX_WORKERS: usize = 5_000;
/// Longest name of a task, queue or worker that is remembered, in bytes: as long as the store takes.
const MAX_NAME_BYTES: usize = 512;
/// Intervals between heartbeats after which a worker counts as dead, 3.
const MISSED_HEARTBEATS: f64 = 3.0;
/// Interval of a worker that does not say its own: Celery's default, in seconds.
const DEFAULT_HEARTBEAT_S: f64 = 2.0;
/// Shortest and longest timeout of a heartbeat, in seconds, whatever interval a worker says.
const HEARTBEAT_TIMEOUT_S: (f64, f64) = (1.0, 24.0 * 3_600.0);
/// Time for which a worker counts as a consumer of a queue after its last task from it.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(3_600);

/// The one event of a task that has been observed.
enum Unmatched {
    Sent { queue: String },
    Received { worker: String },
}

#[derive(Default)]
struct TrackedWorker {
    /// Last heartbeat; `None`: the worker sends none, and is known only by the tasks that it received.
    last_heartbeat: Option<Instant>,
    /// After how long without another one it counts as dead.
    heartbeat_timeout: Duration,
    /// When it last received a task from each queue.
    last_received: HashMap<String, Instant>,
}

impl TrackedWorker {
    fn is_alive(&self, now: Instant) -> bool {
        self.last_heartbeat.is_some_and(|heartbeat| now.duration_since(heartbeat) < self.heartbeat_timeout)
    }

    fn consumed_queues(&self, now: Instant) -> impl Iterator<Item = &String> {
        let is_recent = move |received: &Instant| now.duration_since(*received) < CONSUMER_TIMEOUT;
        self.last_received.iter().filter(move |(_, received)| is_recent(received)).map(|(queue, _)| queue)
    }
}

/// Queues and workers inferred so far. All of it is bounded.
#[derive(Default)]
pub(super) struct Tracker {
    queues: HashSet<String>,
    workers: HashMap<String, TrackedWorker>,
    unmatched: HashMap<String, Unmatched>,
    /// Ids of unmatched tasks in order of arrival, for eviction.
    arrivals: VecDeque<String>,
}

impl Tracker {
    /// Applies an event that arrived at `now`.
    pub(super) fn apply(&mut self, event: &CeleryEvent<'_>, now: Instant) {
        let is_short = |name: &&str| name.len() <= MAX_NAME_BYTES;
        let (task, worker) = (event.uuid.non_empty().filter(is_short), event.hostname.non_empty().filter(is_short));
        match (event.kind.as_ref(), task, worker) {
            ("task-sent", Some(task), _) => {
                if let Some(queue) = event.queue.non_empty().or(event.routing_key.non_empty()).filter(is_short) {
                    self.task_sent(task, queue, now);
                }
            }
            ("task-received", Some(task), Some(worker)) => self.task_received(task, worker, now),
            ("worker-online" | "worker-heartbeat", _, Some(worker)) => {
                let interval_s = event.freq.finite().filter(|interval_s| *interval_s > 0.0);
                let timeout_s = interval_s.unwrap_or(DEFAULT_HEARTBEAT_S) * MISSED_HEARTBEATS;
                let worker = self.worker_mut(worker, now);
                worker.last_heartbeat = Some(now);
                worker.heartbeat_timeout =
                    Duration::from_secs_f64(timeout_s.clamp(HEARTBEAT_TIMEOUT_S.0, HEARTBEAT_TIMEOUT_S.1));
            }
            ("worker-offline", _, Some(worker)) => {
                self.workers.remove(worker);
            }
            _ => {}
        }
    }

    /// Queues to which tasks were sent.
    pub(super) fn queues(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().map(String::as_str)
    }

    /// Number of workers whose last heartbeat is recent.
    pub(super) fn live_workers(&self, now: Instant) -> usize {
        self.workers.values().filter(|worker| worker.is_alive(now)).count()
    }

    /// Whether a worker's heartbeats say that it is alive.
    pub(super) fn has_heartbeats(&self, worker: &str, now: Instant) -> bool {
        self.workers.get(worker).is_some_and(|worker| worker.is_alive(now))
    }

    /// Number of consumers of each queue. A worker that sends no heartbeats is alive while the broker has a binding for it: `bound_workers`.
    pub(super) fn consumers(&self, bound_workers: &HashSet<String>, now: Instant) -> HashMap<&str, u32> {
        let mut consumers = HashMap::new();
        for (name, worker) in &self.workers {
            let sends_no_heartbeats = worker.last_heartbeat.is_none();
            if worker.is_alive(now) || (sends_no_heartbeats && bound_workers.contains(name)) {
                for queue in worker.consumed_queues(now) {
                    *consumers.entry(queue.as_str()).or_default() += 1;
                }
            }
        }
        consumers
    }

    /// Queues that a worker consumes; `None` while none is known.
    pub(super) fn queues_of(&self, worker: &str, now: Instant) -> Option<Vec<String>> {
        let queues: Vec<_> = self.workers.get(worker)?.consumed_queues(now).cloned().collect();
        (!queues.is_empty()).then_some(queues)
    }

    fn task_sent(&mut self, task: &str, queue: &str, now: Instant) {
        if self.queues.len() < MAX_QUEUES && !self.queues.contains(queue) {
            self.queues.insert(queue.to_owned());
        }
        match self.unmatched.remove(task) {
            Some(Unmatched::Received { worker }) => self.join(&worker, queue, now),
            Some(Unmatched::Sent { .. }) | None => {
                self.remember(task, Unmatched::Sent { queue: queue.to_owned() });
            }
        }
    }

    fn task_received(&mut self, task: &str, worker: &str, now: Instant) {
        match self.unmatched.remove(task) {
            Some(Unmatched::Sent { queue }) => self.join(worker, &queue, now),
            Some(Unmatched::Received { .. }) | None => {
                self.remember(task, Unmatched::Received { worker: worker.to_owned() });
            }
        }
    }

    fn join(&mut self, worker: &str, queue: &str, now: Instant) {
        let worker = self.worker_mut(worker, now);
        if !worker.is_alive(now) {
            // It works without them, perhaps since it was started anew.
            worker.last_heartbeat = None;
        }
        let last_received = &mut worker.last_received;
        if let Some(received) = last_received.get_mut(queue) {
            *received = now;
        } else if last_received.len() < MAX_QUEUES {
            last_received.insert(queue.to_owned(), now);
        }
    }

    fn worker_mut(&mut self, name: &str, now: Instant) -> &mut TrackedWorker {
        if !self.workers.contains_key(name) && self.workers.len() >= MAX_WORKERS {
            // Workers whose names change with every start would fill the table.
            self.workers.retain(|_, worker| worker.is_alive(now));
            if self.workers.len() >= MAX_WORKERS {
                // Those that are there come again with their next heartbeats.
                self.workers.clear();
            }
        }
        self.workers.entry(name.to_owned()).or_default()
    }

    fn remember(&mut self, task: &str, event: Unmatched) {
        if self.unmatched.insert(task.to_owned(), event).is_none() {
            self.arrivals.push_back(task.to_owned());
        }
        while self.arrivals.len() > MAX_UNMATCHED {
            if let Some(oldest) = self.arrivals.pop_front() {
                self.unmatched.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::celery::decode::decode_events;

    fn apply(tracker: &mut Tracker, event: &str, now: Instant) {
        decode_events(event.as_bytes(), |event| tracker.apply(&event, now)).unwrap();
    }

    #[test]
    fn a_live_worker_consumes_the_queue_of_a_task_in_either_order_of_events() {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        let (sent, received) = (
            r#"{"type":"task-sent","timestamp":1,"uuid":"u","queue":"q"}"#,
            r#"{"type":"task-received","timestamp":1,"uuid":"u","hostname":"w"}"#,
        );
        for order in [[sent, received], [received, sent]] {
            order.iter().for_each(|event| apply(&mut tracker, event, now));
        }
        let (no_worker, bound) = (HashSet::new(), HashSet::from(["w".to_owned()]));
        assert_eq!(tracker.consumers(&no_worker, now).len(), 0, "it never sent a heartbeat");
        assert_eq!(tracker.consumers(&bound, now), HashMap::from([("q", 1)]));
        apply(&mut tracker, r#"{"type":"worker-heartbeat","timestamp":1,"hostname":"w"}"#, now);
        assert_eq!(tracker.consumers(&no_worker, now), HashMap::from([("q", 1)]));
        let later = now + Duration::from_secs(6);
        assert_eq!(tracker.consumers(&bound, later).len(), 0, "its heartbeats stopped");
        let mut anew = Tracker::default();
        apply(&mut anew, r#"{"type":"worker-heartbeat","timestamp":1,"hostname":"w"}"#, now);
        [sent, received].iter().for_each(|event| apply(&mut anew, event, later));
        assert_eq!(anew.consumers(&bound, later), HashMap::from([("q", 1)]), "it works without them");
        apply(&mut tracker, r#"{"type":"worker-offline","timestamp":1,"hostname":"w"}"#, now);
        assert_eq!((tracker.consumers(&bound, now).len(), tracker.live_workers(now)), (0, 0));
    }

    #[test]
    fn a_worker_that_beats_slowly_says_so_and_is_alive_for_three_of_its_intervals() {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        let alive = |tracker: &Tracker, after_s: u64| tracker.live_workers(now + Duration::from_secs(after_s));
        for (freq, last_s) in [("10", 29), ("0.1", 0), ("-1", 5), ("1e300", 86_399), ("\"x\"", 5)] {
            let beat = format!(r#"{{"type":"worker-heartbeat","timestamp":1,"hostname":"w","freq":{freq}}}"#);
            apply(&mut tracker, &beat, now);
            assert_eq!((alive(&tracker, last_s), alive(&tracker, last_s + 1)), (1, 0), "{freq}");
        }
    }

    #[test]
    fn what_a_broker_names_is_bounded() {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        for number in 0..MAX_WORKERS + 10 {
            tracker.worker_mut(&number.to_string(), now).last_heartbeat = Some(now);
        }
        assert!(tracker.workers.len() <= MAX_WORKERS);
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for event in [
            format!(r#"{{"type":"task-sent","timestamp":1,"uuid":"{long}","queue":"q"}}"#),
            format!(r#"{{"type":"task-sent","timestamp":1,"uuid":"u","queue":"{long}"}}"#),
            format!(r#"{{"type":"task-received","timestamp":1,"uuid":"u","hostname":"{long}"}}"#),
        ] {
            apply(&mut tracker, &event, now);
        }
        assert!(tracker.unmatched.is_empty() && tracker.queues.is_empty());
    }

    #[test]
    fn the_table_of_unmatched_tasks_is_bounded() {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        for number in 0..MAX_UNMATCHED + 10 {
            tracker.task_sent(&number.to_string(), "q", now);
            tracker.task_received(&number.to_string(), "w", now);
            tracker.task_sent(&format!("x{number}"), "q", now);
        }
        assert!(tracker.arrivals.len() <= MAX_UNMATCHED && tracker.unmatched.len() <= MAX_UNMATCHED);
    }
}
