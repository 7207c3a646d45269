//! Reporter: stores a watcher's observations under its lease, and keeps the lease together with the health of the watch.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::time::{Instant as TokioInstant, sleep, sleep_until};

use crate::{
    domain::queue::{
        Framework, Gap, GapReason, Observation,
        connection::{BrokerError, WatchHealth},
    },
    monitor::broker::MissingRight,
    store::{AcquiredWatch, LEASE_DURATION, MAX_OBSERVATIONS, ObserveOutcome, Store, WatchLease},
    sync::lock,
};

/// Interval between renewals of the lease: two may fail before it expires.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// Delay before a failed call to the store is retried.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchEnd {
    /// Another replica holds the lease, or the connection is gone: nothing more may be reported.
    LeaseLost,
    /// The broker cannot be watched now.
    Broker(BrokerError),
}

impl From<BrokerError> for WatchEnd {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

/// One watch's access to the store.
pub(super) struct Reporter {
    store: Store,
    lease: WatchLease,
    missing_right: MissingRight,
    state: Mutex<State>,
}

struct State {
    health: WatchHealth,
    clock: RedisClock,
    pending_gap: Option<PendingGap>,
}

/// Redis' clock, extrapolated from its last reading by the local monotonic clock.
#[derive(Clone, Copy)]
struct RedisClock {
    /// Microseconds since the Unix epoch.
    us: i64,
    read_at: Instant,
}

/// A gap that is reported as soon as the broker is connected, which is also its end.
#[derive(Clone, Copy)]
struct PendingGap {
    /// Milliseconds since the Unix epoch.
    from_ms: i64,
    reason: GapReason,
}

impl Reporter {
    pub(super) fn new(store: Store, acquired: &AcquiredWatch) -> Self {
        let reason = if acquired.was_released { GapReason::Handover } else { GapReason::Takeover };
        let state = State {
            health: WatchHealth::default(),
            clock: RedisClock { us: acquired.now_us, read_at: Instant::now() },
            pending_gap: acquired.watched_until_ms.map(|from_ms| PendingGap { from_ms, reason }),
        };
        let missing_right = MissingRight::default();
        Self { store, lease: acquired.lease.clone(), missing_right, state: Mutex::new(state) }
    }

    /// Where it is noted what the broker's user may not do.
    pub(super) fn missing_right(&self) -> &MissingRight {
        &self.missing_right
    }

    fn health(&self) -> WatchHealth {
        WatchHealth { missing_right: self.missing_right.rule(), ..self.state().health.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Time on Redis' clock, in microseconds since the Unix epoch, without asking Redis.
    pub(super) fn now_us(&self) -> i64 {
        let RedisClock { us, read_at } = self.state().clock;
        us + read_at.elapsed().as_micros() as i64
    }

    /// Redis' time at a moment of the local monotonic clock, in milliseconds since the Unix epoch.
    pub(super) fn time_of_ms(&self, instant: Instant) -> i64 {
        (self.now_us() - instant.elapsed().as_micros() as i64) / 1000
    }

    /// The lease under which it reports.
    pub(super) fn lease(&self) -> &WatchLease {
        &self.lease
    }

    /// Stored cursors of the broker's streams: name and id of the last entry that is part of the state. Retries until the store answers.
    pub(super) async fn cursors(&self) -> Vec<(String, String)> {
        loop {
            match self.store.cursors(&self.lease.tenant, self.lease.connection).await {
                Ok(cursors) => return cursors,
                Err(error) => tracing::warn!(%error, "reading the cursors of a watch failed; retrying"),
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Notes that the broker is connected. Unless the broker keeps its events, the time without a connection is reported as a gap.
    pub(super) async fn connected(&self, broker_keeps_events: bool) -> Result<(), WatchEnd> {
        let now_ms = self.now_us() / 1000;
        let pending_gap = {
            let mut state = self.state();
            state.health.connected_ms.get_or_insert(now_ms);
            state.health.error = None;
            state.pending_gap.take()
        };
        match pending_gap {
            Some(PendingGap { from_ms, reason }) if !broker_keeps_events => {
                self.report_gap(from_ms, now_ms, reason).await
            }
            _ => Ok(()),
        }
    }

    /// Notes that the broker is not connected, since `from_ms` (milliseconds since the Unix epoch) or since now.
    pub(super) fn disconnected(&self, error: BrokerError, from_ms: Option<i64>) {
        let now_ms = self.now_us() / 1000;
        let mut state = self.state();
        if state.health.connected_ms.take().is_some() {
            let gap = PendingGap { from_ms: from_ms.unwrap_or(now_ms), reason: GapReason::Disconnected };
            state.pending_gap.get_or_insert(gap);
        }
        state.health.error = Some(error);
    }

    /// Notes whether the broker is watched without showing anything, and why.
    pub(super) fn note_nothing_seen(&self, why: Option<BrokerError>) {
        self.state().health.error = why;
    }

    /// Reports that the events of an interval are lost. Times are milliseconds since the Unix epoch.
    pub(super) async fn report_gap(&self, from_ms: i64, to_ms: i64, reason: GapReason) -> Result<(), WatchEnd> {
        metrics::counter!("holdfast_queue_gaps_total", "reason" => reason.name()).increment(1);
        let gap = Observation::Gap(Gap { from_ms: from_ms.min(to_ms), to_ms, reason });
        self.report(&[gap], &[]).await
    }

    /// Stores at most [`MAX_OBSERVATIONS`] observations, and with them the cursors of the stream entries that they come from.
    ///
    /// Retries until the store answers or the lease is lost. Observations that a failed try had stored count as duplicates.
    pub(super) async fn report(
        &self,
        observations: &[Observation],
        cursors: &[(String, String)],
    ) -> Result<(), WatchEnd> {
        debug_assert!(observations.len() <= MAX_OBSERVATIONS);
        loop {
            match self.store.observe(&self.lease, observations, cursors).await {
                Ok(ObserveOutcome::Stored(counts)) => {
                    let framework = self.lease.framework.name();
                    metrics::counter!("holdfast_queue_events_total", "framework" => framework, "by" => "watch")
                        .increment(counts.accepted as u64);
                    self.note_last_event(observations);
                    return Ok(());
                }
                Ok(ObserveOutcome::LeaseLost | ObserveOutcome::Gone) => return Err(WatchEnd::LeaseLost),
                Err(error) => {
                    tracing::warn!(%error, connection = %self.lease.connection, "storing observations failed; retrying")
                }
            }
            sleep(RETRY_DELAY).await;
        }
    }

    fn note_last_event(&self, observations: &[Observation]) {
        // Celery's workers send events; BullMQ's workers are polled, which is no event.
        let workers_send_events = self.lease.framework == Framework::Celery;
        let event_time_us = |observation: &Observation| match observation {
            Observation::Job(job) => Some(job.at_us),
            Observation::Worker(worker) if workers_send_events && !worker.is_found => Some(worker.at_us),
            Observation::Worker(_) | Observation::Queue(_) | Observation::Gap(_) => None,
        };
        if let Some(last_us) = observations.iter().filter_map(event_time_us).max() {
            let now_us = self.now_us();
            let mut state = self.state();
            state.health.last_event_ms = Some(last_us / 1000);
            state.health.lag_ms = Some(((now_us - last_us) / 1000).max(0));
        }
    }

    /// Renews the lease and stores the health of the watch, until the lease is lost.
    pub(super) async fn renew_until_lost(&self) {
        let (mut renewed_at, mut next) = (Instant::now(), TokioInstant::now());
        loop {
            let health = self.health();
            match self.store.renew_watch(&self.lease, &health).await {
                Ok(Some(now_us)) => {
                    renewed_at = Instant::now();
                    self.state().clock = RedisClock { us: now_us, read_at: renewed_at };
                }
                Ok(None) => return,
                // The lease may have expired, and another replica may hold it.
                Err(_) if renewed_at.elapsed() >= LEASE_DURATION => return,
                Err(error) => {
                    tracing::debug!(%error, connection = %self.lease.connection, "renewing a watch failed; retrying")
                }
            }
            next = (next + RENEW_INTERVAL).max(TokioInstant::now() + RETRY_DELAY);
            sleep_until(next).await;
        }
    }

    /// Releases the lease, so that another replica can take it at once.
    pub(super) async fn release(&self) {
        let health = self.health();
        if let Err(error) = self.store.release_watch(&self.lease, &health).await {
            tracing::debug!(%error, connection = %self.lease.connection, "releasing a watch failed; its lease expires");
        }
    }
}
