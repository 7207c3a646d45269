//! How fast a tenant has been going, as Redis last said.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::rate::Rate;

/// The state of one tenant's rate as this replica last heard of it. Other replicas may have used more since, never less.
#[derive(Debug, Default)]
pub struct RateState(Mutex<Option<Heard>>);

#[derive(Debug, Clone, Copy)]
struct Heard {
    rate: Rate,
    backlog_us: i64,
    at: Instant,
    refused: bool,
}

/// What was heard, and how old it is.
#[derive(Debug, Clone, Copy)]
pub struct RateSnapshot {
    /// The tenant's rate.
    pub rate: Rate,
    /// How long until it is whole again, in microseconds, by now.
    pub backlog_us: i64,
    /// How long ago Redis said so.
    pub age: Duration,
    /// Whether it refused then.
    pub refused: bool,
}

impl RateState {
    fn heard(&self) -> MutexGuard<'_, Option<Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::store) fn note(&self, rate: Option<Rate>, backlog_us: i64, refused: bool) {
        *self.heard() = rate.map(|rate| Heard { rate, backlog_us, at: Instant::now(), refused });
    }

    /// What is known by now; `None` when nothing was heard, or there is no limit.
    #[must_use]
    pub fn now(&self) -> Option<RateSnapshot> {
        let Heard { rate, backlog_us, at, refused } = (*self.heard())?;
        let age = at.elapsed();
        Some(RateSnapshot { rate, backlog_us: (backlog_us - age.as_micros() as i64).max(0), age, refused })
    }
}
