//! The clock of every deadline here: monotonic, and counting while the machine is suspended.

use std::{ops::Add, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Longest single sleep. Timers of the runtime stop while the machine is suspended, so a longer sleep would end late by the time that
/// the suspension took; after a resume a deadline is noticed within this.
const SLEEP_STEP: Duration = Duration::from_secs(1);

/// An instant of `CLOCK_BOOTTIME`: time since the machine booted. It never jumps, and it counts while the machine is suspended, as the
/// server's clock does: a lease's deadline must not move because a laptop was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The present instant.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        // Both parts are never negative on this clock; the nanoseconds are below a second.
        Self(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
    }

    /// An instant from nanoseconds since boot, as [`BootInstant::nanoseconds`] gave them in a process of the same boot of the same machine.
    #[must_use]
    pub fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(Duration::from_nanos(nanoseconds))
    }

    /// Nanoseconds since boot; 584 years fit.
    #[must_use]
    pub fn nanoseconds(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Time since boot.
    #[must_use]
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to this instant; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Time left until this instant; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.since(Self::now())
    }

    /// Sleeps until this instant, also across a suspension of the machine.
    ///
    /// # Cancellation
    /// Dropping the future is harmless.
    pub async fn sleep_until(self) {
        loop {
            let left = self.remaining();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(SLEEP_STEP)).await;
        }
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    /// The latest instant there is where the sum would be later.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_the_way_to_another_process() {
        let now = BootInstant::now();
        assert_eq!(BootInstant::from_nanoseconds(now.nanoseconds()), now);
        assert_eq!((now + Duration::from_secs(5)).since(now), Duration::from_secs(5));
        assert_eq!(now.since(now + Duration::from_secs(5)), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_sleep_ends_at_its_instant() {
        let end = BootInstant::now() + Duration::from_millis(30);
        end.sleep_until().await;
        assert!(end.remaining().is_zero());
        assert!(BootInstant::now().since(end) < Duration::from_secs(1));
    }
}
