//! What is known of Celery's workers: by their events, by their answers, and by what the broker has bound.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Instant,
};

use crate::{
    domain::queue::{ConsumersSource, Observation, WorkerObservation, WorkerState},
    monitor::celery::{remote_control::WorkerReply, tracker::Tracker},
};

/// Workers and their queues, from both sources.
#[derive(Default)]
pub(super) struct KnownWorkers {
    /// Inferred from events.
    pub(super) tracker: Tracker,
    /// Whether an event came since the watch began.
    pub(super) has_events: bool,
    /// Latest replies by remote control; `None`: nobody was asked.
    pub(super) replies: Option<BTreeMap<String, WorkerReply>>,
    /// Whether a worker ever replied: then those that are bound are all there are.
    pub(super) has_replied: bool,
    /// Workers that the broker has bound to their control exchange.
    pub(super) bound: HashSet<String>,
}

impl KnownWorkers {
    pub(super) fn reply_of(&self, worker: &str) -> Option<&WorkerReply> {
        self.replies.as_ref()?.get(worker)
    }

    /// Number of consumers of a queue, and its source; no number where it is unknown.
    pub(super) fn consumers(&self) -> impl Fn(&str) -> (Option<u32>, ConsumersSource) + use<> {
        let mut consumers: HashMap<String, u32> = HashMap::new();
        let replies = self.replies.iter().flatten();
        for queue in replies.flat_map(|(_, reply)| &reply.queues) {
            *consumers.entry(queue.clone()).or_default() += 1;
        }
        let is_exact = match &self.replies {
            Some(replies) => !replies.is_empty() || (self.has_replied && self.bound.is_empty()),
            None => false,
        };
        if !is_exact {
            let inferred = self.tracker.consumers(&self.bound, Instant::now());
            consumers = inferred.into_iter().map(|(queue, count)| (queue.to_owned(), count)).collect();
        }
        // Where nobody answers a question, it may have reached nobody: that a queue has no consumer cannot be said.
        let is_none_known = is_exact || self.replies.is_none();
        let source = if is_exact { ConsumersSource::Exact } else { ConsumersSource::Inferred };
        move |queue| (consumers.get(queue).copied().or(is_none_known.then_some(0)), source)
    }

    /// Workers without heartbeats, as far as asking and the broker's bindings say whether they are there.
    pub(super) fn found(&self, bound_before: &HashSet<String>, has_asked: bool, at_us: i64) -> Vec<Observation> {
        let now = Instant::now();
        let has_no_heartbeats = |worker: &&String| !self.tracker.has_heartbeats(worker, now);
        let gone = bound_before.difference(&self.bound).filter(has_no_heartbeats);
        let mut found: Vec<_> = gone.map(|worker| found_worker(worker, WorkerState::Offline, None, at_us)).collect();
        if has_asked {
            let replies = self.replies.iter().flatten().filter(|(worker, _)| has_no_heartbeats(worker));
            found.extend(replies.map(|(worker, reply)| found_worker(worker, WorkerState::Online, Some(reply), at_us)));
        }
        found
    }
}

/// What the watch found of a worker.
fn found_worker(worker: &str, state: WorkerState, reply: Option<&WorkerReply>, at_us: i64) -> Observation {
    Observation::Worker(Box::new(WorkerObservation {
        external_id: worker.to_owned(),
        at_us,
        state,
        hostname: worker.to_owned(),
        pid: None,
        active_jobs: None,
        processed: None,
        concurrency: reply.and_then(|reply| reply.concurrency),
        queues: reply.map(|reply| reply.queues.clone()),
        metadata: Vec::new(),
        is_found: true,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::celery::decode::decode_events;

    fn reply(queue: &str) -> WorkerReply {
        WorkerReply { queues: vec![queue.into()], concurrency: Some(2) }
    }

    #[test]
    fn consumers_are_exact_where_somebody_answered_and_unknown_where_nobody_did() {
        let mut workers = KnownWorkers::default();
        assert_eq!(workers.consumers()("q"), (Some(0), ConsumersSource::Inferred), "nobody was asked");
        workers.replies = Some(BTreeMap::new());
        assert_eq!(workers.consumers()("q"), (None, ConsumersSource::Inferred), "nobody was reached");
        for event in [
            r#"{"type":"worker-heartbeat","timestamp":1,"hostname":"w"}"#,
            r#"{"type":"task-sent","timestamp":1,"uuid":"u","queue":"q"}"#,
            r#"{"type":"task-received","timestamp":1,"uuid":"u","hostname":"w"}"#,
        ] {
            decode_events(event.as_bytes(), |event| workers.tracker.apply(&event, Instant::now())).unwrap();
        }
        assert_eq!(workers.consumers()("q"), (Some(1), ConsumersSource::Inferred), "by its events");
        assert_eq!(workers.consumers()("other"), (None, ConsumersSource::Inferred));

        workers.replies = Some(BTreeMap::from([("w".into(), reply("q")), ("x".into(), reply("q"))]));
        workers.has_replied = true;
        assert_eq!(workers.consumers()("q"), (Some(2), ConsumersSource::Exact));
        assert_eq!(workers.consumers()("other"), (Some(0), ConsumersSource::Exact));
        // All of them ended; or one is there and too busy to answer.
        workers.replies = Some(BTreeMap::new());
        assert_eq!(workers.consumers()("q"), (Some(0), ConsumersSource::Exact));
        workers.bound.insert("w".into());
        assert_eq!(workers.consumers()("other"), (None, ConsumersSource::Inferred));
    }

    #[test]
    fn a_worker_without_heartbeats_is_found_by_its_answer_and_gone_with_its_binding() {
        let mut workers = KnownWorkers::default();
        let beat = r#"{"type":"worker-heartbeat","timestamp":1,"hostname":"beats"}"#;
        decode_events(beat.as_bytes(), |event| workers.tracker.apply(&event, Instant::now())).unwrap();
        let both = HashSet::from(["beats".to_owned(), "w".to_owned()]);
        workers.bound = both.clone();
        workers.replies = Some(BTreeMap::from([("beats".into(), reply("q")), ("w".into(), reply("q"))]));
        let seen = |found: Vec<Observation>| match &found[..] {
            [] => None,
            [Observation::Worker(worker)] => Some((worker.external_id.clone(), worker.state, worker.queues.clone())),
            others => panic!("{others:?}"),
        };
        assert_eq!(seen(workers.found(&both, false, 1)), None);
        let online = Some(("w".to_owned(), WorkerState::Online, Some(vec!["q".to_owned()])));
        assert_eq!(seen(workers.found(&both, true, 1)), online);
        workers.bound.clear();
        assert_eq!(seen(workers.found(&both, false, 1)), Some(("w".to_owned(), WorkerState::Offline, None)));
    }
}
