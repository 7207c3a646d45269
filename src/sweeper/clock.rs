//! Redis' clock as the sweeper reads it: cached for all partitions, and watched for steps.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    replica::Replica,
    store::{ClockSample, Store, StoreError},
};

/// Age up to which a sample is used again. One sample serves a group of partitions: reading the clock for each would double the cost of
/// polling. In this time no two clocks drift apart by what matters, and the script that ends a reservation reads Redis' clock itself.
const SAMPLE_TTL: Duration = Duration::from_millis(50);
/// Difference between the progress of Redis' clock and ours, from one sample to the next, that counts as a step.
const STEP: Duration = Duration::from_secs(5);
/// Time for which a step is shown in `/readyz`.
const STEP_SHOWN: Duration = Duration::from_secs(60);

/// Redis' clock, sampled for all partitions.
pub(super) struct Clock {
    last: Mutex<Option<Last>>,
    replica: Arc<Replica>,
}

/// The last sample, and when the last step was noticed.
struct Last {
    sample: ClockSample,
    stepped: Option<Instant>,
}

impl Clock {
    /// A clock that was not read yet.
    pub(super) fn new(replica: Arc<Replica>) -> Self {
        Self { last: Mutex::default(), replica }
    }

    /// The last sample, or a new one where that is too old.
    ///
    /// # Errors
    /// Those of the call that reads Redis' clock.
    pub(super) async fn read(&self, store: &Store) -> Result<ClockSample, StoreError> {
        // Single flight: who comes while the clock is read waits for the same sample.
        let mut last = self.last.lock().await;
        if let Some(last) = &*last
            && last.sample.at.elapsed() < SAMPLE_TTL
        {
            return Ok(last.sample);
        }
        let sample = store.clock().await?;
        let stepped = last.take().and_then(|last| {
            let Some(step_ms) = step_between(last.sample, sample) else { return last.stepped };
            metrics::counter!("holdfast_redis_clock_steps_total").increment(1);
            tracing::error!(
                step_ms,
                "redis' clock stepped: reservations end earlier or later than their holders expect"
            );
            Some(sample.at)
        });
        let stepped = stepped.filter(|stepped| stepped.elapsed() <= STEP_SHOWN);
        self.replica.clock_stepped.store(stepped.is_some(), Ordering::Relaxed);
        *last = Some(Last { sample, stepped });
        Ok(sample)
    }
}

/// By how much Redis' clock went ahead of ours between two samples, in milliseconds, if that is a step.
fn step_between(before: ClockSample, after: ClockSample) -> Option<i64> {
    let step_ms = after.now_ms - before.at(after.at).now_ms;
    (after.now_ms < before.now_ms || step_ms.unsigned_abs() > STEP.as_millis() as u64).then_some(step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_difference_that_no_delay_explains() {
        let before = ClockSample { now_ms: 1_000_000, at: Instant::now() };
        let step = |ours_ms: u64, theirs_ms: i64| {
            step_between(
                before,
                ClockSample { now_ms: before.now_ms + theirs_ms, at: before.at + Duration::from_millis(ours_ms) },
            )
        };
        assert_eq!((step(500, 500), step(500, 5_400), step(6_000, 1_100)), (None, None, None));
        assert_eq!((step(500, 6_000), step(6_000, 500), step(500, -1)), (Some(5_500), Some(-5_500), Some(-501)));
        assert_eq!(before.at(before.at + Duration::from_millis(70)).now_ms, 1_000_070);
    }
}
