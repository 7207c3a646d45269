//! Which queues there are and who consumes them, as far as events alone can tell.
//!
//! Only `task-sent` names a queue and only the worker's own events name the worker, so the two are joined by the task's id. A worker counts as
//! a consumer of the queues that it has received from, while it gives signs of life.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use crate::monitor::celery::decode::Event;

/// The most tasks whose other half is waited for.
const HALVES: usize = 50_000;
/// The most queues that are known by name, and the most workers.
const QUEUES: usize = 1_000;
const WORKERS: usize = 5_000;
/// How long after its last beat a worker counts as alive: three beats.
const ALIVE: Duration = Duration::from_secs(6);
/// How long a worker that took nothing more counts as a consumer of a queue.
const CONSUMES: Duration = Duration::from_secs(3_600);

/// One half of what links a queue to a worker.
enum Half {
    Queue(String),
    Worker(String),
}

#[derive(Default)]
struct Worker {
    /// Its last sign of life; `None`: it sends none, and is only known from what it received.
    beat: Option<Instant>,
    /// When it last took something from each queue.
    took: HashMap<String, Instant>,
}

/// What events have told so far. Everything in it is bounded.
#[derive(Default)]
pub(super) struct Tracker {
    queues: HashSet<String>,
    workers: HashMap<String, Worker>,
    halves: HashMap<String, Half>,
    /// In the order in which the halves came.
    order: VecDeque<String>,
}

impl Tracker {
    /// Takes in an event that came just now.
    pub(super) fn hear(&mut self, event: &Event<'_>, now: Instant) {
        let (uuid, host) = (event.uuid.said(), event.hostname.said());
        match (&event.kind, uuid, host) {
            (Cow::Borrowed("task-sent"), Some(uuid), _) => {
                if let Some(queue) = event.queue.said().or(event.routing_key.said()) {
                    self.sent(uuid, queue, now);
                }
            }
            (Cow::Borrowed("task-received"), Some(uuid), Some(host)) => self.received(uuid, host, now),
            (Cow::Borrowed("worker-online" | "worker-heartbeat"), _, Some(host)) => self.worker(host).beat = Some(now),
            (Cow::Borrowed("worker-offline"), _, Some(host)) => {
                self.workers.remove(host);
            }
            _ => {}
        }
    }

    /// The queues that tasks were sent to.
    pub(super) fn queues(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().map(String::as_str)
    }

    /// The workers that gave signs of life.
    pub(super) fn alive(&self, now: Instant) -> usize {
        self.workers.values().filter(|worker| worker.beat.is_some_and(|beat| now.duration_since(beat) < ALIVE)).count()
    }

    /// How many workers consume each queue. `bound` are the nodes that the broker's own binding names: what a worker without beats is known by.
    pub(super) fn consumers(&self, bound: &HashSet<String>, now: Instant) -> HashMap<&str, u32> {
        let mut consumers = HashMap::new();
        for (name, worker) in &self.workers {
            let lives = match worker.beat {
                Some(beat) => now.duration_since(beat) < ALIVE,
                None => bound.contains(name),
            };
            if lives {
                for (queue, _) in worker.took.iter().filter(|(_, took)| now.duration_since(**took) < CONSUMES) {
                    *consumers.entry(queue.as_str()).or_default() += 1;
                }
            }
        }
        consumers
    }

    /// The queues that a worker took from.
    pub(super) fn queues_of(&self, worker: &str, now: Instant) -> Option<Vec<String>> {
        let took = self.workers.get(worker)?.took.iter().filter(|(_, took)| now.duration_since(**took) < CONSUMES);
        let queues: Vec<_> = took.map(|(queue, _)| queue.clone()).collect();
        (!queues.is_empty()).then_some(queues)
    }

    fn sent(&mut self, uuid: &str, queue: &str, now: Instant) {
        if self.queues.len() < QUEUES && !self.queues.contains(queue) {
            self.queues.insert(queue.to_owned());
        }
        match self.halves.remove(uuid) {
            Some(Half::Worker(host)) => self.link(&host, queue, now),
            _ => self.keep(uuid, Half::Queue(queue.to_owned())),
        }
    }

    fn received(&mut self, uuid: &str, host: &str, now: Instant) {
        match self.halves.remove(uuid) {
            Some(Half::Queue(queue)) => self.link(host, &queue, now),
            _ => self.keep(uuid, Half::Worker(host.to_owned())),
        }
    }

    fn link(&mut self, host: &str, queue: &str, now: Instant) {
        let took = &mut self.worker(host).took;
        if let Some(at) = took.get_mut(queue) {
            *at = now;
        } else if took.len() < QUEUES {
            took.insert(queue.to_owned(), now);
        }
    }

    fn worker(&mut self, host: &str) -> &mut Worker {
        if !self.workers.contains_key(host) && self.workers.len() >= WORKERS {
            // Names that change with every start would fill it: those that are gone make room.
            self.workers.retain(|_, worker| worker.beat.is_some_and(|beat| beat.elapsed() < ALIVE));
        }
        self.workers.entry(host.to_owned()).or_default()
    }

    fn keep(&mut self, uuid: &str, half: Half) {
        if self.halves.insert(uuid.to_owned(), half).is_none() {
            self.order.push_back(uuid.to_owned());
        }
        while self.order.len() > HALVES {
            if let Some(oldest) = self.order.pop_front() {
                self.halves.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::celery::decode::events_in;

    fn hear(tracker: &mut Tracker, event: &str, now: Instant) {
        events_in(event.as_bytes(), |event| tracker.hear(&event, now)).unwrap();
    }

    #[test]
    fn a_worker_consumes_what_it_received_from_in_either_order_while_it_lives() {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        let (sent, received) = (
            r#"{"type":"task-sent","timestamp":1,"uuid":"u","queue":"q"}"#,
            r#"{"type":"task-received","timestamp":1,"uuid":"u","hostname":"w"}"#,
        );
        for order in [[sent, received], [received, sent]] {
            order.iter().for_each(|event| hear(&mut tracker, event, now));
        }
        let (nobody, bound) = (HashSet::new(), HashSet::from(["w".to_owned()]));
        assert_eq!(tracker.consumers(&nobody, now).len(), 0, "it never gave a sign of life");
        assert_eq!(tracker.consumers(&bound, now), HashMap::from([("q", 1)]));
        hear(&mut tracker, r#"{"type":"worker-heartbeat","timestamp":1,"hostname":"w"}"#, now);
        assert_eq!(tracker.consumers(&nobody, now), HashMap::from([("q", 1)]));
        assert_eq!(tracker.consumers(&bound, now + ALIVE).len(), 0, "its beats stopped");
        hear(&mut tracker, r#"{"type":"worker-offline","timestamp":1,"hostname":"w"}"#, now);
        assert_eq!((tracker.consumers(&bound, now).len(), tracker.alive(now)), (0, 0));
    }

    #[test]
    fn what_waits_for_its_other_half_is_bounded() {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        for number in 0..HALVES + 10 {
            tracker.sent(&number.to_string(), "q", now);
            tracker.received(&number.to_string(), "w", now);
            tracker.sent(&format!("x{number}"), "q", now);
        }
        assert!(tracker.order.len() <= HALVES && tracker.halves.len() <= HALVES);
    }
}
