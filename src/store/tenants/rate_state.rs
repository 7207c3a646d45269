//! The state of a tenant's rate, by which a replica refuses calls without asking Redis.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::{domain::rate::Rate, sync::lock};

/// The state of one tenant's rate as Redis last reported it. Other replicas may have used more since, never less.
#[derive(Debug, Default)]
pub struct RateState(Mutex<Option<Report>>);

#[derive(Debug, Clone, Copy)]
struct Report {
    rate: Rate,
    backlog_us: i64,
    at: Instant,
    refused: bool,
}

/// A report and its age.
#[derive(Debug, Clone, Copy)]
pub struct RateSnapshot {
    /// The tenant's rate.
    pub rate: Rate,
    /// GCRA backlog by now, in microseconds: the time after which the whole burst is available again.
    pub backlog_us: i64,
    /// The age of the report.
    pub age: Duration,
    /// Whether that call was refused.
    pub refused: bool,
}

impl RateState {
    fn report(&self) -> MutexGuard<'_, Option<Report>> {
        lock(&self.0)
    }

    /// Notes what the reply of a call reported; `None`: the tenant has no rate.
    pub(in crate::store) fn note(&self, rate: Option<Rate>, backlog_us: i64, refused: bool) {
        *self.report() = rate.map(|rate| Report { rate, backlog_us, at: Instant::now(), refused });
    }

    /// The state by now; `None` where Redis has reported none, or the tenant has no rate.
    #[must_use]
    pub fn now(&self) -> Option<RateSnapshot> {
        let Report { rate, backlog_us, at, refused } = (*self.report())?;
        let age = at.elapsed();
        Some(RateSnapshot { rate, backlog_us: (backlog_us - age.as_micros() as i64).max(0), age, refused })
    }
}
