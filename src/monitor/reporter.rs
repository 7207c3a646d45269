//! Where a watcher puts what it sees: into the store, under its lease, with word of how the watch goes.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{Instant as Wake, sleep, sleep_until};

use crate::{
    domain::queue::{
        Framework, Gap, Observation,
        connection::{BrokerError, Health},
    },
    store::{LEASE, MAX_OBSERVATIONS, Observed, Store, Taken, Watched},
};

/// How often the lease is kept: two may fail before it lapses.
const KEEP: Duration = Duration::from_secs(2);
/// How long to wait before the store is asked again that did not answer.
const AGAIN: Duration = Duration::from_millis(250);

/// Why a watch does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchEnd {
    /// It is another's, or the connection is gone: nothing more may be told.
    Lost,
    /// The broker cannot be watched now.
    BrokerError(BrokerError),
}

impl From<BrokerError> for WatchEnd {
    fn from(trouble: BrokerError) -> Self {
        Self::BrokerError(trouble)
    }
}

/// One watch's way to the store.
pub(super) struct Reporter {
    store: Store,
    watched: Watched,
    state: Mutex<State>,
}

struct State {
    health: Health,
    /// Redis' clock in microseconds, and when it was read.
    clock: (i64, Instant),
    /// Since when nobody looks, in milliseconds since the Unix epoch, and why; told as soon as somebody does.
    unwatched: Option<(i64, &'static str)>,
}

impl Reporter {
    pub(super) fn new(store: Store, taken: &Taken) -> Self {
        let reason = if taken.given_back { "handover" } else { "takeover" };
        let unwatched = taken.watched_until_ms.map(|until_ms| (until_ms, reason));
        Self {
            store,
            watched: taken.watched.clone(),
            state: Mutex::new(State { health: Health::default(), clock: (taken.now_us, Instant::now()), unwatched }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Redis' clock, in microseconds since the Unix epoch, as far as it can be told without asking.
    pub(super) fn now_us(&self) -> i64 {
        let (us, read) = self.state().clock;
        us + read.elapsed().as_micros() as i64
    }

    /// What it watches.
    pub(super) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Up to where the broker's streams are part of the state: names and cursors.
    pub(super) async fn cursors(&self) -> Vec<(String, String)> {
        loop {
            match self.store.cursors(&self.watched.tenant, self.watched.connection).await {
                Ok(cursors) => return cursors,
                Err(error) => tracing::warn!(%error, "the cursors of a watch could not be read; trying again"),
            }
            sleep(AGAIN).await;
        }
    }

    /// The broker is watched from here on. What happened before and cannot be found out is told as a gap, unless the broker keeps it.
    pub(super) async fn connected(&self, keeps_events: bool) -> Result<(), WatchEnd> {
        let now_ms = self.now_us() / 1000;
        let unwatched = {
            let mut state = self.state();
            state.health.connected_ms.get_or_insert(now_ms);
            state.health.trouble = None;
            state.unwatched.take()
        };
        match unwatched {
            Some((from_ms, reason)) if !keeps_events => self.gap(from_ms, now_ms, reason).await,
            _ => Ok(()),
        }
    }

    /// The broker is watched no more, since `from_ms`; `None`: since now.
    pub(super) fn disconnected(&self, trouble: BrokerError, from_ms: Option<i64>) {
        let now_ms = self.now_us() / 1000;
        let mut state = self.state();
        if state.health.connected_ms.take().is_some() {
            state.unwatched.get_or_insert((from_ms.unwrap_or(now_ms), "disconnected"));
        }
        state.health.trouble = Some(trouble.name().into());
    }

    /// Says that what happened in between cannot be found out.
    pub(super) async fn gap(&self, from_ms: i64, to_ms: i64, reason: &str) -> Result<(), WatchEnd> {
        metrics::counter!("holdfast_queue_gaps_total", "reason" => reason.to_owned()).increment(1);
        self.tell(&[Observation::Gap(Gap { from_ms: from_ms.min(to_ms), to_ms, reason: reason.into() })], &[]).await
    }

    /// Puts sightings into the store, with the cursors up to which they lead. Tries again until the store answers or the watch is
    /// lost: what was taken already is taken once.
    pub(super) async fn tell(&self, sightings: &[Observation], cursors: &[(String, String)]) -> Result<(), WatchEnd> {
        debug_assert!(sightings.len() <= MAX_OBSERVATIONS);
        loop {
            match self.store.observe(&self.watched, sightings, cursors).await {
                Ok(Observed::Done(intake)) => {
                    metrics::counter!("holdfast_queue_events_total", "framework" => self.watched.framework.name(), "by" => "watch")
                        .increment(intake.accepted as u64);
                    self.note_events(sightings);
                    return Ok(());
                }
                Ok(Observed::Outdated | Observed::Gone) => return Err(WatchEnd::Lost),
                Err(error) => {
                    tracing::warn!(%error, connection = %self.watched.connection, "what was seen could not be stored; trying again")
                }
            }
            sleep(AGAIN).await;
        }
    }

    fn note_events(&self, sightings: &[Observation]) {
        // Celery's workers send events, too; BullMQ's are seen by looking.
        let workers_tell = self.watched.framework == Framework::Celery;
        let happened = |sighting: &Observation| match sighting {
            Observation::Job(job) => Some(job.at_us),
            Observation::Worker(worker) if workers_tell => Some(worker.at_us),
            Observation::Worker(_) | Observation::Queue(_) | Observation::Gap(_) => None,
        };
        if let Some(last_us) = sightings.iter().filter_map(happened).max() {
            let now_us = self.now_us();
            let mut state = self.state();
            state.health.event_ms = Some(last_us / 1000);
            state.health.lag_ms = Some(((now_us - last_us) / 1000).max(0));
        }
    }

    /// Keeps the lease, and says how the watch goes; returns when it is lost.
    pub(super) async fn keep(&self) {
        let (mut kept, mut next) = (Instant::now(), Wake::now());
        loop {
            let health = self.state().health.clone();
            match self.store.keep_watch(&self.watched, &health).await {
                Ok(Some(now_us)) => {
                    kept = Instant::now();
                    self.state().clock = (now_us, kept);
                }
                Ok(None) => return,
                // Without an answer it may have lapsed, and another may have it by now.
                Err(_) if kept.elapsed() >= LEASE => return,
                Err(error) => {
                    tracing::debug!(%error, connection = %self.watched.connection, "a watch could not be kept; trying again")
                }
            }
            next = (next + KEEP).max(Wake::now() + AGAIN);
            sleep_until(next).await;
        }
    }

    /// Gives the watch back, for another to take it at once.
    pub(super) async fn give_back(&self) {
        let health = self.state().health.clone();
        if let Err(error) = self.store.give_watch_back(&self.watched, &health).await {
            tracing::debug!(%error, connection = %self.watched.connection, "a watch could not be given back; it lapses");
        }
    }
}
