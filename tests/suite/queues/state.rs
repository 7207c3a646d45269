//! What is seen of jobs, workers and queues becomes their state, in whatever order it comes.

use std::time::Duration;

use holdfast::{
    domain::{
        queue::{
            ConsumersFrom, Gap, Job, JobFilter, JobObservation, JobSort, JobState, Observation, QueueChange,
            QueueObservation, SortKey, WorkerObservation, WorkerState, job_id,
        },
        tier::Tier,
    },
    store::{Intake, Notification, Observed, Partition, Payload, TenantHandle, Watched},
};

use crate::support::{script_bench::Bench, world::until};

/// 2026-05-13T12:00:00Z, in microseconds: when what is told here began.
pub const NOON_US: i64 = 1_778_673_600_000_000;

/// A tenant with a connection that this test watches.
pub struct Monitor {
    pub bench: Bench,
    pub watched: Watched,
    heard: redis::Connection,
}

impl Monitor {
    pub async fn start(tier: Tier) -> Self {
        let bench = Bench::start(tier).await;
        let watched = bench.connection();
        let mut heard = bench.redis.connection();
        let channel = Partition::of(&bench.tenant.id).channel();
        // By hand: the library's own view of a subscription ends it when it goes.
        redis::cmd("SUBSCRIBE").arg(channel).query::<redis::Value>(&mut heard).unwrap();
        heard.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { bench, watched, heard }
    }

    pub async fn see(&self, sightings: &[Observation]) -> Intake {
        match self.bench.store.observe(&self.watched, sightings, &[]).await.unwrap() {
            Observed::Done(intake) => intake,
            refused => panic!("{refused:?}"),
        }
    }

    async fn job(&self, external_id: &str) -> Job {
        let id = job_id(self.watched.connection, external_id);
        self.bench.store.job(&self.bench.caller, id).await.unwrap().answer.expect("a job").0
    }

    /// Everything that was told up to now.
    pub fn told(&mut self) -> Vec<QueueChange> {
        let mut told = Vec::new();
        let end = "the end of what was told";
        let channel = Partition::of(&self.bench.tenant.id).channel();
        redis::cmd("PUBLISH").arg(channel).arg(end).query::<()>(&mut self.bench.redis.connection()).unwrap();
        loop {
            let (_, _, payload): (String, String, Vec<u8>) =
                redis::from_redis_value(self.heard.recv_response().unwrap()).unwrap();
            if payload == end.as_bytes() {
                return told;
            }
            for note in Notification::read_all(&payload) {
                if let Payload::Queues { connection, news } = note.message {
                    assert_eq!(connection, self.watched.connection);
                    told.extend(news);
                }
            }
        }
    }

    /// What jobs were told to be, and to have been before.
    fn told_of_jobs(&mut self) -> Vec<(JobState, Option<JobState>)> {
        let jobs = self.told().into_iter().filter_map(|news| match news {
            QueueChange::Job { state, previous, .. } => Some((state, previous)),
            _ => None,
        });
        jobs.collect()
    }

    pub async fn jobs(&self) -> Vec<Job> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .bench
                .store
                .jobs(&self.bench.caller, &JobFilter::default(), (JobSort::CreatedAt, true), after.as_ref(), 1000)
                .await
                .unwrap()
                .answer;
            after = page.jobs.last().map(|(standing, _)| standing.clone());
            found.extend(page.jobs.into_iter().map(|(_, job)| job));
            if !page.more {
                return found;
            }
        }
    }
}

fn at(ms: i64, external_id: &str, state: Option<JobState>) -> JobObservation {
    JobObservation { external_id: external_id.into(), at_us: NOON_US + ms * 1000, state, ..JobObservation::default() }
}

pub fn job(sighting: JobObservation) -> Observation {
    Observation::Job(Box::new(sighting))
}

fn worker(name: &str, ms: i64, state: WorkerState) -> Observation {
    Observation::Worker(Box::new(WorkerObservation {
        external_id: name.into(),
        at_us: NOON_US + ms * 1000,
        state,
        hostname: name.into(),
        pid: Some(7),
        active_jobs: Some(3),
        processed: None,
        concurrency: None,
        queues: None,
        metadata: vec![("software".into(), "\"py-celery\"".into())],
    }))
}

#[tokio::test]
async fn a_late_word_of_the_sending_moves_nothing_back() {
    let mut monitor = Monitor::start(Tier::Free).await;
    monitor.see(&[job(at(10, "a", Some(JobState::Queued)))]).await;
    monitor.see(&[job(at(20, "a", Some(JobState::HeldReservation)))]).await;

    // When the sending is heard last, with what only it says.
    monitor
        .see(&[job(JobObservation {
            queue: Some("emails".into()),
            name: Some("send".into()),
            ..at(5, "a", Some(JobState::Queued))
        })])
        .await;

    let a = monitor.job("a").await;
    assert_eq!(
        (a.state, a.previous, a.queue.as_deref(), a.name.as_str()),
        (JobState::HeldReservation, Some(JobState::Queued), Some("emails"), "send")
    );
    assert_eq!(a.created_ms, NOON_US / 1000 + 5);
    assert_eq!(a.started_ms, Some(NOON_US / 1000 + 20));
    assert_eq!(a.history.iter().map(|passage| passage.at_ms - NOON_US / 1000).collect::<Vec<_>>(), [5, 20]);
    use JobState::{HeldReservation, Queued};
    assert_eq!(monitor.told_of_jobs(), [(Queued, None), (HeldReservation, Some(Queued))]);
}

#[tokio::test]
async fn a_retry_goes_round_and_says_so() {
    use JobState::{Completed, HeldReservation, Queued, Retrying};
    let mut monitor = Monitor::start(Tier::Free).await;
    let of = |ms, state, attempt| job(JobObservation { attempt, ..at(ms, "a", state) });
    monitor
        .see(&[
            of(1, Some(Queued), Some(1)),
            of(2, Some(HeldReservation), None),
            of(3, None, Some(2)),
            of(4, Some(Retrying), None),
        ])
        .await;
    monitor
        .see(&[of(5, Some(Queued), Some(2)), of(6, Some(HeldReservation), None), of(7, Some(Completed), None)])
        .await;

    let a = monitor.job("a").await;
    assert_eq!((a.state, a.previous, a.attempt), (Completed, Some(HeldReservation), Some(2)));
    assert_eq!((a.started_ms, a.completed_ms), (Some(NOON_US / 1000 + 6), Some(NOON_US / 1000 + 7)));
    let states = [Queued, HeldReservation, Retrying, Queued, HeldReservation, Completed];
    assert_eq!(a.history.iter().map(|passage| passage.state).collect::<Vec<_>>(), states);
    let told: Vec<_> = states.iter().copied().zip(std::iter::once(None).chain(states.map(Some))).collect();
    assert_eq!(monitor.told_of_jobs(), told);
}

#[tokio::test]
async fn a_retry_whose_word_comes_after_the_next_attempt_counts_once() {
    use JobState::{Completed, HeldReservation, Queued, Retrying};
    let mut monitor = Monitor::start(Tier::Free).await;
    let of = |ms, state, attempt| job(JobObservation { attempt, ..at(ms, "a", Some(state)) });
    monitor
        .see(&[
            of(1, Queued, Some(1)),
            of(2, HeldReservation, None),
            of(3, Queued, Some(2)),
            of(4, Retrying, None),
            of(5, HeldReservation, None),
        ])
        .await;
    monitor.see(&[of(6, Completed, None)]).await;

    let states = [Queued, HeldReservation, Retrying, Queued, HeldReservation, Completed];
    assert_eq!(monitor.job("a").await.history.iter().map(|passage| passage.state).collect::<Vec<_>>(), states);
    let told: Vec<_> = states.iter().copied().zip(std::iter::once(None).chain(states.map(Some))).collect();
    assert_eq!(monitor.told_of_jobs(), told);
}

#[tokio::test]
async fn a_job_that_the_framework_starts_again_is_queued_again() {
    use JobState::{Failed, Queued, Retrying};
    let mut monitor = Monitor::start(Tier::Free).await;
    monitor.see(&[job(at(1, "a", Some(Failed)))]).await;
    monitor.see(&[job(at(2, "a", Some(Queued)))]).await;
    assert_eq!(monitor.job("a").await.state, Failed);

    monitor.see(&[job(JobObservation { again: true, ..at(3, "a", Some(Queued)) })]).await;

    let a = monitor.job("a").await;
    assert_eq!((a.state, a.previous, a.completed_ms), (Queued, Some(Retrying), None));
    assert_eq!(monitor.told_of_jobs(), [(Failed, None), (Retrying, Some(Failed)), (Queued, Some(Retrying))]);
}

#[tokio::test]
async fn the_same_event_is_told_once_whichever_way_it_comes() {
    let mut monitor = Monitor::start(Tier::Free).await;
    let event = job(at(1, "a", Some(JobState::HeldReservation)));
    assert_eq!(monitor.see(std::slice::from_ref(&event)).await, Intake { accepted: 1, duplicates: 0 });
    let again = monitor
        .see(&[
            event.clone(),
            job(JobObservation { at_us: NOON_US + 1_900, ..at(1, "a", Some(JobState::HeldReservation)) }),
        ])
        .await;
    assert_eq!(again, Intake { accepted: 0, duplicates: 2 });
    assert_eq!(monitor.told_of_jobs(), [(JobState::HeldReservation, None)]);
    assert_eq!(monitor.job("a").await.history.len(), 1);
}

#[tokio::test]
async fn a_watcher_that_was_replaced_changes_nothing() {
    let mut monitor = Monitor::start(Tier::Free).await;
    monitor.bench.store.observe(&monitor.watched, &[], &[("emails".into(), "5-0".into())]).await.unwrap();
    let place = TenantHandle::new(monitor.bench.tenant.id.clone());
    monitor.bench.redis.ask::<()>(&format!("HSET {} fence:{} 2", place.key("watches"), monitor.watched.connection));
    let before = monitor.bench.redis.snapshot();

    let late = monitor
        .bench
        .store
        .observe(
            &monitor.watched,
            &[job(at(1, "a", Some(JobState::HeldReservation)))],
            &[("emails".into(), "6-0".into())],
        )
        .await;

    assert_eq!(late.unwrap(), Observed::Outdated);
    assert_eq!(monitor.bench.redis.snapshot(), before);
    assert!(monitor.told().is_empty());

    // Its successor goes on where the state ends.
    let cursors = monitor.bench.store.cursors(&monitor.bench.tenant.id, monitor.watched.connection).await.unwrap();
    assert_eq!(cursors, [("emails".into(), "5-0".into())]);
    monitor.watched.fence = 2;
    let cursors = [("other".into(), "1-0".into()), ("emails".into(), "7-0".into())];
    monitor.bench.store.observe(&monitor.watched, &[], &cursors).await.unwrap();
    let cursors = monitor.bench.store.cursors(&monitor.bench.tenant.id, monitor.watched.connection).await.unwrap();
    assert_eq!(cursors, [("emails".into(), "7-0".into()), ("other".into(), "1-0".into())]);

    // A connection that is gone takes nothing.
    monitor.bench.redis.ask::<()>(&format!("DEL {}", place.key("connections")));
    assert_eq!(monitor.bench.store.observe(&monitor.watched, &[], &[]).await.unwrap(), Observed::Gone);
}

#[tokio::test]
async fn a_worker_is_online_while_it_is_heard_and_goes_offline_once() {
    let mut monitor = Monitor::start(Tier::Free).await;
    monitor.see(&[worker("celery@a", 1, WorkerState::Online), worker("celery@b", 1, WorkerState::Online)]).await;
    assert_eq!(monitor.see(&[worker("celery@a", 1, WorkerState::Online)]).await.duplicates, 1);
    monitor.see(&[worker("celery@b", 2, WorkerState::Offline)]).await;
    let mut told: Vec<_> = monitor
        .told()
        .into_iter()
        .map(|news| match news {
            QueueChange::Worker { hostname, state, previous, .. } => {
                format!("{hostname} {} after {}", state.name(), previous.name())
            }
            QueueChange::Heartbeat { hostname, state, active_jobs, .. } => {
                format!("{hostname} {} {active_jobs}", state.name())
            }
            other => format!("{other:?}"),
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "celery@a online 3",
            "celery@a online after offline",
            "celery@b offline after online",
            "celery@b online 3",
            "celery@b online after offline"
        ]
    );

    // When it is silent for six seconds: told by whoever looks first, and by nobody else.
    let place = TenantHandle::new(monitor.bench.tenant.id.clone());
    let beats: Vec<(Vec<u8>, i64)> = {
        let mut command = redis::cmd("ZRANGE");
        command.arg(place.key("beats")).arg(0).arg(-1).arg("WITHSCORES");
        command.query(&mut monitor.bench.redis.connection()).unwrap()
    };
    let [(member, heard_ms)] = &beats[..] else { panic!("{beats:?}") };
    monitor.bench.store.tend_queues(&monitor.bench.tenant.id).await.unwrap();
    assert!(monitor.told().is_empty(), "it is not silent yet");
    redis::cmd("ZADD")
        .arg(place.key("beats"))
        .arg(heard_ms - 6_001)
        .arg(member)
        .query::<()>(&mut monitor.bench.redis.connection())
        .unwrap();
    let (one, other) = tokio::join!(
        monitor.bench.store.tend_queues(&monitor.bench.tenant.id),
        monitor.bench.store.tend_queues(&monitor.bench.tenant.id)
    );
    one.and(other).unwrap();
    let told = monitor.told();
    assert!(
        matches!(&told[..], [QueueChange::Worker { hostname, state: WorkerState::Offline, previous: WorkerState::Online, .. }] if hostname == "celery@a"),
        "{told:?}"
    );

    let workers = monitor.bench.store.workers(&monitor.bench.caller).await.unwrap().answer;
    assert!(
        workers.iter().all(|worker| worker.state == WorkerState::Offline && worker.active_jobs == 0),
        "{workers:?}"
    );
    assert_eq!(workers[0].metadata, [("software".into(), "\"py-celery\"".into())]);
}

#[tokio::test]
async fn a_queue_is_told_when_it_changes() {
    let mut monitor = Monitor::start(Tier::Free).await;
    let queue = |us, depth, consumers| {
        Observation::Queue(QueueObservation {
            name: "emails".into(),
            at_us: us,
            depth: Some(depth),
            consumers: Some((consumers, ConsumersFrom::Exact)),
        })
    };
    monitor.see(&[queue(1, 5, 2), queue(2, 5, 2), queue(3, 6, 2)]).await;
    monitor.see(&[queue(2, 9, 9), Observation::Gap(Gap { from_ms: 1, to_ms: 2, reason: "handover".into() })]).await;

    let snapshot = |depth| QueueChange::Queue { name: "emails".into(), depth: Some(depth), consumers: Some(2) };
    assert_eq!(
        monitor.told(),
        [snapshot(5), snapshot(6), QueueChange::Gap { from_ms: 1, to_ms: 2, reason: "handover".into() }]
    );
    let queues = monitor.bench.store.queues(&monitor.bench.caller).await.unwrap().answer;
    assert_eq!((queues[0].depth, queues[0].consumers), (Some(6), Some((2, ConsumersFrom::Exact))));
}

#[tokio::test]
async fn no_more_jobs_are_kept_than_the_tier_allows_and_the_oldest_finished_go_first() {
    let monitor = Monitor::start(Tier::Free).await; // 10,000
    let batch = |from: usize, state: JobState| -> Vec<Observation> {
        (from..from + 500).map(|number| job(at(number as i64, &format!("{state:?}-{number}"), Some(state)))).collect()
    };
    for from in (0..1_000).step_by(500) {
        monitor.see(&batch(from, JobState::HeldReservation)).await;
    }
    for from in (0..10_000).step_by(500) {
        monitor.see(&batch(from, JobState::Completed)).await;
    }

    let jobs = monitor.jobs().await;
    assert_eq!(jobs.len(), 10_000);
    assert_eq!(
        jobs.iter().filter(|job| job.state == JobState::HeldReservation).count(),
        1_000,
        "those that have not ended stay"
    );
    let place = TenantHandle::new(monitor.bench.tenant.id.clone());
    assert_eq!(monitor.bench.redis.ask::<usize>(&format!("HLEN {}", place.key("jobs"))), 10_000);
    assert_eq!(monitor.bench.redis.ask::<usize>(&format!("ZCARD {}", place.key("jobs_finished"))), 9_000);

    // And after a day nothing is kept.
    for index in ["jobs_open", "jobs_finished"] {
        let members: Vec<(Vec<u8>, i64)> = redis::cmd("ZRANGE")
            .arg(place.key(index))
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query(&mut monitor.bench.redis.connection())
            .unwrap();
        let mut aged = redis::cmd("ZADD");
        aged.arg(place.key(index));
        members.iter().for_each(|(member, ms)| {
            aged.arg(ms - 24 * 3_600_000 - 1).arg(member);
        });
        aged.query::<()>(&mut monitor.bench.redis.connection()).unwrap();
    }
    until("all are let go of", async || {
        monitor.bench.store.tend_queues(&monitor.bench.tenant.id).await.unwrap();
        monitor.bench.redis.ask::<usize>(&format!(
            "EXISTS {} {} {} {}",
            place.key("jobs"),
            place.key("job_details"),
            place.key("jobs_created"),
            place.key("jobs_open")
        )) == 0
    })
    .await;
}

#[tokio::test]
async fn jobs_are_listed_page_by_page_without_loss_however_they_are_sorted() {
    let monitor = Monitor::start(Tier::Pro).await;
    // Given many of the same instant, and some that lack what is sorted by.
    let sightings: Vec<_> = (0..250)
        .map(|number| {
            job(JobObservation {
                name: Some(format!("task.{}", number % 7)),
                queue: (number % 3 != 0).then(|| format!("q{}", number % 5)),
                ..at(
                    (number / 50) * 10,
                    &format!("j{number}"),
                    Some(if number % 2 == 0 { JobState::HeldReservation } else { JobState::Completed }),
                )
            })
        })
        .collect();
    monitor.see(&sightings).await;

    for (_, sort) in JobSort::ALL {
        for descending in [true, false] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = monitor
                    .bench
                    .store
                    .jobs(&monitor.bench.caller, &JobFilter::default(), (sort, descending), after.as_ref(), 40)
                    .await
                    .unwrap()
                    .answer;
                assert_eq!(page.total, 250);
                assert!(page.jobs.len() == 40 || !page.more);
                after = page.jobs.last().map(|(standing, _)| standing.clone());
                found.extend(page.jobs);
                if !page.more {
                    break;
                }
            }
            assert_eq!(found.len(), 250, "{sort:?}");
            let mut ids: Vec<_> = found.iter().map(|(_, job)| job.id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), 250, "{sort:?}");
            assert!(
                found
                    .windows(2)
                    .all(|pair| holdfast::domain::queue::compare(descending, &pair[0].0, &pair[1].0).is_lt()),
                "{sort:?}"
            );
            let absent = found.iter().position(|(standing, _)| standing.0 == SortKey::Absent);
            assert!(absent.is_none_or(|at| found[at..].iter().all(|(standing, _)| standing.0 == SortKey::Absent)));
        }
    }
    let filter =
        JobFilter { state: Some(JobState::HeldReservation), search: Some("TASK.3".into()), ..JobFilter::default() };
    let page = monitor
        .bench
        .store
        .jobs(&monitor.bench.caller, &filter, (JobSort::CreatedAt, true), None, 100)
        .await
        .unwrap()
        .answer;
    assert_eq!(page.total, (0..250).filter(|number| number % 2 == 0 && number % 7 == 3).count() as i64);
    assert_eq!(page.total, page.jobs.len() as i64);
}
