//! The same events in any order end in the same state, and the changes published on the way never go back.

use std::{collections::BTreeMap, time::Instant};

use holdfast::domain::{
    queue::{Job, JobObservation, JobState, Observation, QueueChange, job_id},
    tier::Tier,
};
use uuid::Uuid;

use crate::{
    queues::observation_bench::{NOON_US, ObservationBench, job},
    support::world::long,
};

/// Xorshift generator with a fixed seed, so that a failing run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Events of one task, sent `ms` after noon: one of the sequences recorded from a real Celery.
fn course(random: &mut Random, number: usize, ms: i64) -> Vec<Observation> {
    use JobState::{Active, Cancelled, Completed, Failed, Queued, Retrying, Scheduled};
    let id = format!("task-{number}");
    let mut us = ms * 1000 + random.below(1000) as i64;
    let worker = format!("celery@worker-{}", random.below(4));
    let mut events = Vec::new();
    let mut clock = 0;
    let mut add =
        |random: &mut Random, state: Option<JobState>, attempt: Option<u32>, change: &dyn Fn(&mut JobObservation)| {
            us += 1 + random.below(150_000) as i64;
            clock += 1;
            let mut observation = JobObservation {
                external_id: id.clone(),
                at_us: NOON_US + us,
                clock,
                state,
                attempt,
                ..JobObservation::default()
            };
            change(&mut observation);
            events.push(job(observation));
        };
    let sent = |observation: &mut JobObservation| {
        observation.name = Some("app.tasks.send_email".into());
        observation.queue = Some("emails".into());
        observation.args = Some("('a', 1)".into());
    };
    let received = |observation: &mut JobObservation| {
        observation.name = Some("app.tasks.send_email".into());
        observation.worker = Some(worker.clone());
    };
    let by_worker = |observation: &mut JobObservation| observation.worker = Some(worker.clone());
    let failing = |observation: &mut JobObservation| {
        observation.worker = Some(worker.clone());
        observation.error = Some(format!("ValueError({})", observation.at_us));
    };
    match random.below(8) {
        0 => {
            // Retried twice; each retry's `task-sent` comes before the `task-retried`.
            add(random, Some(Queued), Some(1), &sent);
            for attempt in 1..=2 {
                add(random, Some(Queued), Some(attempt), &received);
                add(random, Some(Active), None, &by_worker);
                add(random, None, Some(attempt + 1), &sent);
                add(random, Some(Retrying), None, &failing);
            }
            add(random, Some(Queued), Some(3), &received);
            add(random, Some(Active), None, &by_worker);
            add(random, Some(if number.is_multiple_of(2) { Completed } else { Failed }), None, &failing);
        }
        1 => {
            add(random, Some(Scheduled), Some(1), &sent);
            add(random, Some(Scheduled), Some(1), &received);
            add(random, Some(Active), None, &by_worker);
            add(random, Some(Completed), None, &by_worker);
        }
        2 => {
            // Rejected: reported as failed twice.
            add(random, Some(Queued), Some(1), &sent);
            add(random, Some(Queued), Some(1), &received);
            add(random, Some(Active), None, &by_worker);
            add(random, Some(Failed), None, &failing);
            add(random, Some(Failed), None, &by_worker);
        }
        3 => {
            add(random, Some(Queued), Some(1), &sent);
            add(random, Some(Queued), Some(1), &received);
            add(random, Some(Cancelled), None, &by_worker);
        }
        4 => {
            // Delivered again while it ran, because the broker took it for lost.
            add(random, Some(Queued), Some(1), &sent);
            add(random, Some(Queued), Some(1), &received);
            add(random, Some(Active), None, &by_worker);
            add(random, Some(Queued), Some(1), &received);
            add(random, Some(Active), None, &by_worker);
            add(random, Some(Completed), None, &by_worker);
        }
        5 => {
            // The producer's clock is ahead: the task is active before it is sent.
            add(random, Some(Queued), Some(1), &received);
            add(random, Some(Active), None, &by_worker);
            add(random, Some(Queued), Some(1), &sent);
            add(random, Some(Completed), None, &by_worker);
        }
        _ => {
            add(random, Some(Queued), Some(1), &sent);
            add(random, Some(Queued), Some(1), &received);
            add(random, Some(Active), None, &by_worker);
            add(random, Some(Completed), None, &|observation| {
                by_worker(observation);
                observation.runtime_ms = Some(12);
            });
        }
    }
    events
}

fn time_of(observation: &Observation) -> i64 {
    match observation {
        Observation::Job(job) => job.at_us,
        _ => unreachable!("only jobs here"),
    }
}

#[tokio::test]
async fn events_in_random_order_end_in_the_same_state_as_in_order() {
    let wanted = if long() { 100_000 } else { 5_000 };
    let mut random = Random(0x5EED_1234_5678_9ABC);
    let mut events = Vec::new();
    let mut number = 0;
    while events.len() < wanted {
        events.extend(course(&mut random, number, number as i64 / 2));
        number += 1;
    }
    events.sort_by_key(time_of);
    let mut shuffled: Vec<_> =
        events.iter().map(|event| (time_of(event) + random.below(2_000_000) as i64, event.clone())).collect();
    shuffled.sort_by_key(|(at, _)| *at);
    let shuffled: Vec<_> = shuffled.into_iter().map(|(_, event)| event).collect();

    // When they come in order to one, in random order within two seconds to another.
    let sorted = ObservationBench::start(Tier::Enterprise).await;
    let mut unsorted = ObservationBench::start(Tier::Enterprise).await;
    let begun = Instant::now();
    for events in events.chunks(500) {
        sorted.observe(events).await;
    }
    eprintln!("{:.0} events/s in order", events.len() as f64 / begun.elapsed().as_secs_f64());
    let (mut last, mut published) = (BTreeMap::<Uuid, JobState>::new(), 0);
    // Pieces of all sizes, so that some events of a job come together and others alone.
    let mut rest = &shuffled[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at((1 + random.below(500) as usize).min(rest.len()));
        unsorted.observe(now).await;
        rest = later;
        for change in unsorted.published() {
            let QueueChange::Job { id, state, previous, .. } = change else { continue };
            // Then the changes of a job never go back, and each names the state of the one before.
            assert_eq!(previous, last.get(&id).copied());
            if let Some(previous) = previous {
                let forward =
                    state.rank() > previous.rank() || (state == JobState::Retrying && previous != JobState::Completed);
                assert!(forward, "{id}: from {previous:?} to {state:?}");
            }
            last.insert(id, state);
            published += 1;
        }
    }
    assert!(published > number, "{published} changes of {number} jobs");

    // And both end alike.
    let by_name = |jobs: Vec<Job>| -> BTreeMap<String, Job> {
        jobs.into_iter()
            .map(|job| (job.external_id.clone(), Job { id: Uuid::nil(), connection: Uuid::nil(), ..job }))
            .collect()
    };
    let (expected, found) = (by_name(sorted.jobs().await), by_name(unsorted.jobs().await));
    assert_eq!(expected.len(), number);
    for (name, job) in &expected {
        assert_eq!(Some(job), found.get(name));
        assert_eq!(
            last[&job_id(unsorted.lease.connection, name)],
            job.state,
            "the last published change of {name} has its state"
        );
    }
    assert!(
        expected.values().all(|job| job.state.rank() >= JobState::Cancelled.rank()),
        "every course came to its end"
    );
}
