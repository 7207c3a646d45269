//! What is said in the log while Redis cannot be used: what is wrong with which server, at once and then every minute.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{redis::Address, sync::lock};

/// Interval at which an outage is logged again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The outage that all connections of a replica report together. One replica runs in a process.
static OUTAGE: OutageLog = OutageLog(Mutex::new(State { connections: 0, logged: None }));

struct OutageLog(Mutex<State>);

struct State {
    /// How many connections of this process cannot use Redis.
    connections: usize,
    /// What was logged last, and when.
    logged: Option<(String, Instant)>,
}

impl State {
    /// Whether this has to be logged now.
    fn must_be_logged(&mut self, failure: &str, now: Instant) -> bool {
        let must_be_logged =
            self.logged.as_ref().is_none_or(|(logged, at)| logged != failure || now - *at >= AGAIN_AFTER);
        if must_be_logged {
            self.logged = Some((failure.to_owned(), now));
        }
        must_be_logged
    }
}

/// Whether an outage of Redis is in the log: what follows from it needs no line of its own.
#[must_use]
pub fn outage_is_logged() -> bool {
    lock(&OUTAGE.0).logged.is_some()
}

/// One connection's part in the outage, which ends with it.
#[derive(Debug)]
pub(super) struct Outage(());

impl Outage {
    /// This connection cannot use Redis.
    pub(super) fn begin() -> Self {
        lock(&OUTAGE.0).connections += 1;
        Self(())
    }

    /// Logs why, unless that was logged within the last minute.
    pub(super) fn report(&self, address: &Address, failure: &str) {
        if lock(&OUTAGE.0).must_be_logged(failure, Instant::now()) {
            tracing::warn!(redis = %address, error = failure, "redis cannot be used; trying until it can");
        }
    }
}

impl Outage {
    /// The connection can use Redis again. One that is only dropped has given up.
    pub(super) fn end(self) {
        drop(self);
        let mut state = lock(&OUTAGE.0);
        if state.connections == 0 && state.logged.take().is_some() {
            tracing::info!("redis can be used again");
        }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        lock(&OUTAGE.0).connections -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_is_logged_once_a_minute_and_another_at_once() {
        let mut state = State { connections: 1, logged: None };
        let begin = Instant::now();
        let logged = |state: &mut State, failure: &str, after_s: u64| {
            state.must_be_logged(failure, begin + Duration::from_secs(after_s))
        };
        assert!(logged(&mut state, "refused", 0));
        assert!(!logged(&mut state, "refused", 59));
        assert!(logged(&mut state, "WRONGPASS", 59));
        assert!(!logged(&mut state, "WRONGPASS", 118));
        assert!(logged(&mut state, "WRONGPASS", 119));
    }
}
